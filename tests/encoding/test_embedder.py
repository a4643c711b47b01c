"""Images to embeddings: order, failures, views, engines, files."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.encoding.test_openvino import needs_openvino
from tests.helpers.tiny_captioner import Tiny, alter, captioner, drawings, embedder, encoder
from vl import bundle
from vl.data.errors import FormatError
from vl.data.images.decode import decode, square
from vl.encoders.inception import Inception
from vl.encoders.table import ENCODERS
from vl.encoding import encoder_file
from vl.encoding.embedder import Embedder, image_file_source
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.views import VIEWS


class Pixels(nn.Module):
    """An encoder whose embedding is its image."""

    image_size = 16
    width = 3 * 16 * 16

    def forward(self, pixels):
        return pixels.flatten(1)


def coordinates(side=16):
    """An image whose red is the vertical and green the horizontal position, ``(3, S, S)``."""
    ticks = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([y, x, torch.zeros(side, side)])


def stream_all(embedder, sources):
    return torch.cat([batch.vectors for batch in embedder.stream(sources)])


def test_streams_in_order_and_reports_failures(tmp_path):
    paths = drawings(tmp_path, 7)
    bad, missing = tmp_path / "bad.png", tmp_path / "missing.png"
    bad.write_bytes(paths[0].read_bytes()[:60])
    tiny = embedder(batch_size=2)
    batches = list(tiny.stream([*paths[:2], bad, *paths[2:5], missing, *paths[5:]]))
    assert [batch.indices for batch in batches] == [[0, 1], [3], [4, 5], [7], [8]]
    failures = dict(failure for batch in batches for failure in batch.failures)
    assert list(failures) == [2, 6]
    assert isinstance(failures[2], FormatError)
    assert "bad.png" in str(failures[2])
    assert isinstance(failures[6], FileNotFoundError)
    vectors = torch.cat([batch.vectors for batch in batches])
    assert vectors.shape == (7, 1, Tiny.width)
    assert torch.allclose(vectors, tiny(paths), atol=1e-6)


def test_streams_bytes_and_batches_without_images(tmp_path):
    paths = drawings(tmp_path, 3)
    contents = (path.read_bytes() for path in paths)
    assert torch.equal(stream_all(embedder(), paths), stream_all(embedder(), contents))
    paths[0].write_bytes(b"")
    (batch,) = embedder(views=("plain", "flip")).stream(paths[:1])
    assert (batch.indices, batch.vectors.shape) == ([], (0, 2, Tiny.width))
    assert len(batch.failures) == 1
    assert list(embedder().stream([])) == []


def test_batch_size_changes_no_embedding(tmp_path):
    paths = drawings(tmp_path, 6)
    expected = stream_all(embedder(batch_size=6), paths)
    for size in (1, 4, 50):
        assert torch.allclose(stream_all(embedder(batch_size=size), paths), expected, atol=1e-6)


def test_compiled_encoder_gets_full_batches(tmp_path, monkeypatch):
    sizes = []

    def compiled(module, options):
        return lambda pixels: sizes.append(len(pixels)) or module(pixels)

    monkeypatch.setattr(torch, "compile", compiled)
    paths = drawings(tmp_path, 5)
    fast = embedder(batch_size=4, views=("plain", "flip"))
    fast.compile()
    vectors = stream_all(fast, paths)
    assert sizes == [4, 4, 4, 4]
    assert torch.allclose(vectors, stream_all(embedder(views=("plain", "flip")), paths), atol=1e-6)


@pytest.mark.parametrize("early", [True, False])
def test_without_a_compiler_it_runs_uncompiled(monkeypatch, caplog, early):
    def compiled(module, options):
        def run(pixels):
            raise OSError("no C++ compiler\nand forty lines more")

        if early:
            raise RuntimeError("no C++ compiler\nand forty lines more")
        return run

    monkeypatch.setattr(torch, "compile", compiled)
    squares = torch.rand(3, 3, 16, 16)
    tiny = embedder(batch_size=8)
    with caplog.at_level(logging.WARNING):
        tiny.compile()
        vectors = [tiny.encode(squares) for _ in range(2)]
    expected = embedder().encode(squares)
    assert all(torch.allclose(each, expected, atol=1e-6) for each in vectors)
    (message,) = caplog.messages
    assert message.endswith("no C++ compiler")


@needs_openvino
def test_openvino_gives_the_embeddings_of_pytorch(tmp_path):
    paths = drawings(tmp_path, 5)
    network = Inception(classes=3, width_factor=0.125)
    network.image_size = 64
    settings = {"encoder": network, "encoder_name": "inception_v1", "batch_size": 4}
    fast = embedder(**settings)
    assert fast.use_openvino()
    expected = stream_all(embedder(**settings), paths)
    error = (stream_all(fast, paths) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


def test_without_openvino_it_runs_on_pytorch(caplog):
    squares, tiny = torch.rand(3, 3, 16, 16), embedder()
    with caplog.at_level(logging.WARNING):
        assert not tiny.use_openvino()
    assert "PyTorch" in caplog.text
    assert torch.equal(tiny.encode(squares), embedder().encode(squares))


def test_raises_errors_of_the_encoder():
    with pytest.raises(RuntimeError, match="tensor a"):
        embedder().encode(torch.rand(1, 4, 16, 16))


def test_bfloat16_is_close_and_returns_float32():
    squares = torch.rand(4, 3, 16, 16)
    exact, rounded = embedder().encode(squares), embedder(precision="bfloat16").encode(squares)
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, exact, atol=0.01)
    assert not torch.equal(rounded, exact)


def test_encoder_is_in_evaluation_mode_without_gradients():
    tiny = encoder()
    assert tiny.training
    vectors = embedder(encoder=tiny).encode(torch.rand(1, 3, 16, 16))
    assert not tiny.training
    assert not vectors.requires_grad


def test_plain_and_flip():
    image = coordinates()
    vectors = embedder(encoder=Pixels(), views=("plain", "flip")).encode(image[None])
    plain, flip = vectors.view(2, 3, 16, 16)
    assert torch.equal(plain, image)
    assert torch.equal(flip[0], image[0])
    assert torch.allclose(flip[1], 1 - image[1])


@pytest.mark.parametrize(
    ("view", "top", "left"),
    [
        ("top-left", 0, 0),
        ("top-right", 0, 1 / 8),
        ("bottom-left", 1 / 8, 0),
        ("bottom-right", 1 / 8, 1 / 8),
        ("center", 1 / 16, 1 / 16),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_window_is_seven_eighths_of_the_side(view, top, left, mirrored):
    name = f"{view}-flip" if mirrored else view
    (window,) = (
        embedder(encoder=Pixels(), views=(name,)).encode(coordinates()[None]).view(1, 3, 16, 16)
    )
    if mirrored:
        window = window.flip(-1)
    # Interpolation is clamped at the edges.
    expected = torch.tensor([top, left, 0]).view(3, 1, 1) + coordinates() * 7 / 8
    assert torch.allclose(window[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-6)


def test_twelve_views():
    assert len(VIEWS) == 12
    squares = torch.rand(2, 3, 16, 16)
    assert embedder(views=tuple(VIEWS)).encode(squares).shape == (2, 12, Tiny.width)
    for view in VIEWS.values():
        assert view(squares).shape == squares.shape


@pytest.mark.parametrize(
    ("views", "word"),
    [((), "no view"), (("plain", "upside down"), "upside down"), (("flip", "flip"), "twice")],
)
def test_refuses_invalid_views(views, word):
    with pytest.raises(ValueError, match=word):
        embedder(views=views)


def test_types_of_images_have_the_same_embedding(tmp_path):
    (path,) = drawings(tmp_path, 1)
    with Image.open(path) as image:
        images = [path, str(path), path.read_bytes(), image, np.asarray(image), decode(path)]
        vectors = embedder(batch_size=4)(images)
    assert vectors.shape == (6, 1, Tiny.width)
    assert torch.allclose(vectors, vectors[:1].expand_as(vectors), atol=1e-6)
    assert embedder()([]).shape == (0, 1, Tiny.width)


SETTINGS = {"views": ("plain", "flip"), "resize": "center-crop"}


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A captioner's file with a tiny encoder."""
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    captioner(**SETTINGS).save(tmp_path / "captioner.safetensors")
    return tmp_path / "captioner.safetensors"


