"""Encoders by their names: the table, options, configurations, torchvision's networks."""

import json

import pytest
import torch
from torchvision import models

from tests.helpers.nonzero_weights import check_differ, normalize_imagenet, randomize
from vl.encoders.table import (
    ENCODERS,
    OPTIONS,
    configuration,
    create_encoder,
    on_meta,
    validated_options,
)
from vl.encoders.torchvision_features import TorchvisionFeatures, torchvision_names

OURS = [
    *("inception_v1", "inception_v1_bn", "inception_v1_torchvision"),
    *("bn_inception", "inception_v3", "lenet5"),
]
SCALED = ["inception_v1", "inception_v1_bn", "bn_inception"]
SMALL = ["shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v3_small", "resnet18", "mnasnet0_5"]


def meta_encoder(name, **options):
    with on_meta():
        network = create_encoder(name, options)
    return network.to("meta").eval()


def check_embedding(name, **options):
    network = meta_encoder(name, **options)
    side = network.image_size
    assert network(torch.empty(2, 3, side, side, device="meta")).shape == (2, network.width)
    return network


def check_parameter_count(network):
    """All but the last layer is there, by the parameters that torchvision states."""
    published = models.get_model_weights(network.name).DEFAULT.meta["num_params"]
    count = sum(parameter.numel() for parameter in network.parameters())
    bias = 0 if network.name == "maxvit_t" else 1
    auxiliary = {"inception_v3": 3_326_696}.get(network.name, 0)
    assert count == published - auxiliary - 1000 * (network.width + bias)


def test_table():
    assert list(ENCODERS) == list(OPTIONS) == OURS
    assert isinstance(create_encoder("googlenet"), TorchvisionFeatures)
    assert list(torchvision_names()) == models.list_models(module=models)


@pytest.mark.parametrize("name", OURS)
def test_embedding_of_our_encoders(name):
    check_embedding(name)


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *(("alexnet", 4096), ("resnet50", 2048), ("googlenet", 1024), ("vit_b_32", 768)),
        *(("squeezenet1_0", 512), ("vgg11", 4096), ("regnet_x_400mf", 400)),
    ],
)
def test_embedding_of_torchvisions_encoders(name, width):
    network = check_embedding(name)
    assert network.width == width
    check_parameter_count(network)


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision_names())
def test_embedding_of_each_of_torchvisions_encoders(name):
    if name == "inception_v3":
        pytest.skip("ours has the name")
    check_parameter_count(check_embedding(name))


@pytest.mark.parametrize("name", SMALL)
def test_embedding_is_the_input_of_torchvisions_last_layer(name):
    network = randomize(TorchvisionFeatures(name)).eval()
    whole = models.get_model(name, weights=None).eval()
    whole.load_state_dict(network.body.state_dict(), strict=False)
    x, inputs = torch.rand(2, 3, 64, 64), []
    last = whole.get_submodule(network.last_layer)
    last.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.no_grad():
        embedding = network(x)
        whole(normalize_imagenet(x))
    assert embedding.shape == (2, network.width)
    if name == "squeezenet1_1":  # its classifier comes before the pool
        inputs = [inputs[0].relu().mean((2, 3))]
    torch.testing.assert_close(embedding, inputs[0])
    check_differ(embedding)


def test_mean_and_image_size_of_the_default_weights():
    large, tall = meta_encoder("efficientnet_v2_l"), meta_encoder("vit_h_14")
    assert (large.image_size, tall.image_size) == (480, 518)
    with on_meta():
        large = TorchvisionFeatures("efficientnet_v2_l")
    assert large.mean.flatten().tolist() == large.std.flatten().tolist() == [0.5, 0.5, 0.5]


def test_embedding_has_no_dropout():
    network = randomize(TorchvisionFeatures("squeezenet1_1")).train()  # it has no batch norm
    x = torch.rand(2, 3, 64, 64)
    embedding = network(x)
    torch.testing.assert_close(embedding, network(x))
    check_differ(embedding)


def test_refuses_unknown_names_with_the_closest():
    for name, word in (
        ("resnet5", "close to it are .*resnet50.*; there are inception_v1, .* torchvision"),
        ("Inception-V1", "close to it are inception_v1"),
        ("zzz", "^no encoder 'zzz'; there are"),
    ):
        with pytest.raises(ValueError, match=word):
            create_encoder(name)
    with pytest.raises(ValueError, match="no classification network 'r3d_18'"):
        TorchvisionFeatures("r3d_18")


@pytest.mark.parametrize("name", SCALED)
def test_width_factor_scales_the_embedding(name):
    assert check_embedding(name, width_factor=0.25).width == 256  # a quarter of 1024
    assert check_embedding(name, width_factor=1.5).width == 1536


@pytest.mark.parametrize("name", OURS)
def test_classes_and_auxiliary_heads(name):
    network = meta_encoder(name, classes=7, auxiliary="auxiliary" in OPTIONS[name]).train()
    side = network.image_size
    main, auxiliary = network.classify(torch.empty(2, 3, side, side, device="meta"))
    assert main.shape == (2, 7)
    heads = {"inception_v3": 1, "lenet5": 0}.get(name, 2)
    assert [logits.shape for logits in auxiliary] == [(2, 7)] * heads


