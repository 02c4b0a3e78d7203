"""Factors: order, balance, and what balanced factors multiply to."""

from itertools import pairwise

import jax
import numpy as np
import pytest
from cases import slow

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


@pytest.mark.parametrize("widths", [(4, 2, 5, 3), (4, 7, 3, 3), (4, 3, 3, 3)])
@pytest.mark.parametrize("key", [None, 7])
def test_factors_of_a_matrix_of_low_rank(rng, widths, key):
    rank = min(widths)
    W = rng.normal(size=(3, rank)) @ rng.normal(size=(rank, 4))
    factors = dl.balanced_factors(W, 3, key, widths=widths)
    assert [f.shape for f in factors] == [(b, a) for a, b in pairwise(widths)]
    np.testing.assert_allclose(dl.product(factors), W, atol=1e-13)
    assert float(dl.imbalance(factors)) < 1e-13


def test_widths_that_do_not_fit(rng):
    W = rng.normal(size=(3, 4))
    with pytest.raises(
        dl.InputError, match=r"^widths must be at least the rank of W, and a hidden"
    ):
        dl.balanced_factors(W, 2, widths=(4, 2, 3))
    with pytest.raises(dl.InputError, match=r"^widths must be \(d_0, …, d_N\) with N = 2, d_0 = 4"):
        dl.balanced_factors(W, 2, widths=(3, 3, 4))
    with pytest.raises(dl.InputError, match=r"^width and widths must not both"):
        dl.balanced_factors(W, 2, width=3, widths=(4, 3, 3))


@pytest.mark.parametrize("c", [(0.0, 0.7), (0.5, 0.0, 1.3), (0.0, 2.0, 0.0, 1.0)])
@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (2, 5)])
def test_factors_on_a_leaf(rng, c, shape):
    W = rng.normal(size=shape)
    factors = dl.leaf_factors(W, c, key=1)
    np.testing.assert_allclose(dl.product(factors), W, atol=1e-13)
    found = dl.imbalances(factors)
    assert found.isotropic
    np.testing.assert_allclose(found.leaf, np.subtract(c, min(c)), atol=1e-13)
    for D, step in zip(found.matrices, np.diff(c), strict=True):
        np.testing.assert_allclose(D, step * np.eye(len(D)), atol=1e-13)


def test_leaves_by_a_number_and_of_balanced_factors(rng):
    W = rng.normal(size=(3, 3))
    equal = dl.leaf_factors(W, 0.4, key=1, depth=3)
    np.testing.assert_allclose(dl.imbalances(equal).leaf, [0.0, 0.4, 0.8], atol=1e-13)
    for a, b in zip(
        dl.leaf_factors(W, 0.0, key=1, depth=3), dl.balanced_factors(W, 3, 1), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-14)


def test_the_flow_stays_on_its_leaf_and_others_are_told_apart(rng):
    energy = dl.Completion([0, 1, 2], [0, 2, 1], [1.0, -1.0, 0.5], (3, 3))
    factors = dl.leaf_factors(rng.normal(size=(3, 3)), (0.0, 1.0, 0.3), key=1)
    with pytest.warns(dl.ImbalanceWarning):
        flow = dl.factor_flow(energy, factors, t1=2.0, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dl.imbalances(flow.factors).leaf, [0, 1, 0.3], atol=1e-8)
    other = dl.imbalances(dl.normal_factors((3, 3, 3), 1.0, 0))
    assert not other.isotropic
    assert other.leaf is None
    assert dl.imbalances(dl.identity_factors((3, 3, 3), 0.1)).leaf.tolist() == [0.0, 0.0]


