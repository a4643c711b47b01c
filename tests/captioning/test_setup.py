"""What a training starts from: cached embeddings, or images and the part of the encoder used."""

import pytest
import torch

from tests.helpers.tiny_captioner import WORDS, Tiny, drawings, embedder, encoder
from vl.captioning.setup import CaptionSplits, setup_on_embeddings, setup_on_images
from vl.data.captions.captions import CaptionedImage
from vl.data.captions.vocabulary import Vocabulary
from vl.data.embedding_writer import EmbeddingWriter
from vl.data.embeddings import Provenance
from vl.encoders.weights import fingerprint


def splits_of(training, development):
    training, development = (
        [
            CaptionedImage(image_id=name, file_name=name, captions=("a ball",), split="")
            for name in names
        ]
        for names in (training, development)
    )
    return CaptionSplits(training, development, Vocabulary(WORDS))


def on_images(tmp_path, **changes):
    paths = drawings(tmp_path, 4)
    splits = splits_of([path.name for path in paths[:3]], [paths[3].name])
    settings = {"views": ("plain", "flip"), "resize": "center-crop", **changes}
    return setup_on_images(tmp_path, splits, embedder(**settings))


def test_only_parameters_that_the_embedding_depends_on_are_trained(tmp_path):
    """DistributedDataParallel would wait forever for the gradients of the others."""
    setup = on_images(tmp_path, encoder=encoder().requires_grad_(False))
    parameters = dict(setup.embedder.encoder.named_parameters())
    trained = {name for name, parameter in parameters.items() if parameter.requires_grad}
    assert trained == {"body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"}
    setup.embedder.encoder(setup.source(torch.tensor([0]), torch.tensor([0]))).sum().backward()
    assert {name for name, p in parameters.items() if p.grad is not None} == trained


def test_validation_uses_the_encoder_in_training(tmp_path):
    setup = on_images(tmp_path)
    vectors = setup.development(encoder(5))
    expected = embedder(5, views=("plain", "flip"), resize="center-crop")([tmp_path / "3.png"])
    assert torch.allclose(vectors, expected.mean(1))


def test_counts_missing_images(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"2 images are missing, the first .*x\.png"):
        setup_on_images(tmp_path, splits_of(["x.png"], ["y.png"]), embedder())


def test_embeddings_give_embedder_images_and_standardization(tmp_path):
    path, vectors = tmp_path / "images.npy", torch.randn(3, 2, Tiny.width).half()
    provenance = Provenance(
        encoder="tiny",
        fingerprint=fingerprint(encoder()),
        resize="center-crop",
        precision="float32",
        views=("plain", "flip"),
        width=Tiny.width,
    )
    writer = EmbeddingWriter(path, provenance)
    writer.add(["a.jpg", "b.jpg", "c.jpg"], vectors)
    writer.finish()

    calls = []
    setup = setup_on_embeddings(
        path,
        splits_of(["c.jpg", "a.jpg"], ["b.jpg"]),
        embedder(),
        standardize=calls.append,
    )
    assert (setup.embedder.views, setup.embedder.resize) == (("plain", "flip"), "center-crop")
    source = setup.source(torch.tensor([0, 1]), torch.tensor([1, 2]))
    assert torch.equal(source, torch.stack([vectors[2, 1], vectors[0, 0]]).float())
    development = setup.development(None)
    assert torch.equal(development, vectors[1:2].float().mean(1))
    assert torch.equal(calls[0], vectors[[2, 0]].float().flatten(0, 1))