@pytest.mark.parametrize(
    ("name", "dropout"),
    [
        # As torchvision's builders have it right before the last layer; 0.5 before alexnet's other
        # two matrices, with a ReLU between.
        *(("alexnet", 0.0), ("resnet18", 0.0), ("googlenet", 0.2)),
        *(("mobilenet_v3_small", 0.2), ("squeezenet1_1", 0.5)),
    ],
)
def test_classifier_of_torchvisions_encoders_has_its_dropout(name, dropout):
    network = meta_encoder(name, classes=7).train()
    assert network.dropout.p == dropout
    side = network.image_size
    main, auxiliary = network.classify(torch.empty(2, 3, side, side, device="meta"))
    assert main.shape == (2, 7)
    assert auxiliary == ()
    bare = meta_encoder(name).state_dict()
    assert network.state_dict().keys() - bare.keys() == {"classifier.weight", "classifier.bias"}


def test_classifier_takes_the_embedding_after_the_dropout():
    network = randomize(TorchvisionFeatures("mobilenet_v3_small", classes=5)).eval()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(pixels) @ network.classifier.weight.T + network.classifier.bias
        torch.testing.assert_close(network.classify(pixels).main, expected)
        assert expected.std() > 1e-4
        network.dropout.train()
        assert not torch.allclose(network.classify(pixels).main, expected)
    with pytest.raises(ValueError, match="resnet18 has no classifier"):
        TorchvisionFeatures("resnet18").classify(torch.zeros(1, 3, 224, 224))


def test_classifier_has_a_bias_where_torchvisions_has_one():
    assert meta_encoder("maxvit_t", classes=3).classifier.bias is None
    assert meta_encoder("vit_b_32", classes=3).classifier.bias is not None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in OURS),
        *((name, {"classes": 3, "auxiliary": True, "width_factor": 0.25}) for name in SCALED),
        *((name, {"image_size": 64, "width_factor": 0.25}) for name in SCALED),
        ("inception_v1_torchvision", {"classes": 3, "auxiliary": True}),
        ("inception_v3", {"classes": 3, "auxiliary": True}),
        ("lenet5", {"classes": 3}),
        ("resnet50", {}),
        ("resnet50", {"classes": 3}),
        ("maxvit_t", {"classes": 3}),
    ],
)
def test_configuration_builds_the_same_shapes(name, options):
    with on_meta():
        network = create_encoder(name, options)
        stored = json.loads(json.dumps(configuration(network)))
        again = create_encoder(name, stored)
    # An image size is stored only where it is not the published one.
    assert set(stored) | {"image_size"} >= set(OPTIONS.get(name, options))
    assert again.image_size == network.image_size == options.get("image_size", network.image_size)
    assert stored.items() >= options.items()
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    assert {key: tensor.shape for key, tensor in again.state_dict().items()} == shapes


@pytest.mark.parametrize("name", SCALED)
def test_least_image_size(name):
    network = create_encoder(name, {"image_size": 32, "width_factor": 0.1, "classes": 3})
    assert network.image_size == 32
    assert create_encoder(name, {"width_factor": 0.1}).image_size == 224
    pixels = torch.rand(2, 3, 32, 32)
    assert network.classify(pixels).main.shape == (2, 3)


@pytest.mark.parametrize("name", OURS)
def test_published_options_are_left_out(name):
    assert validated_options(name, {"auxiliary": False, "width_factor": 1}) == {}
    assert validated_options(name, {"classes": 7}) == {"classes": 7}
    assert validated_options("resnet50", {}) == {}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50", {"auxiliary": True}, "resnet50 has no option auxiliary"),
        ("resnet50", {"classes": 0}, "classes is 0"),
        ("lenet5", {"auxiliary": True}, "lenet5 has no option auxiliary"),
        ("inception_v1", {"image_size": 31}, "image size is 31"),
        ("inception_v3", {"image_size": 64}, "inception_v3 has no option image_size"),
        (
            "bn_inception",
            {"image_size": 64, "auxiliary": True},
            "224 x 224",
        ),
        (
            "inception_v3",
            {"width_factor": 0.5},
            "inception_v3 has no option width_factor.*: inception_v1, .*_bn, bn_inception$",
        ),
        ("lenet5", {"classes": 0}, "classes is 0"),
        ("bn_inception", {"width_factor": 0.0}, "width factor is 0.0"),
        ("lenet6", {}, "no encoder 'lenet6'; close to it are lenet5"),
    ],
)
def test_refuses_options_that_an_encoder_does_not_take(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_encoder(name, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.5}, "unknown option 'width'"),
        ({"width_factor": "0.5"}, "width_factor of an encoder is '0.5'; expected int or float"),
        ({"width_factor": True}, "width_factor of an encoder is True"),
        ({"classes": 2.5}, "classes of an encoder is 2.5; expected int"),
        ({"classes": True}, "classes of an encoder is True"),
        ({"auxiliary": 1}, "auxiliary of an encoder is 1; expected bool"),
    ],
)
def test_refuses_invalid_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        create_encoder("inception_v1", options)
