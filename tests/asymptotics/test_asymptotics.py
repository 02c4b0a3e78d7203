"""Ranks, tangent kernel and rates, and the laws of small singular values, against slow oracles,
closed forms and actual flows.
"""

import math

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import oracles
import pytest
from cases import DEPTHS, DEPTHS_NEAR_TWO, INTEGER_DEPTHS

import deeplinear as dl
from deeplinear import asymptotics as asy

# Ranks


def test_ranks_against_their_definitions_also_in_batches_and_at_any_scale(rng):
    W = rng.normal(size=(3, 2, 5, 4))
    s = np.linalg.svd(W, compute_uv=False)
    expected = [[oracles.effective_rank(x) for x in row] for row in s]
    stable = (s**2).sum(-1) / s[..., 0] ** 2
    for scale in (1.0, 1e-200, 1e200):
        np.testing.assert_allclose(asy.effective_rank(scale * W), expected, rtol=1e-13)
        np.testing.assert_allclose(asy.stable_rank(scale * W), stable, rtol=1e-13)
    np.testing.assert_allclose(dl.effective_rank(s[0, 0]), expected[0][0], rtol=1e-14)
    np.testing.assert_allclose(
        dl.effective_rank(dl.LogSVD.of(jnp.asarray(W))), expected, rtol=1e-13
    )
    far = dl.LogSVD(jnp.eye(2), jnp.array([-5000.0, -5001.0]), jnp.eye(2))
    assert float(asy.stable_rank(far)) == pytest.approx(1 + math.exp(-2), rel=1e-13)
    assert dl.effective_rank(W.astype(np.float32)).dtype == jnp.float32


@pytest.mark.parametrize("rank", [asy.effective_rank, asy.stable_rank])
def test_ranks_at_the_ends_and_their_gradients(rng, rank):
    assert float(rank(7 * np.eye(4))) == pytest.approx(4)
    assert float(rank(np.outer([1.0, 2.0], [3.0, 4.0, 5.0]))) == pytest.approx(1)
    assert float(rank(np.array([2.0, 0.0]))) == 1
    W, Z, h = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), 1e-6
    slope = float(jnp.vdot(jax.grad(rank)(W), Z))
    assert slope == pytest.approx(float(rank(W + h * Z) - rank(W - h * Z)) / (2 * h), rel=1e-7)
    assert np.isfinite(jax.grad(rank)(np.diag([1.0, 1.0, 2.0]))).all()  # at a tie
    assert np.isnan(jax.jit(rank)(np.zeros((2, 2))))
    for bad in (np.zeros((2, 3)), [[np.nan, 1.0]], np.array([1.0, -1.0]), 3.0, [["a"]]):
        with pytest.raises(dl.InputError, match=r"^W must"):
            rank(bad)


# The tangent kernel


def dense_kernel(mask, W, N):
    """K column by column from the power sum."""
    K = []
    for i, j in zip(*np.nonzero(mask), strict=True):
        Z = np.zeros(W.shape)
        Z[i, j] = 1
        K.append(oracles.operator(W, Z, N)[mask])
    return np.array(K)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 2)])
@pytest.mark.parametrize("depth", [*INTEGER_DEPTHS, math.inf])
@pytest.mark.parametrize("rank", [1, 2, None])
def test_the_tangent_kernel_is_the_power_sum_on_the_observed_entries(rng, shape, depth, rank):
    W = (
        rng.normal(size=shape)
        if rank is None
        else rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    )
    mask = rng.random(shape) < 0.6
    mask[0, 0] = True
    expected = dense_kernel(mask, W, depth)
    np.testing.assert_allclose(asy.tangent_kernel(mask, W, depth).as_matrix(), expected, atol=1e-12)
    weights = np.where(mask, rng.uniform(0.3, 3.0, shape), 0.0)
    energy = dl.Completion(*np.nonzero(mask), rng.normal(size=mask.sum()), shape, weights[mask])
    root = np.sqrt(weights[mask])
    weighted = root[:, None] * expected * root
    K = asy.tangent_kernel(energy, W, depth)
    np.testing.assert_allclose(K.as_matrix(), weighted, atol=1e-12)
    free, x = asy.tangent_kernel(energy, W, depth, dense=False), rng.normal(size=mask.sum())
    np.testing.assert_allclose(free.mv(x), weighted @ x, atol=1e-12)
    np.testing.assert_allclose(free.as_matrix(), weighted, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, math.inf])
