"""Equilibria of F_β and their rates: against closed forms, a search without derivatives, and the
entropic flow of all of W.
"""

import math

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import orthogonal, slow
from scipy.optimize import minimize

import deeplinear as dl
from deeplinear.asymptotics import entropic_equilibrium

half_square = lambda s: 0.5 * jnp.sum(s**2)  # noqa: E731
quartic = lambda s: 0.25 * jnp.sum((s**2 - 1) ** 2)  # noqa: E731
tilted = lambda s: 0.5 * jnp.sum(s**2) + 0.3 * jnp.sum(s) ** 2  # noqa: E731


@pytest.mark.parametrize("depth", [1.5, 2, 3, 7, math.inf])
@pytest.mark.parametrize("d", [2, 3, 5])
def test_closed_forms_of_half_the_squared_norm(depth, d):
    beta, nu = 1.7, 1 / depth
    at = entropic_equilibrium(half_square, depth, beta, d)
    s2 = (d - 1) * (1 - nu) / (2 * beta)
    np.testing.assert_allclose(at.singular_values**2, s2, rtol=1e-8)
    slow = s2**-nu * (1 - nu) / beta * ((d - 1) - d * (1 + nu) / 6)
    np.testing.assert_allclose(at.rates[:-1], slow, rtol=1e-6)
    assert at.rates[-1] == pytest.approx(2 * s2 ** (1 - nu), rel=1e-6)
    assert at.converged
    again = entropic_equilibrium(half_square, depth, beta, d, equal=True)
    np.testing.assert_allclose(again.rates, at.rates, rtol=1e-6)


def plain_free_energy(l, energy, N, beta):
    s = np.exp(l)
    pairs = [oracles.kernel(a, b, N, 20) for i, a in enumerate(s) for b in s[i + 1 :]]
    return float(energy(s)) - 0.5 * sum(math.log(x) for x in pairs) / beta


@pytest.mark.parametrize(("energy", "depth"), [(quartic, 3), (tilted, 2.5), (quartic, math.inf)])
def test_a_search_without_derivatives_finds_nothing_lower(energy, depth, rng):
    beta, d = 0.8, 3
    at = entropic_equilibrium(energy, depth, beta, d)
    assert at.converged
    best = min(
        minimize(
            plain_free_energy,
            rng.normal(size=d),
            (energy, depth, beta),
            method="Nelder-Mead",
            options={"xatol": 1e-7, "fatol": 1e-12, "maxfev": 1500},
        ).fun
        for _ in range(3)
    )
    assert at.free_energy == pytest.approx(best, abs=1e-8)
    found = plain_free_energy(np.log(at.singular_values), energy, depth, beta)
    assert at.free_energy == pytest.approx(found, abs=1e-10)


@pytest.mark.parametrize("depth", [slow(2), 3.5, slow(math.inf)])
def test_the_flow_of_W_relaxes_at_these_rates(depth, rng):
    """From W near the equilibrium in generic frames, its traces and what is traceless apart."""
    beta, d = 1.3, 3
    at = entropic_equilibrium(half_square, depth, beta, d)
    s, (slow, _, fast) = at.singular_values[0], at.rates
    Q, shape = orthogonal(rng, d), rng.normal(size=(d, d))
    shape = shape + shape.T
    shape -= np.trace(shape) / d * np.eye(d)
    energy = lambda W: dl.free_energy(lambda X: 0.5 * jnp.sum(X**2), W, depth, beta)  # noqa: E731
    t = 0.7
    for direction, rate in ((shape, slow), (np.eye(d), fast)):
        size = 1e-4 * s / np.linalg.norm(direction)
        start = s * Q + size * direction @ Q
        run = dl.gradient_flow(energy, start, depth, t1=t, rtol=1e-11, atol=1e-13)
        left = np.linalg.norm(np.asarray(run.W) - s * Q) / np.linalg.norm(start - s * Q)
        assert left == pytest.approx(math.exp(-rate * t), rel=2e-3)


@pytest.mark.parametrize("d", [2, 3, 4, 8])
def test_weight_decay_breaks_the_tie_beyond_five_less_six_over_d(d):
    """(N/2) Σ σ^{2/N}: equal singular values are a minimum for N < 5 − 6/d, at every β."""
    critical = 5 - 6 / d
    for factor, stable in ((0.97, True), (1.03, False)):
        N = factor * critical
        decay = lambda s, N=N: N / 2 * jnp.sum(s ** (2 / N))  # noqa: E731
        for beta in (0.5, 20.0):
            at = entropic_equilibrium(decay, N, beta, d, equal=True)
            expected = ((d - 1) * (1 - 1 / N) / (2 * beta)) ** (N / 2)
            assert at.singular_values[0] == pytest.approx(expected, rel=1e-8)
            wanted = dl.Status.converged if stable else dl.Status.indefinite
            assert at.status == wanted


def test_a_search_that_loses_rank_says_so():
    decay = lambda s: 3.0 * jnp.sum(s ** (1 / 3))  # noqa: E731
    at = entropic_equilibrium(decay, 6, 2.0, 2)
    assert at.status == dl.Status.not_converged
    assert at.singular_values[1] < 1e-6 * at.singular_values[0]


def test_a_start_of_ones_own_and_order(rng):
    at = entropic_equilibrium(tilted, 3, 2.0, 4, start=[0.1, 2.0, 0.5, 1.0])
    assert at.converged
    np.testing.assert_allclose(at.singular_values, entropic_equilibrium(tilted, 3, 2.0, 4)[0])
    assert (np.diff(at.singular_values) <= 0).all()


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"depth": 0.5}, dl.DepthError, r"^depth must be"),
        ({"beta": 0.0}, dl.InputError, r"^beta must be one positive"),
        ({"d": 1}, dl.InputError, r"^d must be an integer ≥ 2"),
        ({"start": [1.0, -1.0]}, dl.InputError, r"^start must be 2 positive"),
        ({"energy": lambda s: s.sum() if s[0] > 0 else 0.0}, dl.InputError, r"^energy must be a"),
    ],
)
def test_sentences(changes, error, sentence):
    whole = {"energy": half_square, "depth": 2, "beta": 1.0, "d": 2, **changes}
    with pytest.raises(error, match=sentence):
        entropic_equilibrium(**whole)
