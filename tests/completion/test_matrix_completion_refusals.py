"""DeepMatrixCompletion: parameters and data that it refuses, the limits of units and of few
data.
"""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

import deeplinear as dl
from deeplinear.errors import DepthError, InputError, PrecisionError

QUICK = {
    "strength": 0.1,
    "validation_fraction": 0,
    "max_rank": 5,
    "threads": 1,
    "random_state": 0,
    "weighted_trace_norm": 0.0,
}
pytestmark = pytest.mark.filterwarnings("ignore::deeplinear.errors.NotConvergedWarning")


@pytest.fixture(scope="module")
def problem():
    """600 entries of a 40 × 30 matrix of rank 2 with biases and a little noise; every line has
    some.
    """
    rng = np.random.default_rng(11)
    truth = (
        rng.normal(size=(40, 2)) @ rng.normal(size=(2, 30))
        + rng.normal(size=(40, 1))
        + rng.normal(size=30)
        + 3
    )
    rows, cols = np.divmod(rng.permutation(1200)[:600], 30)
    return rows, cols, truth[rows, cols] + 0.05 * rng.normal(size=600)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"depth": 1.5}, InputError, "depth"),
            ({"depth": 0.5}, DepthError, "depth must be ≥ 1"),
            ({"depth": math.nan}, DepthError, "depth must be ≥ 1"),
            ({"strength": -0.1}, InputError, "'strength' parameter"),
            ({"strength": "some"}, InputError, 'strength must be "auto", a number'),
            ({"max_rank": 31}, InputError, r"max_rank must be at most min\(m, n\) = 30, got 31"),
            ({"max_rank": 0}, InputError, "'max_rank' parameter"),
            ({"strength": "auto"}, InputError, "validation_fraction must be positive"),
            ({"clip": (4, 1)}, InputError, "clip must be"),
            ({"clip": (1, 2, 3)}, InputError, "clip must be"),
            ({"implicit_feedback": True}, InputError, "implicit_feedback needs n_draws ≥ 1"),
            ({"columns": ("a", "b")}, InputError, "columns must be three names"),
            ({"duplicates": "first"}, InputError, "'duplicates' parameter"),
            ({"unseen": "zero"}, InputError, "'unseen' parameter"),
        ],
    )
    def test_parameters(self, problem, options, error, message):
        rows, cols, values = problem
        with pytest.raises(error, match=message):
            dl.DeepMatrixCompletion(**{**QUICK, **options}).fit((rows, cols, values))

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (([0, 0, 1], [0, 0, 1], [1.0, 2.0, 3.0]), "every entry once, got 1 repetition"),
            (
                ([0, 1], [0, 1], [1.0, math.nan]),
                "values must be finite, got 1 NaN or infinite value.* position 1",
            ),
            (([0, 1], [0, 1], [math.inf, 1.0]), "values must be finite.* position 0"),
            (([0, 1], [0, 1], ["good", "bad"]), "values must hold real numbers"),
            (([0, 1], [0, 1], ["1", "2"]), "values must hold real numbers"),
            (([0, 1], [0, 1], [1j, 2.0]), "values must hold real numbers"),
            (
                ([0, None], [0, 1], [1.0, 2.0]),
                r"rows has 1 missing id\(s\), the first at position 1",
            ),
            (([0, math.nan], [0, 1], [1.0, 2.0]), r"rows has 1 missing id\(s\)"),
            (([0, 1], [[1], [2]], [1.0, 2.0]), "cols"),
            (([0, {}], [0, 1], [1.0, 2.0]), "not hashable"),
            (([0, 1], [0], [1.0, 2.0]), "must have one length"),
            (([], [], []), "no observed entry"),
            (([0, 1], [0, 1]), "must be .rows, cols, values., got a tuple of 2"),
            (np.array([["a", "b"]]), "must hold numbers where it is a table"),
            (np.full((3, 4), np.nan), "no observed entry"),
            (np.array([[1.0, np.inf]]), "infinity, got it at row 0, column 1"),
            (np.ones(3), "must be a matrix"),
            (
                pd.DataFrame({"user": [1], "item": [2], "stars": [3.0]}),
                r"lacks the column\(s\) 'rating'",
            ),
            (
                pd.DataFrame({"user": [1], "item": [2], "rating": ["x"]}),
                "column 'rating' must hold real numbers",
            ),
            (
                pd.DataFrame({"user": [1, 2], "item": [2, 2], "rating": [3, None]}),
                "column 'rating' must be finite",
            ),
            (
                pl.DataFrame({"user": [1, None], "item": [2, 2], "rating": [3.0, 1.0]}),
                "column 'user' has 1 missing",
            ),
            (sp.coo_array(([1.0], ([0], [0])), shape=(2**40, 2**40)), "2\\*\\*32"),
        ],
    )
    def test_data(self, X, message):
        with pytest.raises(InputError, match=message):
            dl.DeepMatrixCompletion(**{**QUICK, "max_rank": None}).fit(X)

    def test_positions_out_of_range(self, problem):
        rows, cols, values = problem
        model = dl.DeepMatrixCompletion(**QUICK).fit(
            sp.coo_array((values, (rows, cols)), shape=(40, 30))
        )
        for bad in (-1, 40):
            with pytest.raises(
                InputError, match=f"rows must lie between 0 and 39, got {bad} at position 1"
            ):
                model.predict([0, bad], [0, 0])
        with pytest.raises(InputError, match="must hold positions"):
            model.predict(["a"], [0])
        with pytest.raises(InputError, match="one length"):
            model.predict([1, 2], [1])

    @pytest.mark.parametrize(
        ("unit", "dtype"),
        [(1e150, float), (1e-150, float), (1e20, np.float32), (1e-20, np.float32)],
    )
    def test_units_beyond_the_type(self, problem, unit, dtype):
        rows, cols, values = problem
        with pytest.raises(PrecisionError, match="in other units"):
            dl.DeepMatrixCompletion(**QUICK).fit((rows, cols, (unit * values).astype(dtype)))

    @pytest.mark.parametrize("unit", [1e-50, 1e50])
    def test_units_do_not_matter(self, problem, unit):
        rows, cols, values = problem
        fitted = dl.DeepMatrixCompletion(**QUICK).fit(problem)
        found = (
            dl.DeepMatrixCompletion(**QUICK).fit((rows, cols, unit * values)).predict(rows, cols)
        )
        np.testing.assert_allclose(found / unit, fitted.predict(rows, cols), atol=1e-3)

    def test_before_fit(self):
        with pytest.raises(NotFittedError):
            dl.DeepMatrixCompletion().predict([0], [0])

    def test_duplicates_on_request(self):
        X = ([0, 0, 1, 1], [0, 0, 1, 0], [1.0, 3.0, 5.0, 4.0])
        options = {**QUICK, "max_rank": 1}
        assert dl.DeepMatrixCompletion(**options, duplicates="mean").fit(X).complete()[0, 0] == 2.0
        assert dl.DeepMatrixCompletion(**options, duplicates="last").fit(X).complete()[0, 0] == 3.0

    def test_hardly_any_data(self):
        model = dl.DeepMatrixCompletion(max_rank=1).fit((["a"], ["b"], [3.5]))
        assert model.predict(["a"], ["b"])[0] == pytest.approx(3.5)
        constant = dl.DeepMatrixCompletion(random_state=0).fit(
            ([0, 0, 1, 1, 2], [0, 1, 0, 1, 1], [2.0] * 5)
        )
        np.testing.assert_allclose(constant.complete(), 2.0)
        two = dl.DeepMatrixCompletion(random_state=0).fit(
            ([0, 1], [0, 1], [1.0, 2.0])
        )  # one is held out, its lines are empty
        assert np.isfinite(two.complete()).all()


