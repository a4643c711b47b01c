"""`vl embed`: whole or taken up again, bad photographs reported, other encoders' work refused."""

import json
import os
import shutil

import pytest
import torch

from tests.helpers.tiny_captioner import Tiny, captioner, drawings, embedder, encoder
from vl.__main__ import main
from vl.data.embedding_writer import EmbeddingWriter
from vl.data.embeddings import Provenance, load_embeddings
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint
from vl.encoding.embedder import Embedder
from vl.encoding.embedding import embed_files


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    captioner().save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    drawings(tmp_path / "photos", 5)
    return tmp_path / "photos"


def run(weights, out, *paths, flags=()):
    arguments = ["embed", *map(str, paths), "--output", str(out), "--weights", str(weights)]
    return main([*arguments, "--encoder", "tiny", "--batch-size", "2", *flags])


def test_photographs_become_a_file_of_embeddings(weights, photos, tmp_path, capsys):
    (photos / "deeper").mkdir()
    (photos / "4.png").rename(photos / "deeper" / "4.png")
    out = tmp_path / "new" / "photos.npy"
    assert run(weights, out, photos, flags=["--views", "plain", "flip"]) == 0
    held = load_embeddings(out)
    assert held.names == ("0.png", "1.png", "2.png", "3.png", "deeper/4.png")
    assert held.provenance == Provenance(
        "tiny", fingerprint(encoder()), "squash", "float32", ("plain", "flip"), Tiny.width
    )
    expected = embedder(views=("plain", "flip"))([photos / name for name in held.names])
    assert torch.allclose(held.select(held.names), expected, atol=1e-3)  # float16
    assert sorted(each.name for each in out.parent.iterdir()) == ["photos.json", "photos.npy"]
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "embed 5/5" in stderr
    assert f"5 embeddings of width 12 (plain, flip) in {out}" in stderr


def stopped_after(batches, monkeypatch):
    """Ctrl-C while a later batch is encoded."""
    whole = Embedder.stream

    def stream(self, paths):
        for count, part in enumerate(whole(self, paths)):
            if count == batches:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(Embedder, "stream", stream)


def test_what_was_done_before_an_interruption_is_not_done_again(
    weights, photos, tmp_path, monkeypatch, capsys
):
    out, whole = tmp_path / "photos.npy", tmp_path / "whole.npy"
    with monkeypatch.context() as patch:
        stopped_after(1, patch)
        assert run(weights, out, photos) == 130
    assert not out.exists()
    index = json.loads((tmp_path / "photos.json.part").read_text())
    assert index["names"] == ["0.png", "1.png"]
    asked = []
    with monkeypatch.context() as patch:
        stream = Embedder.stream
        patch.setattr(Embedder, "stream", lambda s, paths: stream(s, asked.extend(paths) or paths))
        assert run(weights, out, photos) == 0
    assert [path.name for path in asked] == ["2.png", "3.png", "4.png"]
    assert "2 of them from before" in capsys.readouterr().err
    assert run(weights, whole, photos) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert out.with_suffix(".json").read_bytes() == whole.with_suffix(".json").read_bytes()


def test_photographs_that_turn_bad_before_the_rest_is_done_are_left_out(
    weights, photos, tmp_path, monkeypatch
):
    out = tmp_path / "photos.npy"
    with monkeypatch.context() as patch:
        stopped_after(1, patch)
        assert run(weights, out, photos) == 130
    (photos / "3.png").write_bytes(b"")
    assert run(weights, out, photos) == 1
    assert load_embeddings(out).names == ("0.png", "1.png", "2.png", "4.png")


def test_work_is_saved_every_so_many_seconds(weights, photos, tmp_path, monkeypatch):
    """So that SIGKILL costs little."""
    saves = []
    whole = EmbeddingWriter.save

    def save(self):
        saves.append(len(self.names))
        whole(self)

    monkeypatch.setattr(EmbeddingWriter, "save", save)
    embed_files([photos], tmp_path / "photos.npy", embedder(batch_size=2), save_seconds=0)
    assert {2, 4, 5} <= set(saves)


def test_a_finished_file_is_left_alone(weights, photos, tmp_path):
    out = tmp_path / "photos.npy"
    assert run(weights, out, photos) == 0
    before = (out.read_bytes(), out.with_suffix(".json").read_bytes())
    assert run(weights, out, photos) == 0
    assert (out.read_bytes(), out.with_suffix(".json").read_bytes()) == before


