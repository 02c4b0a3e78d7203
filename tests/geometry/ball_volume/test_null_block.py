"""Balls with points of corank two and more, in the root of the null block: against plain Monte
Carlo in W, indicators in R, closed densities, and singular values to 60 digits.
"""

import math

import mpmath as mp
import numpy as np
import pytest
from cases import slow, with_singular_values
from geometry.ball_volume.test_ball import radial_oracle

import deeplinear as dl
from deeplinear.geometry.ball_volume import null_block, space
from deeplinear.geometry.ball_volume.null_block import NullBlock


def block_of(W, radius, N, observed=None):
    basis = space.free_directions(W, observed)
    return NullBlock.of(space.Space(W, basis, radius, 1 / N, False))


def estimate(log_values):
    """log of the mean, and its standard error."""
    top = log_values.max()
    x = np.exp(log_values - top)
    return math.log(x.mean()) + top, x.std() / x.mean() / math.sqrt(x.size)


CASES = [
    ((3, 3), (1.0,), 0),
    ((3, 3), (1.0, 0.04, 0.02), 0),  # the singular points lie beside the centre
    ((3, 4), (1.0, 0.7), 0),
    ((4, 2), (0.8,), 0),
    ((3, 3), (1.0,), 1),  # one entry observed: D moves A, B and C
    ((4, 4), (1.0, 0.8), 2),
    ((2, 4), (1.0,), 1),
]


@pytest.mark.parametrize(("shape", "s", "observed"), CASES)
def test_against_plain_monte_carlo(shape, s, observed):
    """N = 1.5, where √det g^N of uniform points has a variance: 4 standard errors, 7 cases."""
    rng = np.random.default_rng(7)
    W, N, radius = with_singular_values(rng, s, *shape), 1.5, 0.1
    mask = np.zeros(W.size, bool)
    mask[rng.permutation(W.size)[:observed]] = True
    block = block_of(W, radius, N, mask.reshape(shape))
    assert (block.slope > 0) == (observed > 0)
    values, error = block.sample(rng, 20_000)
    assert error < 1e-12
    p = W.size - observed
    x = rng.normal(size=(400_000, p))
    x *= (radius * rng.random(len(x)) ** (1 / p) / np.linalg.norm(x, axis=1))[:, None]
    X = W + block.space.matrices(x)
    log_total = p / 2 * math.log(math.pi) - math.lgamma(p / 2 + 1) + p * math.log(radius)
    plain = estimate(np.asarray(dl.log_volume(X, N)) + log_total)
    ours = estimate(values)
    assert abs(plain[0] - ours[0]) < 4 * math.hypot(plain[1], ours[1])
    assert ours[1] < 0.03


@pytest.mark.parametrize("depth", [3, slow(8)])
@pytest.mark.parametrize(("shape", "s"), [((2, 3), (1.0,)), ((3, 3), (1.0,))])
def test_against_indicators_in_the_root(shape, s, depth):
    """N^e times the Lebesgue measure of {R : |W(R) − W| ≤ radius}: 4 standard errors, 4 cases."""
    rng = np.random.default_rng(11)
    radius = 0.15
    W = np.zeros(shape)
    W[0, 0] = s[0]
    # how far roots reach: the null block radius^{1/N}, the others about radius
    null = 1.02 * radius ** (1 / depth)
    half = np.full(shape, 1.4 * radius)
    half[0, 0], half[1:, 1:] = 1.3 * radius / depth, null
    R = np.asarray(dl.root(W, depth)) + half * rng.uniform(-1, 1, (1_000_000, *shape))
    U, p, Vt = np.linalg.svd(R, full_matrices=False)
    hit = np.linalg.norm((U * p[:, None, :] ** depth) @ Vt - W, axis=(1, 2)) <= radius
    far = np.abs((R - np.asarray(dl.root(W, depth)))[hit] / half).max(0)
    assert (far < 0.999).all()  # the box holds them all
    k = min(shape)
    e = k * (k + 1) / 2 + k * abs(shape[0] - shape[1]) / 2
    share = hit.mean()
    expected = math.log(share) + np.log(2 * half).sum() + e * math.log(depth)
    value, error = estimate(block_of(W, radius, depth).sample(rng, 20_000)[0])
    assert abs(value - expected) < 4 * math.hypot(error, math.sqrt((1 - share) / hit.sum()))
    assert error < 0.02


