"""`vl label`: its lines are the labeller's own answers, and nothing is lost in silence."""

import io
import json
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.tiny_captioner import Tiny, captioner, drawings
from tests.helpers.tiny_labeller import IS_A, SYNSETS, labeller, wordnet, words
from vl.__main__ import main
from vl.data.words.label_space import LabelSpace
from vl.encoders.table import ENCODERS
from vl.labelling.labeller import Labeller

ASKED = "ball, stop sign, okapi"
LABELS = ["ball", "stop sign", "okapi"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


def two_views() -> Labeller:
    return labeller(views=("plain", "flip"))


@pytest.fixture
def model(tmp_path):
    two_views().save(tmp_path / "labeller.safetensors")
    return tmp_path / "labeller.safetensors"


@pytest.fixture
def photos(tmp_path):
    return drawings(tmp_path / "photos", 5)


def run(model, *arguments):
    return main(["label", "--model", str(model), "--batch-size", "2", *map(str, arguments)])


def expected(photos, labels, **asked):
    """What Python gives; only the words' rounding in the file parts them."""
    made = two_views()
    return made(photos, labels=made.candidates(labels, **asked), top=len(labels))


def test_a_line_a_photograph_and_label_best_first(model, photos, capsys):
    assert run(model, photos[3], photos[0].parent, "--labels", ASKED) == 0
    stdout, stderr = capsys.readouterr()
    lines = [line.split("\t") for line in stdout.splitlines()]
    given = [photos[3], *photos]
    wanted = [
        (str(path), *label)
        for path, answer in zip(given, expected(given, LABELS), strict=True)
        for label in answer.labels
    ]
    assert [(line[0], line[1]) for line in lines] == [each[:2] for each in wanted]
    for line, (*_, cosine, probability, _) in zip(lines, wanted, strict=True):
        assert len(line) == 4
        assert float(line[2]) == pytest.approx(cosine, abs=1e-3)
        assert float(line[3]) == pytest.approx(probability, abs=5e-3)
        assert [len(figure.partition(".")[2]) for figure in line[2:]] == [4, 3]
    assert stderr.splitlines()[:2] == [
        "vl: 3 labels, 2 of them trained on, 1 not",
        "vl: their vectors: 3 as written, words joined by underscores",
    ]
    assert "label 6/6" in stderr


def test_only_the_top(model, photos, capsys):
    assert run(model, photos[0], "--labels", ASKED, "--top", 1) == 0
    (line,) = capsys.readouterr().out.splitlines()
    (answer,) = expected(photos[:1], LABELS)
    assert line.split("\t")[1] == answer.labels[0].text


def test_json_lines(model, photos, tmp_path, capsys):
    listed = tmp_path / "labels.txt"
    listed.write_text("ball\nn00000003 okapi, forest giraffe\nqqq\n")
    arguments = [*photos[:3], "--labels", listed, "--json", "--none-of-these", 0.3]
    assert run(model, *arguments) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["path"] for record in records] == [str(path) for path in photos[:3]]
    texts = ["ball", "okapi, forest giraffe"]
    made = two_views()
    answers = made(photos[:3], labels=made.candidates([*texts, "qqq"]), none_of_these=0.3)
    for record, answer in zip(records, answers, strict=True):
        assert record["none_of_these"] == answer.none_of_these
        *known, lost = record["labels"]
        assert lost == {"label": "qqq", "cosine": None, "probability": None, "note": "no vector"}
        for held, label in zip(known, answer.labels, strict=True):
            ids = {"id": "n00000003"} if label.text != "ball" else {}
            assert held == {
                "label": label.text,
                **ids,
                "cosine": pytest.approx(label.cosine, abs=1e-3),
                "probability": pytest.approx(label.probability, abs=5e-3),
            }


def test_json_without_the_question_has_no_answer_to_it(model, photos, capsys):
    assert run(model, photos[0], "--labels", ASKED, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"path", "labels"}


