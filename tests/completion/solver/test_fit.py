"""Fits against slow dense oracles: the objective written out, its minimizers, closed forms."""

import itertools
import math

import numpy as np
import pytest
from cases import DEPTHS
from completion_data import matrix, observe, rmse, same, table, written_out
from completion_oracle import DenseProblem, alternating_ridge, proximal_gradient
from scipy.optimize import brentq

from deeplinear import InputError
from deeplinear.completion.data import observations as observations_module
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import descent
from deeplinear.completion.solver.fit import fit
from deeplinear.status import Status

FROM_TWO = tuple(depth for depth in DEPTHS if depth >= 2)
EXACT = {"tol": 0, "max_sweeps": 3000}


@pytest.mark.parametrize("depth", [*FROM_TWO, 2.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_objective_is_the_written_out_one_and_never_rises(rng, where, depth, dtype):
    _, _, X, weights, seen = table(rng, weighted=True, dtype=dtype)
    found = fit(seen, depth=depth, strength=0.2, max_rank=12, tol=1e-9, **where)
    rounding = 1e-12 if dtype == np.float64 else 3e-6
    assert found.left.dtype == dtype
    assert len(found.objective) > 5
    assert all(
        after <= before + rounding * before for before, after in itertools.pairwise(found.objective)
    )
    assert found.objective[-1] == pytest.approx(written_out(found, X, weights), rel=10 * rounding)
    assert found.objective[0] > found.objective[-1] * (1 + 1e-3)


class TestOracle:
    """Proximal gradient up to depth 2, alternating ridge with exact solves beyond."""

    CASES = (
        {"bias_ridge": None, "weighted_trace_norm": 0, "weighted": False},
        {"bias_ridge": None, "weighted_trace_norm": 0.5, "weighted": True},
        {"bias_ridge": 1.0, "weighted_trace_norm": 0, "weighted": False},
        {"bias_ridge": 1.0, "weighted_trace_norm": 0, "weighted": True},
        {"bias_ridge": 1.0, "weighted_trace_norm": 0.5, "weighted": True},
    )

    @pytest.mark.parametrize("case", CASES, ids=["plain", "scaled", "bias", "weights", "all"])
    @pytest.mark.parametrize("depth", [*DEPTHS, 2.5])
    def test_fit_is_its_minimizer(self, where, depth, case):
        options = dict(case)
        _, _, X, w, seen = table(
            np.random.default_rng(1), 18, 13, 2, 0.2, 0.7, options.pop("weighted")
        )
        found = fit(seen, depth=depth, strength=0.2, smoothing=1e-3, **options, **EXACT, **where)
        assert found.converged
        scales = found.row_scale, found.col_scale
        problem = DenseProblem(X, w, *scales, found.bias_ridge, depth, found.decay, found.floor)
        if depth <= 2:
            value, W = proximal_gradient(problem)
        else:
            # from where depth 2 ends: the components that the deeper penalty keeps are among these
            flat = fit(seen, depth=2, strength=0.2, **options)
            value, W = alternating_ridge(problem, flat.left @ flat.right.T)
        assert found.objective[-1] == pytest.approx(value, rel=1e-9)
        np.testing.assert_allclose(found.left @ found.right.T, W, atol=1e-5)
        assert found.rank == np.linalg.matrix_rank(W, tol=1e-6) > 0
        assert (found.rank > 10) == (depth < 2)
        assert found.certificate.tangent < 1e-6

    @pytest.mark.parametrize("weighted", [False, True])
    def test_depth_two_to_the_last_digits(self, where, weighted):
        """Soft-impute: the objective is flat to rounding at 1e-7 from its minimum."""
        _, _, X, w, seen = table(np.random.default_rng(2), 14, 9, weighted=weighted, seen=0.7)
        options = {"bias_ridge": None, "weighted_trace_norm": 0, "smoothing": 0}
        found = fit(seen, depth=2, decay=3.0, **options, **EXACT, **where)
        one = np.ones(14), np.ones(9)
        _, W = proximal_gradient(DenseProblem(X, w, *one, None, 2, 3.0, 1e-12), steps=5000)
        np.testing.assert_allclose(found.matrix(), W, atol=1e-6)
        assert found.rank == np.linalg.matrix_rank(W, tol=1e-6)
        assert found.certificate.normal <= found.certificate.limit * (1 + 1e-7)

    def test_depth_two_is_below_all_that_is_near_or_far(self, where):
        _, _, X, w, seen = table(np.random.default_rng(2), 14, 9, seen=0.7)
        found = fit(seen, depth=2, decay=3.0, **EXACT, **where)
        problem = DenseProblem(
            X, w, found.row_scale, found.col_scale, found.bias_ridge, 2, 3.0, found.floor
        )
        W, mean, a, b = found.left @ found.right.T, found.mean, found.row_bias, found.col_bias
        least = problem.objective(W, mean, a, b)
        assert least == pytest.approx(found.objective[-1], rel=1e-10)
        rng = np.random.default_rng(5)
        for scale in (1e-3, 1e-1, 3):
            move = [scale * rng.normal(size=shape) for shape in ((14, 9), 14, 9)]
            assert problem.objective(W + move[0], mean, a + move[1], b + move[2]) > least


@pytest.mark.parametrize("weighted", [False, True])
def test_depth_one_is_ridge(where, weighted):
    """Entry by entry: w x/(w + λ)."""
    _, _, X, w, seen = table(np.random.default_rng(0), 14, 9, weighted=weighted)
    options = {"bias_ridge": None, "weighted_trace_norm": 0, "smoothing": 0}
    found = fit(seen, depth=1, decay=0.5, **options, **EXACT, **where)
    np.testing.assert_allclose(found.matrix(), w * X / (w + 0.5), atol=1e-6 if weighted else 1e-9)


@pytest.mark.parametrize("depth", [*DEPTHS, 2.5])
def test_fully_observed_is_one_scalar_equation_per_singular_value(where, depth):
    """σ − x + λ σ^power = 0, on its right branch, where the left side increases."""
    _, _, X, _, seen = table(np.random.default_rng(0), 14, 9, seen=1.1)
    decay, power = 1.5, 2 / depth - 1
    options = {"bias_ridge": None, "weighted_trace_norm": 0, "smoothing": 0}
    found = fit(seen, depth=depth, decay=decay, **options, **EXACT, **where)
    U, x, Vt = np.linalg.svd(X, full_matrices=False)
    turn = (-decay * power) ** (1 / (1 - power)) if depth > 2 else 0.0
    exact = [
        brentq(lambda s, x=x_k: s - x + decay * s**power, max(turn, 1e-300), x_k, xtol=1e-14)
        for x_k in x
        if turn - x_k + decay * max(turn, 1e-300) ** power < 0
    ]
    np.testing.assert_allclose(found.s, exact[: found.rank], rtol=1e-8)
    assert found.rank in (len(exact), len(exact) - 1)  # the last may go by a finite jump
    r = found.rank
    np.testing.assert_allclose(found.U.T @ X @ found.V, np.diag(x[:r]), atol=1e-6 * x[0])
    assert np.abs(np.diag(U[:, :r].T @ found.U)).min() > 1 - 1e-9
    assert Vt.shape == (9, 9)


@pytest.mark.parametrize("depth", [*FROM_TWO, 2.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_ends_are_stationary_by_finite_differences(where, depth, weighted):
    _, _, X, w, seen = table(np.random.default_rng(0), 14, 9, 2, seen=0.8, weighted=weighted)
    options = {"bias_ridge": 0.7, "weighted_trace_norm": 0, "smoothing": 1e-6}
    found = fit(seen, depth=depth, strength=0.2, **options, **EXACT, **where)
    assert found.rank >= 1
    assert found.certificate.tangent < 1e-6
    one = np.ones(14), np.ones(9)
    problem = DenseProblem(X, w, *one, 0.7, depth, found.decay, found.floor)

    def value(step, dP, dQ, da, db):  # of rank r, so that no new singular value appears
        W = (found.left + step * dP) @ (found.right + step * dQ).T
        return problem.objective(
            W, found.mean, found.row_bias + step * da, found.col_bias + step * db
        )

    rng = np.random.default_rng(3)
    for _ in range(5):
        arrays = found.left, found.right, found.row_bias, found.col_bias
        move = [rng.normal(size=z.shape) for z in arrays]
        slope = (value(1e-5, *move) - value(-1e-5, *move)) / 2e-5
        away = (value(0.3, *move) - value(0, *move)) / 0.3
        assert abs(slope) < 1e-5 * max(1, abs(away))
    still = [np.zeros_like(z) for z in arrays]
    assert value(0, *still) == pytest.approx(found.objective[-1], rel=1e-10)


@pytest.mark.parametrize("depth", DEPTHS)
def test_scale_transpose_and_order_of_lines_change_nothing(depth):
    rng = np.random.default_rng(4)
    _, mask, X, w, seen = table(rng, 30, 20, weighted=True)
    options = {"depth": depth, "strength": 0.25, "tol": 0, "max_sweeps": 3000, "smoothing": 0}
    found = fit(seen, **options)
    size = np.abs(found.matrix()).max()
    larger = fit(observe(1000 * X, mask, w), **options)
    np.testing.assert_allclose(larger.matrix() / 1000, found.matrix(), atol=1e-6 * size)
    options["decay"] = found.decay  # τ comes from random signs, which are tied to positions
    other = fit(seen.T, **options)
    np.testing.assert_allclose(other.matrix().T, found.matrix(), atol=1e-6 * size)
    rows, cols = rng.permutation(30), rng.permutation(20)
    other = fit(observe(X[rows][:, cols], mask[rows][:, cols], w[rows][:, cols]), **options)
    np.testing.assert_allclose(other.matrix(), found.matrix()[rows][:, cols], atol=1e-6 * size)


def test_max_rank_holds(where):
    *_, seen = table(np.random.default_rng(0), 14, 9)
    assert fit(seen, depth=2, strength=0.05, max_rank=2, max_sweeps=50, **where).rank == 2


def test_depth_two_finds_components_that_were_not_there_at_the_start(rng, where):
    """From a start of rank 1, growth has to find all others: the minimum is the same."""
    _, _, X, w, seen = table(rng, m=30, n=24)
    options = {"depth": 2, "decay": 3.0, "bias_ridge": None, "weighted_trace_norm": 0}
    options |= {"tol": 1e-12, "max_sweeps": 3000, **where}
    small = fit(seen, max_rank=1, **options)
    found = fit(seen, start=small, **options)
    assert found.rank > 3
    one = np.ones(30), np.ones(24)
    _, W = proximal_gradient(DenseProblem(X, w, *one, None, 2, 3.0, found.floor), steps=3000)
    np.testing.assert_allclose(matrix(found), W, atol=5e-4)


class TestHeldOut:
    def test_the_best_iterate_is_returned(self, rng):
        _, mask, X, _, _ = table(rng, noise=1.0, seen=0.6)
        held = mask & (rng.random(mask.shape) < 0.2)
        rows, cols = np.nonzero(held)
        validation = rows, cols, X[rows, cols]
        options = {"strength": 0.05, "max_rank": 20, "patience": 4}
        found = fit(observe(X, mask & ~held), validation=validation, **options)
        assert found.status == Status.stopped_early
        errors = np.array(found.validation)
        assert found.sweep == errors.argmin() + 1 == len(errors) - 4
        again = rmse(found.predict(rows, cols), X[rows, cols])
        assert again == pytest.approx(errors.min(), rel=1e-12)
        assert math.isnan(found.certificate.tangent)

    def test_bad_validation(self, rng):
        *_, seen = table(rng)
        for bad, message in (
            (([0], [0], []), "one length"),
            (([0], [99], [1.0]), "validation cols must lie between"),
            (([0], [0], [np.nan]), "finite"),
        ):
            with pytest.raises(InputError, match=message):
                fit(seen, validation=bad)


@pytest.mark.parametrize("depth", [1.5, 3])
def test_threads_change_nothing(rng, monkeypatch, where, depth):
    from deeplinear.completion.backends import base

    monkeypatch.setattr(observations_module, "BLOCK", 200)
    monkeypatch.setattr(base, "_CELLS", 200)
    *_, seen = table(rng)
    assert len(seen.by_row.blocks) > 5
    one, three = (fit(seen, depth=depth, **where | {"threads": k}) for k in (1, 3))
    assert same(one, three)


def test_warm_start_with_new_rows_and_columns(rng):
    truth, mask, X, _, _ = table(rng, seen=0.7, noise=0.05)
    early = mask.copy()
    early[50:], early[:, 35:] = False, False
    first = fit(observe(X[:50, :35], early[:50, :35]), strength=0.1)
    cold = fit(observe(X, mask), strength=0.1, tol=1e-9)
    warm = fit(observe(X, mask), strength=0.1, tol=1e-9, start=first)
    assert warm.rank == cold.rank
    assert warm.objective[-1] == pytest.approx(cold.objective[-1], rel=1e-4)
    assert rmse(matrix(warm), truth) < 0.3
    with pytest.raises(InputError, match="start must not be larger"):
        fit(observe(X[:50], mask[:50]), start=warm)


def test_a_callback_ends_a_fit(rng):
    *_, seen = table(rng)
    found = fit(seen, strength=0.1, tol=0, callback=lambda at: at.n_sweeps == 5)
    assert found.status == Status.callback
    assert found.n_sweeps == 5
    assert not found.converged


def test_a_rise_of_the_objective_is_a_failure(rng, monkeypatch):
    *_, seen = table(rng)
    plain, calls = descent.sweep, []

    def broken(problem, penalty, state):
        calls.append(0)
        value, new = plain(problem, penalty, state)
        if len(calls) == 8:
            new.Z[:] *= 3
        return value, new

    monkeypatch.setattr(descent, "sweep", broken)
    found = fit(seen, strength=0.2, tol=1e-12)
    assert found.status == Status.diverged
    assert not found.converged


def test_degenerate_data(where):
    empty = Observations.from_triples(np.zeros(0, int), np.zeros(0, int), np.zeros(0), (3, 4))
    with pytest.raises(InputError, match="at least one entry"):
        fit(empty)
    for values in ([4.0], [4.0, 4.0], [0.0, 0.0]):
        k = np.arange(len(values))
        for depth in (1.5, 3.0):
            found = fit(Observations.from_triples(k, k, values, (3, 4)), depth=depth, **where)
            assert found.converged
            np.testing.assert_allclose(matrix(found), values[0], atol=1e-6)
