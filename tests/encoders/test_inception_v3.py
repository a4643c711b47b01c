import pytest
import torch
from torch import nn

from tests.helpers.nonzero_weights import check_same_in_any_batch, initialize_for_relu
from vl.encoders.inception_v3 import inception_v3


def on_meta(**arguments):
    """A network that knows shapes and computes nothing."""
    with torch.device("meta"):
        return inception_v3(**arguments).eval()


@pytest.fixture
def network():
    return initialize_for_relu(inception_v3(classes=5)).eval()


# Two convolutions with batch norm and a classifier; torchvision states 27,161,264 with them.
HEAD = (768 * 128 + 2 * 128) + (128 * 768 * 25 + 2 * 768) + (768 * 1000 + 1000)


@pytest.mark.parametrize(("auxiliary", "count"), [(True, 27_161_264), (False, 27_161_264 - HEAD)])
def test_the_parameters_are_as_many_as_published(auxiliary, count):
    parameters = on_meta(auxiliary=auxiliary).parameters()
    assert sum(parameter.numel() for parameter in parameters) == count


def test_the_embedding_is_as_wide_as_it_says():
    network = on_meta()
    side = network.image_size
    embedding = network(torch.empty(2, 3, side, side, device="meta"))
    assert embedding.shape == (2, 2048) == (2, network.width)


def test_the_auxiliary_head_speaks_in_training_only():
    network = on_meta(classes=7, auxiliary=True)
    x = torch.empty(2, 3, 299, 299, device="meta")
    assert network.classify(x).auxiliary == ()
    main, auxiliary = network.train().classify(x)
    assert main.shape == (2, 7)
    assert [logits.shape for logits in auxiliary] == [(2, 7)]
    assert network(x).shape == (2, 2048)


def test_neither_batch_size_nor_order_changes_an_embedding(network):
    check_same_in_any_batch(network, torch.rand(4, 3, 75, 75))  # the least side of torchvision


def test_classify_is_the_classifier_on_the_embedding(network):
    x = torch.rand(2, 3, 75, 75)
    with torch.no_grad():
        torch.testing.assert_close(network.classify(x).main, network.classifier(network(x)))


def test_pixels_are_moved_to_between_minus_one_and_one(network):
    seen = []
    network.body.register_forward_pre_hook(lambda body, inputs: seen.append(inputs[0]))
    x = torch.rand(1, 3, 75, 75)
    network(x)
    torch.testing.assert_close(seen[0], 2 * x - 1)


def test_the_gradient_reaches_the_first_convolution(network):
    network(torch.rand(2, 3, 75, 75)).square().sum().backward()
    assert network.body.Conv2d_1a_3x3.conv.weight.grad.norm() > 1e-6


def test_an_embedding_has_no_dropout(network):
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = torch.rand(1, 3, 75, 75)
    with torch.no_grad():
        embedding = network(x)
        torch.testing.assert_close(embedding, network(x))
    assert embedding.mean() > 0.01
