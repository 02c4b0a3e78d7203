"""Numbers that may mean missing are named, and nothing else is."""

import numpy as np
import pytest
from table_files import file

from deeplinear.completion.data.features import Feature
from deeplinear.errors import InputError
from deeplinear.files import TextOptions, read_table
from deeplinear.files.sentinels import likely_markers


def lines(*columns):
    values = np.column_stack(columns).astype(float)
    return likely_markers(values, [Feature(str(j)) for j in range(values.shape[1])])


@pytest.mark.parametrize("marker", [-999, -9999.0, 99.9, 99, -200, -1, -9.99, 9e4 + 9999])
def test_repeated_and_far(rng, marker):
    x = rng.uniform(1, 2, size=200)
    x[rng.permutation(200)[:20]] = marker
    (line,) = lines(x, rng.normal(size=200))
    assert line.startswith(f"{marker:g} (20 cells of 1 column)")
    assert f"--missing {marker:g}" in line


@pytest.mark.parametrize("top", [5, 31])  # answers; days of a month, as in Mauna Loa's CO2
def test_the_only_negative_number_may_be_near(rng, top):
    x = rng.integers(1, top + 1, size=300)
    x[rng.permutation(300)[:90]] = -1
    (line,) = lines(x)
    assert line.startswith("-1 (90 cells of 1 column)")


@pytest.mark.parametrize(
    "column",
    [
        np.r_[np.full(3, -1.0), np.zeros(9), np.arange(1, 60)],  # the cold days of a winter
        np.repeat([-1.0, 0, 1], [30, 5, 5]),  # no, perhaps, yes
        np.r_[np.zeros(50), np.arange(500, 550)],  # zero is a number like others
        np.r_[np.full(50, 3.0), np.arange(500, 550)],
        np.r_[np.full(50, -9.0), np.arange(-8, 42)],  # not far
        np.r_[[-999.0], np.arange(60)],  # once: an outlier
        np.repeat([0.0, 1.0], 30),
        np.repeat([1.0, 2, 99], 30)[::-1] * 0.5,
    ],
)
def test_ordinary_columns(column):
    assert lines(column) == []


def test_the_reader_says_it_and_following_it_works(tmp_path, rng):
    x = rng.uniform(10, 20, size=(40, 3)).round(2)
    x[rng.random(x.shape) < 0.2] = -200
    text = "a,b,c\n" + "\n".join(",".join(f"{v:g}" for v in row) for row in x) + "\n"
    path = file(tmp_path, "t.csv", text)
    with pytest.raises(InputError, match=r"no missing entry.*--missing -200"):
        read_table(path)
    table = read_table(path, text=TextOptions(missing=("-200",)))
    np.testing.assert_array_equal(np.isnan(table.values), x == -200)
    some = file(tmp_path, "u.csv", text.replace("-200", "", 1))
    assert any("--missing -200" in note for note in read_table(some).notes)


def test_lists_of_ratings_are_pointed_elsewhere(tmp_path, rng):
    users, films = rng.integers(1, 20, size=(2, 100))
    rows = [f"{u},{i},{r}" for u, i, r in zip(users, films, rng.integers(1, 6, 100), strict=True)]
    with pytest.raises(InputError, match="deeplinear ratings"):
        read_table(file(tmp_path, "r.csv", "user,item,rating\n" + "\n".join(rows) + "\n"))
