"""`vl attack`: its lines are what the model says itself, and its pictures what they should be."""

import json
import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.tiny_captioner import Tiny, captioner, drawings
from tests.helpers.tiny_labeller import labeller
from vl import attack_sheet
from vl.__main__ import main
from vl.captioning.captioner import Captioner
from vl.data.images.decode import decode
from vl.encoders.table import ENCODERS
from vl.labelling.labeller import Labeller

LABELS = ("ball", "stop sign", "okapi", "box")
EPSILON = 0.02


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def photos(tmp_path):
    return drawings(tmp_path / "photos", 5)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def labels(tmp_path):
    labeller(views=("plain", "flip")).save(tmp_path / "labeller.safetensors")
    return ["--model", tmp_path / "labeller.safetensors", "--labels", ", ".join(LABELS)]


@pytest.fixture
def captions(tmp_path):
    captioner(views=("plain", "flip")).save(tmp_path / "captioner.safetensors")
    return ["--model", tmp_path / "captioner.safetensors"]


@pytest.fixture(params=["labels", "captions"])
def model(request):
    return request.getfixturevalue(request.param)


def run(*arguments):
    return main(["attack", *map(str, arguments)])


def lines(text):
    return [line.split("\t") for line in text.splitlines()]


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def says(model, images):
    """What the model says for itself: the text, and its probability or log-probability."""
    if "--labels" in model:
        found = Labeller.load(model[1])(images, labels=LABELS)
        return [(each.labels[0].text, each.labels[0].probability) for each in found]
    return [(best.text, best.log_prob) for best, *_ in Captioner.load(model[1])(images)]


def test_three_lines_a_photograph_with_the_models_own_answers(model, photos, out, capsys):
    assert run(*photos, *model, "--out", out, "--eps", EPSILON, "--batch-size", 2) == 0
    stdout, stderr = capsys.readouterr()
    found = lines(stdout)
    assert [line[:2] for line in found] == [
        [str(path), stage] for path in photos for stage in ("before", "after", "png")
    ]
    before = says(model, photos)
    again = says(model, [out / path.name for path in photos])
    for number in range(len(photos)):
        first, after, png = found[3 * number : 3 * number + 3]
        for line, (text, figure) in ((first, before[number]), (png, again[number])):
            assert line[2] == text
            assert float(line[3]) == pytest.approx(figure, abs=2e-4)
        assert first[3] == first[4]  # what is attacked is what it says
        assert float(after[4]) < float(first[4])
        for line in (first, after, png):
            assert line[5] == ("no" if line[2] == first[2] else "yes")
    done = [sum(line[5] == "yes" for line in found[stage::3]) for stage in (1, 2)]
    assert (
        f"vl: done with {done[0]} of 5 photographs, and read again from the file with {done[1]}\n"
        in (stderr)
    )
    assert "attack 5/5" in stderr


def test_a_picture_is_the_square_changed_by_no_more_than_asked_and_rounding(model, photos, out):
    assert run(*photos, *model, "--out", out, "--eps", EPSILON) == 0
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in photos]
    for path in photos:
        with Image.open(out / path.name) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 16))
        square = captioner().embedder.square(decode(path))
        change = (decode(out / path.name) - square).abs()
        assert 0 < float(change.max()) <= EPSILON + 0.5 / 255 + 1e-6


def test_eps_0_writes_the_square_and_says_so(model, photos, out, capsys):
    assert run(photos[0], *model, "--out", out, "--eps", 0, "--json") == 0
    (record,) = records(capsys.readouterr().out)
    assert record["after"] == record["before"]
    assert record["before"]["largest_change"] == 0
    square = captioner().embedder.square(decode(photos[0]))
    assert torch.equal((decode(out / photos[0].name) * 255).round(), (square * 255).round())


@pytest.mark.parametrize(("kind", "towards"), [("labels", "BALL"), ("captions", "A box.")])
def test_towards_what_is_wanted(kind, towards, photos, out, capsys, request):
    model = request.getfixturevalue(kind)
    flags = ["--towards", towards, "--eps", 0.01, "--steps", 20, "--json"]
    assert run(*photos, *model, "--out", out, *flags) == 0
    stdout, stderr = capsys.readouterr()
    text = towards.lower().strip(".")
    for record in records(stdout):
        assert record["towards"] == text
        figure = "probability" if kind == "labels" else "log_prob"
        assert record["after"]["attacked"][figure] > record["before"]["attacked"][figure]
        for stage in ("before", "after", "png"):
            assert record[stage]["done"] == (record[stage]["says"] == text)
    before = sum(record["before"]["done"] for record in records(stdout))
    assert (f"of {before} the model said {text!r} before" in stderr) == (before > 0)


