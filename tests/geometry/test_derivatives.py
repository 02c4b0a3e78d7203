"""A^q and its derivatives in W, against the definition by eigenvalues at 60 digits and central
differences of that.
"""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import oracles
import pytest
from cases import CURVED_DEPTHS, orthogonal, slow

from deeplinear.geometry.derivatives import hamiltonian_field, operator_power

DIGITS = 60
# Floats throughout: an integer would be compiled once more.
FINITE = [*map(float, CURVED_DEPTHS[:-1]), 20.0]
ALL = [*FINITE, math.inf]


def eigen(S, zeros):
    """Eigenvalues of a symmetric mpmath matrix, the smallest ``zeros`` of them exactly 0, and
    eigenvectors.
    """
    values, vectors = mp.eigsy(S)
    order = sorted(range(len(values)), key=lambda i: values[i])
    for i in order[:zeros]:
        values[i] = mp.mpf(0)
    return [mp.sqrt(x) for x in values], vectors


def power(W, Z, N, q):
    """A_{N,W}^q(Z) by the eigenvectors of WWᵀ and WᵀW, for mpmath matrices of full rank."""
    k = min(W.rows, W.cols)
    a, U = eigen(W * W.T, W.rows - k)
    b, V = eigen(W.T * W, W.cols - k)
    C = U.T * Z * V
    for i in range(W.rows):
        for j in range(W.cols):
            C[i, j] *= oracles.kernel(a[i], b[j], N, DIGITS) ** q
    return U * C * V.T


def exact(W, X, Y, Z, N, q):
    """A^q(Z), ∂_X A^q(Z) and ∂_Y ∂_X A^q(Z), to about 25 digits."""
    with mp.workdps(DIGITS):
        W, X, Y, Z = (mp.matrix(M.tolist()) for M in (W, X, Y, Z))
        q, h, g = mp.mpf(q), mp.mpf(10) ** -20, mp.mpf(10) ** -15
        first = (power(W + h * X, Z, N, q) - power(W - h * X, Z, N, q)) / (2 * h)
        corners = [
            (s * t, power(W + g * (s * X + t * Y), Z, N, q)) for s in (1, -1) for t in (1, -1)
        ]
        second = mp.matrix(W.rows, W.cols)
        for sign, value in corners:
            second += sign * value / (4 * g**2)
        return [np.array(M.tolist(), float) for M in (power(W, Z, N, q), first, second)]


@cache
def derivatives(q):
    """The same three from the library, compiled once for each q and shape."""

    def both(W, X, Y, Z, N):
        along_X = lambda W: jax.jvp(lambda W: operator_power(W, Z, N, q), (W,), (X,))  # noqa: E731
        (value, first), (_, second) = jax.jvp(along_X, (W,), (Y,))
        return value, first, second

    return jax.jit(both)


def points(rng):
    """Generic, tied, almost tied, and on both sides of the switch of formulas (relative gaps of σ²
    of 0.2).
    """
    Q, R = orthogonal(rng, 3), orthogonal(rng, 3)
    spectra = {
        "a pair of ties": [2, 2, 1],
        "ties to 1e-9": [2 * (1 + 1e-9), 2, 2 * (1 - 3e-9)],
        "a tie to 1e-9": [2, 2 - 1e-9, 0.7],
        "inside the switch": [1.3, 1.3 * math.sqrt(0.81), 1.3 * math.sqrt(0.803)],
        "outside the switch": [1.3, 1.3 * math.sqrt(0.79), 1.3 * math.sqrt(0.79 * 0.79)],
        "across the switch": [1.3, 1.3 * math.sqrt(0.89), 1.3 * math.sqrt(0.78)],
    }
    return {"generic": rng.normal(size=(3, 3)), "identity": np.eye(3)} | {
        name: Q @ np.diag(s) @ R for name, s in spectra.items()
    }


def assert_close(found, expected, tolerance, what):
    scale = np.abs(expected).max()
    assert scale > 0
    error = np.abs(np.asarray(found) - expected).max() / scale
    assert error <= tolerance, f"{what}: {error:.1e}"


