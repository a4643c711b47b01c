"""`vl search`: the whole command, its contact sheet, and what it refuses."""

import json

import numpy as np
import pytest

from tests.helpers.tiny_captioner import Tiny, drawings, embedder
from tests.helpers.tiny_labeller import labeller, words, write_embeddings
from vl.__main__ import main
from vl.data.words.label_space import LabelSpace
from vl.encoders.table import ENCODERS
from vl.labelling.labeller import Labeller


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    labeller(LabelSpace(words())).save(tmp_path / "labeller.safetensors")
    return tmp_path / "labeller.safetensors"


@pytest.fixture
def folder(tmp_path):
    paths = drawings(tmp_path / "images", 4)
    (tmp_path / "images/in").mkdir()
    paths[2].rename(tmp_path / "images/in/2.png")
    return tmp_path / "images"


@pytest.fixture
def search(model, folder):
    index = write_embeddings(folder.with_suffix(".npy"), folder, embedder())

    def run(*flags) -> int:
        return main(["search", str(index), "--model", str(model), *map(str, flags)])

    return run


def test_hits_best_first(search, folder, capsys):
    assert search("--image", folder / "in/2.png", "--top-k", 3) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["in/2.png", "1.0000"]
    assert len(lines) == 3
    assert lines == sorted(lines, key=lambda line: -float(line[1]))


def test_sum_with_contact_sheet(search, model, folder, tmp_path, capsys):
    image, sheet = folder / "in/2.png", tmp_path / "sheets" / "hits.png"
    flags = ["--image", image, "--minus", "ball", "--plus", "stop signs", "okapi", "--json"]
    flags += ["--exclude-query", "--contact-sheet", sheet, "--image-dir", folder]
    assert search(*flags) == 0
    stdout, stderr = capsys.readouterr()
    record = json.loads(stdout)
    assert record["query"] == {
        "text": [],
        "image": [str(image)],
        "plus": ["stop signs", "okapi"],
        "minus": ["ball"],
    }
    loaded = Labeller.load(model)
    ball, okapi, sign = (loaded.space.words[word] for word in ("ball", "okapi", "stop_sign"))
    others = ["0.png", "1.png", "3.png"]
    embed = lambda paths: loaded.project(loaded.embedder(paths).mean(1)).numpy()  # noqa: E731
    query = embed([image])[0] - ball + okapi + sign
    cosines = embed([folder / name for name in others]) @ query / np.linalg.norm(query)
    by_name = dict(zip(others, cosines.tolist(), strict=True))
    names = [hit["name"] for hit in record["results"]]
    assert names == sorted(others, key=by_name.get, reverse=True)
    for hit in record["results"]:
        assert hit["cosine"] == pytest.approx(by_name[hit["name"]], abs=1e-3)  # float16
    assert "excluded: in/2.png" in stderr
    assert f"4 images in {sheet}" in stderr
    assert sheet.stat().st_size > 0


def test_unreadable_image_of_the_sheet(search, folder, tmp_path, capsys):
    (folder / "3.png").write_bytes(b"no image")
    sheet = tmp_path / "hits.png"
    assert search("--text", "ball", "--contact-sheet", sheet, "--image-dir", folder) == 1
    stdout, stderr = capsys.readouterr()
    assert len(stdout.splitlines()) == 4
    assert f"vl: error: {folder / '3.png'}" in stderr


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ([], "nothing to search for"),
        (["--minus", "ball"], "nothing to search for"),
        (["--text", "ball", "--top-k", "0"], "--top-k is 0"),
        (["--text", "qqq"], "'qqq'"),
        (["--image", "gone.png"], "gone.png"),
        (["--text", "ball", "--contact-sheet", "a.jpg"], "a.jpg"),
        (["--text", "ball", "--image-dir", "gone"], "gone"),
        (["--text", "ball", "--model", "gone"], "gone"),
    ],
)
def test_invalid_arguments_are_refused(search, capsys, flags, word):
    assert search(*flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert word in stderr


def test_embeddings_of_another_encoder_are_refused(model, folder, capsys):
    index = write_embeddings(folder.with_name("other.npy"), folder, embedder(1))
    assert main(["search", str(index), "--model", str(model), "--text", "ball"]) == 2
    assert f"{index} was made by an encoder" in capsys.readouterr().err


def test_the_contact_sheet_is_no_image_that_is_drawn(search, folder, capsys):
    image = folder / "3.png"
    before = image.read_bytes()
    flags = ["--image", folder / "in/2.png", "--image-dir", folder, "--overwrite"]
    assert search(*flags, "--contact-sheet", image) == 2
    assert f"{image} is read by this command" in capsys.readouterr().err
    assert image.read_bytes() == before