def test_it_is_done_when_the_model_says_what_is_wanted(labels, photos, out, capsys):
    flags = ["--towards", "ball", "--eps", 1, "--steps", 30]
    assert run(*photos, *labels, "--out", out, *flags) == 0
    found = lines(capsys.readouterr().out)
    assert [line[2] for line in found if line[1] != "before"] == ["ball"] * 10
    assert all(line[5] == "yes" for line in found if line[2] == "ball")
    assert all(line[5] == "no" for line in found if line[2] != "ball")


def test_json_tells_all(labels, photos, out, capsys):
    flags = ["--eps", 0.25, "--steps", 10, "--json"]
    assert run(photos[1], *labels, "--out", out, *flags) == 0
    (record,) = records(capsys.readouterr().out)
    assert {key: record[key] for key in ("path", "written", "eps", "steps", "towards")} == {
        "path": str(photos[1]),
        "written": str(out / "1.png"),
        "eps": 0.25,
        "steps": 10,
        "towards": None,
    }
    assert record["step_size"] == pytest.approx(0.0625)
    ((text, probability),) = says(labels, [photos[1]])
    assert record["before"]["says"] == text
    assert record["before"]["probability"] == pytest.approx(probability, abs=1e-4)
    assert -1 <= record["before"]["cosine"] <= 1
    assert record["before"]["attacked"]["probability"] == record["before"]["probability"]
    assert 0.2 < record["after"]["largest_change"] <= 0.25 + 1e-6
    assert record["png"]["largest_change"] <= 0.25 + 0.5 / 255 + 1e-6


def test_small_steps_go_no_further_than_they_can(labels, photos, out, capsys):
    flags = ["--eps", 0.25, "--steps", 3, "--step-size", 0.001, "--json"]
    assert run(photos[1], *labels, "--out", out, *flags) == 0
    (record,) = records(capsys.readouterr().out)
    assert record["step_size"] == 0.001
    assert 0.0005 < record["after"]["largest_change"] <= 0.003 + 1e-6


def test_the_batch_changes_no_answer(model, photos, out, capsys):
    found = []
    for size in (1, 4):
        assert run(*photos, *model, "--out", out, "--json", "--batch-size", size) == 0
        found.append(records(capsys.readouterr().out))
    for one, other in zip(*found, strict=True):
        for stage in ("before", "after", "png"):
            assert one[stage]["says"] == other[stage]["says"]


def test_a_labeller_without_calibration_tells_cosines(tmp_path, photos, out, capsys):
    labeller(calibration=None).save(tmp_path / "labeller.safetensors")
    model = ["--model", tmp_path / "labeller.safetensors", "--labels", "ball, box"]
    assert run(photos[0], *model, "--out", out) == 0
    best = Labeller.load(model[1])([photos[0]], labels=["ball", "box"])[0].labels[0]
    assert lines(capsys.readouterr().out)[0][2:4] == [best.text, f"{best.cosine:.4f}"]


def test_the_sheet_shows_original_difference_and_result(model, photos, out, tmp_path, capsys):
    picture = tmp_path / "sheet.png"
    assert run(*photos[:2], *model, "--out", out, "--picture", picture, "--eps", EPSILON) == 0
    stderr = capsys.readouterr().err
    squares = [captioner().embedder.square(decode(path)) for path in photos[:2]]
    most = max(
        float((decode(out / path.name) - square).abs().max())
        for path, square in zip(photos[:2], squares, strict=True)
    )
    assert f"2 photographs in {picture}, differences {int(0.5 / most)} times" in stderr
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 10


