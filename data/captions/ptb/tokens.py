"""The PTB tokenizer as coco-caption uses it, without Java: captions to words."""

import re
import sys
from functools import cache

from vl.data.captions.ptb.rules import DEFINITIONS, TOKEN_RULES
from vl.data.captions.ptb.scanner import Rule, Scanner

# What coco-caption removes. Its list has -LRB- and the other brackets too, in capitals, which
# never match the tokenizer's lower-case -lrb-; hence brackets count in the scores.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
# Between two spaces, with tokens that do not depend on the context. Excluded are numbers ("2 1/2"
# is one token), tags, addresses, and a single letter with its full stop.
_PLAIN = re.compile(
    r"""(?!.*(?<![A-Za-z])[A-Za-z]\.)"?[A-Za-z]+(?:['-][A-Za-z]+)*[.,!?;"]*|[.,!?;&"-]"""
)
_UTF_16 = "utf-16-le" if sys.byteorder == "little" else "utf-16-be"
_MAX_CACHED = 1_000_000  # pieces, some 200 MB: more than all of COCO's captions have


def words(caption: str) -> list[str]:
    """The words of a caption, in lower case; punctuation is left out.

    Removed are the marks ``'' ' `` ` . ? ! , : - -- ... ;`` and nothing else: signs such as
    ``&`` or ``%`` are words, and so are brackets, which become ``-lrb-`` and the like. Web and mail
    addresses and tags can contain control characters; elsewhere those end a word and are dropped.

    Source:
        Stanford CoreNLP 3.4.1, ``PTBTokenizer -preserveLines -lowerCase``, and the punctuation
        that coco-caption's ``ptbtokenizer.py`` removes. docs/scores.md has the differences.
    """
    return " ".join(tokens(caption)).split()


def tokens(caption: str) -> list[str]:
    """As ``words``, but a token can contain no-break spaces: the fraction ``2 1/2`` is one."""
    result: list[str] = []
    for piece in caption.split(" "):
        piece_tokens = _piece_cache[piece]
        if piece_tokens is None:
            return scan(caption)
        result += piece_tokens
    return result


class _PieceCache(dict[str, tuple[str, ...] | None]):
    """The tokens of pieces between spaces; None where they depend on the context."""

    def __missing__(self, piece: str) -> tuple[str, ...] | None:
        is_plain = not piece or _PLAIN.fullmatch(piece)
        piece_tokens = tuple(scan(piece)) if is_plain else None
        if is_plain and len(self) < _MAX_CACHED:
            self[piece] = piece_tokens
        return piece_tokens


_piece_cache = _PieceCache()


def scan(caption: str) -> list[str]:
    """As ``tokens``, by the scanner alone, without the cache of pieces."""
    # The tokenizer reads lines, and some rules have a right context.
    text = _code_units(caption.replace("\n", " ")) + "\n"
    scanner, result, position = _scanner(), [], 0
    dead_ends: set[tuple[int, int]] = set()
    while position < len(text):
        match = scanner.match(text, position, dead_ends)
        if match is None:  # an unknown character, or the line's end
            position += 1
            continue
        rule = TOKEN_RULES[match.rule]
        end = match.end - rule.give_back
        result.append(rule.token(text[position:end]))
        position = end
    # coco-caption strips the line, and with it a wide space at the end of an address.
    line = _characters(" ".join(result)).lower().rstrip()
    return [token for token in line.split(" ") if token and token not in PUNCTUATION]


def _code_units(text: str) -> str:
    """UTF-16 code units as in Java, one character each; lone surrogates are dropped."""
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
    """Built on first use, which takes some 50 ms."""
    return Scanner([Rule(rule.body, rule.context) for rule in TOKEN_RULES], DEFINITIONS)
