"""`deeplinear complete` with --intervals and --draws: what is written beside the table."""

import csv

import numpy as np
import pytest
from command_line import one_line, run

import deeplinear as dl
from deeplinear.files import read_table

QUICK = ["--depth", "3", "--strength", "0.2", "--max-rank", "4", "--seed", "5"]


@pytest.fixture
def source(tmp_path):
    """60 rows of rank 2 in four columns, and a label that tells the sign of the first."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 4)) + 0.2 * rng.normal(size=(60, 4))
    labels = np.where(X[:, 0] > 0, "high", "low")
    hole = rng.random((60, 5)) < 0.2
    lines = [
        ",".join(
            "" if gone else cell for cell, gone in zip([*map(str, x), label], row, strict=True)
        )
        for x, label, row in zip(X.round(4).tolist(), labels, hole, strict=True)
    ]
    lines.insert(4, ",,,,")  # an empty record, which stays where it is
    path = tmp_path / "in.csv"
    path.write_text("\n".join(["a,b,=c,d,kind", *lines]) + "\n")
    return path


def cells(path):
    """A complete table as numbers and codes."""
    import pandas as pd

    frame = pd.read_csv(path).dropna(how="all")
    frame["kind"] = (frame["kind"] == "low").astype(float)
    return frame.to_numpy(float)


def fitted(path):
    """What the command fits, by hand."""
    table = read_table(path)
    options = {"strength": 0.2, "max_rank": 4, "random_state": 5}
    return table, dl.DeepLinearImputer(3, row_order=True, **options).fit(table.coded)


def test_intervals_are_listed_cell_by_cell(tmp_path, source):
    out = tmp_path / "ends.csv"
    result = run(
        "complete",
        source,
        "-o",
        tmp_path / "out.csv",
        "--intervals",
        out,
        "--coverage",
        "0.8",
        *QUICK,
    )
    assert result.exit_code == 0, result.output
    with out.open() as file:
        lines = list(csv.DictReader(file))
    table, imputer = fitted(source)
    hole = np.isnan(table.values)
    assert f"(intervals of {hole[:, :4].sum()} cells, coverage 0.8)" in one_line(result.stdout)
    low, high = imputer.interval(table.coded, coverage=0.8)
    filled = imputer.transform(table.coded)
    assert len(lines) == hole[:, :4].sum()  # labels have none
    written = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    rows, cols = np.nonzero(hole & (np.arange(5) < 4))
    for line, i, j in zip(lines, rows, cols, strict=True):
        assert line["column"] == ["a", "b", "=c", "d"][j]
        assert float(line["value"]) == pytest.approx(filled[i, j])
        assert float(written[int(line["row"])][j]) == pytest.approx(filled[i, j], rel=1e-6)
        assert (float(line["low"]), float(line["high"])) == pytest.approx((low[i, j], high[i, j]))
        assert line["coverage"] == "0.8"


def test_intervals_as_parquet_on_standard_output_and_escaped(tmp_path, source):
    import pyarrow.parquet as pq

    common = ["complete", source, "-o", tmp_path / "out.csv", "--force", *QUICK]
    out = tmp_path / "ends.parquet"
    assert run(*common, "--intervals", out).exit_code == 0
    table = pq.read_table(out)
    assert table.column_names == ["row", "column", "value", "low", "high", "coverage"]
    assert set(table["coverage"].to_pylist()) == {0.9}
    result = run(*common, "--intervals", "-", "--escape-formulas")
    lines = result.stdout.splitlines()
    assert lines[0] == "row,column,value,low,high,coverage"
    assert len(lines) == table.num_rows + 1
    assert any(",'=c," in line for line in lines)


def test_too_few_held_out_cells_leave_the_ends_empty(tmp_path, source):
    out = tmp_path / "ends.csv"
    result = run(
        *["complete", source, "-o", tmp_path / "out.csv", "--intervals", out, *QUICK],
        *["--coverage", "0.999"],
    )
    assert result.exit_code == 0
    assert "too few for intervals of coverage 0.999: low and high are left empty" in one_line(
        result.stderr
    )
    assert ",,,0.999" in out.read_text()


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [("out.csv", 3, "out.03.csv"), ("my.out.csv.gz", 1, "my.out.01.csv.gz")],
)
def test_draws_are_whole_tables_beside_the_output(tmp_path, source, name, count, last):
    output = tmp_path / name
    result = run("complete", source, "-o", output, "--draws", count, *QUICK)
    assert result.exit_code == 0, result.output
    assert f"({count} draws from the posterior)" in one_line(result.stdout)
    assert len(list(tmp_path.iterdir())) == 2 + count
    table, imputer = fitted(source)
    expected = imputer.draws(count, table.coded)[-1]
    drawn = cells(tmp_path / last)
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)
    seen = ~np.isnan(table.values)
    np.testing.assert_array_equal(drawn[seen], table.values[seen])
    assert not np.allclose(drawn, cells(output))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--draws", "-1"], "--draws: -1 is too small; give 0 or more."),
        (["--draws", "1000"], "--draws: 1000 is too large; give 999 or less."),
        (["--coverage", "0.9"], "--coverage: it is that of intervals; add --intervals FILE."),
        (["--intervals", "i.csv", "--coverage", "90"], "--coverage: 90 is no part of the cells"),
        (["--intervals", "i.csv", "--coverage", "nan"], "--coverage: nan is no part of the cells"),
        (["--intervals", "i.xlsx"], "--intervals: 'i.xlsx' must end in .csv"),
        (["--intervals", "in.csv", "--force"], "--intervals: 'in.csv' is INPUT itself"),
        (["--intervals", "taken.csv"], "--intervals: 'taken.csv' exists; add --force"),
        (["--draws", "2", "-o", "taken.csv"], "--draws: 'taken.02.csv' exists; add --force"),
        (["--draws", "2", "-o", "-"], "--draws: its tables go beside the output"),
        (["--intervals", "-", "-o", "-"], "--intervals: standard output is that of the table"),
        (["--draws", "1", "--intervals", "out.01.csv"], "table 1: 'out.01.csv' is --intervals"),
    ],
)
def test_what_is_refused_before_any_computing(tmp_path, monkeypatch, source, options, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.02.csv").write_text("mine")
    if "-o" not in options:
        (tmp_path / "taken.csv").write_text("mine")
        options = [*options, "-o", "out.csv"]
    result = run("complete", "in.csv", *options, *QUICK)
    assert result.exit_code == 2
    assert sentence in one_line(result.stderr)
    assert not (tmp_path / "out.csv").exists()


def test_an_image_has_no_list_of_intervals(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (12, 9, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(np.arange(9) % 3, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    common = ["complete", tmp_path / "in.png", "-o", tmp_path / "out.png", *QUICK]
    result = run(*common, "--intervals", tmp_path / "i.csv")
    assert result.exit_code == 2
    assert "it lists cells of tables; leave it out for an image" in one_line(result.stderr)
    assert run(*common, "--draws", "1").exit_code == 0
    assert Image.open(tmp_path / "out.01.png").size == (9, 12)