def test_sensing_and_general_energies_have_the_same_rates(rng, depth):
    # The entries as measurements; and A^{1/2} H A^{1/2}, whose nonzero eigenvalues are those of K =
    # P A P.
    W, mask = rng.normal(size=(3, 4)), rng.random((3, 4)) < 0.5
    X = np.where(mask, rng.normal(size=(3, 4)), np.nan)
    energy = dl.Completion.from_dense(X, np.where(mask, 1.7, 0.0))
    p = mask.sum()
    A = np.zeros((p, 3, 4))
    A[(np.arange(p), *np.nonzero(mask))] = 1
    sensing = dl.Sensing(A, X[mask], np.full(p, 1.7))
    K = np.asarray(asy.tangent_kernel(energy, W, depth).as_matrix())
    np.testing.assert_allclose(asy.tangent_kernel(sensing, W, depth).as_matrix(), K, atol=1e-12)
    general = asy.tangent_kernel(lambda W: energy(W), W, depth)
    values = np.linalg.eigvalsh(general.as_matrix())
    edges = np.zeros(12 - p)
    np.testing.assert_allclose(values, np.concatenate([edges, np.linalg.eigvalsh(K)]), atol=1e-11)
    rates = [asy.predicted_rate(E, W, depth) for E in (energy, sensing, lambda W: energy(W))]
    for rate in rates:
        # at N = ∞ a square block alone moves: the modes of an m×n W outside of it are frozen
        nonzero = np.linalg.eigvalsh(K)
        nonzero = nonzero[nonzero > 1e-12]
        assert float(rate.value) == pytest.approx(nonzero[0], rel=1e-9)
        assert float(rate.residual) < 1e-13
    assert (rates[0].status == dl.Status.singular_kernel) == (np.linalg.eigvalsh(K)[0] < 1e-12)


def test_a_log_svd_keeps_what_lies_below_the_floating_point_range(rng):
    # λ_∞(a, e^{−2000}) = a²/(2 (log a + 2000)), far from zero, where e^{−2000} itself is.
    U, V = (np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(2))
    point = dl.LogSVD(jnp.asarray(U), jnp.array([0.3, -2000.0]), jnp.asarray(V.T))
    K = asy.tangent_kernel(np.ones((2, 2), bool), point, math.inf).as_matrix()
    a2 = math.exp(0.6)
    expected = [0.0, a2 / (2 * 2000.3), a2 / (2 * 2000.3), a2]
    np.testing.assert_allclose(np.linalg.eigvalsh(K), expected, atol=1e-16, rtol=1e-12)


def test_bad_input_to_the_tangent_kernel():
    W = np.eye(2)
    for energy in (np.ones((2, 2)), np.zeros((2, 2), bool), np.ones(4, bool)):
        with pytest.raises(dl.InputError, match=r"^energy must"):
            asy.tangent_kernel(energy, W, 2)
    with pytest.raises(dl.InputError, match=r"^W must have the shape"):
        asy.tangent_kernel(np.ones((3, 2), bool), W, 2)
    with pytest.raises(dl.DepthError):
        asy.tangent_kernel(np.ones((2, 2), bool), W, 0.5)


# Rates


