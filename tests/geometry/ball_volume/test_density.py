"""The densities that chords integrate against dense Gram matrices and the kernel of the library."""

import math

import numpy as np
import oracles
import pytest

from deeplinear.geometry.ball_volume import density, space
from deeplinear.geometry.kernel import log_kernel


@pytest.mark.parametrize(
    ("shape", "N"), [((3, 3), 2), ((3, 3), 5), ((2, 3), 3), ((4, 2), 2), ((3, 3), math.inf)]
)
def test_induced_density_against_the_dense_gram_matrix(shape, N, rng):
    units = np.eye(shape[0] * shape[1]).reshape(-1, *shape)
    basis = np.linalg.qr(rng.normal(size=(len(units), 3)))[0].T.reshape(3, *shape)
    ball = space.Space(rng.normal(size=shape), basis, 1.0, 1 / N, True)
    X = rng.normal(size=(4, *shape))
    square = shape[0] == shape[1]
    log_det = np.linalg.slogdet(X)[1] if square else np.zeros(4)
    got = density._induced(ball, *frames(ball, X, log_det))
    for i in range(4):
        A = np.stack([oracles.operator(X[i], Z, N).ravel() for Z in units])
        B = basis.reshape(3, -1)
        expected = 0.5 * np.linalg.slogdet(B @ np.linalg.solve(A, B.T))[1]
        assert got[i] == pytest.approx(expected, abs=1e-9)


def frames(ball, X, log_det):
    U, s, Vt = np.linalg.svd(X, full_matrices=True)
    return U, density._log_singular_values(ball, s, log_det), Vt


def test_the_kernel_is_the_library_s(rng):
    a, b = rng.normal(size=200) * 10.0 ** rng.integers(-3, 3, 200), rng.normal(size=200)
    b[:20] = a[:20]
    a[20:40] = -np.inf
    for nu in (0.5, 0.01, 0.9, 0.0):
        got, expected = density.log_kernel(a, b, nu), np.asarray(log_kernel(a, b, nu))
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)
