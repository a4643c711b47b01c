"""What an evaluation found as JSON: every figure by its name, and a line an image."""

import json
from pathlib import Path

import pytest

from vl.data.captions.captions import CaptionedImage
from vl.evaluation.pairing import Aligned
from vl.evaluation.records import Outcome, System, summary, write_per_image
from vl.metrics.evaluator import Evaluator, paired, variety

IMAGES = [
    CaptionedImage(7, "b.jpg", ("A brown dog runs.", "The dog is outside.", "A dog"), ""),
    CaptionedImage("x", "", ("Two cats sleep on a bed.", "Cats on a bed"), ""),
]
SAID, OTHER = ["a brown dog", "cats on a bed"], ["a dog runs outside", "犬 \ud83d"]


@pytest.fixture
def outcome() -> Outcome:
    evaluator = Evaluator([image.captions for image in IMAGES], measures=["bleu", "rouge-l"])
    first, second = evaluator(SAID), evaluator(OTHER)
    return Outcome(
        sources=["a.json", "b, c.json"],
        evaluator=evaluator,
        system=System("said.json", Aligned(IMAGES, SAID, 3, 4), first),
        against=System("other.json", Aligned(IMAGES, OTHER, 3, 5), second),
        figures=evaluator.figures(first.scores, resamples=20),
        compared=paired(first.scores, second.scores, resamples=20),
        variety=variety(SAID),
        resamples=20,
        confidence=0.9,
        seed=6,
    )


def test_a_summary_has_every_figure_and_what_could_change_it(outcome: Outcome) -> None:
    found = json.loads(json.dumps(summary(outcome)))
    for figure in outcome.figures:
        assert found[figure.name] == figure.value
        assert found["intervals"][figure.name] == list(figure.interval or ())
        assert found["signatures"][figure.name] == figure.signature
    assert (found["images"], found["left_out"], found["unknown"]) == (2, 3, 4)
    assert found["references"] == {"fewest": 2, "most": 3}
    assert (found["resamples"], found["confidence"], found["seed"]) == (20, 0.9, 6)
    assert (found["candidate_length"], found["reference_length"]) == (7, 6)  # 3 + 4 and 2 + 4
    assert found["diversity"]["commonest"] == "a brown dog"
    comparison = found["comparison"]
    assert (comparison.pop("against"), comparison.pop("unknown")) == ("other.json", 5)
    assert list(comparison) == [one.name for one in outcome.compared]
    for one in outcome.compared:
        assert comparison[one.name] == {
            "first": one.first,
            "second": one.second,
            "difference": one.comparison.difference,
            "interval": list(one.comparison.interval),
            "p": one.comparison.p_value,
        }


def test_what_was_not_asked_for_is_not_there(outcome: Outcome) -> None:
    plain = outcome._replace(against=None, variety=None, compared=[], sources=[])
    assert {"comparison", "diversity", "references"} & set(summary(plain)) == set()


def test_the_names_of_the_references_are_joined_for_people(outcome: Outcome) -> None:
    assert outcome.source == "a.json, b, c.json"


def test_a_line_has_an_image(outcome: Outcome, tmp_path: Path) -> None:
    path = tmp_path / "new" / "images.jsonl"
    write_per_image(path, outcome)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(row["image_id"], row["file_name"]) for row in rows] == [(7, "b.jpg"), ("x", None)]
    assert [row["references"] for row in rows] == [list(image.captions) for image in IMAGES]
    assert [row["caption"] for row in rows] == SAID
    assert [row["against"]["caption"] for row in rows] == OTHER  # the half of a character, too
    assert rows[1]["words"] == ["cats", "on", "a", "bed"]
    for row, number in zip(rows, (0, 1), strict=True):
        assert row["scores"] == {
            score.name: score.images[number] for score in outcome.system.evaluated.scores
        }
    write_per_image(path, outcome._replace(against=None))
    assert all("against" not in json.loads(line) for line in path.read_text().splitlines())
