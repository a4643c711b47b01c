import json

import pytest
import torch
from torch import nn
from torchvision import models

from tests.helpers.nonzero_weights import check_distinct, initialize_for_relu
from vl.encoders.bn_inception import BNInception
from vl.encoders.inception import Inception
from vl.encoders.inception_v3 import InceptionV3
from vl.encoders.lenet import LeNet5
from vl.encoders.table import (
    ENCODERS,
    OPTIONS,
    build,
    configuration,
    create_encoder,
    on_meta,
    validated_options,
)
from vl.encoders.torchvision_features import TorchvisionFeatures, torchvision_names

OURS = [
    "inception_v1",
    "inception_v1_bn",
    "inception_v1_torchvision",
    "bn_inception",
    "inception_v3",
    "lenet5",
]
SCALED = ["inception_v1", "inception_v1_bn", "bn_inception"]
SMALL = ["shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v3_small", "resnet18", "mnasnet0_5"]


def check_contract(name, **told):
    with on_meta():
        network = create_encoder(name, **told)
    network = network.to("meta").eval()
    assert isinstance(network.width, int)
    assert isinstance(network.image_size, int)
    side = network.image_size
    assert network(torch.empty(2, 3, side, side, device="meta")).shape == (2, network.width)
    return network


def check_published_count(network):
    """All but the last layer is there, by the number of parameters that torchvision states."""
    published = models.get_model_weights(network.name).DEFAULT.meta["num_params"]
    own = sum(parameter.numel() for parameter in network.parameters())
    bias = 0 if network.name == "maxvit_t" else 1
    auxiliary = {"inception_v3": 3_326_696}.get(network.name, 0)
    assert own == published - auxiliary - 1000 * (network.width + bias)


def test_the_table_has_ours_and_torchvision_s():
    assert set(ENCODERS) == {*OURS, *models.list_models(module=models)}
    assert isinstance(create_encoder("inception_v3"), InceptionV3)
    assert isinstance(create_encoder("googlenet"), TorchvisionFeatures)
    assert isinstance(create_encoder("inception_v1"), Inception)
    assert isinstance(create_encoder("bn_inception"), BNInception)
    assert isinstance(create_encoder("lenet5"), LeNet5)
    assert list(OPTIONS) == OURS


@pytest.mark.parametrize("name", OURS)
def test_ours_answer_as_wide_as_they_say(name):
    check_contract(name)


@pytest.mark.parametrize(
    "name",
    ["alexnet", "resnet50", "googlenet", "vit_b_32", "squeezenet1_0", "vgg11", "regnet_x_400mf"],
)
def test_one_of_each_kind_of_torchvision_s_is_whole_but_for_its_last_layer(name):
    check_published_count(check_contract(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision_names())
def test_each_of_torchvision_s_is_whole_but_for_its_last_layer(name):
    if name == "inception_v3":
        pytest.skip("ours has the name")
    check_published_count(check_contract(name))


@pytest.mark.parametrize("name", SMALL)
def test_the_classifier_on_our_embedding_gives_torchvision_s_logits(name):
    network = initialize_for_relu(TorchvisionFeatures(name)).eval()
    assert isinstance(network.body.get_submodule(network.last_layer), nn.Identity)
    whole = models.get_model(name, weights=None).eval()
    whole.load_state_dict(network.body.state_dict(), strict=False)
    last = whole.get_submodule(network.last_layer)
    x = torch.rand(2, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # ImageNet's, in torchvision's docs
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    seen = []
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        embedding = network(x)
        whole((x - mean) / std)
    assert embedding.shape == (2, network.width)
    if name == "squeezenet1_1":  # its classifier comes before the pool
        seen = [seen[0].relu().mean((2, 3))]
    torch.testing.assert_close(embedding, seen[0])
    check_distinct(embedding, least=0.002)


def test_the_mean_and_the_side_are_those_of_the_default_weights():
    with on_meta():
        large, tall = TorchvisionFeatures("efficientnet_v2_l"), TorchvisionFeatures("vit_h_14")
    assert large.mean.flatten().tolist() == large.std.flatten().tolist() == [0.5, 0.5, 0.5]
    assert large.image_size == 480
    assert tall.image_size == 518


def test_an_embedding_has_no_dropout_of_the_classifier_s():
    network = initialize_for_relu(
        TorchvisionFeatures("squeezenet1_1")
    ).train()  # it has no batch norm
    x = torch.rand(2, 3, 64, 64)
    embedding = network(x)
    torch.testing.assert_close(embedding, network(x))
    check_distinct(embedding, least=0.002)


def test_a_wrong_name_is_answered_with_close_ones():
    with pytest.raises(
        ValueError, match=r"no encoder 'resnet5'; close to it are .*resnet50"
    ) as error:
        create_encoder("resnet5")
    assert f"there are {len(ENCODERS)}: {', '.join(OURS)}, and torchvision's" in str(error.value)
    with pytest.raises(ValueError, match="no encoder 'Inception-V1'; close to it are inception_v1"):
        create_encoder("Inception-V1")
    with pytest.raises(ValueError, match=r"^no encoder 'zzz'; there are \d+:"):
        create_encoder("zzz")


def test_torchvision_s_other_networks_are_no_encoders():
    with pytest.raises(ValueError, match="torchvision has no classification network 'r3d_18'"):
        TorchvisionFeatures("r3d_18")


@pytest.mark.parametrize("name", SCALED)
def test_a_narrow_encoder_answers_as_narrow_as_it_says(name):
    assert check_contract(name, width_factor=0.25).width == 256  # a quarter of 1024
    assert check_contract(name, width_factor=1.5).width == 1536


def test_the_published_networks_that_people_compare_with_are_there_by_name():
    assert check_contract("alexnet").width == 4096
    assert check_contract("resnet50").width == 2048


@pytest.mark.parametrize("name", OURS)
def test_classes_and_heads_are_as_told(name):
    with on_meta():
        network = create_encoder(name, classes=7, auxiliary="auxiliary" in OPTIONS[name])
    network = network.to("meta").train()
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
        ("alexnet", 0.0),
        ("resnet18", 0.0),
        ("googlenet", 0.2),
        ("mobilenet_v3_small", 0.2),
        ("squeezenet1_1", 0.5),
    ],
)
def test_one_of_torchvision_s_told_classes_has_a_classifier_with_its_own_dropout(name, dropout):
    with on_meta():
        network = create_encoder(name, classes=7)
    network = network.to("meta").train()
    assert network.dropout.p == dropout
    side = network.image_size
    main, auxiliary = network.classify(torch.empty(2, 3, side, side, device="meta"))
    assert main.shape == (2, 7)
    assert auxiliary == ()
    bare = TorchvisionFeatures(name).state_dict()
    assert network.state_dict().keys() - bare.keys() == {"classifier.weight", "classifier.bias"}