@pytest.mark.parametrize(("n", "N"), [(2, 3), (2, 20), (3, 2), (4, 5)])
def test_around_the_zero_matrix(n, N):
    """The closed density: 4 standard errors, 4 cases."""
    values, _ = block_of(np.zeros((2, n)), 1.0, N).sample(np.random.default_rng(3), 40_000)
    value, error = estimate(values)
    assert error < 0.01
    assert abs(value - radial_oracle(n, N)) < 4 * error + 1e-4


def test_singular_values_keep_all_digits(rng):
    """Of X with S = U diag(s) Vᵀ, s down to 1e−80, against 120 digits."""
    r, k, m, n = 2, 3, 5, 6
    U, V = (np.linalg.qr(rng.normal(size=(1, d - r, k)))[0] for d in (m, n))
    s = np.array([[0.05, 1e-19, 1e-80]])
    X = np.zeros((1, m, n))
    X[:, :r] = 0.1 * rng.normal(size=(r, n))
    X[:, r:, :r] = 0.1 * rng.normal(size=(m - r, r))
    X[:, :r, :r] += np.diag([1.0, 0.6])
    Vt = np.swapaxes(V, 1, 2)
    with mp.workdps(120):
        A, B, C = (mp.matrix(x.tolist()) for x in (X[0, :r, :r], X[0, :r, r:], X[0, r:, :r]))
        S = mp.matrix(U[0].tolist()) * mp.diag([mp.mpf(x) for x in s[0]])
        D = S * mp.matrix(Vt[0].tolist()) + C * A**-1 * B
        whole = mp.matrix(m, n)
        for i in range(m):
            for j in range(n):
                whole[i, j] = (
                    (A[i, j] if j < r else B[i, j - r])
                    if i < r
                    else (C[i - r, j] if j < r else D[i - r, j - r])
                )
        exact = [float(x) for x in mp.svd_r(whole, compute_uv=False)]
    X[:, r:, r:] = (U * s[:, None, :]) @ Vt + X[:, r:, :r] @ np.linalg.solve(
        X[:, :r, :r], X[:, :r, r:]
    )
    found = null_block._singular_values(X, U, s, Vt, r)
    np.testing.assert_allclose(found[0], exact[: r + k], rtol=1e-12)


def test_heavy_tails_are_gone():
    """Depth 10, corank 2: 10,000 chords are worth 3 independent values, these 10,000 and more."""
    W = with_singular_values(np.random.default_rng(3), (1.0, 0.6), 4, 4)
    ball = dl.ball_volume(W, 10, 0.1, key=1)
    assert ball.reliable
    assert ball.tail < 0.4
    assert ball.standard_error < 0.01


def test_chords_stay_where_they_are_better():
    """Singular values just below the radius: the null block's samples would seldom hit the ball."""
    W = with_singular_values(np.random.default_rng(3), (1.0, 0.09, 0.08))
    assert block_of(W, 0.1, 2) is not None
    ball = dl.ball_volume(W, 2, 0.1, key=1)
    assert ball.standard_error < 0.02
    for other in (
        block_of(W, 0.05, 2),  # full rank throughout
        block_of(with_singular_values(np.random.default_rng(3), (1.0, 0.6, 0.01)), 0.1, 2),
        block_of(np.diag([1.0, 0, 0]), 0.1, 2, np.eye(3, dtype=bool)),  # D is not seen whole
    ):
        assert other is None
