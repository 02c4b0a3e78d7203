"""Closed forms of geodesics against 40 digits, and shooting against the closed forms, far away."""

import math

import mpmath as mp
import numpy as np
import pytest
from cases import CURVED_DEPTHS, DEPTHS, orthogonal

import deeplinear as dl
from deeplinear.geometry import geodesic


def rotation(d, rng):
    Q = orthogonal(rng, d)
    return Q * np.where(np.arange(d) == 0, np.sign(np.linalg.det(Q)), 1)


def spread(rng, d, condition):
    """d singular values, evenly in the logarithm, from 1 down to 1/condition, in any order."""
    s = condition ** -rng.random(d)
    s[0], s[-1] = 1, 1 / condition
    return rng.permutation(s)


def turned_pair(rng, d, angles, condition):
    """(Z_0, Z_1) block by block: multiples of the identity and of rotations, then numbers."""
    s, k = [spread(rng, d, condition) for _ in range(2)], 2 * len(angles)
    for x in s:
        x[1:k:2] = x[0:k:2]
    Z0, Z1 = (np.diag(x) for x in s)
    for j, angle in enumerate(angles):
        c, sine, here = math.cos(angle), math.sin(angle), slice(2 * j, 2 * j + 2)
        Z1[here, here] = s[1][2 * j] * np.array([[c, -sine], [sine, c]])
    return Z0, Z1


def exact_distance(Z0, Z1, pairs, N):
    """‖N (Z_1^{1/N} − Z_0^{1/N})‖_F in 40 digits, from the complex eigenvalues of the blocks."""

    def root(z):
        return mp.log(z) if math.isinf(N) else N * mp.power(z, 1 / mp.mpf(N))

    with mp.workdps(40):
        total = mp.mpf(0)
        for i in range(len(Z0)):
            turn = Z1[i + 1, i] if i < 2 * pairs and i % 2 == 0 else 0.0
            turn = -Z1[i, i - 1] if i < 2 * pairs and i % 2 == 1 else turn
            total += abs(root(mp.mpc(Z1[i, i], turn)) - root(mp.mpf(Z0[i, i]))) ** 2
        return float(mp.sqrt(total))


@pytest.mark.parametrize("N", DEPTHS)
@pytest.mark.parametrize(("condition", "rtol"), [(10, 1e-14), (1e3, 1e-13), (1e6, 3e-11)])
def test_common_frames_and_generic_turns(rng, N, condition, rtol):
    """Rounding moves a singular value σ by 1e−16 σ_1: relative error 1e−16 times the condition."""
    for d, angles in ((2, [3.0]), (3, [2.2]), (3, []), (4, [0.5, 2.9]), (5, [1.0, 2.0])):
        Z0, Z1 = turned_pair(rng, d, angles, condition)
        U, V = orthogonal(rng, d), orthogonal(rng, d)
        A, B = U @ Z0 @ V, U @ Z1 @ V
        expected = exact_distance(Z0, Z1, len(angles), N)
        assert geodesic.aligned_distance(A, B, N) == pytest.approx(expected, rel=rtol)
        ends = geodesic.aligned_path(A, B, N, [0.0, 1.0])
        np.testing.assert_allclose(ends, [A, B], atol=1e-11)


@pytest.mark.parametrize("N", [2, 3.5, math.inf])
def test_turned_paths_are_geodesics(rng, N):
    """Their velocity at the start leads to the end, and their length is that of the velocity."""
    Z0, Z1 = turned_pair(rng, 3, [1.3], 5.0)
    U, V = orthogonal(rng, 3), orthogonal(rng, 3)
    A, B = U @ Z0 @ V, U @ Z1 @ V
    before, after = geodesic.aligned_path(A, B, N, [-1e-5, 1e-5])
    velocity = (after - before) / 2e-5
    end = geodesic.exp(A, velocity, N, [0.5, 1.0])
    np.testing.assert_allclose(end.W[0], geodesic.aligned_path(A, B, N, 0.5), atol=1e-7)
    np.testing.assert_allclose(end.W[1], B, atol=1e-7)
    assert float(end.length[1]) == pytest.approx(geodesic.aligned_distance(A, B, N), rel=1e-7)


@pytest.mark.parametrize("condition", [10, 1e3, 1e6])
def test_bures_wasserstein_in_many_digits(rng, condition):
    d = 3

    def root(M):
        values, Q = mp.eigsy(M)
        return Q * mp.diag([mp.sqrt(x) for x in values]) * Q.T

    for _ in range(4):
        A, B = (
            (Q * spread(rng, d, condition)) @ Q.T for Q in (orthogonal(rng, d), orthogonal(rng, d))
        )
        A, B = (A + A.T) / 2, (B + B.T) / 2
        with mp.workdps(60):
            R = root(mp.matrix(A.tolist()))
            C = R * mp.matrix(B.tolist()) * R
            cross = root((C + C.T) / 2)
            trace = sum(mp.mpf(A[i, i]) + mp.mpf(B[i, i]) - 2 * cross[i, i] for i in range(d))
            expected = float(2 * mp.sqrt(trace))
        assert float(geodesic.spd_distance(A, B)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("N", CURVED_DEPTHS)
def test_shooting_finds_far_geodesics_with_common_frames(rng, N):
    """3×3 at condition number 1e6. The path that leads there is the geodesic: it is not reported as
    longer than itself.
    """
    for _ in range(2):
        U, V = rotation(3, rng), rotation(3, rng)
        A, B = ((U * spread(rng, 3, 1e6)) @ V for _ in range(2))
        found = geodesic.log(A, B, N)
        assert found.converged, dl.Status[found.status]
        assert float(found.distance) == pytest.approx(geodesic.aligned_distance(A, B, N), rel=1e-7)


@pytest.mark.slow
def test_shooting_finds_far_geodesics_of_positive_matrices(rng):
    for _ in range(4):
        R, frames = rotation(3, rng), (rotation(3, rng), rotation(3, rng))
        A, B = ((Q * spread(rng, 3, 1e6)) @ Q.T for Q in frames)
        A, B = (A + A.T) / 2, (B + B.T) / 2
        found = geodesic.log(A @ R, B @ R, 2)
        assert found.converged, dl.Status[found.status]
        expected = float(geodesic.spd_distance(A, B))
        assert float(found.distance) == pytest.approx(expected, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("N", [2, math.inf])
def test_far_generic_points_have_a_geodesic_or_no_number(rng, N):
    """3×3 at condition number 1e6, generic frames: what converged leads to the end, and nothing
    else is a number.
    """
    for _ in range(3):
        A, B = (rotation(3, rng) * spread(rng, 3, 1e6) @ rotation(3, rng) for _ in range(2))
        found = geodesic.log(A, B, N)
        if found.converged:
            end = geodesic.exp(A, found.Z, N)
            assert float(dl.norm(B, end.W - B, N)) < 1e-6 * float(found.distance)
            back = geodesic.log(B, A, N)
            if back.converged:
                assert float(back.distance) == pytest.approx(float(found.distance), rel=1e-6)
        else:
            with pytest.warns(dl.NotConvergedWarning):
                assert math.isnan(float(geodesic.distance(A, B, N)))
