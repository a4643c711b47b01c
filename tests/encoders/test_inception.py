import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.nonzero_weights import check_same_in_any_batch, initialize_for_relu, noise_images
from vl.encoders.flops import multiply_adds
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


def parameter_count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(builder, **arguments):
    """A network that knows shapes and computes nothing."""
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
def test_the_parameters_are_as_many_as_published(builder, auxiliary, count):
    assert parameter_count(on_meta(builder, auxiliary=auxiliary)) == count


def test_each_auxiliary_head_has_its_own_number_of_parameters():
    heads = on_meta(inception_v1, auxiliary=True).auxiliary
    # 1x1 convolution, 2048 to 1024, 1024 to 1000, each with biases
    shared = 128 + (2048 * 1024 + 1024) + (1024 * 1000 + 1000)
    assert {name: parameter_count(head) for name, head in heads.items()} == {
        "4a": 512 * 128 + shared,
        "4d": 528 * 128 + shared,
    }


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_parameters_of_its_row_in_table_1(name):
    inputs, one, three_reduce, three, five_reduce, five, projection = MODULES[name]
    weights = (
        inputs * (one + three_reduce + five_reduce + projection)
        + 9 * three_reduce * three
        + 25 * five_reduce * five
    )
    biases = one + three_reduce + three + five_reduce + five + projection
    module = on_meta(inception_v1).inception[name]
    assert parameter_count(module) == weights + biases


@pytest.mark.parametrize(
    ("builder", "published"),
    [
        (inception_v1, 1_582_671_872),  # from BVLC's prototxt, convolutions and classifier
        (inception_v1_bn, 1_582_671_872),  # the same convolutions
        (inception_v1_torchvision, pytest.approx(1.498e9, abs=0.5e6)),  # torchvision's "_ops"
    ],
)
def test_the_multiply_adds_at_224_are_as_many_as_published(builder, published):
    assert multiply_adds(on_meta(builder).classify, 224) == published


@pytest.mark.parametrize("builder", BUILDERS)
def test_channels_and_sides_are_those_of_table_1(builder):
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
        "4a": (512, 14, 14),
        "4b": (512, 14, 14),
        "4c": (512, 14, 14),
        "4d": (528, 14, 14),
        "4e": (832, 14, 14),
        "5a": (832, 7, 7),
        "5b": (1024, 7, 7),
    }


def test_the_paper_s_last_pool_spans_three_and_torchvision_s_two():
    x = torch.rand(1, 2, 14, 14)
    ours = inception_v1().pool_after["4e"](x)
    theirs = inception_v1_torchvision().pool_after["4e"](x)
    torch.testing.assert_close(ours, F.max_pool2d(x, 3, 2, ceil_mode=True))
    torch.testing.assert_close(theirs, F.max_pool2d(x, 2, 2))


@pytest.mark.parametrize("five_kernel", [5, 3])
def test_a_module_is_its_four_branches_side_by_side(five_kernel):
    module = InceptionModule(6, 2, 3, 4, 5, 7, 8, norm="response", five_kernel=five_kernel)
    x = torch.randn(2, 6, 9, 9)

    def convolved(x, name, padding):
        layer = getattr(module, name).convolution
        return F.conv2d(x, layer.weight, layer.bias, padding=padding).relu()

    expected = [
        convolved(x, "one", 0),
        convolved(convolved(x, "three_reduce", 0), "three", 1),
        convolved(convolved(x, "five_reduce", 0), "five", five_kernel // 2),
        convolved(F.max_pool2d(x, 3, 1, 1), "projection", 0),
    ]
    torch.testing.assert_close(module(x), torch.cat(expected, 1))
    assert module.five.convolution.kernel_size == (five_kernel, five_kernel)


def test_the_stem_is_the_published_row_of_layers():
    network = inception_v1().eval()
    x = torch.randn(2, 3, 64, 64) * 50
    first, second, third = (network.stem[i].convolution for i in (0, 3, 4))
    y = F.conv2d(x, first.weight, first.bias, stride=2, padding=3).relu()
    y = F.max_pool2d(y, 3, 2, ceil_mode=True)
    y = F.local_response_norm(y, 5, 1e-4, 0.75)
    y = F.conv2d(y, second.weight, second.bias).relu()
    y = F.conv2d(y, third.weight, third.bias, padding=1).relu()
    y = F.local_response_norm(y, 5, 1e-4, 0.75)
    y = F.max_pool2d(y, 3, 2, ceil_mode=True)
    torch.testing.assert_close(network.stem(x), y, rtol=1e-4, atol=1e-4)


def test_the_first_layer_sees_bvlc_s_scale():
    network = inception_v1().eval()
    seen = []
    network.stem[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = noise_images(1)
    network(x)
    mean = torch.tensor([123.0, 117.0, 104.0]).view(1, 3, 1, 1)  # R, G, B
    torch.testing.assert_close(seen[0], x * 255 - mean, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("builder", BUILDERS)
def test_auxiliary_heads_speak_in_training_only(builder):
    network = on_meta(builder, classes=7, auxiliary=True)
    x = torch.empty(2, 3, 224, 224, device="meta")
    assert network.classify(x).auxiliary == ()
    main, auxiliary = network.train().classify(x)
    assert main.shape == (2, 7)
    assert [logits.shape for logits in auxiliary] == [(2, 7), (2, 7)]
    assert on_meta(builder).train().classify(x).auxiliary == ()


def test_the_heads_hear_the_output_of_4a_and_of_4d():
    network = inception_v1(classes=3, auxiliary=True)
    for dropout in (network.auxiliary["4a"].dropout, network.auxiliary["4d"].dropout):
        dropout.p = 0.0
    outputs = {}
    for name in ("4a", "4d"):
        network.inception[name].register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output})
        )
    said = network.classify(noise_images(1, side=224)).auxiliary
    for logits, (name, head) in zip(said, network.auxiliary.items()):
        x = F.avg_pool2d(outputs[name], 5, 3)
        x = head.convolution(x).flatten(1)
        x = head.classifier(head.hidden(x).relu())
        torch.testing.assert_close(logits, x)


