import math

import pytest
import torch
import torch.nn.functional as F

from vl.encoders.flops import model_size, parameter_count
from vl.encoders.lenet import (
    CONNECTIONS,
    LeNet5,
    PartialConvolution,
    Subsampling,
    lenet5,
    scaled_tanh,
)
from vl.encoders.weights import load_torchvision


def images(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 3, 32, 32, generator=generator)
    return noise * torch.rand(count, 3, 1, 1, generator=generator)


def test_each_layer_has_the_paper_s_number_of_parameters():
    network = lenet5()
    assert {
        name: parameter_count(layer)
        for name, layer in network.named_children()
        if name != "classifier"
    } == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert model_size("lenet5").embedding_parameters == 60_000
    assert parameter_count(network) == 60_000 + 10 * 85


def test_the_connections_are_the_paper_s():
    # A connection of the paper is a multiply-add, or a bias; S2 and S4 have five for each output.
    biases = 6 * 28**2 + 16 * 10**2 + 120 + 84
    subsampling = 5 * (6 * 14**2 + 16 * 5**2)
    assert model_size("lenet5").multiply_adds + biases + subsampling == 340_908


def test_c3_s_maps_see_as_many_as_in_table_1():
    assert [len(seen) for seen in CONNECTIONS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(CONNECTIONS)) == 16
    for size in (3, 4, 6):  # every map of S2 is seen equally often by each kind
        sources = [source for seen in CONNECTIONS for source in seen if len(seen) == size]
        assert {sources.count(source) for source in range(6)} == {len(sources) // 6}
    for first, seen in enumerate(CONNECTIONS[:6]):  # neighbours, round and round
        assert set(seen) == {first, (first + 1) % 6, (first + 2) % 6}
    for first, seen in enumerate(CONNECTIONS[6:12]):
        assert set(seen) == {(first + step) % 6 for step in range(4)}


def test_a_partial_convolution_is_a_whole_one_with_zeros():
    seen = ((0, 2), (1,), (0, 1, 2))
    layer = PartialConvolution(seen, kernel_size=3)
    torch.nn.init.normal_(layer.bias)
    kernels = iter(layer.kernels.weight[:, 0])
    whole = torch.zeros(3, 3, 3, 3)
    for target, sources in enumerate(seen):
        for source in sources:
            whole[target, source] = next(kernels).detach()
    x = torch.randn(2, 3, 7, 6)
    torch.testing.assert_close(layer(x), F.conv2d(x, whole, layer.bias.flatten()))
    assert parameter_count(layer) == 6 * 9 + 3


def test_subsampling_adds_four_and_begins_as_a_mean():
    layer = Subsampling(2)
    x = torch.randn(3, 2, 4, 6)
    torch.testing.assert_close(layer(x), F.avg_pool2d(x, 2))
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([2.0, 3.0]).view(2, 1, 1))
        layer.bias.copy_(torch.tensor([0.5, -1.0]).view(2, 1, 1))
    total = x[..., ::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, ::2] + x[..., 1::2, 1::2]
    expected = torch.stack([total[:, 0] * 2 + 0.5, total[:, 1] * 3 - 1], 1)
    torch.testing.assert_close(layer(x), expected)


def test_squashing_keeps_one_and_minus_one():
    x = torch.tensor([-50.0, -1.0, 0.0, 1.0, 50.0])
    torch.testing.assert_close(
        scaled_tanh(x), torch.tensor([-1.7159, -1.0, 0.0, 1.0, 1.7159]), rtol=0, atol=1e-4
    )


def test_the_network_is_the_paper_s_row_of_layers():
    network = lenet5().eval()
    x = images(2)

    def squash(x):
        return 1.7159 * torch.tanh(2 * x / 3)

    grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    y = squash(network.c1(grey * 1.275 - 0.1))
    y = squash(network.s2(y))
    y = squash(network.s4(squash(network.c3(y))))
    y = squash(network.c5(y)).flatten(1)
    torch.testing.assert_close(network(x), squash(network.f6(y)), rtol=1e-4, atol=1e-5)


def test_ink_enters_as_1_175_and_the_ground_as_minus_0_1():
    network = lenet5()
    seen = []
    network.c1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]))
    assert seen[0].shape == (2, 1, 32, 32)
    torch.testing.assert_close(seen[0][0], torch.full((1, 32, 32), -0.1))
    torch.testing.assert_close(seen[0][1], torch.full((1, 32, 32), 1.175))


def test_neither_batch_size_nor_order_changes_an_embedding():
    network = lenet5().eval()
    x = images(4)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        together = network(x)
        alone = torch.cat([network(image[None]) for image in x])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(network(x[order]), together[order], rtol=0, atol=1e-5)
    assert together.shape == (4, 84) == (4, network.width)
    assert together.std(0).mean() > 0.1  # else equal embeddings would agree whatever it does


def test_classify_is_the_classifier_on_the_embedding():
    network = lenet5(classes=7)
    x = images(2)
    main, auxiliary = network.classify(x)
    torch.testing.assert_close(main, network.classifier(network(x)))
    assert main.shape == (2, 7)
    assert auxiliary == ()


def test_the_first_weights_are_spread_by_what_enters():
    torch.manual_seed(0)
    network = lenet5()
    assert network.c5.weight.std().item() == pytest.approx(1 / math.sqrt(400), rel=0.02)
    last = network.c3.kernels.weight[-6:]  # the map that sees all six
    first = network.c3.kernels.weight[:18]  # those that see three
    assert last.abs().max() <= math.sqrt(3 / 150) < first.abs().max() <= math.sqrt(3 / 75)
    assert not network.c5.bias.any()


def test_the_gradient_reaches_all_parameters_and_four_images_are_learnt():
    torch.manual_seed(0)
    network = LeNet5(classes=4)
    x, labels = images(4), torch.arange(4)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    F.cross_entropy(network.classify(x).main, labels).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    for _ in range(100):
        optimiser.zero_grad()
        loss = F.cross_entropy(network.classify(x).main, labels)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize("shape", [(1, 3, 28, 28), (1, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"images have shape .*; LeNet-5 takes \(3, 32, 32\)"):
        lenet5()(torch.zeros(shape))


def test_nobody_publishes_its_weights():
    with pytest.raises(ValueError, match="torchvision has no weights for LeNet-5"):
        load_torchvision(lenet5())
