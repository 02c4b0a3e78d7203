"""Draws of the factors: against exact conditionals, and against closed forms of the posterior."""

from dataclasses import replace

import numpy as np
import pytest

from deeplinear.completion.backends.dense import Dense
from deeplinear.completion.backends.threads import Loops
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.posterior.gibbs import (
    Sample,
    draw,
    draw_precision,
    draw_prior,
    draw_rows,
    gibbs,
)
from deeplinear.completion.posterior.implicit_feedback import patterns
from deeplinear.completion.solver.fit import fit as low_rank_fit


def entries(rng, m=30, n=20, count=250, weights=False):
    rows, cols = np.divmod(rng.permutation(m * n)[:count], n)
    w = rng.uniform(0.5, 2.0, count) if weights else None
    return Observations.from_triples(rows, cols, rng.normal(size=count), (m, n), weights=w)


def conditional(seen, i, other, mean, precision, prior, pull):
    """(A, c) of row i from the definition: N(A⁻¹c, A⁻¹)."""
    rows, cols, values = seen.triples()
    w = seen.by_row.weights if seen.by_row.weights.size else np.ones(len(values))
    t = rows == i
    D = np.column_stack([other[:, :-1], np.ones(len(other))])[cols[t]]
    A = prior + precision * (D.T * w[t]) @ D
    c = pull + precision * (D.T * w[t]) @ (values[t] - mean - other[cols[t], -1])
    return A, c


@pytest.mark.parametrize("backend", [Dense, Loops])
@pytest.mark.parametrize("weights", [False, True])
def test_lines_are_drawn_from_their_exact_conditional(rng, weights, backend):
    seen = entries(rng, weights=weights)
    m, n, f, alpha, mean = 30, 20, 4, 3.0, 0.2
    other, prior = rng.normal(size=(n, f)), 2 * np.eye(f) + 0.3
    pull, shift, noise = rng.normal(size=f), rng.normal(size=(m, f)), rng.normal(size=(m, f))
    out, centre, squares = backend().draw(
        seen.by_row, other, mean, alpha, prior, pull, shift, noise
    )
    for i in range(m):
        A, c = conditional(seen, i, other, mean, alpha, prior, pull)
        np.testing.assert_allclose(
            centre[i], np.linalg.solve(A, c + shift[i]), rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(
            np.linalg.cholesky(A).T @ (out[i] - centre[i]), noise[i], rtol=1e-8, atol=1e-10
        )
    rows, cols, values = seen.triples()
    w = seen.by_row.weights if weights else np.ones(len(values))
    Y = np.column_stack([other[:, :-1], np.ones(n)])
    gap = values - mean - other[cols, -1] - np.einsum("tk,tk->t", out[rows], Y[cols])
    np.testing.assert_allclose(squares, np.bincount(rows, w * gap**2, m), rtol=1e-10)


@pytest.mark.parametrize("rank", [0, 2])
def test_rows_given_the_columns_have_the_gaussian_posterior(rng, rank):
    """With the columns, prior and noise given, the posterior of a row is a closed form.

    Moments of draws for 4,000 equal rows against it: means within 4.5 standard errors, and so the
    covariances, whose standard error is √((C_kk C_ll + C_kl²)/n). At rank 0 only the row bias is
    drawn.
    """
    f, count = rank + 1, 4000
    root = rng.normal(size=(f, f))
    prior, pull, none = root @ root.T + np.eye(f), rng.normal(size=f), np.zeros((count, f))
    cols = rng.normal(size=(20, f))
    sample = Sample(none, none, cols, 0.4, np.array([2.0]), (prior, pull), (prior, pull))
    here = rng.permutation(20)[:6]
    values, weights = rng.normal(size=6), rng.uniform(0.5, 2.0, 6)
    where = np.repeat(np.arange(count), 6), np.tile(here, count)
    tiled = np.tile(values, count), np.tile(weights, count)
    seen = Observations.from_triples(*where, tiled[0], (count, 20), weights=tiled[1])
    found = draw_rows(sample, seen, np.random.default_rng(5), threads=1)
    A, c = conditional(seen, 0, cols, 0.4, 2.0, prior, pull)
    C = np.linalg.inv(A)
    assert np.all(np.abs(found.mean(axis=0) - C @ c) < 4.5 * np.sqrt(np.diag(C) / count))
    spread = np.sqrt((np.outer(np.diag(C), np.diag(C)) + C**2) / count)
    assert np.all(np.abs(np.cov(found.T).reshape(f, f) - C) < 4.5 * spread)


def test_the_prior_is_drawn_around_the_lines(rng):
    Z = rng.normal(size=(4000, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 0.2]])
    Z += [1.0, -2.0, 0.0]
    draws = [draw_prior(Z, rng) for _ in range(200)]
    covariance = np.linalg.inv(np.mean([precision for precision, _ in draws], axis=0))
    # about three standard errors of 4000 lines
    np.testing.assert_allclose(covariance, np.cov(Z.T), atol=0.06)
    np.testing.assert_allclose(np.mean([m for _, m in draws], axis=0), Z.mean(axis=0), atol=0.01)


