"""Inception networks on OpenVINO against PyTorch; when it is used."""

import importlib
import importlib.util
import sys

import pytest
import torch
from torch import nn

from tests.helpers.tiny_captioner import encoder
from vl.encoders.inception import Inception
from vl.encoding.embedder import Embedder
from vl.encoding.embedding import COMPILE_FROM, choose_engine
from vl.encoding.openvino import LEAST_IMAGES, EngineError, on_openvino, unsupported_reason

installed = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not installed, reason="OpenVINO is an extra: vl[fast]")

VARIANTS = {
    "published": {"norm": "response", "topology": "published"},
    "batch norm": {"norm": "batch", "topology": "published"},
    "torchvision": {"norm": "batch", "topology": "torchvision"},
}


def narrow(variant="published", **options):
    """A narrow network in which every weight matters."""
    defaults = {"mean": (0.4, 0.5, 0.6), "std": (0.02, 0.03, 0.01), "width_factor": 0.125}
    network = Inception(classes=3, **VARIANTS[variant], **{**defaults, **options})
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.2, 3)
    return network.eval()


@torch.inference_mode()
def relative_error(network, pixels):
    """The maximum error of OpenVINO, relative to PyTorch's maximum."""
    expected, found = network(pixels), on_openvino(network)(pixels)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    return float((found - expected).abs().max() / expected.abs().max())


@needs_openvino
@pytest.mark.parametrize("variant", VARIANTS)
def test_embeddings_of_pytorch(variant):
    assert relative_error(narrow(variant), torch.rand(3, 3, 64, 64)) < 1e-5


@needs_openvino
@pytest.mark.parametrize("variant", ["published", "torchvision"])
def test_odd_image_sizes(variant):
    assert relative_error(narrow(variant), torch.rand(2, 3, 75, 107)) < 1e-5


@needs_openvino
def test_response_norm_matters():
    """More than the tolerance, or a wrong one would pass."""
    network, pixels = narrow(), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        with_it = network(pixels)
        network.stem[2] = network.stem[5] = nn.Identity()
        without = network(pixels)
    assert float((with_it - without).abs().max() / with_it.abs().max()) > 1e-2
    assert relative_error(network, pixels) < 1e-5


@needs_openvino
def test_batch_and_memory_format_change_nothing():
    run, pixels = on_openvino(narrow()), torch.rand(32, 3, 64, 64)
    together = run(pixels)
    alone = torch.cat([run(pixels[index : index + 1]) for index in range(32)])
    last = run(pixels.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(alone, together, rtol=0, atol=1e-5)
    assert torch.allclose(last, together, rtol=0, atol=1e-5)


@needs_openvino
def test_outputs_are_not_overwritten():
    run, pixels = on_openvino(narrow()), torch.rand(2, 3, 64, 64)
    first = run(pixels)
    before = first.clone()
    run(1 - pixels)
    assert torch.equal(first, before)


@needs_openvino
def test_weights_are_copied():
    network, pixels = narrow("batch norm"), torch.rand(1, 3, 64, 64)
    run = on_openvino(network)
    before = run(pixels)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.mean.zero_()
    assert torch.equal(run(pixels), before)


@needs_openvino
def test_auxiliary_heads_and_training_mode_change_nothing():
    pixels = torch.rand(2, 3, 64, 64)
    network = narrow("batch norm", auxiliary=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected = on_openvino(network)(pixels)
    assert torch.equal(on_openvino(network.train())(pixels), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@needs_openvino
def test_bfloat16():
    network, pixels = narrow(), torch.rand(4, 3, 64, 64)
    exact, rounded = on_openvino(network)(pixels), on_openvino(network, bfloat16=True)(pixels)
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).abs().max() / exact.abs().max()) < 0.05
    assert relative_error(network, pixels) < 1e-5  # OpenVINO's default may be bfloat16


def test_refuses_other_encoders():
    with pytest.raises(EngineError, match="not Tiny"):
        on_openvino(encoder())


def test_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"vl\[fast\]"):
        on_openvino(narrow())


def test_import_fails(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="openvino"):
        on_openvino(narrow())


@pytest.mark.parametrize(
    ("settings", "images", "supported", "expected"),
    [
        ({}, LEAST_IMAGES - 1, True, []),
        ({}, LEAST_IMAGES, True, ["openvino"]),
        ({}, COMPILE_FROM, True, ["openvino"]),
        ({}, LEAST_IMAGES, False, []),
        ({}, COMPILE_FROM, False, ["compile"]),
        ({"compile": "never"}, COMPILE_FROM, False, []),
        ({"compile": "never"}, COMPILE_FROM, True, ["openvino"]),
        ({"compile": "always"}, COMPILE_FROM, True, ["compile"]),
        ({"engine": "pytorch"}, COMPILE_FROM, True, ["compile"]),
        ({"engine": "pytorch"}, COMPILE_FROM - 1, True, []),
        ({"engine": "openvino"}, 1, True, ["openvino"]),
        ({"engine": "openvino"}, 1, False, ["openvino"]),  # a warning says why not
        ({"engine": "openvino"}, COMPILE_FROM, False, ["openvino", "compile"]),
    ],
)
def test_engine_that_saves_time(monkeypatch, settings, images, supported, expected):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    calls = []

    class Recording(Embedder):
        def compile(self):
            calls.append("compile")

        def use_openvino(self):
            calls.append("openvino")
            return supported

    embedder = Recording(narrow() if supported else encoder(), encoder_name="inception_v1")
    choose_engine(embedder, **{"engine": "auto", "compile": "auto", **settings}, images=images)
    assert calls == expected


def test_unsupported_reason(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    assert unsupported_reason(narrow()) is None
    assert "not Tiny" in str(unsupported_reason(encoder()))
