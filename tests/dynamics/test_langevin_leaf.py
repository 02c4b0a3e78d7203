"""Langevin dynamics on leaves: the equation of the root against the metric, and stationary laws."""

from itertools import pairwise

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import ks_1samp

import deeplinear as dl
from deeplinear.dynamics.langevin import brownian_drift
from deeplinear.dynamics.langevin_leaf import LeafProcess
from deeplinear.geometry.derivatives import operator_power
from deeplinear.geometry.leaf import Leaf

LEAVES = [(0.0, 0.7), (0.0, 0.0, 0.5), (0.0, 0.3, 1.1), (0.0, 1.0, 0.0, 0.4)]
FEW_LEAVES = [cases.slow(c) if c != LEAVES[1] else c for c in LEAVES]


def process(c, energy=None, entropic=False):
    one = jnp.asarray(1.0)
    leaf = Leaf(np.array(c))
    return LeafProcess(energy, leaf, jnp.asarray(float(len(c))), 2.0 * one, one, entropic)


def of_root(R, run):
    """W of R, differentiable at distinct y."""
    U, y, Vt = jnp.linalg.svd(R, full_matrices=False)
    return (U * run.sigma(y)) @ Vt


@pytest.mark.parametrize("c", FEW_LEAVES)
def test_the_noise_of_the_root_is_that_of_the_metric(rng, c):
    """∂W(R) B Bᵀ ∂W(R)ᵀ = A, at β = 2 where √(2κ/β) = 1."""
    run, W = process(c), rng.normal(size=(3, 3))
    R = run.start(jnp.asarray(W))
    columns = jax.vmap(lambda e: run.noise(0.0, R, None).mv(e.reshape(3, 3)))(jnp.eye(9))
    moved = jax.vmap(lambda Z: jax.jvp(lambda R: of_root(R, run), (R,), (Z,))[1])(columns)
    found = np.einsum("kij,klm->ijlm", moved, moved).reshape(9, 9)
    np.testing.assert_allclose(found, dl.Operator(W, len(c), imbalance=c).as_matrix(), atol=1e-9)


@pytest.mark.parametrize("c", FEW_LEAVES)
def test_the_drift_of_the_root_is_that_of_w(rng, c):
    """Itô's formula: ∂W(R)[drift] + ½ Σ_k ∂²W(R)[n_k, n_k] is the drift of W."""
    M = rng.normal(size=(3, 3))
    energy = lambda W: 0.5 * jnp.sum((W - M) ** 2)  # noqa: E731
    W = rng.normal(size=(3, 3))
    for run in (process(c), process(c, energy)):
        R = run.start(jnp.asarray(W))
        f = lambda R: of_root(R, run)  # noqa: B023, E731
        columns = jax.vmap(lambda e: run.noise(0.0, R, None).mv(e.reshape(3, 3)))(jnp.eye(9))  # noqa: B023
        first = jax.jvp(f, (R,), (run.drift(0.0, R, None),))[1]
        second = jax.vmap(
            lambda n: jax.jvp(lambda R: jax.jvp(f, (R,), (n,))[1], (R,), (n,))[1]  # noqa: B023
        )(columns)
        expected = brownian_drift(W, len(c), imbalance=c)
        if run.energy is not None:
            expected = expected - dl.gradient(energy, W, len(c), imbalance=c)
        np.testing.assert_allclose(first + jnp.sum(second, 0) / 2, expected, atol=1e-8)


@pytest.mark.parametrize("c", FEW_LEAVES)
def test_the_drift_of_brownian_motion_by_its_definition(rng, c):
    """½ (div A + A ∇log √g), by derivatives of the operator and of the volume."""
    W, N = jnp.asarray(rng.normal(size=(3, 3))), len(c)
    leaf = Leaf(np.array(c))
    units = jnp.eye(9).reshape(9, 3, 3)

    def column(e):
        return jax.jvp(lambda W: operator_power(W, e, leaf, 1), (W,), (e,))[1]

    slope = jax.grad(lambda W: dl.log_volume(W, N, imbalance=c))(W)
    expected = 0.5 * (jnp.sum(jax.vmap(column)(units), 0) + dl.Operator(W, N, imbalance=c)(slope))
    np.testing.assert_allclose(brownian_drift(W, N, imbalance=c), expected, atol=1e-9)


@pytest.mark.parametrize("c", LEAVES)
def test_the_entropic_force(rng, c):
    """The drift by the entropy is A(∇S) of W."""
    W = rng.normal(size=(3, 3))
    runs = process(c), process(c, entropic=True)
    R = runs[0].start(jnp.asarray(W))
    difference = runs[1].drift(0.0, R, None) - runs[0].drift(0.0, R, None)
    moved = jax.jvp(lambda R: of_root(R, runs[0]), (R,), (difference,))[1]
    slope = jax.grad(lambda W: dl.entropy(W, len(c), imbalance=c, constant=False))(jnp.asarray(W))
    expected = dl.Operator(W, len(c), imbalance=c)(slope) / 2  # β = 2
    np.testing.assert_allclose(moved, expected, atol=1e-9)


def test_ties_are_no_exception():
    c = (0.0, 0.3, 1.1)
    run = process(c)
    at, near = (run.ito(y, run.pairs(y)) for y in jnp.array([[1.3, 1.3, 0.4], [1.3, 1.3002, 0.4]]))
    assert np.isfinite(at).all()
    np.testing.assert_allclose(at, near, rtol=1e-3)


def test_a_nearly_balanced_leaf_is_the_balanced_process(rng):
    W, zero = jnp.asarray(rng.normal(size=(3, 3))), jnp.asarray(0.0)
    run = process((0.0, 1e-13, 3e-13))
    balanced = cases.process(None, 3.0, 2.0, 1.0)
    R = run.start(W)
    np.testing.assert_allclose(R, balanced.start(W), rtol=1e-9)
    np.testing.assert_allclose(
        run.drift(zero, R, None), balanced.drift(zero, R, None), rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("c", [cases.slow((0.0, 0.8)), cases.slow((0.0, 0.0, 0.6))])
def test_the_stationary_law_in_one_dimension(c):
    """e^{−βE} √g dW, by quadrature; 4,000 independent chains, significance 1e−3."""
    beta, N = 3.0, len(c)
    density = lambda w: np.exp(  # noqa: E731
        -beta * (0.5 * (w - 0.3) ** 2)
        + float(dl.log_volume(np.array([[w if w != 0 else 1e-12]]), N, imbalance=c))
    )
    energy = lambda W: 0.5 * jnp.sum((W - 0.3) ** 2)  # noqa: E731
    run = dl.langevin(
        energy, np.array([[0.5]]), N, beta, imbalance=c, t1=12.0, dt=0.01, key=5, chains=4000
    )
    assert run.converged.all()
    grid = np.concatenate([np.linspace(-3, 0, 200, endpoint=False), np.linspace(0, 3.5, 231)])
    parts = [quad(density, a, b)[0] for a, b in pairwise(grid)]
    total = np.concatenate([[0.0], np.cumsum(parts)])
    law = lambda w: np.interp(w, grid, total / total[-1])  # noqa: E731
    assert ks_1samp(np.asarray(run.W)[:, 0, 0], law).pvalue > cases.SIGNIFICANCE
