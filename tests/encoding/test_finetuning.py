"""Fine-tuning's ladder: what is borrowed, what is trained, and the last layer that is solved."""

import pytest
import torch
from torch import nn

from tests.helpers import colored_images as coloured
from tests.helpers.tiny_captioner import Tiny, captioner
from tests.helpers.tiny_captioner import encoder as tiny_encoder
from vl.data.errors import FormatError
from vl.data.images.augmentation import CenterCrop
from vl.data.labelled.dataset import open_dataset
from vl.data.labelled.loader import ImageBatches
from vl.encoders.table import ENCODERS, OPTIONS, create_encoder, on_meta
from vl.encoders.weights import fingerprint
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.embedder import Embedder
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.finetuning import (
    blocks_of,
    fit_last_layer,
    load_pretrained,
    unfreeze,
    with_classes,
)

NARROW = {"width_factor": 0.125}
COLOURS = ("black", "blue", "green", "white")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = coloured.folders(tmp_path_factory.mktemp("photos"), COLOURS, count=6)
    return open_dataset(folder)


def built(name, classes=3, **choices):
    if "width_factor" in OPTIONS.get(name, ()):
        choices = {**NARROW, **choices}
    with on_meta():
        return create_encoder(name, classes=classes, **choices)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("inception_v1", {"auxiliary": True, **NARROW}),
        ("bn_inception", {"auxiliary": True, **NARROW}),
        ("lenet5", {}),
        ("shufflenet_v2_x0_5", {}),
    ],
)
def test_new_classes_leave_all_but_the_classifier_bit_for_bit(name, choices):
    borrowed = create_encoder(name, classes=3, **choices)
    before = {key: value.clone() for key, value in borrowed.state_dict().items()}
    made = with_classes(name, borrowed, 5)
    assert made.classifier.out_features == 5
    held = made.state_dict()
    bare = {key for key in before if not key.startswith("auxiliary.")}
    assert set(held) == bare
    for key in bare:
        if not key.startswith("classifier."):
            assert torch.equal(held[key], before[key]), key
    for key, value in borrowed.state_dict().items():
        assert torch.equal(value, before[key]), key  # nor written into
    with torch.no_grad():
        next(made.parameters()).add_(1)
    assert torch.equal(
        next(borrowed.parameters()), before[next(iter(dict(borrowed.named_parameters())))]
    )


def test_an_embedding_alone_gets_a_classifier():
    borrowed = create_encoder("shufflenet_v2_x0_5")
    made = with_classes("shufflenet_v2_x0_5", borrowed, 4)
    assert made.classifier.out_features == 4
    assert torch.equal(made.body.conv1[0].weight, borrowed.body.conv1[0].weight)


# The paper's modules and the stem; layers with numbers in them, counted by hand.
BLOCKS = {
    "inception_v1": 10,
    "inception_v1_bn": 10,
    "inception_v1_torchvision": 10,
    "bn_inception": 11,
    "inception_v3": 16,  # five convolutions and eleven modules
    "lenet5": 6,  # C1 to F6
    "resnet50": 18,  # a convolution, its norm, 3 + 4 + 6 + 3 bottlenecks
    "alexnet": 7,  # five convolutions, two hidden layers
}


@pytest.mark.parametrize("name", [*OPTIONS, "resnet50", "alexnet"])
def test_blocks_are_all_of_an_encoder_but_its_classifiers(name):
    auxiliary = "auxiliary" in OPTIONS.get(name, ())
    network = built(name, **({"auxiliary": True} if auxiliary else {}))
    blocks = blocks_of(network)
    assert len(blocks) == BLOCKS[name]
    inside = [id(each) for block in blocks for each in block.parameters()]
    heads = [
        id(each)
        for key, each in network.named_parameters()
        if key.startswith(("classifier.", "auxiliary.", "body.AuxLogits."))
    ]
    assert len(inside) == len(set(inside))  # each once
    assert set(inside) | set(heads) == {id(each) for each in network.parameters()}
    assert not set(inside) & set(heads)


def test_blocks_come_from_the_first_to_the_last():
    network = built("lenet5")
    assert blocks_of(network) == [
        *(network.c1, network.s2, network.c3, network.s4, network.c5, network.f6)
    ]
    network = built("alexnet")
    assert blocks_of(network)[0] is network.body.features[0]
    assert blocks_of(network)[-1] is network.body.classifier[4]
    network = built("inception_v1")
    assert blocks_of(network)[-2:] == [network.inception["5a"], network.inception["5b"]]


