"""How the columns of a table come to one scale, with many rows and with few."""

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.completion.data.alike import shrunken
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.data.table import ColumnScaler


def scaler(X, **options):
    rows, cols = np.nonzero(~np.isnan(X))
    seen = Observations.from_triples(rows, cols, X[rows, cols], X.shape)
    return ColumnScaler.of(seen, **{"center": True, "scale": True} | options)


def table(m, n, seed=0):
    """A low-rank table of one unit, a fifth of it hidden."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(m, 3)) @ rng.normal(size=(3, n)) / np.sqrt(3)
    X = W + 0.1 * rng.normal(size=(m, n))
    return X, rng.random(X.shape) < 0.2


def test_many_rows_have_the_means_and_sizes_of_their_columns():
    X = np.where(table(30, 30)[1], np.nan, table(30, 30)[0])
    found = scaler(X)
    np.testing.assert_allclose(found.center, np.nanmean(X, axis=0), atol=1e-14)
    sizes = np.nanmean((X - np.nanmean(X, axis=0)) ** 4, axis=0) ** 0.25
    np.testing.assert_allclose(found.scale, sizes, rtol=1e-12)


def test_few_rows_have_means_and_sizes_nearer_to_the_true_ones():
    rng = np.random.default_rng(1)
    level, spread = rng.normal(size=400), np.exp(0.1 * rng.normal(size=400))
    X = level + spread * rng.normal(size=(8, 400))
    found, own = scaler(X), X.mean(axis=0)
    assert np.square(found.center - level).mean() < 0.95 * np.square(own - level).mean()
    np.testing.assert_array_equal(found.means, own)
    error = np.std(np.log(found.scale / spread))
    raw = ((X - own) ** 4).mean(axis=0) ** 0.25
    assert error < 0.85 * np.std(np.log(raw / spread))


def test_the_best_guess_is_that_of_the_normal_law():
    # the posterior mean by quadrature, with the moments that `shrunken` estimates
    x, v = np.array([1.0, 4.0, 2.0, -3.0]), np.array([1.0, 0.5, 2.0, 1.5])
    between = x.var(ddof=1) - v.mean()
    middle = np.average(x, weights=1 / (between + v))
    t = np.linspace(-40, 40, 400_001)
    law = np.exp(-((t - middle) ** 2) / (2 * between) - (t - x[:, None]) ** 2 / (2 * v[:, None]))
    np.testing.assert_allclose(shrunken(x, v), law @ t / law.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(shrunken(x, 100 * v), np.average(x, weights=1 / v))


@pytest.mark.parametrize("center", [True, False])
def test_a_column_of_another_unit_or_without_entries_changes_no_other(center):
    X, hidden = table(12, 60)
    X[hidden] = np.nan
    plain = scaler(X, center=center)
    X[:, 7] *= 1e6
    X[:, 9] = np.nan
    X[:, 11] = 3.0
    other = scaler(X, center=center)
    rest = np.setdiff1d(np.arange(60), [7, 9, 11])
    np.testing.assert_allclose(other.scale[rest], plain.scale[rest], rtol=0.02)
    np.testing.assert_allclose(other.center[rest], plain.center[rest], atol=0.05)
    assert other.scale[7] == pytest.approx(np.nanmean((X - np.nanmean(X, 0)) ** 4, 0)[7] ** 0.25)


def test_extreme_units_neither_overflow_nor_vanish():
    X, _ = table(6, 40)
    with np.errstate(all="raise"):
        plain = scaler(X)
        for unit in (1e150, 1e-150):
            found = scaler(X * unit)
            np.testing.assert_allclose(found.center / unit, plain.center, rtol=1e-9)
            np.testing.assert_allclose(found.scale / unit, plain.scale, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_transposed_table_is_completed_nearly_as_well(seed):
    X, hidden = table(400, 12, seed)
    given = np.where(hidden, np.nan, X)
    errors = []
    for one, back in ((given, np.asarray), (given.T, np.transpose)):
        filled = back(dl.DeepLinearImputer(random_state=0, refine="off").fit_transform(one))
        errors.append(np.sqrt(np.mean((filled - X)[hidden] ** 2)))
    assert errors[1] < 1.4 * errors[0]


def test_a_model_of_more_columns_than_rows_is_read_again(tmp_path):
    X, hidden = table(12, 60)
    model = dl.DeepLinearImputer(random_state=0).fit(np.where(hidden, np.nan, X))
    model.save(tmp_path / "model.dln")
    again = dl.DeepLinearImputer.load(tmp_path / "model.dln")
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
