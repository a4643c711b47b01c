"""Files of labels: tables, JSON, comments, and what is refused."""

import gzip

import pytest

from vl.data.errors import FormatError
from vl.data.words.label_lists import read_label_file
from vl.data.words.label_tables import LabelColumns
from vl.data.words.labels import Label
from vl.encoding.classes import read_classes

TENCH = Label("tench, Tinca tinca", "n01440764")
OKAPI = Label("okapi")
BOTH = (TENCH, OKAPI)
IDS = '"label": "tench", "id": "n01440764", "synonyms"'

SAME = [  # name of the file, content: all have the same two labels
    ("a.txt", "n01440764 tench, Tinca tinca\nokapi\n"),
    ("a.csv", "label,id,synonyms\ntench,n01440764,Tinca tinca\nokapi,,\n"),
    ("a.csv", '\n"Label",  ID ,other\n"tench, Tinca\ntinca",n01440764,7\nokapi\n'),
    ("a.csv", "id;label;synonyms\r\nn01440764;tench;Tinca tinca\r\n;okapi;\r\n"),
    ("a.csv", "sep=;\nid;label\nn01440764;tench, Tinca tinca\n;okapi\n"),
    ("a.csv", 'n01440764,tench,Tinca tinca\n"",okapi\n'),
    ("A.CSV", "label,id,synonyms,note\rtench,n01440764,Tinca tinca,a\rokapi,,,b"),
    ("a.tsv", "id\tlabel\nn01440764\ttench, Tinca tinca\n\tokapi\n"),
    ("a.tsv", "n01440764\ttench, Tinca tinca\n\tokapi\n"),
    ("a.txt", "label,id,synonyms\ntench,n01440764,Tinca tinca\nokapi,,\n"),
    ("a", "id\tlabel\nn01440764\ttench, Tinca tinca\n\tokapi\n"),
    ("a.json", '["n01440764 tench, Tinca tinca", "okapi"]'),
    ("a.json", f'[{{{IDS}: ["Tinca tinca"]}}, {{"label": "okapi", "id": null}}]'),
    ("a.json", f'[{{{IDS}: "Tinca tinca"}}, "okapi"]'),
    ("a.json", '{"n01440764": "tench, Tinca tinca", "okapi": "okapi"}'),
    ("a.jsonl", f'{{{IDS}: "Tinca tinca"}}\n{{"label": "okapi"}}\n'),
    ("a.ndjson", '"n01440764 tench, Tinca tinca"\n\n"okapi"'),
    ("a.txt", f'{{{IDS}: "Tinca tinca"}}\n{{"label": "okapi"}}\n'),
    ("a.lst", '[\n"n01440764 tench, Tinca tinca",\n "okapi"]'),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("name", "content"), SAME)
def test_every_format_has_the_same_labels(tmp_path, name, content, encoding):
    path = tmp_path / name
    path.write_bytes(content.encode(encoding))
    assert read_label_file(path).labels == BOTH
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(content.encode(encoding)))
    assert read_label_file(packed).labels == BOTH


def test_classes_of_an_encoder_come_by_the_same_rule(tmp_path):
    for name, content in SAME[:1] + SAME[5:7]:
        (tmp_path / name).write_bytes(content.encode())
        assert read_classes(tmp_path / name) == ("n01440764 tench, Tinca tinca", "okapi")


