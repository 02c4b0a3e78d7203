"""What a fit returns: predictions, its SVD, the implied ridge, lines that are folded in."""

import math

import numpy as np
import pytest
from completion_data import matrix, observe, table

from deeplinear import InputError
from deeplinear.completion.solver.fit import fit, fold_in

EXACT = {"tol": 0, "max_sweeps": 600}


@pytest.mark.parametrize("power", [0.0, 0.5])
@pytest.mark.parametrize("depth", [1.5, 2, 3, math.inf])
def test_fold_in_gives_back_the_rows_of_a_stationary_fit(rng, where, power, depth):
    _, mask, X, _, seen = table(rng)
    found = fit(seen, depth=depth, strength=0.2, weighted_trace_norm=power, **EXACT, **where)
    atol = 1e-5 if depth < 2 else 1e-6
    folded = fold_in(found, observe(X[7:12], mask[7:12]), **where)
    np.testing.assert_allclose(matrix(folded), matrix(found)[7:12], atol=atol)
    columns = fold_in(found.T, observe(X, mask).T, **where)
    np.testing.assert_allclose(matrix(columns).T, matrix(found), atol=atol)
    slope = found.penalty.slope(found.spectrum)
    large = found.spectrum > 1e-3 * found.spectrum[0]
    np.testing.assert_allclose(found.ridge[large], slope[large], rtol=1e-4 if depth < 2 else 1e-6)
    with pytest.raises(InputError, match="columns of the fit"):
        fold_in(found, observe(X[:, :9], mask[:, :9]))


@pytest.mark.parametrize("depth", [2, 3])
def test_fold_in_is_the_ridge_solution(rng, where, depth):
    """Of new rows with weights, by their normal equations; the ridge is that of the fit."""
    *_, seen = table(rng)
    found = fit(seen, depth=depth, strength=0.2, **where)
    mask, X = rng.random((4, 40)) < 0.4, rng.normal(size=(4, 40))
    mask[2] = False
    w = mask * rng.uniform(0.5, 2, X.shape)
    folded = fold_in(found, observe(X, mask, w), **where)
    design = np.column_stack([found.right, np.ones(40)])
    for i in range(4):
        rho2 = (max(mask[i].sum(), 1) / found.mean_counts[0]) ** found.weighted_trace_norm
        A = (design.T * w[i]) @ design + np.diag(np.append(rho2 * found.ridge, found.bias_ridge))
        exact = np.linalg.solve(A, design.T @ (w[i] * (X[i] - found.mean - found.col_bias)))
        np.testing.assert_allclose(folded.left[i], exact[:-1], atol=1e-8)
        assert folded.row_bias[i] == pytest.approx(exact[-1], abs=1e-8)
    assert not folded.left[2].any()


def test_ridge_of_an_iterate_that_was_stopped_early_is_its_pull(rng):
    """d_k = u_kᵀ R̃ v_k: larger than the slope of the penalty, which has not yet been balanced.

    But from the largest component to the smallest it does not fall.
    """
    _, mask, X, _, _ = table(rng, noise=1.0, seen=0.6)
    held = mask & (rng.random(mask.shape) < 0.2)
    train, weights = observe(X, mask & ~held), (mask & ~held).astype(float)
    rows, cols = np.nonzero(held)
    options = {"strength": 0.02, "max_rank": 12, "patience": 2}
    found = fit(train, depth=3, validation=(rows, cols, X[rows, cols]), **options)
    assert found.sweep < found.n_sweeps
    R = weights * (X - matrix(found)) / found.row_scale[:, None] / found.col_scale
    U = found.row_scale[:, None] * found.left / np.sqrt(found.spectrum)
    V = found.col_scale[:, None] * found.right / np.sqrt(found.spectrum)
    pull = np.einsum("ik,ij,jk->k", U, R, V)
    assert (np.diff(found.spectrum) <= 0).all()
    np.testing.assert_allclose(found.ridge, np.maximum.accumulate(pull), rtol=1e-8)
    assert np.all(found.ridge > 0)


def test_prediction_and_svd(rng, where):
    *_, seen = table(rng)
    found = fit(seen, strength=0.2, **where)
    rows, cols = rng.integers(0, 60, 50), rng.integers(0, 40, 50)
    np.testing.assert_allclose(found.predict(rows, cols), matrix(found)[rows, cols], rtol=1e-12)
    np.testing.assert_allclose(found.matrix(), matrix(found), atol=1e-12)
    np.testing.assert_allclose(
        (found.U * found.s) @ found.V.T, found.left @ found.right.T, atol=1e-12
    )
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(found.rank), atol=1e-12)
    with pytest.raises(InputError, match="rows must lie between 0 and 59"):
        found.predict([60], [0])


def test_the_transposed_fit(rng):
    *_, seen = table(rng)
    found = fit(seen, strength=0.2)
    np.testing.assert_allclose(found.T.matrix(), found.matrix().T, atol=1e-12)
    assert found.T.shape == (40, 60)
    assert found.T.T.mean_counts == found.mean_counts