def test_loads_by_name_or_from_any_model(bundled, tmp_path):
    expected = embedder(**SETTINGS)
    for loaded in (
        Embedder.load(bundled),
        Embedder.load("tiny", weights=bundled, **SETTINGS),
        Embedder.from_bundle(bundle.read(bundled, kind="captioner")),
    ):
        assert (loaded.config(), loaded.fingerprint) == (
            expected.config(),
            expected.fingerprint,
        )
    assert Embedder.load(bundled, views=["flip"]).views == ("flip",)
    trained = TrainedEncoder(encoder(), "tiny", tuple("abcde"), {})
    encoder_file.save(tmp_path / "encoder.safetensors", trained)
    loaded = Embedder.load(tmp_path / "encoder.safetensors")
    assert loaded.config() == embedder().config()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"encoder": {"name": "gone", "fingerprint": "", "configuration": {}}}, "gone"),
        ({"encoder": {}}, "missing: name"),
        ({"encoder": []}, "encoder"),
        ({"encoder": {"name": "tiny", "fingerprint": "0", "configuration": {}}}, "weights"),
        ({"views": ["plain", "sideways"]}, "sideways"),
        ({"views": ["plain"] * 2}, "twice"),
        ({"views": []}, "no view"),
        ({"resize": "stretch"}, "stretch"),
    ],
)
def test_refuses_damaged_descriptions(bundled, change, word):
    alter(bundled, lambda configuration, tensors: configuration["embedder"].update(change))
    with pytest.raises(FormatError, match=word) as error:
        Embedder.load(bundled)
    assert error.value.path == bundled


def test_training_images_have_the_view_drawn_for_them(tmp_path):
    paths = drawings(tmp_path, 3)
    source = image_file_source(paths, preprocess=lambda path: square(decode(path), 16))
    rows, draws = torch.tensor([2, 0, 2]), torch.tensor([4, 7, 5])
    images = source(rows, draws)
    expected = [square(decode(paths[row]), 16, "center-crop") for row in (2, 0, 2)]
    assert torch.equal(images[0], expected[0])
    assert torch.equal(images[1], expected[1].flip(-1))
    assert torch.equal(images[2], expected[2].flip(-1))
    assert torch.equal(source(rows, draws), images)
    paths[0].write_text("no image")
    with pytest.raises(FormatError, match=r"0\.png"):
        source(rows, draws)
