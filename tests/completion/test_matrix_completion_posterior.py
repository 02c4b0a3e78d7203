"""Averaging, side information and uncertainty: against exact conditionals, and against what was
hidden.
"""

import warnings

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.posterior.conformal import Calibration
from deeplinear.completion.posterior.gibbs import Sample, draw, draw_lines, draw_prior, gibbs
from deeplinear.completion.posterior.implicit_feedback import Pattern, patterns
from deeplinear.completion.posterior.laplace import LocalPosterior
from deeplinear.completion.solver import fit as thin
from deeplinear.errors import InputError


def entries(rng, m=30, n=20, count=250, weights=False):
    rows, cols = np.divmod(rng.permutation(m * n)[:count], n)
    w = rng.uniform(0.5, 2.0, count) if weights else None
    return Observations.from_triples(rows, cols, rng.normal(size=count), (m, n), weights=w)


@pytest.mark.parametrize("weights", [False, True])
def test_lines_are_drawn_from_their_exact_conditional(rng, weights):
    seen = entries(rng, weights=weights)
    m, n, f, alpha, mean = 30, 20, 4, 3.0, 0.2
    other, prior = rng.normal(size=(n, f)), 2 * np.eye(f) + 0.3
    pull, shift, noise = rng.normal(size=f), rng.normal(size=(m, f)), rng.normal(size=(m, f))
    out, centre = np.empty((m, f)), np.empty((m, f))
    squares = draw_lines(
        0, m, *seen.by_row.arrays, mean, other, prior, pull, alpha, shift, noise, out, centre
    )
    rows, cols, values = seen.triples()
    w = seen.by_row.weights if weights else np.ones(len(values))
    Y = np.column_stack([other[:, :-1], np.ones(n)])
    for i in range(m):
        t = rows == i
        D = Y[cols[t]]
        A = prior + alpha * (D.T * w[t]) @ D
        c = pull + shift[i] + alpha * (D.T * w[t]) @ (values[t] - mean - other[cols[t], -1])
        np.testing.assert_allclose(centre[i], np.linalg.solve(A, c), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            np.linalg.cholesky(A).T @ (out[i] - centre[i]), noise[i], rtol=1e-8, atol=1e-10
        )
    gap = values - mean - other[cols, -1] - np.einsum("tk,tk->t", out[rows], Y[cols])
    assert squares == pytest.approx(np.sum(w * gap**2))


def test_the_prior_is_drawn_around_the_lines(rng):
    Z = rng.normal(size=(4000, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 0.2]]) + [
        1.0,
        -2.0,
        0.0,
    ]
    draws = [draw_prior(Z, rng) for _ in range(200)]
    covariance = np.linalg.inv(np.mean([precision for precision, _ in draws], axis=0))
    np.testing.assert_allclose(
        covariance, np.cov(Z.T), atol=0.06
    )  # about three standard errors of 4000 lines
    np.testing.assert_allclose(np.mean([m for _, m in draws], axis=0), Z.mean(axis=0), atol=0.01)


def test_loadings_solve_their_ridge_problem(rng):
    """With a prior so tight that the drawn noise is negligible, β is the ridge solution."""
    seen = entries(rng)
    pattern = Pattern(seen.by_row, 20, 2)
    B = np.zeros((30, 20))
    rows, cols, _ = seen.triples()
    B[rows, cols] = 1
    F = B / np.sqrt(np.maximum(B.sum(axis=1), 1))[:, None]
    np.testing.assert_allclose(pattern.F.toarray(), F)
    Z, centre = rng.normal(size=(30, 2)), np.array([0.3, -0.1])
    pattern.draw(Z, centre, 1e16 * np.eye(2), rng)
    expected = np.linalg.solve(F.T @ F + 10.0 * np.eye(20), F.T @ (Z - centre))
    np.testing.assert_allclose(pattern.loadings, expected, atol=2e-2 * abs(expected).max())


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


def test_a_chain_does_not_leave_an_exact_fit():
    """Data without noise, started at the truth: the precision grows and the predictions stay."""
    rng = np.random.default_rng(3)
    p, q = rng.normal(size=(40, 2)), rng.normal(size=(30, 2))
    rows, cols = np.divmod(rng.permutation(1200)[:800], 30)
    seen = Observations.from_triples(rows, cols, (p @ q.T)[rows, cols], (40, 30))
    start = Sample(np.column_stack([p, np.zeros(40)]), np.column_stack([q, np.zeros(30)]), 0.0, 1e6)
    chain = gibbs(seen, start, rng)
    for _ in range(5):
        sample = next(chain)
    found = sample.rows[:, :-1] @ sample.cols[:, :-1].T + sample.rows[:, -1:] + sample.cols[:, -1]
    assert np.abs(found - p @ q.T).max() < 0.05
    assert len(patterns(seen, 3)) == 2
    fit = thin.fit(seen, depth=3, strength=0.01, max_rank=3)
    assert len(list(draw(fit, seen, 2, 0, implicit_feedback=False, threads=1))) == 2


def test_local_posterior_is_the_inverse_hessian(rng):
    seen = entries(rng, weights=True)
    fit = thin.fit(seen, depth=3, strength=0.2, max_rank=4, weighted_trace_norm=0.5, max_sweeps=5)
    local = LocalPosterior.of(fit, seen)
    rows, cols = rng.integers(30, size=40), rng.integers(20, size=40)
    found = local.deviation(rows, cols, threads=1)
    slope = fit.penalty.slope(fit.spectrum)

    def spread(lines, i, y, other, scale):
        part = slice(lines.indptr[i], lines.indptr[i + 1])
        D = other[lines.indices[part]]
        A = (D.T * lines.weights[part]) @ D + np.diag(
            np.append(slope * scale[i] ** 2, fit.bias_ridge)
        )
        return y @ np.linalg.solve(A, y)

    Z, Y = (np.column_stack([side, np.ones(len(side))]) for side in (fit.left, fit.right))
    expected = [
        local.noise
        * (
            1
            + spread(seen.by_row, i, Y[j], Y, fit.row_scale)
            + spread(seen.by_col, j, Z[i], Z, fit.col_scale)
        )
        for i, j in zip(rows, cols, strict=True)
    ]
    np.testing.assert_allclose(found**2, expected, rtol=1e-8)


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


def test_calibration_is_the_conformal_quantile():
    calibration = Calibration.of(np.arange(-99.0, 0.0), np.ones(99))
    assert calibration.factor(0.9) == 90.0
    assert Calibration().factor(0.95) == pytest.approx(1.959964, abs=1e-6)
    with pytest.raises(InputError, match="needs at least 199 held-out entries, there are 99"):
        calibration.factor(0.995)
    with pytest.raises(InputError, match="coverage must lie between 0 and 1"):
        calibration.factor(1.0)
    many = Calibration.of(np.linspace(0, 1, 100_000), np.ones(100_000))
    assert len(many.scores) == 20_000
    assert many.factor(0.9) == pytest.approx(0.9, abs=1e-4)
