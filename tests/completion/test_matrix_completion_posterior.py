"""Averaging, side information and uncertainty of pairs, against entries that were hidden."""

import warnings

import numpy as np
import pytest

import deeplinear as dl


def problem(seed, count=3000, pattern=False, m=150, n=100):
    """Entries of an m × n matrix of rank 3 with noise 0.5; with ``pattern``, rows look where their
    factor likes the column.
    """
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(m, 3)), rng.normal(size=(n, 3))
    truth = p @ q.T + rng.normal(size=n)
    taste = p @ rng.normal(size=(3, n)) if pattern else np.zeros((m, n))
    where = np.argsort(-(2 * taste + rng.gumbel(size=truth.shape)).ravel())[:count]
    rows, cols = np.divmod(where, n)
    return rows, cols, truth[rows, cols] + 0.5 * rng.normal(size=count), truth, rng


def hidden_error(model, rows, cols, truth):
    hidden = np.ones(truth.shape, bool)
    hidden[rows, cols] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.sqrt(np.mean((model.predict(*np.nonzero(hidden)) - truth[hidden]) ** 2)))


OPTIONS = {"max_rank": 8, "random_state": 0, "threads": 1}


def test_averaging_is_more_accurate_and_reproducible():
    rows, cols, values, truth, _ = problem(1, count=2000)
    point = dl.DeepMatrixCompletion(**OPTIONS).fit((rows, cols, values))
    mean = dl.DeepMatrixCompletion(**OPTIONS, n_draws=20).fit((rows, cols, values))
    assert hidden_error(mean, rows, cols, truth) < 0.98 * hidden_error(point, rows, cols, truth)
    two = dl.DeepMatrixCompletion(**{**OPTIONS, "threads": 2}, n_draws=20).fit((rows, cols, values))
    np.testing.assert_array_equal(two.predict(rows, cols), mean.predict(rows, cols))


def test_what_was_looked_at_helps_where_it_tells_something():
    rows, cols, values, truth, _ = problem(2, count=1200, pattern=True)
    options = {**OPTIONS, "n_draws": 20, "burn_in": 20}
    without = dl.DeepMatrixCompletion(**options).fit((rows, cols, values))
    informed = dl.DeepMatrixCompletion(**options, implicit_feedback=True).fit((rows, cols, values))
    assert hidden_error(informed, rows, cols, truth) < 0.95 * hidden_error(
        without, rows, cols, truth
    )


@pytest.mark.parametrize("options", [{}, {"n_draws": 10}])
def test_intervals_cover_new_entries(options):
    """90 % intervals, calibrated on about 1,300 entries, on 9,000 others: two binomial deviations
    together are 1.8 %.

    The fit of everything is a little better than the one that was calibrated, so coverage errs on
    the safe side.
    """
    rows, cols, values, truth, rng = problem(4, count=24_000, m=300, n=200)
    train = rng.random(24_000) < np.where(
        rows < 150, 0.2, 0.9
    )  # rows with few entries, rows with many
    model = dl.DeepMatrixCompletion(**OPTIONS, **options)
    model.fit((rows[train], cols[train], values[train]))
    hidden = np.ones(truth.shape, bool)
    hidden[rows[train], cols[train]] = False
    r, c = np.nonzero(hidden)
    some = (
        rng.random(len(r)) < np.bincount(rows[train], minlength=300)[r] / 200
    )  # exchangeable with the held-out ones
    r, c = r[some], c[some]
    new = truth[r, c] + 0.5 * rng.normal(size=len(r))
    low, high = model.interval(r, c)
    assert 0.88 < np.mean((low <= new) & (new <= high)) < 0.93
    wide = model.interval(r, c, coverage=0.99)
    assert (wide[0] <= low).all()
    assert (wide[1] >= high).all()
    # the deviations know where little is known: rows with few entries
    _, deviation = model.predict(r, c, return_std=True)
    counts = np.bincount(rows[train], minlength=300)
    assert np.corrcoef(deviation, counts[r])[0, 1] < -0.3
