"""Conjugate points, against Jacobi's equation on a surface of revolution (N = ∞), geodesics among
the factors (N = 2), and closed forms.
"""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate
import scipy.linalg
from cases import orthogonal, slow

import deeplinear as dl
from deeplinear.geometry.conjugate import _candidates, _fields

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def rotation(angle):
    return np.cos(angle) * np.eye(2) + np.sin(angle) * TURN


def on_the_surface(u, slope, turning, t1=40.0):
    """The first zero of the normal Jacobi field at N = ∞ among positive definite 2×2 matrices.

    W = e^m R diag(e^u, e^{−u}) Rᵀ with R turned by p/2: the metric is 2 (dm² + du² + u tanh u dp²),
    a surface of revolution beside a line, and totally geodesic (the fixed points of W ↦ Wᵀ).
    """

    def squared(u):  # f², and its first two derivatives
        sech = 1 / np.cosh(u) ** 2
        first, second = np.tanh(u) + u * sech, 2 * sech * (1 - u * np.tanh(u))
        return u * np.tanh(u), first, second

    momentum = squared(u)[0] * turning
    speed = slope**2 + momentum**2 / squared(u)[0]

    def rates(t, y):
        F, first, second = squared(y[0])
        K = -(second / (2 * F) - (first / (2 * F)) ** 2)  # −f″/f
        return [y[1], 0.5 * first * (momentum / F) ** 2, y[3], -speed * K * y[2]]

    def vanishes(t, y):
        return y[2] if t > 1e-3 else 1.0

    vanishes.terminal = True
    start = [u, slope, 0.0, 1.0]
    found = scipy.integrate.solve_ivp(
        rates, (0, t1), start, "DOP853", rtol=1e-11, atol=1e-12, events=vanishes
    )
    return found.t_events[0][0]


@pytest.mark.parametrize(
    ("u", "slope", "turning"), [slow(1.5, -1.0, 0.2), slow(1.0, -1.0, 0.4), slow(2.0, -1.0, 0.05)]
)
def test_positive_definite_matrices_at_infinite_depth(u, slope, turning):
    R, s = rotation(0.4), np.exp([0.3 + u, 0.3 - u])
    W = R @ np.diag(s) @ R.T
    Z = R @ np.diag(slope * np.array([1, -1]) * s) @ R.T + turning / 2 * (TURN @ W - W @ TURN)
    found = dl.geodesic.conjugate_time(W, Z, math.inf, 20.0)
    assert found.status == dl.Status.converged
    assert found.multiplicity == 1
    assert found.t == pytest.approx(on_the_surface(u, slope, turning), rel=1e-8)
    at = dl.geodesic.exp(W, Z, math.inf, found.t).W
    np.testing.assert_allclose(found.W, at, rtol=1e-6)


def along_factors(W, Z, times):
    """The geodesic of depth 2 among balanced factors B A = W, in the space that they lie in,

        Ä = MA, B̈ = −BM,  M symmetric with SM + MS = ḂᵀḂ − ȦȦᵀ,  S = AAᵀ = BᵀB,

    from a start across the fibres: Ȧ = BᵀP, Ḃ = PAᵀ, BBᵀP + PAᵀA = Z. No operator, no Hamiltonian.
    """
    d = len(W)
    U, s, Vt = np.linalg.svd(W)
    A, B = np.sqrt(s)[:, None] * Vt, U * np.sqrt(s)
    P = scipy.linalg.solve_sylvester(B @ B.T, A.T @ A, Z)

    def rates(t, y):
        A, B, dA, dB = y.reshape(4, d, d)
        S = (A @ A.T + B.T @ B) / 2
        M = scipy.linalg.solve_sylvester(S, S, dB.T @ dB - dA @ dA.T)
        return np.stack([dA, dB, M @ A, -B @ M]).ravel()

    start = np.stack([A, B, B.T @ P, P @ A.T]).ravel()
    span = (0, times[-1])
    found = scipy.integrate.solve_ivp(
        rates, span, start, "DOP853", rtol=1e-12, atol=1e-13, t_eval=times
    )
    return np.stack([y.reshape(4, d, d)[1] @ y.reshape(4, d, d)[0] for y in found.y.T])


def jacobi_fields(W, Z, times, h=1e-4):
    """d exp_W(tZ)/dZ by central differences of geodesics among the factors."""
    d = len(W)
    columns = []
    for E in np.eye(d * d).reshape(-1, d, d):
        ahead, behind = (along_factors(W, Z + e * E, times) for e in (h, -h))
        columns.append((ahead - behind).reshape(len(times), -1) / (2 * h))
    return np.stack(columns, -1)


def test_jacobi_fields_at_depth_two_are_those_of_the_factors(rng):
    """Generic, 3×3: what `conjugate_time` looks at, and where the geodesic ends."""
    W = np.eye(3) + 0.3 * rng.normal(size=(3, 3))
    Z = rng.normal(size=(3, 3)) / 3
    times = np.array([0.3, 0.9])
    ends, J = _fields(
        *map(jnp.asarray, (W, Z)), jnp.asarray(2.0), jnp.asarray(times), jnp.asarray(1e-11), 4096
    )
    np.testing.assert_allclose(ends, along_factors(W, Z, times), atol=1e-9)
    np.testing.assert_allclose(J.reshape(2, 9, 9), jacobi_fields(W, Z, times), atol=1e-6)