def test_two_senses_of_a_word_keep_their_ids(tmp_path, photos, capsys):
    labeller(LabelSpace(words(), wordnet(), hypernym_weight=0.5)).save(
        tmp_path / "kinds.safetensors"
    )
    listed = tmp_path / "senses.txt"
    listed.write_text("n00000006\nn00000007\nquokka\n")
    out = tmp_path / "coverage.tsv"
    arguments = [photos[0], "--labels", listed, "--json", "--coverage", out]
    assert run(tmp_path / "kinds.safetensors", *arguments) == 0
    stdout, stderr = capsys.readouterr()
    found = {each["id"]: each["label"] for each in json.loads(stdout)["labels"]}
    assert found == {"n00000006": "ring", "n00000007": "ring, ringing", "n00000005": "quokka"}
    assert stderr.splitlines()[1].endswith(
        "; 1 have no vector, of which 1 have the place of what they are a kind of"
    )
    assert [line.split("\t") for line in out.read_text().splitlines()] == [
        ["label", "id", "way", "words", "synset", "trained on"],
        ["ring", "n00000006", "phrase", "ring", "n00000006", "no"],
        ["ring, ringing", "n00000007", "phrase", "ring", "n00000007", "no"],
        ["quokka", "", "kind", "", "n00000005", "no"],
    ]


def test_none_of_these_is_one_line_with_the_nearest(model, photos, capsys):
    made = two_views()
    answers = made(photos, labels=LABELS, none_of_these=0.5)
    assert len({answer.none_of_these for answer in answers}) == 2
    assert run(model, *photos, "--labels", ASKED, "--none-of-these", 0.5, "--top", 2) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    for path, answer in zip(photos, answers, strict=True):
        own = [line[1:] for line in lines if line[0] == str(path)]
        best = answer.labels[0]
        if answer.none_of_these:
            ((first, cosine, probability, nearest),) = own
            assert (first, nearest) == ("none of these", f"the nearest: {best.text}")
        else:
            assert len(own) == 2
            first, cosine, probability = own[0]
            assert first == best.text
        assert float(cosine) == pytest.approx(best.cosine, abs=1e-3)
        assert float(probability) == pytest.approx(best.probability, abs=5e-3)


def test_labels_without_a_vector_are_told_and_listed_last(model, photos, tmp_path, capsys):
    assert run(model, photos[0], "--labels", "qqq, ball, vvv, okapi", "--top", 3) == 0
    stdout, stderr = capsys.readouterr()
    lines = [line.split("\t")[1:] for line in stdout.splitlines()]
    assert {line[0] for line in lines[:2]} == {"ball", "okapi"}
    assert lines[2] == ["qqq", "-", "-", "no vector"]
    assert "vl: warning: no vector, so never chosen: 2 of 4 labels: 'qqq', 'vvv'\n" in stderr


def test_of_many_labels_without_a_vector_ten_are_named(model, photos, tmp_path, capsys):
    lost = [f"q{number}q" for number in range(13)]
    listed = tmp_path / "labels.txt"
    listed.write_text("\n".join(["ball", *lost]))
    out = tmp_path / "coverage.tsv"
    base = [photos[0], "--labels", listed, "--top", 1]
    assert run(model, *base, "--coverage", out) == 0
    stdout, stderr = capsys.readouterr()
    assert "'q9q' and 3 more, which --debug names and --coverage lists\n" in stderr
    assert "'q10q'" not in stderr
    assert len(stdout.splitlines()) == 1
    rows = [line.split("\t") for line in out.read_text().splitlines()[1:]]
    assert rows[0] == ["ball", "", "phrase", "ball", "", "yes"]
    assert rows[1:] == [[label, "", "none", "", "", "no"] for label in lost]
    assert run(model, *base, "--debug") == 0
    assert "'q12q'\n" in capsys.readouterr().err