@pytest.mark.parametrize("backend", [Dense(), Loops()])
def test_loadings_solve_their_ridge_problem(rng, backend):
    """With a prior so tight that the drawn noise is negligible, β is the ridge solution."""
    seen = entries(rng)
    pattern, _ = patterns(backend, seen, 2)
    B = np.zeros((30, 20))
    rows, cols, _ = seen.triples()
    B[rows, cols] = 1
    F = B / np.sqrt(np.maximum(B.sum(axis=1), 1))[:, None]
    np.testing.assert_allclose(pattern.product(np.eye(20)), F, rtol=1e-12)
    np.testing.assert_allclose(pattern.adjoint(np.eye(30)), F.T, rtol=1e-12)
    Z, centre = rng.normal(size=(30, 2)), np.array([0.3, -0.1])
    for precision in (10.0, 3.0):  # the second time from where the first one ended
        pattern.precision = precision
        pattern.draw(Z, centre, 1e16 * np.eye(2), rng)
        expected = np.linalg.solve(F.T @ F + precision * np.eye(20), F.T @ (Z - centre))
        np.testing.assert_allclose(pattern.loadings, expected, atol=2e-2 * abs(expected).max())
        np.testing.assert_allclose(pattern.mean, F @ pattern.loadings, rtol=1e-9, atol=1e-12)


def test_a_component_without_anything_has_no_loadings(rng):
    """In float32, where squares of small numbers are 0 early."""
    seen = entries(rng)
    single = Observations.from_triples(*seen.triples(), seen.shape, dtype=np.float32)
    pattern, _ = patterns(Loops(), single, 3)
    right = rng.normal(size=(20, 3)).astype(np.float32) * np.array([1, 0, 1e-24], np.float32)
    found = pattern._solve(right)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found[:, 0].any()
    assert not found[:, 1].any()


def test_a_chain_does_not_leave_an_exact_fit():
    """Data without noise, started at the truth: the precision grows and the predictions stay."""
    rng = np.random.default_rng(3)
    p, q = rng.normal(size=(40, 2)), rng.normal(size=(30, 2))
    rows, cols = np.divmod(rng.permutation(1200)[:800], 30)
    seen = Observations.from_triples(rows, cols, (p @ q.T)[rows, cols], (40, 30))
    left, right = np.column_stack([p, np.zeros(40)]), np.column_stack([q, np.zeros(30)])
    none = np.zeros((3, 3)), np.zeros(3)
    chain = gibbs(seen, Sample(left, left, right, 0.0, np.array([1e6]), none, none), rng)
    for _ in range(5):
        sample = next(chain)
    found = sample.rows[:, :-1] @ sample.cols[:, :-1].T + sample.rows[:, -1:] + sample.cols[:, -1]
    assert np.abs(found - p @ q.T).max() < 0.05
    assert len(patterns(Dense(), seen, 3)) == 2
    fit = low_rank_fit(seen, depth=3, strength=0.01, max_rank=3)
    assert len(list(draw(fit, seen, 2, 0, implicit_feedback=False, threads=1))) == 2


def test_draws_do_not_depend_on_units(rng):
    """Values c times as large, weights d times as large: the same draws, c times as large."""
    rows, cols = np.divmod(rng.permutation(600)[:300], 20)
    values, w = rng.normal(size=300), rng.uniform(0.5, 2, 300)
    seen = Observations.from_triples(rows, cols, values, (30, 20), weights=w)
    start = low_rank_fit(seen, depth=2, strength=0.5, max_rank=3, max_sweeps=30)
    samples = []
    for c, d in ((1.0, 1.0), (1e3, 7.0)):
        seen = Observations.from_triples(rows, cols, c * values, (30, 20), weights=d * w)
        sides = {k: np.sqrt(c) * getattr(start, k) for k in ("left", "right")}
        biases = {k: c * getattr(start, k) for k in ("row_bias", "col_bias", "mean")}
        scaled = replace(start, **sides, **biases)
        last = list(draw(scaled, seen, 3, 1, threads=1))[-1]
        samples.append(
            (
                (last.rows[:, :-1] @ last.cols[:, :-1].T + last.rows[:, -1:] + last.cols[:, -1])
                / c,
                last.precision * c**2 * d,
            )
        )
    np.testing.assert_allclose(samples[1][0], samples[0][0], rtol=1e-8, atol=1e-8)
    assert samples[1][1] == pytest.approx(samples[0][1], rel=1e-8)


