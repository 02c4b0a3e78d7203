"""The completion engine against independent oracles: soft-impute, closed forms, a general
optimizer, finite differences.
"""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from deeplinear.completion.linalg import thin_svd as balance
from deeplinear.completion.penalty import Penalty
from deeplinear.completion.solver.convex import (
    Fit,
    Problem,
    certificate,
    convex_sweep,
    descend,
    fold_in,
    grow,
    implied_ridge,
    leading_triples,
    objective,
    solve_rows,
    sweep,
)
from deeplinear.completion.solver.search import (
    STRENGTHS,
    Budget,
    additive,
    choose,
    noise_level,
    penalty_at,
    refit,
)

DEPTHS = (2, 2.5, 3, 7, math.inf)


def generic(m=14, n=9, seed=0, bias=None, seen=0.7, weighted=False):
    """A completion problem without any structure that a wrong formula could hide behind."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(m, 3)) @ rng.normal(size=(3, n)) + 0.2 * rng.normal(size=(m, n))
    weights = (rng.random((m, n)) < seen) * (rng.uniform(0.3, 1.5, (m, n)) if weighted else 1.0)
    return Problem(np.where(weights > 0, X, 0.0), weights, bias)


def minimizer(problem, penalty, start=None, tol=0.0, sweeps=4000, max_rank=99):
    """The end of the descent (from the depth-2 solution, where depth is larger)."""
    if start is None:
        start = Fit.zero(*problem.X.shape)
        if penalty.depth > 2:
            start = minimizer(problem, Penalty(2, 0.3, 1e-12), tol=1e-10)
    for fit in descend(problem, penalty, start, max_rank=max_rank, tol=tol):
        if fit.n_sweeps >= sweeps:
            break
    return fit


class TestPenalty:
    @pytest.mark.parametrize("depth", [1, 1.4, *DEPTHS, 1e6])
    def test_value_is_the_integral_of_the_slope(self, depth):
        penalty = Penalty(depth, 0.7, 1e-3)
        mpmath.mp.dps = 30
        for s in (1e-5, 0.3, 8.0):
            exact = mpmath.quad(
                lambda t: mpmath.mpf(0.7) * (t + mpmath.mpf(1e-3)) ** (2 / mpmath.mpf(depth) - 1),
                [0, s],
            )
            assert float(penalty.value(np.array(s))) == pytest.approx(float(exact), rel=1e-12)

    def test_without_smoothing_it_is_the_schatten_quasi_norm_and_the_logarithm(self):
        s = np.array([0.5, 2.0])
        np.testing.assert_allclose(
            Penalty(5, 1.3, 1e-60).value(s), 1.3 * 5 / 2 * s ** (2 / 5), rtol=1e-12
        )
        np.testing.assert_allclose(
            np.diff(Penalty(math.inf, 1.3, 1e-30).value(s)), 1.3 * np.log(4), rtol=1e-12
        )

    @settings(deadline=None)
    @given(st.floats(1, 2), st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(0.1, 3))
    def test_convex_prox_solves_its_equation(self, depth, decay, z, curvature):
        penalty = Penalty(depth, decay, 1e-12)
        s = float(penalty.prox(np.array([z]), curvature)[0])
        if s == 0 or curvature * z <= float(penalty.slope(0.0)):
            assert s == pytest.approx(0, abs=1e-9)
        else:
            exact = brentq(
                lambda t: curvature * (t - z) + float(penalty.slope(t)), 0, z, xtol=1e-15
            )
            assert s == pytest.approx(exact, rel=1e-9, abs=1e-12)


class TestRowSolves:
    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 10**6), st.integers(1, 6), st.booleans())
    def test_agree_with_the_normal_equations(self, seed, r, weighted):
        rng = np.random.default_rng(seed)
        problem = generic(seed=seed, weighted=weighted)
        design, ridge = rng.normal(size=(9, r)) * np.logspace(0, -3, r), rng.uniform(0.01, 2, r)
        got = solve_rows(problem, design, ridge, rng.normal(size=(14, r)), steps=400, tol=1e-13)
        for i in range(14):
            w = problem.weights[i]
            exact = np.linalg.solve(
                design.T @ (w[:, None] * design) + np.diag(ridge), design.T @ (w * problem.X[i])
            )
            np.testing.assert_allclose(got[i], exact, rtol=1e-7, atol=1e-9)

    def test_every_step_lowers_every_row(self):
        rng = np.random.default_rng(0)
        problem, design, ridge = generic(), rng.normal(size=(9, 5)), rng.uniform(0.01, 1, 5)

        def value(P):
            gap = P @ design.T - problem.X
            return 0.5 * (problem.weights * gap**2).sum(axis=1) + 0.5 * (ridge * P**2).sum(axis=1)

        start = rng.normal(size=(14, 5))
        values = [value(solve_rows(problem, design, ridge, start, steps=k)) for k in range(6)]
        assert np.all(np.diff(values, axis=0) <= 1e-12)

    def test_balance_is_a_singular_value_decomposition(self):
        rng = np.random.default_rng(0)
        P, Q = rng.normal(size=(14, 4)), rng.normal(size=(9, 4))
        Q[:, 3] = Q[:, 0]
        P[:, 3] = P[:, 0]
        U, s, Vt = balance(P, Q)
        assert len(s) == 3
        np.testing.assert_allclose((U * s) @ Vt, P @ Q.T, atol=1e-12)
        np.testing.assert_allclose(U.T @ U, np.eye(3), atol=1e-12)

    def test_leading_triples(self):
        rng = np.random.default_rng(0)
        R = rng.normal(size=(120, 5)) @ np.diag([9, 7, 5, 3, 1]) @ rng.normal(
            size=(5, 90)
        ) + 1e-3 * rng.normal(size=(120, 90))
        U, s, Vt = np.linalg.svd(R)
        for k in (4, 60):
            left, values, right = leading_triples(R, k)
            np.testing.assert_allclose(values, s[:k], rtol=1e-6 if k == 4 else 1e-12)
            np.testing.assert_allclose(
                (left[:, :4] * values[:4]) @ right[:4], (U[:, :4] * s[:4]) @ Vt[:4], atol=1e-6
            )


class TestMinimizers:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_depth_two_is_soft_impute(self, weighted):
        problem, decay = generic(weighted=weighted), 0.4
        c = problem.curvature
        W = np.zeros_like(problem.X)
        for _ in range(20_000):  # plain proximal gradient: slow, and independent of the engine
            U, s, Vt = np.linalg.svd(W + problem.weights * (problem.X - W) / c, full_matrices=False)
            W = (U * np.maximum(s - decay / c, 0)) @ Vt
        penalty = Penalty(2, decay, 1e-12)
        fit = minimizer(problem, penalty)
        # the objective is flat to rounding at 1e-7 from its minimum: go on regardless of it
        fit = minimizer(problem, penalty, fit, tol=-1.0, sweeps=500)
        np.testing.assert_allclose(fit.matrix(), W, atol=1e-8)
        assert fit.rank == np.linalg.matrix_rank(W, tol=1e-7)

    def test_depth_two_with_biases_is_the_global_minimum(self):
        problem, penalty = generic(bias=0.5), Penalty(2, 0.4, 1e-12)
        fit = minimizer(problem, penalty)
        proof = certificate(problem, penalty, fit)
        assert proof.tangent < 1e-5
        assert proof.normal <= proof.limit * (1 + 1e-7)
        assert proof.limit == pytest.approx(0.4)
        rng = np.random.default_rng(5)
        for scale in (1e-3, 1e-1, 3):
            P, Q = rng.normal(size=(14, 9)), rng.normal(size=(9, 9))
            U, s, Vt = balance(np.hstack([fit.U * fit.s, scale * P]), np.hstack([fit.Vt.T, Q]))
            a, b = (
                fit.row_bias + scale * rng.normal(size=14),
                fit.col_bias + scale * rng.normal(size=9),
            )
            assert objective(problem, penalty, Fit(U, s, Vt, a, b)) > objective(
                problem, penalty, fit
            )

    @pytest.mark.parametrize("depth", [1, 1.3, 1.8])
    def test_convex_depths_agree_with_a_general_optimizer(self, depth):
        problem, penalty = generic(6, 5, bias=0.5), Penalty(depth, 0.4, 1e-12)

        def value(v):
            W, a, b = v[:30].reshape(6, 5), v[30:36], v[36:]
            U, s, Vt = np.linalg.svd(W, full_matrices=False)
            gap = W + a[:, None] + b - problem.X
            total = (
                0.5 * (problem.weights * gap**2).sum()
                + 0.25 * (a @ a + b @ b)
                + 0.4 * depth / 2 * (s ** (2 / depth)).sum()
            )
            G = problem.weights * gap
            gradient = G + (U * (0.4 * s ** (2 / depth - 1))) @ Vt
            return total, np.concatenate([gradient.ravel(), G.sum(1) + 0.5 * a, G.sum(0) + 0.5 * b])

        start = np.random.default_rng(1).normal(size=41)
        exact = minimize(
            value,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 20_000, "ftol": 0, "gtol": 1e-9},
        )
        fit = minimizer(problem, penalty, sweeps=3000)
        assert objective(problem, penalty, fit) == pytest.approx(exact.fun, rel=1e-8)
        assert certificate(problem, penalty, fit).tangent < 1e-6

    def test_depth_one_is_ridge(self):
        problem = generic()
        fit = minimizer(problem, Penalty(1, 0.5, 1e-12), sweeps=100)
        np.testing.assert_allclose(fit.matrix(), problem.weights * problem.X / 1.5, atol=1e-9)

    @pytest.mark.parametrize("depth", DEPTHS)
    def test_fully_observed_is_one_scalar_equation_per_singular_value(self, depth):
        problem, decay = generic(seen=1.1), 1.5
        x = np.linalg.svd(problem.X, compute_uv=False)
        fit = minimizer(problem, Penalty(depth, decay, 1e-13))
        power = (
            2 / depth - 1
        )  # solve σ − x + λ σ^power = 0 on its right branch, where the left side increases
        turn = (-decay * power) ** (1 / (1 - power)) if depth > 2 else 0.0
        exact = [
            brentq(lambda s, x=x_k: s - x + decay * s**power, max(turn, 1e-300), x_k, xtol=1e-14)
            for x_k in x
            if turn - x_k + decay * max(turn, 1e-300) ** power < 0
        ]
        np.testing.assert_allclose(fit.s, exact[: fit.rank], rtol=1e-8)
        assert fit.rank in (len(exact), len(exact) - 1)  # the last may go by a finite jump
        np.testing.assert_allclose(
            fit.U.T @ problem.X @ fit.Vt.T, np.diag(x[: fit.rank]), atol=1e-6
        )

    @pytest.mark.parametrize("depth", DEPTHS)
    @pytest.mark.parametrize("weighted", [False, True])
    def test_ends_are_stationary_by_finite_differences(self, depth, weighted):
        problem, penalty = generic(bias=0.7, weighted=weighted), Penalty(depth, 0.5, 1e-9)
        fit = minimizer(problem, penalty)
        assert fit.rank >= 1
        proof = certificate(problem, penalty, fit)
        assert proof.tangent < 1e-6
        P, Q = fit.U * np.sqrt(fit.s), fit.Vt.T * np.sqrt(fit.s)
        a, b = fit.row_bias, fit.col_bias

        def value(step, dP, dQ, da, db):  # E + Σf, written out again
            W = (P + step * dP) @ (Q + step * dQ).T
            s = np.linalg.svd(W, compute_uv=False)[: fit.rank]
            A, B = a + step * da, b + step * db
            gap = W + A[:, None] + B - problem.X
            f = (
                np.log1p(s / 1e-9)
                if depth == math.inf
                else depth / 2 * ((s + 1e-9) ** (2 / depth) - 1e-9 ** (2 / depth))
            )
            return 0.5 * (problem.weights * gap**2).sum() + 0.35 * (A @ A + B @ B) + 0.5 * f.sum()

        rng = np.random.default_rng(3)
        for _ in range(5):
            move = [rng.normal(size=z.shape) for z in (P, Q, a, b)]
            slope = (value(1e-5, *move) - value(-1e-5, *move)) / 2e-5
            away = (value(0.3, *move) - value(0, *move)) / 0.3
            assert abs(slope) < 1e-5 * max(1, abs(away))
        assert value(0, P, Q, a, b) == pytest.approx(objective(problem, penalty, fit), rel=1e-10)

    @pytest.mark.parametrize("depth", [1, 1.5, *DEPTHS])
    @pytest.mark.parametrize("steps", [1, 3])
    def test_the_objective_never_increases(self, depth, steps):
        for seed in range(3):
            problem, penalty = (
                generic(30, 20, seed, bias=1.0, weighted=seed == 2),
                Penalty(depth, 0.8, 1e-6),
            )
            U, s, Vt = np.linalg.svd(
                np.random.default_rng(seed).normal(size=(30, 20)), full_matrices=False
            )
            fit = Fit(U[:, :12], s[:12], Vt[:12], np.ones(30), np.ones(20))
            values = [objective(problem, penalty, fit)]
            for _ in range(60):
                fit = (sweep if depth >= 2 else convex_sweep)(problem, penalty, fit, steps=steps)
                values.append(objective(problem, penalty, fit))
            assert np.all(np.diff(values) <= 1e-12 * abs(values[0]))
            np.testing.assert_allclose(fit.objective, values[1:], rtol=1e-12)

    def test_growing_lowers_the_objective(self):
        problem, penalty = generic(30, 20, seen=0.3), Penalty(2, 0.3, 1e-12)
        zero = Fit.zero(30, 20)
        grown = grow(problem, penalty, zero, 4)
        assert grown.rank == 4
        assert objective(problem, penalty, grown) < objective(problem, penalty, zero)
        assert grow(problem, Penalty(2, 1e3, 1e-12), zero, 4) is zero

    def test_max_rank_holds(self):
        assert minimizer(generic(), Penalty(2, 0.05, 1e-12), max_rank=2, sweeps=50).rank == 2


class TestFoldIn:
    @pytest.mark.parametrize("depth", [2, 3, math.inf])
    def test_gives_back_the_rows_of_a_stationary_fit(self, depth):
        problem, penalty = generic(bias=1.0), Penalty(depth, 0.5, 1e-12)
        fit = minimizer(problem, penalty)
        np.testing.assert_allclose(
            fold_in(problem, fit, penalty.slope(fit.s)), fit.matrix(), atol=1e-6
        )
        np.testing.assert_allclose(implied_ridge(problem, fit), penalty.slope(fit.s), rtol=1e-6)

    def test_entries_without_the_matrix(self):
        fit = minimizer(generic(bias=1.0), Penalty(3, 0.5, 1e-12), sweeps=5)
        rows, cols = np.array([0, 3, 13]), np.array([8, 1, 0])
        np.testing.assert_allclose(fit.at(rows, cols), fit.matrix()[rows, cols])


class TestSearch:
    def test_additive_model(self):
        problem = generic(bias=1.0)
        m, n = problem.X.shape
        design = np.zeros((m * n, m + n))
        for i in range(m):
            for j in range(n):
                design[i * n + j, [i, m + j]] = 1
        w = problem.weights.ravel()
        exact = np.linalg.solve(
            design.T @ (w[:, None] * design) + np.eye(m + n), design.T @ (w * problem.X.ravel())
        )
        fit = additive(problem)
        np.testing.assert_allclose(np.append(fit.row_bias, fit.col_bias), exact, atol=2e-2)
        assert fit.rank == 0

    def test_noise_level_is_the_norm_of_noise(self):
        rng = np.random.default_rng(0)
        seen = rng.random((400, 300)) < 0.3
        Z = np.where(seen, rng.normal(size=(400, 300)), 0)
        problem = Problem(Z, seen.astype(float), None)
        assert noise_level(problem) == pytest.approx(np.linalg.norm(Z, 2), rel=0.05)
        assert noise_level(Problem(7 * Z, seen.astype(float), None)) == pytest.approx(
            7 * noise_level(problem)
        )

    @pytest.mark.parametrize("depth", [1, *DEPTHS])
    def test_strength_is_the_slope_at_the_noise(self, depth):
        problem = generic()
        tau = noise_level(problem)
        assert float(
            penalty_at(problem, tau, depth, 0.3).slope(tau / problem.density)
        ) == pytest.approx(0.3 * tau)

    def test_choose_walks_down_until_it_stops_helping(self):
        problem = generic(40, 30, bias=1.0)
        hidden = np.zeros((40, 30), dtype=bool)
        hidden.flat[
            np.random.default_rng(1).choice(np.flatnonzero(problem.weights), 80, replace=False)
        ] = True
        training = Problem(
            np.where(hidden, 0, problem.X), np.where(hidden, 0, problem.weights), 1.0
        )

        def score(fit):
            return float(np.sqrt(np.mean((fit.matrix() - problem.X)[hidden] ** 2)))

        budget, told = Budget(30, 50, 1e-5), []
        trials, best = choose(training, 3, score, budget, report=lambda *state: told.append(state))
        assert [t.strength for t in trials] == list(STRENGTHS[: len(trials)])
        assert best.validation_rmse <= min(t.validation_rmse for t in trials) * 1.001
        assert best.validation_rmse < 0.5 * score(additive(training))
        assert len(told) == len(trials)
        assert [rmse for _, rmse, _ in told] == sorted((rmse for _, rmse, _ in told), reverse=True)
        fit = refit(
            problem, 3, best.strength, budget, sweeps=best.sweeps, report=lambda *state: None
        )
        assert fit.converged
        assert fit.s[2] > 3 * fit.s[3:].max(initial=0.0)
