"""BN-Inception: tables and sizes as published, modules written out in plain arithmetic."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.nonzero_weights import check_batch_invariance, images, silence_dropout
from vl.encoders.bn_inception import MODULES, BNInception, BNInceptionModule, ModuleWidths
from vl.encoders.flops import multiply_adds, parameter_count
from vl.encoders.inception import round_channels


def meta_network(**arguments):
    with torch.device("meta"):
        return BNInception(**arguments).eval()


def randomize_norms(network):
    """Batch norms far from the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


def output_shapes(network, side):
    shapes = {}
    for name, module in network.inception.items():
        module.register_forward_hook(
            lambda module, inputs, output, name=name: shapes.update({name: output.shape[1:]})
        )
    network(torch.empty(2, 3, side, side, device="meta"))
    return shapes


def test_shapes_of_tf_slim():
    # The comments in TF-slim's inception_v2.py.
    assert output_shapes(meta_network(), 224) == {
        "3a": (256, 28, 28),
        "3b": (320, 28, 28),
        "3c": (576, 14, 14),
        **dict.fromkeys(("4a", "4b", "4c", "4d"), (576, 14, 14)),
        **dict.fromkeys(("4e", "5a", "5b"), (1024, 7, 7)),
    }


def test_odd_sides_are_rounded_up():
    shapes = output_shapes(meta_network(), 200)
    assert [shapes[name][1] for name in ("3a", "3c", "4d", "4e", "5b")] == [25, 13, 13, 7, 7]


def test_table_in_the_papers_notation():
    rows = {}
    for name, row in MODULES.items():
        pool = f"avg{row.projection}" if row.pool == "average" else f"max{row.projection}"
        rows[name] = (
            f"{row.one or '-'}|{row.three_reduce}-{row.three}|"
            f"{row.double_reduce}-{row.double}-{row.double}|{pool if row.one else 'max'}"
        )
    assert rows == {
        "3a": "64|64-64|64-96-96|avg32",
        "3b": "64|64-96|64-96-96|avg64",
        "3c": "-|128-160|64-96-96|max",
        "4a": "224|64-96|96-128-128|avg128",
        "4b": "192|96-128|96-128-128|avg128",
        "4c": "160|128-160|128-160-160|avg96",
        "4d": "96|128-192|160-192-192|avg96",
        "4e": "-|128-192|192-256-256|max",
        "5a": "352|192-320|160-224-224|avg128",
        "5b": "352|192-320|192-224-224|max128",
    }


def test_size_of_module_3c():
    with torch.device("meta"):
        module = BNInceptionModule(320, MODULES["3c"]).eval()
        cost = multiply_adds(lambda x: module(x[:, :1].expand(1, 320, 28, 28)), 28)
    at_28 = 320 * 128 + 320 * 64 + 9 * 64 * 96
    at_14 = 9 * 128 * 160 + 9 * 96 * 96
    assert cost == 28 * 28 * at_28 + 14 * 14 * at_14
    norms = 2 * (128 + 160 + 64 + 96 + 96)  # a scale and a shift for each channel
    assert parameter_count(module) == at_28 + at_14 + norms


def test_parameter_count_of_the_caffe_port(monkeypatch):
    """With the port's two other rows and its biases before batch normalization.

    The port, in pretrained-models.pytorch, has 11,295,240 parameters; its 4c and 4d are 608 wide.
    """
    for name in ("4c", "4d"):
        monkeypatch.setitem(MODULES, name, MODULES[name]._replace(projection=128))
    network = meta_network()
    assert network.inception["4c"].width == network.inception["4d"].width == 608
    biases = sum(m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d))
    assert parameter_count(network) + biases == 11_295_240


