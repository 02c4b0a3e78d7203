"""The flow on thin factors against the dense flow of `gradient_flow`."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.flow import flow


def problem(rng, m=14, n=11, seen=0.6, noise=0.3):
    X = rng.normal(size=(m, 2)) @ rng.normal(size=(2, n)) + noise * rng.normal(size=(m, n))
    rows, cols = np.nonzero(rng.random((m, n)) < seen)
    return X, rows, cols, Observations.from_triples(rows, cols, X[rows, cols], X.shape)


def frames(rng, m, n, s):
    U, V = (np.linalg.qr(rng.normal(size=(side, len(s))))[0] for side in (m, n))
    return U, np.asarray(s), V


@pytest.mark.parametrize(
    "depth", [2.5, math.inf, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (2, 4))]
)
def test_follows_the_dense_flow(rng, depth):
    """Same start, same time: error ∝ rtol (second order), and 3e-4 at rtol 1e-6; at N = ∞ with the
    same bulk for the edges.
    """
    X, rows, cols, seen = problem(rng)
    U, s, V = frames(rng, *X.shape, [0.9, 0.5, 0.1])
    energy = dl.Completion(rows=rows, cols=cols, values=X[rows, cols], shape=X.shape)
    start = dl.LogSVD(jnp.asarray(U), jnp.log(s), jnp.asarray(V.T))
    bulk = 0.1 if math.isinf(depth) else 0.0
    exact = np.asarray(
        dl.gradient_flow(energy, start, depth, t1=1.5, rtol=1e-9, chart="thin", bulk=bulk).W
    )
    errors = []
    for rtol in (1e-4, 1e-6):
        found = flow(
            seen, depth=depth, biases=False, start=(U, s, V), t1=1.5, stop=1e-12, rtol=rtol
        )
        assert found.status == "converged"
        errors.append(np.linalg.norm(found.left @ found.right.T - exact) / np.linalg.norm(exact))
    assert errors[1] < 3e-4
    assert errors[1] < 0.2 * errors[0]
    moved = np.linalg.norm(exact - (U * s) @ V.T) / np.linalg.norm(exact)
    assert moved > 0.3


@pytest.mark.slow
def test_depth_learns_low_rank_from_a_small_start(rng):
    truth = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 60))
    rows, cols = np.nonzero(rng.random(truth.shape) < 0.35)
    seen = Observations.from_triples(rows, cols, truth[rows, cols], truth.shape)
    found = flow(seen, depth=3, max_rank=10, start_scale=1e-3, stop=1e-4, biases=False)
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
    found = flow(seen, validation=given, max_rank=8)
    assert found.status == "stopped early"
    assert found.validation[found.sweep] == min(found.validation)
    rmse = np.sqrt(np.mean((found.predict(*given[:2]) - given[2]) ** 2))
    assert rmse == pytest.approx(min(found.validation), rel=1e-12)
    assert min(found.validation) < 0.9 * found.validation[0]
    assert abs(found.mean) > 1


def test_bad_input(rng):
    *_, seen = problem(rng)
    for change, message in (
        ({"start_scale": 0}, "start_scale must be positive"),
        ({"rtol": -1.0}, "rtol must be positive"),
        ({"depth": 1.2}, "depth must be ≥ 2"),
    ):
        with pytest.raises(dl.InputError, match=message):
            flow(seen, **change)


def test_out_of_steps_is_told(rng):
    *_, seen = problem(rng)
    found = flow(seen, max_steps=3)
    assert found.status == "max_sweeps"
    assert not found.converged
