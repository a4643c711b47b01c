"""`vl train encoder --classes`: pictures of some of a classifier's classes."""

import pytest
import torch

from tests.helpers import coloured_pictures as coloured
from vl.__main__ import main
from vl.commands import train_encoder
from vl.encoders.table import create_encoder
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.encoder_file import TrainedEncoder

CLASSES = ("white", "pink", "black", "red")
FLAGS = ["--encoder", "lenet5", "--batch-size", "4", "--epochs", "1", "--colour", "0"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains on two of the four classes."""
    monkeypatch.chdir(tmp_path)
    coloured.folders(tmp_path / "photos", ("black", "white"), count=4)
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))

    def train(*flags):
        arguments = ["photos", "--out", "run", "--classes", "classes.txt", *map(str, flags)]
        return main(["train", "encoder", *arguments])

    return train


def network(classes=4):
    torch.manual_seed(3)
    return create_encoder("lenet5", classes=classes)


def test_the_encoder_has_all_of_the_classes(run, tmp_path):
    assert run(*FLAGS) == 0
    trained = encoder_bundle.load(tmp_path / "run/encoder.safetensors")
    assert trained.classes == CLASSES
    assert trained.encoder.classifier.out_features == 4


def test_weights_that_name_no_classes_go_on_with_their_classifier(run, tmp_path, monkeypatch):
    """At a rate that changes nothing the classifier is the borrowed one, and not a solved one."""
    borrowed = network()
    monkeypatch.setattr(train_encoder, "borrowed_from", lambda *_: ("lenet5", borrowed, ()))
    expected = borrowed.classifier.weight.detach().clone()
    assert run(*FLAGS, "--from", "weights", "--tune", "all", "--rate", 1e-30) == 0
    trained = encoder_bundle.load(tmp_path / "run/encoder.safetensors")
    assert trained.classes == CLASSES
    assert torch.equal(trained.encoder.classifier.weight, expected)


@pytest.mark.parametrize(
    ("classes", "said"), [(("a", "b", "c", "d"), "4 others"), (("a", "b", "c"), "3")]
)
def test_a_last_layer_is_not_solved_for_classes_without_a_picture(run, capsys, classes, said):
    trained = TrainedEncoder(network(len(classes)), "lenet5", classes, {})
    encoder_bundle.save("borrowed.safetensors", trained)
    flags = [*FLAGS, "--from", "borrowed.safetensors"]
    assert run(*flags, "--tune", "all") == 2
    problem = f"4 classes, and the classifier of borrowed.safetensors is of {said}\n"
    assert capsys.readouterr().err.endswith(problem)
    assert run("--encoder", "lenet5", *flags[-2:], "--tune", "last") == 2
    assert "--classes cannot go with --tune last" in capsys.readouterr().err
    assert run(*flags) == 0  # all is trained, the classifier a new one
    assert encoder_bundle.load("run/encoder.safetensors").classes == CLASSES
