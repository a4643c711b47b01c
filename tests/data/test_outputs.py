"""What may be written where: inputs, other kinds of files and second writers are refused."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vl.data.files import atomic_write, keeping
from vl.data.outputs import (
    CAPTION_SCORES,
    CAPTIONS,
    EMBEDDINGS,
    FREQUENCIES,
    HTML,
    LOG,
    PNG,
    WORD_VECTORS,
    FolderKind,
    check_folder,
    check_output,
    lock_output,
    model_kind,
)

SCORES = b'{"image_id": 1, "file_name": null, "caption": "a", "tokens": ["a"]}\n'
RESULTS = b'[\n{"image_id": 1, "caption": "a"}\n]\n'
HOLD = """
import sys, time
from vl.data.outputs import lock_output
with lock_output(sys.argv[1], folder=len(sys.argv) > 2):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_an_output_is_never_an_input(tmp_path, link):
    source, other = tmp_path / "a.json", tmp_path / "b.json"
    source.write_bytes(RESULTS)
    link(source, other)
    for output in (source, other):
        for overwrite in (False, True):
            with pytest.raises(ValueError, match=r"is read by this command"):
                check_output(output, CAPTIONS, inputs=[source], overwrite=overwrite)
    with pytest.raises(ValueError, match=r"is read by this command"):
        check_output(tmp_path / "b.npy", EMBEDDINGS, inputs=[source])  # its index would be b.json
    with pytest.raises(ValueError, match=r"is read by this command"):
        check_folder(tmp_path, FolderKind((("a.json", CAPTIONS),)), inputs=[source])
    with pytest.raises(ValueError, match=r"is read by this command"):
        check_folder(tmp_path, inputs=[tmp_path / "." / ""])
    check_output(tmp_path / "c.json", CAPTIONS, inputs=[source, tmp_path / "none"])


@pytest.mark.parametrize(
    ("kind", "name", "suffixes"),
    [
        (CAPTIONS, "a.jpg", ".json"),
        (PNG, "a.jpg", ".png"),
        (HTML, "-", ".html or .htm"),
        (FREQUENCIES, "a.gz", ".json or .json.gz"),
        (EMBEDDINGS, "a.json", ".npy"),
        (model_kind("captioner"), "model", ".safetensors"),
    ],
)
def test_a_name_fits_the_kind(tmp_path, kind, name, suffixes):
    with pytest.raises(ValueError, match=f"{name}: .*{suffixes}$"):
        check_output(tmp_path / name, kind)
    check_output(tmp_path / f"A{kind.suffixes[0].upper()}", kind)


@pytest.mark.parametrize(
    ("kind", "same", "other"),
    [
        (CAPTIONS, RESULTS, b'{"images": []}'),
        (CAPTIONS, b"[]\n", b"[1, 2]"),
        (CAPTIONS, RESULTS, b'[{"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1]}]'),
        (CAPTIONS, RESULTS, b'[{"caption": "a", "image": "a.jpg", "image_id": "coco_1"}]'),
        (CAPTION_SCORES, SCORES, b'{"image_id": 1, "caption": "a"}\n'),
        (HTML, b'<!doctype html><meta name="generator" content="vl">', b"<!doctype html>"),
        (FREQUENCIES, gzip.compress(b'{"format": "vl document frequencies 1"', mtime=0), b"{}"),
        (WORD_VECTORS, b"2 3\ncat \x00\x01", b"cat 1 2 3\n"),
        (LOG, b'{"step": 1}\n', b'{"loss": 1}\n'),
    ],
)
def test_only_a_file_of_the_same_kind_is_replaced(tmp_path, kind, same, other):
    path = tmp_path / f"file{kind.suffixes[0]}"
    for content in (same, b""):
        path.write_bytes(content)
        check_output(path, kind)
    for content in (other, b"\xff\xd8\xff\xe0 a photograph"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path} exists and is not .*--overwrite"):
            check_output(path, kind)
        check_output(path, kind, overwrite=True)
        with pytest.raises(ValueError, match=f"{path} exists and is not .*another folder"):
            check_folder(tmp_path, FolderKind(((path.name, kind),)))
        assert path.read_bytes() == content


def test_a_photograph_is_no_picture_drawn_by_vl(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png exists"):
        check_output(tmp_path / "a.png", PNG)


@pytest.mark.parametrize("folder", [False, True])
def test_one_process_at_a_time_writes_an_output(tmp_path, folder):
    output = tmp_path / "new" / "out"
    command = [sys.executable, "-c", HOLD, str(output), *(["folder"] if folder else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        expected = f"{output}: process {holder.pid} .*is writing"
        with (
            pytest.raises(BlockingIOError, match=expected),
            lock_output(output, folder=folder),
        ):
            pass
        holder.kill()
    with lock_output(output, folder=folder):  # a lock ends with its process
        with pytest.raises(BlockingIOError), lock_output(output, folder=folder):
            pass
        if hasattr(os, "fork") and not (child := os.fork()):
            os._exit(0)  # a worker's copy of the lock is closed
        os.waitpid(child, 0)
    assert not any(path.name.endswith(".lock") for path in tmp_path.rglob("*"))


def test_a_new_writer_removes_what_a_killed_one_has_left(tmp_path):
    output = tmp_path / "a.html"
    others = [tmp_path / name for name in (".a.html.gz.x.part", ".b.html.x.part", "a.html.part")]
    for path in (tmp_path / ".a.html.x_1.part", *others):
        path.write_text("")
    with lock_output(output):
        pass
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_full_disk_names_the_file_and_what_is_kept(tmp_path):
    output = tmp_path / "a.json"
    output.write_text("old")
    with (
        pytest.raises(
            OSError, match=r"a\.json: could not be written: .*; it is as it was before; 3 are kept"
        ) as raised,
        keeping(lambda: "3 are kept"),
        atomic_write(output) as temporary,
        Path("/dev/full").open("w") as full,
    ):
        temporary.write_text("new")
        print("text", file=full, flush=True)
    assert raised.value.filename == str(output)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(KeyboardInterrupt, match="3 are kept"), keeping(lambda: "3 are kept"):
        raise KeyboardInterrupt
