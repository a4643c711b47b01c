"""Text files as the editors of all systems save them, whole and line by line."""

import bz2
import codecs
import gzip
import lzma
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from vl.data.errors import FormatError
from vl.data.text_files import decode_text, split_lines, text_lines

COMPRESS = {"plain": bytes, "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
# How Notepad, Excel, PowerShell, TextEdit and classic Mac OS save the same lines.
SAVED_BY = {
    "Unix": "the café\n\n漢字\n".encode(),
    "no last line end": "the café\n\n漢字".encode(),
    "Windows": "the café\r\n\r\n漢字\r\n".encode(),
    "UTF-8 with a mark": codecs.BOM_UTF8 + "the café\r\n\r\n漢字\r\n".encode(),
    "UTF-16 LE": codecs.BOM_UTF16_LE + "the café\r\n\r\n漢字\r\n".encode("utf-16-le"),
    "UTF-16 BE": codecs.BOM_UTF16_BE + "the café\n\n漢字".encode("utf-16-be"),
    "UTF-32 LE": codecs.BOM_UTF32_LE + "the café\n\n漢字".encode("utf-32-le"),
    "classic Mac": "the café\r\r漢字\r".encode(),
    "classic Mac with a mark": codecs.BOM_UTF8 + "the café\r\r漢字".encode(),
    "UTF-16 with CR": codecs.BOM_UTF16_LE + "the café\r\r漢字".encode("utf-16-le"),
}
TEXT = "\ufeffThe café\r\n\n a “T-shirt” \x85 of 漢字\u2028\nlast"
LINES = ["The café\r\n", "\n", " a “T-shirt” \x85 of 漢字\u2028\n", "last"]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_lines_of_any_compression(tmp_path, suffix):
    path = tmp_path / "text"  # without a suffix
    path.write_bytes(COMPRESS[suffix](TEXT.encode()))
    assert list(text_lines(path)) == LINES


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_line_end_may_lie_at_any_offset(tmp_path, suffix, encoding, end):
    """Even where the first block that is read ends between CR and LF."""
    path = tmp_path / "text"
    for block in (1 << 12, 1 << 13, 1 << 16, 1 << 17):
        for length in range(block - 3, block + 1):
            first = "x" * (8 * length // int(encoding[4:]))
            # A CR beyond the first block, with none in it, is part of a line.
            text = f"{first}\r\n\r\né" if end == "\r\n" else f"a\r{first}\r\ré"
            path.write_bytes(COMPRESS[suffix](text.encode(encoding)))
            assert [line.rstrip("\r\n") for line in text_lines(path)] == text.split(end)


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
    assert sum(counts) == len(TEXT.encode()) - len(codecs.BOM_UTF8)


def test_operating_system_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(text_lines(tmp_path / "gone"))
    with pytest.raises(IsADirectoryError):
        list(text_lines(tmp_path))


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("editor", SAVED_BY)
def test_every_editor_saves_the_same_lines(tmp_path, editor, compression):
    content = COMPRESS[compression](SAVED_BY[editor])
    (tmp_path / "text").write_bytes(content)
    lines = ["the café", "", "漢字"]
    assert split_lines(decode_text("text", content)) == lines
    assert [line.rstrip("\r\n") for line in text_lines(tmp_path / "text")] == lines


def test_large_utf_16_file_is_read_in_blocks(tmp_path):
    lines = [f"{n} 漢字 \U0001f600\n" for n in range(30_000)]
    (tmp_path / "text").write_bytes("".join(lines).encode("utf-16"))
    assert list(text_lines(tmp_path / "text")) == lines


REFUSED = [  # content, record, key word
    (b"\x1f\x8b[]", None, "damaged \\(gzip\\)"),
    (gzip.compress(b"a" * 99, mtime=0)[:-9], None, "damaged \\(gzip\\)"),
    (lzma.compress(b"a" * 99)[:-9], None, "damaged \\(xz\\)"),
    (b"PK\x03\x04", None, "zip"),
    (b"caf\xe9 au lait", "byte 3", "line 1.*iconv -f WINDOWS-1252"),
    (b"one\r\ncaf\xe9", "byte 8", "line 2.*iconv -f WINDOWS-1252"),
    (codecs.BOM_UTF8 + b"one\ncaf\xe9", "byte 10", "line 2.*iconv"),
    (gzip.compress(b"one\ncaf\xe9", mtime=0), "byte 7", "line 2.*iconv"),
    ("one\ntwo\n".encode("utf-16-le"), "line 1", "zero byte.*iconv -f UTF-16LE"),
    (codecs.BOM_UTF16_LE + b"a", "byte 2", "UTF-16 in line 1: truncated"),
    (codecs.BOM_UTF16_LE + "a\nb".encode("utf-16-le") + b"\x00\xd8", "byte 8", "UTF-16 in line 2"),
]


@pytest.mark.parametrize(("content", "record", "key_word"), REFUSED)
def test_refuses_content_that_is_not_text(tmp_path, content, record, key_word):
    with pytest.raises(FormatError, match=rf"^a\.json: .*{key_word}") as caught:
        decode_text(Path("a.json"), content)
    assert caught.value.record == record
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.json: "):
        list(text_lines(tmp_path / "a.json"))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\r\nb\n", ["a", "b"]),
        ("a\n\nb", ["a", "", "b"]),
        ("a\n\n", ["a", ""]),
        ("a\u2028b\x0cc\rd", ["a\u2028b\x0cc\rd"]),
    ],
)
def test_lines_end_in_line_feeds_only(text, lines):
    assert split_lines(text) == lines
