"""Weights as torchvision publishes them: equal logits, and downloads that cannot be trusted."""

import contextlib
import os
import re
from pickle import dumps

import pytest
import torch
from torchvision import models

from tests.helpers.nonzero_weights import (
    check_differ,
    normalize_imagenet,
    randomize,
    silence_dropout,
)
from vl.encoders.inception import inception_v1_torchvision
from vl.encoders.inception_v3 import InceptionV3
from vl.encoders.torchvision_features import TorchvisionFeatures, fetch_torchvision
from vl.encoders.weights import fingerprint, from_torchvision, load_torchvision

CLASSES = 10


@pytest.fixture(scope="module")
def googlenet():
    """Torchvision's network, which normalizes its input twice as its published weights expect."""
    network = models.GoogLeNet(
        num_classes=CLASSES,
        aux_logits=True,
        transform_input=True,
        init_weights=False,
        dropout=0.0,
        dropout_aux=0.0,
    )
    return randomize(network)


def test_logits_of_googlenet(googlenet):
    ours = inception_v1_torchvision(classes=CLASSES).eval()
    from_torchvision(googlenet.state_dict(), ours)
    pixels = torch.rand(2, 3, 96, 80)
    with torch.no_grad():
        theirs = googlenet.eval()(normalize_imagenet(pixels))
        torch.testing.assert_close(ours.classify(pixels).main, theirs, rtol=1e-4, atol=1e-4)
    check_differ(theirs)


