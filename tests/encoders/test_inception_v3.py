"""Inception v3: published size, embedding, classifier and auxiliary head."""

import pytest
import torch
from torch import nn

from tests.helpers.nonzero_weights import check_batch_invariance, randomize
from vl.encoders.inception_v3 import InceptionV3

# Two convolutions with batch norm and a classifier; torchvision states 27,161,264 with them.
HEAD = (768 * 128 + 2 * 128) + (128 * 768 * 25 + 2 * 768) + (768 * 1000 + 1000)
SIDE = 75  # the least that torchvision allows


def on_meta(**arguments):
    with torch.device("meta"):
        return InceptionV3(**arguments).eval()


@pytest.fixture(scope="module")
def network():
    return randomize(InceptionV3(classes=5)).eval()


@pytest.mark.parametrize(("auxiliary", "count"), [(True, 27_161_264), (False, 27_161_264 - HEAD)])
def test_parameter_count(auxiliary, count):
    parameters = on_meta(auxiliary=auxiliary).parameters()
    assert sum(parameter.numel() for parameter in parameters) == count


def test_auxiliary_logits_in_training_only():
    network = on_meta(classes=7, auxiliary=True)
    x = torch.empty(2, 3, 299, 299, device="meta")
    assert network.image_size == 299
    assert network.classify(x).auxiliary == ()
    main, auxiliary = network.train().classify(x)
    assert main.shape == (2, 7)
    assert [logits.shape for logits in auxiliary] == [(2, 7)]
    assert network(x).shape == (2, 2048) == (2, network.width)


def test_batch_changes_no_embedding(network):
    check_batch_invariance(network, torch.rand(4, 3, SIDE, SIDE))


def test_classifier_takes_the_embedding_of_pixels_in_minus_1_to_1(network):
    x, inputs = torch.rand(2, 3, SIDE, SIDE), []
    hook = network.body.register_forward_pre_hook(lambda body, given: inputs.append(given[0]))
    with torch.no_grad():
        torch.testing.assert_close(network.classify(x).main, network.classifier(network(x)))
    hook.remove()
    torch.testing.assert_close(inputs[0], 2 * x - 1)


def test_gradient_reaches_the_first_convolution_and_no_dropout_the_embedding():
    network = randomize(InceptionV3(classes=5))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = torch.rand(1, 3, SIDE, SIDE)
    embedding = network(x)
    torch.testing.assert_close(embedding, network(x))
    embedding.square().sum().backward()
    assert network.body.Conv2d_1a_3x3.conv.weight.grad.norm() > 1e-6