def test_embeddings_of_an_earlier_run_are_kept(weights, photos, tmp_path):
    more = tmp_path / "more"
    drawings(more, 7)
    for name in range(5):
        (more / f"{name}.png").unlink()
    out = tmp_path / "photos.npy"
    assert run(weights, out, photos) == 0
    before = load_embeddings(out)
    assert run(weights, out, more) == 0
    held = load_embeddings(out)
    assert held.names == ("5.png", "6.png", *before.names)
    assert torch.equal(held.select(before.names), before.select(before.names))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "made by another encoder, tiny"),
        (["--resize", "center-crop"], "made by another encoder, tiny"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_the_file_of_another_encoder_is_refused_and_kept(
    weights, photos, tmp_path, monkeypatch, capsys, flags, message, finished
):
    out = tmp_path / "photos.npy"
    with monkeypatch.context() as patch:
        if not finished:
            stopped_after(1, patch)
        run(weights, out, photos)
    before = {path: path.read_bytes() for path in tmp_path.glob("photos.*")}
    capsys.readouterr()
    other = tmp_path / "other.safetensors"
    captioner(encoder=encoder(1)).save(other)
    assert run(other, out, photos, flags=flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert message in stderr
    assert "choose another file" in stderr
    assert {path: path.read_bytes() for path in tmp_path.glob("photos.*")} == before


def test_other_views_or_another_fit_are_refused(weights, photos, tmp_path, capsys):
    out = tmp_path / "photos.npy"
    assert run(weights, out, photos) == 0
    for flags in (["--resize", "center-crop"], ["--views", "plain", "flip"]):
        assert run(weights, out, photos, flags=flags) == 2
        assert "made with resize squash, float32, views plain," in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--views", "sideways"], "no view sideways; there are plain"),
        (["--views", "flip", "flip"], "one of them is there twice"),
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "-3"], "--batch-size"),
        (["--device", "tpu"], "device is 'tpu'; it must be auto, cpu, cuda"),
        (["--device", "cuda:99"], "device is cuda:99, but"),
        (["--encoder", "tinny"], "no encoder 'tinny'; close to it are tiny"),
    ],
)
def test_a_choice_that_makes_no_sense_leaves_nothing_behind(
    weights, photos, tmp_path, capsys, flags, message
):
    out = tmp_path / "photos.npy"
    assert run(weights, out, photos, flags=flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith("vl: error: ")
    assert message in stderr
    assert not list(tmp_path.glob("photos.*"))


def test_bad_photographs_are_reported_and_the_rest_is_done(weights, photos, tmp_path, capsys):
    (photos / "1.png").write_bytes(b"")
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:70])
    gone = tmp_path / "gone.png"
    out = tmp_path / "photos.npy"
    assert run(weights, out, photos, gone) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert f"vl: error: {photos / '1.png'}: the file is empty\n" in stderr
    assert f"vl: error: {photos / '3.png'}: the image is truncated or damaged" in stderr
    assert f"vl: error: {gone}: No such file or directory\n" in stderr
    assert "3 inputs failed" in stderr
    assert load_embeddings(out).names == ("0.png", "2.png", "4.png")


@pytest.mark.parametrize("paths", [[], ["empty"], ["empty", "other"]])
def test_nothing_to_do_is_wrong_use(weights, tmp_path, capsys, paths):
    folders = [tmp_path / name for name in paths]
    for folder in folders:
        folder.mkdir()
        (folder / "notes.txt").write_text("no photograph")
    out = tmp_path / "photos.npy"
    assert run(weights, out, *folders) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    expected = "the folder has no image" if paths else "no images to read"
    assert expected in stderr
    assert all(str(folder) in stderr for folder in folders)
    assert not out.exists()


def test_two_photographs_of_one_name_are_refused(weights, photos, tmp_path, capsys):
    drawings(tmp_path / "others", 2)
    out = tmp_path / "photos.npy"
    assert run(weights, out, photos, tmp_path / "others") == 2
    error = capsys.readouterr().err
    assert "'0.png', '1.png'" in error
    assert str(photos / "0.png") in error and str(tmp_path / "others" / "0.png") in error
    assert not list(tmp_path.glob("photos.npy*"))


def exact(photos, name):
    return embedder()([photos / name]).half().float()


def rewrite(photo, content, *, keep_time):
    before = photo.stat()
    photo.write_bytes(content)
    if keep_time:
        os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("same_size", [True, False])
@pytest.mark.parametrize("finished", [True, False])
def test_changed_photographs_are_embedded_again(
    weights, photos, tmp_path, monkeypatch, capsys, finished, same_size
):
    out = tmp_path / "photos.npy"
    with monkeypatch.context() as patch:
        if not finished:
            stopped_after(1, patch)
        run(weights, out, photos)
    content = (photos / "4.png").read_bytes()
    size = (photos / "1.png").stat().st_size
    if same_size:  # bytes after the image mean nothing
        size = max(size, len(content))
        rewrite(photos / "1.png", (photos / "1.png").read_bytes().ljust(size), keep_time=False)
        run(weights, out, photos)
        rewrite(photos / "1.png", content.ljust(size), keep_time=False)
    else:
        rewrite(photos / "1.png", content, keep_time=True)
    capsys.readouterr()
    assert run(weights, out, photos) == 0
    held = load_embeddings(out)
    assert held.names == tuple(f"{name}.png" for name in range(5))
    assert torch.allclose(held.select(["1.png"]), exact(photos, "1.png"), atol=1e-3)
    assert torch.allclose(held.select(["0.png"]), exact(photos, "0.png"), atol=1e-3)
    assert (
        "images that have changed since they were embedded, and are embedded again: 1"
        in capsys.readouterr().err
    )


