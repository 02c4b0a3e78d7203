"""Depths in [1, 2), where the penalty is convex: a general optimizer, sparse data, refusals."""

import itertools
from functools import cache

import numpy as np
import pytest
from completion_data import observe, table
from completion_oracle import DenseProblem, proximal_gradient
from scipy.optimize import minimize

from deeplinear import InputError
from deeplinear.completion.backends.open import is_dense
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit, fold_in

EXACT = {"tol": 0, "max_sweeps": 3000}


def small():
    """A table of 6×5: (X, weights, observations)."""
    return table(np.random.default_rng(0), 6, 5, seen=0.7)[2:]


@cache
def general_optimum(depth):
    """(F, μ) by L-BFGS on all entries of W, the biases and the mean at once; β = ½, λ = 0.4."""
    X, w, _ = small()

    def value(v):
        W, a, b = v[:30].reshape(6, 5), v[30:36], v[36:41]
        U, s, Vt = np.linalg.svd(W, full_matrices=False)
        gap = W + a[:, None] + b + v[41] - X
        total = (
            0.5 * (w * gap**2).sum()
            + 0.25 * (a @ a + b @ b)
            + 0.4 * depth / 2 * (s ** (2 / depth)).sum()
        )
        G = w * gap
        gradient = G + (U * (0.4 * s ** (2 / depth - 1))) @ Vt
        sums = G.sum(1) + 0.5 * a, G.sum(0) + 0.5 * b, [G.sum()]
        return total, np.concatenate([gradient.ravel(), *sums])

    start = np.random.default_rng(1).normal(size=42)
    how = {"maxiter": 20_000, "ftol": 0, "gtol": 1e-9}
    exact = minimize(value, start, jac=True, method="L-BFGS-B", options=how)
    return exact.fun, exact.x[41]


@pytest.mark.parametrize("depth", [1, 1.3, 1.8])
def test_agrees_with_a_general_optimizer(anywhere, depth):
    options = {"bias_ridge": 0.5, "weighted_trace_norm": 0, "smoothing": 0, **EXACT}
    found = fit(small()[-1], depth=depth, decay=0.4, **options, **anywhere)
    value, mean = general_optimum(depth)
    assert found.objective[-1] == pytest.approx(value, rel=1e-8)
    assert found.mean == pytest.approx(mean, abs=1e-4)
    assert found.certificate.tangent < 1e-6


@pytest.mark.parametrize("depth", [1, 1.5])
def test_the_objective_never_rises_from_the_biases_alone(where, depth):
    *_, seen = table(np.random.default_rng(0), weighted=True)
    found = fit(seen, depth=depth, strength=0.2, **where)
    assert found.converged
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(found.objective))
    assert found.objective[-1] < 0.8 * found.objective[0]


def test_sparse_data_on_the_compiled_loops(rng):
    """Few entries of a matrix that is too large to be taken for a table."""
    m, n = 1200, 230
    rows, cols = np.divmod(rng.choice(m * n, 20_000, replace=False), n)
    truth = rng.normal(size=(m, 2)) @ rng.normal(size=(2, n))
    values = truth[rows, cols] + 0.1 * rng.normal(size=len(rows))
    seen = Observations.from_triples(rows, cols, values, (m, n))
    assert not is_dense(seen)
    found = fit(seen, depth=1.5, strength=0.3, max_sweeps=12, tol=0, bias_ridge=None)
    X, w = np.zeros((m, n)), np.zeros((m, n))
    X[rows, cols], w[rows, cols] = values, 1
    problem = DenseProblem(
        X, w, found.row_scale, found.col_scale, None, 1.5, found.decay, found.floor
    )
    W = found.left @ found.right.T
    nothing = 0.0, np.zeros(m), np.zeros(n)
    assert problem.objective(W, *nothing) == pytest.approx(found.objective[-1], rel=1e-10)
    assert all(b <= a for a, b in itertools.pairwise(found.objective))


def test_starts_make_no_difference(rng):
    """The minimum is the only one: from depth 2's solution it is the same."""
    _, _, X, w, seen = table(rng, 14, 11)
    options = {"depth": 1.5, "strength": 0.3, **EXACT}
    cold = fit(seen, **options)
    warm = fit(seen, start=fit(seen, depth=2, strength=0.3), **options)
    np.testing.assert_allclose(warm.matrix(), cold.matrix(), atol=1e-5)
    scales = cold.row_scale, cold.col_scale
    problem = DenseProblem(X, w, *scales, cold.bias_ridge, 1.5, cold.decay, cold.floor)
    assert cold.objective[-1] == pytest.approx(proximal_gradient(problem)[0], rel=1e-9)


def test_rows_of_a_fit_fold_in_as_they_are(rng):
    _, mask, X, _, seen = table(rng, 14, 11)
    found = fit(seen, depth=1.5, strength=0.3, **EXACT)
    folded = fold_in(found, observe(X[3:6], mask[3:6]))
    np.testing.assert_allclose(folded.matrix(), found.matrix()[3:6], atol=1e-5)


def test_every_rank_is_used(rng):
    *_, seen = table(rng, 14, 11)
    with pytest.raises(InputError, match="max_rank must be None below depth 2"):
        fit(seen, depth=1.5, max_rank=3)
    found = [fit(seen, depth=1.5, strength=0.1, max_rank=rank) for rank in (None, 11)]
    np.testing.assert_array_equal(found[0].matrix(), found[1].matrix())
