"""Volumes of balls against plain Monte Carlo: uniform points of the ball, the density of each from
its own decomposition. Rectangular matrices, sensing constraints, both measures.
"""

import math

import jax
import numpy as np
import pytest
import scipy.linalg

import deeplinear as dl


def pairs(s, shape, N):
    """λ_N(σ_i, σ_j) for singular values (…, k) of m×n matrices, as (…, m, n)."""
    left, right = (
        np.concatenate([s, np.zeros((*s.shape[:-1], size - s.shape[-1]))], -1) for size in shape
    )
    a, b = left[..., :, None], right[..., None, :]
    same = np.abs(a - b) < 1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        if math.isinf(N):
            quotient = (a**2 - b**2) / (2 * np.log(a / b))
        else:
            quotient = (a**2 - b**2) / (N * (a ** (2 / N) - b ** (2 / N)))
    return np.where(same, a ** (2 - 2 / N), quotient)


def plain(W, N, radius, rows, measure, rng, samples=200_000):
    """(log of the mean, its standard error): rows are the constraints, flattened."""
    basis = scipy.linalg.null_space(rows) if len(rows) else np.eye(W.size)
    p = basis.shape[1]
    x = rng.normal(size=(samples, p))
    x *= (radius * rng.random(samples) ** (1 / p) / np.linalg.norm(x, axis=1))[:, None]
    X = W + (x @ basis.T).reshape(-1, *W.shape)
    U, s, Vt = np.linalg.svd(X, full_matrices=True)
    values = pairs(s, W.shape, N)
    if measure == "ambient":
        f = 1 / np.sqrt(values.prod((1, 2)))
    else:
        units = basis.T.reshape(p, *W.shape)
        C = np.einsum("bui,auv,bjv->baij", U, units, Vt, optimize=True)
        C = (C / np.sqrt(values)[:, None]).reshape(samples, p, -1)
        f = np.sqrt(np.linalg.det(C @ C.transpose(0, 2, 1)))
    log_ball = p / 2 * math.log(math.pi) - math.lgamma(p / 2 + 1) + p * math.log(radius)
    return log_ball + math.log(f.mean()), float(f.std() / f.mean() / math.sqrt(samples))


RNG = np.random.default_rng(11)
WIDE, TALL, SQUARE = RNG.normal(size=(2, 3)), RNG.normal(size=(4, 2)), RNG.normal(size=(3, 3))
MASK = RNG.random((4, 2)) < 0.4
# (W, observed entries or measurement matrices, depth, radius); every ball stays in full rank
CASES = {
    "wide, free": (WIDE, None, 3, 0.3),
    "tall, entries": (TALL, MASK, 2.5, 0.4),
    "wide, sensing": (WIDE, RNG.normal(size=(3, 2, 3)), 5, 0.3),
    "tall, sensing": (TALL, RNG.normal(size=(5, 4, 2)), 2, 0.4),
    "square, sensing": (SQUARE, RNG.normal(size=(6, 3, 3)), 4, 0.3),
    "square, sensing, infinitely deep": (SQUARE, RNG.normal(size=(6, 3, 3)), math.inf, 0.1),
}


@pytest.mark.parametrize("measure", ["ambient", "induced"])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_plain_monte_carlo(rng, name, measure):
    """Within 4.5 standard errors of the difference: 12 cases, refused with probability 1e−4."""
    W, given, N, radius = CASES[name]
    if given is None or given.dtype == bool:
        constraint = given
        rows = np.zeros((0, W.size)) if given is None else np.eye(W.size)[given.ravel()]
    else:
        rows = given.reshape(len(given), -1)
        constraint = dl.Sensing(given, rows @ W.ravel())
    expected, error = plain(W, N, radius, rows, measure, rng)
    ball = dl.ball_volume(
        W, N, radius, constraint=constraint, measure=measure, samples=4000, key=jax.random.key(9)
    )
    assert ball.reliable
    assert max(error, ball.standard_error) < 0.02
    assert abs(ball.log_volume - expected) < 4.5 * math.hypot(error, ball.standard_error) + 1e-5


def test_measurements_that_repeat_or_have_no_weight_change_nothing(rng):
    A = rng.normal(size=(3, 2, 3))
    y = (A.reshape(3, -1) @ WIDE.ravel())[:, None]
    once = dl.Sensing(A[:2], y[:2, 0])
    again = dl.Sensing(A[[0, 1, 0, 2]], y[[0, 1, 0, 2], 0], weights=np.array([1.0, 2.0, 3.0, 0.0]))
    one, two = (dl.ball_volume(WIDE, 3, 0.3, constraint=c, samples=4000) for c in (once, again))
    assert abs(one.log_volume - two.log_volume) < 4 * math.hypot(
        one.standard_error, two.standard_error
    )
