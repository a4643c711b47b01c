"""`vl.evaluate_captions`: the scores of the command and of pycocoevalcap, and errors by image."""

import json
import re

import pytest

import vl
from tests.helpers.scored_captions import (
    CANDIDATES,
    REFERENCES,
    coco_caption_scores,
    references_file,
    results_file,
    run_evaluate,
)
from vl.metrics.cider import DocumentFrequencies


def test_scores_equal_the_command_and_coco_caption(tmp_path, capsys):
    references, results = references_file(tmp_path), results_file(tmp_path, CANDIDATES)
    metrics = ("bleu", "rouge-l", "cider-d", "diversity")
    scores = vl.evaluate_captions(CANDIDATES, REFERENCES, metrics=metrics, num_resamples=50)
    flags = ["--references", references, "--metrics", *metrics, "--num-resamples", 50]
    assert run_evaluate(results, *flags) == 0
    assert str(scores) + "\n" == capsys.readouterr().out
    assert run_evaluate(results, *flags, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content.pop("results") == str(results)
    assert json.loads(json.dumps(scores.to_dict())) == {**content, "results": "candidates"}
    expected = coco_caption_scores(CANDIDATES)
    assert {name: scores.to_dict()[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_lists_are_paired_by_position():
    by_id = vl.evaluate_captions(CANDIDATES, REFERENCES)
    ids = list(REFERENCES)
    lists = vl.evaluate_captions(
        [CANDIDATES[image] for image in ids], [REFERENCES[image] for image in ids]
    )
    assert str(lists) == str(by_id)
    assert lists.to_frame().index.tolist() == [0, 1, 2, 3]
    assert by_id.to_frame().index.tolist() == ids
    assert [row["image_id"] for row in by_id.per_image()] == ids


def test_settings_change_the_signature():
    frequencies = DocumentFrequencies(100, {"a": 50})
    options = {"tokenize": "whitespace", "document_frequencies": frequencies}
    scores = vl.evaluate_captions(["a dog"], [["a dog"]], metrics=["cider-d"], **options)
    assert "tok whitespace" in str(scores)
    assert "df from 100 images" in str(scores)
    assert scores.corpus_scores[0].value == pytest.approx(500)  # two of the four orders


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ({7: "a"}, {7: ["a"], 8: ["b"]}, "image 8 has no caption"),
        ({7: "a", "x": "b"}, {7: ["a"]}, "image 'x' has no references"),
        ({7: "a"}, {7: []}, "image 7 has no references"),
        ({7: "a"}, {7: "a"}, "image 7: .*list"),
        ({7: ["a"]}, {7: ["a"]}, r"image 7: .*string.*\['a'\]"),
        ({7: "a"}, {7: ["a", None]}, "image 7: .*string.*None"),
        (["a", "b"], [["a"]], "image 1 has no references"),
        ("ab", [["a"], ["b"]], "not the string"),
        ([], [], "no caption"),
    ],
)
def test_errors_name_the_image(candidates, references, message):
    with pytest.raises(ValueError, match=message):
        vl.evaluate_captions(candidates, references)


def test_unknown_metrics_are_refused():
    for metrics in (["blue"], ["bleu", "BLEU"], ["diversity", "diversity"]):
        with pytest.raises(ValueError, match=re.escape(metrics[0])):
            vl.evaluate_captions(["a"], [["a"]], metrics=metrics)
