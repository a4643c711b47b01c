"""Models of timm as encoders: embeddings and logits equal to timm's own, and strict weights."""

import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from tests.helpers.timm_models import TINY, save, timm_model
from vl.data.errors import FormatError
from vl.encoders.flops import model_size
from vl.encoders.table import configuration, create_encoder, published_weights
from vl.encoders.timm_features import TimmFeatures, fetch_timm
from vl.encoders.weights import fingerprint, load_weights
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import load_encoder


def photographs(folder, count):
    """Smooth noise of other sizes and shapes, as JPEG files."""
    generator = np.random.default_rng(0)
    paths = []
    for index, size in enumerate([(200, 260), (301, 225), (90, 70)][:count]):
        small = generator.integers(0, 256, (9, 7, 3), np.uint8)
        paths.append(folder / f"{index}.jpg")
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def check_embeddings(name, folder, paths):
    """An encoder with timm's weights from a file embeds as timm does."""
    model = timm_model(name)
    encoder = load_encoder(f"timm:{name}", save(model, folder / "weights.safetensors"))
    embedder = Embedder(encoder, encoder_name=f"timm:{name}")
    assert (embedder.resize, embedder.width) == ("encoder", model.head_hidden_size)
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(images), pre_logits=True)
    actual = embedder(paths)[:, 0]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    assert (expected[0] - expected[1]).abs().max() > 1e-3  # or it would show nothing


@pytest.mark.slow
@pytest.mark.parametrize("name", [TINY, "test_vit", "test_convnext", "test_efficientnet"])
def test_tiny_models_embed_as_timm_does(tmp_path, name):
    check_embeddings(name, tmp_path, photographs(tmp_path, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "resnet10t",  # cropped to 176
        "regnetx_002",
        "mobilenetv3_small_050",
        "efficientnet_lite0",
        "convnext_atto",
        "inception_v3",  # of 299 pixels, with another mean
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",  # two classifiers
        "swin_tiny_patch4_window7_224",
        "mixer_s32_224",
    ],
)
def test_models_embed_photographs_as_timm_does(tmp_path, shared_data, name):
    paths = sorted((shared_data / "imagenet_1each").glob("*.jpg"))[::250]
    check_embeddings(name, tmp_path, paths)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_preprocessing_is_timms_in_each_mode(tmp_path, crop_mode):
    stored = {"image_size": 60, "crop_pct": 0.9, "crop_mode": crop_mode, "interpolation": "lanczos"}
    encoder = TimmFeatures(TINY, preprocessing=stored)
    expected = create_transform(
        (3, 60, 60),
        crop_pct=0.9,
        crop_mode=crop_mode,
        interpolation="lanczos",
        mean=encoder.mean.flatten().tolist(),  # the color of borders
        normalize=False,
    )
    for path in photographs(tmp_path, 2):
        image = Image.open(path).convert("RGB")
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        assert torch.equal(encoder.preprocess(values), expected(image) / 255)
        assert torch.equal(encoder.preprocess(values / 255), expected(image) / 255)
    assert configuration(encoder)["preprocessing"] == stored


def test_strips_take_bounded_memory():
    encoder = TimmFeatures(TINY)
    assert encoder.preprocess(torch.zeros(3, 1, 300_000)).shape == (3, 160, 160)


@pytest.mark.parametrize("name", [TINY, "test_convnext"])
def test_logits_are_timms(tmp_path, name):
    model = timm_model(name)
    path = save(model, tmp_path / "weights.safetensors")
    encoder = load_encoder(f"timm:{name}", path, classifier=True).eval()
    pixels = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        expected = model((pixels - encoder.mean) / encoder.std)
        torch.testing.assert_close(encoder.classify(pixels).main, expected)


def test_two_classifiers_are_no_linear_one():
    encoder = create_encoder("timm:deit_tiny_distilled_patch16_224")
    assert encoder.removed == ("head.bias", "head.weight", "head_dist.bias", "head_dist.weight")


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("layer1.0.conv1.weight", None, "missing"),
        ("layer1.0.conv1.weight", lambda tensor: tensor[1:], "shape"),
        ("fc2.weight", lambda tensor: torch.zeros(3), "unknown"),
        ("conv1.0.weight", lambda tensor: tensor * torch.nan, "NaN"),
    ],
)
def test_refuses_weights_that_do_not_fit(tmp_path, name, change, word):
    state = dict(timm_model(TINY).state_dict())
    tensor = state.pop(name, None)
    if change:
        state[name] = change(tensor).contiguous()
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    encoder = TimmFeatures(TINY)
    before = fingerprint(encoder)
    with pytest.raises(FormatError, match=f"{re.escape(str(path))}: tensor {name}: .*{word}"):
        load_weights(encoder, path)
    assert fingerprint(encoder) == before


def test_refuses_other_names():
    with pytest.raises(ValueError, match=r"no encoder 'timm:resnet5'; close .*timm:resnet50"):
        create_encoder("timm:resnet5")
    with pytest.raises(ValueError, match="no encoder 'timm:hf-hub:someone/model'"):
        create_encoder("timm:hf-hub:someone/model")
    with pytest.raises(ValueError, match="no option width_factor"):
        create_encoder(f"timm:{TINY}", {"width_factor": 0.5})


@pytest.mark.parametrize(
    ("key", "value"),
    [("crop_pct", 1e-9), ("crop_mode", "none"), ("interpolation", "x"), ("image_size", 10**9)],
)
def test_refuses_other_preprocessing(key, value):
    stored = configuration(create_encoder(f"timm:{TINY}"))["preprocessing"]
    with pytest.raises(ValueError, match=f"{key} is"):
        create_encoder(f"timm:{TINY}", {"preprocessing": {**stored, key: value}})


def test_size_counts_timms_classifier():
    size = model_size(f"timm:{TINY}")
    assert size.parameters == sum(p.numel() for p in timm.create_model(TINY).parameters())
    assert size.parameters - size.embedding_parameters == 97 * 1000
    assert (size.image_size, size.width) == (160, 96)


def test_without_published_weights_or_a_network(monkeypatch):
    assert published_weights(f"timm:{TINY}") == "timm's"
    assert published_weights("timm:resnet18.") is None
    with pytest.raises(ValueError, match="no weights are published for timm:vit_base_patch8_none"):
        fetch_timm("vit_base_patch8_none")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"timm's weights for test_vit: .*--weights") as error:
        fetch_timm("test_vit")
    assert "\n" not in str(error.value)
