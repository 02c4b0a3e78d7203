"""The balancing flow: W stands still, the factors end balanced, at the rate that is stated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import slow

import deeplinear as dl


@pytest.mark.parametrize("widths", [slow((3, 3, 3)), slow((3, 3, 3, 3)), (4, 2, 2, 2, 3)])
def test_it_ends_at_the_shortest_factors_of_the_same_w(widths):
    factors = dl.normal_factors(widths, 1.0, key=jax.random.key(3))
    W = np.asarray(dl.product(factors))
    found = dl.balancing_flow(factors)
    assert dl.Status[int(found.status)] == dl.Status.converged.sentence
    assert float(found.drift) < 1e-10
    np.testing.assert_allclose(dl.product(found.factors), W, atol=1e-10 * np.linalg.norm(W))
    N = len(factors)
    shortest = N * np.sum(np.linalg.svd(W, compute_uv=False) ** (2 / N))
    length = sum(float(jnp.sum(X**2)) for X in found.factors)
    assert length == pytest.approx(shortest, rel=1e-6)
    assert float(found.imbalance) <= 1e-8 * length * 1.01


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_rate_at_the_end(rng, depth):
    W = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    factors = list(dl.balanced_factors(W, depth, jax.random.key(1)))
    factors = [X + 0.1 * rng.normal(size=X.shape) for X in factors]
    s = np.linalg.svd(np.asarray(dl.product(factors)), compute_uv=False)
    rate = 4 * s[-1] ** (2 / depth) * (1 - np.cos(np.pi / depth))
    late = 12.0 / rate
    first, then = (dl.balancing_flow(factors, t1=t, tol=1e-14) for t in (late, late + 1 / rate))
    assert first.status == dl.Status.reached_t1
    assert float(first.rate) == pytest.approx(rate, rel=1e-9)
    assert np.log(float(first.imbalance / then.imbalance)) == pytest.approx(1.0, abs=0.02)


def test_the_length_falls_along_the_flow(rng):
    factors = [rng.normal(size=(3, 3)) for _ in range(3)]
    times = (0.01, 0.1, 1.0)
    lengths = [
        sum(float(jnp.sum(X**2)) for X in dl.balancing_flow(factors, t1=t).factors) for t in times
    ]
    assert lengths == sorted(lengths, reverse=True)
    # the derivative of ½ Σ ‖W_p‖² is −Σ_p ‖D_p‖²
    h = 1e-6
    before = sum(float(np.sum(X**2)) for X in factors)
    after = sum(float(jnp.sum(X**2)) for X in dl.balancing_flow(factors, t1=h).factors)
    D = dl.imbalances(factors).matrices
    slope = -2 * sum(float(jnp.sum(X**2)) for X in D)
    assert (after - before) / h == pytest.approx(slope, rel=1e-3)


def test_balanced_factors_stay_and_hidden_directions_without_use_are_told(rng):
    W = rng.normal(size=(2, 2))
    factors = dl.balanced_factors(W, 3, jax.random.key(0))
    found = dl.balancing_flow(factors)
    assert float(found.t) == 0
    for X, Y in zip(found.factors, factors, strict=True):
        assert np.array_equal(X, Y)
    wide = dl.normal_factors((2, 4, 2), 1.0, key=jax.random.key(0))
    assert float(dl.balancing_flow(wide, t1=1.0).rate) == 0
    assert np.isinf(dl.balancing_flow([W]).rate)


def test_sentences(rng):
    W = rng.normal(size=(2, 2))
    with pytest.raises(dl.InputError, match=r"^t1 must be"):
        dl.balancing_flow([W, W], t1=-1.0)
    with pytest.raises(dl.InputError, match=r"^tol must be"):
        dl.balancing_flow([W, W], tol=0.0)
    stopped = dl.balancing_flow([W, 3 * W], max_steps=2)
    assert stopped.status == dl.Status.max_steps
    assert not bool(stopped.converged)


def test_a_w_that_is_lost_to_rounding_is_told(rng):
    factors = [np.float32(1e4 * rng.normal(size=(2, 2))), np.float32(rng.normal(size=(2, 2)))]
    found = dl.balancing_flow(factors, tol=1e-4, max_steps=20_000)
    assert float(found.drift) < 1e-3 or found.status == dl.Status.failed
    with pytest.raises(dl.InputError, match=r"^t1 must be"):
        dl.balancing_flow(factors, t1=-np.inf)


def test_it_says_converged_where_it_is(rng):
    """Also where the layers differ by much, and the time scale with them."""
    for size in (1e-3, 1.0, 30.0):
        factors = [size * rng.normal(size=(2, 2)), rng.normal(size=(2, 2))]
        found = dl.balancing_flow(factors)
        length = sum(float(jnp.sum(X**2)) for X in found.factors)
        assert bool(found.converged)
        assert float(found.imbalance) <= 1.001e-8 * length