def test_the_iterative_rate_is_the_dense_one(rng):
    W, mask = rng.normal(size=(24, 20)), rng.random((24, 20)) < 0.5
    for depth in (2, 4, math.inf):
        dense, free = (
            asy.predicted_rate(mask, W, depth, dense_limit=limit) for limit in (1500, 10)
        )
        assert (dense.method, free.method) == ("dense", "lanczos")
        assert free.status == dl.Status.converged
        assert float(free.value) == pytest.approx(float(dense.value), rel=1e-8)
        assert abs(float(jnp.vdot(free.mode, dense.mode))) == pytest.approx(1, abs=1e-5)
        assert free.mode.shape == (24, 20)
        assert not np.asarray(free.mode)[~mask].any()
    with pytest.raises(dl.InputError, match="zero modes"):
        asy.predicted_rate(lambda W: jnp.sum(W**2), W, 2, dense_limit=10)


def test_the_iterative_rate_says_where_it_knows_nothing(rng):
    mask = rng.random((24, 20)) < 0.5
    flat = rng.normal(size=(24, 1)) @ rng.normal(size=(1, 20))
    assert asy.predicted_rate(mask, flat, 3, dense_limit=10).status in (
        dl.Status.singular_kernel,
        dl.Status.not_converged,
    )
    assert asy.predicted_rate(mask, flat, 3).status == dl.Status.singular_kernel
    # condition number 1e8 and beyond
    W = flat + 1e-7 * rng.normal(size=(24, 20))
    hard = asy.predicted_rate(mask, W, math.inf, dense_limit=10)
    exact = asy.predicted_rate(mask, W, math.inf)
    assert hard.status != dl.Status.converged or float(hard.value) == pytest.approx(
        float(exact.value), rel=0.02
    )


def test_the_predicted_rate_is_differentiable_and_traceable(rng):
    W, Z, h = rng.normal(size=(4, 4)), rng.normal(size=(4, 4)), 1e-6
    mask = rng.random((4, 4)) < 0.6
    rate = lambda W, N: asy.predicted_rate(mask, W, N).value  # noqa: E731
    in_W, in_N = jax.jit(jax.grad(rate, argnums=(0, 1)))(W, 3.0)
    assert float(jnp.vdot(in_W, Z)) == pytest.approx(
        float(rate(W + h * Z, 3.0) - rate(W - h * Z, 3.0)) / (2 * h), rel=1e-6
    )
    assert float(in_N) == pytest.approx(float(rate(W, 3 + h) - rate(W, 3 - h)) / (2 * h), rel=1e-6)


def test_a_saddle_is_called_one(rng):
    energy = lambda W: jnp.sum((W @ W.T - jnp.eye(2)) ** 2)  # noqa: E731
    rate = asy.predicted_rate(energy, 1e-2 * rng.normal(size=(2, 2)), 2)
    assert rate.status == dl.Status.indefinite
    assert float(rate.value) < 0


def problem(rng, shape):
    """A random completion problem, with somewhat more than half of the entries, and a start of
    moderate size.
    """
    size = math.prod(shape)
    mask = (rng.permutation(size) < round(0.55 * size)).reshape(shape)
    return dl.Completion.from_dense(np.where(mask, rng.normal(size=shape), np.nan)), rng.normal(
        size=shape
    )


def settle(energy, W0, depth):
    """The flow to E = 1e−24, all its steps saved."""
    return dl.gradient_flow(
        *(energy, W0, depth),
        chart="dense",
        stop_energy=1e-24,
        saveat=dfx.SaveAt(steps=1, t1=True),
        rtol=1e-13,
        atol=1e-16,
        max_steps=5000,
    )


