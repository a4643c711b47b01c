"""Text and JSON are read alike whatever packs them, and every fault names file and place."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from vl.data.errors import FormatError
from vl.data.files import decode_text, json_type, parse_json

PATH = Path("a.json")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_is_unpacked_and_decoded(pack: Callable[[bytes], bytes], encoding: str) -> None:
    assert decode_text(PATH, pack("Grüße 犬\n".encode(encoding))) == "Grüße 犬\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b[]", r"^a\.json: this gzip cannot be unpacked: "),
        (gzip.compress(b"a" * 99, mtime=0)[:-9], r"^a\.json: this gzip cannot be unpacked: "),
        (b"caf\xe9 au lait", r"^a\.json: byte 3: this is not UTF-8: "),
    ],
)
def test_what_is_no_text_is_named(content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        decode_text(PATH, content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", r"^a\.json: the file is empty$"),
        ('[\n{"a": 1,}]', r"^a\.json: line 2 column \d+: this is not JSON: "),
        ("[" * 100_000, r"^a\.json: this JSON cannot be read: "),
        ("9" * 5000, r"^a\.json: this JSON cannot be read: "),
    ],
)
def test_what_is_no_json_is_named(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_json(PATH, text)


def test_pairs_are_seen_before_they_are_an_object() -> None:
    assert parse_json(PATH, '{"a": 1, "a": 2}') == {"a": 2}
    assert parse_json(PATH, '{"a": 1, "a": 2}', object_pairs_hook=list) == [("a", 1), ("a", 2)]


def test_every_value_has_a_name() -> None:
    values = [None, {}, [], "", True, 7, 1.5]
    names = "null, an object, a list, a string, true or false, the number 7, the number 1.5"
    assert ", ".join(map(json_type, values)) == names
