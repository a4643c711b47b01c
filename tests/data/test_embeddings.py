"""Embeddings on disk: they come back, a kill loses little, another encoder is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vl.data.embeddings import EmbeddingWriter, Provenance, load_embeddings
from vl.data.errors import FormatError
from vl.data.files import write_text

MAKING = Provenance("inception_v1", "abc123", "squash", "float32", ("plain", "flip"), 4)


def vectors(count, start=0):
    return (torch.arange(start, start + count * 8) / 8).view(count, 2, 4)


def written(path, names=("a.jpg", "b.jpg", "c.jpg")):
    writer = EmbeddingWriter(path, MAKING)
    writer.add(names, vectors(len(names)))
    return writer.finish()


def test_what_was_written_comes_back(tmp_path):
    path = tmp_path / "new" / "train.npy"
    written(path)
    held = load_embeddings(path)
    assert held.provenance == MAKING
    assert held.names == ("a.jpg", "b.jpg", "c.jpg")
    assert held.vectors.dtype == torch.float16
    assert torch.equal(held.of(["c.jpg", "a.jpg"]), vectors(3)[[2, 0]])
    assert np.load(path).shape == (3, 2, 4)  # NumPy alone can read it
    assert sorted(each.name for each in path.parent.iterdir()) == ["train.json", "train.npy"]


def test_a_killed_writer_is_taken_up_again(tmp_path):
    path = tmp_path / "train.npy"
    killed = EmbeddingWriter(path, MAKING)
    killed.add(["a.jpg"], vectors(1))
    killed.save()
    killed.add(["lost.jpg"], vectors(1, start=99))  # its name was not saved any more
    del killed
    with (tmp_path / "train.npy.part").open("ab") as file:
        file.write(b"half a row")
    assert not path.exists()
    writer = EmbeddingWriter(path, MAKING)
    assert "a.jpg" in writer
    assert "lost.jpg" not in writer
    writer.add(["b.jpg"], vectors(1, start=8))
    held = writer.finish()
    assert held.names == ("a.jpg", "b.jpg")
    assert torch.equal(held.of(["a.jpg", "b.jpg"]), vectors(2))


def test_a_finished_cache_can_grow_and_be_reordered(tmp_path):
    path = tmp_path / "train.npy"
    written(path)
    writer = EmbeddingWriter(path, MAKING)
    writer.add(["d.jpg"], vectors(1, start=24))
    held = writer.finish(["d.jpg", "a.jpg"])
    assert held.names == load_embeddings(path).names == ("d.jpg", "a.jpg")
    assert torch.equal(load_embeddings(path).of(["a.jpg", "d.jpg"]), vectors(4)[[0, 3]])


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "fed"}, "made by another encoder, inception_v1 abc123, not by .* fed"),
        ({"views": ("plain",), "width": 4}, "views plain, flip.*not with .* views plain;"),
        ({"resize": "center-crop"}, "resize squash.*not with resize center-crop"),
        ({"precision": "bfloat16"}, "float32,.*not with .* bfloat16"),
    ],
)
def test_a_cache_made_otherwise_is_refused_and_left_alone(tmp_path, finished, change, message):
    path = tmp_path / "train.npy"
    if finished:
        written(path)
    else:
        EmbeddingWriter(path, MAKING).save()
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(FormatError, match=message):
        EmbeddingWriter(path, replace(MAKING, **change))
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_images_without_an_embedding_are_named(tmp_path):
    held = written(tmp_path / "train.npy")
    with pytest.raises(ValueError, match=r"2 of 3 images have no embedding: x\.jpg, y\.jpg"):
        held.of(["x.jpg", "a.jpg", "y.jpg"])


def test_vectors_of_another_shape_are_not_added(tmp_path):
    writer = EmbeddingWriter(tmp_path / "train.npy", MAKING)
    with pytest.raises(ValueError, match=r"shape \(1, 2, 5\), expected \(1, 2, 4\)"):
        writer.add(["a.jpg"], torch.zeros(1, 2, 5))


def test_a_cache_whose_files_disagree_is_refused(tmp_path):
    path = tmp_path / "train.npy"
    written(path)
    index = json.loads((tmp_path / "train.json").read_text())
    index["names"].append("d.jpg")
    (tmp_path / "train.json").write_text(json.dumps(index))
    with pytest.raises(FormatError, match=r"expected float16 of shape \(4, 2, 4\).*\(3, 2, 4\)"):
        load_embeddings(path)


def test_an_index_with_wrong_values_is_refused(tmp_path):
    path = tmp_path / "train.npy"
    written(path)
    index = json.loads((tmp_path / "train.json").read_text())
    for wrong in ({"width": "x"}, {"names": "abc"}, {"views": [1]}):
        (tmp_path / "train.json").write_text(json.dumps({**index, **wrong}))
        with pytest.raises(FormatError, match=r"train\.json: not an index of embeddings"):
            load_embeddings(path)


def test_a_kill_between_the_two_files_leaves_no_wrong_names(tmp_path, monkeypatch):
    path = tmp_path / "train.npy"
    written(path)
    writer = EmbeddingWriter(path, MAKING)

    def killed(*arguments):
        if arguments[0].name == "train.json":
            raise KeyboardInterrupt
        write_text(*arguments)

    monkeypatch.setattr("vl.data.embeddings.write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.finish(["c.jpg", "b.jpg", "a.jpg"])
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        load_embeddings(path)
    assert EmbeddingWriter(path, MAKING).finish().names == ("a.jpg", "b.jpg", "c.jpg")
    assert torch.equal(load_embeddings(path).of(["c.jpg"]), vectors(3)[[2]])


@pytest.mark.parametrize("value", [1e5, float("nan")])
def test_a_number_that_float16_cannot_hold_is_refused(tmp_path, value):
    writer = EmbeddingWriter(tmp_path / "train.npy", MAKING)
    with pytest.raises(ValueError, match=r"the embedding of b\.jpg has a number that float16"):
        writer.add(["a.jpg", "b.jpg"], torch.tensor([0.0, value]).view(2, 1, 1).expand(2, 2, 4))
    assert writer.finish().names == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.json", b"{", "not JSON"),
        ("train.json", b"[]", "not an index of embeddings"),
        ("train.json", b'{"format": 9}', "format 9, this version reads 1"),
        ("train.json", b"[" * 100_000, "not an index of embeddings"),
        ("train.npy", b"", "not an array"),
        ("train.npy", b"\x80\x04K*.", "not an array"),  # a pickle
    ],
)
def test_files_that_are_something_else_are_refused(tmp_path, name, content, message):
    path = tmp_path / "train.npy"
    written(path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=message):
        load_embeddings(path)


def test_a_file_of_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.npy file, not to 'train\.bin'"):
        EmbeddingWriter(tmp_path / "train.bin", MAKING)