def test_the_classifier_stands_on_the_embedding_after_the_dropout():
    network = initialize_for_relu(TorchvisionFeatures("mobilenet_v3_small", classes=5)).eval()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(pixels) @ network.classifier.weight.T + network.classifier.bias
        torch.testing.assert_close(network.classify(pixels).main, expected)
        assert expected.std() > 1e-4
        network.dropout.train()
        assert not torch.allclose(network.classify(pixels).main, expected)


def test_a_network_that_was_told_of_no_classes_does_not_classify():
    with pytest.raises(ValueError, match="resnet18 has no classifier"):
        TorchvisionFeatures("resnet18").classify(torch.zeros(1, 3, 224, 224))


def test_a_classifier_has_a_bias_where_torchvision_s_has_one():
    with on_meta():
        assert create_encoder("maxvit_t", classes=3).classifier.bias is None
        assert create_encoder("vit_b_32", classes=3).classifier.bias is not None


@pytest.mark.parametrize(
    ("name", "told"),
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
def test_a_configuration_builds_the_same_shapes_again(name, told):
    with on_meta():
        network = create_encoder(name, **told)
        held = json.loads(json.dumps(configuration(network)))
        again = build(name, held)
    # An image size is told only where it is not the published one.
    assert set(held) | {"image_size"} >= set(OPTIONS.get(name, told))
    assert again.image_size == network.image_size == told.get("image_size", network.image_size)
    assert held.items() >= told.items()
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    assert {key: tensor.shape for key, tensor in again.state_dict().items()} == shapes


@pytest.mark.parametrize("name", SCALED)
def test_an_encoder_of_the_least_image_size_answers(name):
    network = create_encoder(name, image_size=32, width_factor=0.1, classes=3)
    assert network.image_size == 32
    assert create_encoder(name, width_factor=0.1).image_size == 224
    pixels = torch.rand(2, 3, 32, 32)
    assert network.classify(pixels).main.shape == (2, 3)


@pytest.mark.parametrize("name", OURS)
def test_what_is_as_published_need_not_be_told(name):
    assert validated_options(name, auxiliary=False, width_factor=1) == {}
    assert validated_options(name, classes=7) == {"classes": 7}
    assert validated_options("resnet50") == {}


@pytest.mark.parametrize(
    ("name", "told", "message"),
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
            "inception_v3 has no option width_factor: inception_v1, inception_v1_bn, bn_inception$",
        ),
        ("lenet5", {"classes": 0}, "classes is 0"),
        ("bn_inception", {"width_factor": 0.0}, "width factor is 0.0"),
        ("lenet6", {}, "no encoder 'lenet6'; close to it are lenet5"),
    ],
)
def test_what_an_encoder_cannot_be_told_is_refused(name, told, message):
    with pytest.raises(ValueError, match=message):
        create_encoder(name, **told)
    with pytest.raises(ValueError, match=message):
        build(name, told)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"width": 0.5}, "unknown option 'width'"),
        ({"width_factor": "0.5"}, "width_factor of an encoder is '0.5'; expected a number"),
        ({"width_factor": True}, "width_factor of an encoder is True"),
        ({"classes": 2.5}, "classes of an encoder is 2.5; expected an integer"),
        ({"classes": True}, "classes of an encoder is True"),
        ({"auxiliary": 1}, "auxiliary of an encoder is 1; expected true or false"),
    ],
)
def test_a_configuration_of_a_wrong_kind_is_refused(told, message):
    with pytest.raises(ValueError, match=message):
        build("inception_v1", told)
