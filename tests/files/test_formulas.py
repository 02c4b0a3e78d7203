"""Cells that a spreadsheet would run: harmless with --escape-formulas, untouched without it."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from deeplinear import InputError
from deeplinear.files import read_table
from deeplinear.files.formulas import is_formula, neutral
from deeplinear.files.long_output import write_long

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+cmd", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1", " =1"]
HARMLESS = ["-1.5", "+3", "-1e-9", "12 %", "-", "+", "a=b", "x@y.z", "", "'=1", "−2", "#N/A"]
FIT = ["--depth", "2", "--strength", "0.2", "--validation-fraction", "0"]


def test_which_cells_are_formulas():
    assert all(map(is_formula, FORMULAS))
    assert not any(map(is_formula, HARMLESS))
    assert [neutral(text) for text in ("=a", "-1.5")] == ["'=a", "-1.5"]


def harmless(data: str, delimiter=",") -> bool:
    rows = csv.reader(io.StringIO(data, newline=""), delimiter=delimiter)
    return not any(is_formula(cell) for row in rows for cell in row)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_every_text_of_a_table(tmp_path, delimiter):
    labels = ["=evil()", "+1+cmd", '"=q, ""x"""', "@f", "plain", "-5 no number"]
    lines = [["=head", "kind", "-x", "b"]] + [
        [label, ("=yes", "no")[k % 2], str(-1.5 * k), "" if k == 2 else str(k)]
        for k, label in enumerate([*labels, *labels])
    ]
    lines[4][1] = ""  # a label to fill in
    text = "=title@\n" + "\n".join(delimiter.join(line) for line in lines) + "\n"
    path, out = tmp_path / "t.csv", tmp_path / "out.csv"
    path.write_text(text)
    words = ["complete", path, "-o", out, *FIT, "--skip-lines", "1", "--separator", delimiter]
    words += ["--keep", "1", "--categorical", "kind"]
    assert run(*words, "--escape-formulas").exit_code == 0
    safe = out.read_text()
    assert not harmless(text, delimiter)
    assert harmless(safe, delimiter)
    for number in ("-1.5", "-3.0", "-16.5"):
        assert f"{delimiter}{number}{delimiter}" in safe
    assert run(*words, "--force").exit_code == 0
    same = [line for line in out.read_text().splitlines() if line in text.splitlines()]
    assert len(same) == len(text.splitlines()) - 2  # two lines had missing cells


def test_numbers_of_the_files_own_format_stay(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;b\n-1,5;-1.234,5\n;2,5\n-3,25;4,0\n-4,5;-6,5\n")
    table = read_table(path)
    plain = table.encode(np.nan_to_num(table.values), ".csv")
    table.escape_formulas(path)
    assert table.encode(np.nan_to_num(table.values), ".csv") == plain


def test_lists_of_predictions(tmp_path):
    ids = np.array(["=evil()", "-7", "u"], object)
    columns = {"=user": ids, "item": np.array([-1, 2, 3]), "low": np.array([-1.5, np.nan, 1])}
    for name in ("l.csv", "l.tsv"):
        safe = write_long(Path(name), columns, escape_formulas=True).decode()
        assert harmless(safe, "\t" if name.endswith("tsv") else ",")
        assert "-1.5" in safe
        assert "'-" not in safe
    assert "=evil" in write_long(Path("l.csv"), columns).decode()
    with pytest.raises(InputError, match="--escape-formulas"):
        write_long(Path("l.parquet"), columns, escape_formulas=True)


@pytest.mark.parametrize("name", ["t.npy", "t.parquet"])
def test_files_with_types_refuse_the_option(tmp_path, name):
    if name == "t.npy":
        np.save(tmp_path / name, np.array([[1, np.nan], [2, 3]]))
    else:
        pd = pytest.importorskip("pandas")
        pd.DataFrame({"a": [1.0, None], "b": [2.0, 3.0]}).to_parquet(tmp_path / name)
    done = run("complete", tmp_path / name, "-o", tmp_path / f"o{name}", "--escape-formulas")
    assert done.exit_code == 2
    assert "--escape-formulas: " in done.stderr


def test_labels_in_workbooks_are_text_cells(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["kind", "x"])
    for k in range(12):
        book.active.append(["", float(k)] if k == 5 else ["no", float(k)])
        cell = book.active.cell(k + 2, 1)
        if k % 2 == 0:
            cell.value, cell.data_type = "=evil()", "s"
    book.save(tmp_path / "t.xlsx")
    words = ["complete", tmp_path / "t.xlsx", "-o", tmp_path / "o.xlsx", *FIT]
    done = run(*words, "--categorical", "kind", "--escape-formulas")
    assert done.exit_code == 0, done.output
    sheet = openpyxl.load_workbook(tmp_path / "o.xlsx").active
    assert {cell.data_type for cell in sheet["A"]} <= {"s", "inlineStr"}
