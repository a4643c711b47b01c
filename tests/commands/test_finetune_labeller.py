"""`vl finetune labeller`: encoder and projection trained together, and what is refused."""

import pytest
import torch

from tests.commands.test_train_labeller import (
    DEVELOPMENT,
    NAMES,
    NO_DEVELOPMENT,
    folder,
    tiny,
    trained,
)
from tests.helpers import colored_images as coloured
from vl import bundle
from vl.__main__ import main
from vl.encoders.weights import fingerprint
from vl.labelling.labeller import Labeller

__all__ = ["folder", "tiny"]  # fixtures

RECIPE = ["--epochs", "2", "--learning-rate", "0.01", "--encoder-learning-rate", "0.01"]
RECIPE += ["--batch-size", "8", "--margin", "0.5"]  # else nothing violates the margin any more


def finetune(*flags, images="images", model="run/labeller.safetensors", output="tuned"):
    flags = [images, "--model", model, "--output-dir", output, *RECIPE, *flags]
    return main(["finetune", "labeller", *map(str, flags)])


def finetuned(*flags, **options):
    assert finetune(*flags, **options) == 0
    return Labeller.load("tuned/labeller.safetensors")


def test_encoder_and_projection_change(folder):
    start, tuned = trained(*DEVELOPMENT), finetuned(*DEVELOPMENT)
    assert (tuned.embedder.views, tuned.embedder.resize) == (("plain",), "center-crop")
    assert (tuned.seen, tuned.development) == (start.seen, start.development)
    before, after = (model.embedder.encoder.state_dict() for model in (start, tuned))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"}
    before, after = (model.projections["devise"].state_dict() for model in (start, tuned))
    assert torch.equal(before["image_mean"], after["image_mean"])
    assert not torch.equal(before["projection.weight"], after["projection.weight"])
    names = [label.text for label in tuned.development]
    paths = [path for name in names for path in sorted((folder / "images" / name).glob("*"))]
    projected = tuned.project(tuned.embedder(paths).mean(1))  # by the fine-tuned encoder
    assert (tuned.calibration.references @ projected.T).max(1).values.min() > 1 - 1e-5
    stored = bundle.read("tuned/labeller.safetensors", kind="labeller").configuration
    assert stored["embedder"]["encoder"]["fingerprint"] == fingerprint(tuned.embedder.encoder)


def test_seen_labels_stay_seen_and_never_validate(folder, capsys):
    trained(*DEVELOPMENT)
    assert finetune(*DEVELOPMENT, "--seed", 1) == 2
    assert "were trained on before" in capsys.readouterr().err
    assert len(finetuned(*NO_DEVELOPMENT).seen) == 8
    coloured.folders(folder / "some", NAMES[:3])
    trained(*NO_DEVELOPMENT, output="all")
    model = "all/labeller.safetensors"
    tuned = finetune(*NO_DEVELOPMENT, images="some", model=model, output="some_tuned")
    assert tuned == 0
    labeller = Labeller.load("some_tuned/labeller.safetensors")
    assert {label.text for label in labeller.seen} == set(NAMES)


def test_conse_is_left_out(folder, capsys):
    trained("--method", "conse", *NO_DEVELOPMENT, output="conse")
    assert finetune(*NO_DEVELOPMENT, model="conse/labeller.safetensors") == 2
    assert "no DeViSE projection" in capsys.readouterr().err
    trained("--method", "both", *NO_DEVELOPMENT)
    assert set(finetuned(*NO_DEVELOPMENT).projections) == {"devise"}
    assert "ConSE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--model", "none"], "none"),
        (["--encoder-learning-rate", "inf"], "--encoder-learning-rate is inf"),
        (["--word-vectors", "words.txt"], "--word-vectors"),  # the labeller has its own
    ],
)
def test_invalid_arguments_are_refused(folder, capsys, flags, word):
    (folder / "model").touch()
    assert finetune(*flags, model="model") == 2
    assert word in capsys.readouterr().err
