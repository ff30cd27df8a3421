"""Tables as people have them, and everything that is wrong with them."""

import bz2
import csv
import gzip
import io
import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.files.tables import TableError, TableRow, is_table, read_table
from scenarios.mistakes import UserMistake

ROWS = [
    {"id": "1", "text": "Où est le café, Zoë ?", "label": "yes"},
    {"id": "2", "text": 'two\nlines, "quoted"; with\tall', "label": "no"},
]
WRITTEN = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def separated(delimiter: str = ",", rows: Any = ROWS) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def lines(rows: Any = ROWS) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cells(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row.cells for row in read_table(path, **options)]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1"]
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.CSV", "a.tsv"])
def test_every_encoding_of_every_kind_reads_the_same(tmp_path, name, encoding):
    content = {
        "a.csv": separated(), "a.CSV": separated(";"), "a.tsv": separated("\t"),
        "a.jsonl": lines(), "a.json": json.dumps(ROWS, ensure_ascii=False),
    }[name]  # fmt: skip
    assert cells(table(tmp_path, name, content.encode(encoding))) == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_head_and_the_rows(tmp_path, delimiter):
    assert cells(table(tmp_path, "a.csv", separated(delimiter))) == ROWS
    told = table(tmp_path, "a.csv", "sep=;\r\nid;text, long\r\n1;a,b\r\n")
    assert [(r.where, r.cells) for r in read_table(told)] == [(f"{told}:2", {"id": "1", "text, long": "a,b"})]


@pytest.mark.parametrize("end", ["gz", "bz2", "xz", "zst"])
def test_what_is_compressed_is_read_and_what_is_cut_off_is_not(tmp_path, end):
    import zstandard

    packed = (WRITTEN | {"zst": zstandard.compress})[end](lines(ROWS * 500).encode())
    assert cells(table(tmp_path, f"a.jsonl.{end}", packed)) == ROWS * 500
    assert cells(table(tmp_path, f"a.jsonl.{end}", packed + packed)) == ROWS * 1000
    with pytest.raises(UserMistake, match=rf"a\.jsonl\.{end}: damaged or cut off"):
        cells(table(tmp_path, f"a.jsonl.{end}", packed[:-5]))
    with pytest.raises(UserMistake, match=r"its name must end in|UTF-8|NUL"):
        cells(table(tmp_path, "a.csv", packed))


