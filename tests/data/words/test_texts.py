"""Text files line by line, packed or not; what is a word; labels cut the same way."""

import bz2
import gzip
import lzma
import os
import re
import threading
import tracemalloc
import unicodedata

import pytest

from vl.data.errors import FormatError
from vl.data.words import texts
from vl.data.words.texts import plain_words, synonyms, text_lines

PACKERS = {"plain": bytes, "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
TEXT = "\ufeffThe café\r\n\n a “T-shirt” \x85 of 漢字\u2028\nlast"
LINES = ["The café\r\n", "\n", " a “T-shirt” \x85 of 漢字\u2028\n", "last"]


@pytest.mark.parametrize("packed", PACKERS)
def test_lines_come_as_they_stand_however_the_file_is_packed(tmp_path, packed):
    path = tmp_path / "text"  # the name says nothing
    path.write_bytes(PACKERS[packed](TEXT.encode()))
    assert list(text_lines(path)) == LINES


@pytest.mark.parametrize("packed", PACKERS)
def test_every_byte_of_the_file_is_told_once(tmp_path, packed):
    path = tmp_path / "text"
    path.write_bytes(PACKERS[packed]("".join(f"line {n}\n" for n in range(50_000)).encode()))
    told = []
    assert len(list(text_lines(path, advance=told.append))) == 50_000
    assert len(told) > 1 or packed in ("xz", "bz2")
    assert sum(told) == path.stat().st_size


def test_an_empty_file_has_no_lines(tmp_path):
    (tmp_path / "text").write_bytes(b"")
    assert list(text_lines(tmp_path / "text")) == []


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_long_line_is_split_at_spaces(tmp_path, end):
    words = [f"wörd{number}" for number in range(100)]
    (tmp_path / "text").write_text(f"first\n{' '.join(words)}{end}" + (f"last{end}" if end else ""))
    parts = list(text_lines(tmp_path / "text", max_line=16))
    assert len(parts) > 40
    assert [word for part in parts for word in part.split()] == [
        "first",
        *words,
        *(["last"] if end else []),
    ]


def test_a_large_file_of_one_line_is_not_held_in_memory(tmp_path):
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress(b"word " * 2_500_000, preset=0))  # 12.5 MB
    tracemalloc.start()
    try:
        assert sum(line.count("word") for line in text_lines(path)) == 2_500_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_refuses_a_long_line_without_spaces(tmp_path):
    (tmp_path / "text").write_bytes(b"a b\n" + b"x" * 17)
    with pytest.raises(FormatError, match=r"text: line 2: .*16 bytes without a space"):
        list(text_lines(tmp_path / "text", max_line=16))


@pytest.mark.parametrize("packed", PACKERS)
def test_a_line_that_is_not_utf_8_is_named(tmp_path, packed):
    path = tmp_path / "text"
    path.write_bytes(PACKERS[packed](b"one\ntwo\nna\xefve\nfour\n"))
    with pytest.raises(FormatError, match="text: line 3: not UTF-8 at byte 2 of the line"):
        list(text_lines(path))


