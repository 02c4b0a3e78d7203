"""Two layers in closed form, against DOP853 on the factors."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import deeplinear as dl

TIMES = np.array([0.0, 0.3, 1.0, 5.0, 30.0])


def on_leaf(rng, m, n, h, delta):
    """Factors with W_2ᵀW_2 − W_1W_1ᵀ = δI."""
    frame = lambda k: np.linalg.qr(rng.normal(size=(k, k)))[0][:, :h]  # noqa: E731
    x, Q = max(0.0, -delta) + rng.uniform(0.01, 1, h), frame(h)
    return (Q * np.sqrt(x)) @ frame(n).T, (frame(m) * np.sqrt(x + delta)) @ Q.T


def by_steps(W1, W2, S):
    h, n, m = *W1.shape, len(W2)

    def speed(t, y):
        A, B = y[: h * n].reshape(h, n), y[h * n :].reshape(m, h)
        R = S - B @ A
        return np.concatenate([(B.T @ R).ravel(), (R @ A.T).ravel()]) / 2  # [CMV]'s time

    start = np.concatenate([W1.ravel(), W2.ravel()])
    found = solve_ivp(
        speed, (0, TIMES[-1]), start, method="DOP853", rtol=1e-13, atol=1e-15, t_eval=TIMES
    )
    return [(y[: h * n].reshape(h, n), y[h * n :].reshape(m, h)) for y in found.y.T]


@pytest.mark.parametrize(
    ("m", "n", "h", "delta", "rank"),
    [
        (3, 3, 3, 0.0, 3),
        (3, 3, 3, 0.7, 3),
        (4, 3, 2, -1.3, 3),
        (3, 5, 3, 2.0, 3),
        (2, 2, 2, 0.0, 1),  # F is singular
        (4, 4, 3, 0.0, 2),
        (3, 3, 2, 5.0, 3),
        (3, 4, 1, -0.2, 3),
    ],
)
def test_against_the_factors(m, n, h, delta, rank):
    rng = np.random.default_rng(m + 10 * n + 100 * h)
    W1, W2 = on_leaf(rng, m, n, h, delta)
    S = rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n))
    found = dl.exact.two_layer(W1, W2, S, TIMES)
    for i, (A, B) in enumerate(by_steps(W1, W2, S)):
        np.testing.assert_allclose(found.W[i], B @ A, rtol=0, atol=1e-12 * np.linalg.norm(S))
        np.testing.assert_allclose(found.gram1[i], A.T @ A, rtol=0, atol=1e-12 * np.linalg.norm(S))
        np.testing.assert_allclose(found.gram2[i], B @ B.T, rtol=0, atol=1e-12 * np.linalg.norm(S))


def test_a_single_time_and_times_in_any_order():
    rng = np.random.default_rng(3)
    W1, W2 = on_leaf(rng, 3, 2, 2, 0.4)
    S = rng.normal(size=(3, 2))
    one = dl.exact.two_layer(W1, W2, S, 1.0)
    assert one.W.shape == (3, 2)
    many = dl.exact.two_layer(W1, W2, S, [1.0, 0.0, 1.0])
    np.testing.assert_allclose(many.W[[0, 2]], np.stack([one.W] * 2), rtol=1e-13)
    np.testing.assert_allclose(many.W[1], W2 @ W1, rtol=1e-13)


def test_the_limit_is_the_target_or_its_best_part_of_low_rank():
    rng = np.random.default_rng(4)
    W1, W2 = on_leaf(rng, 4, 4, 2, 0.3)
    S = rng.normal(size=(4, 4))
    U, s, Vt = np.linalg.svd(S)
    limit = dl.exact.two_layer(W1, W2, S, 2000.0).W
    np.testing.assert_allclose(limit, U[:, :2] * s[:2] @ Vt[:2], rtol=0, atol=1e-10)


def test_sentences():
    rng = np.random.default_rng(0)
    W1, W2 = on_leaf(rng, 3, 3, 2, 0.4)
    with pytest.raises(dl.InputError, match=r"isotropic leaf.*use factor_flow"):
        dl.exact.two_layer(W1, 1.01 * W2, np.eye(3), 1.0)
    with pytest.raises(dl.InputError, match=r"^W2 W1 must have the shape"):
        dl.exact.two_layer(W1, W2, np.eye(4), 1.0)
    with pytest.raises(dl.InputError, match=r"^t must be finite and ≥ 0"):
        dl.exact.two_layer(W1, W2, np.eye(3), -1.0)


def test_factors_of_32_bits_and_times_too_far():
    W = np.random.default_rng(1).normal(size=(2, 2))
    S = np.diag([2.0, 1.0])
    for c in ((0.0, 0.0), (0.0, 0.5)):
        single = dl.leaf_factors(W.astype(np.float32), c, 0)
        assert single[0].dtype == np.float32
        exact = dl.exact.two_layer(*dl.leaf_factors(W, c, 0), S, 1.0).W
        np.testing.assert_allclose(dl.exact.two_layer(*single, S, 1.0).W, exact, atol=1e-5)
    with pytest.raises(dl.InputError, match=r"^t must be at most .* here"):
        dl.exact.two_layer(np.eye(2), np.eye(2), S, 1e300)
