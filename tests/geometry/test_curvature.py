"""Curvature against a Riemann tensor by finite differences of an explicit metric matrix, in NumPy,
on generic planes.
"""

import math

import numpy as np
import oracles
import pytest
from cases import CURVED_DEPTHS, slow

import deeplinear as dl
from deeplinear.geometry import curvature


def metric_matrix(W, N):
    """The mn×mn matrix of g^N by the definition of λ_N,."""
    m, n = W.shape
    U, s, Vt = np.linalg.svd(W)
    nu = 0.0 if math.isinf(N) else 1 / N
    a, b = (np.pad(s, (0, k - s.size)) for k in (m, n))
    x, y = a[:, None], b[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = (x**2 - y**2) / (
            2 * np.log(x / y) if nu == 0 else N * (x ** (2 * nu) - y ** (2 * nu))
        )
    kernel = np.where(x == y, x ** (2 - 2 * nu), quotient)
    frame = np.einsum("ai,jb->ijab", U, Vt).reshape(m * n, m * n)  # rows: u_i v_jᵀ
    return frame.T @ (frame / kernel.reshape(-1, 1))


def finite_difference_riemann(W, N, h=2e-3):
    """R_{iklm} of the tensor with R_{1212} > 0 on spheres, by fourth-order differences of the
    metric matrix.
    """
    size = W.size
    units = np.eye(size).reshape(size, *W.shape)
    g = lambda E: metric_matrix(W + E, N)  # noqa: E731
    weights = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}
    d1 = np.array([sum(c * g(k * h * e) for k, c in weights.items()) / h for e in units])
    d2 = np.zeros((size, size, size, size))
    for a in range(size):
        for b in range(a + 1):
            pairs = ((k, l, c * q) for k, c in weights.items() for l, q in weights.items())
            d2[a, b] = d2[b, a] = (
                sum(w * g(h * (k * units[a] + l * units[b])) for k, l, w in pairs) / h**2
            )
    inverse = np.linalg.inv(g(0 * W))
    lower = 0.5 * (d1.transpose(2, 0, 1) + d1.transpose(2, 1, 0) - d1)  # [v, x, y] = ⟨Γ♭(x, y), v⟩
    gamma = np.einsum("vw,wxy->vxy", inverse, lower)
    second = 0.5 * (
        np.einsum("klim->iklm", d2)
        + np.einsum("imkl->iklm", d2)
        - np.einsum("kmil->iklm", d2)
        - np.einsum("ilkm->iklm", d2)
    )
    product = lambda spec: np.einsum(spec, lower, gamma)  # noqa: E731
    return second + product("vkl,vim->iklm") - product("vkm,vil->iklm")


def planes(rng, shape, count=3):
    return rng.normal(size=(count, 2, *shape))


@pytest.mark.parametrize("N", CURVED_DEPTHS)
def test_riemann_and_its_traces_agree_with_finite_differences(rng, N):
    W = rng.normal(size=(2, 2)) + np.diag([2.0, 1.0])
    R, g = finite_difference_riemann(W, N), metric_matrix(W, N)
    for X, Y in planes(rng, W.shape):
        x, y = X.ravel(), Y.ravel()
        raw = np.einsum("iklm,i,k,l,m", R, x, y, x, y)
        area = (x @ g @ x) * (y @ g @ y) - (x @ g @ y) ** 2
        assert float(curvature.sectional(W, X, Y, N)) == pytest.approx(raw / area, abs=1e-7)
        Z, V = rng.normal(size=(2, 2, 2))
        expected = np.einsum("iklm,i,k,l,m", R, x, y, V.ravel(), Z.ravel())
        assert float(curvature.riemann(W, X, Y, Z, V, N)) == pytest.approx(expected, abs=1e-7)
        ricci = np.einsum("iklm,il->km", R, np.linalg.inv(g))
        assert float(curvature.ricci(W, X, Y, N)) == pytest.approx(x @ ricci @ y, abs=1e-7)
    scalar = np.einsum("km,km->", np.einsum("iklm,il->km", R, np.linalg.inv(g)), np.linalg.inv(g))
    assert float(curvature.scalar(W, N)) == pytest.approx(scalar, abs=1e-7)
    assert abs(scalar) > 1e-3  # the comparison is of something


@pytest.mark.parametrize(("shape", "N"), [slow((3, 3), 3), ((3, 3), math.inf), ((3, 2), 2.5)])
def test_sectional_curvature_of_larger_and_rectangular_points(rng, shape, N):
    W = rng.normal(size=shape) + 2 * np.eye(*shape)
    R, g = finite_difference_riemann(W, N), metric_matrix(W, N)
    for X, Y in planes(rng, shape):
        x, y = X.ravel(), Y.ravel()
        area = (x @ g @ x) * (y @ g @ y) - (x @ g @ y) ** 2
        expected = np.einsum("iklm,i,k,l,m", R, x, y, x, y) / area
        assert float(curvature.sectional(W, X, Y, N)) == pytest.approx(expected, abs=2e-7)


