"""Embeddings on disk: written, read, resumed after a kill; other encoders' are refused."""

import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vl.data.embedding_writer import EmbeddingWriter
from vl.data.embeddings import EmbeddedFile, Provenance, load_embeddings, read_provenance
from vl.data.errors import FormatError
from vl.data.identity import FileStamp, read_stamped

PROVENANCE = Provenance("inception_v1", "abc123", "squash", "float32", ("plain", "flip"), 4)


def vectors(count, start=0):
    return (torch.arange(start, start + count * 8) / 8).view(count, 2, 4)


def write(path, names=("a.jpg", "b.jpg", "c.jpg")):
    writer = EmbeddingWriter(path, PROVENANCE)
    writer.add(names, vectors(len(names)))
    return writer.finish()


def test_writes_and_loads(tmp_path):
    path = tmp_path / "new" / "train.npy"
    assert read_provenance(path) is None
    write(path)
    embeddings = load_embeddings(path)
    assert embeddings.provenance == read_provenance(path) == PROVENANCE
    assert embeddings.names == ("a.jpg", "b.jpg", "c.jpg")
    assert embeddings.vectors.dtype == torch.float16
    assert torch.equal(embeddings.select(["c.jpg", "a.jpg"]), vectors(3)[[2, 0]])
    assert np.load(path).shape == (3, 2, 4)  # NumPy alone can read it
    assert sorted(file.name for file in path.parent.iterdir()) == ["train.json", "train.npy"]


def test_resumes_a_killed_writer(tmp_path):
    path = tmp_path / "train.npy"
    killed = EmbeddingWriter(path, PROVENANCE)
    killed.add(["a.jpg"], vectors(1))
    killed.save()
    killed.add(["lost.jpg"], vectors(1, start=99))  # its name is not saved
    del killed
    with (tmp_path / "train.npy.part").open("ab") as file:
        file.write(b"half a row")
    assert not path.exists()
    writer = EmbeddingWriter(path, PROVENANCE)
    assert "a.jpg" in writer and "lost.jpg" not in writer
    writer.add(["b.jpg"], vectors(1, start=8))
    embeddings = writer.finish()
    assert embeddings.names == ("a.jpg", "b.jpg")
    assert torch.equal(embeddings.select(["a.jpg", "b.jpg"]), vectors(2))


@pytest.mark.parametrize("damage", ["fewer rows", "other rows", "other order", "index", "old"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_part_that_does_not_fit_is_removed_as_a_whole(tmp_path, damage, finished, caplog):
    path = tmp_path / "train.npy"
    if finished:
        write(path, ["z.jpg"])
    writer = EmbeddingWriter(path, PROVENANCE)
    writer.add(["a.jpg", "b.jpg"], vectors(2, start=1))
    writer.save()
    del writer  # killed
    rows, index = path.with_name("train.npy.part"), path.with_name("train.json.part")
    content = rows.read_bytes()
    damaged = {
        "fewer rows": content[:-16],
        "other rows": content[:-16] + bytes(16),  # as of a second writer
        "other order": content[-16:] + content[:-16],
    }
    rows.write_bytes(damaged.get(damage, content))
    text = index.read_text()
    if damage == "index":
        index.write_text(text[:-20])
    elif damage == "old":
        index.write_text(text.replace("rows_crc32", "rows"))
    writer = EmbeddingWriter(path, PROVENANCE)
    assert writer.names == (["z.jpg"] if finished else [])
    assert "train.npy.part is removed" in caplog.text
    writer.add(["a.jpg", "b.jpg"], vectors(2, start=1))
    assert torch.equal(writer.finish().select(["a.jpg", "b.jpg"]), vectors(2, start=1))


def test_one_writer_at_a_time(tmp_path):
    path = tmp_path / "train.npy"
    writer = EmbeddingWriter(path, PROVENANCE)
    with pytest.raises(BlockingIOError, match=r"train\.npy: process \d+"):
        EmbeddingWriter(path, PROVENANCE)
    writer.finish()
    EmbeddingWriter(path, PROVENANCE).close()


@pytest.mark.parametrize("name", ["train.npy", "train.json"])
def test_other_files_are_replaced_only_if_asked(tmp_path, name):
    (tmp_path / name).write_text('{"captions": []}')
    with pytest.raises(ValueError, match=rf"{name} exists and is not"):
        EmbeddingWriter(tmp_path / "train.npy", PROVENANCE)
    assert (tmp_path / name).read_text() == '{"captions": []}'
    assert EmbeddingWriter(tmp_path / "train.npy", PROVENANCE, overwrite=True).finish().names == ()


def test_a_full_disk_leaves_a_part_to_go_on_from(tmp_path):
    path = tmp_path / "train.npy"
    writer = EmbeddingWriter(path, PROVENANCE)
    writer.add(["a.jpg"], vectors(1))
    writer.save()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (24, limits[1]))
    try:
        with pytest.raises(OSError, match=r"train\.npy\.part: File too large"):
            writer.add(["b.jpg"], vectors(1, start=8))
        with pytest.raises(OSError, match=r"train\.json\.part: could not be written"):
            writer.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert writer.kept().startswith(f"1 embeddings are in {path}.part")
    del writer
    writer = EmbeddingWriter(path, PROVENANCE)
    writer.add(["b.jpg"], vectors(1, start=8))
    assert torch.equal(writer.finish().select(["a.jpg", "b.jpg"]), vectors(2))


def test_a_full_disk_at_the_end_leaves_the_old_embeddings(tmp_path):
    path = tmp_path / "train.npy"
    write(path, ["a.jpg"])
    writer = EmbeddingWriter(path, PROVENANCE)
    assert "no new embedding" in writer.kept()
    writer.add([f"{index}" for index in range(20)], vectors(20, start=8))
    writer.save()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (450, limits[1]))  # bytes; the array has 464
    try:
        with pytest.raises(OSError, match=r"train\.npy: could not be written"):
            writer.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.equal(load_embeddings(path).select(["a.jpg"]), vectors(1))
    writer.close()
    assert len(EmbeddingWriter(path, PROVENANCE).finish().names) == 21


