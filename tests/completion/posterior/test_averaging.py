"""The rank of chains and the share of their averages, by held-out entries."""

import numpy as np
import pytest
from completion_data import observe

from deeplinear.completion.posterior.averaging import (
    RANKS,
    best_share,
    chain_rank,
    leading_part,
)
from deeplinear.completion.solver.fit import fit


def test_the_share_is_that_of_least_squares(rng):
    """min over s of |f + s (a − f)|² is at s = −⟨f, a − f⟩ / |a − f|², here to a tenth."""
    cols = np.zeros(500, int)
    for mixture in (-0.5, 0.0, 0.3, 0.7, 1.0, 2.0):
        point, step = rng.normal(size=500), rng.normal(size=500)
        point -= (point @ step / (step @ step) + mixture) * step
        found = best_share(point, point + step, cols, False)
        assert found == pytest.approx(np.clip(mixture, 0, 1), abs=0.051)


def test_a_mixture_is_never_worse_than_either(rng):
    for noisy in (False, True):
        point, average = rng.normal(size=(2, 300))
        cols = rng.integers(0, 12, 300)
        share = best_share(point, average, cols, noisy)
        assert 0 < share < 1
        assert best_share(point, point, cols, noisy) == 0


def held_out_fit(rng, weights):
    """A fit whose components have these weights, and entries that they explain up to noise."""
    m, n, r = 90, 80, len(weights)
    U, V = (np.linalg.qr(rng.normal(size=(k, r)))[0] for k in (m, n))
    W = U * weights @ V.T
    seen = observe(W, np.ones(W.shape, bool))
    options = {"bias_ridge": None, "max_rank": r, "strength": 1e-8, "weighted_trace_norm": 0}
    rows, cols = np.divmod(rng.permutation(m * n)[:3000], n)
    noise = 0.01 * rng.normal(size=3000)
    return fit(seen, depth=2, **options), (rows, cols, W[rows, cols] + noise)


def test_a_leading_part_has_the_largest_components(rng):
    whole, _ = held_out_fit(rng, np.linspace(9, 1, 15))
    part = leading_part(whole, 4)
    U, s, V = np.linalg.svd(whole.matrix())
    np.testing.assert_allclose(part.matrix(), U[:, :4] * s[:4] @ V[:4], atol=1e-6)
    assert leading_part(whole, 15) is whole


def test_a_chain_has_the_components_that_held_out_entries_feel(rng):
    assert chain_rank(*held_out_fit(rng, np.linspace(9, 6, 8)), False) == RANKS[0]
    # felt a few times less than 1 %, whichever of the equal ones the 20 leading ones hold
    strong, weak = np.linspace(60, 50, 17), np.full(30, 0.01)
    assert chain_rank(*held_out_fit(rng, np.r_[strong, weak]), False) == RANKS[2]
    assert chain_rank(*held_out_fit(rng, np.linspace(60, 50, 70)), False) == RANKS[-1]