def test_depth_one_is_flat(rng):
    W = rng.normal(size=(3, 3))
    for X, Y in planes(rng, W.shape):
        assert abs(float(curvature.sectional(W, X, Y, 1))) < 1e-30
    assert abs(float(curvature.scalar(W, 1))) < 1e-30


def test_depth_two_on_positive_matrices_is_not_negatively_curved(rng):
    for _ in range(
        20
    ):  # the positive definite matrices are totally geodesic: fixed points of W → Wᵀ
        B = rng.normal(size=(3, 3))
        X, Y = rng.normal(size=(2, 3, 3))
        assert float(curvature.sectional(B @ B.T + 0.1 * np.eye(3), X + X.T, Y + Y.T, 2)) > -1e-12


@pytest.mark.parametrize("N", CURVED_DEPTHS)
def test_directions_along_common_singular_vectors_are_flat(rng, N):
    U, V = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    at = lambda x: (U * x) @ V.T  # noqa: E731
    K = curvature.sectional(at([2.0, 1.0, 0.3]), at(rng.normal(size=3)), at(rng.normal(size=3)), N)
    assert float(K) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("N", [2, math.inf])
def test_ties_are_the_limit_of_what_is_near(rng, N):
    U, V = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    X, Y = planes(rng, (3, 3), 1)[0]
    at = lambda s: float(curvature.sectional((U * s) @ V.T, X, Y, N))  # noqa: E731
    tied = at([2.0, 2.0, 1.0])
    assert tied == pytest.approx(at([2.0, 2.0 * (1 - 1e-7), 1.0]), abs=1e-5)
    assert tied == pytest.approx(at([2.0, 2.0 * (1 - 1e-12), 1.0]), abs=1e-9)
    # at the switch between the two formulas for divided differences
    gap = [at([2.0, 2.0 * math.sqrt(0.8 + e), 1.0]) for e in (-1e-9, 1e-9)]
    assert gap[0] == pytest.approx(gap[1], abs=1e-7)


def test_symmetries_and_scaling(rng):
    W, X, Y, Z, V = rng.normal(size=(5, 3, 3))
    R = lambda *directions: float(curvature.riemann(W, *directions, 3))  # noqa: E731
    assert R(X, Y, Z, V) == pytest.approx(-R(Y, X, Z, V), rel=1e-10)
    assert R(X, Y, Z, V) == pytest.approx(-R(X, Y, V, Z), rel=1e-10)
    assert R(X, Y, Z, V) == pytest.approx(R(Z, V, X, Y), rel=1e-10)
    assert R(X, Y, Z, V) + R(Y, Z, X, V) + R(Z, X, Y, V) == pytest.approx(0, abs=1e-10)
    c = 3.7  # g^N(cW)(cZ, cZ) = c^{2/N} g^N(W)(Z, Z)
    assert float(curvature.scalar(c * W, 3)) == pytest.approx(
        float(curvature.scalar(W, 3)) / c ** (2 / 3), rel=1e-10
    )
    Q, P = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    assert float(curvature.sectional(Q @ W @ P, Q @ X @ P, Q @ Y @ P, 3)) == pytest.approx(
        float(curvature.sectional(W, X, Y, 3)), rel=1e-9
    )


@pytest.mark.slow
def test_batches(rng):
    W, X, Y = rng.normal(size=(3, 4, 2, 2))
    together = curvature.sectional(W, X, Y, 3)
    np.testing.assert_allclose(
        together, [curvature.sectional(*args, 3) for args in zip(W, X, Y, strict=True)], rtol=1e-10
    )
    assert curvature.christoffel(W, X, Y, 3).shape == (4, 2, 2)


def test_bad_input(rng):
    X, Y = rng.normal(size=(2, 2, 2))
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        curvature.sectional(np.ones((2, 2)), X, Y, 2)
    with pytest.raises(dl.SingularOperatorError, match="square"):
        # a function and a shape that another test compiles too
        curvature.sectional(*rng.normal(size=(3, 3, 2)), math.inf)
    with pytest.raises(dl.InputError, match="a direction must have the shape"):
        curvature.sectional(np.eye(2), X, np.ones((3, 2)), 2)
    with pytest.raises(dl.DepthError):
        curvature.scalar(np.eye(2), 0.5)
    assert math.isnan(float(curvature.sectional(np.eye(2), X, 2 * X, 2)))


def test_the_oracle_is_the_inverse_of_the_operator(rng):
    W, Z = rng.normal(size=(2, 3, 3))
    for N in (2, 3, math.inf):
        np.testing.assert_allclose(
            metric_matrix(W, N) @ oracles.operator(W, Z, N).ravel(), Z.ravel(), atol=1e-10
        )


def test_any_scale_and_no_digits_is_an_error():
    for c in (1e-170, 1e-8, 1e100):
        assert float(curvature.scalar(c * np.eye(2), 2)) * c == pytest.approx(0.25, rel=1e-12)
    assert float(curvature.scalar(np.diag([1.0, 1e-4]), 2)) == pytest.approx(
        0.5 / (1 + 1e-4), rel=1e-5
    )
    with pytest.raises(dl.PrecisionError, match="ill-conditioned"):
        curvature.scalar(np.diag([1.0, 1e-8]), 2)
