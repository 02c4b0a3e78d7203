"""Brownian motion and Langevin: coefficients against finite differences, and what surrounds the
solve. Sampled laws are in `test_langevin_laws`.
"""

import dataclasses
import math
import subprocess
import sys

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CURVED_DEPTHS, DEPTHS, KEY, SIGNIFICANCE, Distance, LogEnergy, process, slow
from scipy import stats

import deeplinear as dl
from deeplinear.dynamics.langevin import brownian_drift
from deeplinear.dynamics.langevin_process import Path, sign_of_det


def quotient(s, N):
    """The same in plain NumPy, for well separated s."""
    S, T = np.broadcast_arrays(s[:, None], s)
    gap = np.log(S**2 / T**2) if math.isinf(N) else N * (S ** (2 / N) - T ** (2 / N))
    np.fill_diagonal(gap, 1.0)
    return np.where(
        np.eye(s.size) > 0, S ** (2 if math.isinf(N) else 2 - 2 / N), (S**2 - T**2) / gap
    )


def power_matrix(W, N, q):
    """A_{N,W}^q as a d²×d² matrix."""
    U, s, Vt = np.linalg.svd(W)
    frame = np.kron(U, Vt.T)
    return (frame * quotient(s, N).ravel() ** q) @ frame.T


def derivative(f, h):
    """f′(0) to O(h⁴)."""
    return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h)


def second_derivative(f, h):
    return (-f(2 * h) + 16 * f(h) - 30 * f(0.0) + 16 * f(-h) - f(-2 * h)) / (12 * h * h)