@pytest.mark.parametrize(
    ("fit", "name"),
    [
        (lambda: dl.DeepMatrixCompletion(clip=(1, [2, 3])).fit(([1], [2], [1.0])), "clip"),
        (lambda: dl.DeepMatrixCompletion().fit(([[1], [1, 2]], [1, 2], [1.0, 2])), "rows"),
        (lambda: dl.DeepMatrixCompletion().fit(([1, 2], [1, 2], [[1.0], [2, 3]])), "values"),
        (lambda: dl.DeepMatrixCompletion().fit([[1], [2, 3]]), "X"),
        (lambda: dl.DeepMatrixCompletion().fit([[1], [2, 3]], [1, 2]), "X"),
        (lambda: dl.DeepMatrixCompletion().fit([[1, 2], [3, 4]], [1, [2, 3]]), "y"),
        (
            lambda: dl.DeepMatrixCompletion().fit([[1, 2], [3, 4]], [1, 2], sample_weight=[1, [2]]),
            "sample_weight",
        ),
        (
            lambda: dl.DeepMatrixCompletion().fit(
                ([1, 2], [1, 2], [1.0, 2]), row_features=([1, 2], [[1], [2, 3]])
            ),
            "row_features",
        ),
        (lambda: dl.DeepLinearImputer().fit([[1], [2, 3]]), "X must have rows of one length"),
        (
            lambda: dl.DeepLinearImputer().fit([[1, 2], [3, math.nan]], sample_weight=[1, [2]]),
            "sample_weight",
        ),
        (
            lambda: dl.DeepLinearImputer(row_order=[1, [2]]).fit([[1, 2], [3, math.nan]]),
            "row_order",
        ),
    ],
)
def test_lists_of_different_lengths(fit, name):
    """NumPy raises an error of its own for them."""
    with pytest.raises(InputError, match=f"^{name}"):
        fit()
