"""`vl evaluate-robustness`, and `vl attack` on trained encoders."""

import json

import pytest
import torch
from PIL import Image

from tests.helpers.tiny_captioner import Tiny, captioner, drawings
from tests.helpers.tiny_captioner import encoder as tiny_encoder
from vl.__main__ import main
from vl.attacks.targets import TargetClassifier
from vl.data.images.decode import decode, square
from vl.encoders.inception import Logits
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint
from vl.encoding import encoder_file
from vl.encoding.accuracy import wilson_interval
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.evaluation import Classifier, ClassifierSettings
from vl.training.adversarial import basic_iterative, classifier_loss

CLASSES = ("ball", "box", "ring", "stop sign", "n01440764 tench, Tinca tinca")
FOLDERS = {"ball": 0, "stop_sign": 3, "n01440764_tench": 4}
EPSILON = 0.02


class Classifying(Tiny):
    """An encoder with a classifier whose logits vary from drawing to drawing."""

    def classify(self, pixels):
        embedding = self(pixels)
        return Logits(self.classifier(40 * (embedding - embedding.mean(1, keepdim=True))), ())


def classifying_encoder():
    encoder = Classifying()
    encoder.load_state_dict(tiny_encoder().state_dict())
    return encoder.eval()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Classifying)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "encoder.safetensors"
    encoder_file.save(path, TrainedEncoder(classifying_encoder(), "tiny", CLASSES, {}))
    return path


@pytest.fixture
def folders(tmp_path):
    for count, name in enumerate(FOLDERS, 3):
        drawings(tmp_path / "images" / name, count)
    return tmp_path / "images"


def run(capsys, *arguments, code=0):
    assert main([*map(str, arguments)]) == code
    return capsys.readouterr()


def evaluate(capsys, *arguments, code=0):
    return json.loads(run(capsys, "evaluate-robustness", *arguments, "--json", code=code).out)


def count_errors(folders, *, epsilon, steps, step_size=None):
    """Errors of attacks on single images."""
    encoder, errors = classifying_encoder(), 0
    for name, index in FOLDERS.items():
        for path in sorted((folders / name).iterdir()):
            pixels, label = square(decode(path), 16, "squash")[None], torch.tensor([index])
            loss = classifier_loss(lambda inputs: encoder.classify(inputs).main, label)
            adversarial = basic_iterative(
                pixels, loss, epsilon=epsilon, steps=steps, step_size=step_size
            )
            errors += int(encoder.classify(adversarial).main.argmax(1) != label)
    return errors


@pytest.mark.parametrize("resize", ["center-crop", "squash"])
def test_attack_has_the_outputs_of_the_encoders_evaluation(resize, model, tmp_path, capsys):
    images = drawings(tmp_path / "images", 5)
    flags = ["--model", model, "--output-dir", tmp_path / "output", "--epsilon", EPSILON]
    flags += ["--resize", resize] if resize == "squash" else []
    lines = [line.split("\t") for line in run(capsys, "attack", *images, *flags).out.splitlines()]
    files = [tmp_path / "output" / path.name for path in images]
    (clean,) = Classifier([classifying_encoder()], ClassifierSettings(resize=resize)).stream(images)
    (saved,) = Classifier([classifying_encoder()], ClassifierSettings(resize="squash")).stream(
        files
    )
    for index, path in enumerate(images):
        rows = lines[3 * index : 3 * index + 3]
        assert [row[:2] for row in rows] == [
            [str(path), stage] for stage in ("clean", "adversarial", "saved")
        ]
        for row, evaluation in ((rows[0], clean), (rows[2], saved)):
            best = evaluation.probabilities[1][index].max(0)
            assert row[2] == CLASSES[int(best.indices)]
            assert float(row[3]) == pytest.approx(float(best.values), abs=1e-4)
        assert rows[0][3] == rows[0][4]
        assert float(rows[1][4]) < float(rows[0][4])
        with Image.open(files[index]) as image:
            assert image.size == (16, 16)


def test_targeted_attack_on_a_class_by_one_of_its_names(model, tmp_path, capsys):
    images = drawings(tmp_path / "images", 3)
    flags = ["--model", model, "--output-dir", tmp_path / "output", "--target", "Tench", "--json"]
    flags += ["--epsilon", 0.5, "--steps", 30, "--contact-sheet", tmp_path / "sheet.png"]
    for record in map(json.loads, run(capsys, "attack", *images, *flags).out.splitlines()):
        assert record["target"] == record["adversarial"]["output"] == CLASSES[4]
        assert record["adversarial"]["success"]
        assert record["adversarial"]["target"] == {
            "probability": pytest.approx(record["adversarial"]["probability"])
        }
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"