@pytest.mark.parametrize("depth", CURVED_DEPTHS)
def test_brownian_drift_is_that_of_half_the_laplacian(rng, depth):
    d = 3
    W = rng.normal(size=(d, d))
    log_volume = lambda X: -0.5 * np.linalg.slogdet(power_matrix(X, depth, 1.0))[1]  # noqa: E731
    drift = np.zeros(d * d)
    for j, E in enumerate(np.eye(d * d).reshape(-1, d, d)):
        drift += derivative(lambda h, E=E, j=j: power_matrix(W + h * E, depth, 1.0)[:, j], 1e-3)
        slope = derivative(lambda h, E=E: log_volume(W + h * E), 1e-3)
        drift += slope * power_matrix(W, depth, 1.0)[:, j]
    np.testing.assert_allclose(np.ravel(brownian_drift(W, depth)), drift / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_equation_of_the_root_is_that_of_W(rng, depth):
    """Drift and covariance of R, by Itô's formula and finite differences, from the equation of W in
    its dense form.
    """
    d, beta, kappa = 3, 1.7, 0.6
    W, energy = rng.normal(size=(d, d)), Distance(jnp.asarray(rng.normal(size=(d, d))))
    ours = process(energy, depth, beta, kappa)
    root = eqx.filter_jit(ours.start)
    U, s, Vt = np.linalg.svd(W)
    nu = 0 if math.isinf(depth) else 1 / depth
    gradient = np.ravel(W - np.asarray(energy.M))
    drift = -power_matrix(W, depth, 1.0) @ gradient + kappa / beta * (1 - nu) * np.ravel(
        (U * s ** (1 - 2 * nu)) @ Vt
    )
    noise = math.sqrt(2 * kappa / beta) * power_matrix(W, depth, 0.5)
    along = lambda v: lambda h: np.ravel(root(W + h * v.reshape(d, d)))  # noqa: E731
    expected = derivative(along(drift), 1e-4)
    columns = [derivative(along(v), 1e-4) for v in noise.T]
    expected += 0.5 * sum(second_derivative(along(v), 2e-3) for v in noise.T)
    R = root(W)
    np.testing.assert_allclose(np.ravel(ours.drift(0.0, R, None)), expected, rtol=0, atol=2e-7)
    sqrt = np.stack(
        [np.ravel(ours.noise(0.0, R, None).mv(E)) for E in jnp.eye(d * d).reshape(-1, d, d)], 1
    )
    np.testing.assert_allclose(sqrt, sqrt.T, atol=1e-14)
    np.testing.assert_allclose(
        sqrt @ sqrt.T, np.array(columns).T @ np.array(columns), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("depth", [1, 2, 3.5, math.inf])
def test_a_step_that_turns_the_frames_brings_the_rest_of_the_drift_along(rng, depth):
    d, W = 3, rng.normal(size=(3, 3))
    turning = process(None, depth, turning=True)
    flat = dataclasses.replace(turning, turning=False)
    R = flat.start(W)
    then, noise = eqx.filter_jit(turning.then), turning.noise(0.0, R, None)
    moved = [jnp.asarray(noise.mv(E)) for E in jnp.eye(d * d).reshape(-1, d, d)]
    extra = 0.5 * sum(
        second_derivative(lambda h, m=m: np.asarray(then(R, R + h * m)), 1e-3) for m in moved
    )
    difference = np.asarray(flat.drift(0.0, R, None)) - np.asarray(turning.drift(0.0, R, None))
    np.testing.assert_allclose(extra, difference, rtol=0, atol=1e-7)
    small = 1e-6 * np.asarray(moved[1])
    np.testing.assert_allclose(np.asarray(then(R, R + small) - R), small, rtol=0, atol=1e-11)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_coefficients_are_continuous_at_ties_and_at_zero(rng, depth):
    Q, P = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    at = lambda y: (Q * y) @ P  # noqa: E731
    ours = process(None, depth)
    for y in ([1.3, 1.3, 0.7], [0.9, 0.9, 0.9]):
        for eps in (1e-5, 1e-8, 1e-12):
            near = at(np.array(y) * (1 + eps * np.array([1.0, -0.3, 0.4])))
            np.testing.assert_allclose(
                ours.drift(0.0, near, None), ours.drift(0.0, at(np.array(y)), None), atol=50 * eps
            )
            moved = [np.asarray(ours.noise(0.0, X, None).mv(Q)) for X in (near, at(np.array(y)))]
            np.testing.assert_allclose(*moved, atol=50 * eps + 1e-13)
    if depth < math.inf:  # through det = 0
        y = np.array([1.2, 0.5, 1e-9])
        for X, Y in ((at(y), at(y * [1, 1, -1])), (at(y), at(y * [1, 1, 0]))):
            np.testing.assert_allclose(
                ours.drift(0.0, X, None), ours.drift(0.0, Y, None), atol=1e-7
            )
            np.testing.assert_allclose(
                ours.noise(0.0, X, None).mv(P), ours.noise(0.0, Y, None).mv(P), atol=1e-7
            )


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3.5, math.inf])
def test_without_noise_it_is_the_gradient_flow_of_the_free_energy(rng, depth):
    energy, W0, beta = (
        Distance(jnp.asarray(rng.normal(size=(3, 3)))),
        np.eye(3) + 0.4 * rng.normal(size=(3, 3)),
        2.0,
    )
    free = lambda W: energy(W) - dl.entropy(W, depth, constant=False) / beta  # noqa: E731
    expected = dl.gradient_flow(free, W0, depth, t1=0.5, chart="dense", rtol=1e-10)
    adaptive = {
        "solver": dfx.Dopri5(),
        "stepsize_controller": dfx.PIDController(rtol=1e-9, atol=1e-9),
    }
    run = dl.langevin(
        energy, W0, depth, beta, kappa=0.0, entropic=True, t1=0.5, dt=0.01, key=KEY, **adaptive
    )
    assert bool(run.converged)
    np.testing.assert_allclose(run.W, expected.W, atol=1e-7)
    errors = [
        np.linalg.norm(
            dl.langevin(energy, W0, depth, beta, kappa=0, entropic=True, t1=0.5, dt=dt, key=KEY).W
            - expected.W
        )
        for dt in (0.02, 0.01)
    ]
    assert errors[0] < 0.1
    assert 1.6 < errors[0] / errors[1] < 2.5  # our own steps, of order one


