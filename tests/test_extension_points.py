"""The extension points of the library, each used in the way that its contract documents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.energies import AbstractEnergy


class TestEnergy:
    class LogCosh(AbstractEnergy):
        """E(W) = Σ log cosh(W_ij − M_ij): a robust loss, with gradient tanh(W − M)."""

        M: jax.Array

        def __call__(self, W):
            x = jnp.abs(W - self.M)
            return jnp.sum(x + jnp.log1p(jnp.exp(-2 * x)) - jnp.log(2.0))

    @pytest.fixture
    def energy(self, rng):
        return self.LogCosh(jnp.asarray(np.eye(3) + 0.2 * rng.normal(size=(3, 3))))

    @pytest.fixture
    def W0(self, rng):
        return 0.5 * np.eye(3) + 0.1 * rng.normal(size=(3, 3))

    def test_its_derivatives_are_checked(self, energy, W0):
        assert dl.verify.gradient_check(energy, W0)
        np.testing.assert_allclose(jax.grad(energy)(W0), np.tanh(W0 - energy.M), atol=1e-14)

    @pytest.mark.parametrize("depth", [3, np.inf])
    def test_it_is_trained_to_its_minimizer(self, energy, W0, depth):
        result = dl.gradient_flow(energy, W0, depth)
        assert result.converged
        np.testing.assert_allclose(result.W, energy.M, atol=1e-5)

    def test_a_plain_function_is_an_energy_too(self, energy, W0):
        flows = [dl.gradient_flow(e, W0, 2, t1=1.0) for e in (energy, lambda W: energy(W))]
        np.testing.assert_allclose(flows[0].W, flows[1].W, rtol=1e-12)

    def test_an_energy_without_a_value_cannot_be_made(self):
        class Incomplete(AbstractEnergy):
            M: jax.Array

        with pytest.raises(TypeError, match="abstract"):
            Incomplete(jnp.eye(2))

    def test_the_energies_of_the_library_keep_the_contract(self, W0):
        for energy in (dl.Completion.from_dense(np.ones((3, 3))), dl.Sensing(W0[None], np.ones(1))):
            assert isinstance(energy, AbstractEnergy)
            assert energy.shape == (3, 3)
            assert energy(W0).shape == ()
        assert self.LogCosh(jnp.eye(3)).shape is None