def test_logits_of_googlenets_heads(googlenet):
    ours = inception_v1_torchvision(classes=CLASSES, auxiliary=True).train()
    silence_dropout(ours)
    from_torchvision(googlenet.state_dict(), ours)
    pixels = torch.rand(3, 3, 112, 96)
    before = {name: tensor.clone() for name, tensor in googlenet.state_dict().items()}
    with torch.no_grad():
        main, aux_2, aux_1 = googlenet.train()(normalize_imagenet(pixels))
        logits = ours.classify(pixels)
    googlenet.load_state_dict(before)  # training mode has updated the batch norms
    for ours, theirs in zip((logits.main, *logits.auxiliary), (main, aux_1, aux_2), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_refuses_damaged_states_and_leaves_the_encoder(googlenet):
    state = googlenet.state_dict()
    ours = inception_v1_torchvision(classes=CLASSES, auxiliary=True)
    before = fingerprint(ours)
    norm = "inception5b.branch4.1.bn.running_var"
    for change, word in (
        ({norm: None}, re.escape(f"{norm}: missing")),
        ({"aux1.conv.conv.weight": None}, r"aux1\.conv\.conv\.weight: missing"),
        ({"fc2.weight": torch.zeros(1)}, r"fc2\.weight: unknown"),
        ({"fc.weight": torch.zeros(1)}, r"fc\.weight: expected shape"),
    ):
        damaged = {n: t for n, t in {**state, **change}.items() if t is not None}
        with pytest.raises(ValueError, match=f"googlenet: {word}"):
            from_torchvision(damaged, ours)
    assert fingerprint(ours) == before
    # Older files do not count batches.
    old = {name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name}
    from_torchvision(old, ours)
    assert torch.equal(ours.classifier.weight, state["fc.weight"])


@pytest.mark.parametrize("auxiliary", [False, True])
def test_logits_of_inception_v3(auxiliary):
    theirs = models.Inception3(
        num_classes=CLASSES, transform_input=True, init_weights=False, dropout=0.0
    )
    randomize(theirs).eval()
    ours = InceptionV3(classes=CLASSES, auxiliary=auxiliary).eval()
    from_torchvision(theirs.state_dict(), ours)
    pixels = torch.rand(2, 3, 75, 75)
    with torch.no_grad():
        expected = theirs(normalize_imagenet(pixels))
        torch.testing.assert_close(ours.classify(pixels).main, expected, rtol=1e-4, atol=1e-4)
        if auxiliary:
            x = torch.rand(2, 768, 17, 17)
            torch.testing.assert_close(ours.body.AuxLogits(x), theirs.AuxLogits(x))
    check_differ(expected)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_logits_of_a_classifier_of_imagenets_classes(name):
    whole = randomize(models.get_model(name, weights=None)).eval()
    ours = TorchvisionFeatures(name, classes=1000).eval()
    from_torchvision(whole.state_dict(), ours)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        theirs = whole(normalize_imagenet(pixels))
        torch.testing.assert_close(ours.classify(pixels).main, theirs, rtol=1e-4, atol=1e-4)
    check_differ(theirs)


@pytest.mark.parametrize(("name", "classes"), [("shufflenet_v2_x0_5", 7), ("squeezenet1_1", 1000)])
def test_keeps_a_classifier_that_is_not_torchvisions(name, classes):
    whole = randomize(models.get_model(name, weights=None))
    ours = TorchvisionFeatures(name, classes=classes)
    before = ours.classifier.weight.clone()
    from_torchvision(whole.state_dict(), ours)
    assert torch.equal(ours.classifier.weight, before)
    first = next(iter(whole.state_dict()))
    assert torch.equal(ours.body.state_dict()[first], whole.state_dict()[first])


def test_refuses_states_of_other_networks_or_without_the_last_layer():
    state = models.get_model("shufflenet_v2_x0_5", weights=None).state_dict()
    with pytest.raises(ValueError, match=r"squeezenet1_1: conv1\.0\.weight: unknown"):
        from_torchvision(state, TorchvisionFeatures("squeezenet1_1"))
    del state["fc.bias"]
    with pytest.raises(ValueError, match=r"shufflenet_v2_x0_5: fc\.bias: missing"):
        from_torchvision(state, TorchvisionFeatures("shufflenet_v2_x0_5", classes=1000))
    from_torchvision(state, TorchvisionFeatures("shufflenet_v2_x0_5"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of downloads, without a network to fill it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # discard: nothing listens there
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr("urllib.request._opener", None)  # it remembers an earlier proxy
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def file_name(network):
    return models.get_model_weights(network).DEFAULT.url.rpartition("/")[2]


def old_densenet_names(state):
    """From when layers had other names (densenet.py) and batch norms did not count batches."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(
    ("name", "rename"), [("shufflenet_v2_x0_5", dict), ("densenet121", old_densenet_names)]
)
def test_loads_a_downloaded_file(hub, name, rename):
    whole = randomize(models.get_model(name, weights=None)).eval()
    torch.save(rename(whole.state_dict()), hub / file_name(name))
    ours = TorchvisionFeatures(name).eval()
    load_torchvision(ours)
    pixels = torch.rand(2, 3, 64, 64)
    last = whole.get_submodule(ours.last_layer)
    with torch.no_grad():
        theirs = whole(normalize_imagenet(pixels))
        torch.testing.assert_close(last(ours(pixels)), theirs, rtol=1e-4, atol=1e-4)
    check_differ(theirs)


@pytest.mark.parametrize(
    ("builder", "name", "whole"),
    [
        (inception_v1_torchvision, "googlenet", models.GoogLeNet),
        (InceptionV3, "inception_v3", models.Inception3),
    ],
)
def test_loads_published_files_of_inception_networks(hub, builder, name, whole):
    theirs = randomize(whole(init_weights=False))
    torch.save(theirs.state_dict(), hub / file_name(name))
    ours = builder()
    load_torchvision(ours)
    assert torch.equal(ours.classifier.weight, theirs.fc.weight)


def test_without_a_network_the_error_names_the_file(hub, capsys):
    with pytest.raises(OSError, match="googlenet") as error:
        fetch_torchvision("googlenet")
    message = str(error.value)
    assert "https://download.pytorch.org/models/googlenet-1378be20.pth" in message
    assert str(hub) in message
    assert "\n" not in message
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "Downloading" in stderr


def test_refuses_damaged_downloads(hub):
    path = hub / file_name("squeezenet1_1")
    for content in (b"", b"junk", b"PK\x03\x04 cut short"):
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"weights for squeezenet1_1 from https://.*\.pth"):
            fetch_torchvision("squeezenet1_1")
    torch.save([1, 2], path)
    with pytest.raises(OSError, match="squeezenet1_1"):
        fetch_torchvision("squeezenet1_1")


def bare_pickle(content, path):
    path.write_bytes(dumps(content, protocol=2))  # torch.load warns of others


class Hostile:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("write", [torch.save, bare_pickle])
def test_refuses_files_that_run_code_before_they_do(hub, tmp_path, write):
    mark = tmp_path / "mark"
    write({"features.0.weight": Hostile(mark)}, hub / file_name("squeezenet1_1"))
    with pytest.raises(OSError, match=r"squeezenet1_1 .* damaged or contains more"):
        fetch_torchvision("squeezenet1_1")
    assert not mark.exists()
    with contextlib.suppress(Exception):  # a bare pickle is not a file of torch's
        torch.load(hub / file_name("squeezenet1_1"), weights_only=False)
    assert mark.exists()  # or the test shows nothing
