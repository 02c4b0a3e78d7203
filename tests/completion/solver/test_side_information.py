"""Features as prior means, against dense normal equations of the whole problem."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from completion_data import table
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from deeplinear.completion.solver import side_information
from deeplinear.completion.solver.fit import fit
from deeplinear.completion.solver.side_information import (
    Side,
    balanced,
    informed,
    lines_of,
    loadings_of,
    regress,
)


@pytest.fixture
def problem():
    rng = np.random.default_rng(3)
    _, mask, X, weights, seen = table(rng, 14, 11, rank=2, weighted=True)
    found = fit(seen, depth=3, strength=0.4, max_rank=2, max_sweeps=8)
    sides = tuple(
        Side(csr_matrix(rng.normal(size=(count, f))), rng.random(count) < 0.8)
        for count, f in ((14, 3), (11, 2))
    )
    return found, mask, X, weights, seen, sides


def objective(found, mask, X, weights, seen, sides, decay, tight, lines):
    """The objective written out: B and C are those of the dense ridge regressions."""
    Z, Y = lines
    prediction = found.mean + Z[:, -1:] + Y[:, -1] + Z[:, :-1] @ Y[:, :-1].T
    total = 0.5 * (weights * mask * (prediction - X) ** 2).sum()
    scales = found.row_scale, found.col_scale
    counts = seen.by_row.counts, seen.by_col.counts
    for V, side, scale, count in zip(lines, sides, scales, counts, strict=True):
        known = count > 0
        F = side.features.toarray()
        for k in range(V.shape[1]):
            w, d = (scale**2, found.ridge[k]) if k < found.rank else (1 + 0 * scale, 2.0)
            d *= tight
            have = side.have & known
            F = np.where(side.have[:, None], F, np.average(F[have], axis=0, weights=w[have]))
            F = F - np.average(F[have], axis=0, weights=w[have])
            own, A = w[known], F[known]
            penalty = decay * w[have].sum() * np.eye(F.shape[1])
            b = np.linalg.solve(A.T @ (own[:, None] * A) + penalty, A.T @ (own * V[known, k]))
            total += 0.5 * d * (w * (V[:, k] - F @ b) ** 2).sum()
            total += 0.5 * d * decay * w[have].sum() * (b**2).sum()
    return total


def lines(found):
    return lines_of(found).astype(float), lines_of(found.T).astype(float)


class TestInformed:
    @pytest.mark.parametrize("tight", [1.0, 3.0])
    def test_many_sweeps_reach_the_stationary_point_of_the_objective(self, problem, tight):
        found, mask, X, weights, seen, sides = problem
        at = lines(next(islice(informed(found, seen, sides, 0.1, tight), 800, None)))
        shapes, cut = [x.shape for x in at], at[0].size

        def value(flat):
            parts = flat[:cut].reshape(shapes[0]), flat[cut:].reshape(shapes[1])
            return objective(found, mask, X, weights, seen, sides, 0.1, tight, parts)

        flat = np.concatenate([x.ravel() for x in at])
        better = minimize(value, flat, method="BFGS", options={"gtol": 1e-7})
        assert value(flat) - better.fun < 1e-5 * better.fun
        assert value(flat) < value(np.concatenate([x.ravel() for x in lines(found)]))

    def test_one_pass_over_the_rows_is_a_ridge_regression_around_the_prior_mean(self, problem):
        found, mask, X, weights, seen, sides = problem
        moved = next(informed(found, seen, (sides[0], None), 0.1))
        own, V = sides[0], lines_of(found)
        W = np.column_stack([found.row_scale**2, np.ones(14)])
        means = regress(own, V, W, 0.1).deviations(own)
        Q = np.column_stack([found.right, np.ones(11)])
        for i in range(14):
            D = np.diag([*(found.ridge * found.row_scale[i] ** 2), found.bias_ridge])
            w = weights[i] * mask[i]
            target = X[i] - found.mean - found.col_bias
            A = Q.T @ (w[:, None] * Q) + D
            z = np.linalg.solve(A, Q.T @ (w * target) + D @ means[i])
            np.testing.assert_allclose(lines_of(moved)[i], z, rtol=1e-6, atol=1e-8)

    def test_lines_without_entries_come_out_at_their_prior_means(self, problem):
        found, _, _, _, seen, sides = problem
        sides = tuple(Side(x.features, np.ones(len(x.have), bool)) for x in sides)
        rows, cols, values = seen.triples()
        keep = rows != 4
        rest = type(seen).from_triples(rows[keep], cols[keep], values[keep], seen.shape)
        state = informed(found, rest, sides, 0.1)
        before = next(state)
        after = next(state)
        expected = loadings_of(before, rest, sides[0], 0.1).deviations(sides[0])[4]
        np.testing.assert_allclose(lines_of(after)[4], expected, rtol=1e-8)

    def test_balance_keeps_the_matrix(self, problem):
        found, _, _, _, seen, sides = problem
        moved = next(informed(found, seen, sides, 0.1))
        even = balanced(moved, seen)
        np.testing.assert_allclose(even.matrix(), moved.matrix(), rtol=1e-9)
        scaled = even.left * even.row_scale[:, None]
        np.testing.assert_allclose(scaled.T @ scaled, np.diag(even.spectrum), atol=1e-9)

    def test_balance_drops_directions_that_have_died(self, problem):
        found, _, _, _, seen, _ = problem
        r = found.rank
        dead = replace(
            found,
            left=np.column_stack([found.left, np.zeros(len(found.left))]),
            right=np.column_stack([found.right, np.zeros(len(found.right))]),
            spectrum=np.append(found.spectrum, 0.0),
            ridge=np.append(found.ridge, found.ridge[-1]),
        )
        even = balanced(dead, seen)
        assert (even.rank, even.left.shape, even.ridge.shape) == (r, (14, r), (r,))
        np.testing.assert_allclose(even.matrix(), found.matrix(), rtol=1e-9)


class TestRegress:
    def test_conjugate_gradients_agree_with_the_gram_matrix(self, monkeypatch):
        rng = np.random.default_rng(0)
        side = Side(csr_matrix(rng.normal(size=(30, 40)) + 1), rng.random(30) < 0.9)
        V, W = rng.normal(size=(30, 3)), rng.uniform(0.5, 2, (30, 2))
        direct = regress(side, V, W, 0.05)
        monkeypatch.setattr(side_information, "_DIRECT", 10)
        iterated = regress(side, V, W, 0.05)
        np.testing.assert_allclose(iterated.slopes, direct.slopes, atol=1e-5)
        np.testing.assert_allclose(iterated.centre, direct.centre, atol=1e-5)

    def test_lines_without_features_have_mean_features(self):
        rng = np.random.default_rng(0)
        X, have = rng.normal(size=(9, 2)), np.arange(9) < 6
        V, W = rng.normal(size=(9, 3)), rng.uniform(0.5, 2, (9, 2))
        found = regress(Side(csr_matrix(X), have), V, W, 0.1)
        for k, w in enumerate((W[:, 0], W[:, 0], W[:, 1])):
            F = np.where(have[:, None], X, np.average(X[have], axis=0, weights=w[have]))
            A = np.column_stack([np.ones(9), F])
            penalty = 0.1 * w[have].sum() * np.diag([0, 1, 1])
            b = np.linalg.solve(A.T @ (w[:, None] * A) + penalty, A.T @ (w * V[:, k]))
            np.testing.assert_allclose(found.slopes[:, k], b[1:])
            np.testing.assert_allclose(found.centre[k], b[0])
            np.testing.assert_allclose(found.average[k], (A @ b)[-1])