@pytest.mark.slow
def test_planar_matrices_at_depth_two_have_none(rng):
    """A cone over (a half of a sphere) × (a circle): no conjugate points before the rim, rank 1."""
    W, Z = rotation(0.3) @ np.diag([1.2, 0.7]), TURN - 0.4 * np.eye(2)
    found = dl.geodesic.conjugate_time(W, Z + 0.05 * rng.normal(size=(2, 2)), 2, 2.0, samples=8)
    assert found.status != dl.Status.converged
    assert found.searched > 1.0


@pytest.mark.parametrize("N", [slow(2), slow(3.5), slow(math.inf)])
def test_all_planes_that_turn_alike(rng, N):
    """W = cQ, 4×4, two planes turning at one rate: every complex structure of its handedness leads
    to −rQ at the same time, a sphere of them, where x = 1 + t (slope + i)/N has the angle π/N.
    """
    Q, slope, c = orthogonal(rng, 4), -0.4, 1.3
    Z = Q @ (slope * np.eye(4) + np.kron(np.eye(2), TURN)) * c
    found = dl.geodesic.conjugate_time(c * Q, Z, N, 10.0, samples=16)
    tan = math.tan(math.pi / N) if N != 2 else math.inf
    expected = math.pi if math.isinf(N) else -N / slope if N == 2 else N * tan / (1 - slope * tan)
    assert found.status == dl.Status.converged
    assert found.t == pytest.approx(expected, rel=1e-8)
    assert found.multiplicity == 2
    assert np.linalg.norm(found.W / found.W[0, 0] - Q / Q[0, 0]) < 1e-6


@pytest.mark.slow
def test_rotations_at_infinite_depth(rng):
    """W orthogonal: the rotation group, conjugate where angles differ by 2π."""
    for d, plane, expected in ((3, [1.7], 2 * np.pi / 1.7), (4, [1.7, 0.5], 2 * np.pi / 2.2)):
        Q, frame, K = orthogonal(rng, d), orthogonal(rng, d), np.zeros((d, d))
        for k, rate in enumerate(plane):
            K[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = rate * TURN
        found = dl.geodesic.conjugate_time(Q, Q @ frame @ K @ frame.T, math.inf, 6.0, samples=16)
        assert found.t == pytest.approx(expected, rel=1e-8)
        assert found.multiplicity == 2


@pytest.mark.slow
def test_generic_conjugate_points_at_depth_two(rng):
    """4×4, no symmetry left, against det J of geodesics among the factors."""
    W = np.eye(4) + 0.03 * rng.normal(size=(4, 4))
    Z = np.kron(np.eye(2), TURN) - 0.4 * np.eye(4) + 0.03 * rng.normal(size=(4, 4))
    found = dl.geodesic.conjugate_time(W, Z, 2, 8.0, samples=32)
    assert (found.status, found.multiplicity) == (dl.Status.converged, 1)
    times = found.t + np.array([-0.02, -0.005, 0.005, 0.02])
    det = np.linalg.slogdet(jacobi_fields(W, Z, times))
    value = det[0] * np.exp(det[1] - det[1].max())
    assert value[1] * value[2] < 0
    zero = scipy.interpolate.CubicSpline(times, value).roots(extrapolate=False)
    assert zero == pytest.approx([found.t], abs=1e-4)


@pytest.mark.slow
def test_flat_space_has_none(rng):
    found = dl.geodesic.conjugate_time(rng.normal(size=(2, 2)), rng.normal(size=(2, 2)), 1, 30.0)
    assert (found.status, found.t) == (dl.Status.reached_t1, math.inf)


def test_none_before_rank_loss():
    """At N = 2 along common singular vectors √σ moves evenly: 1 − 1.25 t reaches 0 at t = 0.8."""
    found = dl.geodesic.conjugate_time(np.eye(2), -np.diag([2.5, 0.1]), 2, 5.0, samples=500)
    assert found.status == dl.Status.left_full_rank
    assert math.isinf(found.t)
    assert 0.78 < found.searched < 0.8


def test_changes_of_sign_and_minima_are_looked_at_in_order():
    times = np.arange(8.0)
    signs = np.array([1, 1, 1, 1, 1, -1, -1, -1])
    least = np.array([0.9, 0.5, 0.1, 0.5, 0.3, 0.2, 0.5, 0.6])
    assert _candidates(times, signs, least) == [(1.0, 3.0), (4.0, 5.0)]


def test_sentences(rng):
    W = rng.normal(size=(2, 2))
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        dl.geodesic.conjugate_time(np.diag([1.0, 0.0]), W, 2)
    with pytest.raises(dl.InputError, match="one shape"):
        dl.geodesic.conjugate_time(W, np.ones((2, 3)), 2)
    with pytest.raises(dl.InputError, match="t1 > 0"):
        dl.geodesic.conjugate_time(W, W, 2, -1.0)
