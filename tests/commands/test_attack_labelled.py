"""`vl attack` on trained encoders: single photographs, and errors counted on labelled ones."""

import json

import pytest
import torch
from PIL import Image

from tests.helpers.tiny_captioner import Tiny, captioner, drawings
from tests.helpers.tiny_captioner import encoder as tiny_encoder
from vl.__main__ import main
from vl.attacks.targets import AttackedClassifier
from vl.data.images.decode import decode, square
from vl.encoders.inception import Logits
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.evaluation import Classifier, interval
from vl.training.adversarial import basic_iterative, classifier_loss

CLASSES = ("ball", "box", "ring", "stop sign", "n01440764 tench, Tinca tinca")
FOLDERS = ("ball", "stop_sign", "n01440764_tench")
EPSILON = 0.02


class Talkative(Tiny):
    """One that classifies, and whose answers differ from drawing to drawing."""

    def classify(self, pixels):
        embedding = self(pixels)
        return Logits(self.classifier(40 * (embedding - embedding.mean(1, keepdim=True))), ())


def talkative():
    made = Talkative()
    made.load_state_dict(tiny_encoder().state_dict())
    return made.eval()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Talkative)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "encoder.safetensors"
    encoder_bundle.save(path, TrainedEncoder(talkative(), "tiny", CLASSES, {}))
    return path


@pytest.fixture
def folders(tmp_path):
    for number, name in enumerate(FOLDERS):
        drawings(tmp_path / "photographs" / name, 3 + number)
    return tmp_path / "photographs"


def attacked(capsys, *arguments, code=0):
    assert main(["attack", *map(str, arguments)]) == code
    return capsys.readouterr()


def by_hand(folders, *, epsilon, steps, step_size=None):
    """How many of the photographs an encoder gets wrong, one by one."""
    made, wrong = talkative(), 0
    for number, name in zip((0, 3, 4), FOLDERS, strict=True):
        for path in sorted((folders / name).iterdir()):
            pixels, truth = square(decode(path), 16, "squash")[None], torch.tensor([number])
            loss = classifier_loss(lambda given: made.classify(given).main, truth)
            changed = basic_iterative(
                pixels, loss, epsilon=epsilon, steps=steps, step_size=step_size
            )
            wrong += int(made.classify(changed).main.argmax(1) != truth)
    return wrong


@pytest.mark.parametrize("resize", ["center-crop", "squash"])
def test_before_is_what_the_evaluation_says(resize, model, tmp_path, capsys):
    photos = drawings(tmp_path / "photos", 5)
    flags = ["--model", model, "--out", tmp_path / "out", "--eps", EPSILON, "--batch-size", 2]
    out, err = attacked(
        capsys, *photos, *flags, *(["--resize", resize] if resize == "squash" else [])
    )
    lines = [line.split("\t") for line in out.splitlines()]
    (said,) = Classifier([talkative()], resize=resize).files(photos)
    changed = [tmp_path / "out" / path.name for path in photos]
    (again,) = Classifier([talkative()], resize="squash").files(changed)
    for number, path in enumerate(photos):
        before, after, png = lines[3 * number : 3 * number + 3]
        best = said.probabilities[1][number].max(0)
        assert before[:3] == [str(path), "before", CLASSES[int(best.indices)]]
        assert float(before[3]) == pytest.approx(float(best.values), abs=1e-4)
        assert before[3] == before[4]
        assert float(after[4]) < float(before[4])
        best = again.probabilities[1][number].max(0)
        assert png[1:3] == ["png", CLASSES[int(best.indices)]]
        assert float(png[3]) == pytest.approx(float(best.values), abs=1e-4)
        with Image.open(changed[number]) as image:
            assert image.size == (16, 16)
    assert "done with" in err


def test_towards_a_class_by_one_of_its_names(model, tmp_path, capsys):
    photos = drawings(tmp_path / "photos", 3)
    flags = ["--model", model, "--out", tmp_path / "out", "--towards", "Tench"]
    flags += ["--eps", 0.5, "--steps", 30, "--picture", tmp_path / "sheet.png", "--json"]
    out, _ = attacked(capsys, *photos, *flags)
    for record in map(json.loads, out.splitlines()):
        assert record["towards"] == CLASSES[4]
        assert record["after"]["says"] == CLASSES[4]
        assert record["after"]["done"]
        assert record["after"]["attacked"] == {
            "probability": pytest.approx(record["after"]["probability"])
        }
        assert (record["eps"], record["steps"]) == (0.5, 30)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"


def test_the_counts_are_those_of_attacking_one_by_one(folders, model, capsys):
    flags = ["--labelled", "--resize", "squash", "--eps", 0, 0.005, EPSILON, "--steps", 4]
    out, _ = attacked(capsys, folders, "--model", model, *flags, "--batch-size", 5, "--json")
    told = json.loads(out)
    assert told["signature"].startswith(
        "tiny | 5 classes | resize squash | true classes attacked | "
    )
    assert told["model"] == {"file": str(model), "fingerprint": fingerprint(talkative())}
    assert told["failures"] == 0
    expected = [(0, 0), (0.005, 1), (0.005, 4), (EPSILON, 1), (EPSILON, 4)]
    assert [(each["eps"], each["steps"]) for each in told["results"]] == expected
    for each in told["results"]:
        wrong = by_hand(folders, epsilon=each["eps"], steps=max(1, each["steps"]))
        assert (each["wrong"], each["images"]) == (wrong, 12)
        assert each["error"] == pytest.approx(wrong / 12)
        assert each["error_interval"] == pytest.approx(list(interval(wrong, 12)))
    wrong = [each["wrong"] for each in told["results"]]
    assert 0 < wrong[0] < wrong[-1]


