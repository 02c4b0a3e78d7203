"""Cut points, against shortest discretized paths and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from cases import orthogonal, slow

import deeplinear as dl
from deeplinear.geometry import geodesic
from deeplinear.geometry.cut import least_length

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def rotation(angle):
    return np.cos(angle) * np.eye(2) + np.sin(angle) * TURN


def coordinates(W):
    """(m, u cos p, u sin p, q) of W = e^m R(α) diag(e^u, e^{−u}) R(−β), p = α + β, q = α − β."""
    z = complex(W[0, 0] + W[1, 1], W[1, 0] - W[0, 1])
    w = complex(W[0, 0] - W[1, 1], W[1, 0] + W[0, 1])
    s = np.linalg.svd(W, compute_uv=False)
    u = 0.5 * math.log(s[0] / s[1]) * np.exp(1j * np.angle(w))
    return np.array([0.5 * math.log(s[0] * s[1]), u.real, u.imag, np.angle(z)])


def brute_force(A, B, N, pieces=40, bends=3):
    """The length of the shortest discretized path of 2×2 matrices, from every way to wind about 0,
    bent at random. The metric is written out in these coordinates, h = N e^{m/N} in the place of m.
    """
    nu, rng = 1 / N, np.random.default_rng(0)
    start, end = coordinates(A), coordinates(B)
    if nu:
        start[0], end[0] = N * np.exp(nu * np.array([start[0], end[0]]))

    @jax.jit
    @jax.value_and_grad
    def energy(inner, last):
        path = jnp.concatenate([start[None], inner.reshape(-1, 4), last[None]])
        step, middle = jnp.diff(path, axis=0), (path[1:] + path[:-1]) / 2
        size = nu * middle[:, 0] if nu else 1.0
        uu = jnp.sum(middle[:, 1:3] ** 2, 1) + 1e-12
        u = jnp.sqrt(uu)
        du = jnp.sum(middle[:, 1:3] * step[:, 1:3], 1) / u
        dp2 = (jnp.sum(step[:, 1:3] ** 2, 1) - du**2) / uu
        turn = 2 * (jnp.sinh(u) ** 2 * dp2 + jnp.cosh(u) ** 2 * step[:, 3] ** 2)
        turn = turn * (jnp.sinh(2 * nu * u) / nu if nu else 2 * u) / jnp.sinh(2 * u)
        own = jnp.exp(2 * nu * u) * (step[:, 0] + size * du) ** 2
        own = own + jnp.exp(-2 * nu * u) * (step[:, 0] - size * du) ** 2
        return pieces * jnp.sum(own + size**2 * turn)

    lengths = []
    for winding in (-1, 0, 1):
        last = end + np.array([0, 0, 0, 2 * np.pi * winding])
        line = np.linspace(start, last, pieces + 1)[1:-1]
        arch = np.sin(np.linspace(0, np.pi, pieces + 1))[1:-1, None]
        for k in range(bends):
            bent = line + (k > 0) * arch * rng.normal(size=4)
            found = scipy.optimize.minimize(
                lambda x: tuple(np.asarray(v, float) for v in energy(x, last)),  # noqa: B023
                bent.ravel(),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-9},
            )
            lengths.append(math.sqrt(found.fun))
    return min(lengths)


def drawn(rng):
    s = np.exp(rng.normal(0, 0.5, 2))
    return rotation(rng.uniform(0, 2 * np.pi)) @ np.diag(s) @ rotation(rng.uniform(0, 2 * np.pi))


@pytest.mark.parametrize("N", [slow(2), 3.5, slow(math.inf)])
def test_least_lengths_are_no_longer_than_the_shortest_path(rng, N):
    """At N = 2 they are its length, which shooting finds too."""
    for _ in range(3):
        A, B = drawn(rng), drawn(rng)
        found, least = brute_force(A, B, N), least_length(A, B, N)
        assert least < found * (1 + 1e-5)
        if N == 2:
            assert found == pytest.approx(least, rel=2e-4)
        shot = float(geodesic.log(A, B, N).distance)
        assert shot == pytest.approx(found, rel=2e-4)


def test_the_distance_of_planar_matrices_is_that_of_shooting(rng):
    for k in range(12):
        A, B = drawn(rng), drawn(rng)
        if k % 2:
            A, B = A[::-1], B[::-1]
        found = geodesic.log(A, B, 2)
        assert bool(found.converged)
        assert geodesic.planar_distance(A, B) == pytest.approx(float(found.distance), rel=1e-10)
    S = A @ A.T, B @ B.T
    assert geodesic.planar_distance(*S) == pytest.approx(
        float(geodesic.spd_distance(*S)), rel=1e-12
    )


@pytest.mark.parametrize("N", [2, 3, slow(3.5), slow(10), math.inf])
def test_half_turns_are_found(rng, N):
    """In closed form: √2 |N (a^{1/N} − b^{1/N} e^{iπ/N})| in the plane that turns."""
    nu = 1 / N
    a, b, c, d = 0.5, 1.3, 2.0, 1.1
    z = math.log(a / b) - 1j * np.pi if nu == 0 else N * (a**nu - b**nu * np.exp(1j * np.pi * nu))
    rest = math.log(c / d) if nu == 0 else N * (c**nu - d**nu)
    U, V = orthogonal(rng, 3), orthogonal(rng, 3)
    A, B = U @ np.diag([a, a, c]) @ V, U @ np.diag([-b, -b, d]) @ V
    for X, Y, expected in (
        (a * np.eye(2), -b * np.eye(2), math.sqrt(2) * abs(z)),
        (A, B, math.hypot(math.sqrt(2) * abs(z), rest)),
    ):
        found = geodesic.log(X, Y, N)
        assert bool(found.converged)
        assert float(found.distance) == pytest.approx(expected, rel=1e-10)
        np.testing.assert_allclose(geodesic.exp(X, found.Z, N).W, Y, atol=1e-8)


@pytest.mark.parametrize("N", [2, slow(3), math.inf])
def test_half_turns_between_generic_matrices_are_found(rng, N):
    """No singular vectors in common."""
    for _ in range(4):
        A, B = drawn(rng), drawn(rng)
        q = coordinates(B)[3] - coordinates(A)[3]
        B = rotation(np.pi - q) @ B
        found = geodesic.log(A, B, N)
        assert bool(found.converged)
        if N == 2:
            expected = geodesic.planar_distance(A, B)
            assert float(found.distance) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("N", [2, slow(2.5), 3, slow(10), math.inf])
def test_a_half_turn_is_the_cut(rng, N):
    """z = x^N, x straight: its angle is π/N at the cut, from where the other way is shorter."""
    frame, slope, turn = orthogonal(rng, 2), -0.3, 0.9
    W, Z = frame.copy(), frame @ (slope * np.eye(2) + turn * TURN)
    if math.isinf(N):
        expected = np.pi / turn
    else:  # x = 1 + t (slope + i turn)/N
        expected = N * math.tan(np.pi / N) / (turn - slope * math.tan(np.pi / N))
        expected = -N / slope if N == 2 else expected
    found = geodesic.cut_time(W, Z, N, 8.0)
    assert found.status == dl.Status.converged
    assert found.t == pytest.approx(expected, rel=1e-7)
    assert found.shortest_to <= expected * (1 + 1e-8) <= found.shorter_from * (1 + 2e-8)
    np.testing.assert_allclose(found.other, frame @ (slope * np.eye(2) - turn * TURN), atol=1e-4)
    np.testing.assert_allclose(geodesic.exp(W, found.other, N, found.t).W, found.W, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("N", [2, math.inf])
def test_half_turns_beside_a_third_direction_are_cuts(rng, N):
    """3×3: at N = 2 singular values may pass each other; at N = ∞ that ends the proof."""
    A, B = orthogonal(rng, 3), orthogonal(rng, 3)
    W, D = A @ np.diag([2.0, 2.0, 1.0]) @ B, np.zeros((3, 3))
    D[:2, :2] = -0.3 * np.eye(2) + TURN  # relative rate (−0.3 + i)/2
    D[2, 2] = 0.1 if N == 2 else -0.5
    found = geodesic.cut_time(W, A @ D @ B, N, 16.0)
    assert found.status == dl.Status.converged
    assert found.t == pytest.approx(2 * np.pi if math.isinf(N) else 4 / 0.3, rel=1e-7)
    D[2, 2] = 0.1
    if math.isinf(N):  # log σ: log 2 − 0.15 t and 0.1 t meet at t = 2.77, before the half turn
        found = geodesic.cut_time(W, A @ D @ B, N, 16.0)
        assert found.status == dl.Status.between_bounds
        assert found.shortest_to == pytest.approx(math.log(2) / 0.25, rel=1e-6)
        assert found.shorter_from == pytest.approx(2 * np.pi, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("N", [3, math.inf])
def test_cuts_against_the_shortest_discretized_paths(rng, N):
    frame, Z = rotation(0.4), rotation(0.4) @ (-0.2 * np.eye(2) + TURN)
    cut = geodesic.cut_time(frame, Z, N, 8.0).t
    speed = float(dl.norm(frame, Z, N))
    for share, is_shortest in ((0.8, True), (0.97, True), (1.03, False), (1.2, False)):
        end = np.asarray(geodesic.exp(frame, Z, N, share * cut).W)
        shortest = brute_force(frame, end, N)
        if is_shortest:
            assert shortest == pytest.approx(speed * share * cut, rel=2e-4)
        else:
            assert shortest < 0.99 * speed * share * cut


def test_generic_planar_cuts_at_depth_two(rng):
    """Where the polar factor has turned by π, whatever the singular values do."""
    for _ in range(2):
        W = rotation(rng.uniform(0, 6)) @ np.diag([1.0, rng.uniform(0.6, 0.9)]) @ rotation(0.3)
        Z = rng.choice([-1, 1]) * TURN @ W - 0.5 * W + 0.05 * rng.normal(size=(2, 2))
        found = geodesic.cut_time(W, Z, 2, 10.0)
        assert found.status == dl.Status.converged
        q = coordinates(found.W)[3] - coordinates(W)[3]
        assert np.cos(q) == pytest.approx(-1, abs=1e-12)
        end = geodesic.exp(W, found.other, 2, found.t)
        np.testing.assert_allclose(end.W, found.W, atol=1e-4)
        assert float(dl.norm(W, found.other, 2)) == pytest.approx(float(dl.norm(W, Z, 2)), rel=1e-5)
        assert np.linalg.norm(found.other - Z) > 0.5


@pytest.mark.parametrize(("N", "shape"), [slow(1.5, (3, 1)), slow(3, (4, 1)), (2, (1, 2))])
def test_single_rows_and_columns_are_cut_at_their_antipodes(rng, N, shape):
    w = rng.normal(size=shape)
    w, z = w / np.linalg.norm(w), rng.normal(size=shape)
    z = z - np.vdot(z, w) * w
    z /= np.linalg.norm(z)
    # unfolded: N r^{1/N} from the tip, angles over √N; the antipode's ray is at ``wide``
    wide = np.pi / math.sqrt(N)
    inward, across = (2 * f((wide + np.pi) / 2) for f in (math.cos, math.sin))
    t = N * math.tan(wide) / (across - inward * math.tan(wide))
    Z = inward * w + across / math.sqrt(N) * z
    found = geodesic.cut_time(w, Z, N, 2 * t)
    assert found.t == pytest.approx(t, rel=1e-6)
    assert np.vdot(found.W, w) == pytest.approx(-np.linalg.norm(found.W), rel=1e-6)


@pytest.mark.slow
def test_what_is_shortest_all_along(rng):
    U, V = orthogonal(rng, 3), orthogonal(rng, 3)
    S, H = (X + X.T for X in rng.normal(size=(2, 3, 3)))
    S = S @ S + np.eye(3)
    W, Z = rng.normal(size=(2, 3, 2))
    ordered = U @ np.diag([3.0, 2.0, 1.0]) @ V, U @ np.diag([0.5, 0.2, -0.1]) @ V
    for A, B, N, until in (
        (W, Z, 1, 9.0),
        (S @ U, 0.3 * H @ U, 2, 1.0),
        (*ordered, 3.5, 2.0),
        (*ordered, math.inf, 9.0),
    ):
        found = geodesic.cut_time(A, B, N, until)
        assert (found.status, found.t, found.shortest_to) == (dl.Status.reached_t1, math.inf, until)
    ended = geodesic.cut_time(np.eye(2), -np.diag([2.5, 0.1]), 2, 5.0, samples=100)
    assert ended.status == dl.Status.left_full_rank
    assert 0.7 < ended.searched < 0.8


@pytest.mark.slow
def test_where_it_is_known_between_bounds_only(rng):
    """Generic, at N = ∞: the distance is the length up to one bound, and less at the other."""
    W, Z = np.diag([1.5, 1.0]), np.array([[0.1, -1.0], [1.2, 0.0]])
    found = geodesic.cut_time(W, Z, math.inf, 6.0, samples=16)
    assert found.status == dl.Status.between_bounds
    assert math.isnan(found.t)
    assert "not from t =" in repr(found)
    end = geodesic.exp(W, Z, math.inf, 1.05 * found.shorter_from).W
    length = 1.05 * found.shorter_from * float(dl.norm(W, Z, math.inf))
    assert brute_force(W, np.asarray(end), math.inf) < 0.999 * length
    leaf = geodesic.cut_time(W, Z, 2, 0.2, imbalance=0.5, samples=4)
    assert (leaf.status, leaf.shortest_to) == (dl.Status.between_bounds, 0.0)


def test_sentences(rng):
    W = rng.normal(size=(2, 2))
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        geodesic.cut_time(np.diag([1.0, 0.0]), W, 2)
    with pytest.raises(dl.InputError, match="one shape"):
        geodesic.cut_time(W, np.ones((2, 3)), 2)
    with pytest.raises(dl.InputError, match="t1 > 0"):
        geodesic.cut_time(W, W, 2, math.inf)
    with pytest.raises(dl.InputError, match="must be 2×2"):
        geodesic.planar_distance(np.eye(3), np.eye(3))
    with pytest.raises(dl.InputError, match="of one sign"):
        geodesic.planar_distance(np.eye(2), np.diag([1.0, -1.0]))
    with pytest.raises(dl.InputError, match="full rank"):
        geodesic.planar_distance(np.eye(2), np.ones((2, 2)))