def test_finished_embeddings_can_grow_and_be_reordered(tmp_path):
    path = tmp_path / "train.npy"
    write(path)
    writer = EmbeddingWriter(path, PROVENANCE)
    writer.add(["d.jpg"], vectors(1, start=24))
    embeddings = writer.finish(["d.jpg", "a.jpg"])
    assert embeddings.names == load_embeddings(path).names == ("d.jpg", "a.jpg")
    assert torch.equal(load_embeddings(path).select(["a.jpg", "d.jpg"]), vectors(4)[[0, 3]])


def test_files_are_stored_and_later_rows_replace_earlier_ones(tmp_path):
    path = tmp_path / "train.npy"
    a, b, new = (EmbeddedFile(f"/{it}", FileStamp(3, 2**62 + 1, it * 32)) for it in "abc")
    write(path)  # as an earlier version does, without files
    assert load_embeddings(path).files == (None, None, None)
    writer = EmbeddingWriter(path, PROVENANCE)
    writer.add(["a.jpg", "d.jpg"], vectors(2, start=50), [a, b])
    writer.save()
    del writer  # killed
    writer = EmbeddingWriter(path, PROVENANCE)
    writer.add(["d.jpg"], vectors(1, start=90), [new])
    embeddings = writer.finish()
    assert embeddings.names == ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert embeddings.files == load_embeddings(path).files == (a, None, None, new)
    expected = [vectors(1, start=50), vectors(3)[[1]], vectors(1, start=90)]
    assert torch.equal(embeddings.select(["a.jpg", "b.jpg", "d.jpg"]), torch.cat(expected))
    assert torch.equal(load_embeddings(path).vectors, embeddings.vectors)


def test_names_without_folders_select_where_unique(tmp_path):
    names = ("kitchen/a.jpg", "kitchen/b.jpg", "street/b.jpg")
    embeddings = write(tmp_path / "train.npy", names)
    assert torch.equal(embeddings.select(["a.jpg", "photos/street/b.jpg"]), vectors(3)[[0, 2]])
    with pytest.raises(ValueError, match=r"'b\.jpg' .*'kitchen/b\.jpg', 'street/b\.jpg'"):
        embeddings.select(["b.jpg"])


