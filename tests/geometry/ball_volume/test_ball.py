"""Volumes of balls against cubature and closed forms that share nothing with the library;
significance stated in each test.
"""

import math
from itertools import pairwise

import jax
import numpy as np
import oracles
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

import deeplinear as dl
from deeplinear.geometry.ball_volume import chords

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
    """Gauss–Legendre on (a, b), which is all smooth in u with distance to an end = L u^N, if that
    end is singular.
    """
    u, w = 0.5 * (GAUSS[0] + 1), 0.5 * GAUSS[1]
    log_distance = math.log(b - a) + (N if singular_a is not None else 1) * np.log(u)
    weights = (b - a) * (N * u ** (N - 1) if singular_a is not None else 1) * w
    distance = np.exp(log_distance)
    return (b - distance if singular_a is False else a + distance), weights, log_distance


def pieces(a, b, roots, N):
    """Nodes, weights and (log distance to which root, or None) of the pieces of (a, b) next to its
    roots.
    """
    roots = sorted(r for r in roots if a < r < b)
    if not roots:
        cuts = np.linspace(a, b, 5)
        return [(*graded(x, y, None, N)[:2], None, None) for x, y in pairwise(cuts)]
    out, ends = [], [a, *[0.5 * (x + y) for x, y in pairwise(roots)], b]
    for r, low, high in zip(roots, ends[:-1], ends[1:], strict=True):
        out += [(*graded(low, r, False, N), r), (*graded(r, high, True, N), r)]
    return out


def chord_2x2(w11, w22, x, low, high, N):
    """∫ √det g^N dw21 over (low, high) at w12 = x, with the root of det = w11 w22 − x w21 resolved
    by substitution.
    """
    power, total = (N if math.isfinite(N) else 1), 0.0
    for y, weight, log_distance, root in pieces(low, high, [w11 * w22 / x], power):
        log_det = np.log(abs(w11 * w22 - x * y)) if root is None else np.log(abs(x)) + log_distance
        total += float(np.sum(weight * density_2x2(w11, x, y, w22, log_det, N)))
    return total


def disc_2x2(W, R, N):
    """The volume over the disc of the two off-diagonal entries, by tensor cubature graded at every
    singular abscissa.
    """
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
            total += (
                wi * half * chord_2x2(w11, w22, w12 + R * math.sin(ti), w21 - half, w21 + half, N)
            )
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
    ball = dl.ball_volume(W, N, 0.3, constraint=observed)
    expected = math.log(chord_2x2(W[0, 0], W[1, 1], W[0, 1], W[1, 0] - 0.3, W[1, 0] + 0.3, N))
    assert ball.standard_error == 0
    assert ball.log_volume == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("W", "N"), CASES)
def test_two_free_entries_agree_with_cubature(W, N):
    # 4 standard errors, 13 cases: passes wrongly refused with probability 1e−3; the error itself is
    # below 2 %
    ball = dl.ball_volume(
        np.array(W), N, 0.2, constraint=OFF_DIAGONAL, samples=8000, key=jax.random.key(3)
    )
    assert ball.reliable, ball.status
    assert ball.standard_error < 0.02
    assert abs(ball.log_volume - disc_2x2(W, 0.2, N)) < 4 * ball.standard_error + 1e-4


