"""Lists of labels: files, command lines, WordNet ids, and what is there twice."""

import unicodedata

import pytest

from vl.data.errors import FormatError
from vl.data.words.labels import LabelList, of, one, parse, read
from vl.data.words.texts import synonyms

NAMES = {"n01440764": ("tench", "Tinca tinca"), "n02012849": ["crane"], "n03126707": ["crane"]}


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "labels.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_line_is_a_label_and_its_commas_part_synonyms(written):
    found = read(written("tench, Tinca tinca\n  okapi \nelectric guitar"))
    assert found == LabelList(("tench, Tinca tinca", "okapi", "electric guitar"), (None,) * 3, ())


@pytest.mark.parametrize("parting", [" ", "\t", "  ", ",", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_may_begin_with_an_id(written, parting, end):
    text = f"n01440764{parting}tench, Tinca tinca{end}n1 way street{end}v00001740{parting}breathe"
    found = read(written(text))
    assert found.labels == ("tench, Tinca tinca", "n1 way street", "breathe")
    assert found.ids == ("n01440764", None, "v00001740")


def test_an_id_alone_has_the_words_of_wordnet(written):
    found = read(written("n02012849\nokapi\nn01440764\n"), names=NAMES)
    assert found.labels == ("crane", "okapi", "tench, Tinca tinca")
    assert found.ids == ("n02012849", None, "n01440764")
    assert of(str(written("n01440764")), names=NAMES).labels == ("tench, Tinca tinca",)
    assert of("n01440764, okapi", names=NAMES).ids == ("n01440764", None)


def test_words_on_the_line_count_more_than_those_of_wordnet(written):
    assert read(written("n01440764 doctor fish"), names=NAMES).labels == ("doctor fish",)


def test_an_id_alone_needs_wordnet_and_must_be_in_it(written):
    path = written("okapi\nn01440764\n")
    with pytest.raises(FormatError, match=r"labels.txt: line 2: n01440764 .* give --wordnet"):
        read(path)
    with pytest.raises(FormatError, match=r"line 2: n01440764 .* no such id"):
        read(path, names={})
    with pytest.raises(ValueError, match=r"item 2 of the labels: n01440764 .* --wordnet"):
        parse("okapi, n01440764")


def test_a_command_line_has_labels_between_its_commas():
    found = parse("okapi, electric guitar ,stop sign")
    assert found == LabelList(("okapi", "electric guitar", "stop sign"), (None,) * 3, ())


def test_empty_lines_and_items_are_counted(written):
    found = read(written("\nokapi\n \t\n, ,\nzebra\n\n"))
    assert found.labels == ("okapi", "zebra")
    assert found.notes == ("4 empty lines are left out, at first line 1",)
    assert parse("a,,b").notes == ("an empty item is left out, at first item 2",)


@pytest.mark.parametrize(
    "same",
    ["stop sign", "Stop  SIGN", " stop\u00a0sign ", "STOP SIGN"],
)
def test_what_differs_in_capitals_and_blanks_alone_is_one_label(written, same):
    found = read(written(f"stop sign\nokapi\n{same}\nokapi\n"))
    assert found.labels == ("stop sign", "okapi")
    assert found.ids == (None, None)
    (note,) = found.notes
    assert note == (
        f"2 labels are there already and left out, at first {same.strip()!r} in line 3, "
        "which is line 1"
    )


def test_two_spellings_of_a_letter_are_one_label():
    apart = unicodedata.normalize("NFD", "Café")
    assert apart != "Café"
    found = parse(f"café, {apart}, straße, STRASSE, キリン, cafe")
    assert found.labels == ("café", "straße", "キリン", "cafe")
    assert "2 labels are there already" in found.notes[0]
    assert "item 2, which is item 1" in found.notes[0]


def test_two_ids_with_the_same_words_are_two_labels_and_one_id_is_one(written):
    found = read(written("n02012849 crane\nn03126707 crane\ncrane\nn02012849 bird\n"))
    assert found.labels == ("crane", "crane", "crane")
    assert found.ids == ("n02012849", "n03126707", None)
    assert found.notes == (
        "a label is there already and left out, at first 'n02012849' in line 4, which is line 1",
    )


def test_one_line_with_commas_is_told_to_be_one_label(written):
    found = read(written("okapi, zebra\n"))
    assert found.labels == ("okapi, zebra",)
    assert "one label with synonyms" in found.notes[0]
    assert read(written("n01440764 tench, Tinca tinca\n")).notes == ()
    assert read(written("okapi\n")).notes == ()


@pytest.mark.parametrize("text", ["", "\n \n", ",\n", "\ufeff"])
def test_a_list_without_a_label_is_refused(written, text):
    with pytest.raises(FormatError, match=r"labels\.txt: there is no label in it"):
        read(written(text))


@pytest.mark.parametrize("text", ["", "  ", ",", " , ,"])
def test_a_command_line_without_a_label_is_refused(text):
    with pytest.raises(ValueError, match="there is no label in"):
        of(text)


def test_what_is_no_text_is_refused_with_its_line(written):
    with pytest.raises(FormatError, match="line 2: not UTF-8"):
        read(written(b"okapi\ncaf\xe9\n"))
    with pytest.raises(FormatError, match="line 1: a zero byte"):
        read(written("okapi".encode("utf-16-le")))
    with pytest.raises(FormatError, match="line 2: a tab parts a WordNet id"):
        read(written("okapi\n3\tzebra\n"))
    with pytest.raises(ValueError, match="several lines"):
        parse("okapi\nzebra, horse")


def test_a_byte_order_mark_is_no_part_of_the_first_label(written):
    assert read(written("\ufeffokapi\nokapi\n")).labels == ("okapi",)


def test_a_file_is_read_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert of("okapi").labels == ("okapi",)
    (tmp_path / "okapi").write_text("zebra\n")
    assert of("okapi").labels == ("zebra",)
    assert of(str(tmp_path / "okapi")).labels == ("zebra",)


@pytest.mark.parametrize("name", ["lists/okapi", "lists\\okapi", "a.txt", "b.CSV", "c.json"])
def test_a_file_that_is_not_there_is_no_label(name):
    with pytest.raises(FileNotFoundError, match="no such file of labels") as raised:
        of(name)
    assert raised.value.filename == name


def test_a_folder_is_no_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "okapi").mkdir()
    with pytest.raises(IsADirectoryError, match="a folder, no file of labels"):
        of("okapi")
    assert of("okapi,").labels == ("okapi",)  # as the message says


def test_a_long_command_line_is_no_file():
    assert len(of(", ".join(f"label {n}" for n in range(2000))).labels) == 2000


def test_many_labels_are_read(written):
    text = "".join(f"label {number}, Étiquette {number}\n" for number in range(20_000))
    found = read(written(text + text))
    assert len(found.labels) == 20_000
    assert found.notes[0].startswith("20000 labels")


def test_every_synonym_of_a_line_is_found_again(written):
    (label,) = read(written("n01440764\ttench , Tinca tinca\n")).labels
    assert synonyms(label) == [["tench"], ["Tinca", "tinca"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tench, Tinca tinca", ("tench, Tinca tinca", None)),
        (" okapi ", ("okapi", None)),
        ("n02012849", ("crane", "n02012849")),
        ("n02012849 a bird, crane", ("a bird, crane", "n02012849")),
        ("n99999999 moon", ("moon", "n99999999")),
    ],
)
def test_one_label_is_read_as_a_line_is(text, expected):
    assert one(text, names=NAMES) == expected


@pytest.mark.parametrize("text", ["", " ", ",", ", ,"])
def test_one_label_must_be_one(text):
    with pytest.raises(ValueError, match=r"^there is no label in '"):
        one(text)


def test_one_id_needs_words():
    with pytest.raises(ValueError, match=r"^n01440764 is without words; .* give --wordnet"):
        one("n01440764")
    with pytest.raises(ValueError, match="n99999999 is without words, and WordNet has no such id"):
        one("n99999999", names=NAMES)