# At N = ∞ the row space of a wide W is frozen, and the energy need not tend to 0: depth 4 instead.
@pytest.mark.parametrize(
    ("shape", "last"),
    [((4, 4), math.inf), pytest.param((3, 5), 4, marks=pytest.mark.slow)],
    ids=["4x4", "3x5"],
)
def test_measured_rates_are_the_predicted_ones_on_random_problems(rng, shape, last):
    # 2 × 10 problems whose limit has full rank (σ_k > 0.02): every one within 1 %.
    errors = []
    while len(errors) < 10:
        depth = (2, 3, 5, 2.5, last)[len(errors) % 5]
        energy, W0 = problem(rng, shape)
        flow = settle(energy, W0, depth)
        if flow.status != dl.Status.energy or float(flow.singular_values[-1, -1]) < 0.02:
            continue
        predicted, measured = asy.predicted_rate(energy, flow.end, depth), asy.measured_rate(flow)
        assert predicted.status == measured.status == dl.Status.converged
        assert int(predicted.frozen) == 0
        errors.append(measured.value / float(predicted.value) - 1)
        assert abs(errors[-1]) < 5 * measured.error / measured.value + 1e-4
    assert np.abs(errors).max() < 0.01
    assert np.median(np.abs(errors)) < 1e-4


def test_the_measured_rate_of_known_curves():
    t = np.linspace(0, 40, 200)
    noise = 1 + 0.05 * np.random.default_rng(1).normal(size=t.size)
    exact = asy.measured_rate(t, 5 * np.exp(-2 * 0.4 * t) + 3 * np.exp(-2 * 0.9 * t))
    assert exact.value == pytest.approx(0.4, rel=1e-6)
    noisy = asy.measured_rate(t, 5 * np.exp(-0.8 * t) * noise)
    assert noisy.value == pytest.approx(0.4, abs=max(5 * noisy.error, 1e-9))
    assert noisy.error < 0.02 * 0.4
    # a plateau first, and rounding noise at the end
    late = 1 / (1 + np.exp(1.2 * (t - 10))) + 1e-13 * np.abs(
        np.random.default_rng(2).normal(size=t.size)
    )
    assert asy.measured_rate(t, late).value == pytest.approx(0.6, rel=5e-3)
    shifted = asy.measured_rate(t, 0.3 + np.exp(-0.8 * t), limit=0.3)
    assert shifted.value == pytest.approx(0.4, rel=1e-3)
    for curve in (
        *((1 + t) ** -p for p in (1, 2, 6, 20.0)),
        0.3 + np.exp(-0.8 * t),
        np.ones(200),
        0 * t,
        np.exp(0.1 * t),
    ):
        assert asy.measured_rate(t, curve).status == dl.Status.no_tail
    with pytest.raises(dl.InputError, match="one length"):
        asy.measured_rate(t, t[1:])
    with pytest.raises(dl.InputError, match="increasing"):
        asy.measured_rate(t[::-1], t)


# Laws of small singular values

LAW_DEPTHS = [*DEPTHS, *DEPTHS_NEAR_TWO, 4, 10]


def exact_decay(t, sigma0, push, N):
    with mp.workdps(60):
        t, sigma0, push = map(mp.mpf, (t, sigma0, push))
        q = mp.mpf(1) if math.isinf(N) else 1 - 2 / mp.mpf(N)
        if q == 0:
            return sigma0 * mp.exp(-push * t)
        base = sigma0 ** (-q) + q * push * t
        return mp.mpf(0) if base <= 0 and q < 0 else base ** (-1 / q)


@pytest.mark.parametrize("depth", LAW_DEPTHS)
def test_the_decay_solves_its_equation_to_the_last_digits(depth):
    for t in (0.0, 1e-3, 0.7, 30.0, 1e6):
        for sigma0 in (0.5, 1e-3, 1e-100):
            expected = exact_decay(t, sigma0, 0.3, depth)
            ours = float(asy.predict_decay(t, sigma0, 0.3, depth))
            if float(expected) > 1e-280:
                # near the time of extinction (N < 2) the result is as good as the base, whose
                # digits cancel
                assert ours == pytest.approx(float(expected), rel=1e-12), (t, sigma0)
            else:
                assert ours < 1e-270
    slope = jax.grad(lambda t: jnp.log(asy.predict_decay(t, 0.5, 0.3, depth)))(0.2)
    q = 1 - 2 / depth
    assert float(slope) == pytest.approx(
        -0.3 * float(asy.predict_decay(0.2, 0.5, 0.3, depth)) ** q, rel=1e-12
    )


