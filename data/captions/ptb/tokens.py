"""Captions into words as the PTB tokeniser has them and coco-caption keeps them, without Java."""

import re
import sys
from functools import cache

from vl.data.captions.ptb.rules import DEFINITIONS, TOKEN_RULES
from vl.data.captions.ptb.scanner import Scanner

# What coco-caption takes out. Its list has -LRB- and the other brackets too, in capitals, which
# never meet the tokeniser's lower-case -lrb-; hence brackets stay in the scores.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
# What stands between two spaces and whose tokens do not depend on what stands around it. Not so
# numbers ("2 1/2" is one token), tags, addresses, and a single letter with its full stop.
_PLAIN = re.compile(
    r"""(?!.*(?<![A-Za-z])[A-Za-z]\.)"?[A-Za-z]+(?:['-][A-Za-z]+)*[.,!?;"]*|[.,!?;&"-]"""
)
_UTF_16 = "utf-16-le" if sys.byteorder == "little" else "utf-16-be"
_MOST_PLAIN = 1_000_000  # pieces remembered, some 200 MB: more than all of COCO's captions have


def words(caption: str) -> list[str]:
    """The words of a caption, in lower case; punctuation is left out.

    Left out are the marks ``'' ' `` ` . ? ! , : - -- ... ;`` and nothing else: signs such as
    ``&`` or ``%`` are words, and so are brackets, which become ``-lrb-`` and the like. Web and mail
    addresses and tags can hold control characters; elsewhere those end a word and are dropped.

    Source:
        Stanford CoreNLP 3.4.1, ``PTBTokenizer -preserveLines -lowerCase``, and the punctuation
        that coco-caption's ``ptbtokenizer.py`` takes out. Where they differ: docs/metrics.md.
    """
    return " ".join(tokens(caption)).split()


def tokens(caption: str) -> list[str]:
    """The same, but that a token can hold no-break spaces: the fraction ``2 1/2`` is one token."""
    found: list[str] = []
    for piece in caption.split(" "):
        known = _plain[piece]
        if known is None:
            return _scanned(caption)
        found += known
    return found


class _Plain(dict[str, tuple[str, ...] | None]):
    """The tokens of each plain piece seen so far; none where a piece is not plain."""

    def __missing__(self, piece: str) -> tuple[str, ...] | None:
        plain = not piece or _PLAIN.fullmatch(piece)
        found = tuple(_scanned(piece)) if plain else None
        if plain and len(self) < _MOST_PLAIN:
            self[piece] = found
        return found


_plain = _Plain()


def _scanned(caption: str) -> list[str]:
    # The tokeniser sees lines, and some rules ask what follows.
    text = _code_units(caption.replace("\n", " ")) + "\n"
    scanner, found, place = _scanner(), [], 0
    vain: set[tuple[int, int]] = set()
    while place < len(text):
        match = scanner.match(text, place, vain)
        if match is None:  # an unknown character, or the line's end
            place += 1
            continue
        rule = TOKEN_RULES[match.rule]
        end = match.end - rule.give_back
        found.append(rule.token(text[place:end]))
        place = end
    # coco-caption strips the line; an address can end in a wider space, and then loses it.
    line = _characters(" ".join(found)).lower().rstrip()
    return [token for token in line.split(" ") if token and token not in PUNCTUATION]


def _code_units(text: str) -> str:
    """As Java reads it: a character beyond U+FFFF is two. Half of one alone is dropped."""
    if text.isascii():
        return text
    units = memoryview(text.encode(_UTF_16, "ignore")).cast("H")
    return "".join(map(chr, units))


def _characters(units: str) -> str:
    if units.isascii():
        return units
    return units.encode(_UTF_16, "surrogatepass").decode(_UTF_16, "ignore")


@cache
def _scanner() -> Scanner:
    """Made when first needed: it takes some 20 ms."""
    return Scanner([each.rule for each in TOKEN_RULES], DEFINITIONS)