def convolve(layer, x, stride=1):
    """Convolution, batch norm by its running statistics, ReLU, in plain arithmetic."""
    weight, norm = layer.convolution.weight, layer.norm
    y = F.conv2d(x, weight, None, stride=stride, padding=weight.shape[-1] // 2)
    y = (y - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 0.001).sqrt()
    return (y * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()


@pytest.mark.parametrize("pool", ["average", "max"])
def test_module_concatenates_four_branches(pool):
    module = randomize_norms(BNInceptionModule(16, ModuleWidths(8, 16, 24, 32, 40, pool, 48)))
    x = torch.randn(2, 16, 9, 9)
    if pool == "average":  # of the neighbors that are in the image
        pooled = F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
    else:
        pooled = F.max_pool2d(x, 3, 1, 1)
    double = convolve(module.double_first, convolve(module.double_reduce, x))
    expected = [
        convolve(module.one, x),
        convolve(module.three, convolve(module.three_reduce, x)),
        convolve(module.double_second, double),
        convolve(module.projection, pooled),
    ]
    assert [branch.shape[1] for branch in expected] == [8, 24, 40, 48]
    torch.testing.assert_close(module.eval()(x), torch.cat(expected, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [9, 10])
def test_module_of_stride_2_has_three_branches(side):
    module = randomize_norms(BNInceptionModule(16, ModuleWidths(0, 16, 24, 32, 40, "max", 0)))
    x = torch.randn(2, 16, side, side)
    double = convolve(module.double_first, convolve(module.double_reduce, x))
    expected = [
        convolve(module.three, convolve(module.three_reduce, x), stride=2),
        convolve(module.double_second, double, stride=2),
        F.max_pool2d(x, 3, 2, 1),
    ]
    assert expected[0].shape == (2, 24, 5, 5)
    torch.testing.assert_close(module.eval()(x), torch.cat(expected, 1), rtol=1e-4, atol=1e-4)
    assert module.width == 24 + 40 + 16


def test_stem():
    network = randomize_norms(BNInception(width_factor=0.125)).eval()
    x = torch.rand(1, 3, 64, 64)
    y = convolve(network.stem[0], 2 * x - 1, stride=2)
    y = F.max_pool2d(y, 3, 2, ceil_mode=True)
    y = convolve(network.stem[3], convolve(network.stem[2], y))
    y = F.max_pool2d(y, 3, 2, ceil_mode=True)
    before, inputs = x.clone(), []
    network.inception["3a"].register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    network(x)
    torch.testing.assert_close(inputs[0], y, rtol=1e-4, atol=1e-4)
    assert torch.equal(x, before)


def test_convolutions_have_batch_norms_and_no_biases_and_nothing_drops_out():
    network = meta_network()
    types = [type(module) for module in network.modules()]
    # three of the stem, seven a module, five in those of stride 2
    assert types.count(nn.BatchNorm2d) == types.count(nn.Conv2d) == 3 + 8 * 7 + 2 * 5
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d))
    assert nn.Dropout not in types


@pytest.mark.parametrize("width_factor", [1.0, 0.25])
def test_batch_changes_no_embedding(width_factor):
    torch.manual_seed(0)
    check_batch_invariance(randomize_norms(BNInception(width_factor=width_factor)).eval(), images())


def test_auxiliary_heads_take_4a_and_4d_in_training_only():
    network = BNInception(classes=5, auxiliary=True, width_factor=0.125)
    silence_dropout(network)
    outputs = {}
    for name in ("4a", "4d"):
        network.inception[name].register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output})
        )
    x = images(2, side=224)
    with torch.no_grad():
        main, auxiliary = network.train().classify(x)
        assert main.shape == (2, 5)
        for logits, name in zip(auxiliary, ("4a", "4d"), strict=True):
            assert outputs[name].shape[2:] == (14, 14)
            torch.testing.assert_close(logits, network.auxiliary[name](outputs[name]))
        main, auxiliary = network.eval().classify(x)
        torch.testing.assert_close(main, network.classifier(network(x)))
    assert auxiliary == ()


def test_gradient_reaches_all_parameters_and_that_of_the_heads_the_stem():
    torch.manual_seed(0)
    network = BNInception(classes=3, auxiliary=True, width_factor=0.125).train()
    silence_dropout(network)
    logits = network.classify(images(4, side=224))
    for head in logits.auxiliary:
        network.zero_grad()
        head.sum().backward(retain_graph=True)
        assert network.stem[0].convolution.weight.grad.abs().sum() > 0
        assert network.inception["5b"].one.convolution.weight.grad is None
    labels = torch.arange(4) % 3
    sum(F.cross_entropy(each, labels) for each in (logits.main, *logits.auxiliary)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_overfits_four_images():
    torch.manual_seed(0)
    network = BNInception(classes=4, width_factor=0.125).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    x, labels = images(4), torch.arange(4)
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(network.classify(x).main, labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_width_factor_scales_every_convolution():
    published = meta_network(auxiliary=True)
    narrow = meta_network(auxiliary=True, width_factor=0.25)
    assert (published.width, narrow.width) == (1024, 88 + 80 + 56 + 32)
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(narrow.modules(), published.modules(), strict=True)
        if isinstance(ours, nn.Conv2d)
    ]
    assert len(pairs) == 69 + 2
    for ours, theirs in pairs:
        assert ours.out_channels == round_channels(theirs.out_channels, 0.25)
        assert (ours.stride, ours.kernel_size) == (theirs.stride, theirs.kernel_size)
