"""Before the first sweep: the biases alone, the noise scale τ, leading triples, the strength."""

import numpy as np
import pytest
from cases import DEPTHS
from completion_data import matrix, observe, table
from threadpoolctl import threadpool_limits

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit, make_problem
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.schedule import penalty_at, relative_strength
from deeplinear.completion.solver.start import additive, leading, line_scale, noise_scale, zero


def problem_of(seen, **options):
    """(problem, options) on one thread."""
    record = FitOptions(**options).for_data(seen)
    with open_backend(seen, 1) as backend:
        return make_problem(seen, record, backend), record


def test_additive_model():
    """μ, a, b of the ridge regression on indicators of rows and columns."""
    _, _, X, w, seen = table(np.random.default_rng(0), 14, 9, weighted=True)
    problem, _ = problem_of(seen, bias_ridge=1.0)
    m, n = X.shape
    design = np.zeros((m * n, 1 + m + n))
    design[:, 0] = 1
    for i in range(m):
        for j in range(n):
            design[i * n + j, [1 + i, 1 + m + j]] = 1
    w = w.ravel()
    ridge = np.diag(np.r_[0.0, np.ones(m + n)])
    exact = np.linalg.solve(design.T @ (w[:, None] * design) + ridge, design.T @ (w * X.ravel()))
    state = additive(problem)
    found = np.concatenate([[state.mean], state.row_bias, state.col_bias])
    np.testing.assert_allclose(found, exact, atol=2e-2)
    assert state.rank == 0


def test_leading_triples():
    rng = np.random.default_rng(0)
    R = rng.normal(size=(120, 5)) @ np.diag([9, 7, 5, 3, 1]) @ rng.normal(size=(5, 90))
    R += 1e-3 * rng.normal(size=(120, 90))
    seen = observe(R, np.ones(R.shape, bool))
    problem, _ = problem_of(seen, bias_ridge=None, weighted_trace_norm=0)
    U, s, Vt = np.linalg.svd(R)
    for k in (4, 60):
        left, values, right = leading(problem, zero(seen, biases=False), k)
        assert (left.shape, right.shape) == ((120, k), (90, k))
        np.testing.assert_allclose(values[:5], s[: min(k, 5)], rtol=1e-6)
        np.testing.assert_allclose(
            (left[:, :4] * values[:4]) @ right[:, :4].T, (U[:, :4] * s[:4]) @ Vt[:4], atol=1e-6
        )


def test_tau_is_the_norm_of_noise():
    rng = np.random.default_rng(0)
    mask = rng.random((400, 300)) < 0.3
    Z = np.where(mask, rng.normal(size=(400, 300)), 0)
    found = []
    for factor in (1, 7):
        seen = observe(factor * Z, mask)
        problem, _ = problem_of(seen, bias_ridge=None, weighted_trace_norm=0)
        found.append(noise_scale(problem, zero(seen, biases=False)))
    assert found[0] == pytest.approx(np.linalg.norm(Z, 2), rel=0.05)
    assert found[1] == pytest.approx(7 * found[0])


def test_tau_is_the_norm_of_the_residual_with_random_signs(rng):
    """Against 40 dense draws of signs: within four standard deviations of their mean, and
    scale-free.
    """
    _, mask, X, weights, seen = table(rng, m=150, n=120, seen=0.3)
    found = fit(seen, max_sweeps=1, weighted_trace_norm=0)
    bias_only = fit(seen, max_sweeps=200, tol=0, max_rank=0)
    R = weights * (X - matrix(bias_only))
    with threadpool_limits(1):
        draws = [np.linalg.norm(R * rng.choice([-1.0, 1.0], R.shape), 2) for _ in range(40)]
    assert abs(found.tau - np.mean(draws)) < 4 * np.std(draws) + 0.02 * np.mean(draws)
    larger = fit(observe(1000 * X, mask), max_sweeps=5, strength=0.3)
    plain = fit(seen, max_sweeps=5, strength=0.3)
    np.testing.assert_allclose(matrix(larger), 1000 * matrix(plain), rtol=1e-6)


@pytest.mark.parametrize("depth", DEPTHS)
def test_strength_is_the_slope_at_the_noise(rng, depth):
    """λ is set so that f'(τ/density) = strength · τ, the floor aside; and λ is a strength."""
    *_, seen = table(rng, 14, 9)
    problem, options = problem_of(seen, depth=depth, strength=0.3, smoothing=0)
    tau = noise_scale(problem, additive(problem))
    penalty = penalty_at(problem, options, tau, depth)
    assert float(penalty.slope(tau / problem.density)) == pytest.approx(0.3 * tau)
    given, same = problem_of(seen, depth=depth, decay=penalty.decay, smoothing=0)
    assert relative_strength(given, same, tau) == pytest.approx(0.3)
    assert penalty_at(given, same, tau, depth).decay == pytest.approx(penalty.decay)


def test_scales_of_lines():
    seen = Observations.from_triples([0, 0, 0, 1], [0, 1, 2, 0], np.ones(4), (3, 3))
    counts = np.array([3, 1, 1])  # a line without entries counts as one entry
    exact = (counts / counts.mean()) ** 0.25
    np.testing.assert_allclose(line_scale(seen.by_row, 0.5), exact, rtol=1e-15)
    np.testing.assert_array_equal(line_scale(seen.by_row, 0.0), np.ones(3))


def test_density_is_the_mean_weight_of_uniform_data(rng):
    """And the Lipschitz constant is the largest curvature of E in one entry of W̃."""
    X, mask = np.ones((20, 10)), np.zeros((20, 10), bool)
    mask[np.arange(20), np.arange(20) % 10] = True
    mask[np.arange(20), (np.arange(20) + 3) % 10] = True
    problem, _ = problem_of(observe(X, mask), bias_ridge=None)
    assert problem.density == pytest.approx(0.2)
    _, mask, X, w, seen = table(rng, 14, 9, weighted=True)
    problem, _ = problem_of(seen)
    scales = problem.row_scale[:, None] * problem.col_scale
    assert problem.lipschitz == pytest.approx((w / scales**2).max())
