"""Training and fine-tuning with --classes: images of some of a classifier's classes."""

import pytest
import torch

from tests.helpers import colored_images
from tests.helpers.tiny_captioner import captioner, decoder
from vl.__main__ import main
from vl.encoders.table import create_encoder
from vl.encoding import encoder_file
from vl.encoding.encoder_file import TrainedEncoder

CLASSES = ("white", "pink", "black", "red")
FLAGS = ["--encoder", "lenet5", "--batch-size", "4", "--epochs", "1", "--color-jitter", "0"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains on two of the four classes."""
    monkeypatch.chdir(tmp_path)
    colored_images.folders(tmp_path / "photos", ("black", "white"), count=4)
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))

    def train(*flags, verb="train"):
        arguments = ["photos", "--output-dir", "run", "--classes", "classes.txt", *map(str, flags)]
        return main([verb, "encoder", *arguments])

    return train


def network(classes=4):
    torch.manual_seed(3)
    return create_encoder("lenet5", {"classes": classes})


def test_the_encoder_has_all_of_the_classes(run, tmp_path):
    assert run(*FLAGS) == 0
    trained = encoder_file.load(tmp_path / "run/encoder.safetensors")
    assert trained.classes == CLASSES
    assert trained.encoder.classifier.out_features == 4


def test_keeps_the_classifier_of_weights_without_class_names(run, tmp_path):
    """With a learning rate of next to nothing: the last layer is not fitted again."""
    encoder = network()
    captioner(encoder=encoder, encoder_name="lenet5", decoders=[decoder(width=84)]).save("weights")
    expected = encoder.classifier.weight.detach().clone()
    flags = [*FLAGS, "--pretrained", "weights", "--depth", "all", "--learning-rate", 1e-30]
    assert run(*flags, verb="finetune") == 0
    trained = encoder_file.load(tmp_path / "run/encoder.safetensors")
    assert trained.classes == CLASSES
    assert torch.equal(trained.encoder.classifier.weight, expected)


@pytest.mark.parametrize(
    ("classes", "word"), [(("a", "b", "c", "d"), "4 others"), (("a", "b", "c"), "of 3")]
)
def test_refuses_to_fit_classes_without_images(run, capsys, classes, word):
    trained = TrainedEncoder(network(len(classes)), "lenet5", classes, {})
    encoder_file.save("pretrained.safetensors", trained)
    flags = [*FLAGS, "--pretrained", "pretrained.safetensors"]
    assert run(*flags, "--depth", "all", verb="finetune") == 2
    assert word in capsys.readouterr().err
    assert run(*flags) == 0  # all is trained, with a new classifier
    assert encoder_file.load("run/encoder.safetensors").classes == CLASSES
