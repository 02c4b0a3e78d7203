"""Before the first sweep: the biases alone, the noise scale τ, leading triples, the strength."""

import numpy as np
import pytest
from cases import DEPTHS
from completion_data import matrix, observe, table
from threadpoolctl import threadpool_limits

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.loss import POISSON
from deeplinear.completion.penalty import Penalty
from deeplinear.completion.solver import start as starting
from deeplinear.completion.solver.fit import fit, make_problem
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.pilot import learn
from deeplinear.completion.solver.problem import Residual, assemble
from deeplinear.completion.solver.schedule import penalty_at, relative_strength
from deeplinear.completion.solver.start import (
    additive,
    exact_line_search,
    leading,
    line_scale,
    noise_scale,
    spectral_initialization,
    zero,
)


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


def test_what_it_costs_before_the_first_sweep(rng, monkeypatch):
    """Passes over the entries: of the biases, and products with so many columns."""
    *_, seen = table(rng, 40, 30)
    problem, _ = problem_of(seen)
    passes = []
    for name in ("rows_pass", "cols_pass"):
        plain = getattr(starting, name)
        moved = lambda *a, name=name, plain=plain: passes.append(name) or plain(*a)  # noqa: E731
        monkeypatch.setattr(starting, name, moved)
    for name in ("matmul", "t_matmul"):
        plain = getattr(Residual, name)
        counted = lambda *a, plain=plain: passes.append(a[1].shape[1]) or plain(*a)  # noqa: E731
        monkeypatch.setattr(Residual, name, counted)
    state = additive(problem)
    assert passes == ["rows_pass", "cols_pass"] * 5
    passes.clear()
    leading(problem, state, 3)
    assert passes == [8] * 8
    passes.clear()
    noise_scale(problem, state)
    assert passes == [1] * 14


