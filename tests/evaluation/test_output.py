"""The result of an evaluation as text, tables, JSON, records and a data frame."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.helpers.evaluations import evaluation
from vl.data.captions.captions import CaptionedImage
from vl.evaluation.output import (
    CaptionEvaluation,
    diversity_rows,
    score_lines,
    tables,
    write_per_image,
)
from vl.metrics.diversity import diversity

IMAGES = [
    CaptionedImage(7, "b.jpg", ("A brown dog runs.", "The dog is outside.", "A dog"), ""),
    CaptionedImage("x", "", ("Two cats sleep on a bed.", "Cats on a bed"), ""),
]
CANDIDATES, BASELINE = ["a brown dog", "cats on a bed"], ["a dog runs outside", "犬 \ud83d"]


@pytest.fixture
def result() -> CaptionEvaluation:
    return evaluation(IMAGES, CANDIDATES, BASELINE, with_diversity=True)


def draw(result: CaptionEvaluation) -> str:
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True, color_system=None)
    console.print(*tables(result))
    return screen.getvalue()


def test_to_dict_has_every_score_and_what_could_change_it(result: CaptionEvaluation) -> None:
    content = json.loads(json.dumps(result.to_dict()))
    for score in result.corpus_scores:
        assert content[score.name] == score.value
        assert content["intervals"][score.name] == list(score.interval or ())
        assert content["signatures"][score.name] == score.signature
    assert (content["images"], content["missing"], content["unmatched"]) == (2, 2, 1)
    assert content["references"] == {"min": 2, "max": 3}
    assert (content["num_resamples"], content["confidence"], content["seed"]) == (20, 0.9, 4)
    assert (content["candidate_length"], content["reference_length"]) == (7, 6)  # 3 + 4, 2 + 4
    assert content["diversity"]["most_frequent"] == "a brown dog"
    comparison = content["comparison"]
    assert (comparison.pop("compare_with"), comparison.pop("unmatched")) == ("runs/b.json", 5)
    assert list(comparison) == [score.name for score in result.corpus_scores]
    for expected in result.comparisons:
        values = dict(expected._asdict(), interval=list(expected.interval))
        assert {"name": expected.name, **comparison[expected.name]} == values


def test_to_dict_omits_what_was_not_computed(result: CaptionEvaluation) -> None:
    plain = replace(result, baseline=None, diversity=None)
    assert not {"comparison", "diversity"} & set(plain.to_dict())


def test_a_record_per_image(result: CaptionEvaluation, tmp_path: Path) -> None:
    path = tmp_path / "new" / "images.jsonl"
    write_per_image(path, result)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == json.loads(json.dumps(list(result.per_image())))
    assert [(row["image_id"], row["file_name"]) for row in rows] == [(7, "b.jpg"), ("x", None)]
    assert [row["references"] for row in rows] == [list(image.captions) for image in IMAGES]
    assert [row["caption"] for row in rows] == CANDIDATES
    assert [row["compare_with"]["caption"] for row in rows] == BASELINE  # lone surrogate included
    assert rows[1]["tokens"] == ["cats", "on", "a", "bed"]
    for index, row in enumerate(rows):
        scores = result.system.scored.scores
        assert row["scores"] == {score.name: score.per_image[index] for score in scores}
    assert all("compare_with" not in row for row in replace(result, baseline=None).per_image())


def test_to_frame_has_a_row_per_image(result: CaptionEvaluation) -> None:
    frame = result.to_frame()
    assert list(frame.index) == [7, "x"]
    assert list(frame.columns) == ["caption", *(score.name for score in result.corpus_scores)]
    assert frame["caption"].tolist() == CANDIDATES
    assert frame["ROUGE-L"].tolist() == result.system.scored.scores[4].per_image.tolist()


def test_to_frame_names_pandas_if_it_is_missing(
    result: CaptionEvaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        result.to_frame()


def test_text_and_tables_have_every_score(result: CaptionEvaluation) -> None:
    lines, table = score_lines(result), draw(result)
    assert str(result) == repr(result) == "\n".join(lines)
    names = [score.name for score in result.corpus_scores]
    assert [line.split()[0] for line in lines[:5]] == names
    for score in result.corpus_scores:
        interval = "[{:.2f}, {:.2f}]".format(*score.interval or ())
        assert f"{score.name} {score.value:.2f}  {interval}" in lines
        row = next(row for row in table.splitlines() if row.strip().startswith(score.name))
        assert row.split() == [score.name, f"{score.value:.2f}", *interval.split()]
    assert "images 2" in lines
    assert "90 % interval" in table
    assert "compared with" in table
    assert sum(" vs. " in line for line in lines) == len(names)


def test_tables_in_a_notebook(result: CaptionEvaluation) -> None:
    named = result.system._replace(name="<a>.json")
    page = replace(result, system=named, baseline=named)._repr_html_()
    assert page.count("<table>") == page.count("</table>") == 2
    for score in result.corpus_scores:
        assert f"<td>{score.name}</td><td>{score.value:.2f}</td>" in page
    quoted = evaluation(IMAGES, ["a <b>dog</b>"] * 2, with_diversity=True)._repr_html_()
    assert "&lt;b&gt;" in quoted
    assert "<b>" not in quoted


def test_no_column_without_intervals() -> None:
    plain = evaluation(IMAGES, CANDIDATES, num_resamples=0)
    assert "interval" not in draw(plain)
    assert score_lines(plain)[4] == f"ROUGE-L {plain.corpus_scores[4].value:.2f}"


def test_brackets_in_a_caption_are_not_markup() -> None:
    for address in ("http://x.com/[/b]a", "http://x.com/[red]a"):
        repeated = evaluation(IMAGES, [address] * 2, with_diversity=True)
        assert f"2 {address}" in draw(repeated)
        assert f"most-frequent 2 {address}" in score_lines(repeated)


def test_control_characters_of_a_caption_are_escaped(result: CaptionEvaluation) -> None:
    escapes = replace(result, diversity=diversity([["\x1b[31mred", "\ud83d"]]))
    rows = diversity_rows(escapes)
    assert rows["most-frequent"] == r"1 \x1b[31mred \ud83d"
