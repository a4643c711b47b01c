"""Embedded examples: images encoded now, cached embeddings, and what cannot be read."""

import pytest
import torch

from tests.helpers import colored_images as coloured
from tests.helpers.tiny_captioner import Tiny, alter, embedder
from tests.helpers.tiny_labeller import labeller, write_embeddings
from vl.data.errors import FormatError
from vl.data.words.label_lists import LabelList
from vl.data.words.labels import Label
from vl.encoders.table import ENCODERS
from vl.encoding.pretrained import load_encoder
from vl.labelling.examples import (
    embed_examples,
    load_embedded_examples,
    load_examples_for,
    read_examples,
)
from vl.labelling.recipe import EncoderConfig

BOTH = ("plain", "flip")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coloured.folders(tmp_path / "images", ["red", "blue"], count=3)
    coloured.weights(tmp_path / "weights")
    return tmp_path


def load(sources, **config):
    config = {"encoder": "tiny", **config}
    device = torch.device("cpu")
    return load_embedded_examples(
        sources, EncoderConfig(**config), lemmas=None, device=device, quiet=True
    )


def test_images_are_encoded_in_every_view(folder):
    embedded = load([folder / "images"], weights=folder / "weights", views=BOTH, resize="squash")
    assert embedded.vectors.shape == (6, 2, Tiny.width)
    assert (embedded.embedder.views, embedded.embedder.resize) == (BOTH, "squash")
    model = embedder(views=BOTH)
    alone = [
        embed_examples(embedded.examples.select([row]), model, quiet=True).vectors
        for row in range(6)
    ]
    assert torch.allclose(embedded.vectors, torch.cat(alone), atol=1e-5)
    assert not torch.is_inference(embedded.vectors)  # the projection is trained on them


def test_cached_embeddings_go_by_name(folder):
    model = embedder(
        encoder=load_encoder("tiny", folder / "weights"), views=BOTH, resize="center-crop"
    )
    write_embeddings(folder / "images.npy", folder / "images", model)
    (folder / "list.txt").write_text("red/2.png\tred\nblue/0.png\tblue\n")
    config = {"weights": folder / "weights", "embeddings": folder / "images.npy"}
    embedded = load([folder / "list.txt"], **config)
    assert (embedded.embedder.views, embedded.embedder.resize) == (BOTH, "center-crop")
    assert embedded.examples.names == ("red/2.png", "blue/0.png")
    examples = read_examples([folder / "images"])
    vectors = embed_examples(examples, model, quiet=True).vectors
    expected = vectors[[examples.names.index(name) for name in embedded.examples.names]]
    assert torch.allclose(embedded.vectors, expected, atol=1e-3)  # float16
    index = folder / "images.json"
    index.write_text(index.read_text().replace('"center-crop"', '"stretch"'))
    with pytest.raises(FormatError, match=r"images\.json.*stretch"):
        load([], **config)


def test_embeddings_of_another_embedder_are_refused(folder):
    model, images = embedder(views=BOTH), folder / "images"
    path = write_embeddings(folder / "a.npy", images, embedder(views=BOTH[::-1]))
    embedded = load_examples_for(model, [images], path, lemmas=None)  # a mean has no order
    assert embedded.vectors.shape == (6, 2, Tiny.width)
    coloured.folders(images, ["red"], count=1, first=9)
    with pytest.raises(ValueError, match=r"red/9\.png"):
        load_examples_for(model, [images], path, lemmas=None)
    for name, other, word in (
        ("views.npy", embedder(), "views plain"),
        ("crop.npy", embedder(views=BOTH, resize="center-crop"), "center-crop"),
        ("encoder.npy", embedder(1, views=BOTH), "encoder"),
    ):
        path = write_embeddings(folder / name, images, other)
        with pytest.raises(ValueError, match=rf"{name}.*{word}"):
            load_examples_for(model, [images], path, lemmas=None)
    with pytest.raises(ValueError, match="encoder"):
        load([], weights=folder / "weights", embeddings=folder / "encoder.npy")


def test_unreadable_images_are_reported_and_left_out(folder, capsys, caplog):
    (folder / "images/red/0.png").write_bytes(b"")
    (folder / "images/blue/1.png").write_text("no image")
    before = read_examples([folder / "images"])
    after = embed_examples(before, embedder(batch_size=2))
    assert after.examples.names == ("blue/0.png", "blue/2.png", "red/1.png", "red/2.png")
    assert (after.examples.targets, after.examples.labels) == ((0, 0, 1, 1), before.labels)
    assert (after.vectors.shape, after.failed) == ((4, 1, Tiny.width), 2)
    assert "2 of 6" in caplog.text
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("images/")[1][:10] for line in lines[:2]] == ["blue/1.png", "red/0.png:"]
    for path in (folder / "images").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 6"):
        embed_examples(before, embedder(), quiet=True)


def test_held_out_images_go_with_their_vectors(folder, caplog):
    caplog.set_level("INFO")
    before = load([folder / "images"], weights=folder / "weights")
    rest = before.without(LabelList((Label("Red"), Label("zebra")), ("a note",)))
    assert rest.examples.labels == (Label("blue"),)
    assert torch.equal(rest.vectors, before.vectors[:3])
    assert "3 images of 1 labels; 2 are listed" in caplog.text
    assert "a note" in caplog.text


def test_labeller_with_changed_encoder_is_refused(folder):
    labeller().save(folder / "labeller")
    alter(folder / "labeller", lambda c, t: t["encoder.mean"].add_(1))
    with pytest.raises(FormatError, match="weights"):
        load([folder / "images"], weights=folder / "labeller")
