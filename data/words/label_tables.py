"""Files of labels: plain lines, CSV, TSV, JSON and JSON lines, each record as a line of text.

The text is what a plain line would be: perhaps a WordNet id, then the label and its synonyms,
separated by commas. It does not know which labels are the same.
"""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vl.data.errors import FormatError
from vl.data.files import first_few, json_type, parse_json
from vl.data.text_files import split_lines, suffix_of_text, text_lines
from vl.data.words.labels import SYNSET_ID

_JSON_LINES = (".jsonl", ".ndjson")
_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}  # spreadsheets of many countries write semicolons
_BEGINS_AS_JSON = re.compile(r'\s*(?:\[\s*["{\]]|\{\s*["}])')  # as no label does
_COMMENT = re.compile(r"#(?:\s|$)")
_SEPARATORS = re.compile(r"[,;|]")  # of synonyms in a cell
_UNUSED = "parent"


@dataclass(frozen=True, kw_only=True)
class LabelColumns:
    """Columns of a table of labels, or keys of its JSON objects; others are ignored."""

    label_column: str = "label"
    """Column of the labels in a .csv, .tsv, .json or .jsonl file of labels."""
    id_column: str = "id"
    """Column of WordNet ids in such a file, if there is one."""
    synonyms_column: str = "synonyms"
    """Column of synonyms in such a file, if there is one, separated by commas, semicolons or |."""


DEFAULT_COLUMNS = LabelColumns()


class LabelRecord(NamedTuple):
    """A record of a file of labels."""

    name: str  # "line 3", "item 3"
    text: str


class LabelRecords(NamedTuple):
    """The records of a file in its order."""

    records: list[LabelRecord]
    notes: list[str]  # a sentence for each kind of thing that was left out


def read_label_records(path: Path, columns: LabelColumns = DEFAULT_COLUMNS) -> LabelRecords:
    """The records of a file of labels, whose suffix before .gz, .xz or .bz2 tells its format.

    - `.csv` and `.tsv` are tables. Their first line names the columns, unless it begins with a
      WordNet id; cells of `.csv` are separated by commas, semicolons or tabs.
    - `.json` is a list of labels or objects, or an object of labels by their ids; `.jsonl` and
      `.ndjson` have a label or an object on each line.
    - All others are plain lines, a label each, unless they begin as JSON does, or with a line of
      two or more of the columns' names.

    If the first line of lines or a table is ``#`` alone or followed by a blank, the file has
    comments: every line that begins with ``#`` is one. Otherwise ``#1 fan`` is a label.

    Raises:
        FormatError: the file is not text or has another format, its table has no column of
            labels, two of one name, or a row with more cells than columns.
        OSError: the file cannot be read.
    """
    text = "".join(text_lines(path, max_line=sys.maxsize))  # its errors name the line
    suffix = suffix_of_text(path)
    if suffix in (".json", *_JSON_LINES) or _BEGINS_AS_JSON.match(text):
        return _records(_json_rows(path, text, columns, lines=suffix in _JSON_LINES))
    lines = list(enumerate(split_lines(text), 1))
    notes = []
    if lines and _COMMENT.match(lines[0][1]):
        rest = [(number, line) for number, line in lines if not line.startswith("#")]
        notes = [f"left out: comments ({len(lines) - len(rest)}), first line 1"]
        lines = rest
    header = next((line for _, line in lines if line.strip()), "")
    if suffix in _DELIMITERS or _names_columns(header, columns):
        table = _records(_table_rows(path, lines, _DELIMITERS.get(suffix, ",;\t"), columns))
        return LabelRecords(table.records, notes + table.notes)
    if header.strip().casefold() == columns.label_column.casefold():
        notes += [
            f"{header.strip()!r} is the first label; if it names a column, call the file .csv"
        ]
    return LabelRecords([LabelRecord(f"line {number}", line) for number, line in lines], notes)


class _Row(NamedTuple):
    name: str
    label: str
    id: str = ""
    synonyms: Sequence[str] = ()
    parent: bool = False  # whether there is one


def _records(rows: Iterator[_Row]) -> LabelRecords:
    records, other_ids, parents = [], [], []
    for row in rows:
        names = filter(None, (row.label, *row.synonyms))
        # Without a label it is left out as empty, or has the words of its id.
        text = ", ".join(" ".join(name.split()) for name in names) if row.label else ""
        if SYNSET_ID.fullmatch(row.id):
            text = f"{row.id} {text}"
        elif row.id and row.id != row.label:
            other_ids.append(f"{row.id!r} in {row.name}")
        parents += [row.name] if row.parent else []
        records.append(LabelRecord(row.name, text))
    notes = []
    if other_ids:
        notes.append(
            f"not used: ids that are not WordNet's ({len(other_ids)}), first {other_ids[0]}"
        )
    if parents:
        notes.append(f"not used: parents ({len(parents)}), first {parents[0]}; WordNet has its own")
    return LabelRecords(records, notes)


def _names_columns(line: str, columns: LabelColumns) -> bool:
    """Whether a line is the header of a table, in a file whose suffix does not tell."""
    cells = [cell.strip().casefold() for cell in re.split(r"[\t,;]", line)]
    label, *others = columns.label_column, columns.id_column, columns.synonyms_column, _UNUSED
    known = {name.casefold() for name in (label, *others)}
    return len(cells) > 1 and label.casefold() in cells and known.issuperset(cells)


