"""The laws of small singular values against 60 digits, and of actual flows."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from cases import DEPTHS, DEPTHS_NEAR_TWO

import deeplinear as dl
from deeplinear import asymptotics as asy

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


def test_the_decay_overflows_nowhere(rng):
    """Against the closed form in 60 digits, for arguments over the whole range of float64."""
    for _ in range(300):
        N = float(rng.choice([1.0, 1.3, 2.0, 2.5, 3.0, 10.0, np.inf]))
        t, sigma0, push = (float(10.0**x) for x in rng.uniform(-300, 300, 3))
        with mp.workdps(60):
            q = 1 - 2 / mp.mpf(N) if np.isfinite(N) else mp.mpf(1)
            x = mp.mpf(push) * t * mp.mpf(sigma0) ** q
            if q == 0:
                exact = mp.mpf(sigma0) * mp.exp(-x)
            else:
                base = 1 + q * x
                exact = mp.mpf(sigma0) * base ** (-1 / q) if base > 0 else mp.mpf(0)
            value = float(asy.predict_decay(t, sigma0, push, N))
            assert not np.isnan(value)
            if 1e-290 < exact < 1e290:
                assert abs(value / exact - 1) < 1e-10, (t, sigma0, push, N)


def test_the_decay_at_infinite_times_is_its_limit():
    for N in (1, 2, 3, np.inf):
        assert asy.predict_decay(np.inf, 0.5, 1.0, N) == 0
        assert asy.predict_decay(np.inf, 0.5, 0.0, N) == 0.5
        assert asy.predict_decay(np.inf, 0.5, -1.0, N) == np.inf
    for bad in (0.0, -1.0, np.inf, np.nan, 1e-320):
        with pytest.raises(dl.InputError, match=r"^sigma0 must be positive and finite"):
            asy.predict_decay(1.0, bad, 1.0, 3)


def test_a_fit_has_a_status():
    t = np.linspace(0, 50, 40)
    good = asy.fit_decay(t, asy.predict_decay(t, 0.1, 2.0, 4))
    assert good.status == dl.Status.converged
    wild = np.exp(-0.1 * t) * (1 + 0.8 * np.sin(3 * t))
    assert asy.fit_decay(t, wild).status == dl.Status.misfit


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
