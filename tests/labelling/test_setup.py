"""What is trained on what: photographs, embeddings, and an encoder made ready to be trained."""

import pytest
import torch

from tests.helpers import coloured_pictures as coloured
from tests.helpers.tiny_captioner import Tiny, alter, embedder, encoder
from tests.helpers.tiny_labeller import labeller
from vl.__main__ import main
from vl.data.errors import FormatError
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint
from vl.labelling.examples import read_examples
from vl.labelling.setup import encoded, from_labeller, on_embeddings, on_photographs

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coloured.folders(tmp_path / "photos", ["red", "blue"], count=3)
    coloured.weights(tmp_path / "weights")
    return tmp_path


def test_photographs_are_encoded_in_every_view(place):
    phase = on_photographs(
        [place / "photos"],
        encoder="tiny",
        weights=place / "weights",
        names=None,
        views=("plain", "flip"),
        resize="squash",
        device=CPU,
        quiet=True,
    )
    assert phase.vectors.shape == (6, 2, Tiny.width)
    assert (phase.embedder.encoder_name, phase.embedder.views, phase.embedder.resize) == (
        "tiny",
        ("plain", "flip"),
        "squash",
    )
    plain = embedder(views=("plain", "flip"))
    alone = [encoded(phase.examples.rows([row]), plain, quiet=True)[1] for row in range(6)]
    assert torch.allclose(phase.vectors, torch.cat(alone), atol=1e-5)
    assert not torch.is_inference(phase.vectors)  # the map is trained on them


def test_embeddings_come_by_name(place):
    flags = ["--weights", "weights", "--encoder", "tiny", "--views", "plain", "flip"]
    assert main(["embed", "photos", "--out", "photos.npy", "--resize", "center-crop", *flags]) == 0
    (place / "list.txt").write_text("red/2.png\tred\nblue/0.png\tblue\n")
    phase = on_embeddings(
        [place / "list.txt"],
        place / "photos.npy",
        encoder="tiny",
        weights=place / "weights",
        names=None,
    )
    assert (phase.embedder.views, phase.embedder.resize) == (("plain", "flip"), "center-crop")
    assert phase.examples.names == ("red/2.png", "blue/0.png")
    photographs = read_examples([place / "photos"])
    cropping = embedder(views=("plain", "flip"), resize="center-crop")
    _, vectors = encoded(photographs, cropping, quiet=True)
    expected = vectors[[photographs.names.index(name) for name in phase.examples.names]]
    assert torch.allclose(phase.vectors, expected, atol=1e-3)  # float16
    index = place / "photos.json"
    index.write_text(index.read_text().replace('"center-crop"', '"stretch"'))
    with pytest.raises(FormatError, match=r"photos\.json: resize is 'stretch'"):
        on_embeddings([], place / "photos.npy", encoder="tiny", weights=None, names=None)


def test_photographs_that_cannot_be_read_are_said_and_left_out(place, capsys, caplog):
    (place / "photos/red/0.png").write_bytes(b"")
    (place / "photos/blue/1.png").write_text("no photograph")
    before = read_examples([place / "photos"])
    after, vectors = encoded(before, embedder(batch_size=2))
    assert after.names == ("blue/0.png", "blue/2.png", "red/1.png", "red/2.png")
    assert (after.of, after.labels) == ((0, 0, 1, 1), before.labels)
    assert vectors.shape == (4, 1, Tiny.width)
    assert "2 of 6 photographs are left out" in caplog.text
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("photos/")[1][:10] for line in lines[:2]] == ["blue/1.png", "red/0.png:"]
    for path in (place / "photos").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 6 photographs can be read"):
        encoded(before, embedder(), quiet=True)


def test_a_labeller_s_encoder_is_made_ready_to_be_trained(place):
    given = labeller(views=("plain", "flip"), resize="center-crop")
    phase = from_labeller([place / "photos"], given, names=None, quiet=True)
    assert (phase.embedder.views, phase.embedder.resize, phase.embedder.encoder_name) == (
        ("plain", "flip"),
        "center-crop",
        "tiny",
    )
    assert phase.embedder.encoder is given.embedder.encoder
    ready = {name for name, each in phase.embedder.encoder.named_parameters() if each.requires_grad}
    assert ready == {"body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"}


def test_a_labeller_whose_encoder_was_changed_is_refused(place):
    labeller().save(place / "labeller")
    alter(place / "labeller", lambda c, t: t["encoder.mean"].add_(1))
    with pytest.raises(FormatError, match="weights are not those it was made with"):
        on_photographs(
            [place / "photos"],
            encoder="tiny",
            weights=place / "labeller",
            names=None,
            views=("plain",),
            resize="center-crop",
            device=CPU,
        )
    assert fingerprint(labeller().embedder.encoder) == fingerprint(encoder())