def _table_rows(
    path: Path, lines: Sequence[tuple[int, str]], delimiters: str, columns: LabelColumns
) -> Iterator[_Row]:
    lines = [*lines]
    while lines and not lines[0][1].strip():
        lines.pop(0)
    if not lines:
        return
    head = lines[0][1]
    if match := re.fullmatch(r"sep=(.)", head.strip()):  # Excel's own line before the header
        delimiters, head = match[1], lines[1][1] if len(lines) > 1 else ""
        lines.pop(0)
    delimiter = max(delimiters, key=lambda character: _splits(head, character, columns))
    reader = csv.reader(
        (f"{line}\n" for _, line in lines), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    header: list[str] | None = None
    without_header = SYNSET_ID.fullmatch(head.split(delimiter)[0].strip()) is not None
    begin = 0
    while True:
        record = f"line {lines[begin][0]}" if begin < len(lines) else "the end"
        try:
            cells = [cell.strip() for cell in next(reader, [])]
        except csv.Error as error:
            raise FormatError(path, f"not a table: {error}", record=record) from error
        if reader.line_num == begin:
            return
        begin = reader.line_num
        if header is None:
            if without_header:
                header = [columns.id_column, columns.label_column]
            else:
                header = _header(path, cells, columns, record)
                continue
        if without_header:
            has_id = not cells or SYNSET_ID.fullmatch(cells[0])
            synset, names = (cells[:1], cells[1:]) if has_id else ([""], cells)
            cells = [*synset, ", ".join(filter(None, names))]
        if len(cells) > len(header) and any(cells[len(header) :]):
            problem = f"{len(cells)} cells, but {len(header)} columns: quote what has commas"
            raise FormatError(path, problem, record=record)
        yield _row(record, dict(zip(map(str.casefold, header), cells)), columns)


def _splits(line: str, delimiter: str, columns: LabelColumns) -> tuple[bool, int]:
    """How well a delimiter splits a header: into the column of labels, and how often."""
    cells = [cell.strip(' "').casefold() for cell in line.split(delimiter)]
    return columns.label_column.casefold() in cells, len(cells)


def _header(path: Path, cells: list[str], columns: LabelColumns, record: str) -> list[str]:
    names = [cell.casefold() for cell in cells]
    if columns.label_column.casefold() not in names:
        problem = (
            f"there is no column {columns.label_column!r}; the columns are "
            f"{first_few(cells, limit=20)} (--label-column names that of the labels; a file of "
            "lines without a header is a .txt)"
        )
        raise FormatError(path, problem, record=record)
    for name in filter(None, names):
        if names.count(name) > 1:
            raise FormatError(path, f"the column {name!r} is there twice", record=record)
    return cells


def _row(record: str, cells: dict[str, Any], columns: LabelColumns) -> _Row:
    """A row of a table or an object of JSON, by its columns' names in lower case."""
    synonyms = cells.get(columns.synonyms_column.casefold(), "")
    return _Row(
        record,
        cells.get(columns.label_column.casefold(), ""),
        cells.get(columns.id_column.casefold(), ""),
        [name.strip() for name in _SEPARATORS.split(synonyms)]
        if isinstance(synonyms, str)
        else synonyms,
        bool(cells.get(_UNUSED)),
    )


def _json_rows(path: Path, text: str, columns: LabelColumns, *, lines: bool) -> Iterator[_Row]:
    numbered = [(f"line {n}", line) for n, line in enumerate(split_lines(text), 1) if line.strip()]
    # An object on the first line and another below is JSON lines, whatever the name.
    lines = lines or (
        len(numbered) > 1 and numbered[0][1].startswith("{") and numbered[0][1].endswith("}")
    )
    if lines:
        for record, line in numbered:
            yield _json_row(path, record, _parse_line(path, record, line), columns)
        return
    content = parse_json(path, text)
    if isinstance(content, dict) and all(isinstance(value, str) for value in content.values()):
        for key, value in content.items():
            yield _Row(f"key {key!r}", value, key)
    elif isinstance(content, list):
        for number, item in enumerate(content, 1):
            yield _json_row(path, f"item {number}", item, columns)
    else:
        what = json_type(content)
        if isinstance(content, dict):
            what = f"an object with the keys {first_few(list(content))}"
        raise FormatError(path, f"expected a list of labels, or an object of them, not {what}")


def _parse_line(path: Path, record: str, line: str) -> Any:
    try:
        return parse_json(path, line)
    except FormatError as error:
        raise FormatError(path, error.problem, record=record) from error


def _json_row(path: Path, record: str, item: Any, columns: LabelColumns) -> _Row:
    if isinstance(item, str):
        return _Row(record, item)
    if not isinstance(item, dict):
        raise FormatError(path, f"expected a label, not {json_type(item)}", record=record)
    cells = {key.casefold(): value for key, value in item.items() if value is not None}
    if columns.label_column.casefold() not in cells:
        problem = (
            f"there is no {columns.label_column!r}; the keys are {first_few(list(item), limit=20)} "
            "(--label-column names that of the labels)"
        )
        raise FormatError(path, problem, record=record)
    for column in (columns.label_column, columns.id_column, columns.synonyms_column):
        value = cells.get(column.casefold(), "")
        if column == columns.id_column and type(value) is int:
            cells[column.casefold()] = value = str(value)
        is_list = column == columns.synonyms_column and isinstance(value, list)
        if not all(isinstance(name, str) for name in (value if is_list else [value])):
            problem = f"{column!r} is {json_type(value)}, not a string"
            raise FormatError(path, problem, record=record)
    return _row(record, cells, columns)
