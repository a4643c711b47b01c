"""`vl embed`: whole or taken up again, bad photographs reported, other encoders' work refused."""

import json

import pytest
import torch

from tests.helpers.tiny_captioner import Tiny, captioner, drawings, embedder, encoder
from vl.__main__ import main
from vl.data.embeddings import EmbeddingWriter, Provenance, load_embeddings
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
    assert "'0.png', '1.png'" in capsys.readouterr().err
    assert not list(tmp_path.glob("photos.npy*"))


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
    assert "are written to a .npy file, not to 'photos.bin'" in capsys.readouterr().err
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
