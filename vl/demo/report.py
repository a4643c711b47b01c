"""The demonstration's page: figures, captions with what is true and false in them, curves, a map.

One file that opens without a network and needs no script. It knows nothing of how models are made.
"""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jinja2
from PIL import Image, UnidentifiedImageError

from vl.data.captions.ptb.tokens import words
from vl.data.errors import FormatError
from vl.data.files import write_text
from vl.data.words.vectors import WordVectors
from vl.data.world.captions import (
    COUNT_WORDS,
    INTRODUCTIONS,
    RELATION_WORDS,
    SIDE_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    WITH_WORDS,
)
from vl.data.world.kinds import KINDS, OF, plural
from vl.data.world.scenes import COLOURS, GROUNDS, SPLITS, Group, Scene
from vl.demo.plots import Plot, curves, map_of_kinds
from vl.demo.truth import judge
from vl.version import __version__

_MOST = 12  # pictures of a split on the page
_SIDE = 192  # pixels of the page that a picture is about as wide as
_ABOUT = {
    "test": "Kinds and colours as in training, in new pictures.",
    "held-out-combinations": "Each kind and each colour is in training, but never together.",
    "held-out-kinds": "No training picture shows these kinds; only the text tells of them.",
}
_ORDER = (*_ABOUT, *(split for split in SPLITS if split not in _ABOUT))


class Stage(NamedTuple):
    """A part of the work."""

    name: str
    seconds: float


class Figures(NamedTuple):
    """A table."""

    heading: str
    columns: tuple[str, ...]  # the first is of what stands at the left of the rows
    rows: tuple[tuple[str, ...], ...]  # formatted, each with as many cells as there are columns
    note: str = ""


class Label(NamedTuple):
    """What a labeller says."""

    text: str  # synonyms, parted by commas
    score: float  # the higher the likelier


class Shown(NamedTuple):
    """A picture and what is said of it."""

    path: Path  # a JPEG or PNG file
    scene: Scene  # its split is the picture's
    caption: str
    labels: tuple[Label, ...]  # the best first


class Trained(NamedTuple):
    """A training."""

    name: str
    log: Path  # its ``log.jsonl``


class Report(NamedTuple):
    """All that the page shows."""

    seed: int
    seconds: float  # in all
    stages: tuple[Stage, ...]
    pictures: dict[str, int]  # how many, by split
    figures: tuple[Figures, ...]
    shown: tuple[Shown, ...]
    trained: tuple[Trained, ...]
    words: WordVectors


def write(path: Path, report: Report) -> None:
    """Write the page, whole or not at all.

    Raises:
        FormatError: a picture is neither a JPEG nor a PNG file, or a log is broken.
        ValueError: a row of figures has more or fewer cells than there are columns.
        OSError: a picture or a log cannot be read, or the page not written.
    """
    for each in report.figures:
        for row in each.rows:
            if len(row) != len(each.columns):
                problem = f"a row of {len(row)} cells under {len(each.columns)} columns"
                raise ValueError(f"{each.heading}: {problem}: {', '.join(row)}")
    plot, note = map_of_kinds(report.words)
    longest = max((stage.seconds for stage in report.stages), default=0) or 1
    page = _template().render(
        version=__version__,
        seed=report.seed,
        seconds=_duration(report.seconds),
        stages=[
            (each.name, _duration(each.seconds), round(100 * each.seconds / longest, 1))
            for each in report.stages
        ],
        pictures=report.pictures,
        figures=report.figures,
        groups=list(_groups(report.shown)),
        trained=[(each.name, [_drawn(one) for one in curves(each.log)]) for each in report.trained],
        map=_drawn(plot) if plot else None,
        map_note=note,
    )
    write_text(path, page)


