"""An Inception network on OpenVINO says what it says on PyTorch, and who cannot is told why."""

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

KINDS = {
    "published": {"norm": "response", "topology": "published"},
    "batch norm": {"norm": "batch", "topology": "published"},
    "torchvision": {"norm": "batch", "topology": "torchvision"},
}


def little(kind="published", **choices):
    """A narrow network whose every number matters: nothing is 0 or 1 as it is at first."""
    given = {"mean": (0.4, 0.5, 0.6), "std": (0.02, 0.03, 0.01), "width_factor": 0.125}
    made = Inception(classes=3, **KINDS[kind], **{**given, **choices})
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.2, 3)
    return made.eval()


@torch.inference_mode()
def difference(made, pixels):
    """The greatest, as a part of the greatest number that PyTorch gives."""
    expected, found = made(pixels), on_openvino(made)(pixels)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    return float((found - expected).abs().max() / expected.abs().max())


@needs_openvino
@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_pytorch_says(kind):
    assert difference(little(kind), torch.rand(3, 3, 64, 64)) < 1e-5


@needs_openvino
@pytest.mark.parametrize("kind", ["published", "torchvision"])
def test_sides_that_pools_do_not_divide_are_rounded_as_pytorch_rounds(kind):
    assert difference(little(kind), torch.rand(2, 3, 75, 107)) < 1e-5


@needs_openvino
def test_the_response_norm_is_at_work_in_the_comparison():
    """Its part must be far above the tolerance, or a wrong one would pass."""
    made, pixels = little(), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        with_it = made(pixels)
        made.stem[2] = made.stem[5] = nn.Identity()
        without = made(pixels)
    assert float((with_it - without).abs().max() / with_it.abs().max()) > 1e-2
    assert difference(made, pixels) < 1e-5


@needs_openvino
def test_neither_the_batch_nor_the_memory_layout_changes_an_answer():
    run, pixels = on_openvino(little()), torch.rand(32, 3, 64, 64)
    together = run(pixels)
    alone = torch.cat([run(pixels[index : index + 1]) for index in range(32)])
    last = run(pixels.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(alone, together, rtol=0, atol=1e-5)
    assert torch.allclose(last, together, rtol=0, atol=1e-5)


@needs_openvino
def test_an_answer_stays_when_the_next_is_given():
    run, pixels = on_openvino(little()), torch.rand(2, 3, 64, 64)
    first = run(pixels)
    before = first.clone()
    run(1 - pixels)
    assert torch.equal(first, before)


@needs_openvino
def test_the_weights_are_those_of_the_moment():
    made, pixels = little("batch norm"), torch.rand(1, 3, 64, 64)
    run = on_openvino(made)
    before = run(pixels)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.mean.zero_()
    assert torch.equal(run(pixels), before)


@needs_openvino
def test_auxiliary_heads_and_training_mode_make_no_difference():
    pixels = torch.rand(2, 3, 64, 64)
    made = little("batch norm", auxiliary=True)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    expected = on_openvino(made)(pixels)
    assert torch.equal(on_openvino(made.train())(pixels), expected)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


@needs_openvino
def test_bfloat16_is_near_and_float32_is_not_it():
    made, pixels = little(), torch.rand(4, 3, 64, 64)
    exact, rough = on_openvino(made)(pixels), on_openvino(made, bfloat16=True)(pixels)
    assert rough.dtype == torch.float32
    assert float((rough - exact).abs().max() / exact.abs().max()) < 0.05
    assert difference(made, pixels) < 1e-5  # also where bfloat16 would be OpenVINO's own choice


def test_another_encoder_is_refused():
    with pytest.raises(EngineError, match="not Tiny"):
        on_openvino(encoder())


def test_where_it_is_not_installed_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"vl\[fast\]"):
        on_openvino(little())


def test_where_it_does_not_load_the_reason_is_given(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="openvino"):
        on_openvino(little())


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

    embedder = Recording(little() if supported else encoder(), encoder_name="inception_v1")
    choose_engine(embedder, **{"engine": "auto", "compile": "auto", **settings}, images=images)
    assert calls == expected


def test_only_goog_le_nets_have_no_unsupported_reason(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    assert unsupported_reason(little()) is None
    assert "not Tiny" in str(unsupported_reason(encoder()))