COLUMNS = LabelColumns(label_column="class name", id_column="WNID", synonyms_column="also")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "wnid,Class Name,also,label\nn01440764,tench,Tinca tinca,1\n,okapi,,2\n"),
        ("a.json", '[{"wnid": "n01440764", "class name": "tench, Tinca tinca"}, "okapi"]'),
        ("a.txt", "class name\twnid\ntench, Tinca tinca\tn01440764\nokapi\t\n"),
    ],
)
def test_columns_may_have_other_names(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_label_file(tmp_path / name, columns=COLUMNS).labels == BOTH


@pytest.mark.parametrize(
    ("content", "labels", "note"),
    [
        ("#1 fan\n#2 pencil\nokapi\n", ("#1 fan", "#2 pencil", "okapi"), None),
        ("okapi\n# 2 pencil\n", ("okapi", "# 2 pencil"), None),
        ("# Labels of the zoo\nokapi\n#zebra\n\nlion\n", ("okapi", "lion"), "comments (2)"),
        ("#\nokapi\n", ("okapi",), "comments (1)"),
        ("# comments: #\n\nokapi\n", ("okapi",), "comments (1)"),
    ],
)
def test_lines_are_comments_where_the_first_line_says_so(tmp_path, content, labels, note):
    for suffix, text in (("txt", content), ("csv", _table(content))):
        (tmp_path / f"a.{suffix}").write_text(text)
        listed = read_label_file(tmp_path / f"a.{suffix}")
        assert listed.texts == labels
        assert (note is None) == ("comments" not in " ".join(listed.notes))
        assert note is None or note in listed.notes[0]


def _table(lines):
    """The same as a CSV file: with a header before the first line that is no comment."""
    if not lines.startswith(("# ", "#\n")):
        return "label\n" + lines
    comment, _, rest = lines.partition("\n")
    return f"{comment}\nlabel\n{rest}"


REFUSED = [  # name of the file, content, record, key words
    ("a.csv", "class,count\nokapi,3\n", "line 1", "no column 'label'.*'class', 'count'"),
    ("a.csv", "okapi\nzebra\n", "line 1", "no column 'label'.*'okapi'.*txt"),
    ("a.tsv", "name\tid\nokapi\t3\n", "line 1", "no column 'label'.*'name', 'id'"),
    ("a.csv", "# zoo\nclass,count\nokapi,3\n", "line 2", "no column 'label'"),
    ("a.csv", "label,label\nokapi,3\n", "line 1", "'label' is there twice"),
    ("a.csv", "id,label\n1,tench, Tinca tinca\n", "line 2", "3 cells, but 2 columns"),
    ("a.csv", 'label\nokapi\n"zebra\n', "line 3", "not a table"),
    ("a.csv", "label\n", None, "no label"),
    ("a.csv", "", None, "no label"),
    ("a.csv", "label,id\n,n01440764\n", "line 2", "without words"),
    ("a.json", '[{"name": "okapi", "n": 1}]', "item 1", "no 'label'.*'name', 'n'"),
    ("a.json", '{"images": [], "categories": []}', None, "keys 'images', 'categories'"),
    ("a.json", '["okapi", 3]', "item 2", "the number 3"),
    ("a.json", '[{"label": ["okapi"]}]', "item 1", "'label' is a list"),
    ("a.json", '[{"label": "okapi", "synonyms": [1]}]', "item 1", "'synonyms' is a list"),
    ("a.json", "okapi\n", "line 1 column 1", "not JSON"),
    ("a.json", "", None, "empty"),
    ("a.txt", '["okapi", ]', "line 1 column 11", "not JSON"),
    ("a.jsonl", '{"label": "okapi"}\nzebra\n', "line 2", "not JSON"),
    ("a.jsonl", '{"label": "okapi"}\n{"name": "zebra"}\n', "line 2", "'name'"),
]


@pytest.mark.parametrize(("name", "content", "record", "key_words"), REFUSED)
def test_refuses_other_files(tmp_path, name, content, record, key_words):
    (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=rf"{name}: .*{key_words}") as caught:
        read_label_file(tmp_path / name)
    assert caught.value.record == record


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("a.csv", "label,id\nokapi,7\nlion,8\n", "ids that are not WordNet's (2), first '7' in"),
        ("a.csv", "label,parent\nokapi,animal\n", "parents (1), first line 2"),
        ("a.txt", "label\nokapi\n", "'label' is the first label; if it names a column"),
        ("a.csv", "label\nokapi\n\nokapi\n", "empty lines (1), first line 3"),
    ],
)
def test_notes_what_is_not_used(tmp_path, name, content, note):
    (tmp_path / name).write_text(content)
    assert note in " | ".join(read_label_file(tmp_path / name).notes)


def test_ids_alone_have_the_words_of_wordnet(tmp_path):
    (tmp_path / "a.csv").write_text("id,label\nn01440764,\n,okapi\n")
    lemmas = {"n01440764": ["tench", "Tinca tinca"]}
    assert read_label_file(tmp_path / "a.csv", lemmas=lemmas).labels == BOTH