def test_the_seed_is_0_where_none_is_given(rng):
    *_, seen = table(rng, 40, 30)
    problem, _ = problem_of(seen)
    state = additive(problem)
    for one, other in zip(
        leading(problem, state, 3), leading(problem, state, 3, seed=0), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert noise_scale(problem, state) == noise_scale(problem, state, 0)
    assert noise_scale(problem, state) != noise_scale(problem, state, 1)
    penalty = Penalty(2, 1.0, 1e-12)
    found = spectral_initialization(problem, state, penalty, 5)
    again = spectral_initialization(problem, state, penalty, 5, 0)
    np.testing.assert_array_equal(found.Z, again.Z)


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


def test_the_mean_is_the_weighted_one(rng):
    _, mask, X, w, seen = table(rng, 14, 9, weighted=True)
    assert zero(seen, biases=True).mean == pytest.approx((w * X).sum() / w.sum())
    assert zero(observe(X, mask), biases=True).mean == pytest.approx(X[mask].mean())
    for biases in (True, False):
        state = zero(seen, biases=biases)
        assert state.rank == 0
        assert not state.row_bias.any()
        assert not state.col_bias.any()
    assert state.mean == 0


def test_no_biases_where_none_are_asked_for(rng):
    *_, seen = table(rng, 14, 9)
    problem, _ = problem_of(seen, bias_ridge=None)
    state = additive(problem)
    assert (state.mean, np.abs(state.row_bias).max(), np.abs(state.col_bias).max()) == (0, 0, 0)


@pytest.mark.parametrize(("size", "unit"), [(0.3, 1.0), (2.5, 1.0), (300.0, 1.0), (2.5, 1e-3)])
def test_the_line_search_finds_the_bottom_of_the_parabola(rng, size, unit):
    """θ = ⟨R, W⟩/⟨W, W⟩ over the entries, at most 1 and at least 0.01; θ W has √θ on each side."""
    _, mask, X, w, _ = table(rng, 14, 9, weighted=True)
    X = unit * X
    seen = observe(X, mask, w)
    problem, _ = problem_of(seen)
    old = additive(problem)
    R = X - old.mean - old.row_bias[:, None] - old.col_bias
    U, s, Vt = np.linalg.svd(np.where(mask, R, 0))
    P, Q, s = size * U[:, :2] * s[:2], Vt[:2].T, size * s[:2]
    new = assemble(P, Q, s, old.row_bias, old.col_bias, old.mean, float)
    W = P @ Q.T
    best = np.clip((w * R * W).sum() / (w * W * W).sum(), 0.01, 1)
    found = exact_line_search(problem, old, new)
    np.testing.assert_allclose(found.Z[:, :2] @ found.Y[:, :2].T, best * W, rtol=1e-9)
    np.testing.assert_allclose(found.Z[:, :2], np.sqrt(best) * P, rtol=1e-9)
    np.testing.assert_allclose(found.s, best * s, rtol=1e-9)
    np.testing.assert_array_equal(found.row_bias, old.row_bias)
    np.testing.assert_array_equal(found.col_bias, old.col_bias)
    assert found.mean == old.mean
    assert (best == 1) == (size < 1)
    assert (best == 0.01) == (size == 300)


def test_a_line_that_no_entry_sees_is_taken_whole(rng):
    _, mask, X, *_ = table(rng, 14, 9)
    mask[0] = False
    seen = observe(X, mask)
    problem, _ = problem_of(seen)
    old = additive(problem)
    for P in (np.zeros((14, 0)), np.eye(14, 1)):  # nothing, and row 0
        Q = np.ones((9, P.shape[1]))
        new = assemble(P, Q, np.ones(P.shape[1]), old.row_bias, old.col_bias, old.mean, float)
        assert exact_line_search(problem, old, new) is new


@pytest.mark.parametrize("size", [0.02, 1.0, 4.0, -1.0])
def test_where_the_energy_is_no_parabola_the_length_is_quartered_until_it_falls(rng, size):
    """Poisson, E = Σ e^t − x t + const, t = unit (μ + a_i + b_j + θ W_ij): from the bottom of a
    parabola on, to a length of 10⁻⁴ or less, where W leads upwards."""
    T = rng.normal(size=(14, 2)) @ rng.normal(size=(2, 9))
    X, mask = rng.poisson(np.exp(0.6 * T + 0.5)) * 1.0, rng.random(T.shape) < 0.8
    seen = observe(X, mask)
    losses = learn([POISSON], seen)
    problem, _ = problem_of(seen, losses=losses)
    old, unit = additive(problem), losses.units[0]
    eta = old.mean + old.row_bias[:, None] + old.col_bias
    U, s, Vt = np.linalg.svd(np.where(mask, X - np.exp(unit * eta), 0))
    P, Q = abs(size) * U[:, :2] * s[:2], np.sign(size) * Vt[:2].T
    W = P @ Q.T

    def energy(part):
        t = unit * (eta + part * W)
        return (np.exp(t) - X * t)[mask].sum()

    pull = unit * ((X - np.exp(unit * (eta + W))) * W)[mask].sum()
    square = 2 * (energy(0) - energy(1) - pull)
    part = np.clip((pull + square) / square, 0.01, 1.0)
    shortenings = 0
    while energy(part) > energy(0) and part > 1e-4:
        part, shortenings = part / 4, shortenings + 1
    new = assemble(P, Q, np.ones(2), old.row_bias, old.col_bias, old.mean, float)
    found = exact_line_search(problem, old, new)
    np.testing.assert_allclose(found.Z[:, :2] @ found.Y[:, :2].T, part * W, rtol=1e-6)
    assert shortenings == {0.02: 0, 1.0: 1, 4.0: 2, -1.0: 6}[size]


def test_what_no_entry_sees_is_taken_whole_with_losses_too(rng):
    X, mask = rng.poisson(2.0, size=(14, 9)) * 1.0, rng.random((14, 9)) < 0.8
    mask[0] = False
    seen = observe(X, mask)
    problem, _ = problem_of(seen, losses=learn([POISSON], seen))
    old = additive(problem)
    P, Q = np.eye(14, 1), np.ones((9, 1))
    new = assemble(P, Q, np.ones(1), old.row_bias, old.col_bias, old.mean, float)
    found = exact_line_search(problem, old, new)
    np.testing.assert_array_equal(found.Z, new.Z)
    np.testing.assert_array_equal(found.Y, new.Y)


def scaled_residual(problem, state, X, w):
    scale = problem.row_scale[:, None] * problem.col_scale
    return w * (X - state.mean - state.row_bias[:, None] - state.col_bias) / scale


def test_the_spectral_start_is_soft_thresholded(rng):
    """s ∝ (g − λ)/density over g > λ, in the frames of R̃; then shrunk as a whole."""
    _, _, X, w, seen = table(rng, 40, 30, weighted=True)
    problem, _ = problem_of(seen)
    old = additive(problem)
    U, g, Vt = np.linalg.svd(scaled_residual(problem, old, X, w))
    decay = 0.5 * (g[3] + g[4])
    found = spectral_initialization(problem, old, Penalty(2, decay, 1e-12), 20)
    exact = (g[:4] - decay) / problem.density
    R = X - old.mean - old.row_bias[:, None] - old.col_bias
    far = (U[:, :4] * exact) @ Vt[:4] / (problem.row_scale[:, None] * problem.col_scale)
    best = np.clip((w * R * far).sum() / (w * far**2).sum(), 0.01, 1)
    np.testing.assert_allclose(found.s, best * exact, rtol=1e-3)
    W = found.Z[:, :4] @ found.Y[:, :4].T
    scaled = problem.row_scale[:, None] * W * problem.col_scale
    np.testing.assert_allclose(scaled, (U[:, :4] * found.s) @ Vt[:4], atol=1e-3 * found.s[0])
    left = found.Z[:, :4] * problem.row_scale[:, None]
    np.testing.assert_allclose(left.T @ left, np.diag(found.s), atol=1e-3 * found.s[0])
    np.testing.assert_array_equal(found.row_bias, old.row_bias)


def test_triples_are_asked_for_until_they_reach_the_penalty(rng, monkeypatch):
    *_, seen = table(rng, 60, 50, noise=1.0)
    problem, _ = problem_of(seen)
    old, asked = additive(problem), []

    def counted(problem, state, k, **rest):
        asked.append(k)
        return leading(problem, state, k, **rest)

    monkeypatch.setattr(starting, "leading", counted)
    monkeypatch.setattr(starting, "FIRST_TRIPLES", 8)
    g, first = leading(problem, old, 40)[1], leading(problem, old, 8)[1]
    for decay, cap, expected in (
        (0.5 * (first[6] + first[7]), 50, [8]),
        (first[7], 50, [8]),
        (0.0, 20, [8, 16, 20]),
        (0.0, 99, [8, 16, 32, 50]),
        (g[10], 50, [8, 16]),
        (g[2], 50, [8]),
        (0.0, 5, [5]),
    ):
        asked.clear()
        found = spectral_initialization(problem, old, Penalty(2, decay, 1e-12), cap)
        assert asked == expected
        if decay == 0:
            assert found.rank == min(cap, 50)
        if expected == [8]:
            assert found.rank == (first > decay).sum()