def marked(caption: str, scene: Scene) -> list[tuple[str, bool | None]]:
    """A caption in pieces, each true or false of a scene, or None if it asserts nothing.

    Joined by spaces, the pieces are the caption. A noun without a count asserts how many there are
    as well: of two balls, "a red ball" has a false "a", and "the ball is red" a false "ball". A
    caption that is not understood is one piece, of None.
    """
    said = words(caption)
    pieces = [(piece, len(words(piece))) for piece in caption.split(" ")]
    facts = _facts(caption, scene)
    # In odd places a piece by itself has other words than in the caption, as an initial can.
    if not facts or [word for piece, _ in pieces for word in words(piece)] != said:
        return [(caption, None)]
    terms = list(_terms(said))
    truths = [_both(facts.get((name, term.thing)) for name in term.about) for term in terms]
    of_word = [place for place, term in enumerate(terms) for _ in range(term.length)]
    found: list[tuple[str, bool | None]] = []
    begin, before = 0, None
    for piece, count in pieces:
        within = set(of_word[begin : begin + count])
        verdict = _both(truths[place] for place in within)
        if len(within) == 1 and within == before:
            found[-1] = (f"{found[-1][0]} {piece}", verdict)
        else:
            found.append((piece, verdict))
        begin, before = begin + count, within
    return found


class _Term(NamedTuple):
    """Words that assert something, or one that does not."""

    length: int  # in words
    about: tuple[str, ...]  # attributes, as in ``vl.demo.truth``
    thing: int | None = None  # of the things said, in the order of the assertions


def _facts(caption: str, scene: Scene) -> dict[tuple[str, int | None], bool]:
    """Whether each attribute that is said is true, by the thing it is said of."""
    facts: dict[tuple[str, int | None], bool] = {}
    thing = -1
    for each in judge(caption, scene).assertions:
        thing += each.attribute == "kind"  # every thing has one, and it comes first
        alone = each.attribute in ("relation", "ground")
        facts[each.attribute, None if alone else thing] = each.true
    return facts


def _both(truths: Iterable[bool | None]) -> bool | None:
    """Whether all that is asserted is true; None if nothing is."""
    known = [true for true in truths if true is not None]
    return all(known) if known else None


def _terms(said: Sequence[str]) -> Iterator[_Term]:
    """The terms of a caption that is understood."""
    lexicon, longest = _lexicon()
    found: list[tuple[str, int]] = []  # attribute and length
    begin = 0
    while begin < len(said):
        for length in range(longest, 0, -1):
            about = lexicon.get(" ".join(said[begin : begin + length]))
            if about is not None or length == 1:
                found.append((about or "", length))
                begin += length
                break
    # The second thing comes first in "left of a cup is a key" and in "a cup has a key to its left".
    turned = found[0][0] == "relation" or "has" in said or "have" in said
    nouns = [place for place, (about, _) in enumerate(found) if about == "kind"]
    owners = [_owner(place, [about for about, _ in found], nouns) for place in range(len(found))]
    counted = {owner for (about, _), owner in zip(found, owners, strict=True) if about == "count"}
    for (about, length), owner in zip(found, owners, strict=True):
        if about in ("", "relation", "ground"):
            yield _Term(length, (about,))
        else:
            alone = about == "kind" and owner not in counted
            thing = len(nouns) - 1 - owner if turned else owner
            yield _Term(length, ("kind", "count") if alone else (about,), thing)


def _owner(place: int, abouts: Sequence[str], nouns: Sequence[int]) -> int:
    """Which noun a term belongs to: the one it leads up to, or else the one before it."""
    before = sum(noun < place for noun in nouns)
    follow = next((about for about in abouts[place:] if about not in ("count", *_ADJECTIVES)), "")
    return before if follow == "kind" else max(0, before - 1)


_ADJECTIVES = ("colour", "size", "texture")