def test_a_new_time_of_the_same_content_changes_no_vector(weights, photos, tmp_path, capsys):
    out = tmp_path / "photos.npy"
    assert run(weights, out, photos) == 0
    before = out.read_bytes()
    for photo in photos.iterdir():
        os.utime(photo, ns=(1, 1))
    capsys.readouterr()
    assert run(weights, out, photos) == 0
    assert "5 of them from before" in capsys.readouterr().err
    assert out.read_bytes() == before
    rewrite(photos / "0.png", b"x" * (photos / "0.png").stat().st_size, keep_time=True)
    assert run(weights, out, photos) == 0  # the new time was stored: the content is not read


@pytest.mark.parametrize("as_files", [True, False])
def test_photographs_of_another_folder_and_one_name_are_refused(
    weights, photos, tmp_path, capsys, as_files
):
    others = tmp_path / "others"
    drawings(others, 7)
    for name in range(5):
        (others / f"{6 - name}.png").replace(others / f"{name}.png")
    out = tmp_path / "photos.npy"
    assert run(weights, out, *(sorted(photos.iterdir()) if as_files else [photos])) == 0
    before = {path: path.read_bytes() for path in (out, out.with_suffix(".json"))}
    assert run(weights, out, *(sorted(others.iterdir()) if as_files else [others])) == 2
    error = capsys.readouterr().err
    assert str(photos / "0.png") in error and str(others / "0.png") in error
    assert "write another file" in error
    assert {path: path.read_bytes() for path in tmp_path.glob("photos.*")} == before
    assert run(weights, tmp_path / "both.npy", photos.parent) == 0
    assert {"photos/0.png", "others/0.png"} <= set(load_embeddings(tmp_path / "both.npy").names)


def test_a_folder_that_was_moved_or_linked_keeps_its_embeddings(weights, photos, tmp_path, capsys):
    out, moved = tmp_path / "photos.npy", tmp_path / "moved"
    assert run(weights, out, photos) == 0
    before = out.read_bytes()
    (tmp_path / "link").symlink_to(photos)
    assert run(weights, out, tmp_path / "link") == 0
    shutil.move(photos, moved)
    capsys.readouterr()
    assert run(weights, out, moved) == 0
    assert "5 of them from before" in capsys.readouterr().err
    assert out.read_bytes() == before
    shutil.move(moved, photos)
    shutil.copyfile(photos / "4.png", photos / "0.png")
    assert run(weights, out, photos) == 2  # of the folder before nothing is left to compare
    assert str(moved / "0.png") in capsys.readouterr().err


def test_embeddings_of_a_version_that_stored_no_files_are_made_anew(
    weights, photos, tmp_path, capsys
):
    out, index = tmp_path / "photos.npy", tmp_path / "photos.json"
    assert run(weights, out, photos) == 0
    expected = out.read_bytes()
    content = json.loads(index.read_text())
    del content["files"], content["folders"]
    index.write_text(json.dumps(content))
    shutil.copyfile(photos / "4.png", photos / "0.png")
    assert load_embeddings(out).names == tuple(f"{name}.png" for name in range(5))
    capsys.readouterr()
    assert run(weights, out, photos) == 0
    assert "5 embeddings do not say" in capsys.readouterr().err
    assert out.read_bytes() != expected
    held = load_embeddings(out)
    assert torch.equal(held.select(["0.png"]), held.select(["4.png"]))


def test_a_photograph_given_twice_is_embedded_once(weights, photos, tmp_path):
    out = tmp_path / "photos.npy"
    assert run(weights, out, photos, photos / "2.png", photos) == 0
    assert load_embeddings(out).names == tuple(f"{name}.png" for name in range(5))


def test_names_are_those_below_the_folder_that_was_given(weights, photos, tmp_path, monkeypatch):
    drawings(tmp_path / "alone", 7)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "photos.npy"
    assert run(weights, out, "photos", "alone/6.png") == 0
    assert load_embeddings(out).names == (*(f"{name}.png" for name in range(5)), "6.png")
    assert run(weights, tmp_path / "all.npy", ".") == 0
    assert "photos/3.png" in load_embeddings(tmp_path / "all.npy").names


def test_another_suffix_or_place_is_refused(weights, photos, tmp_path, capsys):
    assert run(weights, tmp_path / "photos.bin", photos) == 2
    assert "photos.bin: for embeddings the name must end in .npy" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    assert run(weights, tmp_path / "file" / "photos.npy", photos) == 2
    assert capsys.readouterr().err.startswith("vl: error: ")


def test_everything_compiled_and_in_bfloat16_is_near(weights, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module, options: module)
    exact, rough = tmp_path / "exact.npy", tmp_path / "rough.npy"
    assert run(weights, exact, photos) == 0
    flags = ["--precision", "bfloat16", "--compile", "always"]
    assert run(weights, rough, photos, flags=flags) == 0
    names = load_embeddings(exact).names
    assert torch.allclose(
        load_embeddings(rough).select(names), load_embeddings(exact).select(names), atol=0.01
    )