def test_parquet_and_its_empty_cells(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = [{"id": 1, "x": None, "m": [{"role": "user"}]}, {"id": 2, "x": 1.5, "m": None}]
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    assert cells(tmp_path / "a.parquet") == rows
    with pytest.raises(TableError, match="not a parquet file"):
        cells(table(tmp_path, "b.parquet", b"PAR1 no more"))


def test_long_cells_and_unicode_line_ends_are_texts(tmp_path):
    text = "long " * 40_000 + "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    rows = [{"id": "1", "text": text}, {"id": "2", "text": "x"}]
    assert cells(table(tmp_path, "a.csv", separated(rows=rows))) == rows
    assert cells(table(tmp_path, "a.jsonl", lines(rows))) == rows


def test_rows_count_as_a_spreadsheet_shows_them(tmp_path):
    path = table(tmp_path, "a.csv", 'id,text\n1,"a\nb"\n\n2,c\n,\n')
    assert list(read_table(path)) == [
        TableRow(f"{path}:2", {"id": "1", "text": "a\nb"}),
        TableRow(f"{path}:4", {"id": "2", "text": "c"}),
    ]
    path = table(tmp_path, "a.jsonl", '{"id": 1}\n\n \n{"id": 2}\r\n')
    assert [row.where for row in read_table(path)] == [f"{path}:1", f"{path}:4"]


def test_columns_without_a_name_are_those_that_pandas_and_spreadsheets_add(tmp_path):
    assert cells(table(tmp_path, "a.csv", ",id,text,,\n0,1,a,,\n")) == [{"id": "1", "text": "a"}]


def test_a_mark_that_was_read_as_letters_tells_of_damaged_texts(tmp_path):
    path = table(tmp_path, "a.csv", separated().encode("utf-8-sig").decode("cp1252"))
    with pytest.raises(TableError, match=r"a\.csv:1: the head begins with ï»¿: .*texts are damaged"):
        cells(path)
    assert list(cells(path, from_spreadsheet=True)[0]) == ["id", "text", "label"]


def test_the_last_cells_of_a_row_may_be_missing_where_that_is_allowed(tmp_path):
    path = table(tmp_path, "a.csv", "id,text,label\n1,a\n")
    assert cells(path, from_spreadsheet=True) == [{"id": "1", "text": "a", "label": ""}]
    with pytest.raises(TableError, match=r"a\.csv:2: not as many fields"):
        cells(path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "id,id\n1,2\n", "a.csv:1: id: this column is here twice, as column 1 and 2"),
        ("a.csv", "id,text\n1,a,b\n", "a.csv:2: not as many fields as the header has: 3, not 2"),
        ("a.csv", 'id,text\n1,"a\n2,b\n', "a.csv:2: not CSV: unexpected end of data"),
        ("a.csv", 'id,text\n1,"a"b\n', "a.csv:2: not CSV"),
        ("a.csv", "", "a.csv:1: the table is empty"),
        ("a.csv", b"id,text\n1,a\x00b\n", "a.csv:2: a NUL character"),
        ("a.csv", "id,text\n1,é\n".encode() + b"2,\xe9\n", "a.csv:3: byte 0xe9 is not UTF-8"),
        ("a.csv", b"id,text\n1,\xed\xa0\x80\n", "a.csv:2: byte 0xed is not UTF-8"),
        ("a.csv", "id,text\n1,Привет\n".encode("cp1251"), "a.csv:2: byte 0xcf is not UTF-8; .*--encoding"),
        ("a.csv", "id,text\n1,a\n".encode("utf-16")[:-1], "a.csv:.* is not utf-16"),
        ("a.csv", b"PK\x03\x04 a workbook", "a.csv: no text: it is a workbook"),
        ("a.jsonl", '{"id": 1}\n{"id": 1, "id": 2}\n', "a.jsonl:2: id: this key is here twice"),
        ("a.jsonl", '{"m": [{"a": 1, "a": 2}]}\n', "a.jsonl:1: a: this key is here twice"),
        ("a.jsonl", '{"id": 1}\n{"x": NaN}\n', "a.jsonl:2: x: nan is no number .* write null"),
        ("a.jsonl", '{"x": [-Infinity]}\n', "a.jsonl:1: x.0: -inf is no number"),
        ("a.jsonl", '{"x": 1e999}\n', "a.jsonl:1: x: inf is no number"),
        ("a.jsonl", '{"x": {"y": "\\ud800"}}\n', "a.jsonl:1: x.y: half a character"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: list instead of an object with columns"),
        ("a.jsonl", '[{"id": 1}]\n', "a.jsonl:1: a JSON list, not JSON lines; its name must end in .json"),
        ("a.jsonl", '{"id": 1}\n{"id": \n', "a.jsonl:2: not JSON"),
        ("a.jsonl", '{"id": ' + "9" * 5000 + "}\n", "a.jsonl:1: not JSON that can be read"),
        ("a.jsonl", '{"id": ' + "[" * 100_000 + "\n", "a.jsonl:1: more than 100 levels"),
        ("a.json", '[{"id": 1},\n{"id": 2, "id": 3}]', "a.json:2: id: this key is here twice"),
        ("a.json", '[{"id": 1},\n{"id": 2', "a.json:2: not JSON: .*begins on line 2"),
        ("a.json", '[{"id": 1} {"id": 2}]', "a.json:1: not JSON: .*comma"),
        ("a.json", "[1]", "a.json:1: int instead of an object"),
        ("a.json", '{"id":\n{"0": 1}}', r"a.json: one object, not rows; .*orient=.records"),
        ("a.xlsx", b"PK", "a.xlsx: no table: .*save the sheet as CSV UTF-8"),
        ("a.pkl", b"\x80", "a.pkl: no table: .*pickles run code"),
    ],
)
def test_what_is_wrong_is_told_with_file_row_and_column(tmp_path, name, content, problem):
    with pytest.raises(UserMistake, match=problem) as error:
        cells(table(tmp_path, name, content))
    assert "\n" not in str(error.value)


def test_json_may_be_lines_or_have_its_rows_in_a_member(tmp_path):
    for content in (lines(), json.dumps({"data": ROWS}, indent=1), json.dumps(ROWS, indent=1)):
        assert cells(table(tmp_path, "a.json", content)) == ROWS
    assert cells(table(tmp_path, "a.json", "[]")) == []


def test_a_guessed_code_page_is_said(tmp_path, caplog):
    cells(table(tmp_path, "a.csv", separated().encode("cp1252")))
    assert "is not UTF-8 and is read as cp1252" in caplog.text


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserMistake, match=r"a\.csv: cannot be read: No such file"):
        cells(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(UserMistake, match=r"b\.csv: cannot be read: Is a directory"):
        cells(tmp_path / "b.csv")
    assert is_table(tmp_path / "c.jsonl.gz")
    assert not is_table(tmp_path / "c.eval")


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2, max_size=2
        )
    )
)
def test_what_python_writes_is_read_back(tmp_path_factory, rows):
    named = [{"id": str(number), "a": first, "b": second} for number, (first, second) in enumerate(rows)]
    folder = tmp_path_factory.getbasetemp()
    if named:
        assert cells(table(folder, "any.csv", separated(rows=named))) == named
    assert cells(table(folder, "any.jsonl", lines(named))) == named


@given(
    st.binary(max_size=200),
    st.sampled_from(["csv", "tsv", "jsonl", "json", "csv.gz", "jsonl.zst", "parquet"]),
)
def test_whatever_a_file_holds_it_is_rows_or_one_line(tmp_path_factory, content, end):
    path = table(tmp_path_factory.getbasetemp(), f"whatever.{end}", content)
    rows, said = [], "whatever"
    try:
        rows = cells(path)
    except UserMistake as error:
        said = str(error)
    assert "whatever" in said
    assert "\n" not in said
    assert all(isinstance(row, dict) for row in rows)


def test_reading_loads_no_heavy_library():
    code = "import scenarios.files.tables, sys; sys.exit(bool({'pandas', 'pyarrow', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
