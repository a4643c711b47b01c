"""The demonstration's page: results, captions with true and false words, curves, word space.

A single HTML file that needs neither a network nor scripts.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jinja2
from PIL import Image, UnidentifiedImageError

from vl.data.errors import FormatError
from vl.data.files import write_text
from vl.data.words.vectors import WordVectors
from vl.data.world.captions import COUNT_WORDS
from vl.data.world.kinds import KIND_BY_NAME, plural
from vl.data.world.scenes import SPLITS, Group, Scene, Split
from vl.demo.marking import mark_caption
from vl.demo.plots import Plot, plot_training, plot_word_space
from vl.demo.truth import check_caption
from vl.version import __version__

_MAX_EXAMPLES = 12  # of a split
_IMAGE_WIDTH = 192  # approximate, in pixels of the page
_DESCRIPTIONS: dict[Split, str] = {
    "test": "Kinds and colors as in training, in new images.",
    "held-out-combinations": "Every kind and every color is in training, but never together.",
    "held-out-kinds": "No training image shows these kinds; only the text mentions them.",
}
EVALUATION_SPLITS: tuple[Split, ...] = tuple(_DESCRIPTIONS)


class StageTime(NamedTuple):
    """A stage of the demonstration and its duration."""

    name: str
    seconds: float


class ResultTable(NamedTuple):
    """A table of results."""

    title: str
    columns: tuple[str, ...]  # the first names the rows
    rows: tuple[tuple[str, ...], ...]  # formatted
    note: str = ""


class LabelScore(NamedTuple):
    """A label of an image."""

    text: str  # synonyms separated by commas
    score: float


class Example(NamedTuple):
    """An image with its caption and labels."""

    path: Path  # a JPEG or PNG file
    scene: Scene
    caption: str
    labels: tuple[LabelScore, ...]  # best first


class Training(NamedTuple):
    """A training and its log."""

    name: str
    log: Path  # log.jsonl


class Report(NamedTuple):
    """Contents of the page."""

    seed: int
    seconds: float  # of all stages
    stages: tuple[StageTime, ...]
    images: dict[Split, int]  # count by split
    tables: tuple[ResultTable, ...]
    examples: tuple[Example, ...]
    trainings: tuple[Training, ...]
    words: WordVectors


def write(path: Path, report: Report) -> None:
    """Write the page.

    Raises:
        FormatError: an image is neither a JPEG nor a PNG file, or a log is damaged.
        ValueError: a row of a table has not as many cells as there are columns.
        OSError: a file cannot be read, or the page cannot be written.
    """
    for table in report.tables:
        for row in table.rows:
            if len(row) != len(table.columns):
                problem = f"expected {len(table.columns)} cells, not {len(row)}: {', '.join(row)}"
                raise ValueError(f"{table.title}: {problem}")
    plot, note = plot_word_space(report.words)
    longest = max((stage.seconds for stage in report.stages), default=0) or 1
    page = _template().render(
        version=__version__,
        seed=report.seed,
        duration=_duration(report.seconds),
        stages=[
            (stage.name, _duration(stage.seconds), round(100 * stage.seconds / longest, 1))
            for stage in report.stages
        ],
        images=report.images,
        tables=report.tables,
        splits=list(_splits(report.examples)),
        trainings=[
            (training.name, [_plot_urls(curves) for curves in plot_training(training.log)])
            for training in report.trainings
        ],
        word_space=_plot_urls(plot) if plot else None,
        word_space_note=note,
    )
    write_text(path, page)


def describe(scene: Scene) -> str:
    """Describe everything in a scene."""
    first, *others = (_describe_group(group) for group in scene.groups)
    there = "There is" if scene.main.count == 1 else "There are"
    if others:
        relations = scene.relations(0, 1) - {"bigger than", "smaller than"}  # the sizes say so
        first += f" {' and '.join(sorted(relations)) or 'and'} {others[0]}"
    return f"{there} {first}, on {scene.ground}"


def _describe_group(group: Group) -> str:
    texture = [group.texture] if group.texture != "plain" else []
    adjectives = " ".join([group.size, *texture, group.color])
    if group.count == 1:
        return f"a {adjectives} {group.kind}"
    return f"{COUNT_WORDS[group.count]} {adjectives} {plural(group.kind)}"


def _splits(examples: Sequence[Example]) -> Iterator[dict[str, object]]:
    """The examples by split."""
    for split in dict.fromkeys((*EVALUATION_SPLITS, *SPLITS)):
        in_split = [example for example in examples if example.scene.split == split]
        if in_split:
            cards = [_card(example) for example in in_split[:_MAX_EXAMPLES]]
            shown = f"{len(cards)} of {len(in_split)}" if len(in_split) > len(cards) else len(cards)
            yield {
                "title": split.replace("held-out-", "held-out ").capitalize(),
                "description": _DESCRIPTIONS.get(split, ""),
                "count": shown,
                "correct": sum(not card["error"] and not card["false"] for card in cards),
                "cards": cards,
            }


def _card(example: Example) -> dict[str, object]:
    scene = example.scene
    truth = check_caption(example.caption, scene)
    url, width, height = _image_url(example.path)
    best = max((label.score for label in example.labels), default=0)
    kinds = [_kind_of_label(label.text) for label in example.labels]
    return {
        "name": example.path.name,
        "url": url,
        "width": width,
        "height": height,
        "pieces": mark_caption(example.caption, scene),
        "error": truth.error,
        "false": [
            f"{assertion.attribute} {assertion.value}"
            for assertion in truth.assertions
            if not assertion.true
        ],
        "description": describe(scene),
        "kind": scene.main.kind,
        "has_kind": scene.main.kind in kinds,
        "labels": [
            {
                "text": label.text,
                "score": f"{label.score:.2f}",
                "share": round(100 * max(0.0, label.score) / best, 1) if best > 0 else 0,
                "is_main": kind == scene.main.kind,
                "is_second": kind in [group.kind for group in scene.groups[1:]],
            }
            for label, kind in zip(example.labels, kinds, strict=True)
        ],
    }


def _kind_of_label(label: str) -> str | None:
    """The kind that a label's first synonym names."""
    first = label.split(",")[0].strip()
    return next((name for name, kind in KIND_BY_NAME.items() if first in kind.words), None)


def _image_url(path: Path) -> tuple[str, int, int]:
    """An image as a data URL, and its size on the page: an integer multiple of its own."""
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            image_format, (width, height) = str(image.format).lower(), image.size
    except UnidentifiedImageError as error:
        raise FormatError(path, "expected a JPEG or PNG file") from error
    scale = max(1, round(_IMAGE_WIDTH / max(width, height)))
    return _data_url(f"image/{image_format}", content), scale * width, scale * height


def _plot_urls(plot: Plot) -> dict[str, str]:
    return {
        "light": _data_url("image/svg+xml", plot.light),
        "dark": _data_url("image/svg+xml", plot.dark),
        "alt": plot.alt,
    }


def _data_url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _template() -> jinja2.Template:
    text = resources.files("vl.demo").joinpath("templates/demo.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(text)
