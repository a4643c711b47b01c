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
def write(tmp_path):
    def write(content):
        path = tmp_path / "labels.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_lines_are_labels_with_synonyms(write):
    listed = read_label_file(write("\ufefftench, Tinca tinca\n  okapi \nelectric guitar"))
    assert listed.texts == ("tench, Tinca tinca", "okapi", "electric guitar")
    assert listed.notes == ()
    (label,) = read_label_file(write("n01440764\ttench , Tinca tinca\n")).texts
    assert synonyms(label) == [["tench"], ["Tinca", "tinca"]]


@pytest.mark.parametrize("separator", [" ", "\t", "  ", ",", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_may_begin_with_an_id(write, separator, end):
    text = f"n01440764{separator}tench, Tinca tinca{end}n1 way street{end}v00001740{separator}go"
    listed = read_label_file(write(text))
    assert listed.texts == ("tench, Tinca tinca", "n1 way street", "go")
    assert listed.synsets == ("n01440764", None, "v00001740")


def test_id_alone_has_the_words_of_wordnet(write):
    listed = read_label_file(write("n02012849\nokapi\nn01440764\n"), lemmas=LEMMAS)
    assert listed.texts == ("crane", "okapi", "tench, Tinca tinca")
    assert listed.synsets == ("n02012849", None, "n01440764")
    listed = read_label_file(write("n01440764 doctor fish"), lemmas=LEMMAS)
    assert listed.texts == ("doctor fish",)  # words on the line come first
    assert read_labels(str(write("n01440764")), lemmas=LEMMAS).synsets == ("n01440764",)
    assert read_labels("n01440764, okapi", lemmas=LEMMAS).synsets == ("n01440764", None)


def test_refuses_id_alone_without_words(write):
    path = write("okapi\nn01440764\n")
    with pytest.raises(FormatError, match=r"labels.txt: line 2: n01440764 .*--wordnet"):
        read_label_file(path)
    with pytest.raises(FormatError, match=r"labels.txt: line 2: n01440764 .*no such id"):
        read_label_file(path, lemmas={})
    with pytest.raises(ValueError, match=r"item 2 .*n01440764 .*--wordnet"):
        parse_labels("okapi, n01440764")


def test_labels_separated_by_commas():
    listed = parse_labels("okapi, electric guitar ,stop sign")
    assert listed == LabelList((Label("okapi"), Label("electric guitar"), Label("stop sign")))


def test_empty_lines_and_items_are_counted(write):
    listed = read_label_file(write("\nokapi\n \t\n, ,\nzebra\n\n"))
    assert listed.texts == ("okapi", "zebra")
    assert listed.notes == ("left out: empty lines (4), first line 1",)
    assert parse_labels("a,,b").notes == ("left out: empty items (1), first item 2",)


@pytest.mark.parametrize(
    "same", ["stop sign", "Stop  SIGN", " stop\u00a0sign ", "STOP SIGN", "stop_sign"]
)
def test_repeated_labels_are_left_out(write, same):
    listed = read_label_file(write(f"stop sign\nokapi\n{same}\nokapi\n"))
    assert listed.labels == (Label("stop sign"), Label("okapi"))
    (note,) = listed.notes
    assert "labels (2)" in note
    assert f"{same.strip()!r} in line 3, the same as line 1" in note


def test_unicode_forms_of_a_letter_are_equal():
    decomposed = unicodedata.normalize("NFD", "Café")
    assert decomposed != "Café"
    listed = parse_labels(f"café, {decomposed}, straße, STRASSE, キリン, cafe")
    assert listed.texts == ("café", "straße", "キリン", "cafe")
    assert "item 2, the same as item 1" in listed.notes[0]


def test_labels_with_ids_are_compared_by_them(write):
    text = "n02012849 crane\nn03126707 crane\ncrane\nn02012849 bird\n"
    listed = read_label_file(write(text))
    assert listed.texts == ("crane", "crane", "crane")
    assert listed.synsets == ("n02012849", "n03126707", None)
    (note,) = listed.notes
    assert "labels (1), first 'n02012849' in line 4, the same as line 1" in note


def test_single_line_with_commas_is_noted(write):
    listed = read_label_file(write("okapi, zebra\n"))
    assert listed.texts == ("okapi, zebra",)
    assert "one label with synonyms" in listed.notes[0]
    assert read_label_file(write("n01440764 tench, Tinca tinca\n")).notes == ()
    assert read_label_file(write("okapi\n")).notes == ()


@pytest.mark.parametrize(
    ("content", "key_word"),
    [
        ("", "no label"),
        ("\n \n", "no label"),
        (",\n", "no label"),
        ("\ufeff", "no label"),
        (b"okapi\ncaf\xe9\n", "line 2: not UTF-8"),
        ("okapi".encode("utf-16-le"), "line 1: a zero byte"),
        (b"okapi\n3\tzebra\n", "line 2: a tab"),
    ],
)
def test_refuses_other_files(write, content, key_word):
    with pytest.raises(FormatError, match=rf"labels\.txt: .*{key_word}"):
        read_label_file(write(content))


@pytest.mark.parametrize("text", ["", "  ", ",", " , ,"])
def test_refuses_text_without_labels(text):
    for read in (read_labels, read_label):
        with pytest.raises(ValueError, match="no label"):
            read(text)


def test_refuses_several_lines_of_labels():
    with pytest.raises(ValueError, match="lines"):
        parse_labels("okapi\nzebra, horse")


def test_file_of_that_name_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_labels("okapi").texts == ("okapi",)
    (tmp_path / "okapi").write_text("zebra\n")
    assert read_labels("okapi").texts == ("zebra",)
    assert read_labels(str(tmp_path / "okapi")).texts == ("zebra",)


@pytest.mark.parametrize("name", ["lists/okapi", "lists\\okapi", "a.txt", "b.CSV", "c.json"])
def test_refuses_missing_file(name):
    with pytest.raises(FileNotFoundError, match="no such file") as raised:
        read_labels(name)
    assert raised.value.filename == name


def test_refuses_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "okapi").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        read_labels("okapi")
    assert read_labels("okapi,").texts == ("okapi",)  # as the message says


def test_many_labels(write):
    assert len(read_labels(", ".join(f"label {n}" for n in range(2000))).labels) == 2000
    text = "".join(f"label {index}, Étiquette {index}\n" for index in range(20_000))
    listed = read_label_file(write(text + text))
    assert len(listed.labels) == 20_000
    assert "labels (20000)" in listed.notes[0]


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
def test_read_label(text, expected):
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
def test_read_class(name, expected):
    assert read_class(name) == Label(*expected)
