"""Parser for captions of the drawn world: what a caption asserts, without guessing.

A caption with a word or a word order outside the grammar is not parsed, and the reason is given.
Whether an assertion is true is checked in vl/demo/truth.py.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

from vl.data.captions.ptb.tokens import words as tokenize
from vl.data.world.captions import (
    COUNT_WORDS,
    INTRODUCTIONS,
    POSTURES,
    RELATION_WORDS,
    SIDE_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    VERBS,
    WITH_WORDS,
)
from vl.data.world.kinds import KINDS, plural
from vl.data.world.scenes import COLORS, GROUNDS, Relation


class Mention(NamedTuple):
    """An object, or several alike, as a caption describes it; None where the caption is silent."""

    kind: str
    amount: Literal["one", "two", "three", "several"] | None
    color: str | None = None
    size: str | None = None
    texture: str | None = None


class Claims(NamedTuple):
    """Everything a caption asserts."""

    mentions: tuple[Mention, ...]  # one or two
    relation: Relation | None = None  # of the first mention to the second
    ground: str | None = None


class Phrase(NamedTuple):
    """Consecutive words of a caption that assert something, or nothing."""

    length: int  # in words
    attributes: tuple[str, ...]  # as in vl.demo.truth; empty if it asserts nothing
    mention: int | None = None  # index in Claims.mentions; None for relation and ground


class ParsedCaption(NamedTuple):
    """A caption within the grammar."""

    claims: Claims
    phrases: tuple[Phrase, ...]  # all words of the caption, in order


class ParseError(ValueError):
    """A caption is outside the grammar, or its words contradict each other."""


class _Term(NamedTuple):
    """An entry of the lexicon."""

    text: str
    tag: str  # a letter in the patterns below
    value: Any = None
    number: Literal["one", "several"] | None = None  # singular or plural

    @property
    def length(self) -> int:
        """In words."""
        return len(self.text.split())


# Tags: D a, M two, H the, A adjective, N noun, W with stripes, T that is, C and, G on the grass,
# R left of, S to its left, V lies, I lying, B is, E there is, P a picture of, X has.
_NOUN = "(?:D|H?M|H)?A*NW?(?:TA(?:CA)?)?"
_FIRST, _SECOND = f"(?P<first>{_NOUN})", f"(?P<second>{_NOUN})"
_TRAITS, _ON = "(?P<traits>A(?:CA)?)", "(?P<ground>G)"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        f"[EP]?{_FIRST}{_ON}?",
        f"{_FIRST}[VI]{_ON}",
        f"{_ON}[EV]{_FIRST}",
        f"{_FIRST}{_ON}?B{_TRAITS}",
        f"[EP]?{_FIRST}I?(?P<relation>R){_SECOND}{_ON}?",
        f"{_FIRST}[BV](?P<relation>R){_SECOND}{_ON}?",
        f"(?P<relation>R){_SECOND}[EV]{_FIRST}",
        f"[EP]?{_FIRST}C{_SECOND}{_ON}?",
        f"{_SECOND}X{_FIRST}(?P<relation>S)",
    )
)
_ATTRIBUTES = {"D": "count", "M": "count", "R": "relation", "S": "relation", "G": "ground"}


def parse(caption: str) -> ParsedCaption:
    """Parse a caption into its assertions and the phrases that make them.

    Case, full stops and the choice of ``a`` or ``an`` do not matter.

    Raises:
        ParseError: the caption is outside the grammar, an object has two colors, sizes or textures,
            or singular and plural disagree, as in ``a balls`` and ``two ball are``.
    """
    tokens = tokenize(caption)
    if not tokens:
        raise ParseError("there are no words")
    lexicon, pattern = _lexicon()
    terms = []
    for text, unknown in pattern.findall(" ".join(tokens)):
        if unknown:
            raise ParseError(f"unexpected word: {unknown!r}")
        terms.append(lexicon[text])
    readings = list(_readings(terms))
    if not readings:
        raise ParseError("unexpected word order")
    if any(reading.claims != readings[0].claims for reading in readings):
        raise ParseError("ambiguous")
    return readings[0]


def _readings(terms: list[_Term]) -> Iterator[ParsedCaption]:
    """What a caption asserts by each pattern that it matches."""
    tags = "".join(term.tag for term in terms)
    for match in filter(None, (pattern.fullmatch(tags) for pattern in _PATTERNS)):
        spans = {name: match.span(name) for name, text in match.groupdict().items() if text}
        parts = {name: terms[start:end] for name, (start, end) in spans.items()}
        coordinated = "C" in tags[spans["first"][1] : spans.get("second", (0, 0))[0]]
        inside = {index for span in spans.values() for index in range(*span)}
        verbs = [
            term for index, term in enumerate(terms) if index not in inside and term.tag in "BVEPX"
        ]
        subject = "second" if "X" in tags else "first"
        mentions = [
            _mention(
                parts[name],
                parts.get("traits", []),
                verbs if name == subject and not coordinated else [],
            )
            for name in ("first", "second")
            if name in parts
        ]
        relation, ground = (
            parts[name][0].value if name in parts else None for name in ("relation", "ground")
        )
        claims = Claims(tuple(mentions), relation, ground)
        yield ParsedCaption(claims, tuple(_phrases(terms, spans)))


def _phrases(terms: list[_Term], spans: dict[str, tuple[int, int]]) -> Iterator[Phrase]:
    """A phrase a term; a noun without a count word asserts the count as well."""
    mention_of = {
        index: mention
        for name, mention in (("first", 0), ("second", 1), ("traits", 0))
        for index in range(*spans.get(name, (0, 0)))
    }
    counted = {mention_of.get(index) for index, term in enumerate(terms) if term.tag in "DM"}
    for index, term in enumerate(terms):
        mention = mention_of.get(index)
        attributes: tuple[str, ...] = ()
        if term.tag in _ATTRIBUTES:
            attributes = (_ATTRIBUTES[term.tag],)
        elif term.tag in "AW":
            attributes = (term.value[0],)
        elif term.tag == "N":
            attributes = ("kind",) if mention in counted else ("kind", "count")
        yield Phrase(term.length, attributes, mention)


def _mention(terms: list[_Term], traits: list[_Term], verbs: list[_Term]) -> Mention:
    """A mention from its noun phrase, the adjectives after ``is``, and the verbs."""
    (noun,) = (term for term in terms if term.tag == "N")
    agreeing = {term.number for term in (*terms, *verbs) if term.number}
    amount = next((term.value for term in terms if term.tag in "DM"), None)
    if amount is None and not any(term.tag == "H" for term in terms):
        agreeing.add("several")  # "red balls"
    if len(agreeing) > 1:
        raise ParseError(f"singular and plural: {' '.join(term.text for term in terms)!r}")
    values: dict[str, str] = {}
    for name, value in (term.value for term in (*terms, *traits) if term.tag in "AW"):
        if name in values:
            raise ParseError(f"two values of {name}: {noun.text!r}")
        values[name] = value
    return Mention(noun.value, amount or next(iter(agreeing), None), **values)


@cache
def _lexicon() -> tuple[dict[str, _Term], re.Pattern[str]]:
    """Every term by its text, and a pattern of the longest term or, as second group, a word."""
    terms = {term.text: term for term in _terms()}
    longest_first = "|".join(sorted(terms, key=len, reverse=True))
    return terms, re.compile(rf"({longest_first})(?: |$)|(\S+)")


def _terms() -> Iterator[_Term]:
    for word in ("a", "an", "one"):
        yield _Term(word, "D", "one", "one")
    for word in COUNT_WORDS.values():
        yield _Term(word, "M", word, "several")
    yield _Term("the", "H")
    yield _Term("and", "C")
    for color in COLORS:
        yield _Term(color, "A", ("color", color))
    for tag, attribute, table in (
        ("A", "size", SIZE_WORDS),
        ("A", "texture", TEXTURE_WORDS),
        ("W", "texture", WITH_WORDS),
        ("R", "", RELATION_WORDS),
        ("S", "", SIDE_WORDS),
        ("G", "", {ground: (f"on {ground}", f"on the {ground}") for ground in GROUNDS}),
    ):
        for value, texts in table.items():
            for text in texts:
                yield _Term(text, tag, (attribute, value) if attribute else value)
    for posture in POSTURES:
        yield _Term(posture, "I")
    forms: tuple[tuple[str, str, str, str | None], ...] = (
        *((word, plural(word), "N", kind.name) for kind in KINDS for word in kind.words),
        *((*verb, "V", None) for verb in VERBS.items()),
        *((*introduction, "P", None) for introduction in INTRODUCTIONS),
        ("has", "have", "X", None),
        ("is", "are", "B", None),
        ("there is", "there are", "E", None),
        ("that is", "that are", "T", None),
        ("which is", "which are", "T", None),
    )
    for one, several, tag, meaning in forms:
        yield _Term(one, tag, meaning, None if one == several else "one")
        if one != several:
            yield _Term(several, tag, meaning, "several")
