"""The forms of observed entries: masked, of other types, with ids that are missing or repeated."""

import numpy as np
import pandas as pd
import pytest

import deeplinear as dl
from deeplinear.errors import InputError

FIXED = {"strength": 0.3, "validation_fraction": 0, "random_state": 0, "threads": 1}


pytestmark = pytest.mark.usefixtures("quiet_fits")


class TestForms:
    def test_what_is_masked_is_missing(self):
        rng = np.random.default_rng(2)
        X = np.arange(6.0)[:, None] + np.arange(5.0) + rng.normal(size=(6, 5))
        mask = rng.random(X.shape) < 0.3
        hidden = np.where(mask, 1e6, X)
        for dtype in (float, np.float32):
            masked = dl.DeepMatrixCompletion(**FIXED).fit(
                np.ma.array(hidden.astype(dtype), mask=mask)
            )
            other = dl.DeepMatrixCompletion(**FIXED).fit(np.where(mask, np.nan, X).astype(dtype))
            np.testing.assert_array_equal(masked.complete(), other.complete())
            assert masked.complete().dtype == other.complete().dtype
        whole = np.ma.array(np.where(mask, 99, 3), mask=mask)
        assert dl.DeepMatrixCompletion(**FIXED).fit(whole).train_score_ == pytest.approx(
            0, abs=1e-9
        )

    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_masked_vectors_are_refused(self, which):
        entries = [np.array([1, 2, 3]), np.array([4, 5, 6]), np.array([1.0, 2.0, 3.0])]
        entries[which] = np.ma.array(entries[which], mask=[False, True, False])
        with pytest.raises(InputError, match=r"has 1 masked element\(s\), the first at position 1"):
            dl.DeepMatrixCompletion(**FIXED).fit(tuple(entries))

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([3, "4", 5], r"values must hold real numbers, got '4' \(str\) at position 1"),
            (
                np.array([3, "4", 5], dtype=object),
                r"values must hold real numbers, got '4' \(str\) at position 1",
            ),
            (["1.5", "2", "3"], r"values must hold real numbers, got '1.5' \(str\) at position 0"),
            ([1.0, None, 2.0], "values must be finite, got 1 NaN"),
            ([1.0, object(), 2.0], r"\(object\) at position 1"),
            (pd.array([1, None, 3], dtype="Int64"), "values must be finite, got 1 NaN"),
        ],
        ids=["list", "objects", "texts", "none", "thing", "na"],
    )
    def test_values_that_are_no_numbers(self, values, message):
        with pytest.raises(InputError, match=message):
            dl.DeepMatrixCompletion(**FIXED).fit(([1, 2, 3], [1, 2, 3], values))

    @pytest.mark.parametrize(
        "table",
        [
            [["1", "2"], ["3", "4"]],
            np.array([[1, "2"], [3, 4]], dtype=object),
            pd.DataFrame({"a": [1, 2], "b": ["3", "4"]}),
        ],
        ids=["texts", "objects", "frame"],
    )
    def test_tables_of_texts(self, table):
        with pytest.raises(InputError, match="X must hold numbers where it is a table"):
            dl.DeepMatrixCompletion(**FIXED).fit(table)


class TestIds:
    @pytest.mark.parametrize(
        ("dtype", "first"), [("string", ["a", None, "b"]), ("Int64", [4, None, 5])]
    )
    def test_missing_ones_of_pandas(self, dtype, first):
        frame = pd.DataFrame(
            {"user": pd.array(first, dtype=dtype), "item": [1, 2, 3], "rating": [1.0, 2.0, 3.0]}
        )
        with pytest.raises(
            InputError, match=r"column 'user' has 1 missing id\(s\), the first at position 1"
        ):
            dl.DeepMatrixCompletion(**FIXED).fit(frame)


class TestRepetitions:
    def test_they_are_told_by_their_ids(self):
        entries = ["ann", "bob", "ann"], [17, 90, 17], [1.0, 2.0, 3.0]
        with pytest.raises(
            InputError,
            match=r"got 1 repetition\(s\), the first of row 'ann', column 17: set duplicates=",
        ):
            dl.DeepMatrixCompletion(**FIXED).fit(entries)