def test_errors_are_those_of_attacks_on_single_images(folders, model, capsys):
    flags = ["--resize", "squash", "--epsilon", 0, 0.005, EPSILON, "--steps", 4]
    record = evaluate(capsys, folders, "--model", model, *flags, "--batch-size", 5)
    assert record["signature"].startswith("tiny | 5 classes | resize squash | true classes")
    assert record["model"] == {
        "file": str(model),
        "fingerprint": fingerprint(classifying_encoder()),
    }
    assert record["failures"] == 0
    results = record["results"]
    expected = [(0, 0), (0.005, 1), (0.005, 4), (EPSILON, 1), (EPSILON, 4)]
    assert [(result["epsilon"], result["steps"]) for result in results] == expected
    for result in results:
        errors = count_errors(folders, epsilon=result["epsilon"], steps=max(1, result["steps"]))
        assert (result["errors"], result["images"]) == (errors, 12)
        assert result["error_rate"] == pytest.approx(errors / 12)
        assert result["error_interval"] == pytest.approx(list(wilson_interval(errors, 12)))
    assert 0 < results[0]["errors"] < results[-1]["errors"]


def test_table_has_the_same_results(folders, model, capsys):
    flags = [folders, "--model", model, "--epsilon", EPSILON]
    record = evaluate(capsys, *flags)
    assert "resize center-crop" in record["signature"]
    lines = run(capsys, "evaluate-robustness", *flags).out.splitlines()
    assert lines[-1] == record["signature"]
    assert len(lines) == 5
    for line, result in zip(lines[1:4], record["results"], strict=True):
        cells = [f"{result['epsilon']:g}", str(result["steps"]), "12", str(result["errors"])]
        assert line.split()[:5] == [*cells, f"{100 * result['error_rate']:.1f}"]
    assert record["results"][2]["steps"] == 10


def test_steps_and_step_size(folders, model, capsys):
    flags = [folders, "--model", model, "--epsilon", EPSILON, "--resize", "squash"]
    results = evaluate(capsys, *flags, "--steps", 1)["results"]
    assert [result["steps"] for result in results] == [0, 1]
    results = evaluate(capsys, *flags, "--steps", 2, "--step-size", 0.001)["results"]
    assert [result["step_size"] for result in results] == [0, EPSILON, 0.001]
    expected = count_errors(folders, epsilon=EPSILON, steps=2, step_size=0.001)
    assert results[2]["errors"] == expected


def test_list_of_images_has_the_results_of_folders(folders, model, tmp_path, capsys):
    image_list = tmp_path / "list.tsv"
    lines = [
        f"{path}\t{'n01440764' if 'tench' in name else name}\n"
        for name in FOLDERS
        for path in sorted((folders / name).iterdir())
    ]
    image_list.write_text("".join(lines))
    flags = ["--model", model, "--epsilon", EPSILON]
    by_folders = evaluate(capsys, folders, *flags)["results"]
    by_list = evaluate(capsys, image_list, *flags, "--batch-size", 1)["results"]
    assert [result["errors"] for result in by_folders] == [result["errors"] for result in by_list]
    err = run(capsys, "evaluate-robustness", image_list, folders, *flags, code=2).err
    assert "earlier" in err


def test_unreadable_image_is_not_counted(folders, model, capsys):
    (folders / "ball" / "1.png").write_bytes(b"no image")
    flags = [folders, "--model", model]
    out, err = run(capsys, "evaluate-robustness", *flags, code=1)
    assert "1 images could not be read" in out
    assert "1.png" in err
    record = evaluate(capsys, *flags, "--batch-size", 1, code=1)
    assert record["failures"] == 1
    assert record["results"][0]["images"] == 11
    for path in folders.rglob("*.png"):
        path.write_bytes(b"no image")
    assert "none of the 12 images" in run(capsys, "evaluate-robustness", *flags, code=2).err


def test_refuses_invalid_arguments_in_one_line(folders, model, tmp_path, capsys):
    drawings(tmp_path / "few" / "okapi", 1)
    captioner().save(tmp_path / "captioner.safetensors")
    other_model = ["--model", tmp_path / "captioner.safetensors"]
    image, output = folders / "ball" / "0.png", ["--output-dir", tmp_path / "output"]
    attack = ["attack", image, *output, "--model", model]
    robustness = ["evaluate-robustness", folders, "--model", model]
    cases = [
        ([*attack, "--target", "zebra"], "'zebra'"),
        (["attack", image, *output, *other_model, "--resize", "squash"], "requires an encoder"),
        ([*robustness, "--epsilon", "0.1", "0.1"], "duplicates"),
        ([*robustness, "--epsilon", "0.1", "2"], "--epsilon"),
        ([*robustness, "--steps", "1", "--step-size", "0.1"], "--step-size"),
        (["evaluate-robustness", tmp_path / "few", "--model", model], "'okapi'"),
        (["evaluate-robustness", tmp_path / "missing", "--model", model], "missing"),
        (["evaluate-robustness", "--model", model], "no "),
        (["evaluate-robustness", folders, *other_model], "'captioner'"),
    ]
    for arguments, message in cases:
        out, err = run(capsys, *arguments, code=2)
        assert out == ""
        assert err.startswith("vl: error: ")
        assert message in err
        assert err.count("\n") == 1
    assert not output[1].exists()


def test_encoder_is_put_into_evaluation_mode():
    trained = TrainedEncoder(classifying_encoder().train(), "tiny", CLASSES, {})
    assert not any(module.training for module in TargetClassifier(trained).encoder.modules())
