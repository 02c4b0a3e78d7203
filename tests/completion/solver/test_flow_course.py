"""Small columns that stand still while large ones move: the field, the turn, and the whole way."""

import itertools
import math

import numpy as np
import pytest
from cases import slow

from deeplinear.completion.backends.dense import Dense
from deeplinear.completion.backends.threads import Loops
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import flow_course
from deeplinear.completion.solver.fit import make_problem
from deeplinear.completion.solver.flow import FlowLaw, low_rank_flow
from deeplinear.completion.solver.flow_course import LargeField, _carried, _grown
from deeplinear.completion.solver.flow_field import FlowField
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.start import additive


@pytest.mark.parametrize("depth", [2.5, 4, math.inf])
@pytest.mark.parametrize("backend", [Dense, Loops])
def test_large_columns_move_as_they_do_in_the_whole(rng, depth, backend):
    """But for what is of the small ones alone, (1 − UUᵀ) Ẇ (1 − VVᵀ), U and V the large frames."""
    m, n, r, k = 14, 11, 6, 2
    rows, cols = np.nonzero(rng.random((m, n)) < 0.6)
    values = rng.normal(size=len(rows)) + 2
    seen = Observations.from_triples(
        rows, cols, values, (m, n), weights=rng.uniform(0.5, 2, len(rows))
    )
    options = FitOptions(depth=depth, max_rank=r, weighted_trace_norm=0.0)
    problem = make_problem(seen, options.for_data(seen, flow=True), backend())
    field = FlowField(problem, depth, additive(problem), 1e-3)
    U, V = (np.linalg.qr(rng.normal(size=(side, r)))[0] for side in (m, n))
    s = np.array([7, 4, 0.1, 0.1, 0.03, 0.002])
    X = np.vstack([U, V]) * np.sqrt(s)
    large = LargeField(field, X, s, k)
    assert large.energy(X[:, :k]) == pytest.approx(field.energy(X), rel=1e-12)

    def along(X, slope):
        return slope[:m] @ X[m:].T + X[:m] @ slope[m:].T

    whole = along(X, field.velocity(X))
    U, V = U[:, :k], V[:, :k]
    expected = whole - (np.eye(m) - U @ U.T) @ whole @ (np.eye(n) - V @ V.T)
    turn = np.linalg.qr(rng.normal(size=(k, k)))[0]
    for Y in (X[:, :k], X[:, :k] @ turn):
        found = along(Y, large.velocity(Y))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(whole).max())
    large.close()


def test_columns_are_carried_by_the_least_rotation(rng):
    old, new = (np.linalg.qr(rng.normal(size=(9, 3)))[0] for _ in range(2))
    X = rng.normal(size=(9, 4))
    X -= old @ (old.T @ X)
    found = _carried(X, old, new)
    np.testing.assert_allclose(new.T @ found, 0, atol=1e-12)
    np.testing.assert_allclose(found.T @ found, X.T @ X, atol=1e-12)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(_carried(X, old, new @ turn), found, atol=1e-12)
    np.testing.assert_allclose(_carried(X, old, old @ turn), X, atol=1e-12)
    # what is orthogonal to both spaces stays
    apart = np.linalg.svd(np.hstack([old, new]).T)[2][6:].T
    np.testing.assert_allclose(_carried(apart, old, new), apart, atol=1e-12)


@pytest.mark.parametrize("depth", [2.5, 4, math.inf])
def test_small_columns_grow_by_their_own_law(rng, depth):
    """σ^{2/N−1} falls at a constant rate, and the column turns."""
    X, turn = np.linalg.qr(rng.normal(size=(9, 6)))[0].reshape(9, 2, 3).transpose(1, 0, 2)
    sizes, rate, length = np.array([0.5, 1.0, 2.0]), np.array([0.3, -0.4, 0.8]), 0.4
    found, _ = _grown(X * sizes, X * sizes * rate, length, depth)
    power = 2 - 4 / depth
    growth = (1 - power * rate * length) ** (-1 / power)
    np.testing.assert_allclose(found, X * sizes * growth, rtol=1e-12)
    later, step = [_grown(X * sizes, X * rate + turn, t, depth) for t in (0.1, 0.1 + 1e-6)]
    np.testing.assert_allclose((step[0] - later[0]) / 1e-6, later[1], atol=1e-5)
    assert np.isfinite(_grown(X, 1e3 * X, 1.0, depth)[0]).all()  # not beyond where it blows up


@pytest.mark.parametrize("depth", [math.inf, slow(3), slow(6)])
def test_the_way_is_that_of_the_whole_flow(rng, depth, monkeypatch):
    """With small columns that stand still at times, and without, at a hundredth of the rtol."""
    truth = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30)) + 0.1 * rng.normal(size=(40, 30))
    rows, cols = np.nonzero(rng.random(truth.shape) < 0.6)
    seen = Observations.from_triples(rows, cols, truth[rows, cols], truth.shape)
    made = []
    begin = LargeField.__init__
    monkeypatch.setattr(
        LargeField, "__init__", lambda self, *args: (made.append(1), begin(self, *args))[0]
    )
    found = {}
    for rtol, fewest in ((1e-2, 4), (1e-4, 10**6)):
        monkeypatch.setattr(flow_course, "_FEWEST", fewest)
        made.clear()
        law = FlowLaw(stop=0.02, rtol=rtol)
        found[fewest] = low_rank_flow(seen, law=law, depth=depth, max_rank=20, bias_ridge=None)
        assert found[fewest].converged
        assert (len(made) > 0) == (fewest == 4)
    ours, exact = (fit.left @ fit.right.T for fit in found.values())
    assert np.linalg.norm(ours - exact) < 0.03 * np.linalg.norm(exact)
    trace = found[4].objective
    assert all(after <= before for before, after in itertools.pairwise(trace))


@pytest.mark.parametrize("seed", [2, 3])
def test_rounding_of_the_energy_ends_no_flow_on_a_plateau(seed):
    """In float32, where E with and without the small columns taken from the entries differs."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 9))
    rows, cols = np.nonzero(rng.random(truth.shape) < 0.7)
    values = (truth[rows, cols] + 0.1 * rng.normal(size=len(rows))).astype(np.float32)
    seen = Observations.from_triples(rows, cols, values, truth.shape)
    law = FlowLaw(stop=0.01, max_steps=600)
    found = low_rank_flow(seen, law=law, depth=math.inf, max_rank=8, bias_ridge=None)
    assert found.converged
    assert found.objective[-1] <= 0.01 * found.objective[0]
