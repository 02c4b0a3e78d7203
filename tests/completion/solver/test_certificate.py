"""The certificate against first-order conditions that are checked densely."""

import math

import numpy as np
import pytest
from completion_data import matrix, observe, table

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.penalty import Penalty
from deeplinear.completion.solver import certificate
from deeplinear.completion.solver.certificate import certify, missing
from deeplinear.completion.solver.fit import fit, make_problem
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.problem import Residual, assemble


@pytest.mark.parametrize("depth", [1.5, 2, 3, math.inf])
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_first_order_conditions_checked_densely(rng, where, depth, power):
    """∂E/∂W̃ = −R̃ with R̃V = U f'(s), R̃ᵀU = V f'(s), R1 = βa, Rᵀ1 = βb, ΣR = 0; the certificate
    says the same.
    """
    _, mask, X, weights, seen = table(rng, seen=0.6, weighted=True)
    mask[:, :5] &= rng.random((60, 5)) < 0.3  # lines of different lengths
    weights = weights * mask
    seen = observe(X, mask, weights)
    options = {"weighted_trace_norm": power, "tol": 0, "max_sweeps": 600}
    found = fit(seen, depth=depth, strength=0.2, **options, **where)
    R = weights * (X - matrix(found))
    scaled = R / found.row_scale[:, None] / found.col_scale
    U, s, Vt = np.linalg.svd(
        found.row_scale[:, None] * (found.left @ found.right.T) * found.col_scale
    )
    r = found.rank
    U, s, V = U[:, :r], s[:r], Vt[:r].T
    np.testing.assert_allclose(s, found.spectrum, rtol=1e-8 if depth < 2 else 1e-10)
    slope = found.penalty.slope(s)
    size = np.linalg.norm(slope)
    parts = [scaled @ V - U * slope, scaled.T @ U - V * slope]
    assert max(np.linalg.norm(part) for part in parts) < 1e-5 * size
    np.testing.assert_allclose(R.sum(axis=1), found.bias_ridge * found.row_bias, atol=1e-4)
    np.testing.assert_allclose(R.sum(axis=0), found.bias_ridge * found.col_bias, atol=1e-4)
    assert abs(R.sum()) < 1e-4
    assert found.certificate.tangent < 1e-5
    normal = scaled - U @ (U.T @ scaled)
    normal = np.linalg.norm(normal - (normal @ V) @ V.T, 2)
    assert 0.97 * normal - 1e-9 < found.certificate.normal <= normal * (1 + 1e-9) + 1e-9
    if power:
        assert np.ptp(found.col_scale) > 0.2


def test_sees_a_fit_that_was_broken_off(rng):
    *_, seen = table(rng)
    assert fit(seen, max_sweeps=1, strength=0.2).certificate.tangent > 1e-3


def test_proves_the_minimum_of_depth_two(rng, where):
    *_, seen = table(rng, 14, 9)
    found = fit(seen, depth=2, decay=2.0, tol=0, max_sweeps=3000, **where)
    assert found.certificate.tangent < 1e-5
    assert found.certificate.normal <= found.certificate.limit * (1 + 1e-7)
    assert found.certificate.limit == pytest.approx(2.0)


def test_a_cap_that_is_too_small_shows(rng):
    *_, seen = table(rng, m=30, n=24)
    found = fit(seen, depth=2, decay=3.0, max_rank=2, tol=1e-12, max_sweeps=2000)
    assert found.rank == 2
    assert found.certificate.normal > 1.2 * found.certificate.limit


@pytest.mark.parametrize(("m", "n", "rank"), [(12, 7, 3), (7, 12, 3), (9, 6, 4), (8, 5, 0)])
@pytest.mark.parametrize("bias_ridge", [None, 2.0])
def test_what_is_left_at_a_fit_that_was_broken_off(rng, m, n, rank, bias_ridge):
    # by the formulas, with dense matrices, where nothing is near zero
    _, mask, X, weights, _ = table(rng, m, n, rank=6, seen=0.8, weighted=True)
    seen = observe(X, mask, weights)
    decay = 1e4 if rank == 0 else 0.3 if rank == 3 else 1e-3
    options = {"weighted_trace_norm": 0.5, "bias_ridge": bias_ridge, "max_rank": rank or 3}
    found = fit(seen, depth=3, decay=decay, max_sweeps=2, tol=0, **options)
    assert found.rank == rank
    R = weights * (X - matrix(found))
    scaled = R / found.row_scale[:, None] / found.col_scale
    W = found.row_scale[:, None] * (found.left @ found.right.T) * found.col_scale
    U, s, Vt = np.linalg.svd(W)
    U, s, V = U[:, :rank], s[:rank], Vt[:rank].T
    slope = decay * (s + found.penalty.floor) ** (2 / 3 - 1)
    parts = [scaled @ V - U * slope, scaled.T @ U - V * slope]
    if bias_ridge:
        parts += [(R.sum(1) - 2 * found.row_bias) / np.sqrt(n)]
        parts += [(R.sum(0) - 2 * found.col_bias) / np.sqrt(m)]
    off = scaled - U @ (U.T @ scaled)
    normal = np.linalg.norm(off - (off @ V) @ V.T, 2) if rank < min(m, n) else 0.0
    size = np.linalg.norm(slope) if rank else normal
    tangent = math.sqrt(sum(np.sum(part**2) for part in parts)) / size
    assert found.certificate.tangent == pytest.approx(tangent, rel=1e-6)
    assert found.certificate.normal == pytest.approx(normal, rel=1e-3, abs=1e-12)
    limit = decay * found.penalty.floor ** (2 / 3 - 1)
    assert found.certificate.limit == pytest.approx(limit, rel=1e-12)


