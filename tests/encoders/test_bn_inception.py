import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.nonzero_weights import check_same_in_any_batch, initialize_for_relu, noise_images
from vl.encoders.bn_inception import MODULES, BNInceptionModule, ModuleWidths, bn_inception
from vl.encoders.flops import multiply_adds, parameter_count
from vl.encoders.inception import round_channels
from vl.encoders.table import on_meta
from vl.encoders.weights import load_torchvision


def meta_network(**arguments):
    """A network that knows shapes and computes nothing."""
    with on_meta():
        network = bn_inception(**arguments)
    return network.to("meta").eval()


def lively(network):
    """Weights that let no image fade away, and batch norms that matter."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return initialize_for_relu(network)


def shapes_of_modules(network, side):
    shapes = {}
    for name, module in network.inception.items():
        module.register_forward_hook(
            lambda module, inputs, output, name=name: shapes.update({name: output.shape[1:]})
        )
    network(torch.empty(2, 3, side, side, device="meta"))
    return shapes


def test_channels_and_sides_are_slim_s():
    # The comments in TF-slim's inception_v2.py.
    assert shapes_of_modules(meta_network(), 224) == {
        "3a": (256, 28, 28),
        "3b": (320, 28, 28),
        "3c": (576, 14, 14),
        "4a": (576, 14, 14),
        "4b": (576, 14, 14),
        "4c": (576, 14, 14),
        "4d": (576, 14, 14),
        "4e": (1024, 7, 7),
        "5a": (1024, 7, 7),
        "5b": (1024, 7, 7),
    }


def test_an_odd_side_does_not_break_the_strides():
    shapes = shapes_of_modules(meta_network(), 200)
    assert [shapes[name][1] for name in ("3a", "3c", "4d", "4e", "5b")] == [25, 13, 13, 7, 7]


def test_the_rows_are_as_written_in_the_paper_s_way():
    written = {}
    for name, row in MODULES.items():
        projected = f"avg{row.projection}" if row.pool == "average" else f"max{row.projection}"
        written[name] = (
            f"{row.one or '-'}|{row.three_reduce}-{row.three}|"
            f"{row.double_reduce}-{row.double}-{row.double}|{projected if row.one else 'max'}"
        )
    assert written == {
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


def test_module_3a_has_the_parameters_of_arithmetic():
    weights = (
        192 * (64 + 64 + 64 + 32)  # four 1x1 convolutions on 192 channels
        + 9 * 64 * 64
        + 9 * 64 * 96
        + 9 * 96 * 96
    )
    norms = 2 * (64 + 64 + 64 + 64 + 96 + 96 + 32)  # a scale and a shift a channel
    assert parameter_count(meta_network().inception["3a"]) == weights + norms


def test_module_3c_costs_what_arithmetic_says():
    module = BNInceptionModule(320, MODULES["3c"]).to("meta").eval()

    def on_320_channels(x):
        return module(x.expand(1, 320, 28, 28))

    at_28 = 320 * 128 + 320 * 64 + 9 * 64 * 96
    at_14 = 9 * 128 * 160 + 9 * 96 * 96
    with torch.device("meta"):
        cost = multiply_adds(lambda x: on_320_channels(x[:, :1]), 28)
    assert cost == 28 * 28 * at_28 + 14 * 14 * at_14
    norms = 2 * (128 + 160 + 64 + 96 + 96)
    assert parameter_count(module) == at_28 + at_14 + norms


def test_with_the_caffe_port_s_two_rows_and_biases_it_has_the_port_s_parameters(monkeypatch):
    # The port, in pretrained-models.pytorch, has 11,295,240 numbers. In it the convolutions have
    # biases before the batch norms, and 4c and 4d are 608 wide.
    for name in ("4c", "4d"):
        monkeypatch.setitem(MODULES, name, MODULES[name]._replace(projection=128))
    network = meta_network()
    assert network.inception["4c"].width == network.inception["4d"].width == 608
    biases = sum(m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d))
    assert parameter_count(network) + biases == 11_295_240


def normalised(layer, x, stride=1):
    """Convolution, batch norm by its running numbers, ReLU, in plain arithmetic."""
    weight, norm = layer.convolution.weight, layer.norm
    y = F.conv2d(x, weight, None, stride=stride, padding=weight.shape[-1] // 2)
    y = (y - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 0.001).sqrt()
    return (y * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()


def mean_of_neighbours(x):
    """Of each pixel's 3 x 3, those that are in the image."""
    ones = torch.ones_like(x)
    return F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(ones, 3, 1, 1)


