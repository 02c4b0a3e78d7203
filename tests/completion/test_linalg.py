"""The thin singular value decomposition of a product; norms from products alone."""

import numpy as np
import pytest

from deeplinear.completion.linalg import norm_from_below, thin_svd


def test_of_factors_with_dependent_columns(rng):
    P, Q = rng.normal(size=(14, 4)), rng.normal(size=(9, 4))
    Q[:, 3] = Q[:, 0]
    P[:, 3] = P[:, 0]
    U, s, Vt = thin_svd(P, Q)
    assert len(s) == 3
    np.testing.assert_allclose((U * s) @ Vt, P @ Q.T, atol=1e-12)
    np.testing.assert_allclose(U.T @ U, np.eye(3), atol=1e-12)


def norm(A, start, steps):
    return norm_from_below(lambda x: A @ x, lambda x: A.T @ x, start, steps)


@pytest.mark.parametrize(("m", "n"), [(30, 20), (20, 30), (7, 7), (1, 5), (5, 1)])
def test_the_norm_is_that_of_the_krylov_space(rng, m, n):
    """max ‖Aᵀu‖ over unit u of A · span{v, AᵀAv, …}, by dense matrices; all of it at the end."""
    A, v = rng.normal(size=(m, n)), rng.normal(size=n)
    exact, last = np.linalg.norm(A, 2), 0.0
    powers = [v / np.linalg.norm(v)]
    for steps in range(1, 6):
        rank = min(m, n, steps)
        found = norm(A, v, steps)
        U = np.linalg.svd(A @ np.column_stack(powers), full_matrices=False)[0][:, :rank]
        assert found == pytest.approx(np.linalg.norm(A.T @ U, 2), rel=1e-7)
        assert last <= found * (1 + 1e-12) <= exact * (1 + 2e-12)
        last = found
        new = A.T @ (A @ powers[-1])
        powers.append(new / np.linalg.norm(new))
    assert norm(A, v, 60) == pytest.approx(exact, rel=1e-12)


def test_norms_that_are_found_at_once(rng):
    """Rank one, no matrix at all, no start, and the size of the numbers."""
    u, v = rng.normal(size=8), rng.normal(size=6)
    A = np.outer(u, v)
    exact = np.linalg.norm(u) * np.linalg.norm(v)
    for unit in (1.0, 1e-100, 1e100):
        assert norm(unit * A, rng.normal(size=6), 9) == pytest.approx(unit * exact, rel=1e-12)
    assert norm(0 * A, v, 5) == 0
    assert norm(A, np.zeros(6), 5) == 0


@pytest.mark.parametrize(("m", "n"), [(800, 400), (500, 500), (300, 900)])
def test_how_short_the_norm_of_noise_is(m, n):
    """By π²/(8 (k+1)²) · (1 − (σ_min/σ_max)²) at most, on average over starts, the limit of large
    matrices; these are a little easier.
    """
    rng = np.random.default_rng(0)
    A = rng.normal(size=(m, n))
    values = np.linalg.svd(A, compute_uv=False)
    for steps in (7, 8):
        found = [norm(A, rng.normal(size=n), steps) for _ in range(12)]
        short = np.pi**2 / 8 / (steps + 1) ** 2 * (1 - (values[-1] / values[0]) ** 2)
        assert 0.4 * short < 1 - np.mean(found) / values[0] < 1.05 * short
        assert max(found) <= values[0]


def test_products_that_are_rounded_add_nothing(rng):
    """In float32 with its ``blur``: no larger than the norm by more than rounding, after many
    steps, where the directions ran out long ago."""
    A = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))
    B = A.astype(np.float32)
    eps = float(np.finfo(np.float32).eps)
    found = norm_from_below(
        lambda x: B @ x.astype(np.float32),
        lambda x: B.T @ x.astype(np.float32),
        rng.normal(size=30),
        25,
        blur=16 * eps,
    )
    assert found == pytest.approx(np.linalg.norm(A, 2), rel=8 * eps)


@pytest.mark.parametrize("size", [1e-300, 1e-165, 1e150])
def test_the_norm_of_numbers_whose_squares_are_none(rng, size):
    A, v = rng.normal(size=(8, 6)), rng.normal(size=6)
    assert norm(size * A, v, 6) == pytest.approx(size * np.linalg.norm(A, 2), rel=1e-10)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_norm_of_what_is_not_finite_is_an_error(rng, bad):
    A = rng.normal(size=(8, 6))
    A[2, 3] = bad
    with pytest.raises(np.linalg.LinAlgError, match="not finite"), np.errstate(invalid="ignore"):
        norm(A, rng.normal(size=6), 6)
