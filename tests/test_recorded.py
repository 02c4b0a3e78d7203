"""Energies of the user's as operations: the same numbers, known by content, data apart."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.recorded import RecordedEnergy, recorded, vmapped


def made(target, power=2):
    return lambda W: jnp.sum(jnp.abs(W - target) ** power)


def test_the_same_numbers_to_second_order(rng):
    target, W, Z = rng.normal(size=(3, 2, 3))
    energy = made(target, 4)
    other = recorded(energy, (2, 3), float)
    assert isinstance(other, RecordedEnergy)
    for f in (lambda E: E(W), lambda E: jax.grad(E)(W), lambda E: jax.jvp(jax.grad(E), (W,), (Z,))):
        for a, b in zip(jax.tree.leaves(f(energy)), jax.tree.leaves(f(other)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)


def test_equal_operations_are_one_program_and_data_are_apart(rng):
    a, b = (recorded(made(jnp.asarray(x)), (2, 2), float) for x in rng.normal(size=(2, 2, 2)))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert not np.array_equal(a.data[0], b.data[0])
    c = recorded(made(a.data[0], 4), (2, 2), float)
    assert jax.tree.structure(a) != jax.tree.structure(c)


def test_own_modules_are_recorded_and_the_librarys_are_not():
    class Distance(eqx.Module):
        M: jax.Array

        def __call__(self, W):
            return jnp.sum((W - self.M) ** 2)

    found = recorded(Distance(jnp.eye(2)), (2, 2), float)
    assert float(found(jnp.zeros((2, 2)))) == 2
    energy = dl.Completion([0], [0], [1.0], (2, 2))
    assert recorded(energy, (2, 2), float) is energy


@pytest.mark.slow
def test_a_tracer_inside_is_left_where_it_is():
    def end(scale):
        flow = dl.gradient_flow(lambda W: scale * jnp.sum(W**2), W0, 2, t1=0.1, chart="dense")
        return flow.W[0, 0]

    W0 = np.array([[1.0, 0.2], [0.1, 0.5]])
    slope = jax.grad(end)(1.0)
    h = 1e-4
    assert float(slope) == pytest.approx(float(end(1 + h) - end(1 - h)) / (2 * h), rel=1e-3)


def test_energies_with_decompositions_are_looped_over(rng):
    """The same numbers; see `vmapped` for why."""

    def energy(W):
        return jnp.sum(jnp.linalg.svd(W, compute_uv=False)) + jnp.sum(W**2)

    plain = recorded(made(1.0), (3, 2), float)
    own = recorded(energy, (3, 2), float)
    assert own.operations.decomposes
    assert not plain.operations.decomposes
    W = rng.normal(size=(4, 3, 2))
    for axis in (0, -1):
        got = vmapped(own, jax.grad(own), axis)(jnp.moveaxis(W, 0, axis))
        np.testing.assert_allclose(jnp.moveaxis(got, axis, 0), jax.vmap(jax.grad(energy))(W))
    batched = "scan" in str(jax.make_jaxpr(vmapped(plain, plain))(W))
    assert not batched
    assert "scan" in str(jax.make_jaxpr(vmapped(own, own))(W))


def test_ensembles_and_chains_with_such_an_energy(rng):
    M = jnp.asarray(np.diag([2.0, 1.0, 0.5]))

    def energy(W):
        return 0.5 * jnp.sum((W - M) ** 2) + 0.1 * jnp.sum(jnp.linalg.eigvalsh(W @ W.T))

    starts = np.eye(3) + 0.2 * rng.normal(size=(3, 3, 3))
    found = dl.ensemble(energy, starts, 2, accuracy=1e-3)
    assert found.ok.all()
    best = np.asarray(M) / 1.2  # of ½‖W − M‖² + 0.1 ‖W‖²
    np.testing.assert_allclose(found.W, np.broadcast_to(best, (3, 3, 3)), atol=5e-3)
    run = dl.langevin(energy, np.eye(3), 2, 4.0, t1=0.02, dt=0.01, key=0, chains=2)
    assert bool(run.converged.all())


def test_an_energy_recorded_inside_jit_serves_outside():
    """NumPy's constants of an energy must not stay tracers of the call that met them first."""
    T = np.array([[1.0, 0.3], [0.2, -0.9]])
    energy = lambda W: jnp.sum((W - T) ** 2)  # noqa: E731
    W = np.array([[0.6, 0.1], [-0.2, 0.4]])
    inside = jax.jit(lambda X: dl.gradient(energy, X, 2))(W)
    np.testing.assert_allclose(inside, dl.gradient(energy, W, 2), rtol=1e-12)