def test_decay_below_depth_two_ends_and_growth_above_explodes():
    # N = 1: σ = σ_0 − ct
    np.testing.assert_allclose(
        asy.predict_decay(np.array([0.0, 1.0, 2.0, 3.0]), 1.0, 0.5, 1), [1, 0.5, 0, 0], atol=1e-15
    )
    # N = ∞, growth: 1/(1/σ_0 − t)
    np.testing.assert_allclose(
        asy.predict_decay(np.array([0.0, 1.0, 2.0]), 0.5, -1.0, math.inf), [0.5, 1, np.inf]
    )


def test_exponents_and_their_errors():
    np.testing.assert_allclose(
        asy.exponent(np.array([1, 2, 3, 4, 10, math.inf])), [np.inf, np.inf, 3, 2, 1.25, 1]
    )
    with pytest.raises(dl.DepthError):
        asy.exponent(0.5)
    for wrong in ({"eps": 0.0}, {"target": -1.0}, {"push": 0.0}):
        with pytest.raises(dl.InputError, match=f"^{next(iter(wrong))} must be positive"):
            asy.escape_time(**{"depth": 3, "eps": 1e-3, "target": 0.5, "push": 1.0, **wrong})


@pytest.mark.parametrize("depth", LAW_DEPTHS)
@pytest.mark.parametrize("eps", [0.49, 1e-3, 1e-12, 1e-200])
def test_escape_times_to_the_last_digits_through_depth_two(depth, eps):
    with mp.workdps(60):
        q = mp.mpf(1) if math.isinf(depth) else 1 - 2 / mp.mpf(depth)
        e, T = mp.mpf(eps), mp.mpf(0.5)
        expected = mp.log(T / e) if q == 0 else (e ** (-q) - T ** (-q)) / q
        expected = float(expected / mp.mpf(0.7))
    # the exponent of ε amplifies the rounding of q by |log ε| ≤ 461
    assert float(asy.escape_time(depth, eps, 0.5, 0.7)) == pytest.approx(expected, rel=1e-12)
    assert float(asy.escape_time(depth, 0.5, eps, 0.7)) == pytest.approx(-expected, rel=1e-12)
    back = float(asy.predict_decay(expected, eps, -0.7, depth))
    if eps > 1e-5:  # growth in a stiff power forgets where it came from
        assert back == pytest.approx(0.5, rel=1e-6)


def test_the_laws_are_differentiable_in_depth_through_two():
    h = 1e-5
    for f in (
        lambda N: asy.escape_time(N, 1e-3, 0.5, 0.7),
        lambda N: jnp.log(asy.predict_decay(5.0, 0.5, 0.7, N)),
    ):
        for N in (1.7, 2.0, 2 + 1e-7, 3.0):
            assert float(jax.grad(f)(N)) == pytest.approx(
                float(f(N + h) - f(N - h)) / (2 * h), rel=1e-7
            )


class Pushed(eqx.Module):
    """±0.8 (UᵀWV)_22, in a generic frame, with springs that hold every other entry of UᵀWV at
    rest.
    """

    U: jax.Array
    V: jax.Array
    rest: jax.Array
    push: jax.Array

    def __call__(self, W):
        C = self.U.T @ W @ self.V
        stretch = (C - jnp.diag(self.rest)).at[1, 1].set(0)
        return self.push * C[1, 1] + 0.5 * jnp.sum(stretch**2)


def pushed(rng, depth, sign, sigma, ts, t1):
    """The singular value σ that alone is pushed."""
    U, V = (jnp.asarray(np.linalg.qr(rng.normal(size=(3, 3)))[0]) for _ in range(2))
    energy = Pushed(U, V, jnp.array([2.0, sigma, 1.2]), jnp.array(0.8 * sign))
    start = dl.LogSVD(U, jnp.log(energy.rest), V.T)
    flow = dl.gradient_flow(
        energy, start, depth, t1=t1, saveat=ts, chart="svd", rtol=1e-8, max_steps=4000
    )
    assert flow.status == dl.Status.reached_t1
    C = np.array(U.T @ flow.W[-1] @ V)
    C[1, 1] = 0
    np.testing.assert_allclose(C, np.diag([2.0, 0, 1.2]), atol=1e-6)
    return np.einsum("i,tij,j->t", U[:, 1], flow.W, V[:, 1])


