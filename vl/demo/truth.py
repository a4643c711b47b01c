"""Precision and recall of captions of the drawn world, attribute by attribute, against the scenes.

Each mention of a caption is matched with one group of the scene, so that a color counts only for
the object that has it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

from vl.data.world.scenes import Group, Scene
from vl.demo.caption_parser import Claims, Mention, ParseError, parse
from vl.version import __version__

ATTRIBUTES = ("kind", "color", "count", "size", "texture", "relation", "ground")
_COUNTS = {"one": (1,), "two": (2,), "three": (3,), "several": (2, 3)}


class Assertion(NamedTuple):
    """A single assertion of a caption."""

    attribute: str  # of ATTRIBUTES
    value: str  # "red"
    true: bool
    group: int | None  # index in ``Scene.groups`` of the matched group


class CaptionTruth(NamedTuple):
    """The assertions of a caption, and the facts of its scene."""

    assertions: tuple[Assertion, ...]
    facts: dict[str, int]  # of the scene, by attribute
    recalled: dict[str, int]  # facts that the caption asserts, by attribute
    error: str | None = None  # why the caption could not be parsed; it asserts nothing then

    @property
    def all_true(self) -> bool:
        """Whether the caption was parsed and every assertion is true."""
        return self.error is None and all(assertion.true for assertion in self.assertions)

    @property
    def main_kind_and_color(self) -> bool:
        """Whether kind and color of the main object are asserted correctly, of one mention."""
        attributes = {
            assertion.attribute
            for assertion in self.assertions
            if assertion.group == 0 and assertion.true
        }
        return {"kind", "color"} <= attributes


class AttributeCounts(NamedTuple):
    """Counts of an attribute over captions."""

    asserted: int
    true: int  # of the assertions
    facts: int
    recalled: int  # of the facts

    @property
    def precision(self) -> float | None:
        """True assertions among all; 1 minus the hallucination rate."""
        return self.true / self.asserted if self.asserted else None

    @property
    def recall(self) -> float | None:
        """Asserted facts among all."""
        return self.recalled / self.facts if self.facts else None


class TruthScores(NamedTuple):
    """Results over captions."""

    captions: int
    unparsed: tuple[tuple[int, str], ...]  # index of the caption, and the parser's error
    attributes: dict[str, AttributeCounts]
    main_kind_and_color: int  # captions
    all_true: int  # captions
    hallucinating: int  # captions that mention an object that is not there

    @property
    def signature(self) -> str:
        """Settings that change the scores."""
        return (
            f"truth | drawn world | captions {self.captions}, unparsed {len(self.unparsed)} | "
            f"vl {__version__}"
        )


def check_caption(caption: str, scene: Scene) -> CaptionTruth:
    """Check every assertion of a caption against its scene.

    Args:
        caption: see ``caption_parser.parse`` for the grammar.
        scene: what the image shows.

    Returns:
        Mentions and groups are matched so that most kinds are true, then most assertions. All
        assertions of an unmatched mention are false. "Some balls" are two or three. Facts are the
        textures of striped and spotted objects only, and where two objects are: that one is bigger
        is a true assertion, but none of the facts.
    """
    facts = {name: len(scene.groups) for name in ("kind", "color", "count", "size")}
    facts["texture"] = sum(group.texture != "plain" for group in scene.groups)
    facts["relation"] = len(scene.groups) - 1
    facts["ground"] = 1
    claims = parse(caption)
    if isinstance(claims, ParseError):
        return CaptionTruth((), facts, dict.fromkeys(ATTRIBUTES, 0), claims.reason)
    assertions = max(
        (tuple(_assertions(claims, scene, match)) for match in _matches(claims, scene)),
        key=lambda matched: (
            sum(assertion.true for assertion in matched if assertion.attribute == "kind"),
            sum(assertion.true for assertion in matched),
        ),
    )
    facts_asserted = [assertion.attribute for assertion in assertions if _is_true_fact(assertion)]
    recalled = {name: facts_asserted.count(name) for name in ATTRIBUTES}
    return CaptionTruth(assertions, facts, recalled)


def truth_scores(captions: Sequence[str], scenes: Sequence[Scene]) -> TruthScores:
    """Score captions against their scenes.

    Args:
        captions: one an image.
        scenes: in the order of the captions.

    Returns:
        The counts. A caption that cannot be parsed has no assertions: it does not change the
        precision, but its facts count as not recalled.

    Raises:
        ValueError: there is no caption, or the lengths differ.
    """
    if not captions:
        raise ValueError("expected at least one caption")
    if len(captions) != len(scenes):
        raise ValueError(f"{len(captions)} captions, but {len(scenes)} scenes")
    truths = [
        check_caption(caption, scene) for caption, scene in zip(captions, scenes, strict=True)
    ]
    return TruthScores(
        captions=len(truths),
        unparsed=tuple(
            (index, truth.error) for index, truth in enumerate(truths) if truth.error is not None
        ),
        attributes={name: _count(truths, name) for name in ATTRIBUTES},
        main_kind_and_color=sum(truth.main_kind_and_color for truth in truths),
        all_true=sum(truth.all_true for truth in truths),
        hallucinating=sum(
            any(
                assertion.attribute == "kind" and not assertion.true
                for assertion in truth.assertions
            )
            for truth in truths
        ),
    )


def _count(truths: Sequence[CaptionTruth], name: str) -> AttributeCounts:
    assertions = [
        assertion
        for truth in truths
        for assertion in truth.assertions
        if assertion.attribute == name
    ]
    return AttributeCounts(
        asserted=len(assertions),
        true=sum(assertion.true for assertion in assertions),
        facts=sum(truth.facts[name] for truth in truths),
        recalled=sum(truth.recalled[name] for truth in truths),
    )


def _is_true_fact(assertion: Assertion) -> bool:
    return assertion.true and assertion.value not in ("plain", "bigger than", "smaller than")


def _matches(claims: Claims, scene: Scene) -> Iterator[tuple[int | None, ...]]:
    """Every assignment of mentions to different groups, or None where groups are lacking."""
    count = len(claims.mentions)
    groups: list[int | None] = [*range(len(scene.groups))]
    groups += [None] * max(0, count - len(groups))
    yield from permutations(groups, count)


def _assertions(claims: Claims, scene: Scene, match: tuple[int | None, ...]) -> Iterator[Assertion]:
    for mention, index in zip(claims.mentions, match, strict=True):
        group = None if index is None else scene.groups[index]
        for name, value_of, holds in _TRAITS:
            value = value_of(mention)
            if value is not None:
                yield Assertion(name, value, group is not None and holds(group, value), index)
    if claims.relation is not None:
        first, second = match
        true = first is not None and second is not None
        true = true and claims.relation in scene.relations(first or 0, second or 0)
        yield Assertion("relation", claims.relation, true, first)
    if claims.ground is not None:
        yield Assertion("ground", claims.ground, claims.ground == scene.ground, None)


_Trait = tuple[str, Callable[[Mention], str | None], Callable[[Group, str], bool]]
_TRAITS: tuple[_Trait, ...] = (
    ("kind", lambda mention: mention.kind, lambda group, value: group.kind == value),
    ("color", lambda mention: mention.color, lambda group, value: group.color == value),
    ("count", lambda mention: mention.amount, lambda group, value: group.count in _COUNTS[value]),
    ("size", lambda mention: mention.size, lambda group, value: group.size == value),
    ("texture", lambda mention: mention.texture, lambda group, value: group.texture == value),
)
