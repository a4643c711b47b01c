"""Files of trained encoders: saved and loaded; damaged files."""

import re

import pytest
import torch

from tests.helpers.tiny_captioner import Tiny, alter
from tests.helpers.tiny_captioner import encoder as tiny_encoder
from vl import bundle
from vl.data.errors import FormatError
from vl.encoders.table import ENCODERS, configuration, create_encoder
from vl.encoders.weights import fingerprint
from vl.encoding import encoder_file
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.pretrained import load_encoder

CLASSES = ("box", "ball", "stop sign", "n01440764 tench, Tinca tinca", "été")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "encoder.safetensors"
    encoder_file.save(path, TrainedEncoder(tiny_encoder(), "tiny", CLASSES, {"images": 3}))
    return path


def class_names(count):
    return tuple(f"class {number}" for number in range(count))


def test_saves_and_loads(path):
    loaded = encoder_file.load(path)
    assert loaded[1:] == ("tiny", CLASSES, {"images": 3})
    assert fingerprint(loaded.encoder) == fingerprint(tiny_encoder())
    assert fingerprint(load_encoder("tiny", path)) == fingerprint(tiny_encoder())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("inception_v1", {"classes": 4, "width_factor": 0.125, "auxiliary": True}),
        ("inception_v1_bn", {"classes": 4, "width_factor": 0.125, "auxiliary": True}),
        ("bn_inception", {"classes": 4, "width_factor": 0.125}),
        ("lenet5", {"classes": 4}),
        ("shufflenet_v2_x0_5", {"classes": 4}),
    ],
)
def test_logits_are_the_same_without_auxiliary_heads(tmp_path, name, options):
    built = create_encoder(name, options).eval()
    path = tmp_path / "encoder.safetensors"
    encoder_file.save(path, TrainedEncoder(built, name, class_names(4), {}))
    loaded = encoder_file.load(path)
    assert configuration(loaded.encoder) == {
        **configuration(built),
        **({"auxiliary": False} if "auxiliary" in configuration(built) else {}),
    }
    assert not any("auxiliary" in key for key in loaded.encoder.state_dict())
    pixels = torch.rand(2, 3, built.image_size, built.image_size)
    with torch.inference_mode():
        expected = built.classify(pixels).main
        assert torch.equal(loaded.encoder.eval().classify(pixels).main, expected)
    assert expected.shape == (2, 4)
    assert configuration(built).get("auxiliary", False) == options.get("auxiliary", False)


def test_configuration_in_the_file(tmp_path):
    path = tmp_path / "encoder.safetensors"
    built = create_encoder("inception_v1", {"classes": 2, "width_factor": 0.125, "auxiliary": True})
    encoder_file.save(path, TrainedEncoder(built, "inception_v1", class_names(2), {"epochs": 1}))
    stored = bundle.read(path, kind="encoder")
    bare = encoder_file.load(path).encoder
    assert stored.configuration == {
        "format": bundle.FORMAT,
        "kind": "encoder",
        "encoder": {
            "name": "inception_v1",
            "fingerprint": fingerprint(bare),
            "configuration": {"classes": 2, "auxiliary": False, "width_factor": 0.125},
        },
        "classes": ["class 0", "class 1"],
        "training": {"epochs": 1},
    }


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (CLASSES[:4], "there are 4 classes, the classifier has 5 outputs"),
        ((*CLASSES, "one more"), "there are 6 classes, the classifier has 5 outputs"),
        (("a", "b", "c", "b", "d"), "'b' is class 1 and class 3"),
    ],
)
def test_refuses_classes_that_are_not_the_classifiers(path, classes, message):
    with pytest.raises(ValueError, match=message):
        encoder_file.save(path, TrainedEncoder(tiny_encoder(), "tiny", classes, {}))
    assert encoder_file.load(path).classes == CLASSES
    alter(path, lambda c, t: c.update(classes=list(classes)))
    with pytest.raises(FormatError, match=rf"configuration\.classes: {message}"):
        encoder_file.load(path)


def test_refuses_encoders_without_a_classifier(tmp_path):
    bare = create_encoder("shufflenet_v2_x0_5")
    with pytest.raises(ValueError, match="the encoder has no classifier"):
        encoder_file.save(tmp_path / "x", TrainedEncoder(bare, "shufflenet_v2_x0_5", (), {}))


def encoder_configuration(**configuration):
    return lambda c, t: c["encoder"].update(configuration=configuration)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: c.pop("classes"), "missing: classes"),
        (lambda c, t: c.update(classes=["a", 2, "c", "d", "e"]), "classes: expected str"),
        (lambda c, t: c.update(kind="captioner"), "of kind 'captioner'; expected 'encoder'"),
        (lambda c, t: t["encoder.mean"].add_(1), "fingerprint"),
        (lambda c, t: t.update(more=torch.zeros(1)), "tensor more: not a part of this model"),
        (lambda c, t: t.pop("encoder.mean"), r"tensor encoder\.mean: missing"),
        (lambda c, t: c["encoder"].pop("fingerprint"), "fingerprint"),
        (encoder_configuration(classes=7), "cannot be built: tiny has no option classes"),
        (encoder_configuration(width=7), "cannot be built: unknown option 'width'"),
        (lambda c, t: c["encoder"].update(configuration=[]), "expected dict"),
    ],
)
def test_refuses_damaged_files(path, change, message):
    alter(path, change)
    with pytest.raises(FormatError, match=rf"encoder\.safetensors: .*{message}"):
        encoder_file.load(path)


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("inception_v1", {"width_factor": 1e5}),
        ("inception_v1", {"width_factor": 1e300}),
        ("inception_v1", {"width_factor": 1e308}),
        ("bn_inception", {"width_factor": 3000.0, "classes": 10**12}),
        ("inception_v1", {"classes": 10**18}),
        ("inception_v1", {"classes": 10**30}),
        ("lenet5", {"classes": 10**10}),
        ("resnet18", {"classes": 10**14}),
    ],
)
def test_refuses_configurations_larger_than_the_tensors(path, name, configuration):
    alter(
        path, lambda c, t: c["encoder"].update(name=name, configuration=configuration)
    )  # the tensors are still Tiny's, as small as a hostile file would be
    with pytest.raises(FormatError, match=re.escape("encoder.safetensors: ")):
        encoder_file.load(path)


def test_shapes_are_compared_before_an_encoder_has_numbers(path, monkeypatch):
    built = []
    monkeypatch.setitem(ENCODERS, "tiny", lambda: built.append(Tiny()) or built[-1])
    alter(path, lambda c, t: t.update({"encoder.mean": torch.zeros(2)}))
    with pytest.raises(FormatError, match=r"expected float32 of shape \(1, 3, 1, 1\), found"):
        encoder_file.load(path)
    assert [each.body[0].weight.device.type for each in built] == ["meta"]
