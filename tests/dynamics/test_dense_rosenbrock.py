"""Runs whose norm nearly diverges: the Jacobian on W, and limits against other coordinates."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import slow
from oracles import operator_matrix

import deeplinear as dl
from deeplinear.dynamics.ensembles.dense_rosenbrock import DenseRosenbrockStepper, _linearized
from deeplinear.geometry.kernel import inverse_depth


@pytest.mark.parametrize("N", [slow(2), 3.5, slow(math.inf)])
@pytest.mark.parametrize("shape", [(4, 4), (4, 3), (3, 4)])
def test_the_jacobian_is_that_of_the_flow(shape, N, rng):
    if math.isinf(N) and shape[0] != shape[1]:
        pytest.skip("zero singular values stay so at depth ∞, and have no derivative")
    W, M = rng.standard_normal((2, *shape))
    mask = rng.random(shape) < 0.6
    flow = lambda W: (operator_matrix(W, N) @ (mask * (W - M)).ravel()).reshape(shape)  # noqa: E731
    U, s, Vt = np.linalg.svd(W)
    turn = np.kron(U, Vt.T)
    H = (turn.T @ np.diag(mask.ravel().astype(float)) @ turn).reshape(*shape, *shape)
    a, b = (np.pad(s, (0, size - s.size)) for size in shape)
    G = U.T @ (mask * (W - M)) @ Vt.T
    found = _linearized(*map(jnp.asarray, (a, b, G, H)), inverse_depth(N, float))
    for k, X in enumerate(turn.T.reshape(-1, *shape)):
        change = (flow(W + 1e-5 * X) - flow(W - 1e-5 * X)) / 2e-5
        np.testing.assert_allclose(found[:, k], turn.T @ change.ravel(), atol=1e-7)


def nearly_divergent(d=3, entries=6):
    """A rank-2 completion with runs at N = ∞ whose σ_1 grows to thousands."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((d, 2)) @ rng.standard_normal((2, d))
    M *= d / np.linalg.norm(M)
    rows, cols = np.divmod(rng.permutation(d * d)[:entries], d)
    return dl.Completion(rows, cols, M[rows, cols], (d, d))


@pytest.mark.slow
def test_a_norm_that_nearly_diverges_comes_to_its_limit():
    key = jax.random.fold_in(jax.random.key(0), 86)
    start = np.asarray(dl.normal_start((3, 3), 1e-3)(key))[None]
    energy = nearly_divergent()
    here = dl.ensemble(energy, start, math.inf, method=DenseRosenbrockStepper(), accuracy=1e-3)
    other = dl.ensemble(energy, start, math.inf, method="rosenbrock", accuracy=1e-5)
    assert here.ok.all()
    assert other.ok.all()
    assert np.linalg.norm(here.W) > 5_000
    apart = np.linalg.norm(here.W - other.W, axis=(1, 2))
    assert (apart <= here.error + other.error).all()
    assert (np.sign(np.linalg.det(here.W)) == np.sign(np.linalg.det(start))).all()


def ordinary_and_hard():
    """A 10×10 rank-2 completion, and starts of which the first one's norm nearly diverges."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((10, 2)) @ rng.standard_normal((2, 10))
    M *= 10 / np.linalg.norm(M)
    rows, cols = np.divmod(rng.permutation(100)[:54], 10)
    sampler = dl.normal_start((10, 10), 1e-3)
    keys = [jax.random.fold_in(jax.random.key(0), i) for i in (47, 0, 1)]
    starts = np.stack([np.asarray(sampler(key)) for key in keys])
    return dl.Completion(rows, cols, M[rows, cols], (10, 10)), starts


@pytest.mark.slow
def test_hard_runs_go_on_on_W_and_the_others_do_not():
    energy, starts = ordinary_and_hard()
    found = dl.ensemble(energy, starts, 10)
    assert found.ok.all()
    frozen = dl.ensemble(energy, starts, 10, method="implicit", max_steps=700)
    assert frozen.ok.tolist() == [False, True, True]
    np.testing.assert_array_equal(found.W[1:], frozen.W[1:])
    fine = dl.ensemble(energy, starts[:1], 10, method="rosenbrock", accuracy=1e-4)
    assert np.linalg.norm(found.W[0] - fine.W[0]) <= found.error[0] + fine.error[0]
    assert found.error[0] < 3e-3 * np.linalg.norm(found.W[0])
