"""The flow on a low rank against the dense flow of `gradient_flow`."""

import itertools
import math
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from cases import slow
from completion_data import matrix, rmse

import deeplinear as dl
from deeplinear.completion.backends.base import AbstractBackend
from deeplinear.completion.backends.threads import Loops
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.loss import HUBER
from deeplinear.completion.solver.flow import FlowLaw, fold_in_new_lines, low_rank_flow
from deeplinear.completion.solver.pilot import learn
from deeplinear.status import Status


def problem(rng, m=14, n=11, seen=0.6, noise=0.3):
    X = rng.normal(size=(m, 2)) @ rng.normal(size=(2, n)) + noise * rng.normal(size=(m, n))
    rows, cols = np.nonzero(rng.random((m, n)) < seen)
    return X, rows, cols, Observations.from_triples(rows, cols, X[rows, cols], X.shape)


def frames(rng, m, n, s):
    U, V = (np.linalg.qr(rng.normal(size=(side, len(s))))[0] for side in (m, n))
    return U, np.asarray(s), V


@cache
def dense_flow(depth):
    """(entries, start of rank 3, W at time 1.5 by the dense flow)."""
    rng = np.random.default_rng(20231)
    X, rows, cols, seen = problem(rng)
    U, s, V = frames(rng, *X.shape, [0.9, 0.5, 0.1])
    energy = dl.Completion(rows=rows, cols=cols, values=X[rows, cols], shape=X.shape)
    start = dl.LogSVD(jnp.asarray(U), jnp.log(s), jnp.asarray(V.T))
    bulk = 0.1 if math.isinf(depth) else 0.0
    how = {"t1": 1.5, "rtol": 1e-9, "chart": "thin", "bulk": bulk}
    return seen, (U, s, V), np.asarray(dl.gradient_flow(energy, start, depth, **how).W)


@pytest.mark.parametrize("depth", [2.5, math.inf, slow(2), slow(4)])
def test_follows_the_dense_flow(where, depth):
    """Same start, same time: error ∝ rtol (second order), and 1e-4 at rtol 1e-5; at N = ∞ with the
    same bulk for the edges.
    """
    seen, (U, s, V), exact = dense_flow(depth)
    errors = []
    for rtol in (1e-3, 1e-5):
        law = FlowLaw(start=(U, s, V), t1=1.5, stop=1e-12, rtol=rtol)
        found = low_rank_flow(seen, law=law, depth=depth, bias_ridge=None, **where)
        assert found.status == Status.converged
        errors.append(np.linalg.norm(found.left @ found.right.T - exact) / np.linalg.norm(exact))
    assert errors[1] < 1e-4
    assert errors[1] < 0.2 * errors[0]
    moved = np.linalg.norm(exact - (U * s) @ V.T) / np.linalg.norm(exact)
    assert moved > 0.3


@pytest.mark.parametrize("depth", [1, 1.5])
def test_below_depth_two_of_full_rank_too(rng, depth):
    """At depth 1 every entry decays by itself: W_ij = x_ij + (W_ij(0) − x_ij) e^{−t}."""
    X, rows, cols, seen = problem(rng, 8, 6)
    U, s, V = frames(rng, 8, 6, np.linspace(0.9, 0.3, 6))
    law = FlowLaw(start=(U, s, V), t1=0.7, stop=1e-12, rtol=3e-6)
    found = low_rank_flow(seen, law=law, depth=depth, bias_ridge=None)
    W0 = (U * s) @ V.T
    if depth == 1:
        exact = W0.copy()
        exact[rows, cols] += (1 - math.exp(-0.7)) * (X - W0)[rows, cols]
    else:
        energy = dl.Completion(rows=rows, cols=cols, values=X[rows, cols], shape=X.shape)
        exact = np.asarray(dl.gradient_flow(energy, W0, depth, t1=0.7, rtol=1e-9).W)
    np.testing.assert_allclose(found.left @ found.right.T, exact, atol=1e-3)
    assert np.abs(exact - W0).max() > 0.3


@pytest.mark.slow
def test_depth_learns_low_rank_from_a_small_start(rng):
    truth = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 60))
    rows, cols = np.nonzero(rng.random(truth.shape) < 0.35)
    seen = Observations.from_triples(rows, cols, truth[rows, cols], truth.shape)
    law = FlowLaw(start_scale=1e-3, stop=1e-4)
    found = low_rank_flow(seen, law=law, depth=3, max_rank=10, bias_ridge=None)
    assert found.converged
    assert found.objective[-1] <= 1e-4 * found.objective[0]
    assert all(after <= before for before, after in itertools.pairwise(found.objective))
    error = np.linalg.norm(found.left @ found.right.T - truth) / np.linalg.norm(truth)
    assert error < 0.05
    assert float(dl.effective_rank(found.left @ found.right.T)) < 3.2


def test_early_stopping_and_biases(rng):
    X, rows, cols, _ = problem(rng, m=60, n=50, noise=1.0)
    X = X + rng.normal(size=(60, 1)) + 3
    held = rng.random(len(rows)) < 0.2
    seen = Observations.from_triples(rows[~held], cols[~held], X[rows, cols][~held], X.shape)
    given = rows[held], cols[held], X[rows, cols][held]
    found = low_rank_flow(seen, validation=given, max_rank=8)
    assert found.status == Status.stopped_early
    assert found.validation[found.sweep] == min(found.validation)
    assert rmse(found.predict(*given[:2]), given[2]) == pytest.approx(
        min(found.validation), rel=1e-12
    )
    assert min(found.validation) < 0.9 * found.validation[0]
    assert abs(found.mean) > 1


