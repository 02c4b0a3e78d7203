"""Losses in the engine: the minimum of the penalised objective, and what is learned before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from completion_data import observe
from scipy import stats
from scipy.optimize import minimize

from deeplinear.completion.loss import HUBER, ORDINAL, POISSON, SQUARED
from deeplinear.completion.solver.fit import fit, fold_in, update
from deeplinear.completion.solver.pilot import best_cuts, learn
from deeplinear.errors import InputError
from deeplinear.status import Status

DECAY, BETA = 0.7, 2.0
KINDS = {"huber": HUBER, "logistic": ORDINAL, "ordinal": ORDINAL, "poisson": POISSON}


def data(name, m=14, n=9, seed=0):
    """A small table of low rank of that loss, and which cells are seen."""
    rng = np.random.default_rng(seed)
    T = rng.normal(size=(m, 2)) @ rng.normal(size=(2, n))
    X = {
        "huber": T + 0.3 * rng.standard_t(1.5, size=T.shape),
        "logistic": (rng.logistic(size=T.shape) < 2 * T) * 1.0,
        "ordinal": np.digitize(2 * T + rng.logistic(size=T.shape), [-2, -0.3, 1.5]) + 1.0,
        "poisson": rng.poisson(np.exp(0.6 * T + 0.5)) * 1.0,
    }[name]
    return X, rng.random(T.shape) < 0.8


def cost(name, losses):
    """ℓ of all cells as a function of η, written with JAX."""
    unit, c = losses.units[0], losses.thresholds[0]
    cuts = np.r_[-1e9, losses.cuts[0], 1e9]

    def of(x, eta):
        t = unit * eta
        if name == "huber":
            r = jnp.abs(x - t)
            return jnp.where(r < c, r**2 / 2, c * r - c**2 / 2)
        if name == "poisson":
            return jnp.exp(t) - x * t - x + jax.scipy.special.xlogy(x, x)
        k = np.searchsorted(losses.levels[0], x)
        return -jnp.log(jax.nn.sigmoid(cuts[k + 1] - t) - jax.nn.sigmoid(cuts[k] - t))

    return of


@pytest.mark.parametrize("name", KINDS)
def test_the_objective_is_that_of_a_slow_minimizer(name):
    """Depth 2 is convex: min over factors of full rank of Σ ℓ + ½ λ (|P|² + |Q|²) + biases."""
    X, mask = data(name)
    (m, n), seen = X.shape, observe(X, mask)
    losses = learn([KINDS[name]], seen, bias_ridge=BETA)
    with jax.enable_x64(True):
        of, sizes = cost(name, losses), [m * n, n * n, m, n]

        def objective(free):
            P, Q, a, b = jnp.split(free[1:], np.cumsum(sizes)[:-1])
            eta = P.reshape(m, n) @ Q.reshape(n, n) + free[0] + a[:, None] + b
            entries = jnp.where(mask, of(X, eta), 0).sum()
            decays = DECAY * (P @ P + Q @ Q) + BETA * (a @ a + b @ b)
            return entries + decays / 2

        step = jax.jit(jax.value_and_grad(objective))
        start = 0.3 * np.random.default_rng(1).normal(size=1 + sum(sizes))
        options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-8, "maxcor": 50}
        slow = minimize(
            lambda x: tuple(np.asarray(y, float) for y in step(x)),
            start,
            jac=True,
            method="L-BFGS-B",
            options=options,
        )
    how = {"depth": 2, "decay": DECAY, "bias_ridge": BETA, "weighted_trace_norm": 0}
    found = fit(seen, losses=losses, tol=1e-14, max_sweeps=20_000, steps=8, max_rank=n, **how)
    assert np.all(np.diff(found.objective) <= 1e-9 * abs(found.objective[0]))
    assert found.objective[-1] == pytest.approx(slow.fun, rel=1e-6)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("depth", [3.0, np.inf])
def test_deeper_fits_descend_to_a_stationary_point(name, depth):
    X, mask = data(name, 30, 20, seed=2)
    seen = observe(X, mask)
    losses = learn([KINDS[name]], seen)
    how = {"depth": depth, "strength": 0.05, "losses": losses, "tol": 1e-10, "max_sweeps": 5000}
    found = fit(seen, **how)
    assert found.status == Status.converged
    assert found.rank > 0
    assert np.all(np.diff(found.objective) <= 1e-9 * found.objective[0])
    assert found.certificate.tangent < 1e-3


@pytest.mark.parametrize("name", KINDS)
def test_rows_of_the_fit_come_out_as_they_are(name):
    X, mask = data(name, 40, 12, seed=3)
    seen = observe(X, mask)
    losses = learn([KINDS[name]], seen)
    found = fit(seen, depth=2, strength=0.3, losses=losses, tol=1e-13, max_sweeps=5000, steps=8)
    again = fold_in(found, seen)
    np.testing.assert_allclose(again.matrix(), found.matrix(), atol=2e-3 * np.ptp(X))


def test_an_update_goes_on_with_the_losses():
    X, mask = data("logistic", 40, 20, seed=4)
    seen = observe(X, mask)
    losses = learn([ORDINAL], seen)
    found = fit(seen, depth=2, strength=0.3, losses=losses)
    more = mask.copy()
    more[0] = True
    new = update(observe(X, more), found, [0] * 20, range(20))
    assert new.losses is losses
    before, after = (abs(f.matrix()[0] - X[0]).mean() for f in (found, new))
    assert after < before


def test_cut_points_are_the_most_likely():
    rng = np.random.default_rng(5)
    t, truth = rng.normal(size=4000), np.array([-1.5, 0.0, 0.4, 2.0])
    codes = np.digitize(t + rng.logistic(size=4000), truth)
    found = best_cuts(np.array([-1.0, -0.5, 0.5, 1.0]), codes, t)
    np.testing.assert_allclose(found, truth, atol=0.15)

    def likelihood(cuts):
        ends = np.r_[-np.inf, cuts, np.inf]
        cdf = stats.logistic.cdf
        return np.log(cdf(ends[codes + 1] - t) - cdf(ends[codes] - t)).sum()

    best = likelihood(found)
    for k in range(4):
        for step in (-0.01, 0.01):
            assert likelihood(found + step * np.eye(4)[k]) < best


def test_hubers_threshold_is_that_of_the_noise_and_outliers_hardly_move_it():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 40)) + 0.3 * rng.normal(size=(80, 40))
    mask = rng.random(X.shape) < 0.7
    clean = learn([HUBER], observe(X, mask)).thresholds[0]
    assert clean == pytest.approx(1.345 * 0.3, rel=0.25)
    dirty = np.where(rng.random(X.shape) < 0.02, 1e5, X)
    assert learn([HUBER], observe(dirty, mask)).thresholds[0] == pytest.approx(clean, rel=0.3)


def test_a_column_of_one_level_has_nothing_to_tell_apart():
    X, mask = data("ordinal")
    X[:, 3] = 2.0
    losses = learn([ORDINAL] * X.shape[1], observe(X, mask))
    assert losses.kinds[3] == SQUARED
    assert (np.delete(losses.kinds, 3) == ORDINAL).all()


def test_other_depths_are_refused():
    X, mask = data("logistic")
    seen = observe(X, mask)
    with pytest.raises(InputError, match="depth"):
        fit(seen, depth=1.5, losses=learn([ORDINAL], seen))
