"""Lists of labels: files, command lines, WordNet ids and repeated labels."""

import unicodedata

import pytest

from vl.data.errors import FormatError
from vl.data.words.label_lists import (
    LabelList,
    parse_labels,
    read_class,
    read_label,
    read_label_file,
    read_labels,
)
from vl.data.words.labels import Label
from vl.data.words.texts import synonyms

LEMMAS = {"n01440764": ("tench", "Tinca tinca"), "n02012849": ["crane"], "n03126707": ["crane"]}


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "labels.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_line_is_a_label_and_commas_separate_its_synonyms(written):
    listed = read_label_file(written("tench, Tinca tinca\n  okapi \nelectric guitar"))
    assert listed == LabelList(
        (Label("tench, Tinca tinca"), Label("okapi"), Label("electric guitar"))
    )
    (label,) = read_label_file(written("n01440764\ttench , Tinca tinca\n")).texts
    assert synonyms(label) == [["tench"], ["Tinca", "tinca"]]


@pytest.mark.parametrize("separator", [" ", "\t", "  ", ",", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_may_begin_with_an_id(written, separator, end):
    text = f"n01440764{separator}tench, Tinca tinca{end}n1 way street{end}v00001740{separator}go"
    listed = read_label_file(written(text))
    assert listed.texts == ("tench, Tinca tinca", "n1 way street", "go")
    assert listed.synsets == ("n01440764", None, "v00001740")


def test_an_id_alone_has_the_words_of_wordnet(written):
    listed = read_label_file(written("n02012849\nokapi\nn01440764\n"), lemmas=LEMMAS)
    assert listed.texts == ("crane", "okapi", "tench, Tinca tinca")
    assert listed.synsets == ("n02012849", None, "n01440764")
    listed = read_label_file(written("n01440764 doctor fish"), lemmas=LEMMAS)
    assert listed.texts == ("doctor fish",)  # words on the line come first
    assert read_labels(str(written("n01440764")), lemmas=LEMMAS).synsets == ("n01440764",)
    assert read_labels("n01440764, okapi", lemmas=LEMMAS).synsets == ("n01440764", None)


def test_an_id_alone_needs_wordnet_and_must_be_in_it(written):
    path = written("okapi\nn01440764\n")
    with pytest.raises(FormatError, match=r"labels.txt: line 2: n01440764 .*--wordnet"):
        read_label_file(path)
    with pytest.raises(FormatError, match=r"line 2: n01440764 .* no such id"):
        read_label_file(path, lemmas={})
    with pytest.raises(ValueError, match=r"item 2 .*n01440764 .*--wordnet"):
        parse_labels("okapi, n01440764")


def test_labels_of_a_command_line_are_separated_by_commas():
    listed = parse_labels("okapi, electric guitar ,stop sign")
    assert listed == LabelList((Label("okapi"), Label("electric guitar"), Label("stop sign")))


def test_empty_lines_and_items_are_counted(written):
    listed = read_label_file(written("\nokapi\n \t\n, ,\nzebra\n\n"))
    assert listed.texts == ("okapi", "zebra")
    assert listed.notes == ("left out: 4 empty lines, first line 1",)
    assert parse_labels("a,,b").notes == ("left out: an empty item, first item 2",)


@pytest.mark.parametrize(
    "same", ["stop sign", "Stop  SIGN", " stop\u00a0sign ", "STOP SIGN", "stop_sign"]
)
def test_repeated_labels_are_left_out(written, same):
    listed = read_label_file(written(f"stop sign\nokapi\n{same}\nokapi\n"))
    assert listed.labels == (Label("stop sign"), Label("okapi"))
    (note,) = listed.notes
    assert "2 repeated labels" in note
    assert f"{same.strip()!r} in line 3, the same as line 1" in note


def test_two_spellings_of_a_letter_are_one_label():
    decomposed = unicodedata.normalize("NFD", "Café")
    assert decomposed != "Café"
    listed = parse_labels(f"café, {decomposed}, straße, STRASSE, キリン, cafe")
    assert listed.texts == ("café", "straße", "キリン", "cafe")
    assert "item 2, the same as item 1" in listed.notes[0]


def test_two_ids_with_the_same_words_are_two_labels_and_one_id_is_one(written):
    text = "n02012849 crane\nn03126707 crane\ncrane\nn02012849 bird\n"
    listed = read_label_file(written(text))
    assert listed.texts == ("crane", "crane", "crane")
    assert listed.synsets == ("n02012849", "n03126707", None)
    (note,) = listed.notes
    assert "a repeated label, first 'n02012849' in line 4, the same as line 1" in note


def test_a_single_line_with_commas_is_noted(written):
    listed = read_label_file(written("okapi, zebra\n"))
    assert listed.texts == ("okapi, zebra",)
    assert "one label with synonyms" in listed.notes[0]
    assert read_label_file(written("n01440764 tench, Tinca tinca\n")).notes == ()
    assert read_label_file(written("okapi\n")).notes == ()


@pytest.mark.parametrize("text", ["", "\n \n", ",\n", "\ufeff"])
def test_an_empty_list_is_refused(written, text):
    with pytest.raises(FormatError, match=r"labels\.txt: there is no label"):
        read_label_file(written(text))


@pytest.mark.parametrize("text", ["", "  ", ",", " , ,"])
def test_an_empty_command_line_is_refused(text):
    with pytest.raises(ValueError, match="no label in"):
        read_labels(text)
    with pytest.raises(ValueError, match="no label in"):
        read_label(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"okapi\ncaf\xe9\n", "line 2: not UTF-8"),
        ("okapi".encode("utf-16-le"), "line 1: a zero byte"),
        (b"okapi\n3\tzebra\n", "line 2: a tab"),
    ],
)
def test_a_file_that_is_not_a_list_is_refused_with_its_line(written, content, message):
    with pytest.raises(FormatError, match=message):
        read_label_file(written(content))


