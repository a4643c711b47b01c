"""How much of what captions say of the drawn world is true, and how much of the truth they say.

A caption's things are held against those of its picture, each against one; so a colour is right
only for the thing that has it. It does not know how captions were made.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

from vl.data.world.scenes import Group, Scene
from vl.demo.caption_parser import Claims, NotUnderstood, Said, parse
from vl.version import __version__

ATTRIBUTES = ("kind", "colour", "count", "size", "texture", "relation", "ground")
_COUNTS = {"one": (1,), "two": (2,), "three": (3,), "several": (2, 3)}


class Assertion(NamedTuple):
    """One thing that a caption says."""

    attribute: str  # of ATTRIBUTES
    value: str  # "red"
    true: bool
    group: int | None  # the place in ``Scene.groups`` that it is held against, if there is one


class Judgement(NamedTuple):
    """What one caption says, and what there was to say."""

    assertions: tuple[Assertion, ...]
    there: dict[str, int]  # facts of the scene, for each attribute
    found: dict[str, int]  # those of them that the caption says
    reason: str | None = None  # why it was not understood; nothing is taken of it then

    @property
    def understood(self) -> bool:
        """Whether all of the caption is within the grammar."""
        return self.reason is None

    @property
    def all_true(self) -> bool:
        """Whether it was understood, and nothing in it is false."""
        return self.understood and all(each.true for each in self.assertions)

    @property
    def main_kind_and_colour(self) -> bool:
        """Whether it says the main thing's kind and its colour, both rightly, of one thing."""
        right = {each.attribute for each in self.assertions if each.group == 0 and each.true}
        return {"kind", "colour"} <= right


class Tally(NamedTuple):
    """Of one attribute, counted over captions."""

    said: int  # assertions
    true: int  # of them
    there: int  # facts of the scenes
    found: int  # of them

    @property
    def precision(self) -> float | None:
        """The share of what is said that is true; 1 less the rate of hallucination."""
        return self.true / self.said if self.said else None

    @property
    def recall(self) -> float | None:
        """The share of what is there that is said."""
        return self.found / self.there if self.there else None


class TruthScores(NamedTuple):
    """Of many captions."""

    captions: int
    not_understood: tuple[tuple[int, str], ...]  # place among the captions, and why
    attributes: dict[str, Tally]
    main_kind_and_colour: int  # captions
    all_true: int  # captions
    hallucinating: int  # captions that name a kind that is not there

    @property
    def signature(self) -> str:
        """What could change the figures."""
        return (
            f"truth | drawn world | captions {self.captions}, not understood "
            f"{len(self.not_understood)} | vl {__version__}"
        )


def judge(caption: str, scene: Scene) -> Judgement:
    """What a caption asserts, each assertion true or false of its scene.

    Args:
        caption: from any source; see ``caption_parser.parse`` for what is understood.
        scene: what the picture shows.

    Returns:
        Things that are said and things that are there are paired so that most kinds agree, then
        most of all else; what is said of a thing counts for the one it is paired with. What is
        said of a thing too many is false throughout. "Some balls" are two or three. Texture is a
        fact to be said of striped and spotted things only, and the relation to be said of two
        things is where they are: who says that one is bigger has said something true, but none of
        these facts.
    """
    there = {name: len(scene.groups) for name in ("kind", "colour", "count", "size")}
    there["texture"] = sum(group.texture != "plain" for group in scene.groups)
    there["relation"] = len(scene.groups) - 1
    there["ground"] = 1
    claims = parse(caption)
    if isinstance(claims, NotUnderstood):
        return Judgement((), there, dict.fromkeys(ATTRIBUTES, 0), claims.reason)
    assertions = max(
        (tuple(_assertions(claims, scene, pairs)) for pairs in _pairings(claims, scene)),
        key=lambda found: (
            sum(each.true for each in found if each.attribute == "kind"),
            sum(each.true for each in found),
        ),
    )
    found = {
        name: sum(each.true and _to_be_said(each) for each in assertions if each.attribute == name)
        for name in ATTRIBUTES
    }
    return Judgement(assertions, there, found)


