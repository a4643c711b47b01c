"""Transfers: whole, or resumed where they broke off, or refused."""

import hashlib
import random

import pytest

from tests.helpers.file_server import Behaviour, serve
from vl.data.download.transfer import fetch
from vl.data.errors import FormatError

CONTENT = random.Random(0).randbytes(300_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
PAGE = b"\n<!DOCTYPE html><html><body>moved</body></html>"


def get(behaviour, part, **settings):
    """Fetch, and count what is reported."""
    counts = []
    with serve(behaviour) as address:
        expected = {"size": len(CONTENT), "digest": DIGEST, "timeout": 5.0, **settings}
        fetch(f"{address}/file.bin", part, on_bytes=counts.append, **expected)
    return sum(counts)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour(etag=""),
        Behaviour(etag='W/"1"'),
        Behaviour(length=-1),
        Behaviour(redirect="/target"),
        Behaviour(cuts=[100_000, 1, 50_000]),
        Behaviour(cuts=[100_000], ranges=False),
        Behaviour(cuts=[100_000], etag=""),
        Behaviour(cuts=[100_000], length=-1),
        Behaviour(cuts=[0]),
    ],
)
def test_file_is_received_whole(tmp_path, behaviour):
    behaviour.content = CONTENT
    assert get(behaviour, tmp_path / "part") == len(CONTENT)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_next_call_continues_where_the_last_one_broke_off(tmp_path):
    part, behaviour = tmp_path / "part", Behaviour(CONTENT, cuts=[70_000, 0, 0])
    with pytest.raises(OSError, match="broke off after 70,000"):
        get(behaviour, part)
    assert part.stat().st_size == 70_000
    get(behaviour, part)
    assert part.read_bytes() == CONTENT
    assert behaviour.requests[-1]["Range"] == "bytes=70000-"
    assert behaviour.requests[-1]["If-Range"] == '"1"'


@pytest.mark.parametrize(
    ("etag", "change"),
    [('"1"', {"etag": '"2"'}), ('"1"', {"etag": ""}), ('"1"', {"ranges": False}), ("", {})],
)
def test_another_version_is_not_appended_to_the_first(tmp_path, etag, change):
    """A changed file starts again; in the last case only its length tells."""
    part, behaviour = tmp_path / "part", Behaviour(b"x" * 200_000, etag, cuts=[70_000, 0, 0])
    with pytest.raises(OSError, match="broke off"):
        get(behaviour, part, size=None)
    behaviour.content, behaviour.cuts = CONTENT, []
    for name, value in change.items():
        setattr(behaviour, name, value)
    get(behaviour, part)
    assert part.read_bytes() == CONTENT


def test_file_that_became_shorter_starts_again(tmp_path):
    part, behaviour = tmp_path / "part", Behaviour(CONTENT + CONTENT, cuts=[400_000, 0, 0])
    with pytest.raises(OSError, match="broke off"):
        get(behaviour, part, size=None)
    behaviour.content, behaviour.cuts = CONTENT, []
    get(behaviour, part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [
        (Behaviour(PAGE), "web page"),
        (Behaviour(PAGE, content_type="text/html; charset=utf-8"), "web page"),
        (Behaviour(CONTENT, content_type="text/html"), "web page"),
        (Behaviour(CONTENT[:-1]), "299,999 bytes, expected 300,000"),
        (Behaviour(CONTENT + b"x"), "300,001 bytes, expected 300,000"),
        (Behaviour(CONTENT[:-1], length=-1), "299,999 bytes, expected 300,000"),
        (Behaviour(CONTENT + b"x", length=-1), "more bytes"),
        (Behaviour(b""), "0 bytes"),
        (Behaviour(CONTENT[::-1]), "sha256"),
    ],
)
def test_other_files_are_refused_and_deleted(tmp_path, behaviour, word):
    with pytest.raises(FormatError, match=word) as error:
        get(behaviour, tmp_path / "part")
    assert "/file.bin" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [
        (Behaviour(status=404), "404"),
        (Behaviour(CONTENT[:1000], length=len(CONTENT)), "contradict"),
        (Behaviour(CONTENT, stall=30.0), "broke off after 0|no answer"),
        (Behaviour(redirect="file:///etc/passwd"), "file:///etc/passwd"),
        (Behaviour(redirect="ftp://127.0.0.1/file"), "ftp://127.0.0.1/file"),
        (Behaviour(redirect="/again"), "302"),
    ],
)
def test_broken_servers_are_errors(tmp_path, behaviour, word):
    with pytest.raises(OSError, match=word):
        get(behaviour, tmp_path / "part", timeout=0.2 if behaviour.stall else 5.0)


def test_no_network_is_an_error_that_names_the_file(tmp_path):
    with serve(Behaviour()) as address:
        pass  # nobody listens there any more
    with pytest.raises(OSError, match=r"file\.bin: no connection"):
        fetch(f"{address}/file.bin", tmp_path / "part", timeout=1.0)


def test_without_digest_the_size_is_checked(tmp_path):
    assert get(Behaviour(CONTENT[::-1]), tmp_path / "part", digest="") == len(CONTENT)
    with pytest.raises(FormatError, match="expected 300,000"):
        get(Behaviour(CONTENT[1:]), tmp_path / "other", digest="")
