"""``complete`` on rows in order: the second stage, what is held out, and what is said of them."""

import csv

import numpy as np
import pytest
from command_line import run

ROWS, COLUMNS = 150, 4


def written(path, motions):
    """(file, table with holes, whole): a slow motion of four columns, a fifth of it missing."""
    rng = np.random.default_rng(0)
    whole = np.cumsum(rng.normal(size=(ROWS, motions)), axis=0)
    whole = whole @ rng.normal(size=(motions, COLUMNS)) if motions < COLUMNS else whole
    X = np.where(rng.random(whole.shape) < 0.2, np.nan, whole)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(list("abcd"))
        writer.writerows([["" if np.isnan(x) else repr(float(x)) for x in row] for row in X])
    return path, X, whole


@pytest.fixture
def series(tmp_path):
    return written(tmp_path / "series.csv", 2)


def error(path, X, whole):
    filled = np.genfromtxt(path, delimiter=",", skip_header=1)
    hole = np.isnan(X)
    np.testing.assert_allclose(filled[~hole], X[~hole])
    return np.sqrt(np.mean((filled - whole)[hole] ** 2))


def test_the_order_of_the_rows_is_found_and_said(series, tmp_path):
    path, X, whole = series
    found = {}
    for options in ((), ("--row-order", "none"), ("--refine", "off")):
        out = tmp_path / f"{len(found)}.csv"
        done = run("complete", path, "-o", out, "--depth", "3", *options)
        assert done.exit_code == 0, done.output
        found[options] = error(out, X, whole), done.stdout
    errors = [value for value, _ in found.values()]
    assert errors[0] < 0.5 * errors[1]
    said = found[()][1]
    assert "A Gaussian field over the rows in their order" in said
    assert "interpolation" in said
    assert "interpolation" not in found["--row-order", "none"][1]
    assert "Gaussian field" not in found["--refine", "off"][1]


def test_a_baseline_that_is_clearly_better_is_written(tmp_path):
    path, X, _ = written(tmp_path / "apart.csv", COLUMNS)  # columns that tell nothing of each other
    out = tmp_path / "out.csv"
    done = run("complete", path, "-o", out, "--depth", "3", "--refine", "off", "--draws", "1")
    assert done.exit_code == 0, done.output
    assert "interpolation ★" in done.stdout
    assert "No depth predicts the held-out cells as well as interpolation" in done.stdout
    assert "Wrote " in done.stdout
    assert "Intervals and draws are those of depth 3, the best network." in done.stdout
    filled = np.genfromtxt(out, delimiter=",", skip_header=1)
    seen = np.flatnonzero(~np.isnan(X[:, 0]))
    between = np.interp(np.arange(ROWS), seen, X[seen, 0])
    np.testing.assert_allclose(filled[:, 0], between, rtol=1e-6)


def test_missing_cells_that_are_unlike_the_held_out_ones_are_told(tmp_path):
    path, _, X = written(tmp_path / "few.csv", 2)
    X[::5, 1:] = np.nan
    lines = [",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in X]
    path.write_text("\n".join(["a,b,c,d", *lines]) + "\n")
    for options, told in (((), "--holdout rows chooses"), (("--holdout", "auto"), "")):
        out = tmp_path / "out.csv"
        done = run("complete", path, "-o", out, "--force", "--depth", "3", *options)
        assert done.exit_code == 0, done.output
        assert told in done.stdout
        assert ("such cells are held out" in done.stdout) == (not told)


@pytest.mark.parametrize("holdout", ["rows", "blocks"])
def test_what_is_held_out_may_be_chosen(series, tmp_path, holdout):
    path, *_ = series
    done = run("complete", path, "-o", tmp_path / "out.csv", "--depth", "3", "--holdout", holdout)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--holdout", "columns"), "--holdout: 'columns' is none of auto, entries, rows, blocks"),
        (("--refine", "on"), "--refine: 'on' is none of auto, off"),
        (("--row-order", "time"), "--row-order: 'time' is none of auto, none"),
    ],
)
def test_other_words_are_refused(series, tmp_path, option, message):
    done = run("complete", series[0], "-o", tmp_path / "out.csv", *option)
    assert done.exit_code == 2
    assert message in done.stderr


def test_ratings_hold_out_entries_or_rows(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "ratings.csv"
    lines = ["user,item,rating"]
    lines += [f"{u},{i},{rng.integers(1, 6)}" for u in range(30) for i in range(20) if (u + i) % 3]
    path.write_text("\n".join(lines) + "\n")
    for holdout, code in (("rows", 0), ("blocks", 2)):
        done = run("ratings", path, "--model", tmp_path / f"{holdout}.dln", "--holdout", holdout)
        assert done.exit_code == code, done.output