@pytest.mark.parametrize("depth", [slow(1), slow(2.5), slow(math.inf)])
def test_a_chain_is_the_same_alone_and_in_a_batch(rng, depth):
    energy, W0 = Distance(jnp.asarray(rng.normal(size=(2, 2)))), np.eye(2)  # ties at the start
    plan = {"t1": 0.3, "dt": 0.03, "key": KEY, "saveat": [0.1, 0.3]}
    alone = dl.langevin(energy, W0, depth, 2.0, **plan)
    batch = dl.langevin(energy, W0, depth, 2.0, chains=3, **plan)
    stacked = dl.langevin(energy, np.stack([W0] * 3), depth, 2.0, **plan)
    assert alone.W.shape == (2, 2, 2)
    assert batch.log_singular_values.shape == (3, 2, 2)
    assert np.isfinite(batch.W).all()
    np.testing.assert_allclose(batch.W[0], alone.W, rtol=0, atol=1e-12)
    np.testing.assert_allclose(stacked.W, batch.W, rtol=0, atol=1e-12)
    assert (
        np.abs(np.asarray(batch.W)[1:] - np.asarray(batch.W)[:-1]).max((1, 2, 3)).min() > 1e-3
    )  # chains differ
    np.testing.assert_allclose(alone.energy, [energy(W) for W in alone.W])
    np.testing.assert_allclose(
        alone.singular_values, np.linalg.svd(alone.W, compute_uv=False), atol=1e-12
    )
    up = dl.factor_langevin(energy, dl.balanced_factors(W0, 2, KEY), 2.0, **plan)
    many = dl.factor_langevin(energy, dl.balanced_factors(W0, 2, KEY), 2.0, chains=3, **plan)
    np.testing.assert_allclose(many.W[0], up.W, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_solvers_and_controllers_of_diffrax_are_passed_through():
    """The root with plain (not turning) steps, on the Brownian tree: adaptive, and with fixed
    steps.
    """
    plan = {"t1": 0.5, "dt": 0.01, "key": KEY, "chains": 500}
    start = math.log(1.1) ** 2 + math.log(0.9) ** 2
    exact = 3 / 4 * (1 - math.exp(-1.0)) + start * math.exp(-1.0)
    for kwargs in (
        {"solver": dfx.Euler()},
        {
            "solver": dfx.HalfSolver(dfx.ItoMilstein()),
            "stepsize_controller": dfx.PIDController(rtol=0, atol=1e-2, pcoeff=0.1, icoeff=0.3),
        },
    ):
        run = dl.langevin(LogEnergy(), np.diag([1.1, 0.9]), math.inf, 4.0, **plan, **kwargs)
        squares = (np.asarray(run.log_singular_values) ** 2).sum(1)
        assert np.asarray(run.converged).all()
        assert abs(squares.mean() - exact) < 4 * squares.std() / math.sqrt(500) + 0.1 * exact
    few = dl.langevin(LogEnergy(), np.eye(2), math.inf, 4.0, t1=0.5, dt=0.01, key=KEY, max_steps=3)
    assert few.status == dl.Status.max_steps
    assert not bool(few.converged)
    steps = dl.brownian(
        np.eye(2), 3, t1=0.1, dt=0.01, key=KEY, saveat=dfx.SaveAt(t0=True, steps=True)
    )
    np.testing.assert_allclose(steps.ts[np.isfinite(steps.ts)], np.linspace(0, 0.1, 11), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2.5, math.inf, "factors"])
