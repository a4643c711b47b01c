"""The demonstration's page: results, captions with true and false words, curves, word space.

A single HTML file that needs neither a network nor scripts.
"""

import base64
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jinja2
from PIL import Image

from vl.data.files import write_text
from vl.data.words.vectors import WordVectors
from vl.data.world.captions import COUNT_WORDS
from vl.data.world.kinds import Kind, plural
from vl.data.world.scenes import EVALUATION_SPLITS, Group, Scene, Split
from vl.demo.plots import Plot, plot_training, plot_word_space
from vl.demo.truth import check_caption, mark_caption
from vl.version import __version__

_IMAGE_WIDTH = 192  # approximate, in pixels of the page
_DESCRIPTIONS: dict[Split, str] = {
    "test": "Kinds and colors as in training, in new images.",
    "held-out-combinations": "Every kind and every color is in training, but never together.",
    "held-out-kinds": "No training image shows these kinds; only the text mentions them.",
}


class ResultTable(NamedTuple):
    """A table of results."""

    title: str
    columns: tuple[str, ...]  # the first names the rows
    rows: tuple[tuple[str, ...], ...]  # formatted
    note: str = ""


class Example(NamedTuple):
    """An image with its caption and labels."""

    path: Path  # a JPEG file
    scene: Scene
    caption: str
    labels: tuple[tuple[Kind, float], ...]  # with their cosines, best first


class Report(NamedTuple):
    """Contents of the page."""

    seed: int
    seconds: float  # in all
    stages: dict[str, float]  # seconds by stage
    images: dict[Split, int]  # count by split
    tables: tuple[ResultTable, ...]
    examples: tuple[Example, ...]
    logs: dict[str, Path]  # log.jsonl by training
    words: WordVectors


def write(path: Path, report: Report) -> None:
    """Write the page."""
    plot, note = plot_word_space(report.words)
    longest = max(report.stages.values(), default=1)
    page = _template().render(
        version=__version__,
        seed=report.seed,
        duration=_duration(report.seconds),
        stages=[
            (name, _duration(seconds), round(100 * seconds / longest, 1))
            for name, seconds in report.stages.items()
        ],
        images=report.images,
        tables=report.tables,
        splits=list(_splits(report.examples)),
        trainings=[
            (name, [_plot_urls(curves) for curves in plot_training(log)])
            for name, log in report.logs.items()
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
    for split in EVALUATION_SPLITS:
        cards = [_card(example) for example in examples if example.scene.split == split]
        if cards:
            yield {
                "title": split.replace("held-out-", "held-out ").capitalize(),
                "description": _DESCRIPTIONS[split],
                "correct": sum(not card["error"] and not card["false"] for card in cards),
                "cards": cards,
            }


def _card(example: Example) -> dict[str, object]:
    scene = example.scene
    truth = check_caption(example.caption, scene)
    with Image.open(example.path) as image:
        width, height = image.size
    scale = max(1, round(_IMAGE_WIDTH / max(width, height)))  # pixels stay sharp
    best = max((cosine for _, cosine in example.labels), default=0)
    return {
        "name": example.path.name,
        "url": _data_url("image/jpeg", example.path.read_bytes()),
        "width": scale * width,
        "height": scale * height,
        "pieces": mark_caption(example.caption, scene),
        "error": truth.error,
        "false": [
            f"{assertion.attribute} {assertion.value}"
            for assertion in truth.assertions
            if not assertion.true
        ],
        "description": describe(scene),
        "kind": scene.main.kind,
        "has_kind": scene.main.kind in [kind.name for kind, _ in example.labels],
        "labels": [
            {
                "text": ", ".join(kind.words),
                "score": f"{cosine:.2f}",
                "share": round(100 * max(0.0, cosine) / best, 1) if best > 0 else 0,
                "is_main": kind.name == scene.main.kind,
                "is_second": kind.name in [group.kind for group in scene.groups[1:]],
            }
            for kind, cosine in example.labels
        ],
    }


def _plot_urls(plot: Plot) -> dict[str, str]:
    light, dark = (_data_url("image/svg+xml", content) for content in (plot.light, plot.dark))
    return {"light": light, "dark": dark, "alt": plot.alt}


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