def test_duplicates_and_blanks_are_told(model, photos, tmp_path, capsys):
    listed = tmp_path / "labels.txt"
    listed.write_text("ball\n\nBall\n\u5b57\n\u043c\u044f\u0447\n")
    assert run(model, photos[0], "--labels", listed) == 0
    stderr = capsys.readouterr().err
    assert "an empty line, first line 2\n" in stderr
    assert "repeated label, first 'Ball' in line 3" in stderr
    assert "never chosen: 2 of 3 labels: '\u5b57', '\u043c\u044f\u0447'\n" in stderr


def test_the_nearest_words(model, photos, capsys):
    assert run(model, photos[0], "--nearest-words", 2) == 0
    stdout, stderr = capsys.readouterr()
    made = two_views()
    (answer,) = made.answers(
        made.project(made.embedder(photos[:1]).mean(1)), made.all_words(), top=2
    )
    assert [line.split("\t")[1] for line in stdout.splitlines()] == [
        label.text for label in answer.labels
    ]
    assert "vl: 9 words, 2 of them trained on, 7 not\n" in stderr


@pytest.mark.parametrize("flag", ["--stacking", "--csls"])
def test_what_is_taken_back(model, photos, capsys, flag):
    assert run(model, *photos, "--labels", ASKED, flag, "--json") == 0
    records = [json.loads(line)["labels"] for line in capsys.readouterr().out.splitlines()]
    wanted = expected(photos, LABELS, **{flag[2:]: True})
    plain = expected(photos, LABELS)
    for record, answer in zip(records, wanted, strict=True):
        assert [each["label"] for each in record] == [label.text for label in answer.labels]
        chances = [each["probability"] for each in record]
        assert chances == pytest.approx([label.probability for label in answer.labels], abs=5e-3)
    assert plain != wanted


def test_ids_take_their_words_from_the_flag(model, photos, tmp_path, capsys):
    folder = tmp_path / "wordnet"
    folder.mkdir()
    (folder / "words.txt").write_text(
        "".join(f"{name}\t{', '.join(each)}\n" for name, each in SYNSETS.items())
    )
    (folder / "is_a.txt").write_text("".join(f"{one} {other}\n" for one, other in IS_A))
    arguments = [photos[0], "--labels", "n00000003, n00000006", "--json"]
    assert run(model, *arguments, "--wordnet", folder) == 0
    stdout, _ = capsys.readouterr()
    found = {each["id"]: each["label"] for each in json.loads(stdout)["labels"]}
    assert found == {"n00000003": "okapi, Okapia johnstoni", "n00000006": "ring"}
    assert run(model, *arguments) == 2
    assert "n00000003 is without words; write them behind it, or give --wordnet\n" in (
        capsys.readouterr().err
    )


def test_uncalibrated_there_is_no_probability(tmp_path, photos, capsys):
    path = tmp_path / "plain.safetensors"
    labeller(calibration=None).save(path)
    picture = tmp_path / "sheet.png"
    assert run(path, photos[0], "--labels", ASKED, "--picture", picture) == 0
    assert all(line.endswith("\t-") for line in capsys.readouterr().out.splitlines())
    assert run(path, photos[0], "--labels", ASKED, "--json") == 0
    assert json.loads(capsys.readouterr().out)["labels"][0]["probability"] is None
    assert run(path, photos[0], "--labels", ASKED, "--none-of-these", 0.5) == 2
    assert capsys.readouterr().err.endswith(
        "vl: error: none of these wants a calibrated labeller: one trained with a development "
        "split\n"
    )


def test_a_list_of_paths_on_stdin(model, photos, capsys, monkeypatch):
    text = f"{photos[1]}\n\n{photos[0]}\r\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run(model, "-", photos[2], "--labels", ASKED, "--top", 1) == 0
    paths = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert paths == [str(photos[1]), str(photos[0]), str(photos[2])]