@cache
def _lexicon() -> tuple[dict[str, str], int]:
    """What words are about, "" for nothing, and how many words the longest entry has."""
    tables: tuple[tuple[str, Sequence[str]], ...] = (
        ("", [way for both in INTRODUCTIONS for way in both]),
        ("count", ("a", "an", "one", *COUNT_WORDS.values())),
        ("colour", COLOURS),
        ("size", [word for ways in SIZE_WORDS.values() for word in ways]),
        ("texture", [word for ways in TEXTURE_WORDS.values() for word in ways]),
        ("texture", [word for ways in WITH_WORDS.values() for word in ways]),
        ("kind", [form for kind in KINDS for word in kind.words for form in (word, plural(word))]),
        ("relation", [way for ways in RELATION_WORDS.values() for way in ways]),
        ("relation", [way for ways in SIDE_WORDS.values() for way in ways]),
        ("ground", GROUNDS),
    )
    lexicon = {text: about for about, texts in tables for text in texts}
    return lexicon, max(len(text.split()) for text in lexicon)


def described(scene: Scene) -> str:
    """All that there is in a scene, in words."""
    first, *others = (_described(group) for group in scene.groups)
    there = "There is" if scene.main.amount == 1 else "There are"
    if others:
        ways = scene.relations(0, 1) - {"bigger than", "smaller than"}  # the sizes say so
        first += f" {' and '.join(sorted(ways)) or 'and'} {others[0]}"
    return f"{there} {first}, on {scene.ground}"


def _described(group: Group) -> str:
    traits = [group.size, group.colour]
    if group.texture != "plain":
        traits.insert(1, group.texture)
    if group.amount == 1:
        return f"a {' '.join(traits)} {group.kind}"
    return f"{COUNT_WORDS[group.amount]} {' '.join(traits)} {plural(group.kind)}"


def _groups(shown: Sequence[Shown]) -> Iterator[dict[str, object]]:
    """The pictures by split."""
    splits = dict.fromkeys((*_ORDER, *(each.scene.split for each in shown)))
    for split in splits:
        there = [each for each in shown if each.scene.split == split]
        if there:
            cards = [_card(each) for each in there[:_MOST]]
            right = sum(not card["reason"] and not card["false"] for card in cards)
            yield {
                "title": split.replace("held-out-", "held-out ").capitalize(),
                "about": _ABOUT.get(split, ""),
                "count": f"{len(cards)} of {len(there)}" if len(there) > _MOST else len(cards),
                "right": right,
                "cards": cards,
            }


def _card(each: Shown) -> dict[str, object]:
    judged = judge(each.caption, each.scene)
    address, width, height = _picture(each.path)
    best = max((label.score for label in each.labels), default=0)
    kinds = [_kind(label.text) for label in each.labels]
    return {
        "name": each.path.name,
        "address": address,
        "width": width,
        "height": height,
        "pieces": marked(each.caption, each.scene),
        "reason": judged.reason,
        "false": [f"{one.attribute} {one.value}" for one in judged.assertions if not one.true],
        "truth": described(each.scene),
        "kind": each.scene.main.kind,
        "found": each.scene.main.kind in kinds,
        "labels": [
            {
                "text": label.text,
                "score": f"{label.score:.2f}",
                "share": round(100 * max(0.0, label.score) / best, 1) if best > 0 else 0,
                "right": kind == each.scene.main.kind,
                "other": kind in [group.kind for group in each.scene.groups[1:]],
            }
            for label, kind in zip(each.labels, kinds, strict=True)
        ],
    }


def _kind(label: str) -> str | None:
    """The kind that a label names, by its first term."""
    first = label.split(",")[0].strip()
    return next((name for name, kind in OF.items() if first in kind.words), None)


def _picture(path: Path) -> tuple[str, int, int]:
    """A picture's address, and its size on the page: its own, some whole number of times."""
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            kind, (width, height) = image.format, image.size
    except UnidentifiedImageError as error:
        raise FormatError(path, "expected a JPEG or PNG file") from error
    times = max(1, round(_SIDE / max(width, height)))
    return _address(f"image/{str(kind).lower()}", content), times * width, times * height


def _drawn(plot: Plot) -> dict[str, str]:
    return {
        "light": _address("image/svg+xml", plot.light),
        "dark": _address("image/svg+xml", plot.dark),
        "described": plot.described,
    }


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {left:02} s" if minutes else f"{left} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _template() -> jinja2.Template:
    text = resources.files("vl.demo").joinpath("templates/demo.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(text)