def test_what_has_no_place_on_the_sheet_is_told(labels, photos, out, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(attack_sheet, "MOST", 3)
    assert run(*photos, *labels, "--out", out, "--picture", tmp_path / "sheet.png") == 0
    assert "2 more have no place on it" in capsys.readouterr().err


def test_a_bad_file_is_told_and_the_others_are_done(model, photos, out, tmp_path, capsys):
    bad = tmp_path / "photos" / "bad.jpg"
    bad.write_bytes(b"no picture")
    assert run(photos[0], bad, tmp_path / "gone.png", photos[1], *model, "--out", out) == 1
    stdout, stderr = capsys.readouterr()
    assert [line[0] for line in lines(stdout)[::3]] == [str(photos[0]), str(photos[1])]
    assert f"vl: error: {bad}: no image of a known kind" in stderr
    assert f"vl: error: {tmp_path / 'gone.png'}: No such file or directory" in stderr
    assert "vl: 2 of 4 inputs failed" in stderr
    assert "done with" in stderr
    assert not (out / "bad.png").exists()


def test_nothing_readable_is_no_sheet(labels, out, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    assert run(bad, *labels, "--out", out, "--picture", tmp_path / "sheet.png") == 1
    assert "no photograph could be read, so" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_equal_names_get_their_folders(labels, tmp_path, out, capsys):
    one, other = drawings(tmp_path / "ant", 1) + drawings(tmp_path / "bee", 1)
    assert run(one, other, *labels, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["ant-0.png", "bee-0.png"]


def test_pictures_that_would_meet_are_refused(labels, tmp_path, photos, out, capsys):
    (tmp_path / "photos" / "0.jpg").write_bytes(photos[0].read_bytes())
    assert run(photos[0], tmp_path / "photos" / "0.jpg", *labels, "--out", out) == 2
    assert re.search(r"0\.png and .*0\.jpg would both be written to", capsys.readouterr().err)
    assert run(*photos, *labels, "--out", tmp_path / "photos") == 2
    assert "is a photograph to attack; give another --out" in capsys.readouterr().err
    assert not out.exists()


def test_a_photograph_twice_is_attacked_twice(labels, photos, out, capsys):
    assert run(photos[0], photos[0], *labels, "--out", out) == 0
    assert len(lines(capsys.readouterr().out)) == 6


def test_labels_without_a_vector_are_named(tmp_path, photos, out, labels, capsys):
    assert run(photos[0], *labels[:3], "ball, zzz, yyy", "--out", out) == 0
    assert "warning: no vector, so never chosen: 'zzz', 'yyy'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--eps", "-1"], "epsilon is -1.0; it must be from 0 to 1"),
        (["--eps", "nan"], "epsilon is nan"),
        (["--steps", "0"], "steps is 0; it must be at least 1"),
        (["--step-size", "2"], "step size is 2.0"),
        (["--batch-size", "0"], "batch size is 0"),
        (["--picture", "sheet.jpg"], "--picture writes a .png file, not 'sheet.jpg'"),
        (["--device", "abacus"], "device is 'abacus'"),
        (["--towards", "zebra"], "zebra"),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(model, photos, out, flags, message, capsys):
    assert run(photos[0], *model, "--out", out, *flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not out.exists()


def test_places_that_cannot_be_are_refused(labels, photos, out, tmp_path, capsys):
    assert run(photos[0], *labels, "--out", photos[1]) == 2
    assert "1.png: a file, not a folder" in capsys.readouterr().err
    (tmp_path / "sheet.png").mkdir()
    assert run(photos[0], *labels, "--out", out, "--picture", tmp_path / "sheet.png") == 2
    assert "sheet.png: a folder, not a file" in capsys.readouterr().err


def test_what_a_model_is_decides_what_it_wants(labels, captions, photos, out, tmp_path, capsys):
    assert run(photos[0], *labels[:2], "--out", out) == 2
    assert "is a labeller; give --labels" in capsys.readouterr().err
    assert run(photos[0], *captions, "--labels", "ball", "--out", out) == 2
    assert "--labels is for labellers, and" in capsys.readouterr().err
    (tmp_path / "no.safetensors").write_bytes(b"x")
    assert run(photos[0], "--model", tmp_path / "no.safetensors", "--out", out) == 2
    assert "not a whole safetensors file" in capsys.readouterr().err
    assert run(photos[0], "--model", tmp_path / "none", "--out", out) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_name_that_is_not_utf_8_is_attacked_too(labels, photos, out, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    path = photos[0].parent / name
    try:
        path.write_bytes(photos[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert run(path, *labels, "--out", out, "--picture", tmp_path / "sheet.png") == 0
    assert (out / name).exists()