def test_derivatives_of_paths(rng, depth):
    """With respect to a parameter of the energy, against central differences, from a start without
    ties.
    """
    start = np.array([[1.2, 0.3], [-0.1, 0.7]])
    plan = {"t1": 0.2, "dt": 0.02, "key": KEY, "chains": 3}

    def mean_square(c):
        energy = lambda W: c * jnp.sum(W**2)  # noqa: E731
        if depth == "factors":
            return jnp.sum(
                dl.factor_langevin(energy, dl.balanced_factors(start, 2, KEY), 2.0, **plan).W ** 2
            )
        return jnp.sum(dl.langevin(energy, start, depth, 2.0, **plan).W ** 2)

    expected = (mean_square(0.5 + 1e-5) - mean_square(0.5 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(mean_square)(0.5), expected, rtol=1e-6)


def test_what_goes_wrong_is_said():
    wild = dl.brownian(np.diag([1.0, 1e-3]), math.inf, t1=40.0, dt=20.0, key=KEY, chains=200)
    crossed = np.asarray(wild.status == dl.DiffusionStatus.crossed)
    assert crossed.any()
    assert (np.asarray(wild.det_sign)[crossed] == -1).all()
    assert not np.asarray(wild.converged)[crossed].any()
    escaping = lambda W: -jnp.sum(W**4)  # noqa: E731
    lost = dl.langevin(
        escaping, 3 * np.eye(2), 2, 1.0, t1=5.0, dt=0.1, key=KEY, chains=3, saveat=[0.1, 5.0]
    )
    assert (np.asarray(lost.status == dl.DiffusionStatus.failed)).all()
    assert not np.isfinite(lost.W[:, -1]).any()
    missing = dl.langevin(
        lambda W: jnp.sum(jnp.sqrt(W - 10)), np.eye(2), 2, 1.0, t1=1.0, dt=0.1, key=KEY
    )
    assert missing.status == dl.DiffusionStatus.failed


@pytest.mark.parametrize("depth", [2, slow(math.inf)])
def test_the_dtype_given_is_kept(depth):
    W0 = np.eye(2, dtype=np.float32)
    run = dl.langevin(
        lambda W: jnp.sum(W**2), W0, depth, 1.0, t1=0.1, dt=0.01, key=KEY, saveat=[0.05, 0.1]
    )
    assert {x.dtype for x in (run.W, run.ts, run.energy, run.log_singular_values)} == {
        jnp.dtype(jnp.float32)
    }
    with pytest.raises(dl.PrecisionError, match="dt is beyond float32"):
        dl.brownian(W0, depth, t0=1e3, t1=1e3 + 1e-3, dt=1e-5, key=KEY)


def test_increments_are_independent_however_late_and_short_the_steps():
    path = Path(jax.ShapeDtypeStruct((), jnp.dtype(float)), KEY)
    t = 1e6 + 1e-6 * np.arange(1001)
    steps = np.asarray(jax.vmap(path.evaluate)(t[:-1], t[1:])) / np.sqrt(np.diff(t))
    assert np.unique(steps).size == 1000
    assert stats.kstest(steps, stats.norm.cdf).pvalue > SIGNIFICANCE


@pytest.mark.slow
def test_a_large_batch_does_not_lock_up():
    """Two LAPACK calls at once on a batch can wait for each other for ever (jaxlib 0.10, two
    cores).
    """
    code = (
        "import jax, numpy as np, deeplinear as dl\n"
        "for i in range(8): dl.brownian(np.eye(4), 3, t1=1.0, dt=0.05, key=jax.random.key(i), "
        "chains=10_000, at_zero='reflect')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


def test_sign_of_the_determinant(rng):
    for d in (1, 2, 5, 9):
        A = rng.normal(size=(50, d, d))
        np.testing.assert_array_equal(jax.vmap(sign_of_det)(A), np.sign(np.linalg.det(A)))
    assert float(sign_of_det(jnp.zeros((3, 3)))) == 0
    np.testing.assert_array_equal(sign_of_det(jnp.eye(4)[jnp.array([1, 0, 2, 3])]), -1)


W0 = np.eye(2)
GOOD = {"t1": 1.0, "dt": 0.1, "key": KEY}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"W0": np.ones((2, 3))}, "W0 must be invertible"),
        ({"W0": np.ones((2, 2))}, "W0 must be invertible"),
        ({"W0": np.full((2, 2), np.nan)}, "W0 must be finite"),
        ({"W0": np.stack([W0, W0]), "chains": 2}, "chains must be left out"),
        ({"chains": 0}, "chains must be an integer ≥ 1"),
        ({"depth": 0.5}, "depth must be ≥ 1"),
        ({"beta": 0.0}, "beta must be one finite number > 0"),
        ({"beta": [1.0, 2.0]}, "beta must be one finite number > 0"),
        ({"kappa": -1.0}, "kappa must be one finite number ≥ 0"),
        ({"dt": 0.0}, "dt must be one positive number"),
        ({"t1": -1.0}, "t1 must be finite and later"),
        ({"t1": math.inf}, "t1 must be finite and later"),
        ({"at_zero": "stop"}, "at_zero must be 'cross' or 'reflect'"),
        ({"at_zero": "reflect", "solver": dfx.Euler()}, "solver must be left at its default"),
        ({"solver": dfx.Heun()}, "solver must converge to the Itô solution"),
        ({"saveat": [2.0]}, "saveat must hold increasing times"),
        ({"saveat": 1.0}, "saveat must hold at least one time"),
        ({"saveat": dfx.SaveAt(dense=True)}, "saveat must be times or a diffrax.SaveAt"),
        ({"max_steps": 0}, "max_steps must be an integer ≥ 1"),
        ({"energy": 3.0}, "energy must be a function of W"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"energy": LogEnergy(), "W0": W0, "depth": 2, "beta": 1.0, **GOOD, **arguments}
    with pytest.raises(dl.InputError, match=message):
        dl.langevin(**arguments)


def test_bad_factors():
    for factors, message in (
        ([W0, 2 * W0], "factors must be balanced"),
        ([np.ones((2, 3)), np.ones((2, 2))], "factors must all be square"),
        ([np.ones((2, 2)), np.ones((2, 2))], "factors must be invertible"),
    ):
        with pytest.raises(dl.InputError, match=message):
            dl.factor_langevin(LogEnergy(), factors, 1.0, **GOOD)


def test_works_under_jit():
    energy = lambda W: 0.5 * (W**2).sum()  # noqa: E731
    run = lambda b: dl.langevin(energy, np.eye(2), 2, b, t1=0.1, dt=0.05, key=jax.random.key(0)).W  # noqa: E731
    np.testing.assert_allclose(jax.jit(run)(2.0), run(2.0), rtol=1e-12)