def truth_scores(captions: Sequence[str], scenes: Sequence[Scene]) -> TruthScores:
    """How true captions are, and how complete.

    Args:
        captions: one of each picture, from any source.
        scenes: what the pictures show, in the same order.

    Returns:
        The counts. A caption that is not understood asserts nothing: precision leaves it out, but
        recall and the counts of captions have it as one that says nothing right.

    Raises:
        ValueError: there is no caption, or there are more or fewer scenes.
    """
    if not captions:
        raise ValueError("there is no caption to judge")
    if len(captions) != len(scenes):
        raise ValueError(f"{len(captions)} captions, but {len(scenes)} scenes")
    judged = [judge(caption, scene) for caption, scene in zip(captions, scenes, strict=True)]
    return TruthScores(
        captions=len(judged),
        not_understood=tuple(
            (place, each.reason) for place, each in enumerate(judged) if each.reason is not None
        ),
        attributes={name: _tally(judged, name) for name in ATTRIBUTES},
        main_kind_and_colour=sum(each.main_kind_and_colour for each in judged),
        all_true=sum(each.all_true for each in judged),
        hallucinating=sum(
            any(not one.true for one in each.assertions if one.attribute == "kind")
            for each in judged
        ),
    )


def lines(scores: TruthScores) -> Iterator[str]:
    """The scores as people read them."""
    yield f"{'':10} precision      recall"
    for name, tally in scores.attributes.items():
        precision = _share(tally.true, tally.said)
        yield f"{name:10} {precision:14} {_share(tally.found, tally.there)}"
    for what, count in (
        ("kind and colour of the main thing", scores.main_kind_and_colour),
        ("nothing false", scores.all_true),
        ("a kind that is not there", scores.hallucinating),
        ("not understood", len(scores.not_understood)),
    ):
        yield f"captions with {what}: {_share(count, scores.captions)}"
    yield scores.signature


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f} of {whole}" if whole else "none"


def _tally(judged: Sequence[Judgement], name: str) -> Tally:
    said = [one for each in judged for one in each.assertions if one.attribute == name]
    return Tally(
        said=len(said),
        true=sum(one.true for one in said),
        there=sum(each.there[name] for each in judged),
        found=sum(each.found[name] for each in judged),
    )


def _to_be_said(assertion: Assertion) -> bool:
    return assertion.value not in ("plain", "bigger than", "smaller than")


def _pairings(claims: Claims, scene: Scene) -> Iterator[tuple[int | None, ...]]:
    """Every way to hold each thing that is said against another group, or none that is left."""
    said = len(claims.things)
    groups: list[int | None] = [*range(len(scene.groups))]
    groups += [None] * max(0, said - len(groups))
    yield from permutations(groups, said)


def _assertions(claims: Claims, scene: Scene, pairs: tuple[int | None, ...]) -> Iterator[Assertion]:
    for said, place in zip(claims.things, pairs, strict=True):
        group = None if place is None else scene.groups[place]
        for name, of_said, of_group in _TRAITS:
            value = of_said(said)
            if value is not None:
                true = group is not None and of_group(group, value)
                yield Assertion(name, value, true, place)
    if claims.relation is not None:
        one, other = pairs
        true = one is not None and other is not None
        true = true and claims.relation in scene.relations(one or 0, other or 0)
        yield Assertion("relation", claims.relation, true, one)
    if claims.ground is not None:
        yield Assertion("ground", claims.ground, claims.ground == scene.ground, None)


_Trait = tuple[str, Callable[[Said], str | None], Callable[[Group, str], bool]]
_TRAITS: tuple[_Trait, ...] = (
    ("kind", lambda said: said.kind, lambda group, value: group.kind == value),
    ("colour", lambda said: said.colour, lambda group, value: group.colour == value),
    ("count", lambda said: said.amount, lambda group, value: group.amount in _COUNTS[value]),
    ("size", lambda said: said.size, lambda group, value: group.size == value),
    ("texture", lambda said: said.texture, lambda group, value: group.texture == value),
)