def test_draws_do_not_depend_on_the_signs_of_the_components(rng):
    """Those of an SVD are arbitrary: another device, or another BLAS, may give the others."""
    seen = entries(rng)
    start = low_rank_fit(seen, depth=2, strength=0.3, max_rank=3)
    assert start.rank == 3
    flip = np.array([1, -1, -1])
    other = replace(start, left=start.left * flip, right=start.right * flip)
    for one, two in zip(draw(start, seen, 3, 1), draw(other, seen, 3, 1), strict=True):
        np.testing.assert_array_equal(one.rows, two.rows)
        np.testing.assert_array_equal(one.cols, two.cols)


@pytest.mark.parametrize("backend", [Dense, Loops])
@pytest.mark.parametrize("weights", [False, True])
def test_precisions_of_lines_and_of_others_are_weights(rng, weights, backend):
    """α_i β_j w_ij as a precision is 1 with those weights, but Σ w e² is that of the w."""
    seen = entries(rng, weights=weights)
    alpha, beta = rng.uniform(0.5, 2, (30, 1)), rng.uniform(0.5, 2, (1, 20))
    rows, cols, values = seen.triples()
    w = seen.by_row.weights if weights else np.ones(len(values))
    noise, rest = rng.normal(size=(30, 4)), (2 * np.eye(4) + 0.3, rng.normal(size=4))
    other, none = rng.normal(size=(20, 4)), np.zeros((0, 4))
    for precision in (alpha, beta, alpha * beta):
        each = np.broadcast_to(precision, (30, 20))[rows, cols]
        same = Observations.from_triples(rows, cols, values, (30, 20), weights=w * each)
        one = backend().draw(seen.by_row, other, 0.2, precision, *rest, none, noise)
        two = backend().draw(same.by_row, other, 0.2, 1.0, *rest, none, noise)
        for found, exact in zip(one[:2], two[:2], strict=True):
            np.testing.assert_allclose(found, exact, rtol=1e-8, atol=1e-12)
        Y = np.column_stack([other[:, :-1], np.ones(20)])
        gap = values - 0.2 - other[cols, -1] - np.einsum("tk,tk->t", one[0][rows], Y[cols])
        np.testing.assert_allclose(one[2], np.bincount(rows, w * gap**2, 30), rtol=1e-8)


@pytest.mark.parametrize("own", [False, True])
def test_precisions_given_the_errors(own):
    """Gamma((1 + N)/2, rate (v + S)/2) of all, or of each column with 2 entries more.

    These have the mean square of all. Mean and variance of 20,000 draws, the mean within 5 standard
    errors.
    """
    rng, usual = np.random.default_rng(0), np.full(3 if own else 1, 4.0)
    squares, counts = np.array([2.0, 50.0, 0.0]), np.array([20, 25, 3])
    found = np.array([draw_precision(squares, counts, rng, usual) for _ in range(20_000)])
    mean = (0.25 + 52) / 49
    shape = (2 + counts) / 2 if own else np.array([24.5])
    rate = (2 * mean + squares) / 2 if own else np.array([49 * mean / 2])
    assert found.shape == (20_000, len(usual))
    error = np.sqrt(shape) / rate / np.sqrt(20_000)
    assert (np.abs(found.mean(axis=0) - shape / rate) < 5 * error).all()
    np.testing.assert_allclose(found.var(axis=0), shape / rate**2, rtol=0.1)


def test_columns_find_their_own_noise():
    """400 rows of rank 1 with noise from 0.2 to 2 in 12 columns: α_j is 1/σ_j², within 25 %."""
    rng = np.random.default_rng(2)
    sigma = np.geomspace(0.2, 2, 12)
    X = rng.normal(size=(400, 1)) @ (1.5 * (-1.0) ** np.arange(12)[None])
    X += sigma * rng.normal(size=X.shape)
    rows, cols = np.nonzero(rng.random(X.shape) < 0.8)
    seen = Observations.from_triples(rows, cols, X[rows, cols], X.shape)
    start = low_rank_fit(seen, depth=2, strength=0.3, max_rank=1)
    samples = list(draw(start, seen, 220, 0, column_noise=True))[20:]
    found = np.mean([1 / sample.precision for sample in samples], axis=0) ** 0.5
    np.testing.assert_allclose(found, sigma, rtol=0.25)
    assert {sample.cols.shape for sample in samples} == {(12, 2)}
    more = next(iter(draw(start, seen, 1, 0, column_noise=True, rank=4)))
    assert more.cols.shape == (12, 5)
    assert more.rows.shape == (400, 5)
