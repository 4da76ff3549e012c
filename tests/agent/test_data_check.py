"""A bank's table is read or refused with every reason at once, never with a stack trace."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.data import check_table, read_table
from clientagent.wire.errors import DataUnfit
from tests.agent.tables import HEADER, lines, plan_of, report_of, sentences, write


def test_a_table_that_fits_is_read(tmp_path: Path) -> None:
    report = report_of(write(tmp_path / "t.csv", *lines()))
    assert (report.problems, report.rows, report.positives) == ([], 20, 5)
    table = report.require()
    assert table.numeric["income"][:2].tolist() == [1000.5, 1001.5]
    assert [table.categorical["region"].values[code] for code in table.categorical["region"].codes[:3]] == ["a", "b", "c"]


def test_only_the_plans_columns_are_kept(tmp_path: Path) -> None:
    body = [f"{line},{i}" for i, line in enumerate(lines())]
    table = report_of(write(tmp_path / "t.csv", *body, header=f"{HEADER},customer_id")).require()
    assert sorted([*table.numeric, *table.categorical]) == ["age", "income", "region"]


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    body = ["x,20,a,0", "inf,21,b,0", "3,22,z,0", *lines(12)]
    path = write(tmp_path / "t.csv", *body, header="income,ages,region,default")
    features = [*plan_of().model_dump()["features"][:2], {"name": "region", "kind": "categorical", "categories": ["a", "b", "c"]}]
    assert sentences(report_of(path, features=features)) == [
        "age: there is no such column; did you mean 'ages'?",
        "income: 1 values are not numbers, first 'x' in row 1",
        "income: 1 values are infinite or beyond 1e+100, first inf in row 2",
        "region: 1 rows hold values outside the plan's categories, such as 'z'",
    ]


def test_what_may_leave_the_bank_quotes_no_cell_and_no_small_number(tmp_path: Path) -> None:
    report = report_of(write(tmp_path / "t.csv", "secret-income,20,a,0", *lines()))
    assert "secret-income" in sentences(report)[0]
    assert report.public_reason == "income: holds values that are not numbers"
    assert report.column == "income"
    with pytest.raises(DataUnfit, match="secret-income"):
        report.require()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert sentences(report_of(tmp_path / "gone.csv")) == [f"there is no file {tmp_path / 'gone.csv'}"]
    assert sentences(report_of(tmp_path)) == [f"{tmp_path} is a folder, not a file"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "t.csv is empty"),
        (b"\n\n", "t.csv has no header line"),
        (f"{HEADER}\n".encode(), "t.csv has a header but no rows"),
        (b"PK\x03\x04rest", "t.csv is a workbook or archive; save the sheet as CSV (UTF-8)"),
        (b"\x89\x00\x01binary\x00", "t.csv is not a text file; save it as CSV (UTF-8) or Parquet"),
        (f"{HEADER}\n1,2,M\xfcnchen,0\n".encode("latin-1"), "t.csv is not UTF-8 (near line 1); save it as CSV (UTF-8)"),
        (f'{HEADER}\n1,2,"open,0\n3,4,b,1\n'.encode(), "t.csv is not well-formed CSV near line 4: unexpected end of data"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert sentences(report_of(path)) == [reason]


def test_lines_of_the_wrong_width_are_counted_and_other_problems_still_found(tmp_path: Path) -> None:
    body = ["1,20,a", "2,21,b,0,9", "?,22,c,0", *lines()]
    assert sentences(report_of(write(tmp_path / "t.csv", *body))) == [
        "2 lines do not have the header's 4 values, first row 1 with 3",
        "income: 1 values are not numbers, first '?' in row 3",
    ]


def test_a_header_name_that_appears_twice_is_refused_only_where_needed(tmp_path: Path) -> None:
    body = [f"{line},1,2" for line in lines()]
    assert report_of(write(tmp_path / "a.csv", *body, header=f"{HEADER},x,x")).fits
    assert sentences(report_of(write(tmp_path / "b.csv", *body, header=f"{HEADER},age,y"))) == [
        "age: the header names this column 2 times"
    ]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    body = [line.replace(",", delimiter) for line in lines()]
    assert report_of(write(tmp_path / "t.csv", *body, header=HEADER.replace(",", delimiter))).fits


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_of_byte_order_and_ends_of_lines_do_not_matter(tmp_path: Path, encoding: str, end: str) -> None:
    assert report_of(write(tmp_path / "t.csv", *lines(), encoding=encoding, end=end)).fits


def test_quoted_newlines_and_delimiters_belong_to_their_cell(tmp_path: Path) -> None:
    body = [f'"{1000 + i}.5",30,"line one\nline, two",{i % 2}' for i in range(12)]
    table = report_of(write(tmp_path / "t.csv", *body)).require()
    assert (table.rows, table.categorical["region"].values) == (12, ["line one\nline, two"])


def test_names_are_compared_in_composed_unicode_and_without_blanks(tmp_path: Path) -> None:
    feature = {"name": "Größe 收入", "kind": "numeric"}
    decomposed = "Gro\u0308ße 收入"
    path = write(tmp_path / "t.csv", *[f"{i},{i % 2}" for i in range(12)], header=f" {decomposed} ,default")
    assert check_table(plan_of(features=[feature]), path).fits


@pytest.mark.parametrize("text", ["", "NA", "n/a", "NaN", "null", " "])
def test_a_missing_value_is_missing_in_numbers_and_in_categories(tmp_path: Path, text: str) -> None:
    table = report_of(write(tmp_path / "t.csv", f"{text},20,{text},0", *lines())).require()
    assert np.isnan(table.numeric["income"][0])
    assert table.categorical["region"].codes[0] == -1


@pytest.mark.parametrize("text", ["1_000", "12%", "$5", "1,5", "0x10", "--1"])
def test_what_only_looks_like_a_number_is_named_with_its_row(tmp_path: Path, text: str) -> None:
    report = report_of(write(tmp_path / "t.csv", f'"{text}",20,a,0', *lines()))
    assert sentences(report) == [f"income: 1 values are not numbers, first {text!r} in row 1"]


def test_values_are_compared_as_text(tmp_path: Path) -> None:
    features = [{"name": "region", "kind": "categorical", "categories": [2, 3.0, False]}]
    body = [f"{('2', '2.0', '3', 'False', '0')[i % 5]},{('1.0', '0', '1', '0.00')[i % 4]}" for i in range(20)]
    report = report_of(write(tmp_path / "t.csv", *body, header="region,default"), features=features)
    assert (report.problems, report.positives) == ([], 10)
    assert sorted(report.require().categorical["region"].values) == ["0", "2", "3"]


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    report = report_of(write(tmp_path / "t.csv", "1,20,a,", "2,21,b,NA", *lines()))
    assert (report.rows, report.unlabelled, report.require().numeric["income"][0]) == (20, 2, 1000.5)
    assert [finding.sentence for finding in report.warnings] == ["default: 2 rows without a label are left out"]


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("", "default: the label is missing in every row"),
        ("no", "default: no row has the positive value '1'; the column holds 'no'"),
        ("1", "default: every row has the positive value '1'; one class alone teaches nothing"),
    ],
)
def test_a_label_of_one_class_is_refused(tmp_path: Path, label: str, reason: str) -> None:
    path = write(tmp_path / "t.csv", *[f"{i},20,a,{label}" for i in range(20)])
    assert reason in sentences(report_of(path))


def test_a_bank_of_good_customers_alone_is_warned_where_the_coding_is_plain(tmp_path: Path) -> None:
    report = report_of(write(tmp_path / "t.csv", *[f"{i},20,a,0" for i in range(20)]))
    assert (report.problems, report.positives) == ([], 0)
    assert "default: every row is 0" in report.warnings[0].sentence


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    assert sentences(report_of(write(tmp_path / "t.csv", *lines(9)))) == ["only 9 rows with a label, at least 10 are needed"]


def test_odd_columns_are_warnings(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", *[f",7,{i},{i % 3}" for i in range(1200)])
    report = report_of(path)
    assert report.fits
    assert [finding.sentence for finding in report.warnings] == [
        "default: 3 values; all but '1' count as good ('0', '1', '2')",
        "income: every value is missing",
        "age: every row has the same value",
        "region: 1200 distinct values; is this an identifier?",
    ]


def test_parquet_types_are_read_as_their_values(tmp_path: Path) -> None:
    from decimal import Decimal

    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({
        "income": pa.array([Decimal("1.50"), None] * 10), "age": pa.array([True, False] * 10),
        "region": pa.array(["a", None, "b", "a"] * 5).dictionary_encode(), "default": pa.array([1.0, 0.0, None, 1.0] * 5),
    }), path)  # fmt: skip
    table = report_of(path).require()
    assert (table.rows, table.positives, table.numeric["age"].tolist()[:2]) == (15, 10, [1.0, 0.0])
    assert table.numeric["income"][0] == 1.5
    assert table.categorical["region"].codes.tolist()[:3] == [0, -1, 0]


def test_parquet_types_that_are_no_values_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    days = pa.array([19000 + i for i in range(20)], pa.int32()).cast(pa.date32())
    parquet.write_table(pa.table({"income": days, "age": ["old"] * 20, "region": [[1]] * 20, "default": [0, 1] * 10}), path)
    assert sentences(report_of(path)) == [
        "income: holds values of type date32[day], not numbers",
        "age: 20 values are not numbers, first 'old' in row 1",
        "region: holds values of type list<element: int64>, not categories",
    ]


@pytest.mark.parametrize("keep", [4, 100, -8])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"income": [1.0] * 500, "age": [2] * 500, "region": ["a"] * 500, "default": [0, 1] * 250}), path)
    path.write_bytes(path.read_bytes()[:keep])
    assert sentences(report_of(path))[0].startswith("t.parquet cannot be read as Parquet")
    path.write_bytes(b"income,age\n")
    assert sentences(report_of(path)) == ["t.parquet is not a Parquet file"]


def test_a_large_file_is_read_in_blocks_that_join(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", *lines(120_000))
    table = read_table(plan_of(), path)
    assert table.rows == 120_000
    assert np.array_equal(table.numeric["income"], 1000.5 + np.arange(120_000))
    report = report_of(write(path, *lines(120_000), "oops,1,a,0"))
    assert sentences(report) == ["income: 1 values are not numbers, first 'oops' in row 120001"]


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_finding(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    path.write_bytes(f"{HEADER}\n".encode() + body)
    report = report_of(path)
    assert report.problems
    assert not report.fits


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.text(max_size=8), min_size=4, max_size=4), min_size=1, max_size=30))
def test_no_cells_raise_anything_but_a_finding(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        csv.writer(file).writerows([HEADER.split(","), *rows])
    report = report_of(path)
    assert report.fits or report.public_reason


def test_without_pyarrow_csv_is_read_and_parquet_names_what_to_install(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", *lines())
    parquet.write_table(pa.table({"income": [1.0]}), tmp_path / "t.parquet")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path; from tests.agent.tables import report_of, sentences\n"
        "folder = Path(sys.argv[1]); assert report_of(folder / 't.csv').fits\n"
        "print(sentences(report_of(folder / 't.parquet')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "reading Parquet needs pyarrow: pip install 'fedagent[data]' (CSV needs nothing)" in done.stdout
