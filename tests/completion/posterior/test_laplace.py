"""Deviations around a fit: against the inverse Hessian of each line's own ridge problem."""

import numpy as np
import pytest

from deeplinear.completion.data.observations import Observations
from deeplinear.completion.posterior.laplace import LocalPosterior
from deeplinear.completion.solver.fit import fit as low_rank_fit
from deeplinear.completion.solver.fit import fold_in


@pytest.mark.parametrize("folded", [False, True])
def test_the_local_posterior_is_the_inverse_hessian(rng, folded):
    """Of folded rows too: the part of the columns is that of the entries they were learned from."""
    rows, cols = np.divmod(rng.permutation(600)[:250], 20)
    weights = rng.uniform(0.5, 2.0, 250)
    seen = Observations.from_triples(rows, cols, rng.normal(size=250), (30, 20), weights=weights)
    options = {"strength": 0.2, "max_rank": 4, "weighted_trace_norm": 0.5, "max_sweeps": 5}
    fit = low_rank_fit(seen, depth=3, **options)
    assert fit.rank > 0
    local = LocalPosterior.of(fit, seen)
    mine, lines = fit, seen
    if folded:
        there, here = np.divmod(rng.permutation(160)[:60], 20)
        lines = Observations.from_triples(there, here, rng.normal(size=60), (8, 20))
        mine = fold_in(fit, lines)
        local = LocalPosterior(mine, lines, local.noise, local)
    i, j = rng.integers(mine.shape[0], size=40), rng.integers(20, size=40)
    found = local.deviation(i, j, threads=1)

    def part(of, entries, scale, k, y, other):
        at = slice(entries.indptr[k], entries.indptr[k + 1])
        D = other[entries.indices[at]]
        w = entries.weights[at] if entries.weights.size else np.ones(len(D))
        A = (D.T * w) @ D + np.diag(np.append(of.ridge * scale[k] ** 2, of.bias_ridge))
        return y @ np.linalg.solve(A, y)

    Z, Y, X = (
        np.column_stack([side, np.ones(len(side))]) for side in (fit.left, fit.right, mine.left)
    )
    expected = [
        local.noise
        * (
            1
            + part(mine, lines.by_row, mine.row_scale, i[t], Y[j[t]], Y)
            + part(fit, seen.by_col, fit.col_scale, j[t], X[i[t]], Z)
        )
        for t in range(40)
    ]
    np.testing.assert_allclose(found**2, expected, rtol=1e-8)


def test_a_stationary_fit_has_the_slopes_of_the_penalty_as_ridge(rng):
    rows, cols = np.divmod(rng.permutation(600)[:400], 20)
    truth = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20)) + 0.1 * rng.normal(size=(30, 20))
    seen = Observations.from_triples(rows, cols, truth[rows, cols], (30, 20))
    fit = low_rank_fit(seen, depth=3, strength=0.2, max_rank=4, tol=1e-14, max_sweeps=3000)
    np.testing.assert_allclose(fit.ridge, fit.penalty.slope(fit.spectrum), rtol=1e-4)