@pytest.mark.parametrize("builder", BUILDERS)
def test_classify_is_the_classifier_on_the_embedding(builder):
    network = initialize_for_relu(builder(classes=5)).eval()
    x = noise_images(2)
    with torch.no_grad():
        torch.testing.assert_close(network.classify(x).main, network.classifier(network(x)))


@pytest.mark.parametrize("builder", BUILDERS)
def test_neither_batch_size_nor_order_changes_an_embedding(builder):
    network = initialize_for_relu(builder()).eval()
    check_same_in_any_batch(network, noise_images(4))


def test_images_stay_apart_on_the_way_through_an_untrained_network():
    with torch.no_grad():
        embeddings = inception_v1().eval()(noise_images(4))
    # With PyTorch's own first weights this is below 0.01.
    assert embeddings.std(0).mean() > 0.05 * embeddings.mean()


@pytest.mark.parametrize("builder", BUILDERS)
def test_the_gradient_reaches_the_first_convolution(builder):
    network = builder(classes=4)
    logits = network.classify(noise_images(4)).main
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert network.stem[0].convolution.weight.grad.norm() > 1e-6
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in network.parameters()
    )


def test_the_input_is_left_as_it_was():
    x = noise_images(1)
    before = x.clone()
    inception_v1().eval()(x)
    assert torch.equal(x, before)


def test_batch_norm_takes_the_place_of_biases_and_response_norm():
    network = inception_v1_bn()
    kinds = [type(module) for module in network.modules()]
    assert ResponseNorm not in kinds
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.Conv2d) == 57
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "layer"}, "norm is 'layer'; it must be 'response' or 'batch'"),
        ({"topology": "caffe"}, "topology is 'caffe'; it must be 'published' or 'torchvision'"),
    ],
)
def test_an_unknown_choice_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Inception(**arguments)


@pytest.mark.parametrize(
    ("channels", "factor", "expected"),
    [
        (64, 0.25, 16),
        (16, 0.25, 8),  # 4, but 8 is the least
        (208, 0.25, 56),  # 52 is half-way between 48 and 56
        (112, 0.25, 32),  # 28 between 24 and 32
        (96, 0.3, 32),  # 28.8
        (24, 0.5, 16),  # 12 between 8 and 16
        (1024, 1e-9, 8),
        (96, 2, 192),
    ],
)
def test_a_width_is_scaled_to_the_nearest_eight(channels, factor, expected):
    assert round_channels(channels, factor) == expected


def test_a_factor_of_1_leaves_every_published_width_and_more_is_never_fewer():
    for _, *widths in MODULES.values():
        assert [round_channels(width, 1) for width in widths] == widths
    grown = [round_channels(208, factor / 100) for factor in range(1, 300)]
    assert grown == sorted(grown)
    assert all(width % 8 == 0 for width in grown)


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), float("inf")])
def test_what_is_no_factor_is_refused(factor):
    with pytest.raises(ValueError, match=r"width factor is .*"):
        inception_v1(width_factor=factor)


@pytest.mark.parametrize("builder", [inception_v1, inception_v1_bn])
def test_the_same_seed_gives_the_same_published_network_with_or_without_a_factor(builder):
    torch.manual_seed(0)
    plain = builder(auxiliary=True).state_dict()
    torch.manual_seed(0)
    told = builder(auxiliary=True, width_factor=1.0).state_dict()
    assert list(plain) == list(told)
    assert all(torch.equal(plain[name], told[name]) for name in plain)


def test_the_names_in_a_state_are_those_that_files_of_weights_have():
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
def test_a_factor_scales_every_convolution_and_the_heads(builder):
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
def test_a_narrow_network_learns_in_all_of_its_parameters(builder):
    network = builder(classes=3, auxiliary=True, width_factor=0.125).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # else a unit may be silent by chance
    logits = network.classify(noise_images(4, side=224))
    labels = torch.arange(4) % 3
    loss = sum(F.cross_entropy(each, labels) for each in (logits.main, *logits.auxiliary))
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