def test_bad_photographs_are_reported_and_the_others_done(model, photos, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    gone = tmp_path / "gone.jpg"
    assert run(model, bad, photos[0], gone, "--labels", ASKED, "--top", 1) == 1
    stdout, stderr = capsys.readouterr()
    assert [line.split("\t")[0] for line in stdout.splitlines()] == [str(photos[0])]
    assert f"vl: error: {bad}: not an image" in stderr
    assert f"vl: error: {gone}: No such file or directory\n" in stderr
    assert stderr.endswith("vl: 2 of 3 inputs failed\n")
    assert run(model, bad, "--labels", ASKED, "--picture", tmp_path / "sheet.png") == 1
    assert "no photograph could be read, so" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_a_name_that_is_not_utf_8_is_written_escaped(model, photos, capsys):
    odd = os.fsencode(photos[0].with_name("a")) + b"\xe4.png"
    photos[0].rename(os.fsdecode(odd))
    assert run(model, os.fsdecode(odd), "--labels", "ball, b\udce4ll") == 0
    assert "a\\udce4.png\tball" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --labels or --nearest-words"),
        (["--labels", "a", "--nearest-words", "2"], "give either --labels or --nearest-words"),
        (["--labels", "a", "--top", "0"], "--top is 0; it must be at least 1"),
        (["--nearest-words", "0"], "--nearest-words is 0; it must be at least 1"),
        (["--nearest-words", "3", "--top", "2"], "so --top has no place"),
        (["--nearest-words", "3", "--csls"], "not for --nearest-words"),
        (["--labels", "a", "--none-of-these", "0"], "--none-of-these is 0.0; it is a share"),
        (["--labels", "a", "--none-of-these", "1.5"], "--none-of-these is 1.5; it is a share"),
        (["--labels", "ball", "--none-of-these", "0.01"], "the least is 0.05"),
        (["--labels", "a", "--picture", "a.jpg"], "--picture writes a .png file, not 'a.jpg'"),
        (["--labels", "a", "--coverage", "/"], "/: a folder, not a file"),
        (["--labels", "qqq, vvv"], "none of 2 labels has a vector: 'qqq', 'vvv'"),
        (["--labels", ""], "there is no label in ''"),
        (["--labels", "gone.txt"], "gone.txt: no such file of labels"),
        (["--labels", "ball", "--batch-size=0"], "batch size is 0"),
        (["--labels", "ball", "--wordnet", "gone"], "gone/words.txt: No such file|gone/is_a.txt"),
    ],
)
def test_mistakes_are_one_line(model, photos, capsys, arguments, message):
    assert main(["label", str(photos[0]), "--model", str(model), *arguments]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    (line,) = [line for line in stderr.splitlines() if line.startswith("vl: error: ")]
    assert re.search(message.replace(".", "\\."), line)


def test_a_rate_that_cannot_be_told_is_refused_before_the_photographs(model, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    assert run(model, bad, "--labels", ASKED, "--none-of-these", 0.01) == 2
    assert "bad.jpg" not in capsys.readouterr().err


def test_other_files_are_refused_by_name(model, photos, tmp_path, capsys):
    captioner().save(tmp_path / "captioner.safetensors")
    assert run(tmp_path / "captioner.safetensors", photos[0], "--labels", "ball") == 2
    assert "captioner.safetensors: a bundle of kind 'captioner', not 'labeller'" in (
        capsys.readouterr().err
    )
    listed = tmp_path / "labels.txt"
    listed.write_bytes(b"ball\nb\xffx\n")
    assert run(model, photos[0], "--labels", listed) == 2
    assert f"{listed}: line 2: not UTF-8" in capsys.readouterr().err
    assert run(model, "--labels", "ball") == 2
    assert "no photographs are given" in capsys.readouterr().err


def shown(path):
    with Image.open(path) as drawn:
        return np.asarray(drawn.convert("RGB")).astype(int)
