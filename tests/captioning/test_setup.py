"""What each phase trains: the decoder alone, or the encoder as far as its answer depends on it."""

import json

import pytest
import torch

from tests.helpers.tiny_captioner import Tiny, captioner, decoder, drawings, embedder, encoder
from vl.captioning.setup import Names, on_embeddings, on_photographs
from vl.captioning.training import CaptionerTask
from vl.data.embeddings import EmbeddingWriter, Provenance
from vl.data.errors import FormatError
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint

CPU = torch.device("cpu")


def phase(tmp_path, **changes):
    paths = drawings(tmp_path, 4)
    names = Names([path.name for path in paths[:3]], [paths[3].name])
    choices = {
        "embedder": embedder(views=("plain", "flip"), resize="center-crop"),
        "decoder": decoder(),
        **changes,
    }
    return on_photographs(tmp_path, names, **choices)


def test_what_the_answer_does_not_depend_on_is_not_trained(tmp_path):
    """DistributedDataParallel would wait for its gradient for ever."""
    frozen = encoder().requires_grad_(False)
    made = phase(tmp_path, embedder=embedder(encoder=frozen))
    trained = {
        name for name, each in made.embedder.encoder.named_parameters() if each.requires_grad
    }
    assert trained == {"body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"}
    made.embedder.encoder(made.source(torch.tensor([0]), torch.tensor([0]))).sum().backward()
    for name, each in made.embedder.encoder.named_parameters():
        assert (each.grad is not None) == (name in trained)


def test_it_is_judged_by_the_encoder_in_training(tmp_path):
    made = phase(tmp_path)
    other = CaptionerTask(made.decoder, encoder(5))
    found = made.development(other)
    (part,) = embedder(5, views=("plain", "flip"), resize="center-crop").stream(
        [tmp_path / "3.png"]
    )
    assert torch.allclose(found, part.vectors.mean(1))


def test_photographs_that_are_not_there_are_counted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"2 photographs are missing, the first .*x\.png"):
        on_photographs(
            tmp_path,
            Names(["x.png"], ["y.png"]),
            embedder=embedder(),
            decoder=decoder(),
        )


def test_embeddings_of_a_fit_that_there_is_not_are_refused(tmp_path, monkeypatch):
    """Not taken for one that there is."""
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    captioner().save(tmp_path / "weights")
    made = Provenance(
        encoder="tiny",
        fingerprint=fingerprint(encoder()),
        resize="squash",
        precision="float32",
        views=("plain",),
        width=Tiny.width,
    )
    writer = EmbeddingWriter(tmp_path / "made.npy", made)
    writer.add(["a.jpg", "b.jpg"], torch.randn(2, 1, Tiny.width))
    writer.finish()

    def begun():
        return on_embeddings(
            tmp_path / "made.npy",
            Names(["a.jpg"], ["b.jpg"]),
            encoder="tiny",
            weights=tmp_path / "weights",
            decoder=lambda width: decoder(width=width),
            shown="raw",
            device=CPU,
        )

    assert begun().embedder.resize == "squash"
    index = tmp_path / "made.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "resize": "stretch"}))
    with pytest.raises(FormatError, match=r"made\.json: resize is 'stretch'"):
        begun()
