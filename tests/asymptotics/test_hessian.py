"""Flatness against the Hessian of the factors' loss, and against the volume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from cases import slow
from jax.flatten_util import ravel_pytree

import deeplinear as dl
from deeplinear.asymptotics import (
    flatness,
    hessian_spectrum,
    log_induced_volume,
    minimum_hessian_trace,
    sharpness,
    tangent_kernel,
)


def solved(rng, shape, share):
    """A generic W, and a completion problem that it solves."""
    W = rng.normal(size=shape)
    mask = rng.random(shape) < share
    mask.flat[0] = True
    return W, dl.Completion.from_dense(np.where(mask, W, np.nan))


@pytest.mark.parametrize("depth", [slow(1), 2, slow(3), 5])
@pytest.mark.parametrize(("shape", "share"), [((3, 3), 0.6), ((2, 4), 0.5), slow((3, 2), 1.0)])
def test_the_hessian_of_the_factors_is_n_times_the_kernel(rng, depth, shape, share):
    W, energy = solved(rng, shape, share)
    factors = dl.balanced_factors(W, depth, 3)
    flat, unravel = ravel_pytree(factors)
    H = jax.hessian(lambda x: energy(dl.product(unravel(x))))(flat)
    by_hand = np.linalg.eigvalsh(H)[::-1]
    found = hessian_spectrum(energy, factors)
    np.testing.assert_allclose(found, by_hand, atol=1e-10)
    K = np.linalg.eigvalsh(tangent_kernel(energy, W, depth).as_matrix())[::-1]
    np.testing.assert_allclose(found[: K.size], depth * K, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found[K.size :], 0, atol=1e-10)
    assert float(sharpness(W, depth, energy)) == pytest.approx(found[0], rel=1e-10)
    np.testing.assert_array_equal(hessian_spectrum(energy, factors, top=2), found[:2])


def test_large_spectra_without_the_matrix(rng):
    W, energy = solved(rng, (30, 30), 0.4)
    factors = dl.balanced_factors(W, 2, 3)
    found = hessian_spectrum(energy, factors, top=3)
    K = np.linalg.eigvalsh(tangent_kernel(energy, W, 2).as_matrix())[::-1]
    np.testing.assert_allclose(found, 2 * K[:3], rtol=1e-9)
    with pytest.raises(dl.InputError, match=r"^top must be given for 1800 entries"):
        hessian_spectrum(energy, factors)
    W, energy = solved(rng, (60, 50), 0.9)
    full = dl.Completion.from_dense(W)
    top = np.linalg.svd(W, compute_uv=False)[0]
    assert float(sharpness(W, 3, full)) == pytest.approx(3 * top ** (4 / 3), rel=1e-9)


@pytest.mark.parametrize("depth", [1, 1.5, 2, 3, np.inf])
@pytest.mark.parametrize("share", [0.4, 0.7, 1.0])
def test_volume_is_flatness_times_induced_volume(rng, depth, share):
    W, energy = solved(rng, (3, 3), share)
    parts = float(flatness(W, depth, energy)) + log_induced_volume(W, depth, energy)
    assert parts == pytest.approx(float(dl.log_volume(W, depth)), abs=1e-9)
    mask = np.asarray(energy.observed)
    assert log_induced_volume(W, depth, mask) == log_induced_volume(W, depth, energy)


def test_the_induced_volume_of_measurements(rng):
    """In any orthonormal measurements, the same as the entries that they rotate into."""
    W, A = rng.normal(size=(3, 3)), np.linalg.qr(rng.normal(size=(9, 9)))[0][:5].reshape(5, 3, 3)
    energy = dl.Sensing(A, np.tensordot(A, W, 2))
    parts = float(flatness(W, 3, energy)) + log_induced_volume(W, 3, energy)
    assert parts == pytest.approx(float(dl.log_volume(W, 3)), abs=1e-9)


def test_flatness_at_low_rank():
    W = np.outer([1.0, 2.0], [1.0, -1.0])
    assert np.isposinf(flatness(W, 3, np.ones((2, 2), bool)))
    assert np.isfinite(flatness(W, 3, np.array([[True, False], [False, False]])))
    with pytest.raises(dl.SingularOperatorError):
        log_induced_volume(W, 3, np.array([[True, False], [False, False]]))


def test_descent_at_the_edge(rng):
    """Just below 2/sharpness perturbations of the factors die out, just above they grow."""
    W, energy = solved(rng, (3, 3), 1.0)
    factors = dl.balanced_factors(W, 3, 1)
    flat, unravel = ravel_pytree(factors)
    slope = jax.jit(jax.grad(lambda x: energy(dl.product(unravel(x)))))
    edge = 2 / float(sharpness(W, 3, energy))
    for share, dies in ((0.95, True), (1.05, False)):
        x = flat + 1e-6 * rng.normal(size=flat.size)
        start = float(jnp.linalg.norm(slope(x)))
        for _ in range(200):
            x = x - share * edge * slope(x)
        assert (float(jnp.linalg.norm(slope(x))) < start) == dies


@pytest.mark.parametrize(("depth", "shape"), [(2, (2, 3)), (2, (3, 3)), (3, (2, 2))])
def test_the_least_trace(rng, depth, shape):
    """By minimization over the factors, held to the product by a penalty."""
    W = rng.normal(size=shape)
    start, unravel = ravel_pytree(dl.balanced_factors(W, depth, 2))

    def trace(factors):
        total = 0.0
        for p in range(depth):
            A = dl.product([jnp.eye(shape[1]), *factors[:p]])
            B = dl.product([*factors[p + 1 :], jnp.eye(shape[0])])
            total += jnp.sum(A**2) * jnp.sum(B**2)
        return total

    H = jax.hessian(lambda x: 0.5 * jnp.sum((dl.product(unravel(x)) - W) ** 2))(start)
    assert float(jnp.trace(H)) == pytest.approx(float(trace(unravel(start))), rel=1e-12)
    x, least = np.asarray(start), float(minimum_hessian_trace(W, depth))

    @jax.jit
    @jax.value_and_grad
    def objective(x, weight):
        return trace(unravel(x)) + weight * jnp.sum((dl.product(unravel(x)) - W) ** 2)

    for weight in (1e2, 1e4, 1e6):
        x = scipy.optimize.minimize(
            lambda x, w: tuple(np.asarray(v) for v in objective(x, w)),
            x,
            args=(weight,),
            jac=True,
            method="BFGS",
            options={"gtol": 1e-6, "maxiter": 5000},
        ).x
    assert float(trace(unravel(x))) == pytest.approx(least, rel=1e-3)
    assert float(trace(unravel(start))) >= least * (1 - 1e-12)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: sharpness(np.eye(2), np.inf, np.ones((2, 2), bool)),
            dl.DepthError,
            r"^depth must",
        ),
        (lambda: minimum_hessian_trace(np.eye(2), 1.5), dl.InputError, r"^depth must be"),
        (lambda: log_induced_volume(np.eye(2), 2, np.ones(2)), dl.InputError, "energy must be"),
    ],
)
def test_sentences(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_flatness_of_matrices_that_are_nearly_singular():
    """Everything is observed: flatness is the volume, to condition numbers of K near 1e30."""
    full = np.ones((2, 2), bool)
    for smallest, depth in ((1e-9, 10), (1e-9, np.inf), (1e-13, 3)):
        W = np.diag([1.0, smallest])
        expected = float(dl.log_volume(W, depth))
        assert float(flatness(W, depth, full)) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(dl.InputError, match=r"^energy must be a Completion, a Sensing or a mask"):
        flatness(np.eye(2), 2, lambda W: jnp.sum(W**2))