def compare(W, rng, N, q, name):
    X, Y, Z = (rng.normal(size=W.shape) for _ in range(3))
    expected = exact(W, X, Y, Z, N, q)
    found = derivatives(q)(W, X, Y, Z, N)
    for order, tolerance in enumerate((1e-13, 1e-13, 1e-12)):
        assert_close(found[order], expected[order], tolerance, f"{name}, depth {N}, order {order}")


@pytest.mark.parametrize("q", [1, slow(-1), slow(0.5)])
def test_value_and_derivatives_equal_the_definition(rng, q):
    for name, W in points(rng).items():
        for N in ALL:
            compare(W, rng, N, q, name)


@pytest.mark.parametrize(
    ("shape", "q"),
    [((3, 2), 1), slow((2, 3), -1), slow((3, 2), 0.5)],
)
def test_rectangular(rng, shape, q):
    tied = np.eye(*shape) @ orthogonal(rng, shape[1])
    for name, W in {"generic": rng.normal(size=shape), "tied": tied}.items():
        for N in FINITE + [math.inf] * (q == 1):
            compare(W, rng, N, q, name)


@pytest.mark.parametrize("q", [1, -1])
def test_derivative_in_the_depth(rng, q):
    """of the value and of the derivative in W."""
    W, X, Z = jnp.asarray(rng.normal(size=(3, 3, 3)))

    @jax.jit
    def in_depth(W, N):
        along_X = lambda N: jax.jvp(lambda W: operator_power(W, Z, N, q), (W,), (X,))  # noqa: E731
        return jax.jvp(along_X, (N,), (jnp.ones(()),))[1]

    with mp.workdps(DIGITS):
        h, w, x, z = mp.mpf(10) ** -15, *(mp.matrix(M.tolist()) for M in (W, X, Z))
        at = lambda N, t: power(w + t * h * x, z, N, mp.mpf(q))  # noqa: E731
        for N in (1.5, 2, 3, 20):
            up, down = N + h, N - h
            value = (at(up, 0) - at(down, 0)) / (2 * h)
            mixed = (at(up, 1) - at(up, -1) - at(down, 1) + at(down, -1)) / (4 * h**2)
            for found, expected in zip(in_depth(W, float(N)), (value, mixed), strict=True):
                assert_close(found, np.array(expected.tolist(), float), 1e-12, f"depth {N}")


def test_reverse_over_forward_is_forward_over_forward(rng):
    W, X, Y, P = jnp.asarray(rng.normal(size=(4, 3, 3)))
    f = lambda W: jnp.sum(P * operator_power(W, P, 3.0, -1))  # noqa: E731
    second = np.asarray(jax.jit(jax.jacrev(jax.jacfwd(f)))(W))
    scale = np.abs(second).max()
    np.testing.assert_allclose(second, np.transpose(second, (2, 3, 0, 1)), atol=1e-13 * scale)
    along = np.einsum("ijkl,ij,kl->", second, X, Y)
    assert along == pytest.approx(
        float(jnp.sum(P * derivatives(-1)(W, X, Y, P, 3.0)[2])), abs=1e-12 * scale
    )


@pytest.mark.slow
def test_jacobians_of_jacobians(rng):
    W, P = jnp.asarray(rng.normal(size=(2, 2, 2)))
    f = lambda W: jnp.sum(P * operator_power(W, P, 2.5, 0.5))  # noqa: E731
    one, other = (
        np.asarray(jax.jit(outer(jax.jacfwd(f)))(W)) for outer in (jax.jacfwd, jax.jacrev)
    )
    np.testing.assert_allclose(one, other, atol=1e-13 * np.abs(one).max())


def test_reverse_mode_inside_and_third_derivatives_are_refused(rng):
    W, P = jnp.asarray(rng.normal(size=(2, 2, 2)))
    f = lambda W: jnp.sum(P * operator_power(W, P, 2.5, 1))  # noqa: E731
    for second in (jax.hessian(f), jax.jacrev(jax.jacrev(f))):
        with pytest.raises(NotImplementedError, match="forward mode inside"):
            jax.eval_shape(second, W)
    with pytest.raises(NotImplementedError, match="third"):
        jax.eval_shape(jax.jacfwd(jax.jacfwd(jax.jacfwd(f))), W)


