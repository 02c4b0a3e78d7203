"""The operator A_N against its power sum and integral, on generic square, rectangular and
rank-deficient points.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import oracles
import pytest
from cases import slow

import deeplinear as dl
from deeplinear.geometry.operator import log_determinant

SHAPES = [(4, 4, 4), (5, 3, 3), (3, 5, 3), (4, 4, 2), (5, 4, 3), (3, 6, 1)]


def generic(rng, m, n, r):
    return (
        rng.normal(size=(m, r)) @ rng.normal(size=(r, n))
        if r < min(m, n)
        else rng.normal(size=(m, n))
    )


@pytest.mark.parametrize(("m", "n", "r"), SHAPES)
@pytest.mark.parametrize("N", [1, 2, 3, 7])
def test_equals_the_power_sum(rng, m, n, r, N):
    W, Z = generic(rng, m, n, r), rng.normal(size=(m, n))
    np.testing.assert_allclose(dl.Operator(W, N)(Z), oracles.operator(W, Z, N), atol=1e-12)


def test_equals_the_integral_at_infinite_depth(rng):
    W, Z = rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    np.testing.assert_allclose(
        dl.Operator(W, math.inf)(Z), oracles.operator(W, Z, math.inf), atol=1e-12
    )


@pytest.mark.parametrize(("m", "n", "r"), [(5, 3, 3), (4, 4, 2)])
def test_at_infinite_depth_low_rank_freezes_the_singular_spaces(rng, m, n, r):
    W, Z = generic(rng, m, n, r), rng.normal(size=(m, n))
    moved = dl.Operator(W, math.inf)(Z)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    U, Vt = U[:, :r], Vt[:r]
    np.testing.assert_allclose(U @ U.T @ moved @ Vt.T @ Vt, moved, atol=1e-13)
    core = np.array([[float(oracles.kernel(a, b, math.inf)) for b in s[:r]] for a in s[:r]])
    np.testing.assert_allclose(U.T @ moved @ Vt.T, core * (U.T @ Z @ Vt.T), atol=1e-12)


@pytest.mark.parametrize("N", [1, 1.7, 2, 5.5, math.inf])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3)])
def test_powers_and_determinant_agree_with_the_explicit_matrix(rng, N, shape):
    if math.inf == N and shape[0] != shape[1]:
        pytest.skip("singular there")
    op, Z = dl.Operator(rng.normal(size=shape), N), rng.normal(size=shape)
    A = np.asarray(op.as_matrix())
    np.testing.assert_allclose(A, A.T, atol=1e-13)
    assert np.linalg.eigvalsh(A).min() > 0
    np.testing.assert_allclose(op(Z).ravel(), A @ Z.ravel(), atol=1e-12)
    np.testing.assert_allclose(op.inverse(Z).ravel(), np.linalg.solve(A, Z.ravel()), rtol=1e-9)
    np.testing.assert_allclose(op.sqrt(op.sqrt(Z)), op(Z), atol=1e-12)
    assert float(op.logdet()) == pytest.approx(np.linalg.slogdet(A)[1], abs=1e-11)


def test_depth_tends_to_infinity_at_rate_one_over_N(rng):
    W, Z = rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    limit = dl.Operator(W, math.inf)(Z)
    errors = [float(jnp.abs(dl.Operator(W, N)(Z) - limit).max()) for N in (100, 200, 400)]
    np.testing.assert_allclose(np.log2(errors[:-1]) - np.log2(errors[1:]), 1, atol=0.05)


def test_from_svd_carries_singular_values_that_dense_arithmetic_cannot(rng):
    U, V = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    s = np.array([1.0, 1e-40, 1e-90])
    op = dl.Operator.from_svd(U, s, V.T, 2)
    Z = rng.normal(size=(3, 3))
    expected = np.array([[float(oracles.kernel(a, b, 2)) for b in s] for a in s])
    np.testing.assert_allclose(U.T @ op(Z) @ V, expected * (U.T @ Z @ V), atol=1e-15)
    assert float(op.logdet()) == pytest.approx(np.log(expected).sum(), rel=1e-13)


@pytest.mark.parametrize(
    ("W", "N"),
    [(np.outer([1.0, 2.0, 1.0], [3.0, 1.0, 2.0]), 2), (np.ones((3, 2)) + np.eye(3, 2), math.inf)],
)
def test_the_inverse_of_a_singular_operator_is_an_error(W, N):
    op = dl.Operator(W, N)
    assert bool(op.is_singular)
    assert float(op.logdet()) == -math.inf
    with pytest.raises(dl.SingularOperatorError, match="full rank"):
        op.inverse(np.ones(W.shape))
    with pytest.raises(Exception, match="full rank"):
        eqx.filter_jit(lambda W: dl.Operator(W, N).inverse(jnp.ones(W.shape)))(jnp.asarray(W))


@pytest.mark.slow
def test_lineax_solves_with_it(rng):
    op, Z = dl.Operator(rng.normal(size=(4, 3)), 2.5), rng.normal(size=(4, 3))
    for solver in (lx.CG(1e-13, 1e-13), lx.Cholesky(), lx.AutoLinearSolver(well_posed=True)):
        np.testing.assert_allclose(lx.linear_solve(op, op(Z), solver).value, Z, rtol=1e-9)
    assert lx.is_symmetric(op)
    assert lx.is_positive_semidefinite(op)
    assert not lx.is_diagonal(op)
    np.testing.assert_allclose(lx.diagonal(op), np.diag(op.as_matrix()))


def test_batches_by_vmap(rng):
    Ws, Zs = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 4, 3))
    apply = lambda W, Z: dl.Operator(W, 3)(Z)  # noqa: E731
    batched = eqx.filter_vmap(apply)(jnp.asarray(Ws), jnp.asarray(Zs))
    for W, Z, out in zip(Ws, Zs, batched, strict=True):
        np.testing.assert_allclose(out, oracles.operator(W, Z, 3), atol=1e-12)
    ops = eqx.filter_vmap(lambda W: dl.Operator(W, 3))(jnp.asarray(Ws))
    assert ops.s.shape == (5, 3)


def test_bad_points_are_typed_errors():
    with pytest.raises(dl.InputError, match="W must be a matrix"):
        dl.Operator(np.ones(3), 2)
    with pytest.raises(dl.InputError, match="W must be finite"):
        dl.Operator(np.array([[1.0, np.nan]]), 2)
    with pytest.raises(dl.InputError, match="W must hold real numbers"):
        dl.Operator(np.eye(2, dtype=complex), 2)
    with pytest.raises(dl.InputError, match="Z must have the shape"):
        dl.Operator(np.eye(3), 2)(np.ones(3))
    with pytest.raises(dl.InputError, match="U, s, Vt must have shapes"):
        dl.Operator.from_svd(np.eye(3), np.ones(2), np.eye(3), 2)
    with pytest.raises(dl.DepthError):
        dl.Operator(np.eye(2), 0.5)
    with pytest.raises(dl.DepthError, match="one number"):
        dl.Operator(np.eye(2), np.array([2.0, 3.0]))
    with pytest.raises(dl.DepthError, match="one number"):
        dl.Operator.from_svd(np.eye(2), np.ones(2), np.eye(2), np.array([2.0, 3.0]))


def test_works_under_jit_with_depth_as_an_array(rng):
    W, Z = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    compiled = jax.jit(lambda W, Z, N: dl.Operator(W, N)(Z))
    for N in (2.0, 3.0):
        np.testing.assert_allclose(compiled(W, Z, N), oracles.operator(W, Z, N), atol=1e-12)


@pytest.mark.parametrize(("m", "n", "k"), [(5, 4, 2), (4, 5, 3), (4, 4, 2), (5, 3, 3), (3, 5, 3)])
@pytest.mark.parametrize("N", [slow(1.0), slow(1.6), 3.0, math.inf])
def test_points_of_low_rank_from_their_singular_triples(rng, m, n, k, N):
    U, Vt = np.linalg.qr(rng.normal(size=(m, k)))[0], np.linalg.qr(rng.normal(size=(n, k)))[0].T
    s = np.sort(rng.uniform(0.3, 2.0, k))[::-1]
    op = dl.Operator.from_svd(U, s, Vt, N)
    matrix = oracles.operator_matrix((U * s) @ Vt, N)
    np.testing.assert_allclose(op.as_matrix(), matrix, atol=1e-12)
    edges, corner = m > k or n > k, m > k and n > k
    singular = (N > 1 and corner) or (math.isinf(N) and edges)
    assert bool(op.is_singular) == singular
    Z = rng.normal(size=(m, n))
    if singular:
        assert op.logdet() == -math.inf
        with pytest.raises(dl.SingularOperatorError):
            op.inverse(Z)
    else:
        np.testing.assert_allclose(op.logdet(), np.linalg.slogdet(matrix)[1], atol=1e-10)
        np.testing.assert_allclose(op.inverse(op(Z)), Z, atol=1e-10)
    np.testing.assert_allclose(op.sqrt(op.sqrt(Z)), op(Z), atol=1e-12)


@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_the_rank_is_judged_relative_to_the_largest_singular_value(rng, size):
    assert not bool(dl.Operator(size * rng.normal(size=(3, 3)), 2).is_singular)
    assert bool(dl.Operator(size * generic(rng, 4, 4, 2), 2).is_singular)


def test_powers_of_the_operator(rng):
    op, Z = dl.Operator(rng.normal(size=(4, 3)), 2.5), rng.normal(size=(4, 3))
    np.testing.assert_allclose(op.power(Z, 2), op(op(Z)), rtol=1e-12)
    np.testing.assert_allclose(op.power(op.power(Z, 0.3), 0.7), op(Z), rtol=1e-12)


def test_determinants_of_a_batch(rng):
    log_s, nu = rng.normal(size=(2, 5, 3)), rng.uniform(0, 1, (2, 5))
    found = log_determinant(jnp.asarray(log_s), 2, nu)
    for at in np.ndindex(2, 5):
        s, N = np.exp(log_s[at]), 1 / nu[at]
        core = sum(math.log(oracles.kernel(a, b, N)) for a in s for b in s)
        edge = sum(math.log(oracles.kernel(a, 0.0, N)) for a in s)
        assert float(found[at]) == pytest.approx(core + 2 * edge, rel=1e-12)