@pytest.mark.parametrize("depth", [2, 3, 4, 10, math.inf])
def test_fitted_exponents_of_flows_and_of_the_closed_form(rng, depth):
    t1 = 25.0 if depth == 2 else 400.0
    ts = np.linspace(0, t1, 60)[1:]
    from_flow = pushed(rng, depth, 1, 0.4, ts, t1)
    law = np.asarray(asy.predict_decay(ts, 0.4, 0.8, depth))
    np.testing.assert_allclose(from_flow, law, rtol=1e-5)
    for sigma in (from_flow, law):
        fit = asy.fit_decay(ts, sigma)
        assert fit.reliable
        assert fit.push == pytest.approx(0.8, rel=0.02)
        assert fit.power == pytest.approx(1 - 2 / depth, abs=1e-3)
        if depth == 2:
            assert (fit.law, fit.exponent) == ("exponential", math.inf)
        else:
            assert fit.law == "algebraic"
            assert fit.exponent == pytest.approx(1 / (1 - 2 / depth), rel=0.02)
            assert fit.misfit["fitted"] < 1e-3 * fit.misfit["exponential"]
        imposed = asy.fit_decay(ts, sigma, depth)
        assert imposed.push == pytest.approx(0.8, rel=1e-3)
        assert imposed.exponent_error == 0


@pytest.mark.parametrize("depth", [2, 2.5, 3, math.inf])
def test_escape_times_of_flows(rng, depth):
    eps, target = 1e-3, 0.5
    time = float(asy.escape_time(depth, eps, target, 0.8))
    end = float(pushed(rng, depth, -1, eps, np.array([time]), time)[0])
    # the growth at the end is steep: an error of the time of 1e−6 shows as 1e−6 · time · c
    # σ^{1−2/N} in log σ
    assert end == pytest.approx(target, rel=2e-3)
    assert float(asy.escape_time(depth, eps, end, 0.8)) == pytest.approx(time, rel=1e-6)


def test_the_standard_errors_of_a_fit_are_right(rng):
    # 200 noisy data sets: errors in units of the stated standard error have unit variance (χ² of
    # 200: 5σ is ±0.5).
    t = np.linspace(0, 60, 40)
    law = np.asarray(asy.predict_decay(t, 0.5, 1.0, 4))
    scores = []
    for _ in range(200):
        fit = asy.fit_decay(t, law * np.exp(0.02 * rng.normal(size=t.size)))
        scores.append([(fit.power - 0.5) / fit.power_error, (fit.push - 1) / fit.push_error])
    assert fit.law == "algebraic"
    np.testing.assert_allclose(np.mean(np.square(scores), 0), 1, atol=0.5)


def test_fits_that_cannot_be_trusted_say_so():
    t = np.linspace(0, 10, 30)
    wild = np.exp(-t) * (1 + 0.9 * np.sin(7 * t))
    assert not asy.fit_decay(t, wild).reliable
    assert not asy.fit_decay(
        t, np.asarray(asy.predict_decay(t, 0.5, 3.0, math.inf)), depth=2
    ).reliable
    finite = asy.fit_decay(t[:10], np.asarray(asy.predict_decay(t[:10], 1.0, 0.25, 1)))
    assert (finite.law, finite.exponent) == ("finite-time", math.inf)
    assert finite.depth == pytest.approx(1, abs=1e-3)
    for bad in ((t, t), (t[:3], -t[:3]), (t, np.exp(t)), (t[::-1], np.exp(-t))):
        with pytest.raises(dl.InputError, match=r"must be"):
            asy.fit_decay(*bad)
