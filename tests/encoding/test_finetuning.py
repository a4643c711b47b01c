"""Fine-tuning: pretrained encoders, unfrozen blocks, and the fitted last layer."""

import pytest
import torch
from torch import nn

from tests.helpers import colored_images
from tests.helpers.tiny_captioner import Tiny, captioner
from tests.helpers.tiny_captioner import encoder as tiny_encoder
from vl.data.errors import FormatError
from vl.data.images.augmentation import CenterCrop
from vl.data.labelled.dataset import open_dataset
from vl.data.labelled.loader import ImageBatches
from vl.encoders.table import ENCODERS, OPTIONS, create_encoder, on_meta
from vl.encoders.weights import fingerprint
from vl.encoding import encoder_file
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
COLORS = ("black", "blue", "green", "white")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = colored_images.folders(tmp_path_factory.mktemp("photos"), COLORS, count=6)
    return open_dataset(folder)


def meta_encoder(name, classes=3, **options):
    if "width_factor" in OPTIONS.get(name, ()):
        options = {**NARROW, **options}
    with on_meta():
        return create_encoder(name, {"classes": classes, **options})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("inception_v1", {"classes": 3, "auxiliary": True, **NARROW}),
        ("bn_inception", {"classes": 3, "auxiliary": True, **NARROW}),
        ("lenet5", {"classes": 3}),
        ("shufflenet_v2_x0_5", {}),
    ],
)
def test_with_classes_copies_all_but_the_classifier(name, options):
    pretrained = create_encoder(name, options)
    before = {key: value.clone() for key, value in pretrained.state_dict().items()}
    copy = with_classes(name, pretrained, 5)
    assert copy.classifier.out_features == 5
    heads = ("classifier.", "auxiliary.")
    shared = {key for key in before if not key.startswith(heads)}
    assert {key for key in copy.state_dict() if not key.startswith(heads)} == shared
    for key in shared:
        assert torch.equal(copy.state_dict()[key], before[key]), key
    with torch.no_grad():
        next(copy.parameters()).add_(1)
    for key, value in pretrained.state_dict().items():
        assert torch.equal(value, before[key]), key


# The paper's modules and the stem; of others the layers with parameters, counted by hand.
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
def test_blocks_are_all_but_the_classifiers(name):
    auxiliary = "auxiliary" in OPTIONS.get(name, ())
    network = meta_encoder(name, **({"auxiliary": True} if auxiliary else {}))
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


def test_blocks_are_ordered_from_input_to_output():
    network = meta_encoder("lenet5")
    assert blocks_of(network) == [
        *(network.c1, network.s2, network.c3, network.s4, network.c5, network.f6)
    ]
    network = meta_encoder("alexnet")
    assert blocks_of(network)[0] is network.body.features[0]
    assert blocks_of(network)[-1] is network.body.classifier[4]
    network = meta_encoder("inception_v1")
    assert blocks_of(network)[-2:] == [network.inception["5a"], network.inception["5b"]]


def unfrozen(network):
    return {key.partition(".")[0] for key, each in network.named_parameters() if each.requires_grad}


def test_unfreeze_depths():
    network = meta_encoder("lenet5")
    unfreeze(network, "last", blocks=2)
    assert unfrozen(network) == {"classifier"}
    unfreeze(network, "blocks", blocks=2)
    assert unfrozen(network) == {"c5", "f6", "classifier"}
    unfreeze(network, "all", blocks=2)
    assert all(each.requires_grad for each in network.parameters())
    unfreeze(network, "blocks", blocks=1)  # freezes the others again
    assert unfrozen(network) == {"f6", "classifier"}
    unfreeze(network, "blocks", blocks=6)
    assert all(each.requires_grad for each in network.parameters())


@pytest.mark.parametrize("blocks", [0, 7])
def test_refuses_counts_of_blocks_that_there_are_not(blocks):
    with pytest.raises(ValueError, match=rf"blocks is {blocks}; this encoder has 6"):
        unfreeze(meta_encoder("lenet5"), "blocks", blocks=blocks)


def fit(network, photos, **options):
    views = options.pop("views", ("plain",))
    fit_last_layer(
        Embedder(network, encoder_name="lenet5", views=views), photos, quiet=True, **options
    )


def test_fitted_layer_has_zero_gradient(photos):
    """Of the cross-entropy plus the weight penalty."""
    network = create_encoder("lenet5", {"classes": len(COLORS)})
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fit(network, photos, decays=[0.01])
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
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.abs().max() / scale < 1e-3


def test_each_view_is_an_example(photos):
    one, other = (create_encoder("lenet5", {"classes": len(COLORS)}) for _ in range(2))
    other.load_state_dict(one.state_dict())
    fit(one, photos, decays=[0.01])
    fit(other, photos, decays=[0.01], views=("plain", "top-left"))
    assert not torch.allclose(one.classifier.weight, other.classifier.weight)


@pytest.mark.slow
def test_decay_is_chosen_reproducibly(photos):
    network = create_encoder("lenet5", {"classes": len(COLORS)})
    weights = []
    for _ in range(2):
        fit(network, photos, seed=3)
        weights.append(network.classifier.weight.detach().clone())
    assert torch.equal(*weights)


def save(path, name="tiny", network=None, classes=("a", "b", "c", "d", "e")):
    network = network or tiny_encoder()
    encoder_file.save(path, TrainedEncoder(network, name, classes, {}))
    return path


def test_pretrained_encoder_has_its_name_and_classes(tmp_path):
    path = save(tmp_path / "x.safetensors")
    for name in (None, "tiny"):
        loaded = load_pretrained(path, name)
        assert (loaded.name, loaded.classes) == ("tiny", ("a", "b", "c", "d", "e"))
        assert fingerprint(loaded.encoder) == fingerprint(tiny_encoder())


def test_pretrained_encoder_of_a_captioner(tmp_path):
    captioner().save(tmp_path / "captioner")
    loaded = load_pretrained(tmp_path / "captioner", None)
    assert (loaded.name, loaded.classes) == ("tiny", ())
    assert fingerprint(loaded.encoder) == fingerprint(tiny_encoder())


def test_refuses_files_without_an_encoder(tmp_path):
    path = save(tmp_path / "x.safetensors")
    with pytest.raises(FormatError, match=r"x\.safetensors: .*'tiny', not 'lenet5'"):
        load_pretrained(path, "lenet5")
    with pytest.raises(IsADirectoryError):
        load_pretrained(tmp_path, None)
    with pytest.raises(FileNotFoundError):
        load_pretrained(tmp_path / "nothing", None)
    (tmp_path / "text").write_text("some text")
    with pytest.raises(FormatError, match="not a safetensors"):
        load_pretrained(tmp_path / "text", None)
