"""Sizes of encoders, as published and by arithmetic."""

import pytest
import torch
from torch import nn
from torchvision import models

from vl.encoders.flops import ModelSize, model_size, multiply_adds, parameter_count
from vl.encoders.table import create_encoder, on_meta
from vl.encoders.torchvision_features import torchvision_names


@pytest.mark.parametrize(
    ("name", "parameters", "embedding_parameters", "cost"),
    [
        # From the layers of BVLC's train_val.prototxt.
        ("inception_v1", 6_998_552, 5_973_552, 1_582_671_872),
        ("inception_v1_bn", 7_005_832, 5_980_832, 1_582_671_872),
        ("inception_v1_torchvision", 6_624_904, 5_599_904, pytest.approx(1.4984e9, abs=5e4)),
    ],
)
def test_size_of_googlenet(name, parameters, embedding_parameters, cost):
    assert model_size(name) == ModelSize(parameters, embedding_parameters, cost, 224, 1024)


def check_published(name):
    """Parameters, and giga multiply-adds to three decimals, as torchvision states them."""
    stated = models.get_model_weights(name).DEFAULT.meta
    counts = model_size(name)
    assert counts.parameters == stated["num_params"]
    assert counts.multiply_adds / 1e9 == pytest.approx(stated["_ops"], abs=0.00051)


@pytest.mark.parametrize("name", ["alexnet", "resnet50", "googlenet", "squeezenet1_0", "vit_b_32"])
def test_size_that_torchvision_states(name):
    check_published(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision_names())
def test_size_that_torchvision_states_of_each(name):
    if name == "inception_v3":
        pytest.skip("ours has the name, and torchvision's figure has the auxiliary head in it")
    check_published(name)


def test_size_of_inception_v3_is_torchvisions_without_the_head():
    counts = model_size("inception_v3")
    assert counts.parameters == 27_161_264 - 3_326_696
    assert counts.multiply_adds / 1e9 == pytest.approx(5.713, abs=0.0005)
    assert (counts.image_size, counts.width) == (299, 2048)


def test_embedding_parameters_are_all_but_the_classifiers():
    for name, width in (("resnet50", 2048), ("lenet5", 84), ("bn_inception", 1024)):
        counts = model_size(name)
        classes = 10 if name == "lenet5" else 1000
        assert counts.width == width
        assert counts.parameters - counts.embedding_parameters == width * classes + classes


def test_size_with_other_classes_and_width():
    few = model_size("inception_v1", {"classes": 10})
    assert few.embedding_parameters == 5_973_552
    assert few.parameters == 5_973_552 + 10 * 1024 + 10
    assert few.multiply_adds == 1_582_671_872 - 990 * 1024
    assert model_size("inception_v1", {"width_factor": 0.25}).width == 256
    whole, few = model_size("resnet18"), model_size("resnet18", {"classes": 10})
    assert few.embedding_parameters == whole.embedding_parameters
    assert whole.parameters - few.parameters == 990 * (512 + 1)
    assert whole.multiply_adds - few.multiply_adds == 990 * 512


def test_multiply_adds_by_arithmetic():
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=True),  # to 4 x 4
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=3),  # to 2 x 2, each output from 2 inputs
        nn.Flatten(),
        nn.Linear(24, 5),
    ).to("meta")
    expected = 4 * 4 * 6 * 3 * 9 + 2 * 2 * 6 * 2 * 9 + 24 * 5
    assert multiply_adds(network, 8) == expected
    assert parameter_count(network) == (6 * 27 + 6) + 12 + (6 * 2 * 9 + 6) + (24 * 5 + 5)


def test_attention_counts_without_gradients():
    with on_meta():
        network = models.vit_b_32(weights=None).to("meta").eval().requires_grad_(False)
    with torch.no_grad():
        cost = multiply_adds(network, 224)
    assert cost / 1e9 == pytest.approx(4.409, abs=0.0005)  # torchvision's "_ops"


def test_shared_parameters_count_once():
    layer = nn.Linear(3, 3)
    assert parameter_count(nn.Sequential(layer, layer)) == 12


def test_on_meta_ends_with_its_context():
    with pytest.raises(ValueError, match="no encoder"), on_meta():
        assert create_encoder("lenet5").c1.weight.is_meta
        frozen = nn.Linear(2, 2, bias=False).requires_grad_(False)
        assert frozen.weight.is_meta
        assert frozen.bias is None
        create_encoder("nothing of this name")
    assert not nn.Linear(2, 2).weight.is_meta


def test_refuses_options_that_an_encoder_does_not_take():
    with pytest.raises(ValueError, match="no option width_factor"):
        model_size("resnet50", {"width_factor": 0.5})
