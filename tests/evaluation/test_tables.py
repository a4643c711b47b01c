"""Tables of several systems: every number in each format, stars, and names that need escapes."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from tests.helpers.evaluations import evaluation
from vl.data.captions.captions import CaptionedImage
from vl.data.choices import TableFormat
from vl.evaluation.output import CaptionEvaluation
from vl.evaluation.tables import adjusted_p_values, write_table
from vl.metrics.significance import Resampling, holm

IMAGES = [
    CaptionedImage(image, f"{image}.jpg", ("A brown dog runs on grass.", "The dog runs."), "")
    for image in range(12)
]
GOOD, BAD = ["a brown dog runs on grass"] * 12, ["two cats"] * 12
NAMES = ("runs/50%_a&b|c.json", "d*.json", "e.json")


def systems(num_resamples: int = 200) -> list[CaptionEvaluation]:
    """A bad baseline, a good system, and one that equals the baseline."""
    made = [
        evaluation(IMAGES, texts, name=name, with_diversity=True)
        for name, texts in zip(NAMES, (BAD, GOOD, BAD), strict=True)
    ]
    resampling = Resampling(num_resamples)
    return [
        replace(each, resampling=resampling, baseline=made[0].system if index else None)
        for index, each in enumerate(made)
    ]


def test_p_values_are_adjusted_for_the_number_of_systems() -> None:
    baseline, good, same = adjusted_p_values(systems())
    assert baseline == {}
    raw = [each.comparisons[3].p_value for each in systems()[1:]]
    assert [good["BLEU-4"], same["BLEU-4"]] == holm(raw)
    assert good["BLEU-4"] > raw[0]


@pytest.mark.parametrize(
    ("table_format", "star", "names"),
    [
        ("text", "*", ["50%_a&b|c.json", "d*.json", "e.json"]),
        ("markdown", r"\*", [r"50%\_a&b\|c.json", r"d\*.json", "e.json"]),
        ("latex", "$^{*}$", [r"50\%\_a\&b|c.json", "d*.json", "e.json"]),
    ],
)
def test_tables_have_values_intervals_and_stars(
    table_format: TableFormat, star: str, names: list[str]
) -> None:
    evaluations = systems()
    table = write_table(evaluations, table_format)
    for each, name in zip(evaluations, names, strict=True):
        (row,) = [line for line in table.splitlines() if line.lstrip("| ").startswith(name)]
        cells = re.split(r"(?<!\\)\| | & |  +", row.strip("|\\ "))
        significant = each.system.name == NAMES[1]
        for cell, score in zip(cells[1:], each.corpus_scores):
            low, high = score.interval or (0, 0)
            assert cell.startswith(f"{score.value:.2f}{star if significant else ''} ")
            assert f"[{low:.2f}, {high:.2f}]" in cell
    assert "Holm-adjusted for 2 comparisons" in table
    assert evaluations[0].corpus_scores[4].signature.split(" | ")[-1] in table


def test_latex_is_balanced() -> None:
    table = write_table(systems(), "latex")
    assert table.count("{") == table.count("}")
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len({line.replace(r"\&", "").count("&") for line in rows}) == 1
    notes = table.split(r"\begin")[0]
    assert all(line.startswith("%") for line in notes.strip().splitlines())


def test_csv_has_full_precision() -> None:
    evaluations = systems()
    rows = list(csv.DictReader(io.StringIO(write_table(evaluations, "csv"))))
    for row, each, p_values in zip(rows, evaluations, adjusted_p_values(evaluations), strict=True):
        assert (row["scale"], row["images"]) == ("100", "12")
        for score in each.corpus_scores:
            interval = float(row[f"{score.name} low"]), float(row[f"{score.name} high"])
            assert (float(row[score.name]), interval) == (score.value, score.interval)
            assert row[f"{score.name} p"] == str(p_values.get(score.name, ""))
        assert each.diversity
        assert float(row["Div-1"]) == each.diversity.div_1


def test_json_has_the_record_of_each_system() -> None:
    evaluations = systems()
    content = json.loads(write_table(evaluations, "json"))
    assert content["baseline"] == NAMES[0]
    plain = [{k: v for k, v in s.items() if k != "p_holm"} for s in content["systems"]]
    assert plain == [json.loads(json.dumps(each.to_dict())) for each in evaluations]
    assert content["systems"][1]["p_holm"] == adjusted_p_values(evaluations)[1]


@pytest.mark.parametrize("table_format", ["text", "markdown", "latex", "csv"])
def test_a_system_alone_or_without_resamples(table_format: TableFormat) -> None:
    for evaluations in (systems(0), systems(0)[:1]):
        table = write_table(evaluations, table_format)
        assert "interval" not in table
        assert "Holm" not in table
        assert "BLEU-4" in table
