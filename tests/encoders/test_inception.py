"""GoogLeNet: published sizes, layers written out in plain arithmetic, laws of its embeddings."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.nonzero_weights import (
    check_batch_invariance,
    check_differ,
    images,
    randomize,
    silence_dropout,
)
from vl.encoders.flops import multiply_adds, parameter_count
from vl.encoders.inception import (
    MODULES,
    Inception,
    InceptionModule,
    inception_v1,
    inception_v1_bn,
    inception_v1_torchvision,
    round_channels,
)
from vl.encoders.response_norm import ResponseNorm

BUILDERS = [inception_v1, inception_v1_bn, inception_v1_torchvision]


def on_meta(builder, **arguments):
    with torch.device("meta"):
        return builder(**arguments).eval()


@pytest.mark.parametrize(
    ("builder", "auxiliary", "count"),
    [
        (inception_v1, False, 6_998_552),  # from the layers of BVLC's train_val.prototxt
        (inception_v1, True, 13_378_280),
        (inception_v1_bn, False, 7_005_832),
        (inception_v1_torchvision, False, 6_624_904),  # num_params in torchvision's weights
    ],
)
def test_parameter_count(builder, auxiliary, count):
    assert parameter_count(on_meta(builder, auxiliary=auxiliary)) == count


@pytest.mark.parametrize("name", MODULES)
def test_parameter_count_of_a_row_of_table_1(name):
    inputs, one, three_reduce, three, five_reduce, five, projection = MODULES[name]
    weights = (
        inputs * (one + three_reduce + five_reduce + projection)
        + 9 * three_reduce * three
        + 25 * five_reduce * five
    )
    biases = one + three_reduce + three + five_reduce + five + projection
    assert parameter_count(on_meta(inception_v1).inception[name]) == weights + biases


@pytest.mark.parametrize(
    ("builder", "published"),
    [
        (inception_v1, 1_582_671_872),  # from BVLC's prototxt, convolutions and classifier
        (inception_v1_bn, 1_582_671_872),  # the same convolutions
        (inception_v1_torchvision, pytest.approx(1.498e9, abs=0.5e6)),  # torchvision's "_ops"
    ],
)
def test_multiply_adds(builder, published):
    assert multiply_adds(on_meta(builder).classify, 224) == published


@pytest.mark.parametrize("builder", BUILDERS)
def test_shapes_of_table_1(builder):
    network = on_meta(builder)
    shapes = {}
    for name, module in network.inception.items():
        module.register_forward_hook(
            lambda module, inputs, output, name=name: shapes.update({name: output.shape[1:]})
        )
    embedding = network(torch.empty(2, 3, 224, 224, device="meta"))
    assert embedding.shape == (2, 1024) == (2, network.width)
    assert shapes == {
        "3a": (256, 28, 28),
        "3b": (480, 28, 28),
        **dict.fromkeys(("4a", "4b", "4c"), (512, 14, 14)),
        "4d": (528, 14, 14),
        "4e": (832, 14, 14),
        "5a": (832, 7, 7),
        "5b": (1024, 7, 7),
    }


def test_last_pool_of_the_paper_and_of_torchvision():
    x = torch.rand(1, 2, 14, 14)
    published = on_meta(inception_v1).pool_after["4e"](x)
    torchvision = on_meta(inception_v1_torchvision).pool_after["4e"](x)
    torch.testing.assert_close(published, F.max_pool2d(x, 3, 2, ceil_mode=True))
    torch.testing.assert_close(torchvision, F.max_pool2d(x, 2, 2))


@pytest.mark.parametrize("five_kernel", [5, 3])
def test_module_concatenates_four_branches(five_kernel):
    module = InceptionModule(6, 2, 3, 4, 5, 7, 8, norm="response", five_kernel=five_kernel)
    x = torch.randn(2, 6, 9, 9)

    def convolve(x, name, padding):
        layer = getattr(module, name).convolution
        return F.conv2d(x, layer.weight, layer.bias, padding=padding).relu()

    expected = [
        convolve(x, "one", 0),
        convolve(convolve(x, "three_reduce", 0), "three", 1),
        convolve(convolve(x, "five_reduce", 0), "five", five_kernel // 2),
        convolve(F.max_pool2d(x, 3, 1, 1), "projection", 0),
    ]
    torch.testing.assert_close(module(x), torch.cat(expected, 1))


def test_stem_and_scale_of_bvlc():
    network = inception_v1().eval()
    inputs = []
    network.inception["3a"].register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    x = images(2)
    before = x.clone()
    network(x)
    assert torch.equal(x, before)
    y = x * 255 - torch.tensor([123.0, 117.0, 104.0]).view(1, 3, 1, 1)  # R, G, B
    first, second, third = (network.stem[i].convolution for i in (0, 3, 4))
    y = F.conv2d(y, first.weight, first.bias, stride=2, padding=3).relu()
    y = F.max_pool2d(y, 3, 2, ceil_mode=True)
    y = F.local_response_norm(y, 5, 1e-4, 0.75)
    y = F.conv2d(y, second.weight, second.bias).relu()
    y = F.conv2d(y, third.weight, third.bias, padding=1).relu()
    y = F.local_response_norm(y, 5, 1e-4, 0.75)
    y = F.max_pool2d(y, 3, 2, ceil_mode=True)
    torch.testing.assert_close(inputs[0], y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("builder", BUILDERS)
def test_auxiliary_logits_in_training_only(builder):
    network = on_meta(builder, classes=7, auxiliary=True)
    x = torch.empty(2, 3, 224, 224, device="meta")
    assert network.classify(x).auxiliary == ()
    main, auxiliary = network.train().classify(x)
    assert main.shape == (2, 7)
    assert [logits.shape for logits in auxiliary] == [(2, 7), (2, 7)]
    assert on_meta(builder).train().classify(x).auxiliary == ()


def test_auxiliary_heads_take_4a_and_4d():
    network = inception_v1(classes=3, auxiliary=True, width_factor=0.125)
    silence_dropout(network)
    outputs = {}
    for name in ("4a", "4d"):
        network.inception[name].register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output})
        )
    logits_of_heads = network.classify(images(1, side=224)).auxiliary
    for logits, (name, head) in zip(logits_of_heads, network.auxiliary.items(), strict=True):
        x = F.avg_pool2d(outputs[name], 5, 3)
        x = head.convolution(x).flatten(1)
        torch.testing.assert_close(logits, head.classifier(head.hidden(x).relu()))


@pytest.mark.parametrize("builder", BUILDERS)
def test_batch_changes_no_embedding_which_the_classifier_takes(builder):
    network = randomize(builder(classes=5)).eval()
    x = images(4)
    check_batch_invariance(network, x)
    with torch.no_grad():
        torch.testing.assert_close(network.classify(x).main, network.classifier(network(x)))


def test_initialization_keeps_images_apart():
    with torch.no_grad():
        embeddings = inception_v1().eval()(images(4))
    # With PyTorch's initialization this is below 0.01.
    assert embeddings.std(0).mean() > 0.05 * embeddings.mean()
    check_differ(embeddings)


def test_batch_norm_replaces_biases_and_response_norm():
    network = on_meta(inception_v1_bn)
    types = [type(module) for module in network.modules()]
    assert ResponseNorm not in types
    assert types.count(nn.BatchNorm2d) == types.count(nn.Conv2d) == 57
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d))


def test_refuses_unknown_norm_and_topology():
    with pytest.raises(ValueError, match="norm is 'layer'"):
        Inception(norm="layer")
    with pytest.raises(ValueError, match="topology is 'caffe'"):
        Inception(topology="caffe")


@pytest.mark.parametrize(
    ("channels", "factor", "expected"),
    [
        (64, 0.25, 16),
        (16, 0.25, 8),  # 4, but 8 is the least
        (208, 0.25, 56),  # 52 is half-way between 48 and 56
        (112, 0.25, 32),  # 28 is half-way between 24 and 32
        (96, 0.3, 32),  # 28.8
        (1024, 1e-9, 8),
        (96, 2, 192),
    ],
)
def test_round_channels_to_multiples_of_8(channels, factor, expected):
    assert round_channels(channels, factor) == expected


def test_round_channels_keeps_published_widths_and_is_monotonic():
    for _, *widths in MODULES.values():
        assert [round_channels(width, 1) for width in widths] == widths
    scaled = [round_channels(208, factor / 100) for factor in range(1, 300)]
    assert scaled == sorted(scaled)


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), float("inf")])
def test_refuses_invalid_width_factors(factor):
    with pytest.raises(ValueError, match="width factor"):
        inception_v1(width_factor=factor)


def test_names_of_stored_tensors():
    names = list(on_meta(inception_v1, auxiliary=True).state_dict())
    assert len(names) == 2 + 2 * (57 + 1) + 2 * 2 * 3
    assert {
        "mean",
        "stem.0.convolution.weight",
        "stem.4.convolution.bias",
        "inception.3a.five_reduce.convolution.weight",
        "auxiliary.4d.hidden.weight",
        "classifier.bias",
    } <= set(names)
    assert "inception.5b.projection.norm.running_var" in on_meta(inception_v1_bn).state_dict()


@pytest.mark.parametrize("builder", [inception_v1, inception_v1_bn])
def test_width_factor_scales_every_layer(builder):
    published = on_meta(builder, auxiliary=True)
    narrow = on_meta(builder, auxiliary=True, width_factor=0.25)
    assert narrow.width == 256
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(narrow.modules(), published.modules(), strict=True)
        if isinstance(ours, nn.Conv2d | nn.Linear)
    ]
    assert len(pairs) == 57 + 1 + 2 * 3
    for ours, theirs in pairs:
        outputs = theirs.weight.shape[0]
        assert ours.weight.shape[0] == (1000 if outputs == 1000 else round_channels(outputs, 0.25))
        assert ours.weight.shape[2:] == theirs.weight.shape[2:]


@pytest.mark.parametrize("builder", [inception_v1, inception_v1_bn])
def test_gradient_reaches_all_parameters(builder):
    network = builder(classes=3, auxiliary=True, width_factor=0.125).train()
    silence_dropout(network)
    logits = network.classify(images(4, side=224))
    labels = torch.arange(4) % 3
    sum(F.cross_entropy(each, labels) for each in (logits.main, *logits.auxiliary)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