@pytest.mark.parametrize("pool", ["average", "max"])
def test_a_module_is_its_four_branches_side_by_side(pool):
    module = lively(BNInceptionModule(16, ModuleWidths(8, 16, 24, 32, 40, pool, 48))).eval()
    x = torch.randn(2, 16, 9, 9)
    pooled = mean_of_neighbours(x) if pool == "average" else F.max_pool2d(x, 3, 1, 1)
    double = normalised(module.double_first, normalised(module.double_reduce, x))
    expected = [
        normalised(module.one, x),
        normalised(module.three, normalised(module.three_reduce, x)),
        normalised(module.double_second, double),
        normalised(module.projection, pooled),
    ]
    assert [branch.shape[1] for branch in expected] == [8, 24, 40, 48]
    torch.testing.assert_close(module(x), torch.cat(expected, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [9, 10])
def test_a_module_of_stride_2_has_three_branches_and_pools_what_enters(side):
    module = lively(BNInceptionModule(16, ModuleWidths(0, 16, 24, 32, 40, "max", 0))).eval()
    x = torch.randn(2, 16, side, side)
    double = normalised(module.double_first, normalised(module.double_reduce, x))
    expected = [
        normalised(module.three, normalised(module.three_reduce, x), stride=2),
        normalised(module.double_second, double, stride=2),
        F.max_pool2d(x, 3, 2, 1),
    ]
    assert expected[0].shape == (2, 24, 5, 5)
    torch.testing.assert_close(module(x), torch.cat(expected, 1), rtol=1e-4, atol=1e-4)
    assert module.width == 24 + 40 + 16
    assert not hasattr(module, "one")


def test_the_stem_is_googlenet_s_without_response_norm():
    network = lively(bn_inception(width_factor=0.125)).eval()
    x = torch.randn(1, 3, 64, 64)
    y = normalised(network.stem[0], x, stride=2)
    y = F.max_pool2d(y, 3, 2, ceil_mode=True)
    y = normalised(network.stem[3], normalised(network.stem[2], y))
    y = F.max_pool2d(y, 3, 2, ceil_mode=True)
    torch.testing.assert_close(network.stem(x), y, rtol=1e-4, atol=1e-4)


def test_every_convolution_has_its_batch_norm_and_no_bias_and_nothing_drops_out():
    network = meta_network()
    kinds = [type(module) for module in network.modules()]
    # three of the stem, seven a module, five in those of stride 2
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.Conv2d) == 3 + 8 * 7 + 2 * 5
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d))
    assert nn.Dropout not in kinds
    assert all(
        m.kernel_size in ((1, 1), (3, 3))
        for m in network.inception.modules()
        if isinstance(m, nn.Conv2d)
    )


def test_batch_norm_comes_before_the_nonlinearity():
    network = bn_inception(width_factor=0.125).train()
    last = network.inception["5b"]
    for module in last.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, -100.0)  # were ReLU first, the answer would be -100
    with torch.no_grad():
        assert not network(noise_images(2)).any()


def test_the_first_layer_sees_pixels_from_minus_one_to_one():
    network = bn_inception(width_factor=0.125).eval()
    seen = []
    network.stem.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = noise_images(1)
    before = x.clone()
    network(x)
    torch.testing.assert_close(seen[0], 2 * x - 1)
    assert torch.equal(x, before)


@pytest.mark.parametrize("width_factor", [1.0, 0.25])
def test_neither_batch_size_nor_order_changes_an_embedding(width_factor):
    torch.manual_seed(0)
    network = lively(bn_inception(width_factor=width_factor)).eval()
    check_same_in_any_batch(network, noise_images(4))


def test_auxiliary_heads_hear_4a_and_4d_and_speak_in_training_only():
    network = bn_inception(classes=5, auxiliary=True, width_factor=0.125)
    outputs = {}
    for name in ("4a", "4d"):
        network.auxiliary[name].dropout.p = 0.0
        network.inception[name].register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output})
        )
    x = noise_images(2, side=224)
    with torch.no_grad():
        main, auxiliary = network.train().classify(x)
        assert main.shape == (2, 5)
        for logits, name in zip(auxiliary, ("4a", "4d"), strict=True):
            assert outputs[name].shape[2:] == (14, 14)
            torch.testing.assert_close(logits, network.auxiliary[name](outputs[name]))
        main, auxiliary = network.eval().classify(x)
        torch.testing.assert_close(main, network.classifier(network(x)))
    assert auxiliary == ()


def test_the_gradient_reaches_all_parameters():
    torch.manual_seed(0)
    network = bn_inception(classes=3, auxiliary=True, width_factor=0.125).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    logits = network.classify(noise_images(4, side=224))
    labels = torch.arange(4) % 3
    loss = sum(F.cross_entropy(each, labels) for each in (logits.main, *logits.auxiliary))
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_each_head_feeds_gradient_into_the_stem():
    torch.manual_seed(0)
    network = bn_inception(classes=3, auxiliary=True, width_factor=0.125).train()
    for logits in network.classify(noise_images(4, side=224)).auxiliary:
        network.zero_grad()
        logits.sum().backward(retain_graph=True)
        assert network.stem[0].convolution.weight.grad.abs().sum() > 0
        assert network.inception["5b"].one.convolution.weight.grad is None


def test_four_images_are_learnt():
    torch.manual_seed(0)
    network = bn_inception(classes=4, width_factor=0.125).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    x, labels = noise_images(4), torch.arange(4)
    for _ in range(12):
        optimiser.zero_grad()
        loss = F.cross_entropy(network.classify(x).main, labels)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def test_a_factor_scales_every_convolution():
    published, narrow = (
        meta_network(auxiliary=True),
        meta_network(auxiliary=True, width_factor=0.25),
    )
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


def test_a_factor_of_1_leaves_the_published_widths():
    for row in MODULES.values():
        for width in (*row[:5], row.projection):
            assert width == 0 or round_channels(width, 1) == width


def test_what_is_no_factor_is_refused():
    with pytest.raises(ValueError, match="width factor is -1"):
        bn_inception(width_factor=-1)


def test_nobody_publishes_its_weights():
    with pytest.raises(ValueError, match="torchvision has no weights for BN-Inception"):
        load_torchvision(bn_inception(width_factor=0.125))