def test_the_table_has_the_same_figures(folders, model, capsys):
    flags = [folders, "--model", model, "--labelled", "--eps", EPSILON]
    told = json.loads(attacked(capsys, *flags, "--json")[0])
    assert "resize center-crop" in told["signature"]
    lines = attacked(capsys, *flags)[0].splitlines()
    assert lines[-1] == told["signature"]
    assert len(lines) == 5
    for line, each in zip(lines[1:4], told["results"], strict=True):
        shown = [f"{each['eps']:g}", str(each["steps"]), "12", str(each["wrong"])]
        assert line.split()[:5] == [*shown, f"{100 * each['error']:.1f}"]
    assert told["results"][2]["steps"] == 10


def test_one_step_can_be_asked_for_alone_and_steps_have_a_size(folders, model, capsys):
    flags = [
        folders,
        "--model",
        model,
        "--labelled",
        "--json",
        "--eps",
        EPSILON,
        "--resize",
        "squash",
    ]
    told = json.loads(attacked(capsys, *flags, "--steps", 1)[0])
    assert [each["steps"] for each in told["results"]] == [0, 1]
    told = json.loads(attacked(capsys, *flags, "--steps", 2, "--step-size", 0.001)[0])
    assert [each["step_size"] for each in told["results"]] == [0, EPSILON, 0.001]
    expected = by_hand(folders, epsilon=EPSILON, steps=2, step_size=0.001)
    assert told["results"][2]["wrong"] == expected


def test_a_list_does_as_well_and_the_batch_changes_nothing(folders, model, tmp_path, capsys):
    listed = tmp_path / "list.tsv"
    lines = [
        f"{path}\t{'n01440764' if 'tench' in name else name}\n"
        for name in FOLDERS
        for path in sorted((folders / name).iterdir())
    ]
    listed.write_text("".join(lines))
    flags = ["--model", model, "--labelled", "--eps", EPSILON, "--json"]
    one = json.loads(attacked(capsys, folders, *flags)[0])
    other = json.loads(attacked(capsys, listed, *flags, "--batch-size", 1)[0])
    for each, same in zip(one["results"], other["results"], strict=True):
        assert each["wrong"] == same["wrong"]
    err = attacked(capsys, listed, folders, *flags, code=2).err
    assert "is in an earlier source already" in err


def test_a_photograph_that_cannot_be_read_does_not_count(folders, model, capsys):
    (folders / "ball" / "1.png").write_bytes(b"no picture")
    flags = [folders, "--model", model, "--labelled"]
    out, err = attacked(capsys, *flags, code=1)
    assert "1 photographs could not be read and do not count" in out
    assert "1.png: no image of a known kind" in err
    told = json.loads(attacked(capsys, *flags, "--json", "--batch-size", 1, code=1)[0])
    assert told["failures"] == 1
    assert told["results"][0]["images"] == 11
    for path in folders.rglob("*.png"):
        path.write_bytes(b"no picture")
    err = attacked(capsys, *flags, code=2).err
    assert "none of the 12 photographs could be read" in err


def test_what_cannot_be_meant_is_refused_in_a_sentence(folders, model, tmp_path, capsys):
    few = tmp_path / "few"
    drawings(few / "okapi", 1)
    captioner().save(tmp_path / "captioner.safetensors")
    photo, out = folders / "ball" / "0.png", tmp_path / "out"
    given = [photo, "--model", model, "--out", out]
    count = [folders, "--model", model, "--labelled"]
    cases = [
        ([*given, "--labels", "ball"], "--labels is for labellers, and"),
        ([*given, "--towards", "zebra"], "'zebra' names no one of the encoder's 5 classes"),
        (
            [*given, "--eps", "0.1", "0.2"],
            "--eps has 2 numbers; only --labelled takes other than one",
        ),
        (given[:-2], "--out is missing: the folder for the changed pictures"),
        (
            [
                photo,
                "--model",
                tmp_path / "captioner.safetensors",
                "--out",
                out,
                "--resize",
                "center-crop",
            ],
            "--resize is for encoders, and",
        ),
        ([*count, "--out", out, "--towards", "ball"], "--out, --towards cannot go with --labelled"),
        ([*count, "--labels", "ball"], "--labels cannot go with --labelled"),
        ([*count, "--picture", "x.png"], "--picture cannot go with --labelled"),
        ([*count, "--eps", "0.1", "0.1"], "epsilons are 0.1 0.1; one is there twice"),
        ([*count, "--eps", "0.1", "2"], "epsilon is 2.0; it must be from 0 to 1"),
        ([*count, "--steps", "0"], "steps is 0; it must be at least 1"),
        ([*count, "--steps", "1", "--step-size", "0.1"], "--step-size is of the iterated form"),
        ([*count, "--batch-size", "0"], "batch size is 0"),
        ([*count, "--device", "abacus"], "device is 'abacus'"),
        ([few, *count[1:]], "1 of 1 classes of photographs are none of the encoder's 5: 'okapi'"),
        ([tmp_path / "none", *count[1:]], "no such folder of classes or list"),
        (["--model", model, "--labelled"], "no photographs are given"),
        (
            [folders, "--model", tmp_path / "captioner.safetensors", "--labelled"],
            "a bundle of kind 'captioner', not 'encoder'",
        ),
    ]
    for arguments, message in cases:
        found = attacked(capsys, *arguments, code=2)
        assert found.out == ""
        assert found.err.startswith("vl: error: ")
        assert message in found.err
        assert found.err.count("\n") == 1
    assert not out.exists()


def test_an_encoder_in_training_mode_is_put_into_evaluation():
    made = talkative().train()
    model = AttackedClassifier(TrainedEncoder(made, "tiny", CLASSES, {}))
    assert not any(module.training for module in model.encoder.modules())
