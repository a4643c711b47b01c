"""`vl attack`: outputs are the model's own, adversarial images are within epsilon."""

import json
import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.tiny_captioner import Tiny, captioner, drawings
from tests.helpers.tiny_labeller import labeller
from vl.__main__ import main
from vl.captioning.captioner import Captioner
from vl.data.images.decode import decode
from vl.encoders.table import ENCODERS
from vl.labelling.labeller import Labeller

LABELS = ("ball", "stop sign", "okapi", "box")
STAGES = ("clean", "adversarial", "saved")
EPSILON = 0.02


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def images(tmp_path):
    return drawings(tmp_path / "images", 5)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "output"


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


def rows(text):
    return [line.split("\t") for line in text.splitlines()]


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def predict(model, images):
    """The model's own outputs with their probability or log-probability."""
    if "--labels" in model:
        answers = Labeller.load(model[1])(images, labels=LABELS)
        return [
            (answer.predictions[0].text, answer.predictions[0].probability) for answer in answers
        ]
    return [(best.text, best.log_prob) for best, *_ in Captioner.load(model[1])(images)]


def test_prints_three_stages_with_the_models_own_outputs(model, images, output, capsys):
    flags = ["--output-dir", output, "--epsilon", EPSILON, "--batch-size", 2]
    assert run(*images, *model, *flags) == 0
    stdout, stderr = capsys.readouterr()
    lines = rows(stdout)
    assert [line[:2] for line in lines] == [
        [str(path), stage] for path in images for stage in STAGES
    ]
    clean_outputs = predict(model, images)
    saved_outputs = predict(model, [output / path.name for path in images])
    for index in range(len(images)):
        clean, adversarial, saved = lines[3 * index : 3 * index + 3]
        for line, expected in ((clean, clean_outputs[index]), (saved, saved_outputs[index])):
            assert line[2] == expected[0]
            assert float(line[3]) == pytest.approx(expected[1], abs=2e-4)
        assert clean[3] == clean[4]
        assert float(adversarial[4]) < float(clean[4])
        for line in (clean, adversarial, saved):
            assert line[5] == ("no" if line[2] == clean[2] else "yes")
    successes = [sum(line[5] == "yes" for line in lines[stage::3]) for stage in (1, 2)]
    assert f"{successes[0]} of 5 images, {successes[1]} after saving" in stderr
    assert "attack 5/5" in stderr


@pytest.mark.parametrize("epsilon", [0.002, 0.007, 0.01, EPSILON])
def test_saved_image_is_within_epsilon(model, images, output, epsilon):
    assert run(*images, *model, "--output-dir", output, "--epsilon", epsilon) == 0
    assert sorted(path.name for path in output.iterdir()) == [path.name for path in images]
    for path in images:
        with Image.open(output / path.name) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 16))
        clean = captioner().embedder.preprocess(path)
        change = (decode(output / path.name) - clean).abs()
        assert float(change.max()) <= epsilon + 1e-6
        assert float(change.max()) > 0 or epsilon < 0.5 / 255


def test_epsilon_0_changes_nothing(model, images, output, capsys):
    assert run(images[0], *model, "--output-dir", output, "--epsilon", 0, "--json") == 0
    (record,) = records(capsys.readouterr().out)
    assert record["adversarial"] == record["clean"]
    assert record["clean"]["max_change"] == 0
    clean = captioner().embedder.preprocess(images[0])
    assert torch.equal((decode(output / images[0].name) * 255).round(), (clean * 255).round())


@pytest.mark.parametrize(("fixture", "target"), [("labels", "BALL"), ("captions", "A box.")])
def test_targeted_attack_raises_the_targets_confidence(
    fixture, target, images, output, capsys, request
):
    model = request.getfixturevalue(fixture)
    flags = ["--target", target, "--epsilon", 0.01, "--steps", 20, "--json"]
    assert run(*images, *model, "--output-dir", output, *flags) == 0
    stdout, stderr = capsys.readouterr()
    text = target.lower().strip(".")
    confidence = "probability" if fixture == "labels" else "log_prob"
    for record in records(stdout):
        assert record["target"] == text
        targets = [record[stage]["target"][confidence] for stage in STAGES]
        assert targets[1] > targets[0]
        for stage in STAGES:
            assert record[stage]["success"] == (record[stage]["output"] == text)
    clean = sum(record["clean"]["success"] for record in records(stdout))
    assert (f"{clean} clean images had the output {text!r}" in stderr) == (clean > 0)


def test_json_has_settings_outputs_and_changes(labels, images, output, capsys):
    flags = ["--epsilon", 0.25, "--steps", 10, "--step-size", 0.03, "--json"]
    assert run(images[1], *labels, "--output-dir", output, *flags) == 0
    (record,) = records(capsys.readouterr().out)
    assert {key: value for key, value in record.items() if key not in STAGES} == {
        "path": str(images[1]),
        "file": str(output / "1.png"),
        "epsilon": 0.25,
        "steps": 10,
        "step_size": 0.03,
        "target": None,
    }
    ((text, probability),) = predict(labels, [images[1]])
    assert record["clean"]["output"] == text
    assert record["clean"]["probability"] == pytest.approx(probability, abs=1e-4)
    assert -1 <= record["clean"]["cosine"] <= 1
    assert record["clean"]["target"]["probability"] == record["clean"]["probability"]
    assert 0.2 < record["adversarial"]["max_change"] <= 0.25 + 1e-6
    assert record["saved"]["max_change"] <= 0.25 + 1e-6


