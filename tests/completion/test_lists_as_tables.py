"""Lists of entries that come as tables: refused where they would be read as another matrix."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

import deeplinear as dl
from deeplinear.errors import InputError

FIXED = {"strength": 0.3, "validation_fraction": 0, "random_state": 0, "max_iter": 3}
ADVICE = r"X is read as a matrix .* give fit\(\(rows, cols, values\)\), or X = the pairs"


pytestmark = pytest.mark.usefixtures("quiet_fits")


@pytest.fixture(scope="module")
def table():
    """User, item, rating, time."""
    ratings = dl.datasets.make_ratings(30, 20, 300, seed=3)
    rng = np.random.default_rng(0)
    return np.column_stack([*ratings.triples, 1.6e9 + rng.permutation(10**6)[:300]])


@pytest.mark.parametrize(
    "form",
    [
        lambda table: table[:, :3],
        lambda table: table[:, [0, 2, 1]],
        lambda table: table[:, :2].astype(int),
        lambda table: table,
        lambda table: table[:, :3].round().astype(np.float32),
        lambda table: table[:, :3].tolist(),
        lambda table: [tuple(line) for line in table],
        lambda table: pd.DataFrame(table[:, :3], columns=["who", "what", "stars"]),
        lambda table: pd.DataFrame(table, columns=["who", "what", "stars", "when"]),
        lambda table: pl.DataFrame(table[:, :3], schema=["who", "what", "stars"]),
    ],
)
def test_a_list_is_refused(table, form):
    with pytest.raises(InputError, match=ADVICE):
        dl.DeepMatrixCompletion(**FIXED).fit(form(table))
    with pytest.raises(InputError, match=ADVICE):
        dl.DeepMatrixCompletion(**FIXED).partial_fit(form(table))


def test_a_list_without_some_values_is_warned_of(table):
    some = table[:, :3].copy()
    some[::7, 2] = np.nan
    with pytest.warns(UserWarning, match=ADVICE):
        dl.DeepMatrixCompletion(**FIXED).fit(some)


@pytest.mark.parametrize("case", ["answers", "few", "real", "wide", "one id", "stored"])
def test_matrices_are_read(case):
    rng = np.random.default_rng(1)
    answers = rng.integers(1, 6, size=(80, 3)).astype(float)
    X = {
        "answers": np.where(rng.random(answers.shape) < 0.2, np.nan, answers),
        "few": np.array([[1.0, 1], [2, np.nan], [1, 2]]),
        "real": rng.normal(size=(80, 3)),
        "wide": rng.integers(1, 6, size=(80, 5)).astype(float),
        "one id": np.column_stack([answers[:, 0], rng.normal(size=(80, 2))]),
        "stored": sp.coo_array(answers),  # a sparse matrix says what it is
    }[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", dl.errors.NotConvergedWarning)
        model = dl.DeepMatrixCompletion(**FIXED).fit(X)
    assert (len(model.row_ids_), len(model.col_ids_)) == X.shape


def test_a_matrix_is_no_new_row_of_a_model_of_names(table):
    users, items, values = table.T[:3]
    model = dl.DeepMatrixCompletion(**FIXED).fit((users, items + 100, values))
    with pytest.raises(InputError, match="X must carry ids, as the entries of the fit did"):
        model.fold_in(np.full((2, 20), 3.0))
    assert model.fold_in(([0], [items[0] + 100], [3.0])).complete().shape[0] == 1


class TestConstant:
    @pytest.mark.parametrize("value", [1.0, 0.0, -2.5])
    def test_clicks_are_warned_of(self, table, value):
        users, items, _ = table.T[:3]
        with pytest.warns(UserWarning, match=f"All 300 entries have the value {value:g}, and ev"):
            model = dl.DeepMatrixCompletion(**FIXED).fit((users, items, np.full(300, value)))
        np.testing.assert_allclose(model.predict(users[:9], items[9:18]), value, atol=1e-9)

    def test_clicks_in_a_sparse_matrix(self, table):
        users, items, _ = (part.astype(int) for part in table.T[:3])
        X = sp.csr_array((np.ones(300), (users, items)))
        with pytest.warns(UserWarning, match="All 300 entries have the value 1"):
            dl.DeepMatrixCompletion(**FIXED).fit(X)

    def test_no_others_are(self, table):
        users, items, _ = table.T[:3]
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.simplefilter("ignore", dl.errors.NotConvergedWarning)
            dl.DeepMatrixCompletion(**FIXED).fit((users, items, np.r_[np.ones(299), 0.0]))
            dl.DeepMatrixCompletion(**FIXED).fit(([1], [1], [1.0]))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("table.csv", r"^X must be a table, got the path 'table\.csv': read it first"),
        ([1.0, 2.0], r"^X must have two axes, rows and columns, got a 1D array\. .* one row\.$"),
        (np.ones((2, 2, 2)), "got a 3D array"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(X, message):
    with pytest.raises(dl.InputError, match=message) as error:
        dl.DeepLinearImputer(2, strength=1.0).fit(X)
    assert "\n" not in str(error.value)
    assert r"\n" not in str(error.value)