def test_other_contents_than_were_embedded_are_refused(tmp_path):
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"cat")
    writer = EmbeddingWriter(tmp_path / "train.npy", PROVENANCE)
    file = EmbeddedFile(str(tmp_path), read_stamped(photo)[1])
    writer.add(["a.jpg", "b.jpg"], vectors(2), [file, None])
    embeddings = writer.finish()
    paths = [photo, tmp_path / "gone.jpg"]
    embeddings.check_files(["a.jpg", "b.jpg"], paths)
    photo.write_bytes(b"okapi")
    with pytest.raises(ValueError, match=r"1 images .*a\.jpg.*vl embed"):
        embeddings.check_files(["a.jpg", "b.jpg"], paths)
    photo.unlink()
    embeddings.check_files(["a.jpg", "b.jpg"], paths)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "fed"}, "abc123, not .* fed"),
        ({"views": ("plain",), "width": 4}, "plain, flip, not .* plain;"),
        ({"resize": "center-crop"}, "squash.* not .*center-crop"),
        ({"precision": "bfloat16"}, "float32.* not .* bfloat16"),
    ],
)
def test_refuses_to_mix_provenances(tmp_path, finished, change, message):
    path = tmp_path / "train.npy"
    if finished:
        write(path)
    else:
        EmbeddingWriter(path, PROVENANCE).save()
    before = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    with pytest.raises(FormatError, match=message):
        EmbeddingWriter(path, replace(PROVENANCE, **change))
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == before


def test_refuses_images_without_an_embedding_and_vectors_of_another_shape(tmp_path):
    embeddings = write(tmp_path / "train.npy")
    with pytest.raises(ValueError, match=r"2 of 3 .* 'x\.jpg', 'y\.jpg'"):
        embeddings.select(["x.jpg", "a.jpg", "y.jpg"])
    with pytest.raises(ValueError, match=r"\(1, 2, 4\), got \(1, 2, 5\)"):
        EmbeddingWriter(tmp_path / "train.npy", PROVENANCE).add(["d.jpg"], torch.zeros(1, 2, 5))
    with pytest.raises(ValueError, match=r"\.npy"):
        EmbeddingWriter(tmp_path / "train.bin", PROVENANCE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": list("abcd")}, r"\.npy: .*\(4, 2, 4\).*\(3, 2, 4\)"),
        ({"width": "x"}, r"\.json: not an index"),
        ({"names": "abc"}, r"\.json: not an index"),
        ({"views": [1]}, r"\.json: not an index"),
        ({"resize": "stretch"}, r"\.json: resize"),
        ({"format": 9}, r"\.json: format"),
        ({"files": [None] * 2}, r"\.json: not an index"),
        ({"files": [[1, 2, "ab", 0]] * 3}, r"\.json: not an index"),
        ({"files": [[1, 2, "ab", 7]] * 3, "folders": ["/a"]}, r"\.json: not an index"),
        ({"files": [[1, "x", "ab", 0]] * 3, "folders": ["/a"]}, r"\.json: not an index"),
        ({"files": 3, "folders": ["/a"]}, r"\.json: not an index"),
    ],
)
def test_refuses_an_invalid_index(tmp_path, change, message):
    path = tmp_path / "train.npy"
    write(path)
    index = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps({**index, **change}))
    with pytest.raises(FormatError, match=message):
        load_embeddings(path)


def test_kill_between_the_two_files_leaves_no_wrong_names(tmp_path, monkeypatch):
    path = tmp_path / "train.npy"
    write(path)
    writer = EmbeddingWriter(path, PROVENANCE)

    def killed(temporary, target):
        if target.name == "train.json":
            raise KeyboardInterrupt
        os.replace(temporary, target)  # noqa: PTH105 - Path.replace is this function

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        writer.finish(["c.jpg", "b.jpg", "a.jpg"])
    writer.close()
    with pytest.raises(FileNotFoundError):
        load_embeddings(path)
    assert EmbeddingWriter(path, PROVENANCE).finish().names == ("a.jpg", "b.jpg", "c.jpg")
    assert torch.equal(load_embeddings(path).select(["c.jpg"]), vectors(3)[[2]])


@pytest.mark.parametrize("value", [1e5, float("nan")])
def test_refuses_values_beyond_float16(tmp_path, value):
    writer = EmbeddingWriter(tmp_path / "train.npy", PROVENANCE)
    with pytest.raises(ValueError, match=r"b\.jpg has a value beyond float16"):
        writer.add(["a.jpg", "b.jpg"], torch.tensor([0.0, value]).view(2, 1, 1).expand(2, 2, 4))
    assert writer.finish().names == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.json", b"{", "not JSON"),
        ("train.json", b"[]", "not an index of embeddings"),
        ("train.json", b"[" * 100_000, "cannot be read"),
        ("train.npy", b"", "not an array"),
        ("train.npy", b"\x80\x04K*.", "not an array"),  # a pickle
    ],
)
def test_refuses_other_files(tmp_path, name, content, message):
    path = tmp_path / "train.npy"
    write(path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=message):
        load_embeddings(path)
