"""The effective rank that fits (NumPy) and the library (JAX) share."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import deeplinear as dl
from deeplinear.spectrum import effective_rank_of


def test_it_is_the_exponential_of_the_entropy_in_numpy_and_jax(rng):
    s = np.sort(rng.uniform(size=(5, 4)))[:, ::-1].copy()
    s[0, 2:] = 0
    expected = [oracles.effective_rank(x) for x in s]
    np.testing.assert_allclose(effective_rank_of(s), expected, rtol=1e-14)
    np.testing.assert_allclose(effective_rank_of(jnp.asarray(s), jnp), expected, rtol=1e-14)
    np.testing.assert_allclose([dl.effective_rank(x) for x in s], expected, rtol=1e-14)


def test_a_zero_matrix_has_rank_zero_in_a_fit_and_none_in_public():
    assert effective_rank_of(np.zeros(3)) == effective_rank_of(np.zeros(0)) == 0
    with pytest.raises(dl.InputError, match="W must not vanish"):
        dl.effective_rank(np.zeros((3, 3)))


def test_it_needs_no_jax():
    code = "import sys, deeplinear.spectrum; assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