@pytest.mark.parametrize("depth", [3, math.inf])
def test_it_ends_soon_where_the_held_out_error_is_clearly_worse(rng, depth):
    """Noise alone is left after a rank of 1, and 1,400 held-out entries tell."""
    X = 3 * rng.normal(size=(120, 1)) * rng.normal(size=100) + rng.normal(size=(120, 100))
    rows, cols = np.nonzero(rng.random(X.shape) < 0.6)
    held = rng.random(len(rows)) < 0.2
    seen = Observations.from_triples(rows[~held], cols[~held], X[rows, cols][~held], X.shape)
    given = rows[held], cols[held], X[rows, cols][held]
    found = low_rank_flow(seen, depth=depth, validation=given, bias_ridge=None, max_rank=30)
    assert found.status == Status.stopped_early
    assert found.validation[found.sweep] == min(found.validation) < 1.1
    assert 0.6 < found.objective[-1] / found.objective[found.sweep] < 0.95


@pytest.mark.parametrize("stop", [0.5, 0.1, 0.03, 0.01, 0.003])
def test_it_stops_at_the_energy_asked_for(rng, stop):
    """Not below 0.97 of it, also where the small singular values take their step."""
    *_, seen = problem(rng, 40, 30)
    for depth in (3, math.inf):
        found = low_rank_flow(seen, law=FlowLaw(stop=stop), depth=depth, max_rank=30)
        assert found.status == Status.converged
        assert 0.97 * stop <= found.objective[-1] / found.objective[0] <= stop
        residual = seen.triples()[2] - found.predict(*seen.triples()[:2])
        assert 0.5 * np.sum(residual**2) == pytest.approx(found.objective[-1], rel=1e-6)


@pytest.mark.parametrize("depth", [3, math.inf])
@pytest.mark.parametrize("t1", [1.0, 20.0])
def test_it_ends_at_a_time_while_most_columns_are_small(rng, depth, t1):
    """Where a step of the large ones ends at t1 itself; the same as with no column at rest."""
    seen = problem(rng, 30, 20)[-1]
    ends = []
    for rtol in (1e-3, 1e-5):  # columns are large sooner at a finer tolerance
        law = FlowLaw(t1=t1, stop=1e-12, rtol=rtol)
        fit = low_rank_flow(seen, law=law, depth=depth, max_rank=15, bias_ridge=None)
        ends.append((fit.left * fit.spectrum) @ fit.right.T)
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-2 * np.abs(ends[1]).max())


class Delegating(AbstractBackend):
    """A backend of one's own, of the four methods that it must have."""

    def __init__(self):
        super().__init__()
        self.inner = Loops()
        for name in ("solve", "residual_matmul", "draw", "leverage"):
            setattr(self, name, getattr(self.inner, name))

    solve = residual_matmul = draw = leverage = None


def test_a_backend_of_the_four_methods_follows_the_same_flow(rng):
    """Narrow sides are widened for passes that take several numbers at a time."""
    seen = problem(rng, 30, 20)[-1]
    ends = [
        low_rank_flow(seen, law=FlowLaw(t1=5.0), depth=2, max_rank=rank, device=device).objective[
            -1
        ]
        for rank in (1, 2, 4)
        for device in (Loops(), Delegating())
    ]
    np.testing.assert_allclose(ends[::2], ends[1::2], rtol=1e-6)


def test_new_lines_are_folded_in_and_the_others_stay(rng):
    X, rows, cols, _ = problem(rng, m=30, n=20)
    old = rows < 28
    seen = Observations.from_triples(rows[old], cols[old], X[rows, cols][old], (28, 20))
    found = low_rank_flow(seen, law=FlowLaw(stop=0.05), max_rank=4)
    both = Observations.from_triples(rows, cols, X[rows, cols], X.shape)
    new = fold_in_new_lines(both, found, rows[~old], cols[~old])
    assert new.flowed
    np.testing.assert_allclose(matrix(new)[:28], matrix(found), atol=1e-8)
    assert rmse(new.predict(rows[~old], cols[~old]), X[rows, cols][~old]) < 0.5 * np.std(X)


def test_bad_input(rng):
    *_, seen = problem(rng)
    for change, message in (
        ({"start_scale": 0}, "start_scale must be positive"),
        ({"rtol": -1.0}, "rtol must be positive"),
        ({"stop": 0.0}, "stop must be positive"),
    ):
        with pytest.raises(dl.InputError, match=message):
            FlowLaw(**change)
    with pytest.raises(dl.InputError, match="depth must be ≥ 1"):
        low_rank_flow(seen, depth=0.5)
    with pytest.raises(dl.InputError, match="losses must be None for a flow"):
        low_rank_flow(seen, losses=learn([HUBER], seen))


def test_out_of_steps_is_reported(rng):
    *_, seen = problem(rng)
    found = low_rank_flow(seen, law=FlowLaw(max_steps=3))
    assert found.status == Status.max_steps
    assert not found.converged
