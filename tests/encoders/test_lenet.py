"""LeNet-5: counts of the paper, layers written out in plain arithmetic."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.helpers.nonzero_weights import check_batch_invariance, images
from vl.encoders.flops import model_size, parameter_count
from vl.encoders.lenet import CONNECTIONS, LeNet5, PartialConvolution, Subsampling, scaled_tanh


def test_parameter_counts_of_the_paper():
    assert {
        name: parameter_count(layer)
        for name, layer in LeNet5().named_children()
        if name != "classifier"
    } == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    size = model_size("lenet5")
    assert (size.embedding_parameters, size.parameters) == (60_000, 60_000 + 10 * 85)
    # A connection of the paper is a multiply-add, or a bias; S2 and S4 have five for each output.
    biases = 6 * 28**2 + 16 * 10**2 + 120 + 84
    subsampling = 5 * (6 * 14**2 + 16 * 5**2)
    assert size.multiply_adds + biases + subsampling == 340_908


def test_connections_of_table_1():
    assert [len(maps) for maps in CONNECTIONS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(CONNECTIONS)) == 16
    for size in (3, 4, 6):  # every map of S2 is used equally often
        sources = [source for maps in CONNECTIONS for source in maps if len(maps) == size]
        assert {sources.count(source) for source in range(6)} == {len(sources) // 6}
    for first, maps in enumerate(CONNECTIONS[:6]):  # neighbors on a circle
        assert set(maps) == {(first + step) % 6 for step in range(3)}
    for first, maps in enumerate(CONNECTIONS[6:12]):
        assert set(maps) == {(first + step) % 6 for step in range(4)}


def test_partial_convolution_is_a_convolution_with_zeros():
    connections = ((0, 2), (1,), (0, 1, 2))
    layer = PartialConvolution(connections, kernel_size=3)
    torch.nn.init.normal_(layer.bias)
    kernels = iter(layer.kernels.weight[:, 0])
    weight = torch.zeros(3, 3, 3, 3)
    for target, sources in enumerate(connections):
        for source in sources:
            weight[target, source] = next(kernels).detach()
    x = torch.randn(2, 3, 7, 6)
    torch.testing.assert_close(layer(x), F.conv2d(x, weight, layer.bias.flatten()))
    assert parameter_count(layer) == 6 * 9 + 3


def test_subsampling_is_initialized_as_a_mean_and_scales_sums():
    layer = Subsampling(2)
    x = torch.randn(3, 2, 4, 6)
    torch.testing.assert_close(layer(x), F.avg_pool2d(x, 2))
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([2.0, 3.0]).view(2, 1, 1))
        layer.bias.copy_(torch.tensor([0.5, -1.0]).view(2, 1, 1))
    total = x[..., ::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, ::2] + x[..., 1::2, 1::2]
    expected = torch.stack([total[:, 0] * 2 + 0.5, total[:, 1] * 3 - 1], 1)
    torch.testing.assert_close(layer(x), expected)


def test_forward_is_the_papers_row_of_layers():
    """Background enters as -0.1 and ink as 1.175."""
    network = LeNet5().eval()
    x = images(2, side=32)
    gray = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    y = scaled_tanh(network.c1(gray * 1.275 - 0.1))
    y = scaled_tanh(network.s2(y))
    y = scaled_tanh(network.s4(scaled_tanh(network.c3(y))))
    y = scaled_tanh(network.c5(y)).flatten(1)
    torch.testing.assert_close(network(x), scaled_tanh(network.f6(y)), rtol=1e-4, atol=1e-5)
    y = torch.tensor([-50.0, -1.0, 0.0, 1.0, 50.0])
    expected = torch.tensor([-1.7159, -1.0, 0.0, 1.0, 1.7159])
    torch.testing.assert_close(scaled_tanh(y), expected, rtol=0, atol=1e-4)


def test_batch_changes_no_embedding():
    check_batch_invariance(LeNet5().eval(), images(4, side=32))


def test_classifier_takes_the_embedding():
    network = LeNet5(classes=7)
    x = images(2, side=32)
    main, auxiliary = network.classify(x)
    torch.testing.assert_close(main, network.classifier(network(x)))
    assert main.shape == (2, 7)
    assert auxiliary == ()


def test_initialization_depends_on_the_fan_in():
    torch.manual_seed(0)
    network = LeNet5()
    assert network.c5.weight.std().item() == pytest.approx(1 / math.sqrt(400), rel=0.02)
    last = network.c3.kernels.weight[-6:]  # of the map with six inputs
    first = network.c3.kernels.weight[:18]  # of those with three
    assert last.abs().max() <= math.sqrt(3 / 150) < first.abs().max() <= math.sqrt(3 / 75)
    assert not network.c5.bias.any()


def test_gradient_reaches_all_parameters_and_four_images_are_overfitted():
    torch.manual_seed(0)
    network = LeNet5(classes=4)
    x, labels = images(4, side=32), torch.arange(4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    F.cross_entropy(network.classify(x).main, labels).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(network.classify(x).main, labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize("shape", [(1, 3, 28, 28), (1, 1, 32, 32), (3, 32, 32)])
def test_refuses_images_of_other_shapes(shape):
    with pytest.raises(ValueError, match=r"\(3, 32, 32\)"):
        LeNet5()(torch.zeros(shape))
