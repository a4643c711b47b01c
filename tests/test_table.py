from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torchvision import models

from encoders.inception import Inception
from encoders.inception_v3 import InceptionV3
from encoders.table import ENCODERS, TORCHVISION_NAMES, TorchvisionFeatures, encoder

OURS = ["inception_v1", "inception_v1_bn", "inception_v1_torchvision", "inception_v3"]
SMALL = ["shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v3_small", "resnet18", "mnasnet0_5"]


def lively(network):
    """First weights that let no image fade away; with PyTorch's own, all embeddings are near 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


def check_told_apart(embeddings):
    """Equal embeddings would agree whatever the network does."""
    assert embeddings.std(0).mean() > 0.02 * embeddings.abs().mean()
    assert embeddings.abs().mean() > 0.002


@contextmanager
def parameters_on_meta():
    """Networks built in here have no numbers: torch.device("meta") is too much for some regnets."""
    handle = register_module_parameter_registration_hook(
        lambda module, name, parameter: (
            None
            if parameter is None
            else nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        )
    )
    try:
        yield
    finally:
        handle.remove()


def check_contract(name):
    with parameters_on_meta():
        network = encoder(name)
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
    assert isinstance(encoder("inception_v3"), InceptionV3)
    assert isinstance(encoder("googlenet"), TorchvisionFeatures)
    assert isinstance(encoder("inception_v1"), Inception)


@pytest.mark.parametrize("name", OURS)
def test_ours_answer_as_wide_as_they_say(name):
    check_contract(name)


@pytest.mark.parametrize(
    "name", ["googlenet", "vit_b_32", "squeezenet1_0", "vgg11", "regnet_x_400mf"]
)
def test_one_of_each_kind_of_torchvision_s_is_whole_but_for_its_last_layer(name):
    check_published_count(check_contract(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_each_of_torchvision_s_is_whole_but_for_its_last_layer(name):
    if name == "inception_v3":
        pytest.skip("ours has the name")
    check_published_count(check_contract(name))


@pytest.mark.parametrize("name", SMALL)
def test_the_classifier_on_our_embedding_gives_torchvision_s_logits(name):
    network = lively(TorchvisionFeatures(name)).eval()
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
    check_told_apart(embedding)


def test_the_mean_and_the_side_are_those_of_the_default_weights():
    with parameters_on_meta():
        large, tall = TorchvisionFeatures("efficientnet_v2_l"), TorchvisionFeatures("vit_h_14")
    assert large.mean.flatten().tolist() == large.std.flatten().tolist() == [0.5, 0.5, 0.5]
    assert large.image_size == 480
    assert tall.image_size == 518


def test_an_embedding_has_no_dropout_of_the_classifier_s():
    network = lively(TorchvisionFeatures("squeezenet1_1")).train()  # it has no batch norm
    x = torch.rand(2, 3, 64, 64)
    embedding = network(x)
    torch.testing.assert_close(embedding, network(x))
    check_told_apart(embedding)


def test_a_wrong_name_is_answered_with_close_ones():
    with pytest.raises(
        ValueError, match=r"no encoder 'resnet5'; close to it are .*resnet50"
    ) as error:
        encoder("resnet5")
    assert f"there are {len(ENCODERS)}: inception_v1" in str(error.value)
    with pytest.raises(ValueError, match="no encoder 'Inception-V1'; close to it are inception_v1"):
        encoder("Inception-V1")
    with pytest.raises(ValueError, match=r"^no encoder 'zzz'; there are \d+:"):
        encoder("zzz")


def test_torchvision_s_other_networks_are_no_encoders():
    with pytest.raises(ValueError, match="torchvision has no classification network 'r3d_18'"):
        TorchvisionFeatures("r3d_18")
