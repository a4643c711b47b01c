"""Text files line by line, compressed or not; words of texts and labels."""

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
from vl.data.words.texts import plain_words, synonyms, text_lines

COMPRESS = {"plain": bytes, "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
TEXT = "\ufeffThe café\r\n\n a “T-shirt” \x85 of 漢字\u2028\nlast"
LINES = ["The café\r\n", "\n", " a “T-shirt” \x85 of 漢字\u2028\n", "last"]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_lines_of_any_compression(tmp_path, suffix):
    path = tmp_path / "text"  # without a suffix
    path.write_bytes(COMPRESS[suffix](TEXT.encode()))
    assert list(text_lines(path)) == LINES


@pytest.mark.parametrize("suffix", COMPRESS)
def test_advance_counts_every_byte_once(tmp_path, suffix):
    path = tmp_path / "text"
    path.write_bytes(COMPRESS[suffix]("".join(f"line {n}\n" for n in range(50_000)).encode()))
    counts = []
    assert len(list(text_lines(path, advance=counts.append))) == 50_000
    assert len(counts) > 1 or suffix in ("xz", "bz2")
    assert sum(counts) == path.stat().st_size


def test_empty_file(tmp_path):
    (tmp_path / "text").write_bytes(b"")
    assert list(text_lines(tmp_path / "text")) == []


@pytest.mark.parametrize("end", ["", "\n"])
def test_long_line_is_split_at_spaces(tmp_path, end):
    words = [f"wörd{n}" for n in range(100)]
    (tmp_path / "text").write_text(f"first\n{' '.join(words)}{end}" + (f"last{end}" if end else ""))
    parts = list(text_lines(tmp_path / "text", max_line=16))
    assert len(parts) > 40
    assert [word for part in parts for word in part.split()] == [
        "first",
        *words,
        *(["last"] if end else []),
    ]


def test_large_file_of_one_line_is_never_in_memory(tmp_path):
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress(b"word " * 2_500_000, preset=0))  # 12.5 MB
    tracemalloc.start()
    try:
        assert sum(line.count("word") for line in text_lines(path)) == 2_500_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_refuses_long_line_without_spaces(tmp_path):
    (tmp_path / "text").write_bytes(b"a b\n" + b"x" * 17)
    with pytest.raises(FormatError, match=r"text: line 2: .*16 bytes"):
        list(text_lines(tmp_path / "text", max_line=16))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_refuses_other_bytes_than_utf_8(tmp_path, suffix):
    path = tmp_path / "text"
    path.write_bytes(COMPRESS[suffix](b"one\ntwo\nna\xefve\nfour\n"))
    with pytest.raises(FormatError, match="text: line 3: not UTF-8 at byte 2"):
        list(text_lines(path))


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_refuses_truncated_or_damaged_compression(tmp_path, suffix):
    path = tmp_path / "text"
    whole = COMPRESS[suffix]("".join(f"{n} {n * n}\n" for n in range(9000)).encode())
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (whole[:-9], whole[: len(whole) // 2], bytes(damaged)):
        path.write_bytes(content)
        # Of bzip2, what a damaged block holds comes before its checksum.
        with pytest.raises(FormatError, match=r"text: line \d+: .*(or damaged|zero byte)"):
            list(text_lines(path))


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_all_streams_of_a_compressed_file_are_read(tmp_path, suffix):
    path = tmp_path / "text"
    streams = [COMPRESS[suffix](f"{n} é {'x ' * 50_000}\n".encode()) for n in range(5)]
    streams.insert(2, COMPRESS[suffix](b""))
    path.write_bytes(b"".join(streams))
    assert [line.split()[0] for line in text_lines(path)] == list("01234")
    padded = b"".join(stream + bytes(4 * n) for n, stream in enumerate(streams)) + bytes(200_000)
    if suffix == "xz":  # its format 1.2.1, 2.2
        path.write_bytes(padded)
        assert [line.split()[0] for line in text_lines(path)] == list("01234")


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_refuses_damaged_later_stream(tmp_path, suffix):
    path = tmp_path / "text"
    first, second = COMPRESS[suffix](b"one\n"), COMPRESS[suffix](b"two\n")
    for later in (b"\x01" + second[1:], second[:4], second[:-1], b"anything"):
        path.write_bytes(first + later)
        with pytest.raises(FormatError, match=r"text: line [123]: .*damaged"):
            list(text_lines(path))


@pytest.mark.parametrize(
    ("head", "name"), [(b"PK\x03\x04", "zip"), (b"(\xb5/\xfd", "zstd"), (b"7z\xbc\xaf'\x1c", "7z")]
)
def test_refuses_other_compressions(tmp_path, head, name):
    (tmp_path / "text").write_bytes(head + b"abc")
    with pytest.raises(FormatError, match=f"text: .*{name}"):
        list(text_lines(tmp_path / "text"))


def test_refuses_zero_bytes(tmp_path):
    for content in ("one\ntwo\n".encode("utf-16-le"), b"name.txt" + bytes(80) + b"one two\n"):
        (tmp_path / "text").write_bytes(content)
        with pytest.raises(FormatError, match="text: line 1: a zero byte"):
            list(text_lines(tmp_path / "text"))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_pipe(tmp_path, suffix):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=[COMPRESS[suffix](TEXT.encode())])
    thread.start()
    counts = []
    try:
        assert list(text_lines(path, advance=counts.append)) == LINES
    finally:
        thread.join()
    assert sum(counts) == len(TEXT.encode())


def test_operating_system_errors(tmp_path):
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
def test_plain_words(text, words):
    assert plain_words(text) == words


def test_combining_marks_change_no_other_word():
    every = "".join(map(chr, (*range(0x20, 0xD800), *range(0xE000, 0x20000))))
    text = "".join(
        c for c in unicodedata.normalize("NFC", every) if unicodedata.category(c)[0] != "M"
    )
    assert plain_words(f"{text} \u0301") == plain_words(text)  # a slower expression knows marks


def test_no_word_has_spaces_or_underscores():
    every = "".join(f"a{chr(c)}b " for c in range(0x3000) if not 0xD800 <= c < 0xE000)
    for word in plain_words(every):
        assert not re.search(r"[\s_]", word)


def test_synonyms():
    assert synonyms("stop sign, Traffic-sign's , , (St.) Bernard_dog") == [
        ["stop", "sign"],
        ["Traffic-sign's"],
        ["St", "Bernard", "dog"],
    ]
    assert synonyms(" ,-") == []
