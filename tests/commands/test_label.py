"""`vl label`: its output is the labeller's predictions, and nothing is lost in silence."""

import json
import os

import pytest

from tests.helpers.tiny_captioner import Tiny, captioner, drawings
from tests.helpers.tiny_labeller import IS_A, SYNSETS, labeller, wordnet, words
from vl.__main__ import main
from vl.data.words.label_space import LabelSpace
from vl.encoders.table import ENCODERS
from vl.labelling.labeller import Labeller

LABELS = ["ball", "stop sign", "okapi"]
LABELS_FLAG = ["--labels", ", ".join(LABELS)]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "labeller.safetensors"
    labeller(views=("plain", "flip")).save(path)
    return path


@pytest.fixture
def paths(tmp_path):
    return drawings(tmp_path / "images", 5)


def run(model, *arguments):
    return main(["label", "--model", str(model), "--batch-size", "2", *map(str, arguments)])


def expected(model, paths, labels=tuple(LABELS), *, none_of_these=None, **settings):
    """What the library gives."""
    loaded = Labeller.load(model)
    candidates = loaded.candidates(labels, **settings)
    return loaded(paths, labels=candidates, top_k=len(labels), none_of_these=none_of_these)


def test_a_line_for_each_image_and_label(model, paths, capsys):
    assert run(model, paths[3], paths[0].parent, *LABELS_FLAG) == 0
    stdout, stderr = capsys.readouterr()
    images = [paths[3], *paths]
    assert stdout.splitlines() == [
        f"{path}\t{text}\t{cosine:.4f}\t{probability:.3f}"
        for path, answer in zip(images, expected(model, images), strict=True)
        for text, cosine, probability, _ in answer.predictions
    ]
    assert "3 labels, 2 seen in training, 1 unseen" in stderr
    assert "label 6/6" in stderr
    assert run(model, paths[0], *LABELS_FLAG, "--top-k", 1) == 0
    assert capsys.readouterr().out.splitlines() == stdout.splitlines()[3:4]


@pytest.mark.parametrize("flags", [[], ["--calibrated-stacking"], ["--csls"]])
def test_json_lines(model, paths, tmp_path, capsys, flags):
    label_file = tmp_path / "labels.txt"
    label_file.write_text("ball\nn00000003 okapi, forest giraffe\nqqq\n")
    arguments = [*paths, "--labels", label_file, "--json", "--none-of-these", 0.3, *flags]
    assert run(model, *arguments) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["path"] for record in records] == [str(path) for path in paths]
    settings = {flag[2:].replace("-", "_"): True for flag in flags}
    texts = ["ball", "okapi, forest giraffe"]
    answers = expected(model, paths, [*texts, "qqq"], none_of_these=0.3, **settings)
    for record, answer in zip(records, answers, strict=True):
        assert record["none_of_these"] == answer.none_of_these
        *found, missing = record["labels"]
        assert missing == {"label": "qqq", "cosine": None, "probability": None, "note": "no vector"}
        for label, (text, cosine, probability, _) in zip(found, answer.predictions, strict=True):
            assert label["label"] == text
            assert label.get("id") == ("n00000003" if text != "ball" else None)
            values = (label["cosine"], label["probability"])
            assert values == pytest.approx((cosine, probability), abs=1e-5)
    assert run(model, paths[0], *LABELS_FLAG, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"path", "labels"}


@pytest.mark.parametrize(
    ("name", "content", "flags"),
    [
        ("a.csv", "label,count\nball,3\nokapi,4\n", []),
        ("a.tsv", "name\tcount\nball\t3\nokapi\t4\n", ["--label-column", "Name"]),
        ("a.txt", "label,id\nball,\nokapi,\n", []),
        ("a.jsonl", '{"name": "ball"}\n"okapi"\n', ["--label-column", "name"]),
        ("a.txt", "\ufeff# two labels\r\nball\r\nokapi", []),
    ],
)
def test_tables_and_json_have_the_labels_of_a_plain_list(
    model, paths, tmp_path, capsys, name, content, flags
):
    assert run(model, paths[0], "--labels", "ball, okapi") == 0
    expected_lines = capsys.readouterr().out
    (tmp_path / name).write_text(content)
    assert run(model, paths[0], "--labels", tmp_path / name, *flags) == 0
    assert capsys.readouterr().out == expected_lines