@pytest.mark.parametrize("packed", ["gz", "xz", "bz2"])
def test_a_packed_file_that_is_cut_short_or_damaged_is_refused(tmp_path, packed):
    path = tmp_path / "text"
    whole = PACKERS[packed]("".join(f"{n} {n * n}\n" for n in range(9000)).encode())
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (whole[:-9], whole[: len(whole) // 2], bytes(damaged)):
        path.write_bytes(content)
        # Of bzip2, what a damaged block holds comes before its checksum.
        with pytest.raises(FormatError, match=r"text: line \d+: .*(or damaged|zero byte)"):
            list(text_lines(path))


@pytest.mark.parametrize("packed", ["gz", "xz", "bz2"])
def test_all_streams_of_a_packed_file_are_read(tmp_path, packed):
    path = tmp_path / "text"
    streams = [PACKERS[packed](f"{n} é {'x ' * 50_000}\n".encode()) for n in range(5)]
    streams.insert(2, PACKERS[packed](b""))
    path.write_bytes(b"".join(streams))
    assert [line.split()[0] for line in text_lines(path)] == list("01234")
    padded = b"".join(stream + bytes(4 * n) for n, stream in enumerate(streams)) + bytes(200_000)
    if packed == "xz":  # its format 1.2.1, 2.2
        path.write_bytes(padded)
        assert [line.split()[0] for line in text_lines(path)] == list("01234")


@pytest.mark.parametrize("packed", ["gz", "xz", "bz2"])
def test_a_later_stream_that_is_damaged_is_not_taken_for_the_end(tmp_path, packed):
    path = tmp_path / "text"
    first, second = PACKERS[packed](b"one\n"), PACKERS[packed](b"two\n")
    for later in (b"\x01" + second[1:], second[:4], second[:-1], b"anything"):
        path.write_bytes(first + later)
        with pytest.raises(FormatError, match=r"text: line [123]: .* truncated or damaged"):
            list(text_lines(path))


@pytest.mark.parametrize(
    ("head", "kind"), [(b"PK\x03\x04", "zip"), (b"(\xb5/\xfd", "zstd"), (b"7z\xbc\xaf'\x1c", "7z")]
)
def test_what_other_packers_made_is_told_by_name(tmp_path, head, kind):
    (tmp_path / "text").write_bytes(head + b"abc")
    with pytest.raises(FormatError, match=f"text: compressed as {kind}"):
        list(text_lines(tmp_path / "text"))


def test_letters_with_zeros_between_are_no_text(tmp_path):
    for content in ("one\ntwo\n".encode("utf-16-le"), b"name.txt" + bytes(80) + b"one two\n"):
        (tmp_path / "text").write_bytes(content)
        with pytest.raises(FormatError, match="text: line 1: a zero byte: an archive, UTF-16 or"):
            list(text_lines(tmp_path / "text"))


@pytest.mark.parametrize("packed", PACKERS)
def test_a_pipe_is_read_as_a_file_is(tmp_path, packed):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=[PACKERS[packed](TEXT.encode())])
    thread.start()
    told = []
    try:
        assert list(text_lines(path, advance=told.append)) == LINES
    finally:
        thread.join()
    assert sum(told) == len(TEXT.encode())


def test_an_error_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(text_lines(tmp_path / "gone"))
    with pytest.raises(IsADirectoryError):
        list(text_lines(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The T-shirt's 3.5 m", ["The", "T-shirt's", "3", "5", "m"]),
        ("'no_one' -- a--b rock'n'roll-", ["no", "one", "a", "b", "rock'n'roll"]),
        ("1,000 x2 m² A4", ["1", "000", "x2", "m²", "A4"]),
        ("don\u2019t e\u2010mail co\u00adop", ["don't", "e-mail", "coop"]),
        ("cafe\u0301", ["café"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("jack-o'-lantern o'clock", ["jack-o", "lantern", "o'clock"]),
        ("\u0301 - ' _ …", []),
        ("", []),
    ],
)
def test_words_are_letters_and_digits_with_apostrophes_and_hyphens_inside(text, words):
    assert plain_words(text) == words


def test_the_quick_way_and_the_thorough_one_find_the_same_words():
    every = "".join(map(chr, (*range(0x20, 0xD800), *range(0xE000, 0x20000))))
    text = "".join(
        c for c in unicodedata.normalize("NFC", every) if unicodedata.category(c)[0] != "M"
    )
    assert texts._WORD.findall(text) == texts._marked_word().findall(text)


def test_no_word_has_what_joins_words_or_what_parts_them():
    every = "".join(f"a{chr(c)}b " for c in range(0x3000) if not 0xD800 <= c < 0xE000)
    for word in plain_words(every):
        assert not re.search(r"[\s_]", word)


def test_a_label_is_cut_at_commas_and_then_as_a_text_is():
    assert synonyms("stop sign, Traffic-sign's , , (St.) Bernard_dog") == [
        ["stop", "sign"],
        ["Traffic-sign's"],
        ["St", "Bernard", "dog"],
    ]
    assert synonyms(" ,-") == []
