"""Volumes of balls against cubature and closed forms that share nothing with the library; significance stated in each test."""

import math
from itertools import pairwise

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

import deeplinear as dl
from deeplinear.neighbourhood import chords

OFF_DIAGONAL = np.eye(2, dtype=bool)  # observed entries: the diagonal
GAUSS = np.polynomial.legendre.leggauss(40)


def pair(a, b, N):
    """λ_N from its definition as a quotient, where a and b are apart or b is tiny."""
    if math.isinf(N):
        return (a**2 - b**2) / (2 * np.log(a / b))
    return (a**2 - b**2) / (N * (a ** (2 / N) - b ** (2 / N)))


def density_2x2(w11, w12, w21, w22, log_det, N):
    """√det g^N of a 2×2 matrix, log|det| given: σ_1 from the norm, σ_2 from the determinant."""
    norm, det = w11**2 + w12**2 + w21**2 + w22**2, np.exp(log_det)
    s1 = 0.5 * (np.sqrt(norm + 2 * det) + np.sqrt(np.maximum(norm - 2 * det, 0)))
    s2 = np.exp(log_det - np.log(s1))
    own = -(1 - 1 / N) * (np.log(s1) + log_det - np.log(s1))
    return np.exp(own) / pair(s1, s2, N)


def graded(a, b, singular_a, N):
    """Gauss–Legendre on (a, b), which is all smooth in u with distance to an end = L u^N, if that end is singular."""
    u, w = 0.5 * (GAUSS[0] + 1), 0.5 * GAUSS[1]
    log_distance = math.log(b - a) + (N if singular_a is not None else 1) * np.log(u)
    weights = (b - a) * (N * u ** (N - 1) if singular_a is not None else 1) * w
    distance = np.exp(log_distance)
    return (b - distance if singular_a is False else a + distance), weights, log_distance


def pieces(a, b, roots, N):
    """Nodes, weights and (log distance to which root, or None) of the pieces of (a, b) next to its roots."""
    roots = sorted(r for r in roots if a < r < b)
    if not roots:
        cuts = np.linspace(a, b, 5)
        return [(*graded(x, y, None, N)[:2], None, None) for x, y in pairwise(cuts)]
    out, ends = [], [a, *[0.5 * (x + y) for x, y in pairwise(roots)], b]
    for r, low, high in zip(roots, ends[:-1], ends[1:], strict=True):
        out += [(*graded(low, r, False, N), r), (*graded(r, high, True, N), r)]
    return out


def chord_2x2(w11, w22, x, low, high, N):
    """∫ √det g^N dw21 over (low, high) at w12 = x, with the root of det = w11 w22 − x w21 resolved by substitution."""
    power, total = (N if math.isfinite(N) else 1), 0.0
    for y, weight, log_distance, root in pieces(low, high, [w11 * w22 / x], power):
        log_det = np.log(abs(w11 * w22 - x * y)) if root is None else np.log(abs(x)) + log_distance
        total += float(np.sum(weight * density_2x2(w11, x, y, w22, log_det, N)))
    return total


def disc_2x2(W, R, N):
    """The volume over the disc of the two off-diagonal entries, by tensor cubature graded at every singular abscissa."""
    (w11, w12), (w21, w22) = W
    edge = lambda t, sign: w11 * w22 - (w12 + R * np.sin(t)) * (w21 + sign * R * np.cos(t))  # noqa: E731
    grid, marks = np.linspace(-np.pi / 2, np.pi / 2, 2001), []
    for sign in (-1, 1):  # where the hyperbola crosses the circle
        values = edge(grid, sign)
        for i in np.flatnonzero(values[:-1] * values[1:] < 0):
            marks.append(brentq(edge, grid[i], grid[i + 1], args=(sign,), xtol=1e-15))
    power, total = (N if math.isfinite(N) else 1), 0.0
    for t, weight, _, _ in pieces(-np.pi / 2, np.pi / 2, marks, power):
        for ti, wi in zip(t, weight, strict=True):
            half = R * math.cos(ti)
            total += wi * half * chord_2x2(w11, w22, w12 + R * math.sin(ti), w21 - half, w21 + half, N)
    return math.log(total)


FULL, CROSSED, RANK_ONE = (
    [[0.92, 0.3], [0.5, 0.8]],
    [[0.92, 0.8], [0.83, 0.92]],
    [[0.92, 1.15], [0.736, 0.92]],
)
CASES = [(W, N) for W in (FULL, CROSSED, RANK_ONE) for N in (2, 3, 5, 20)] + [(FULL, math.inf)]


@pytest.mark.parametrize(("W", "N"), CASES)
def test_one_free_entry_is_deterministic(W, N):
    W = np.array(W)
    observed = np.array([[True, True], [False, True]])
    ball = dl.ball_volume(W, N, 0.2, constraint=observed)
    expected = math.log(chord_2x2(W[0, 0], W[1, 1], W[0, 1], W[1, 0] - 0.2, W[1, 0] + 0.2, N))
    assert ball.standard_error == 0
    assert ball.log_volume == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("W", "N"), CASES)
def test_two_free_entries_agree_with_cubature(W, N):
    # 4 standard errors, 13 cases: passes wrongly refused with probability 1e−3; the error itself is below 2 %
    ball = dl.ball_volume(np.array(W), N, 0.2, constraint=OFF_DIAGONAL, samples=8000, key=jax.random.key(3))
    assert ball.reliable, ball.status
    assert ball.standard_error < 0.02
    assert abs(ball.log_volume - disc_2x2(W, 0.2, N)) < 4 * ball.standard_error + 1e-4


def radial_oracle(n, N):
    """log volume of the unit ball of all 2×n matrices around 0, from the density in singular values [CMV, Theorem 1.1]:

    f dW = c f ∏ σ_i^{n−2} (σ_1² − σ_2²) dσ_1 dσ_2, homogeneous of degree 2n/N; the constant c from the Euclidean ball.
    """

    def integrand(phi, N):
        a, b = math.cos(phi), math.sin(phi)
        edges = (a * b) ** (-(1 - 1 / N) * (n - 2)) * N ** (n - 2)
        f = (a * b) ** (-(1 - 1 / N)) / pair(a, b, N) * edges
        return f * (a * b) ** (n - 2) * (a**2 - b**2)

    def total(N):  # φ = φ_0 u^N takes the singular end out
        top = math.pi / 4
        g = lambda u: integrand(top * u**N, N) * top * N * u ** (N - 1)  # noqa: E731
        return quad(g, 1e-9, 1, limit=400, epsabs=0, epsrel=1e-9)[0] / (2 * n / N)

    return chords.log_ball(2 * n, 1.0) + math.log(total(N) / total(1))


@pytest.mark.parametrize(("n", "N"), [(2, 2), (2, 3), (2, 5), (3, 2), (3, 3)])
def test_around_the_zero_matrix_against_the_closed_density(n, N):
    # corank 2 at the centre; 4 standard errors, 5 cases
    ball = dl.ball_volume(np.zeros((2, n)), N, 1.0, samples=20_000, key=jax.random.key(5))
    assert ball.standard_error < 0.05
    assert abs(ball.log_volume - radial_oracle(n, N)) < 4 * ball.standard_error + 1e-4
