"""Tab-separated lines: split again into what they were made of."""

from hypothesis import given
from hypothesis import strategies as st

from vl.data.tsv import escape_field, tsv_line, unescape_field

# Surrogates too: bytes of file names that are not UTF-8.
TEXTS = st.text(st.characters() | st.sampled_from('\\\t\n\r"\udcff\x85\u2028ntrxu'))


@given(st.lists(TEXTS, min_size=1))
def test_lines_can_be_split_again(fields: list[str]) -> None:
    line = tsv_line(*fields)
    assert len(line.splitlines()) <= 1
    assert [
        field.encode("latin-1", "backslashreplace").decode("unicode_escape")
        for field in line.encode().decode().split("\t")
    ] == fields
    assert [unescape_field(field) for field in line.split("\t")] == fields


def test_escapes_are_those_of_postgresql() -> None:
    assert escape_field('a\tb\nc\rd\\e"f \u00e9') == r"a\tb\nc\rd\\e" + '"f \u00e9'
    assert escape_field("\x1b\u2028\udcff") == r"\x1b\u2028\udcff"
