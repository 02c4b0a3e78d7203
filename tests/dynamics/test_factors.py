"""Factors: order, balance, and what balanced factors multiply to."""

import jax
import numpy as np
import pytest

import deeplinear as dl


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (2, 6)])
@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("key", [None, 7])
def test_balanced_factors_multiply_to_W_and_are_balanced(rng, shape, depth, key):
    W = rng.normal(size=shape)
    factors = dl.balanced_factors(W, depth, None if key is None else jax.random.key(key))
    assert len(factors) == depth
    np.testing.assert_allclose(dl.product(factors), W, atol=1e-13)
    assert float(dl.imbalance(factors)) < 1e-13
    if depth > 2 and key is not None:
        assert (
            abs(factors[1] - factors[2]).max() > 1e-3
        )  # the frames in between are drawn, each its own


def test_wide_hidden_layers(rng):
    W = rng.normal(size=(3, 4))
    factors = dl.balanced_factors(W, 3, jax.random.key(0), width=6)
    assert [f.shape for f in factors] == [(6, 4), (6, 6), (3, 6)]
    np.testing.assert_allclose(dl.product(factors), W, atol=1e-13)
    assert float(dl.imbalance(factors)) < 1e-13
    with pytest.raises(dl.InputError, match="width must be at least"):
        dl.balanced_factors(W, 3, width=2)


def test_the_first_factor_acts_first(rng):
    A, B = rng.normal(size=(2, 3)), rng.normal(size=(4, 2))
    np.testing.assert_allclose(dl.product([A, B]), B @ A)
    expected = np.linalg.norm(B.T @ B - A @ A.T)
    assert float(dl.imbalance([A, B])) == pytest.approx(expected)


def test_bad_factors(rng):
    with pytest.raises(dl.InputError, match="at least one matrix"):
        dl.product([])
    with pytest.raises(
        dl.InputError, match=r"factors\[1\] of shape \(2, 3\) cannot follow factors\[0\]"
    ):
        dl.product([np.ones((2, 3)), np.ones((2, 3))])
    for depth in (0, 2.5, float("inf"), -1):
        with pytest.raises(dl.DepthError, match="integer"):
            dl.balanced_factors(np.eye(2), depth)
