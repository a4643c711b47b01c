"""Data sets into their folder: complete or absent, one process at a time, and only when asked."""

import hashlib
import io
import sys
import zipfile
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tests.helpers.file_server import Behaviour, serve
from vl.__main__ import main
from vl.data.download.datasets import DATASETS, DataFile, Dataset, human_size
from vl.data.download.download import check, download, home, missing
from vl.data.errors import FormatError

WORDS = b"the 0.1 0.2\n"
DIGEST = f"md5:{hashlib.md5(WORDS, usedforsecurity=False).hexdigest()}"
ZIPPED = io.BytesIO()
with zipfile.ZipFile(ZIPPED, "w") as file:
    file.writestr("top/a.txt", "a")
TEXT = DataFile("http://nowhere.invalid/b.txt?x", len(WORDS), DIGEST, "text/b.txt")
ARCHIVE = DataFile(
    "http://nowhere.invalid/a.zip", len(ZIPPED.getvalue()), "", "content", unpacked_size=100
)


def dataset(*files):
    return Dataset("summary", "terms", "page", files)


@pytest.mark.parametrize("size", [None, 12, 13])
def test_files_are_downloaded_once(tmp_path, size):
    text = replace(TEXT, size=size or len(WORDS))
    behaviour = Behaviour(WORDS)
    with serve(behaviour) as mirror:
        if size == 13:
            with pytest.raises(FormatError, match=r"b\.txt"):
                download(dataset(text), tmp_path, mirror=mirror)
            assert missing(dataset(text), tmp_path) == [text]
            return
        download(dataset(text), tmp_path, mirror=f"{mirror}/folder/")
        behaviour.content = ZIPPED.getvalue()
        download(dataset(text, ARCHIVE), tmp_path, mirror=mirror)
        download(dataset(text, ARCHIVE), tmp_path, mirror=mirror)
    assert [request["path"] for request in behaviour.requests] == ["/folder/b.txt", "/a.zip"]
    assert (tmp_path / "text/b.txt").read_bytes() == WORDS
    assert (tmp_path / "content/a.txt").read_text() == "a"
    assert {path.name for path in tmp_path.rglob("*")} == {*("text", "b.txt", "content", "a.txt")}


def test_an_unsafe_archive_leaves_nothing(tmp_path):
    with serve(Behaviour(ZIPPED.getvalue())) as mirror:
        bomb = replace(ARCHIVE, members=("top/none",))
        with pytest.raises(FormatError, match="none"):
            download(dataset(bomb), tmp_path, mirror=mirror)
    assert list(tmp_path.iterdir()) == []


def test_two_downloads_do_not_collide(tmp_path):
    if sys.platform == "win32":
        pytest.skip("no lock")
    refusals = []

    def second(count):
        with pytest.raises(BlockingIOError, match=str(tmp_path)) as error:
            download(dataset(TEXT), tmp_path, mirror="http://127.0.0.1:9")
        refusals.append(error)

    with serve(Behaviour(WORDS)) as mirror:
        download(dataset(TEXT), tmp_path, mirror=mirror, on_bytes=second)
    assert refusals
    assert (tmp_path / "text/b.txt").read_bytes() == WORDS


@pytest.mark.parametrize("mirror", ["file:///data", "/data", "ftp://host/data"])
def test_mirrors_are_on_the_web(tmp_path, mirror):
    with pytest.raises(ValueError, match="http"):
        download(dataset(TEXT), tmp_path, mirror=mirror)


def test_a_full_disk_is_refused_first(tmp_path):
    large = replace(TEXT, size=10**18)
    with pytest.raises(OSError, match=r"1e\+09 GB are needed"):
        download(dataset(large), tmp_path, mirror="http://127.0.0.1:9")


def test_home_is_a_cache_unless_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("VL_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert home() == tmp_path / ".cache/vl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home() == tmp_path / "cache/vl"
    monkeypatch.setenv("VL_HOME", "~/data")
    assert home() == tmp_path / "data"


def test_table_says_what_one_must_know():
    for name, entry in DATASETS.items():
        assert entry.summary and entry.terms and entry.page.startswith("https://"), name
        outputs = [file.output for file in entry.files]
        assert len(set(outputs)) == len(outputs)
        for file in entry.files:
            assert urlsplit(file.url).scheme in ("http", "https")
            algorithm, _, digest = file.digest.partition(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
            assert file.url.endswith(".zip") == (file.unpacked_size > 0)
    assert check(ARCHIVE).startswith("its size")
    assert human_size(53_533_754) == "53.5 MB"


def test_command(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("VL_HOME", str(tmp_path))
    assert main(["download", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(DATASETS)
    assert "19.3 GB" not in lines[0] and "20.2 GB" in lines[2]
    for arguments, word in [
        ([], "--list"),
        (["bvlc-googlenet", "--list"], "--list"),
        (["nothing"], "choose from bvlc-googlenet"),
        (["flickr8k"], "https://forms.illinois.edu"),
        (["bvlc-googlenet", "--timeout", "0"], "--timeout"),
        (["coco-2017-images"], "--yes"),
        (["bvlc-googlenet", "--mirror", "file:///"], "mirror"),
    ]:
        assert main(["download", *arguments]) == 2
        output = capsys.readouterr()
        assert word in output.err
        assert output.out == ""
    with serve(Behaviour(b"<html>moved</html>")) as mirror:
        assert main(["download", "bvlc-googlenet", "--mirror", mirror]) == 2
    assert "web page" in capsys.readouterr().err
    there = tmp_path / "bvlc-googlenet/bvlc_googlenet.caffemodel"
    there.parent.mkdir(exist_ok=True)
    there.write_bytes(b"")
    assert main(["download", "bvlc-googlenet"]) == 0
    assert capsys.readouterr().out == f"{there.parent}\n"