def test_several_lines_on_a_command_line_are_refused():
    with pytest.raises(ValueError, match="several lines"):
        parse_labels("okapi\nzebra, horse")


def test_a_byte_order_mark_is_no_part_of_the_first_label(written):
    assert read_label_file(written("\ufeffokapi\nokapi\n")).texts == ("okapi",)


def test_a_file_of_that_name_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_labels("okapi").texts == ("okapi",)
    (tmp_path / "okapi").write_text("zebra\n")
    assert read_labels("okapi").texts == ("zebra",)
    assert read_labels(str(tmp_path / "okapi")).texts == ("zebra",)


@pytest.mark.parametrize("name", ["lists/okapi", "lists\\okapi", "a.txt", "b.CSV", "c.json"])
def test_a_missing_file_is_no_label(name):
    with pytest.raises(FileNotFoundError, match="no such file") as raised:
        read_labels(name)
    assert raised.value.filename == name


def test_a_folder_is_no_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "okapi").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        read_labels("okapi")
    assert read_labels("okapi,").texts == ("okapi",)  # as the message says


def test_many_labels_are_read(written):
    assert len(read_labels(", ".join(f"label {n}" for n in range(2000))).labels) == 2000
    text = "".join(f"label {index}, Étiquette {index}\n" for index in range(20_000))
    listed = read_label_file(written(text + text))
    assert len(listed.labels) == 20_000
    assert "20000 repeated" in listed.notes[0]


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
def test_one_label_is_read_like_a_line(text, expected):
    assert read_label(text, lemmas=LEMMAS) == Label(*expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n01440764_Tinca_tinca", ("Tinca tinca", "n01440764")),
        ("n01440764", ("n01440764", "n01440764")),  # needs no words
        ("stop_sign", ("stop sign", None)),
        (",", (",", None)),
    ],
)
def test_a_class_is_read_from_its_folder_name(name, expected):
    assert read_class(name) == Label(*expected)
