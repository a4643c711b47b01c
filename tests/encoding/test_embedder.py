"""Photographs to embeddings: in order, bad ones reported, every view where it should be."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.helpers.tiny_captioner import Tiny, alter, captioner, drawings, embedder, encoder
from vl import bundle
from vl.data.errors import FormatError
from vl.data.images.decode import decode, square
from vl.encoders.table import ENCODERS
from vl.encoding import encoder_file
from vl.encoding.embedder import Embedder, image_file_source
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.openvino import EngineError
from vl.encoding.views import VIEWS


class Pixels(nn.Module):
    """An encoder whose embedding is its picture."""

    image_size = 16
    width = 3 * 16 * 16

    def forward(self, pixels):
        return pixels.flatten(1)


def coordinates(side=16):
    """A picture that says of each pixel how far down and how far right it is, ``(3, S, S)``."""
    ticks = (torch.arange(side) + 0.5) / side
    down, right = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([down, right, torch.zeros(side, side)])


def test_files_come_in_order_and_bad_ones_are_reported(tmp_path):
    paths = drawings(tmp_path, 7)
    bad, gone = tmp_path / "bad.png", tmp_path / "gone.png"
    bad.write_bytes(paths[0].read_bytes()[:60])
    asked = [*paths[:2], bad, *paths[2:5], gone, *paths[5:]]
    ready = embedder(batch_size=2)
    parts = list(ready.stream(asked))
    assert [part.indices for part in parts] == [[0, 1], [3], [4, 5], [7], [8]]
    (index, error), (other_index, other_error) = [each for part in parts for each in part.failures]
    assert (index, other_index) == (2, 6)
    assert isinstance(error, FormatError)
    assert "bad.png" in str(error)
    assert isinstance(other_error, FileNotFoundError)
    together = torch.cat([part.vectors for part in parts])
    assert together.shape == (7, 1, Tiny.width)
    by_hand = ready(paths)
    assert torch.allclose(together, by_hand, atol=1e-6)


def test_a_batch_of_bad_files_is_empty(tmp_path):
    (bad,) = drawings(tmp_path, 1)
    bad.write_bytes(b"")
    (part,) = embedder(views=("plain", "flip")).stream([bad])
    assert (part.indices, part.vectors.shape, len(part.failures)) == ([], (0, 2, Tiny.width), 1)
    assert list(embedder().stream([])) == []


def test_a_batch_that_is_not_full_gives_what_a_full_one_gives(tmp_path):
    paths = drawings(tmp_path, 6)
    expected = torch.cat([part.vectors for part in embedder(batch_size=6).stream(paths)])
    for size in (1, 4, 50):
        parts = list(embedder(batch_size=size).stream(paths))
        assert torch.allclose(torch.cat([part.vectors for part in parts]), expected, atol=1e-6)


def test_what_is_compiled_always_gets_whole_batches(tmp_path, monkeypatch):
    seen = []

    def compiled(module, options):
        def run(pixels):
            seen.append(len(pixels))
            return module(pixels)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    paths = drawings(tmp_path, 5)
    fast = embedder(batch_size=4, views=("plain", "flip"))
    fast.compile()
    found = torch.cat([part.vectors for part in fast.stream(paths)])
    slow = embedder(views=("plain", "flip"))
    expected = torch.cat([part.vectors for part in slow.stream(paths)])
    assert seen == [4, 4, 4, 4]
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("early", [True, False])
def test_where_nothing_can_be_compiled_it_goes_on_without(monkeypatch, caplog, early):
    def compiled(module, options):
        def run(pixels):
            raise OSError("no C++ compiler\nand forty lines more")

        if early:
            raise RuntimeError("no C++ compiler\nand forty lines more")
        return run

    monkeypatch.setattr(torch, "compile", compiled)
    squares = torch.rand(3, 3, 16, 16)
    with caplog.at_level(logging.WARNING):
        ready = embedder(batch_size=8)
        ready.compile()
        found = [ready.encode(squares), ready.encode(squares)]
    expected = embedder().encode(squares)
    assert all(torch.allclose(each, expected, atol=1e-6) for each in found)
    assert [record.getMessage() for record in caplog.records] == [
        "torch.compile failed, going on without it: no C++ compiler"
    ]


def test_openvino_gets_each_batch_as_it_is(tmp_path, monkeypatch):
    seen, told = [], []

    def on_openvino(encoder, *, bfloat16):
        told.append(bfloat16)

        def run(pixels):
            seen.append(len(pixels))
            return encoder(pixels)

        return run

    monkeypatch.setattr("vl.encoding.embedder.on_openvino", on_openvino)
    paths = drawings(tmp_path, 5)
    fast = embedder(batch_size=4, precision="bfloat16")
    assert fast.use_openvino()
    found = torch.cat([part.vectors for part in fast.stream(paths)])
    slow = embedder(precision="bfloat16")
    expected = torch.cat([part.vectors for part in slow.stream(paths)])
    assert (seen, told) == ([4, 1], [True])
    assert torch.allclose(found, expected, atol=1e-6)


def test_where_openvino_cannot_pytorch_goes_on_and_one_line_says_so(monkeypatch, caplog):
    def on_openvino(encoder, *, bfloat16):
        raise EngineError("OpenVINO is not installed")

    monkeypatch.setattr("vl.encoding.embedder.on_openvino", on_openvino)
    squares = torch.rand(3, 3, 16, 16)
    ready = embedder()
    with caplog.at_level(logging.WARNING):
        assert not ready.use_openvino()
        ready.device = torch.device("cuda")
        assert not ready.use_openvino()
    ready.device = torch.device("cpu")
    assert torch.equal(ready.encode(squares), embedder().encode(squares))
    assert [record.getMessage() for record in caplog.records] == [
        "OpenVINO is not installed; going on with PyTorch",
        "OpenVINO runs on the processor here, not on cuda; going on with PyTorch",
    ]


def test_where_openvino_fails_at_work_pytorch_goes_on(monkeypatch, caplog):
    def on_openvino(encoder, *, bfloat16):
        def run(pixels):
            raise RuntimeError("out of memory\nand more")

        return run

    monkeypatch.setattr("vl.encoding.embedder.on_openvino", on_openvino)
    squares = torch.rand(3, 3, 16, 16)
    ready = embedder()
    assert ready.use_openvino()
    with caplog.at_level(logging.WARNING):
        found = ready.encode(squares)
    assert torch.equal(found, embedder().encode(squares))
    assert [record.getMessage() for record in caplog.records] == [
        "OpenVINO failed, going on without it: out of memory"
    ]


def test_an_error_of_the_encoder_itself_is_raised():
    with pytest.raises(RuntimeError, match="tensor a"):
        embedder().encode(torch.rand(1, 4, 16, 16))


def test_bfloat16_gives_float32_that_is_near():
    squares = torch.rand(4, 3, 16, 16)
    exact, rough = embedder().encode(squares), embedder(precision="bfloat16").encode(squares)
    assert rough.dtype == torch.float32
    assert torch.allclose(rough, exact, atol=0.01)
    assert not torch.equal(rough, exact)


def test_the_encoder_is_at_rest_and_nothing_is_recorded():
    made = encoder()
    assert made.training
    vectors = embedder(encoder=made).encode(torch.rand(1, 3, 16, 16))
    assert not made.training
    assert not vectors.requires_grad


def test_plain_is_the_picture_and_flip_its_mirror_image():
    picture = coordinates()
    vectors = embedder(encoder=Pixels(), views=("plain", "flip")).encode(picture[None])
    plain, flip = vectors.view(2, 3, 16, 16)
    assert torch.equal(plain, picture)
    assert torch.equal(flip[0], picture[0])  # as far down
    assert torch.allclose(flip[1], 1 - picture[1])  # from the right now


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
def test_a_window_is_seven_eighths_of_the_side_at_its_corner(view, top, left, mirrored):
    name = f"{view}-flip" if mirrored else view
    (seen,) = (
        embedder(encoder=Pixels(), views=(name,)).encode(coordinates()[None]).view(1, 3, 16, 16)
    )
    if mirrored:
        seen = seen.flip(-1)
    # Enlarging holds the edges, so that only the inside grows evenly.
    expected = torch.tensor([top, left, 0]).view(3, 1, 1) + coordinates() * 7 / 8
    assert torch.allclose(seen[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-6)


def test_there_are_twelve_views():
    assert len(VIEWS) == 12
    squares = torch.rand(2, 3, 16, 16)
    assert embedder(views=tuple(VIEWS)).encode(squares).shape == (2, 12, Tiny.width)
    for view in VIEWS.values():
        assert view(squares).shape == squares.shape


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"views": ()}, "no view -; there are plain, top-left"),
        ({"views": ("plain", "upside down")}, "no view upside down; there are"),
        ({"views": ("flip", "flip")}, "views are flip, flip; one of them is there twice"),
        ({"resize": "stretch"}, "resize is 'stretch'; it must be one of squash, center-crop"),
        ({"batch_size": 0}, "batch size is 0; it must be at least 1"),
        ({"batch_size": -2}, "batch size is -2"),
    ],
)
def test_choices_that_make_no_sense_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        embedder(**choices)


def test_every_kind_of_image_gives_the_same_embedding(tmp_path):
    (path,) = drawings(tmp_path, 1)
    with Image.open(path) as image:
        kinds = [path, str(path), path.read_bytes(), image, np.asarray(image), decode(path)]
        vectors = embedder(batch_size=4)(kinds)
    assert vectors.shape == (6, 1, Tiny.width)
    assert torch.allclose(vectors, vectors[:1].expand_as(vectors), atol=1e-6)
    assert embedder()([]).shape == (0, 1, Tiny.width)


def test_bytes_are_streamed_as_their_files_are(tmp_path):
    paths = drawings(tmp_path, 3)
    (files,) = embedder().stream(paths)
    (contents,) = embedder().stream(path.read_bytes() for path in paths)
    assert torch.equal(files.vectors, contents.vectors)


SETTINGS = {"views": ("plain", "flip"), "resize": "center-crop"}


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A captioner's file with a tiny encoder."""
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    captioner(**SETTINGS).save(tmp_path / "captioner.safetensors")
    return tmp_path / "captioner.safetensors"


def test_an_embedder_is_loaded_by_name_or_from_any_model(bundled, tmp_path):
    made = embedder(**SETTINGS)
    for loaded in (
        Embedder.load(bundled),
        Embedder.load("tiny", weights=bundled, **SETTINGS),
        Embedder.from_bundle(bundle.read(bundled, kind="captioner")),
    ):
        assert (loaded.config(), loaded.fingerprint) == (made.config(), made.fingerprint)
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
def test_a_damaged_description_is_refused(bundled, change, word):
    alter(bundled, lambda configuration, tensors: configuration["embedder"].update(change))
    with pytest.raises(FormatError, match=word) as caught:
        Embedder.load(bundled)
    assert caught.value.path == bundled


def test_training_images_come_in_the_view_that_was_drawn(tmp_path):
    paths = drawings(tmp_path, 3)
    source = image_file_source(paths, image_size=16, resize="center-crop")
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
