"""What a caption of the drawn world asserts, by a grammar that never guesses.

A caption with a word or an order of words outside the grammar is not understood, and why is said.
It does not know whether what is asserted is true.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

from vl.data.captions.ptb.tokens import words
from vl.data.world.captions import (
    COUNT_WORDS,
    DOING,
    INTRODUCTIONS,
    RELATION_WORDS,
    SIDE_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    VERBS,
    WITH_WORDS,
)
from vl.data.world.kinds import KINDS, plural
from vl.data.world.scenes import COLOURS, GROUNDS, INVERSE, Relation

Amount = Literal["one", "two", "three", "several"]
_Number = Literal["one", "several"]  # singular and plural


class Said(NamedTuple):
    """A thing, or things alike, as a caption has it; None is what is left unsaid."""

    kind: str
    amount: Amount | None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None


class Claims(NamedTuple):
    """All that a caption asserts."""

    things: tuple[Said, ...]  # one or two
    relation: Relation | None = None  # of the first thing to the second
    ground: str | None = None


class NotUnderstood(NamedTuple):
    """A caption of which nothing is taken, and why."""

    reason: str


class _Term(NamedTuple):
    """One or more words that belong together."""

    tag: str  # a letter, by which the patterns below know it
    value: Any = None  # what it says
    number: _Number | None = None  # for what has a singular and a plural
    text: str = ""


# Tags: D a, M two, H the, A adjective, N noun, W with stripes, T that is, C and, G on the grass,
# R left of, S to its left, V lies, I lying, B is, E there is, P a picture of, X has.
_NOUN = "(?:D|H?M|H)?A*NW?(?:TA(?:CA)?)?"
_ONE, _OTHER = f"(?P<one>{_NOUN})", f"(?P<other>{_NOUN})"
_TRAITS, _ON = "(?P<traits>A(?:CA)?)", "(?P<ground>G)"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        f"[EP]?{_ONE}{_ON}?",
        f"{_ONE}[VI]{_ON}",
        f"{_ON}[EV]{_ONE}",
        f"{_ONE}{_ON}?B{_TRAITS}",
        f"[EP]?{_ONE}I?(?P<way>R){_OTHER}{_ON}?",
        f"{_ONE}[BV](?P<way>R){_OTHER}{_ON}?",
        f"(?P<way>R){_OTHER}[EV]{_ONE}",
        f"[EP]?{_ONE}C{_OTHER}{_ON}?",
        f"{_OTHER}X{_ONE}(?P<way>S)",
    )
)
_TRAIT_NAMES = ("colour", "size", "texture")


def parse(caption: str) -> Claims | NotUnderstood:
    """What a caption asserts.

    Case and full stops do not matter, nor whether it is ``a`` or ``an``. A thing that has two
    colours, sizes or textures is not understood, and neither is ``a balls`` nor ``two ball are``.

    Args:
        caption: of any source.
    """
    said = words(caption)
    if not said:
        return NotUnderstood("there are no words")
    terms: list[_Term] = []
    place = 0
    while place < len(said):
        term = _term_at(said, place)
        if term is None:
            return NotUnderstood(f"no such word here: {said[place]!r}")
        terms.append(term)
        place += len(term.text.split())
    try:
        found = set(_readings(terms))
    except _WrongError as error:
        return NotUnderstood(str(error))
    if len(found) > 1:
        return NotUnderstood("it can be read in two ways")
    return found.pop() if found else NotUnderstood("no such order of words")


class _WrongError(ValueError):
    """Words that do not go together."""


def _readings(terms: list[_Term]) -> Iterator[Claims]:
    tags = "".join(term.tag for term in terms)
    for pattern in _PATTERNS:
        match = pattern.fullmatch(tags)
        if match is None:
            continue
        spans = {name: match.span(name) for name, found in match.groupdict().items() if found}
        parts = {name: terms[start:end] for name, (start, end) in spans.items()}
        two = "C" in tags[spans["one"][1] : spans.get("other", (0, 0))[0]]  # "a ball and a key"
        inner = {place for start, end in spans.values() for place in range(start, end)}
        outer = [terms[place] for place in range(len(terms)) if place not in inner]
        numbers = [term.number for term in outer if term.tag in "BVEPX" and term.number]
        subject = "other" if "X" in tags else "one"
        things = []
        for name in ("one", "other"):
            if name in parts:
                broadcast = numbers if name == subject and not two else []
                things.append(_thing(parts[name], parts.get("traits", []), broadcast))
        way = parts["way"][0].value if "way" in parts else None
        ground = parts["ground"][0].value if "ground" in parts else None
        yield Claims(tuple(things), way, ground)


def _thing(terms: list[_Term], traits: list[_Term], numbers: list[_Number]) -> Said:
    """What is said of one thing, in its own words and behind ``is``."""
    (noun,) = (term for term in terms if term.tag == "N")
    known = {term.number for term in terms if term.number} | {*numbers}
    counted = next((term.value for term in terms if term.tag in "DM"), None)
    if counted is None and not any(term.tag == "H" for term in terms):
        known.add("several")  # "red balls"
    if len(known) > 1:
        raise _WrongError(f"one or several: {' '.join(term.text for term in terms)!r}")
    amount: Amount | None = counted or next(iter(known), None)
    found: dict[str, str] = {}
    for term in (*terms, *traits):
        if term.tag in "AW":
            name, value = term.value
            if name in found:
                raise _WrongError(f"its {name} is there twice: {noun.text!r}")
            found[name] = value
    return Said(noun.value, amount, *(found.get(name) for name in _TRAIT_NAMES))


def _term_at(said: list[str], place: int) -> _Term | None:
    """The longest term that begins at a word."""
    lexicon, longest = _lexicon()
    for length in range(longest, 0, -1):
        term = lexicon.get(" ".join(said[place : place + length]))
        if term is not None and len(said) >= place + length:
            return term
    return None


@cache
def _lexicon() -> tuple[dict[str, _Term], int]:
    """Every term by its words, and the number of words of the longest."""
    terms: dict[str, _Term] = {}

    def add(text: str, tag: str, value: Any = None, number: Any = None) -> None:
        assert text not in terms
        terms[text] = _Term(tag, value, number, text)

    for word in ("a", "an", "one"):
        add(word, "D", "one", "one")
    for word in COUNT_WORDS.values():
        add(word, "M", word, "several")
    add("the", "H")
    add("and", "C")
    add("has", "X", number="one")
    add("have", "X", number="several")
    for colour in COLOURS:
        add(colour, "A", ("colour", colour))
    _add_all(add, "A", "size", SIZE_WORDS)
    _add_all(add, "A", "texture", TEXTURE_WORDS)
    _add_all(add, "W", "texture", WITH_WORDS)
    for kind in KINDS:
        for word in kind.words:
            if plural(word) == word:
                add(word, "N", kind.name)
            else:
                add(word, "N", kind.name, "one")
                add(plural(word), "N", kind.name, "several")
    for ground in GROUNDS:
        add(f"on {ground}", "G", ground)
        add(f"on the {ground}", "G", ground)
    for relation, ways in RELATION_WORDS.items():
        for way in ways:
            add(way, "R", relation)
    for relation, ways in SIDE_WORDS.items():
        for way in ways:
            add(way, "S", relation)
    for one, several in VERBS.items():
        add(one, "V", number="one")
        add(several, "V", number="several")
    for doing in DOING:
        add(doing, "I")
    for word, number in (("is", "one"), ("are", "several")):
        add(word, "B", number=number)
        add(f"there {word}", "E", number=number)
        for that in ("that", "which"):
            add(f"{that} {word}", "T", number=number)
    for one, several in INTRODUCTIONS:
        if one == several:
            add(one, "P")
        else:
            add(one, "P", number="one")
            add(several, "P", number="several")
    return terms, max(len(text.split()) for text in terms)


def _add_all(
    add: Callable[[str, str, Any], None], tag: str, name: str, table: dict[Any, tuple[str, ...]]
) -> None:
    for value, called in table.items():
        for word in called:
            add(word, tag, (name, value))


assert set(INVERSE) == set(RELATION_WORDS)
