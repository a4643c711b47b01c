"""`vl finetune encoder`: the last layer, the last blocks, all; and invalid arguments."""

import pytest
import torch

from tests.helpers import colored_images
from tests.helpers.tiny_captioner import captioner, decoder
from vl import bundle
from vl.__main__ import main
from vl.encoders.table import create_encoder
from vl.encoding import encoder_file
from vl.encoding.encoder_file import TrainedEncoder

COLORS = ("black", "blue", "green", "white")  # of different grays, which LeNet-5 sees
PLAIN = ["--color-jitter", 0, "--min-crop-area", 0.9]
LAST = ["--depth", "last", "--resize", "squash", "--views", "plain"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten of each color."""
    return colored_images.folders(tmp_path_factory.mktemp("photos"), COLORS, count=10)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def last_layer(photos, tmp_path_factory):
    """The folder of an encoder with a fitted last layer, and of the one before."""
    folder = tmp_path_factory.mktemp("depth")
    torch.manual_seed(4)
    network = create_encoder("lenet5", {"classes": 2})
    trained = TrainedEncoder(network, "lenet5", ("odd", "even"), {})
    encoder_file.save(folder / "borrowed.safetensors", trained)
    flags = [photos, "--output-dir", folder, "--pretrained", folder / "borrowed.safetensors", *LAST]
    assert main(["finetune", "encoder", *map(str, flags), "--development-share", "0.2"]) == 0
    return folder


def train(photos, *flags, output_dir="run"):
    return main(["finetune", "encoder", *map(str, [photos, "--output-dir", output_dir, *flags])])


def refused(capsys, photos, word, *flags):
    capsys.readouterr()
    assert train(photos, *flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    last = stderr.splitlines()[-1]
    assert last.startswith("vl: error: ")
    assert word in last


@pytest.mark.slow
def test_last_depth_changes_the_classifier_alone(last_layer, photos, capsys):
    borrowed = encoder_file.load(last_layer / "borrowed.safetensors")
    made = encoder_file.load(last_layer / "encoder.safetensors")
    assert made.classes == COLORS
    assert made.training["development"]["top-1"] == 100
    for key, value in borrowed.encoder.state_dict().items():
        if not key.startswith("classifier."):
            assert torch.equal(value, made.encoder.state_dict()[key]), key
    assert not (last_layer / "log.jsonl").exists()  # nothing was stepped


def test_blocks_depth_changes_the_last_blocks(last_layer, photos, place):
    given = ["--pretrained", last_layer / "encoder.safetensors", "--depth", "blocks", "--blocks", 2]
    assert train(photos, *given, "--epochs", 1, "--batch-size", 8, *PLAIN) == 0
    before = encoder_file.load(last_layer / "encoder.safetensors").encoder.state_dict()
    after = encoder_file.load("run/encoder.safetensors").encoder.state_dict()
    changed = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"c5", "f6", "classifier"}


def test_all_depth_changes_everything(last_layer, photos, place):
    given = ["--pretrained", last_layer / "encoder.safetensors", "--depth", "all"]
    assert train(photos, *given, "--epochs", 1, "--batch-size", 8, *PLAIN) == 0
    before = encoder_file.load(last_layer / "encoder.safetensors").encoder.state_dict()
    after = encoder_file.load("run/encoder.safetensors").encoder.state_dict()
    changed = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"c1", "s2", "c3", "s4", "c5", "f6", "classifier"}


@pytest.mark.parametrize("depth", ["blocks", "all"])
def test_depth_starts_from_the_classifier_of_the_one_before(
    last_layer, photos, place, capsys, depth
):
    """At a rate of next to nothing it ends there: the classifier is not solved anew."""
    given = [
        "--pretrained",
        last_layer / "encoder.safetensors",
        "--depth",
        depth,
        "--learning-rate",
        1e-12,
    ]
    assert train(photos, *given, "--epochs", 1, "--batch-size", 8, *PLAIN) == 0
    before = encoder_file.load(last_layer / "encoder.safetensors").encoder.state_dict()
    after = encoder_file.load("run/encoder.safetensors").encoder.state_dict()
    for key, value in before.items():
        assert torch.allclose(value, after[key], atol=1e-7), key
    assert "last layer" not in capsys.readouterr().err


@pytest.mark.slow
def test_other_classes_start_with_a_fitted_last_layer(last_layer, photos, place, capsys):
    given = [
        "--pretrained",
        last_layer / "borrowed.safetensors",
        "--depth",
        "all",
        "--learning-rate",
        1e-12,
    ]
    assert train(photos, *given, "--epochs", 1, "--views", "plain", "--development-share", 0.2) == 0
    assert "last layer: weight decay" in capsys.readouterr().err
    assert encoder_file.load("run/encoder.safetensors").training["development"]["top-1"] == 100


@pytest.mark.slow
def test_starts_from_a_captioners_encoder(photos, place):
    network = create_encoder("lenet5", {"classes": 3})
    captioner(encoder=network, encoder_name="lenet5", decoders=[decoder(width=84)]).save(
        "captioner"
    )
    assert train(photos, "--pretrained", "captioner", *LAST) == 0
    made = encoder_file.load("run/encoder.safetensors")
    assert torch.equal(made.encoder.c1.weight, network.c1.weight)
    assert made.classes == COLORS


def test_refuses_more_blocks_than_there_are(last_layer, photos, place, capsys):
    given = ["--pretrained", last_layer / "encoder.safetensors", "--depth", "blocks", "--blocks", 9]
    refused(capsys, photos, "blocks is 9; this encoder has 6", *given)


def test_refuses_invalid_arguments(last_layer, photos, place, capsys):
    given = ["--pretrained", last_layer / "encoder.safetensors"]
    refused(capsys, photos, "--epochs, --mixup", *given, *LAST, "--epochs", 3, "--mixup", 0.1)
    refused(capsys, photos, "--resume", *given, *LAST, "--resume")
    refused(capsys, photos, "--blocks", *given, *LAST, "--blocks", 3)
    refused(capsys, photos, "nothing: No such file", "--pretrained", "nothing", *LAST)
    (place / "text").write_text("some text")
    refused(capsys, photos, "text: not a safetensors, .pth or", "--pretrained", "text", *LAST)
    refused(capsys, photos, "'lenet5', not 'alexnet'", *given, "--encoder", "alexnet", *LAST)
    bundle.write("other", kind="index", configuration={}, modules={})
    refused(capsys, photos, "'index'", "--pretrained", "other", *LAST)
    (place / "classes.txt").write_text("".join(f"{name}\n" for name in COLORS))
    refused(capsys, photos, "--classes", *given, *LAST, "--classes", "classes.txt")
    assert not (place / "run").exists()
    assert train(photos, *given, *LAST) == 0
    refused(capsys, photos, "already contains an encoder", *given, *LAST)