def freed(network):
    return {key.partition(".")[0] for key, each in network.named_parameters() if each.requires_grad}


def test_each_rung_frees_just_what_it_says():
    network = built("lenet5")
    unfreeze(network, "last", blocks=2)
    assert freed(network) == {"classifier"}
    unfreeze(network, "blocks", blocks=2)
    assert freed(network) == {"c5", "f6", "classifier"}
    unfreeze(network, "all", blocks=2)
    assert all(each.requires_grad for each in network.parameters())
    unfreeze(network, "blocks", blocks=1)  # and binds again what was free
    assert freed(network) == {"f6", "classifier"}
    unfreeze(network, "blocks", blocks=6)
    assert all(each.requires_grad for each in network.parameters())


@pytest.mark.parametrize("blocks", [0, 7])
def test_there_must_be_so_many_blocks(blocks):
    with pytest.raises(ValueError, match=rf"blocks is {blocks}; this encoder has 6"):
        unfreeze(built("lenet5"), "blocks", blocks=blocks)


def solved(network, photos, **choices):
    views = choices.pop("views", ("plain",))
    fit_last_layer(
        Embedder(network, encoder_name="lenet5", views=views), photos, quiet=True, **choices
    )


def test_the_solved_layer_has_no_slope(photos):
    """Its loss, decay included, is least where the gradient is zero."""
    network = create_encoder("lenet5", classes=len(COLOURS))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    solved(network, photos, decays=[0.01])
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]) == (not key.startswith("classifier.")), key
    (batch,) = ImageBatches(photos, CenterCrop(32, "squash"), batch_size=99).epoch(0)
    with torch.no_grad():
        images = network(batch.images / 255)
    scale = (images - images.mean(0)).square().mean().sqrt()
    weight = network.classifier.weight.detach().requires_grad_()
    logits = images @ weight.T + network.classifier.bias.detach()
    loss = nn.functional.cross_entropy(logits, batch.labels)
    assert (logits.argmax(1) == batch.labels).all()
    loss = loss + 0.01 / 2 * (weight * scale).square().sum()
    (slope,) = torch.autograd.grad(loss, weight)
    assert slope.abs().max() / scale < 1e-3


def test_views_are_rows_of_their_own(photos):
    one, other = (create_encoder("lenet5", classes=len(COLOURS)) for _ in range(2))
    other.load_state_dict(one.state_dict())
    solved(one, photos, decays=[0.01])
    solved(other, photos, decays=[0.01], views=("plain", "top-left"))
    assert not torch.allclose(one.classifier.weight, other.classifier.weight)


@pytest.mark.slow
def test_the_decay_is_chosen_by_folds_and_the_seed(photos):
    network = create_encoder("lenet5", classes=len(COLOURS))
    weights = []
    for _ in range(2):
        solved(network, photos, seed=3)
        weights.append(network.classifier.weight.detach().clone())
    assert torch.equal(*weights)


def saved(path, name="tiny", network=None, classes=("a", "b", "c", "d", "e")):
    network = network or tiny_encoder()
    encoder_bundle.save(path, TrainedEncoder(network, name, classes, {}))
    return path


def test_an_encoder_s_bundle_brings_its_name_and_its_classes(tmp_path):
    path = saved(tmp_path / "x.safetensors")
    for name in (None, "tiny"):
        found, borrowed, classes = load_pretrained(path, name)
        assert (found, classes) == ("tiny", ("a", "b", "c", "d", "e"))
        assert fingerprint(borrowed) == fingerprint(tiny_encoder())


def test_a_captioner_lends_its_encoder(tmp_path):
    captioner().save(tmp_path / "captioner")
    found, borrowed, classes = load_pretrained(tmp_path / "captioner", None)
    assert (found, classes) == ("tiny", ())
    assert fingerprint(borrowed) == fingerprint(tiny_encoder())


def test_what_cannot_be_borrowed_is_refused(tmp_path):
    path = saved(tmp_path / "x.safetensors")
    with pytest.raises(FormatError, match=r"x\.safetensors: .*'tiny', not 'lenet5'"):
        load_pretrained(path, "lenet5")
    with pytest.raises(IsADirectoryError):
        load_pretrained(tmp_path, None)
    with pytest.raises(FileNotFoundError):
        load_pretrained(tmp_path / "nothing", None)
    (tmp_path / "text").write_text("some text")
    with pytest.raises(FormatError, match="not a safetensors file"):
        load_pretrained(tmp_path / "text", None)