def balanced(rng, m, n, rank, data=None):
    """(problem, state) at generic factors; the data are generic, or those given."""
    *_, seen = table(rng, m, n, seen=1.0)
    seen = seen if data is None else observe(data, np.ones((m, n), bool))
    with open_backend(seen, 1) as backend:
        options = FitOptions(weighted_trace_norm=0).for_data(seen)
        problem = make_problem(seen, options, backend)
    U, s, Vt = np.linalg.svd(rng.normal(size=(m, n)))
    s = s[:rank]
    P, Q = U[:, :rank] * np.sqrt(s), Vt[:rank].T * np.sqrt(s)
    return problem, assemble(P, Q, s, rng.normal(size=m), rng.normal(size=n), 0.3, float)


@pytest.mark.parametrize(
    ("m", "n", "rank"),
    [(5, 9, 3), (9, 5, 3), (6, 5, 4), (5, 6, 4), (5, 6, 5), (6, 5, 5), (5, 5, 0)],
)
def test_missing_triples_are_those_of_a_dense_decomposition(rng, m, n, rank):
    problem, state = balanced(rng, m, n, rank)
    rows, cols, values = problem.observations.triples()
    X = np.zeros((m, n))
    X[rows, cols] = values
    U, V = certificate.frames(problem, state)
    W = state.Z[:, :rank] @ state.Y[:, :rank].T
    R = X - W - state.mean - state.row_bias[:, None] - state.col_bias
    off = R - U @ (U.T @ R)
    off = off - (off @ V) @ V.T
    left, g, right = missing(problem, state)
    count = min(8, m - rank, n - rank)
    assert (left.shape, g.shape, right.shape) == ((m, count), (count,), (n, count))
    np.testing.assert_allclose(g, np.linalg.svd(off, compute_uv=False)[:count], rtol=1e-6)
    np.testing.assert_allclose((left * g) @ right.T, off, atol=1e-6)
    found = certify(problem, Penalty(2, 0.5, 1e-12), state)
    assert found.normal == pytest.approx(g[0] if count else 0, rel=1e-9)


def test_what_a_certificate_costs(rng, monkeypatch):
    """Eight steps for the norm, with one column, both ways; missing triples take twelve, with a
    block of eight. From one fixed start.
    """
    problem, state = balanced(rng, 20, 30, 3)
    columns = []
    for name in ("matmul", "t_matmul"):
        plain = getattr(Residual, name)
        counted = lambda *a, plain=plain: columns.append(a[1].shape[1]) or plain(*a)  # noqa: E731
        monkeypatch.setattr(Residual, name, counted)
    found = missing(problem, state)
    assert columns == [8] * 24
    columns.clear()
    certify(problem, Penalty(2, 0.5, 1e-12), state)
    assert columns == [1] * 16
    np.testing.assert_array_equal(found[0], missing(problem, state, seed=0)[0])


def test_biases_alone_may_be_what_is_not_stationary(rng):
    """W = 0 and no residual at all: the sizes are those of β a and β b themselves."""
    a, b = rng.integers(-9, 9, 6) * 1.0, rng.integers(-9, 9, 5) * 1.0
    problem, _ = balanced(rng, 6, 5, 0, data=0.25 + a[:, None] + b)
    state = assemble(np.zeros((6, 0)), np.zeros((5, 0)), np.zeros(0), a, b, 0.25, float)
    found = certify(problem, Penalty(3, 0.5, 1e-3), state)
    tangent = problem.bias_ridge * np.sqrt((a**2).sum() / 5 + (b**2).sum() / 6)
    assert found.normal == 0
    assert found.tangent == pytest.approx(tangent, rel=1e-12)
