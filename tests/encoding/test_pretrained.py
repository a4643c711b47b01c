"""Encoders from the files of captioners and labellers; damaged files."""

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.tiny_captioner import Tiny, alter, captioner, decoder, encoder
from tests.helpers.tiny_labeller import labeller
from vl.captioning.captioner import Captioner
from vl.data.errors import FormatError
from vl.decoders.devise import Devise
from vl.encoders import table
from vl.encoders.table import ENCODERS, configuration
from vl.encoders.weights import fingerprint
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import check_fingerprint, drop_auxiliary, load_encoder
from vl.labelling.labeller import Labeller

NARROW = {"classes": 3, "width_factor": 0.25, "auxiliary": True}
WIDTH = 256  # a quarter of 1024


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    monkeypatch.setitem(ENCODERS, "other", Tiny)


@pytest.fixture
def bundled(tmp_path):
    path = tmp_path / "captioner.safetensors"
    captioner().save(path)
    return path


def test_loads_the_encoder_of_a_captioner(bundled):
    built = load_encoder("tiny", bundled)
    assert fingerprint(built) == fingerprint(encoder())
    check_fingerprint(built, fingerprint(encoder()), made=bundled)


def test_loads_the_encoder_of_a_labeller(tmp_path):
    path = tmp_path / "labeller.safetensors"
    labeller().save(path)
    built = load_encoder("tiny", path)
    assert fingerprint(built) == fingerprint(labeller().embedder.encoder)
    with pytest.raises(FormatError, match=r"labeller\.safetensors: .*'tiny', not"):
        load_encoder("other", path)
    alter(path, lambda c, t: t["encoder.body.0.bias"].add_(1))
    with pytest.raises(FormatError, match="fingerprint"):
        load_encoder("tiny", path)


def test_what_is_initialized_next_does_not_depend_on_the_kind_of_file(tmp_path):
    path = tmp_path / "captioner.safetensors"
    torch.manual_seed(0)
    table.create_encoder("inception_v1", NARROW | {"auxiliary": False})
    expected = torch.rand(3)
    built = table.create_encoder("inception_v1", NARROW)
    captioner(encoder=built, encoder_name="inception_v1", decoders=[decoder(width=WIDTH)]).save(
        path
    )
    torch.manual_seed(0)
    load_encoder("inception_v1", path)
    assert torch.equal(torch.rand(3), expected)


def test_captioner_stores_options_of_its_encoder(tmp_path):
    built = table.create_encoder("inception_v1", NARROW)
    path = tmp_path / "captioner.safetensors"
    made = captioner(encoder=built, encoder_name="inception_v1", decoders=[decoder(width=WIDTH)])
    made.save(path)
    check_equal(Captioner.load(path).embedder.encoder, built, path)
    alter(path, lambda c, t: c["embedder"]["encoder"].update(configuration={}))
    with pytest.raises(FormatError, match=r"tensor encoder\..*: expected float32 of shape \(1000"):
        Captioner.load(path)


def test_labeller_stores_options_of_its_encoder(tmp_path):
    built = table.create_encoder("inception_v1", NARROW)
    path = tmp_path / "labeller.safetensors"
    tiny_labeller = labeller()
    made = Labeller(
        Embedder(built, encoder_name="inception_v1"),
        {"devise": Devise(image_width=WIDTH, width=tiny_labeller.space.width)},
        tiny_labeller.space,
        seen=tiny_labeller.seen,
    )
    made.save(path)
    check_equal(Labeller.load(path).embedder.encoder, built, path)


def check_equal(loaded, built, path):
    assert configuration(loaded) == {**NARROW, "auxiliary": False}
    again = load_encoder("inception_v1", path)
    assert fingerprint(again) == fingerprint(loaded)
    pixels = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        expected = built.eval().classify(pixels).main
        torch.testing.assert_close(again.eval().classify(pixels).main, expected)
        torch.testing.assert_close(loaded.classify(pixels).main, expected)


def test_drop_auxiliary_without_heads():
    built = encoder()
    assert drop_auxiliary("tiny", built) is built


def test_drop_auxiliary_shares_weights():
    built = table.create_encoder("inception_v3", {"classes": 2, "auxiliary": True}).train()
    bare = drop_auxiliary("inception_v3", built)
    assert bare.training
    assert configuration(bare) == {"classes": 2, "auxiliary": False}
    assert configuration(built) == {"classes": 2, "auxiliary": True}
    assert bare.classifier.weight.data_ptr() == built.classifier.weight.data_ptr()
    assert all(each.requires_grad for each in bare.parameters())


def test_refuses_other_names(bundled):
    with pytest.raises(FormatError, match=r"captioner\.safetensors: .*'tiny', not"):
        load_encoder("other", bundled)
    with pytest.raises(ValueError, match="no encoder 'tinny'; close to it are tiny"):
        load_encoder("tinny", bundled)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: t["encoder.mean"].add_(1), "fingerprint"),
        (lambda c, t: t.pop("encoder.mean"), r"tensor encoder\.mean: missing"),
        (lambda c, t: t["encoder.mean"].fill_(torch.nan), "not finite"),
        (lambda c, t: c["embedder"]["encoder"].update(name="gone"), "unknown encoder 'gone'"),
        (lambda c, t: c.update(kind="thing"), "of kind 'thing'; expected 'captioner' or"),
    ],
)
def test_refuses_damaged_captioners(bundled, change, message):
    alter(bundled, change)
    with pytest.raises(FormatError, match=message):
        load_encoder("tiny", bundled)


def test_refuses_other_files(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x80\x04K*.")  # a pickle
    with pytest.raises(FormatError, match="damaged or contains more"):
        load_encoder("tiny", path)
    save_file({"conv1/7x7_s2.weight": torch.zeros(1)}, path)
    with pytest.raises(FormatError, match=r"weights\.safetensors: .*read for tiny"):
        load_encoder("tiny", path)
    with pytest.raises(FormatError, match="blob"):
        load_encoder("inception_v1", path)
    with pytest.raises(FileNotFoundError):
        load_encoder("tiny", tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        load_encoder("tiny", tmp_path)


def test_refuses_encoders_without_published_weights():
    with pytest.raises(ValueError, match="no weights are published for inception_v1: give"):
        load_encoder("inception_v1", None)


def test_refuses_files_of_other_encoders(tmp_path):
    actual = fingerprint(encoder(1))
    with pytest.raises(ValueError, match=rf"x\.npy was made by an encoder abc, these .* {actual}"):
        check_fingerprint(encoder(1), "abc", made=tmp_path / "x.npy")
