"""Effective and stable rank against their definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import deeplinear as dl
from deeplinear import asymptotics as asy


def test_ranks_against_their_definitions_also_in_batches_and_at_any_scale(rng):
    W = rng.normal(size=(3, 2, 5, 4))
    s = np.linalg.svd(W, compute_uv=False)
    expected = [[oracles.effective_rank(x) for x in row] for row in s]
    stable = (s**2).sum(-1) / s[..., 0] ** 2
    for scale in (1.0, 1e-200, 1e200):
        np.testing.assert_allclose(asy.effective_rank(scale * W), expected, rtol=1e-13)
        np.testing.assert_allclose(asy.stable_rank(scale * W), stable, rtol=1e-13)
    np.testing.assert_allclose(dl.effective_rank(s[0, 0]), expected[0][0], rtol=1e-14)
    np.testing.assert_allclose(
        dl.effective_rank(dl.LogSVD.of(jnp.asarray(W))), expected, rtol=1e-13
    )
    far = dl.LogSVD(jnp.eye(2), jnp.array([-5000.0, -5001.0]), jnp.eye(2))
    assert float(asy.stable_rank(far)) == pytest.approx(1 + math.exp(-2), rel=1e-13)
    assert dl.effective_rank(W.astype(np.float32)).dtype == jnp.float32


@pytest.mark.parametrize("rank", [asy.effective_rank, asy.stable_rank])
def test_ranks_at_the_ends_and_their_gradients(rng, rank):
    assert float(rank(7 * np.eye(4))) == pytest.approx(4)
    assert float(rank(np.outer([1.0, 2.0], [3.0, 4.0, 5.0]))) == pytest.approx(1)
    assert float(rank(np.array([2.0, 0.0]))) == 1
    W, Z, h = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), 1e-6
    slope = float(jnp.vdot(jax.grad(rank)(W), Z))
    assert slope == pytest.approx(float(rank(W + h * Z) - rank(W - h * Z)) / (2 * h), rel=1e-7)
    assert np.isfinite(jax.grad(rank)(np.diag([1.0, 1.0, 2.0]))).all()  # at a tie
    assert np.isnan(jax.jit(rank)(np.zeros((2, 2))))
    for bad in (np.zeros((2, 3)), [[np.nan, 1.0]], np.array([1.0, -1.0]), 3.0, [["a"]]):
        with pytest.raises(dl.InputError, match=r"^W must"):
            rank(bad)