def radial_oracle(n, N):
    """log volume of the unit ball of all 2×n matrices around 0, from the density in singular values
    [CMV, Theorem 1.1]:

    f dW = c f ∏ σ_i^{n−2} (σ_1² − σ_2²) dσ_1 dσ_2, homogeneous of degree 2n/N; the constant c from
    the Euclidean ball.
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


def test_where_det_is_a_product_of_two_coordinates():
    # W = diag(1, 0), off-diagonal entries free: det = −xy. No free direction raises the rank to
    # first order, but the volume is finite. 4 standard errors, 2 cases.
    W = np.diag([1.0, 0.0])
    for N in (2, 3):
        ball = dl.ball_volume(W, N, 0.2, constraint=OFF_DIAGONAL, samples=8000)
        assert ball.standard_error < 0.05
        assert abs(ball.log_volume - disc_2x2(W, 0.2, N)) < 4 * ball.standard_error + 1e-4


def test_two_directions_of_four_around_the_zero_matrix():
    # q = 2 > 4 (1 − 1/N) only for N < 2; on diag(a, b) the density is (ab)^{−(1−1/N)} / λ_N(a, b).
    # 4 standard errors.
    N = 1.5
    diagonal = ~np.eye(2, dtype=bool)

    def f(phi):
        a, b = math.cos(phi), math.sin(phi)
        return (a * b) ** (-(1 - 1 / N)) / pair(a, b, N)

    angle = quad(
        lambda u: f(np.pi / 4 * u**3 * (1 - 1e-9)) * 3 * u**2 * np.pi / 4,
        0,
        1,
        epsabs=0,
        epsrel=1e-8,
    )[0]
    expected = math.log(8 * angle / (2 - 4 * (1 - 1 / N)))
    ball = dl.ball_volume(np.zeros((2, 2)), N, 1.0, constraint=diagonal, samples=10_000)
    assert ball.standard_error < 0.05
    assert abs(ball.log_volume - expected) < 4 * ball.standard_error + 1e-3
    with pytest.raises(dl.InputError, match=r"depth must be below 2 here"):
        dl.ball_volume(np.zeros((2, 2)), 2, 1.0, constraint=diagonal)


@pytest.mark.parametrize("N", [1, 1.0])
def test_depth_one_is_the_euclidean_ball(N, rng):
    for shape, observed in (
        ((2, 2), None),
        ((2, 3), rng.random((2, 3)) < 0.5),
        ((3, 3), np.eye(3, dtype=bool)),
    ):
        W = rng.normal(size=shape)
        p = W.size - (0 if observed is None else observed.sum())
        expected = p / 2 * math.log(math.pi) - math.lgamma(p / 2 + 1) + p * math.log(0.7)
        ball = dl.ball_volume(W, N, 0.7, constraint=observed)
        assert ball.log_volume == pytest.approx(expected, abs=1e-12)
        assert ball.standard_error == 0
        assert ball.samples == 0


def test_orthogonal_invariance(rng):
    # a rotated sensing problem against the completion it comes from; 4 standard errors, 2 cases
    W = np.array(CROSSED)
    Q, R = (np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(2))
    units = np.eye(4).reshape(4, 2, 2)[[0, 3]]
    A = Q @ units @ R
    problem = dl.Sensing(A, np.array([W[0, 0], W[1, 1]]), weights=np.array([1.0, 2.0]))
    for measure in ("ambient", "induced"):
        kind = dict(samples=6000, measure=measure)
        one = dl.ball_volume(W, 3, 0.2, constraint=OFF_DIAGONAL, key=jax.random.key(1), **kind)
        two = dl.ball_volume(Q @ W @ R, 3, 0.2, constraint=problem, key=jax.random.key(2), **kind)
        assert 0 < one.standard_error < 0.02
        assert abs(one.log_volume - two.log_volume) < 4 * math.hypot(
            one.standard_error, two.standard_error
        )


@pytest.mark.parametrize("measure", ["ambient", "induced"])
def test_scaling(measure):
    # the same key draws the same chords, so that the law holds to the quadrature
    W, N, c = np.array(CROSSED), 3, 2.5
    kind = dict(constraint=OFF_DIAGONAL, samples=500, measure=measure)
    change = (
        dl.ball_volume(c * W, N, c * 0.2, **kind).log_volume
        - dl.ball_volume(W, N, 0.2, **kind).log_volume
    )
    power = 2 - 4 * (1 - 1 / N) if measure == "ambient" else 2 / N
    assert change == pytest.approx(power * math.log(c), abs=1e-6)


def test_standard_errors_are_honest():
    # 200 runs: at nominal 95 % fewer than 179 hits have probability 5e−4, and the scatter of z is
    # within 20 % of 1
    truth = disc_2x2(CROSSED, 0.2, 5)
    runs = [
        dl.ball_volume(
            np.array(CROSSED), 5, 0.2, constraint=OFF_DIAGONAL, samples=400, key=jax.random.key(i)
        )
        for i in range(200)
    ]
    z = np.array([(run.log_volume - truth) / run.standard_error for run in runs])
    assert np.count_nonzero(np.abs(z) < 1.96) >= 179
    assert 0.8 < z.std() < 1.2


def test_trace_ends_at_the_result():
    ball = dl.ball_volume(np.array(FULL), 3, 0.2, constraint=OFF_DIAGONAL, samples=1000)
    samples, log_volume, error = ball.trace
    assert samples[0] == 10
    assert samples[-1] == ball.samples == 1000
    assert (np.diff(samples) > 0).all()
    assert (log_volume[-1], error[-1]) == (ball.log_volume, ball.standard_error)
    assert error[20] > 2 * error[-1] > 0
    again = dl.ball_volume(np.array(FULL), 3, 0.2, constraint=OFF_DIAGONAL, samples=1000)
    assert again.log_volume == ball.log_volume


# The induced measure


def test_induced_is_ambient_without_constraint(rng):
    W = rng.normal(size=(2, 2))
    one, two = (
        dl.ball_volume(W, 3, 0.3, samples=400, measure=m).log_volume for m in ("ambient", "induced")
    )
    assert one == pytest.approx(two, abs=1e-8)


def test_induced_length_through_a_singular_point():
    # one free direction: the length ∫ √g(Z, Z) ds, with the metric from a dense SVD, next to the
    # root of det in u³
    W, Z, N, R = np.array(CROSSED), np.array([[0.0, 0.0], [1.0, 0.0]]), 3, 0.3
    root, total = W[0, 0] * W[1, 1] / W[0, 1] - W[1, 0], 0.0
    assert abs(root) < R
    for y, weight, _, _ in pieces(-R, R, [root], N):
        for yi, wi in zip(y, weight, strict=True):
            U, s, Vt = np.linalg.svd(W + yi * Z)
            lam = np.array([[oracles.kernel(a, b, N) for b in s] for a in s], float)
            total += wi * math.sqrt(np.sum((U.T @ Z @ Vt.T) ** 2 / lam))
    ball = dl.ball_volume(
        W, N, R, constraint=np.array([[True, True], [False, True]]), measure="induced"
    )
    assert ball.log_volume == pytest.approx(math.log(total), abs=1e-6)


# What cannot be answered


def test_infinite_depth_needs_a_ball_inside_full_rank():
    W = np.diag([1.0, 0.3])
    assert dl.ball_volume(W, math.inf, 0.2, samples=500).reliable
    for bad, radius, message in (
        (W, 0.301, "smaller radius"),  # a cap of relative height 1/300, which chords do not find
        (W, 0.5, "smaller radius"),
        (np.diag([1.0, 0.0]), 0.1, "full rank"),
        (np.ones((2, 3)) + np.eye(2, 3), 0.1, "square"),
    ):
        with pytest.raises(dl.SingularOperatorError, match=message):
            dl.ball_volume(bad, math.inf, radius)


def test_a_heavy_tail_is_reported():
    # corank 2 far from the centre: the chord integrals have no variance at depth 10, and samples of
    # the null block would seldom hit the ball
    ball = dl.ball_volume(np.diag([0.95, 0.9, 0.8]), 10, 1.0, samples=4000)
    assert not ball.reliable
    assert ball.tail > 0.6
    assert "tail" in ball.status.sentence


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(radius=0.0), "radius must be"),
        (dict(radius=math.inf), "radius must be"),
        (dict(samples=1), "samples must be"),
        (dict(measure="other"), "measure must be"),
        (dict(depth=0.5), "depth must be"),
        (dict(constraint=np.ones((2, 3), bool)), "constraint must have the shape"),
        (dict(constraint=np.ones((2, 2))), "boolean mask"),
        (dict(constraint=np.ones((2, 2), bool)), "leave something free"),
        (dict(constraint=dl.Completion([0], [0], [2.0], (2, 2))), "fit the observations"),
        (dict(constraint=dl.Completion([0], [0], [2.0], (3, 2))), "constraint must have the shape"),
        (dict(constraint=dl.Sensing(np.ones((1, 2, 2)), np.array([9.0]))), "fit the observations"),
        (dict(constraint=dl.Sensing(np.ones((1, 2, 3)), np.array([9.0]))), "the shape"),
        (
            dict(W=np.zeros((2, 2)), constraint=np.array([[0, 0], [1, 1]], bool)),
            "every point of this one is singular",
        ),
    ],
)
def test_bad_input(changes, message):
    arguments = dict(W=np.array(FULL), depth=3, radius=0.2) | changes
    with pytest.raises(dl.InputError, match=message):
        dl.ball_volume(**arguments)


@pytest.mark.slow
def test_the_favoured_minimizer_of_the_3x3_completion_has_the_larger_neighbourhood():
    """[CMV, Figure 8] in kind: entries w12, w31, w23 free, random data, depth 10. Training from
    small random starts prefers one rank-2 completion; its ball of radius 0.1 is larger than those
    of 40 random rank-2 completions, by far than most.
    """
    rng = np.random.default_rng(1)
    data, observed, free = rng.normal(size=(3, 3)), np.ones((3, 3), bool), ([0, 2, 1], [1, 0, 2])
    observed[free] = False
    rows, cols = np.nonzero(observed)
    energy = dl.Completion(rows, cols, data[rows, cols], (3, 3))
    flow = jax.jit(
        jax.vmap(
            lambda W0: dl.gradient_flow(energy, W0, 10, t1=1e5, stop_energy=1e-10, chart="svd").W
        )
    )
    ends = np.asarray(flow(1e-3 * rng.normal(size=(40, 3, 3))))
    gaps = np.linalg.norm(ends[:, None] - ends[None], axis=(2, 3)) < 0.1
    favoured = ends[gaps.sum(1).argmax()]
    volume = lambda W: dl.ball_volume(W, 10, 0.1, constraint=energy, samples=3000)  # noqa: E731
    best, others = volume(favoured), []
    for _ in range(40):
        W = data.copy()
        W[0, 1], W[2, 0] = 1.5 * rng.normal(size=2)
        W[1, 2] = 0.0
        intercept = np.linalg.det(W)
        W[1, 2] = 1.0
        W[1, 2] = -intercept / (np.linalg.det(W) - intercept)  # det is linear in each entry
        others.append(volume(W))
    assert best.reliable
    assert sum(b.reliable for b in others) >= 38
    found = np.array([b.log_volume for b in others])
    assert best.log_volume > found.max() + 4 * best.standard_error
    assert best.log_volume > np.median(found) + 3