def test_starts_that_papers_use():
    widths, eps = (200, 300, 250, 100), 1e-3
    for W, n in zip(dl.normal_factors(widths, eps, 0), widths, strict=False):
        # the spread of a standard deviation of more than 20,000 numbers is below .5 %
        assert float(np.std(W)) == pytest.approx(eps ** (1 / 3) / np.sqrt(n), rel=0.02)
    for W in dl.orthogonal_factors(widths, eps, 0):
        s = np.linalg.svd(W, compute_uv=False)
        np.testing.assert_allclose(s, eps ** (1 / 3), rtol=1e-12)
    for W in dl.identity_factors(widths, eps):
        np.testing.assert_array_equal(W, eps ** (1 / 3) * np.eye(*W.shape))
    assert float(dl.imbalance(dl.orthogonal_factors((4, 4, 4), 0.1, 0))) < 1e-15
    for call in (
        lambda: dl.normal_factors((3,), 1.0, 0),
        lambda: dl.identity_factors((3, 3), 0.0),
        lambda: dl.orthogonal_factors((3, 0), 1.0, 0),
    ):
        with pytest.raises(dl.InputError, match=r"^(widths|scale) must be"):
            call()


def test_widths_that_do_not_fit_under_jit_and_small_singular_values(rng):
    with pytest.raises(Exception, match="width must be at least the rank of W"):
        jax.jit(lambda W: dl.product(dl.balanced_factors(W, 2, width=1)))(rng.normal(size=(2, 2)))
    W = np.diag([1.0, 1e-20]).astype(np.float32)
    np.testing.assert_allclose(dl.product(dl.leaf_factors(W, (0.0, 1.0))), W, rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: dl.leaf_factors(np.eye(2), "a"),
        lambda: dl.normal_factors(5, 1.0, 0),
        lambda: dl.normal_factors((2, 2), "a", 0),
        lambda: jax.jit(lambda scale: dl.identity_factors((2, 2), scale))(1.0),
        lambda: jax.jit(lambda c: dl.leaf_factors(np.eye(2), c))(np.zeros(2)),
        lambda: dl.balanced_factors(np.eye(2), "a"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_number_is_refused(call):
    with pytest.raises((dl.InputError, dl.DepthError, TypeError)) as caught:
        call()
    assert "TypeCheckError" in type(caught.value).__name__ or str(caught.value)[0].islower()


@pytest.mark.parametrize(("depth", "widths"), [slow(2, (4, 2, 3)), (3, (4, 2, 5, 3))])
def test_narrow_layers_follow_the_flow_of_their_rank(rng, depth, widths):
    """Upstairs with a bottleneck, downstairs from W of that rank: W is the same, and of rank 2."""
    M, seen = rng.normal(size=(3, 4)), np.arange(12).reshape(3, 4) % 4 != 0
    energy = dl.Completion.from_dense(np.where(seen, M, np.nan))
    W0 = 0.3 * rng.normal(size=(3, 2)) @ rng.normal(size=(2, 4))
    steps = {"t1": 2.0, "rtol": 1e-11, "atol": 1e-12}
    up = dl.factor_flow(energy, dl.balanced_factors(W0, depth, 1, widths=widths), **steps)
    for chart in ("thin", "auto"):
        down = dl.gradient_flow(energy, W0, depth, chart=chart, **steps)
        np.testing.assert_allclose(down.W, up.W, atol=1e-9)
    assert np.linalg.svd(up.W, compute_uv=False)[2] < 1e-12
    assert np.linalg.norm(np.asarray(up.W) - W0) > 0.1


@pytest.mark.slow
def test_starts_that_papers_use_are_starts_of_ensembles(rng):
    """Orthogonal and identity factors are balanced: runs from their product are theirs."""
    M, seen = rng.normal(size=(3, 3)), np.arange(9).reshape(3, 3) % 4 != 1
    M = M @ M.T + np.eye(3)  # det > 0, as of the starts
    energy = dl.Completion.from_dense(np.where(seen, M, np.nan))
    key = next(
        k
        for k in range(9)
        if np.linalg.det(dl.product(dl.orthogonal_factors((3, 3, 3), 0.1, k))) > 0
    )
    starts = [dl.orthogonal_factors((3, 3, 3), 0.1, key), dl.identity_factors((3, 3, 3), 0.1)]
    found = dl.ensemble(energy, np.stack([dl.product(factors) for factors in starts]), 2)
    assert found.ok.all()
    for factors, W in zip(starts, found.W, strict=True):
        flow = dl.factor_flow(energy, factors, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(flow.W, W, atol=1e-4)