def test_derivatives_at_a_singular_point_are_not_a_number(rng):
    X, Y, Z = rng.normal(size=(3, 3, 3))
    W = np.diag([2.0, 1.0, 0.0])
    value, first, second = derivatives(1)(W, X, Y, Z, 3.0)
    np.testing.assert_allclose(value, oracles.operator(W, Z, 3), atol=1e-13)
    assert np.isnan(first).all()
    assert np.isnan(second).all()
    assert np.isnan(derivatives(-1)(W, X, Y, Z, 3.0)[0]).all()
    assert np.isnan(
        operator_power(jnp.asarray(rng.normal(size=(3, 2))), jnp.ones((3, 2)), math.inf, -1)
    ).all()


@jax.jit
def field_and_its_derivative(W, P, X, Y, N):
    return jax.jvp(lambda W, P: hamiltonian_field(W, P, N), (W, P), (X, Y))


@jax.jit
def field_by_grad(W, P, N):
    return jax.grad(lambda W: -0.5 * jnp.sum(P * operator_power(W, P, N, 1)))(W)


@pytest.mark.parametrize("point", ["generic", "identity", "a pair of ties", "across the switch"])
def test_hamiltonian_field(rng, point):
    """It is (A P, −½ ∂_W ⟨P, A P⟩); its derivative is compared with central differences (relative
    error about h² = 1e−10).
    """
    W = points(rng)[point]
    P, X, Y = rng.normal(size=(3, 3, 3))
    h = 1e-5
    for N in ALL:
        (velocity, force), moved = field_and_its_derivative(W, P, X, Y, N)
        assert_close(velocity, exact(W, X, Y, P, N, 1)[0], 1e-13, f"depth {N}")
        # against the definition, along one generic direction, and against reverse mode in all
        work = 0.5 * np.sum(P * exact(W, X, Y, P, N, 1)[1])
        assert np.sum(force * X) == pytest.approx(-work, abs=1e-12 * np.abs(force).sum())
        assert_close(force, np.asarray(field_by_grad(W, P, N)), 1e-13, f"depth {N}")
        ahead, behind = (
            field_and_its_derivative(W + s * X, P + s * Y, X, Y, N)[0] for s in (h, -h)
        )
        for found, a, b in zip(moved, ahead, behind, strict=True):
            assert_close(found, np.asarray(a - b) / (2 * h), 1e-8, f"depth {N}")


def test_vmap_over_numpy_directions(rng):
    W, Z = jnp.asarray(rng.normal(size=(2, 2, 2)))
    directions = rng.normal(size=(4, 2, 2))
    f = partial(operator_power, Z=Z, depth=3.0, q=1)
    mapped = jax.jit(lambda W: jax.vmap(lambda X: jax.jvp(f, (W,), (X,))[1])(directions))(W)
    for X, found in zip(directions, mapped, strict=True):
        np.testing.assert_allclose(found, exact(W, X, X, Z, 3, 1)[1], atol=1e-13)


@pytest.mark.slow
def test_vmap_over_numpy_directions_twice(rng):
    W, Z = jnp.asarray(rng.normal(size=(2, 2, 2)))
    directions, Y = rng.normal(size=(4, 2, 2)), rng.normal(size=(2, 2))
    f = partial(operator_power, Z=Z, depth=3.0, q=1)
    first = lambda X: lambda W: jax.jvp(f, (W,), (X,))[1]  # noqa: E731
    mapped = jax.jit(lambda W: jax.vmap(lambda X: jax.jvp(first(X), (W,), (Y,))[1])(directions))(W)
    for X, found in zip(directions, mapped, strict=True):
        np.testing.assert_allclose(found, exact(W, X, Y, Z, 3, 1)[2], atol=1e-12)
