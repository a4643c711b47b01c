"""Parser for captions of the drawn world: what a caption asserts, without guessing.

A caption with a word or a word order outside the grammar is not parsed, and the reason is given.
Whether an assertion is true is checked in vl/demo/truth.py.
"""

import re
from collections.abc import Callable, Iterator
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

Amount = Literal["one", "two", "three", "several"]
_GrammaticalNumber = Literal["one", "several"]  # singular and plural


class Mention(NamedTuple):
    """An object, or several alike, as a caption describes it; None where the caption is silent."""

    kind: str
    amount: Amount | None
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


class ParseError(NamedTuple):
    """Why a caption is outside the grammar."""

    reason: str


class _Term(NamedTuple):
    """An entry of the lexicon."""

    tag: str  # a letter in the patterns below
    value: Any = None
    number: _GrammaticalNumber | None = None
    text: str = ""


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
_TRAIT_NAMES = ("color", "size", "texture")


def parse(caption: str) -> Claims | ParseError:
    """Parse a caption into its assertions.

    Case, full stops and the choice of ``a`` or ``an`` do not matter. An object with two colors,
    sizes or textures is an error, and so are ``a balls`` and ``two ball are``.
    """
    parsed = parse_phrases(caption)
    return parsed if isinstance(parsed, ParseError) else parsed.claims


def parse_phrases(caption: str) -> ParsedCaption | ParseError:
    """Parse a caption into its assertions and the phrases that make them."""
    tokens = tokenize(caption)
    if not tokens:
        return ParseError("there are no words")
    terms: list[_Term] = []
    position = 0
    while position < len(tokens):
        term = _longest_term(tokens, position)
        if term is None:
            return ParseError(f"unexpected word: {tokens[position]!r}")
        terms.append(term)
        position += len(term.text.split())
    try:
        readings = list(_readings(terms))
    except _AgreementError as error:
        return ParseError(str(error))
    if not readings:
        return ParseError("unexpected word order")
    if any(reading.claims != readings[0].claims for reading in readings):
        return ParseError("ambiguous")
    return readings[0]


class _AgreementError(ValueError):
    """Words that contradict each other."""


def _readings(terms: list[_Term]) -> Iterator[ParsedCaption]:
    """What a caption asserts by each pattern that it matches."""
    tags = "".join(term.tag for term in terms)
    for pattern in _PATTERNS:
        match = pattern.fullmatch(tags)
        if match is None:
            continue
        spans = {name: match.span(name) for name, text in match.groupdict().items() if text}
        parts = {name: terms[start:end] for name, (start, end) in spans.items()}
        coordinated = "C" in tags[spans["first"][1] : spans.get("second", (0, 0))[0]]
        inside = {index for start, end in spans.values() for index in range(start, end)}
        outside = [term for index, term in enumerate(terms) if index not in inside]
        numbers = [term.number for term in outside if term.tag in "BVEPX" and term.number]
        subject = "second" if "X" in tags else "first"
        mentions = [
            _mention(
                parts[name],
                parts.get("traits", []),
                numbers if name == subject and not coordinated else [],
            )
            for name in ("first", "second")
            if name in parts
        ]
        relation = parts["relation"][0].value if "relation" in parts else None
        ground = parts["ground"][0].value if "ground" in parts else None
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
        if term.tag in "DM":
            attributes = ("count",)
        elif term.tag in "AW":
            attributes = (term.value[0],)
        elif term.tag == "N":
            attributes = ("kind",) if mention in counted else ("kind", "count")
        elif term.tag in "RS":
            attributes = ("relation",)
        elif term.tag == "G":
            attributes = ("ground",)
        yield Phrase(len(term.text.split()), attributes, mention)


def _mention(terms: list[_Term], traits: list[_Term], numbers: list[_GrammaticalNumber]) -> Mention:
    """A mention from its noun phrase, the adjectives after ``is``, and the verbs' numbers."""
    (noun,) = (term for term in terms if term.tag == "N")
    agreeing = {term.number for term in terms if term.number} | {*numbers}
    counted = next((term.value for term in terms if term.tag in "DM"), None)
    if counted is None and not any(term.tag == "H" for term in terms):
        agreeing.add("several")  # "red balls"
    if len(agreeing) > 1:
        raise _AgreementError(f"singular and plural: {' '.join(term.text for term in terms)!r}")
    amount: Amount | None = counted or next(iter(agreeing), None)
    values: dict[str, str] = {}
    for term in (*terms, *traits):
        if term.tag in "AW":
            name, value = term.value
            if name in values:
                raise _AgreementError(f"two values of {name}: {noun.text!r}")
            values[name] = value
    return Mention(noun.value, amount, *(values.get(name) for name in _TRAIT_NAMES))


def _longest_term(tokens: list[str], position: int) -> _Term | None:
    """The longest term that begins at a word."""
    lexicon, longest = _lexicon()
    for length in range(min(longest, len(tokens) - position), 0, -1):
        term = lexicon.get(" ".join(tokens[position : position + length]))
        if term is not None:
            return term
    return None


@cache
def _lexicon() -> tuple[dict[str, _Term], int]:
    """Every term by its text, and the number of words of the longest."""
    terms: dict[str, _Term] = {}

    def add(text: str, tag: str, value: Any = None, number: Any = None) -> None:
        assert text not in terms
        terms[text] = _Term(tag, value, number, text)

    def add_forms(singular: str, plural: str, tag: str, value: Any = None) -> None:
        if singular == plural:
            add(singular, tag, value)
        else:
            add(singular, tag, value, "one")
            add(plural, tag, value, "several")

    for word in ("a", "an", "one"):
        add(word, "D", "one", "one")
    for word in COUNT_WORDS.values():
        add(word, "M", word, "several")
    add("the", "H")
    add("and", "C")
    add_forms("has", "have", "X")
    for color in COLORS:
        add(color, "A", ("color", color))
    _add_all(add, "A", SIZE_WORDS, "size")
    _add_all(add, "A", TEXTURE_WORDS, "texture")
    _add_all(add, "W", WITH_WORDS, "texture")
    _add_all(add, "R", RELATION_WORDS)
    _add_all(add, "S", SIDE_WORDS)
    _add_all(add, "G", {ground: (f"on {ground}", f"on the {ground}") for ground in GROUNDS})
    for kind in KINDS:
        for word in kind.words:
            add_forms(word, plural(word), "N", kind.name)
    for verb, verb_plural in VERBS.items():
        add_forms(verb, verb_plural, "V")
    for participle in POSTURES:
        add(participle, "I")
    add_forms("is", "are", "B")
    add_forms("there is", "there are", "E")
    for pronoun in ("that", "which"):
        add_forms(f"{pronoun} is", f"{pronoun} are", "T")
    for singular, several in INTRODUCTIONS:
        add_forms(singular, several, "P")
    return terms, max(len(text.split()) for text in terms)


def _add_all(
    add: Callable[[str, str, Any], None],
    tag: str,
    table: dict[Any, tuple[str, ...]],
    attribute: str | None = None,
) -> None:
    for value, texts in table.items():
        for text in texts:
            add(text, tag, (attribute, value) if attribute else value)