def test_table_without_a_column_of_labels_is_refused(model, paths, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("class,count\nball,3\n")
    assert run(model, paths[0], "--labels", tmp_path / "a.csv") == 2
    assert "a.csv: line 1: there is no column 'label'" in capsys.readouterr().err


def test_senses_keep_their_ids(tmp_path, paths, capsys):
    model, coverage = tmp_path / "senses.safetensors", tmp_path / "coverage.tsv"
    labeller(LabelSpace(words(), wordnet(), hypernym_weight=0.5)).save(model)
    label_file = tmp_path / "senses.txt"
    label_file.write_text("n00000006\nn00000007\nquokka\n")
    assert run(model, paths[0], "--labels", label_file, "--json", "--coverage", coverage) == 0
    found = {x["id"]: x["label"] for x in json.loads(capsys.readouterr().out)["labels"]}
    assert found == {"n00000006": "ring", "n00000007": "ring, ringing", "n00000005": "quokka"}
    assert [line.split("\t") for line in coverage.read_text().splitlines()] == [
        ["label", "id", "rule", "words", "synset", "seen"],
        ["ring", "n00000006", "phrase", "ring", "n00000006", "no"],
        ["ring, ringing", "n00000007", "phrase", "ring", "n00000007", "no"],
        ["quokka", "", "hypernyms", "", "n00000005", "no"],
    ]


def test_none_of_these_is_one_line_with_the_nearest(model, paths, capsys):
    answers = expected(model, paths, none_of_these=0.5)
    assert len({answer.none_of_these for answer in answers}) == 2
    assert run(model, *paths, *LABELS_FLAG, "--none-of-these", 0.5, "--top-k", 2) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    for path, answer in zip(paths, answers, strict=True):
        rows = [line[1:] for line in lines if line[0] == str(path)]
        best = answer.predictions[0].text
        if answer.none_of_these:
            assert (rows[0][0], rows[0][-1]) == ("none of these", f"the nearest: {best}")
        assert len(rows) == (1 if answer.none_of_these else 2)
        assert rows[0][0] in (best, "none of these")


def test_labels_without_a_vector_are_reported_and_last(model, paths, tmp_path, capsys):
    assert run(model, paths[0], "--labels", "qqq, ball, vvv, okapi", "--top-k", 3) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.splitlines()[2].split("\t")[1:] == ["qqq", "-", "-", "no vector"]
    assert "2 of 4 labels: 'qqq', 'vvv'\n" in stderr
    label_file = tmp_path / "labels.txt"
    label_file.write_text("\n".join(["ball", *(f"q{index}q" for index in range(13))]))
    assert run(model, paths[0], "--labels", label_file, "--top-k", 1) == 0
    stderr = capsys.readouterr().err
    assert "'q9q'" in stderr
    assert "'q10q'" not in stderr
    assert run(model, paths[0], "--labels", label_file, "--debug") == 0
    assert "'q12q'" in capsys.readouterr().err


def test_nearest_words(model, paths, capsys):
    assert run(model, paths[0], "--nearest-words", 2) == 0
    stdout, stderr = capsys.readouterr()
    loaded = Labeller.load(model)
    projected = loaded.project(loaded.embedder(paths[:1]).mean(1))
    (answer,) = loaded.predict(projected, loaded.candidates(None), top_k=2)
    texts = [label.text for label in answer.predictions]
    assert [line.split("\t")[1] for line in stdout.splitlines()] == texts
    assert "9 labels, 2 seen in training, 7 unseen" in stderr


def test_ids_get_their_words_from_wordnet(model, paths, tmp_path, capsys):
    folder = tmp_path / "wordnet"
    folder.mkdir()
    lines = [f"{name}\t{', '.join(texts)}\n" for name, texts in SYNSETS.items()]
    (folder / "words.txt").write_text("".join(lines))
    (folder / "is_a.txt").write_text("".join(f"{one} {other}\n" for one, other in IS_A))
    arguments = [paths[0], "--labels", "n00000003, n00000006", "--json"]
    assert run(model, *arguments, "--wordnet", folder) == 0
    found = {x["id"]: x["label"] for x in json.loads(capsys.readouterr().out)["labels"]}
    assert found == {"n00000003": "okapi, Okapia johnstoni", "n00000006": "ring"}
    assert run(model, *arguments) == 2
    assert "n00000003 is without words" in capsys.readouterr().err


def test_uncalibrated_labeller_has_no_probabilities(tmp_path, paths, capsys):
    model = tmp_path / "plain.safetensors"
    labeller(calibration=None).save(model)
    assert run(model, paths[0], *LABELS_FLAG, "--contact-sheet", tmp_path / "sheet.png") == 0
    assert all(line.endswith("\t-") for line in capsys.readouterr().out.splitlines())
    assert run(model, paths[0], *LABELS_FLAG, "--none-of-these", 0.5) == 2
    assert "calibrated" in capsys.readouterr().err


def test_unreadable_images_are_reported_and_the_rest_labelled(model, paths, tmp_path, capsys):
    bad, gone = tmp_path / "bad.jpg", tmp_path / "gone.jpg"
    bad.write_bytes(b"no image")
    assert run(model, bad, paths[0], gone, *LABELS_FLAG, "--top-k", 1) == 1
    stdout, stderr = capsys.readouterr()
    assert [line.split("\t")[0] for line in stdout.splitlines()] == [str(paths[0])]
    assert f"vl: error: {bad}" in stderr
    assert f"vl: error: {gone}" in stderr
    assert stderr.endswith("2 of 3 inputs failed\n")
    assert run(model, bad, *LABELS_FLAG, "--contact-sheet", tmp_path / "sheet.png") == 1
    assert not (tmp_path / "sheet.png").exists()


def test_name_that_is_not_utf_8_is_escaped(model, paths, capsys):
    odd = os.fsencode(paths[0].with_name("a")) + b"\xe4.png"
    paths[0].rename(os.fsdecode(odd))
    assert run(model, os.fsdecode(odd), "--labels", "ball, b\udce4ll") == 0
    assert "a\\udce4.png\tball" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--nearest-words"),
        (["--labels", "a", "--nearest-words", "2"], "--nearest-words"),
        (["--nearest-words", "0"], "--nearest-words is 0"),
        (["--labels", "a", "--top-k", "0"], "--top-k is 0"),
        (["--labels", "a", "--none-of-these", "1"], "--none-of-these is 1"),
        (["--labels", "ball", "--none-of-these", "0.01"], "the least is 0.05"),
        (["--labels", "a", "--contact-sheet", "a.jpg"], "a.jpg"),
        (["--labels", "a", "--coverage", "a.jpg"], "a.jpg"),
        (["--labels", "qqq, vvv"], "none of 2 labels"),
        (["--labels", ""], "no label"),
        (["--labels", "gone.txt"], "gone.txt"),
        (["--labels", "ball", "--batch-size=0"], "--batch-size is 0"),
        (["--labels", "ball", "--wordnet", "gone"], "gone"),
    ],
)
def test_invalid_arguments_are_refused(model, paths, capsys, arguments, word):
    assert main(["label", str(paths[0]), "--model", str(model), *arguments]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert word in stderr


def test_other_files_are_refused(model, paths, tmp_path, capsys):
    captioner().save(tmp_path / "captioner.safetensors")
    assert run(tmp_path / "captioner.safetensors", paths[0], "--labels", "ball") == 2
    assert "captioner.safetensors" in capsys.readouterr().err
    label_file = tmp_path / "labels.txt"
    label_file.write_bytes(b"ball\nb\xffx\n")
    assert run(model, paths[0], "--labels", label_file) == 2
    assert f"{label_file}: line 2" in capsys.readouterr().err
    assert run(model, "--labels", "ball") == 2


def test_contact_sheet_has_at_most_60_images(model, tmp_path, capsys):
    sheet = tmp_path / "sheets" / "sheet.png"
    paths = drawings(tmp_path / "many", 62, side=8)
    assert run(model, *paths, "--labels", "ball, qqq", "--contact-sheet", sheet) == 0
    assert sheet.stat().st_size > 0
    assert f"60 images in {sheet}\nvl: 2 more images" in capsys.readouterr().err
