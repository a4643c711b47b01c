"""Captions of the drawn world against its scenes: precision and recall by attribute, false words.

Each mention of a caption is matched with one group of the scene, so that a color counts only for
the object that has it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

from vl.data.captions.ptb.tokens import words as tokenize
from vl.data.world.scenes import Scene
from vl.demo.caption_parser import Claims, ParseError, Phrase, parse

ATTRIBUTES = ("kind", "color", "count", "size", "texture", "relation", "ground")
_COUNTS = {"one": (1,), "two": (2,), "three": (3,), "several": (2, 3)}


class Assertion(NamedTuple):
    """A single assertion of a caption."""

    attribute: str  # of ATTRIBUTES
    value: str  # "red"
    true: bool
    mention: int | None = None  # index in ``Claims.mentions``; None for relation and ground
    group: int | None = None  # index in ``Scene.groups`` of the matched group


class CaptionTruth(NamedTuple):
    """The assertions of a caption, and the facts of its scene."""

    assertions: tuple[Assertion, ...]
    facts: dict[str, int]  # of the scene, by attribute
    recalled: dict[str, int]  # facts that the caption asserts, by attribute
    phrases: tuple[Phrase, ...] = ()  # of the caption
    error: str | None = None  # why the caption could not be parsed; it asserts nothing then

    @property
    def all_true(self) -> bool:
        """Whether the caption was parsed and every assertion is true."""
        return self.error is None and all(a.true for a in self.assertions)

    @property
    def main_kind_and_color(self) -> bool:
        """Whether kind and color of the main object are asserted correctly, of one mention."""
        correct = {a.attribute for a in self.assertions if a.group == 0 and a.true}
        return {"kind", "color"} <= correct

    @property
    def hallucinating(self) -> bool:
        """Whether the caption mentions an object that is not there."""
        return any(a.attribute == "kind" and not a.true for a in self.assertions)


class AttributeCounts(NamedTuple):
    """Counts of an attribute over captions."""

    asserted: int
    true: int  # of the assertions
    facts: int
    recalled: int  # of the facts


class TruthScores(NamedTuple):
    """Results over captions."""

    captions: int
    attributes: dict[str, AttributeCounts]
    main_kind_and_color: int  # captions
    all_true: int  # captions
    hallucinating: int  # captions that mention an object that is not there


def check_caption(caption: str, scene: Scene) -> CaptionTruth:
    """Check every assertion of a caption against its scene.

    Mentions and groups are matched so that most kinds are true, then most assertions. All
    assertions of an unmatched mention are false. "Some balls" are two or three. Facts are the
    textures of striped and spotted objects only, and where two objects are: that one is bigger is a
    true assertion, but none of the facts.
    """
    facts = {name: len(scene.groups) for name in ("kind", "color", "count", "size")}
    facts["texture"] = sum(group.texture != "plain" for group in scene.groups)
    facts["relation"] = len(scene.groups) - 1
    facts["ground"] = 1
    try:
        claims, phrases = parse(caption)
    except ParseError as error:
        return CaptionTruth((), facts, dict.fromkeys(ATTRIBUTES, 0), error=str(error))
    assertions = max(
        (tuple(_assertions(claims, scene, match)) for match in _matches(claims, scene)),
        key=lambda matched: (
            sum(a.true for a in matched if a.attribute == "kind"),
            sum(a.true for a in matched),
        ),
    )
    not_facts = ("plain", "bigger than", "smaller than")
    asserted = [a.attribute for a in assertions if a.true and a.value not in not_facts]
    recalled = {name: asserted.count(name) for name in ATTRIBUTES}
    return CaptionTruth(assertions, facts, recalled, phrases)


def truth_scores(captions: Sequence[str], scenes: Sequence[Scene]) -> TruthScores:
    """Score captions against their scenes, one an image.

    A caption that cannot be parsed has no assertions: it does not change the precision, but its
    facts count as not recalled.
    """
    truths = [
        check_caption(caption, scene) for caption, scene in zip(captions, scenes, strict=True)
    ]
    attributes = {}
    for name in ATTRIBUTES:
        verdicts = [a.true for truth in truths for a in truth.assertions if a.attribute == name]
        facts = sum(truth.facts[name] for truth in truths)
        recalled = sum(truth.recalled[name] for truth in truths)
        attributes[name] = AttributeCounts(len(verdicts), sum(verdicts), facts, recalled)
    return TruthScores(
        captions=len(truths),
        attributes=attributes,
        main_kind_and_color=sum(truth.main_kind_and_color for truth in truths),
        all_true=sum(truth.all_true for truth in truths),
        hallucinating=sum(truth.hallucinating for truth in truths),
    )


def mark_caption(caption: str, scene: Scene) -> list[tuple[str, bool | None]]:
    """Split a caption into true, false and neutral pieces.

    Joined by spaces, the pieces are the caption. A noun without a count word asserts the count as
    well: for two balls, "a" in "a red ball" is false, and so is "ball" in "the ball is red". A
    caption that cannot be parsed is one neutral piece.
    """
    check = check_caption(caption, scene)
    pieces = [(piece, len(tokenize(piece))) for piece in caption.split(" ")]
    # Rarely, a piece alone is tokenized differently than within the caption.
    if check.error or [token for piece, _ in pieces for token in tokenize(piece)] != tokenize(
        caption
    ):
        return [(caption, None)]
    facts = {(a.attribute, a.mention): a.true for a in check.assertions}
    truth_of = [
        _all_true(facts.get((attribute, phrase.mention)) for attribute in phrase.attributes)
        for phrase in check.phrases
    ]
    phrase_of = [index for index, phrase in enumerate(check.phrases) for _ in range(phrase.length)]
    marked: list[tuple[str, bool | None]] = []
    start, previous = 0, None
    for piece, count in pieces:
        indices = set(phrase_of[start : start + count])
        truth = _all_true(truth_of[index] for index in indices)
        if len(indices) == 1 and indices == previous:
            marked[-1] = (f"{marked[-1][0]} {piece}", truth)
        else:
            marked.append((piece, truth))
        start, previous = start + count, indices
    return marked


def _all_true(truths: Iterable[bool | None]) -> bool | None:
    """Whether all assertions are true; None without an assertion."""
    assertions = [truth for truth in truths if truth is not None]
    return all(assertions) if assertions else None


def _matches(claims: Claims, scene: Scene) -> Iterator[tuple[int | None, ...]]:
    """Every assignment of mentions to different groups, or None where groups are lacking."""
    lacking = len(claims.mentions) - len(scene.groups)
    return permutations([*range(len(scene.groups)), *[None] * lacking], len(claims.mentions))


def _assertions(claims: Claims, scene: Scene, match: tuple[int | None, ...]) -> Iterator[Assertion]:
    for position, (mention, index) in enumerate(zip(claims.mentions, match, strict=True)):
        group = None if index is None else scene.groups[index]
        for name in ("kind", "color", "count", "size", "texture"):
            value = mention.amount if name == "count" else getattr(mention, name)
            if value is not None:
                true = getattr(group, name, None) in _COUNTS.get(value, (value,))
                yield Assertion(name, value, true, position, index)
    if claims.relation is not None:
        first, second = match
        true = None not in match and claims.relation in scene.relations(first or 0, second or 0)
        yield Assertion("relation", claims.relation, true)
    if claims.ground is not None:
        yield Assertion("ground", claims.ground, claims.ground == scene.ground)
