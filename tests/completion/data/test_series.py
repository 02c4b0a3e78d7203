"""Long series and frames of pandas whose index carries the ids."""

import numpy as np
import pandas as pd
import pytest

import deeplinear as dl
from deeplinear.completion.data.entries import read_entries
from deeplinear.errors import InputError

COLUMNS = ("user", "item", "rating")
FIXED = {"strength": 0.3, "validation_fraction": 0, "random_state": 0, "max_rank": 3}


@pytest.fixture(scope="module")
def frame():
    ratings = dl.datasets.make_ratings(30, 20, 300, seed=3)
    return pd.DataFrame(dict(zip(COLUMNS, ratings.triples, strict=True)))


@pytest.mark.parametrize("form", ["series", "one column", "nullable", "other names"])
def test_an_index_of_two_levels_is_pairs_of_ids(frame, form):
    series = frame.set_index(["user", "item"]).rating
    X = {
        "series": series,
        "one column": series.to_frame(),
        "nullable": series.astype("Float64"),
        "other names": series.rename_axis([None, "b"]).rename(None),
    }[form]
    found = dl.DeepMatrixCompletion(**FIXED).fit(X)
    expected = dl.DeepMatrixCompletion(**FIXED).fit(frame)
    assert found.row_ids_.tolist() == expected.row_ids_.tolist()
    np.testing.assert_array_equal(found.complete(), expected.complete())
    pairs = frame.user[:9], frame.item[:9]
    for asked in (X[:9], X.index[:9]):
        np.testing.assert_array_equal(found.predict(asked), expected.predict(*pairs))
    assert found.score(X) == expected.score(frame)


def test_what_is_no_long_series(frame):
    three = frame.set_index(list(COLUMNS)).assign(x=1.0).x
    with pytest.raises(InputError, match="X must be a matrix, got shape"):
        read_entries(three, None, COLUMNS)
    table = frame.assign(y=1.0).set_index(["user", "item"])[
        ["y", "y"]
    ]  # two columns: a table with labels
    assert read_entries(table, None, COLUMNS).shape == (300, 2)
    gaps = frame.set_index(["user", "item"]).rating.where(lambda x: x.index != x.index[5])
    with pytest.raises(InputError, match=r"values of X must be finite, got 1 NaN .* position 5"):
        read_entries(gaps, None, COLUMNS)


@pytest.mark.parametrize("dtype", ["float64", "Float64", "Int64"])
def test_floats_that_are_integers_are_the_same_ids(frame, dtype):
    found = read_entries(frame.astype({"user": dtype, "item": dtype}), None, COLUMNS)
    expected = read_entries(frame, None, COLUMNS)
    assert found.row_ids.labels.dtype == np.int64
    assert found.row_ids.labels.tolist() == expected.row_ids.labels.tolist()
    np.testing.assert_array_equal(found.rows, expected.rows)
    missing = frame.astype({"user": "Float64"})
    missing.loc[7, "user"] = pd.NA
    with pytest.raises(InputError, match=r"1 missing id.*position 7"):
        read_entries(missing, None, COLUMNS)