def test_uncalibrated_labeller_has_cosines(tmp_path, images, output, capsys):
    labeller(calibration=None).save(tmp_path / "labeller.safetensors")
    model = ["--model", tmp_path / "labeller.safetensors", "--labels", "ball, box"]
    assert run(images[0], *model, "--output-dir", output) == 0
    best = Labeller.load(model[1])([images[0]], labels=["ball", "box"])[0].predictions[0]
    assert rows(capsys.readouterr().out)[0][2:4] == [best.text, f"{best.cosine:.4f}"]


def test_contact_sheet_amplifies_the_differences(model, images, output, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    flags = ["--output-dir", output, "--contact-sheet", sheet, "--epsilon", EPSILON]
    assert run(*images[:2], *model, *flags) == 0
    stderr = capsys.readouterr().err
    max_change = max(
        float((decode(output / path.name) - captioner().embedder.preprocess(path)).abs().max())
        for path in images[:2]
    )
    assert f"2 images in {sheet}, differences amplified {int(0.5 / max_change)} times" in stderr
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 10


def test_contact_sheet_is_no_adversarial_image(model, images, output, capsys):
    flags = ["--output-dir", output, "--contact-sheet", output / "0.png"]
    assert run(images[0], *model, *flags) == 2
    assert "0.png is an adversarial image" in capsys.readouterr().err


def test_contact_sheet_holds_20_images(labels, tmp_path, output, capsys):
    images = drawings(tmp_path / "many", 22)
    flags = ["--output-dir", output, "--contact-sheet", tmp_path / "sheet.png"]
    assert run(*images, *labels, *flags) == 0
    assert "2 more images" in capsys.readouterr().err


def test_unreadable_file_fails_alone(model, images, output, tmp_path, capsys):
    bad = tmp_path / "images" / "bad.jpg"
    bad.write_bytes(b"no image")
    paths = [images[0], bad, tmp_path / "missing.png", images[1]]
    assert run(*paths, *model, "--output-dir", output) == 1
    stdout, stderr = capsys.readouterr()
    assert [line[0] for line in rows(stdout)[::3]] == [str(images[0]), str(images[1])]
    assert f"vl: error: {bad}" in stderr
    assert f"vl: error: {tmp_path / 'missing.png'}" in stderr
    assert "2 of 4 inputs failed" in stderr
    assert not (output / "bad.png").exists()


def test_no_contact_sheet_without_readable_images(labels, output, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    flags = ["--output-dir", output, "--contact-sheet", tmp_path / "sheet.png"]
    assert run(bad, *labels, *flags) == 1
    assert "sheet.png is not written" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_equal_names_are_prefixed_by_their_folders(labels, tmp_path, output):
    paths = drawings(tmp_path / "ant", 1) + drawings(tmp_path / "bee", 1)
    assert run(*paths, *labels, "--output-dir", output) == 0
    assert sorted(path.name for path in output.iterdir()) == ["ant-0.png", "bee-0.png"]


def test_refuses_to_overwrite(labels, tmp_path, images, output, capsys):
    twin = tmp_path / "images" / "0.jpg"
    twin.write_bytes(images[0].read_bytes())
    assert run(images[0], twin, *labels, "--output-dir", output) == 2
    assert re.search(r"0\.png and .*0\.jpg", capsys.readouterr().err)
    inside = tmp_path / "images" / "adversarial"
    assert run(tmp_path / "images", *labels, "--output-dir", inside) == 2
    assert "adversarial: it lies in the source" in capsys.readouterr().err
    assert run(*images, *labels, "--output-dir", tmp_path / "images") == 2
    assert "0.png is read by this command" in capsys.readouterr().err
    assert run(images[0], *labels, "--output-dir", images[1]) == 2
    assert "1.png" in capsys.readouterr().err
    sheet = ["--contact-sheet", tmp_path / "images"]
    assert run(images[0], *labels, "--output-dir", output, *sheet) == 2
    assert not output.exists()


def test_repeated_image_is_attacked_twice(labels, images, output, capsys):
    assert run(images[0], images[0], *labels, "--output-dir", output) == 0
    assert len(rows(capsys.readouterr().out)) == 6


def test_warns_of_labels_without_a_vector(images, output, labels, capsys):
    flags = [*labels[:3], "ball, zzz, yyy", "--output-dir", output]
    assert run(images[0], *flags) == 0
    assert "vl: warning: labels without a word vector" in (stderr := capsys.readouterr().err)
    assert "'zzz', 'yyy'" in stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epsilon", "-1"], "--epsilon"),
        (["--step-size", "2"], "--step-size"),
        (["--contact-sheet", "sheet.jpg"], "sheet.jpg"),
        (["--device", "abacus"], "abacus"),
        (["--target", "zebra"], "zebra"),
        (["--resize", "squash"], "resize"),
    ],
)
def test_refuses_invalid_flags_in_one_line(model, images, output, flags, message, capsys):
    assert run(images[0], *model, "--output-dir", output, *flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not output.exists()


def test_labels_are_for_labellers_alone(labels, captions, images, output, tmp_path, capsys):
    (tmp_path / "damaged.safetensors").write_bytes(b"x")
    cases = [
        ([*labels[:2]], "--labels"),
        ([*captions, "--labels", "ball"], "labels require a labeller"),
        (["--model", tmp_path / "damaged.safetensors"], "damaged.safetensors"),
        (["--model", tmp_path / "missing"], "missing"),
    ]
    for flags, message in cases:
        assert run(images[0], *flags, "--output-dir", output) == 2
        assert message in capsys.readouterr().err


def test_file_name_need_not_be_utf_8(labels, images, output, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    path = images[0].parent / name
    try:
        path.write_bytes(images[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    flags = ["--output-dir", output, "--contact-sheet", tmp_path / "sheet.png"]
    assert run(path, *labels, *flags) == 0
    assert (output / name).exists()
