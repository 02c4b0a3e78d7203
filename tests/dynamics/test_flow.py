"""The gradient flows: upstairs against downstairs, against an independent integrator, and what they
conserve.
"""

import itertools
import math
import re

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import slow

import deeplinear as dl

TIGHT = {"rtol": 1e-10}


def completion(rng, shape, density=0.7):
    X = np.where(rng.random(shape) < density, rng.normal(size=shape), np.nan)
    X[0, 0] = 1.0
    return dl.Completion.from_dense(X)


def numpy_gradient(energy):
    target, weights = np.asarray(energy.target), np.asarray(energy.weights)
    return lambda W: weights * (W - target)


@pytest.mark.parametrize("shape", [(4, 3), slow((5, 5)), slow((3, 5))])
@pytest.mark.parametrize("depth", [slow(2), 3, slow(5)])
def test_upstairs_and_downstairs_agree(rng, shape, depth):
    energy, W0 = completion(rng, shape), 0.4 * rng.normal(size=shape)
    factors = dl.balanced_factors(W0, depth, jax.random.key(1))
    upstairs = dl.factor_flow(energy, factors, t1=3.0, **TIGHT)
    for chart in ("svd", "dense"):
        downstairs = dl.gradient_flow(energy, W0, depth, t1=3.0, chart=chart, **TIGHT)
        assert downstairs.status == dl.Status.reached_t1
        np.testing.assert_allclose(downstairs.W, upstairs.W, atol=1e-9)
    assert float(dl.imbalance(upstairs.factors)) < 1e-8


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_upstairs_against_an_independent_integrator(rng, decay):
    energy, W0 = completion(rng, (4, 3)), 0.5 * rng.normal(size=(4, 3))
    factors = dl.balanced_factors(W0, 3, jax.random.key(3))
    ours = dl.factor_flow(energy, factors, t1=2.0, weight_decay=decay, **TIGHT)
    # weight decay by the change of variables W_p = e^{−λt/N} X_p: Ẋ_p = e^{λt/N} × the plain
    # velocity; done in small pieces
    F, pieces = [np.asarray(f) for f in factors], 400
    if decay == 0:
        expected = oracles.train(F, numpy_gradient(energy), 2.0, 2000)
        np.testing.assert_allclose(ours.W, expected, atol=1e-9)
    else:
        down = dl.gradient_flow(energy, W0, 3, t1=2.0, weight_decay=decay, **TIGHT)
        np.testing.assert_allclose(down.W, ours.W, atol=1e-9)
        W, h = W0, 2.0 / pieces
        velocity = lambda W: -oracles.operator(W, numpy_gradient(energy)(W), 3) - decay * W  # noqa: E731
        for _ in range(pieces):
            k1 = velocity(W)
            k2 = velocity(W + h / 2 * k1)
            k3 = velocity(W + h / 2 * k2)
            W = W + h / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(W + h * k3))
        np.testing.assert_allclose(ours.W, W, atol=1e-8)


@pytest.mark.parametrize("depth", [1, slow(1.5), slow(2), 2.7, slow(4), math.inf])
def test_energy_falls_at_the_rate_of_the_squared_gradient_norm(rng, depth):
    energy, W0 = completion(rng, (4, 4)), 0.5 * rng.normal(size=(4, 4))
    h, times = 1e-4, np.array([0.1, 0.7, 1.9])
    ts = np.sort(np.concatenate([times - h, times, times + h]))
    flow = dl.gradient_flow(energy, W0, depth, t1=2.0, saveat=ts, **TIGHT)
    E = np.asarray(flow.energy).reshape(3, 3)
    slopes = (E[:, 2] - E[:, 0]) / (2 * h)
    norms = []
    for W in np.asarray(flow.W)[1::3]:
        G = np.asarray(jax.grad(energy)(W))
        norms.append((G * np.asarray(dl.Operator(W, depth)(G))).sum())
    np.testing.assert_allclose(slopes, -np.array(norms), rtol=1e-5)


@pytest.mark.parametrize("depth", [slow(2), 3.5, math.inf])
def test_the_thin_chart_follows_the_same_flow_at_low_rank(rng, depth):
    energy, W0 = completion(rng, (7, 5)), rng.normal(size=(7, 2)) @ rng.normal(size=(2, 5))
    ends = [
        dl.gradient_flow(energy, W0, depth, t1=2.0, chart=c, **TIGHT).W for c in ("thin", "svd")
    ]
    np.testing.assert_allclose(*ends, atol=1e-9)


def test_a_bulk_stands_for_the_singular_values_that_are_not_carried(rng):
    # At N = ∞ the frames of a thin W are frozen; with a bulk at ε they move like those of W + ε
    # (the rest), to first order.
    energy, eps = completion(rng, (7, 5)), 1e-3
    U, s, Vt = np.linalg.svd(rng.normal(size=(7, 5)), full_matrices=False)
    s[2:] = eps
    full = dl.gradient_flow(energy, (U * s) @ Vt, math.inf, t1=0.5, chart="dense", rtol=1e-8).W
    start = dl.LogSVD(jnp.asarray(U[:, :2]), jnp.log(jnp.asarray(s[:2])), jnp.asarray(Vt[:2]))
    thin, frozen = (
        dl.gradient_flow(energy, start, math.inf, t1=0.5, chart="thin", bulk=b).W
        for b in (eps, 0.0)
    )
    moved = np.linalg.norm(full - frozen)
    assert moved > 0.02
    assert np.linalg.norm(full - thin) < 0.25 * moved


@pytest.mark.parametrize("depth", [2, 2.5, 3, 6, math.inf])
def test_low_rank_is_conserved_exactly(rng, depth):
    energy, W0 = completion(rng, (5, 4)), rng.normal(size=(5, 2)) @ rng.normal(size=(2, 4))
    flow = dl.gradient_flow(energy, W0, depth, t1=4.0)
    s = np.asarray(flow.singular_values)
    assert s.shape == (4,)
    assert s[1] > 1e-3
    assert (s[2:] == 0).all()
    assert np.linalg.svd(flow.W, compute_uv=False)[2] < 1e-13
    if depth == math.inf:  # row and column spaces are frozen too
        P = np.linalg.pinv(W0) @ W0
        np.testing.assert_allclose(flow.W @ P, flow.W, atol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_symmetry_is_conserved(rng, depth):
    X = rng.normal(size=(4, 4))
    X = X + X.T
    X[rng.random((4, 4)) < 0.3] = np.nan
    X[np.isnan(X.T)] = np.nan
    B = rng.normal(size=(4, 4))
    flow = dl.gradient_flow(dl.Completion.from_dense(X), 0.1 * (B + B.T), depth, t1=3.0, rtol=1e-9)
    np.testing.assert_allclose(flow.W, flow.W.T, atol=1e-7)


@pytest.mark.parametrize("depth", [2, slow(3), slow(10), slow(math.inf)])
def test_the_sign_of_the_determinant_never_flips(rng, depth):
    energy = completion(rng, (3, 3), 0.8)
    for _ in range(6):
        W0 = 1e-3 * rng.normal(size=(3, 3))
        # Some of these starts have the wrong sign for a completion of finite norm: they run off to
        # infinity, keeping it.
        flow = dl.gradient_flow(energy, W0, depth, stop_energy=1e-5, rtol=1e-4, max_steps=3000)
        assert flow.status != dl.Status.failed
        frames = np.linalg.det(flow.end.U) * np.linalg.det(flow.end.Vt)
        assert np.sign(frames) == np.sign(np.linalg.det(W0))


@pytest.mark.parametrize("depth", [slow(2), slow(3), slow(4), math.inf])
def test_norms_diverge_in_the_example_of_razin_and_cohen(rng, depth):
    energy = dl.Completion([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], (2, 2))
    W0 = 1e-3 * rng.normal(size=(2, 2))
    W0 = W0 if np.linalg.det(W0) > 0 else W0[::-1]
    flow = dl.gradient_flow(energy, W0, depth, stop_energy=1e-4)
    assert flow.status == dl.Status.energy
    assert float(flow.energy) == pytest.approx(1e-4, rel=1e-6)
    assert np.linalg.det(flow.end.U) * np.linalg.det(flow.end.Vt) > 0
    w11 = abs(float(flow.W[0, 0]))
    if depth == math.inf:
        assert 70 < w11 < 80
    else:
        assert w11 == pytest.approx(70.70, abs=0.1)
    if depth == 2:
        assert -2600 < float(flow.log_singular_values[1]) < -2450


@pytest.mark.parametrize("depth", [slow(2), 3, math.inf])
def test_a_start_at_a_tie_changes_chart_and_agrees_with_the_dense_flow(rng, depth):
    energy = completion(rng, (4, 4))
    flow = dl.gradient_flow(energy, 1e-2 * np.eye(4), depth, t1=30.0, rtol=1e-7)
    dense = dl.gradient_flow(energy, 1e-2 * np.eye(4), depth, t1=30.0, chart="dense", rtol=1e-9)
    assert {"dense", "svd"} <= set(flow.stats)
    np.testing.assert_allclose(flow.W, dense.W, atol=1e-5)


def test_a_tie_that_stays_is_followed_to_the_end():
    # E = ½‖W − 3I‖² from εI: W stays a multiple w of I, ẇ = −w^{2−2/N} (w − 3); N = 2: w = 3/(1 +
    # (3/ε − 1) e^{−3t}).
    energy, eps = dl.Completion.from_dense(3 * np.eye(3)), 1e-3
    ts = np.array([1.0, 2.0, 4.0])
    flow = dl.gradient_flow(
        energy, eps * np.eye(3), 2, t1=5.0, saveat=dfx.SaveAt(ts=ts, t1=True), rtol=1e-9
    )
    t = np.append(ts, 5.0)
    expected = 3 / (1 + (3 / eps - 1) * np.exp(-3 * t))
    np.testing.assert_allclose(flow.ts, t)
    np.testing.assert_allclose(flow.W, expected[:, None, None] * np.eye(3), rtol=1e-6, atol=1e-9)


def test_small_singular_values_follow_their_law_far_below_machine_precision():
    # A rank-one target: the other singular value sees M_22 = σ_2 − 0 ≈ 0 … so take weight decay:
    # log σ_2 falls by λ each unit.
    energy = dl.Completion.from_dense(np.diag([2.0, 0.0]))
    W0 = np.diag([2.0, 1e-3])
    flow = dl.gradient_flow(energy, W0, 3, t1=2000.0, weight_decay=0.5, chart="svd")
    slope = (float(flow.log_singular_values[1]) - math.log(1e-3)) / 2000
    assert slope == pytest.approx(-0.5, rel=1e-3)
    assert float(flow.log_singular_values[1]) < -1000


@pytest.mark.slow
def test_with_weight_decay_the_end_is_the_minimizer_of_the_penalized_energy(rng):
    # Everything observed: the singular vectors of X, and on each singular value σ − x + λ σ^{2/N−1}
    # = 0.
    X, lam, N = rng.normal(size=(4, 3)), 0.2, 3
    flow = dl.gradient_flow(
        dl.Completion.from_dense(X), X, N, weight_decay=lam, stop_gradient=1e-9, rtol=1e-7
    )
    assert flow.status in (dl.Status.gradient, dl.Status.at_rest)
    U, x, Vt = np.linalg.svd(X, full_matrices=False)
    s = x.copy()
    for _ in range(200):
        s = x - lam * s ** (2 / N - 1)
    np.testing.assert_allclose(flow.W, (U * s) @ Vt, atol=1e-6)


def test_depth_tends_to_infinity_at_rate_one_over_N(rng):
    energy, W0 = completion(rng, (4, 4)), 0.3 * rng.normal(size=(4, 4))

    def end(N):
        options = {"stop_energy": 1e-14, "rtol": 1e-9, "max_steps": 400_000}
        return dl.gradient_flow(energy, W0, N, **options).W

    limit = end(math.inf)
    depths = np.array([32, 64, 128, 256])
    errors = [float(jnp.linalg.norm(end(float(N)) - limit)) for N in depths]
    order = -np.polyfit(np.log(depths), np.log(errors), 1)[0]
    assert order == pytest.approx(1, abs=0.05)


def test_saved_times_and_restart(rng):
    energy, W0 = completion(rng, (4, 3)), 0.3 * rng.normal(size=(4, 3))
    ts = np.linspace(0.5, 3, 6)
    whole = dl.gradient_flow(energy, W0, 3, t1=3.0, saveat=ts, **TIGHT)
    assert whole.W.shape == (6, 4, 3)
    assert whole.energy.shape == (6,)
    assert whole.log_singular_values.shape == (6, 3)
    np.testing.assert_allclose(whole.ts, ts)
    half = dl.gradient_flow(energy, W0, 3, t1=1.5, **TIGHT)
    assert half.W.shape == (4, 3)
    np.testing.assert_allclose(half.W, whole.W[2], atol=1e-9)
    rest = dl.gradient_flow(energy, half.end, 3, t0=half.t_end, t1=3.0, **TIGHT)
    np.testing.assert_allclose(rest.W, whole.W[-1], atol=1e-9)


@pytest.mark.slow
def test_saved_times_beyond_a_stop_are_left_out_and_steps_can_be_saved(rng):
    energy, W0 = completion(rng, (3, 3)), 0.3 * rng.normal(size=(3, 3))
    stop = float(energy(W0)) / 2
    flow = dl.gradient_flow(energy, W0, 3, saveat=np.array([0.0, 1e6]), stop_energy=stop)
    assert flow.status == dl.Status.energy
    np.testing.assert_allclose(flow.ts, [0.0])
    np.testing.assert_allclose(flow.W[0], W0, atol=1e-12)
    steps = dl.gradient_flow(
        energy, W0, 3, saveat=dfx.SaveAt(t0=True, steps=True), stop_energy=stop
    )
    assert (np.diff(steps.energy) < 0).all()
    assert float(steps.energy[-1]) == pytest.approx(stop, rel=1e-6)


def test_a_start_below_the_stop_ends_at_once(rng):
    energy, W0 = completion(rng, (3, 3)), 0.3 * rng.normal(size=(3, 3))
    flow = dl.gradient_flow(energy, W0, 3, stop_energy=2 * float(energy(W0)))
    assert flow.status == dl.Status.energy
    assert float(flow.t_end) == 0
    np.testing.assert_allclose(flow.W, W0, atol=1e-14)


def test_without_a_stop_it_runs_until_it_is_stationary(rng):
    energy, W0 = completion(rng, (4, 3)), 0.3 * rng.normal(size=(4, 3))
    flow = dl.gradient_flow(energy, W0, 2.5)
    assert flow.status == dl.Status.gradient
    assert float(flow.energy) < 1e-8


def test_the_step_limit_is_told(rng):
    flow = dl.gradient_flow(
        completion(rng, (3, 3)), 0.3 * rng.normal(size=(3, 3)), 3, stop_energy=1e-12, max_steps=3
    )
    assert flow.status == dl.Status.max_steps
    assert not flow.converged
    assert np.isfinite(flow.W).all()


@pytest.mark.slow
def test_a_user_function_and_sensing_as_energies(rng):
    A, X = rng.normal(size=(12, 3, 3)), rng.normal(size=(3, 3))
    y = np.tensordot(A, X, 2)
    sensed = dl.gradient_flow(
        dl.Sensing(A, y), X + 0.1 * rng.normal(size=(3, 3)), 2, stop_energy=1e-14
    )
    np.testing.assert_allclose(sensed.W, X, atol=1e-5)
    huber = dl.gradient_flow(
        lambda W: jnp.sum(jnp.log(jnp.cosh(W - X))), X + 0.1, 2, stop_energy=1e-12
    )
    np.testing.assert_allclose(huber.W, X, atol=1e-5)


@pytest.mark.slow
def test_vmap_over_starts_and_depths(rng):
    energy, W0s = completion(rng, (3, 3)), 0.3 * rng.normal(size=(3, 3, 3))

    def run(W0, N):
        options = {"t1": 1.0, "chart": "svd", "solver": dfx.Tsit5(), "rtol": 1e-8}
        return dl.gradient_flow(energy, W0, N, **options)

    batch = eqx.filter_vmap(run)(jnp.asarray(W0s), jnp.array([2.0, 3.0, math.inf]))
    for i, N in enumerate([2, 3, math.inf]):
        np.testing.assert_allclose(batch.W[i], run(W0s[i], N).W, atol=1e-7)


def test_gradients_through_the_flow(rng):
    energy, W0 = completion(rng, (3, 3)), 0.5 * rng.normal(size=(3, 3))

    def w(x, N):
        return dl.gradient_flow(
            energy, jnp.asarray(W0) * x, N, t1=0.5, chart="svd", solver=dfx.Tsit5(), rtol=1e-9
        ).W[1, 2]

    grads = jax.grad(w, (0, 1))(1.0, 3.0)
    h = 1e-4
    assert float(grads[0]) == pytest.approx(
        float(w(1 + h, 3.0) - w(1 - h, 3.0)) / (2 * h), rel=1e-5
    )
    assert float(grads[1]) == pytest.approx(
        float(w(1.0, 3 + h) - w(1.0, 3 - h)) / (2 * h), rel=1e-4
    )


def test_bad_arguments_are_typed_errors(rng):
    energy, W0 = completion(rng, (3, 3)), rng.normal(size=(3, 3))
    with pytest.raises(dl.CriticalPointError, match="W0 must not vanish"):
        dl.gradient_flow(energy, np.zeros((3, 3)), 2)
    with pytest.raises(dl.CriticalPointError, match="factors must not vanish"):
        dl.factor_flow(energy, [np.zeros((3, 3)), np.zeros((3, 3)), np.eye(3)])
    with pytest.raises(dl.DepthError):
        dl.gradient_flow(energy, W0, 0.9)
    for arguments, message in [
        ({"chart": "polar"}, "chart must be"),
        ({"depth": 1.5, "chart": "svd"}, "for depth 1.5, where singular values cross"),
        ({"t1": -1.0}, "t1 must be later"),
        ({"saveat": [2.0, 1.0]}, "saveat must hold increasing"),
        ({"saveat": dfx.SaveAt(dense=True)}, "saveat must be times"),
        ({"stop_energy": 0.0}, "stop_energy must be positive"),
        ({"weight_decay": -1.0}, "weight_decay must be finite and ≥ 0"),
        ({"rtol": 0.0}, "rtol must be positive"),
        ({"max_steps": 0}, "max_steps must be"),
        ({"max_steps": None}, "max_steps must be"),
        ({"saveat": []}, "saveat must hold at least one"),
        ({"t0": -math.inf}, "t0 must be finite"),
        ({"atol": -1.0}, "atol must be ≥ 0"),
        ({"depth": np.array([2.0, 3.0])}, "depth must be one number"),
    ]:
        with pytest.raises(dl.InputError, match=message):
            dl.gradient_flow(energy, W0, **{"depth": 2, "t1": 1.0, **arguments})
    with pytest.raises(dl.InputError, match="energy must be a function"):
        dl.gradient_flow(3.0, W0, 2)
    with pytest.raises(dl.InputError, match="inside jit or vmap"):
        jax.jit(lambda W: dl.gradient_flow(energy, W, 2, t1=1.0).W)(W0)


def test_float32_says_what_it_cannot_carry(rng):
    X, W0 = (rng.normal(size=(3, 3)).astype(np.float32) for _ in range(2))
    energy = dl.Completion.from_dense(X)
    with pytest.raises(dl.PrecisionError, match=r"rtol = 1e-10 is beyond float32.*float64"):
        dl.gradient_flow(energy, W0, 2, t1=1.0, rtol=1e-10)
    with pytest.raises(dl.PrecisionError, match="W0 is too small for float32 at depth inf"):
        dl.gradient_flow(energy, 1e-25 * W0, math.inf, t1=1.0)


STOPS = {
    "energy": {"stop_energy": 1e-3},
    "gradient": {"stop_gradient": 1e-3},
    "rest": {},
    "dense": {"stop_energy": 1e-3, "chart": "dense"},
}


@pytest.mark.parametrize("stop", [slow("energy"), slow("gradient"), slow("rest"), "dense"])
@pytest.mark.parametrize("depth", [2, slow(math.inf), slow("factors")])
def test_a_start_and_an_energy_in_float32_meet_their_stop(rng, depth, stop):
    """And end where the flow in float64 does, up to the tolerance of both."""
    X, W0 = (rng.normal(size=(3, 3)) + 2 * np.eye(3) for _ in range(2))

    def run(dtype):
        energy, options = dl.Completion.from_dense(X.astype(dtype)), dict(STOPS[stop])
        if depth == "factors":
            options.pop("chart", None)
            factors = dl.balanced_factors(W0.astype(dtype), 2)
            return dl.factor_flow(energy, factors, rtol=1e-5, **options)
        return dl.gradient_flow(energy, W0.astype(dtype), depth, rtol=1e-5, **options)

    single, double = run(np.float32), run(np.float64)
    assert single.W.dtype == np.float32
    assert single.status == double.status
    np.testing.assert_allclose(single.W, double.W, atol=1e-3)


def test_unbalanced_factors_warn_with_their_imbalance(rng):
    energy = completion(rng, (3, 3))
    factors = [rng.normal(size=(3, 3)), rng.normal(size=(3, 3))]
    with pytest.warns(
        dl.ImbalanceWarning, match=re.escape(f"imbalance {float(dl.imbalance(factors)):.2e}")
    ):
        dl.factor_flow(energy, factors, t1=0.1)


def test_depth_one_moves_off_zero_and_is_plain_gradient_flow(rng):
    X = rng.normal(size=(3, 3))
    for W0 in (np.zeros((3, 3)), np.diag([0.5, 0.0, 0.2])):
        flow = dl.gradient_flow(dl.Completion.from_dense(X), W0, 1, t1=1.5, rtol=1e-9)
        np.testing.assert_allclose(flow.W, X + math.exp(-1.5) * (W0 - X), atol=1e-8)
        assert float(dl.gradient_flow(dl.Completion.from_dense(X), W0, 1).energy) < 1e-8


def test_one_vanishing_factor_trains(rng):
    with pytest.warns(dl.ImbalanceWarning):
        flow = dl.factor_flow(
            dl.Completion.from_dense(rng.normal(size=(2, 2))), [np.zeros((2, 2)), np.eye(2)]
        )
    assert flow.status == dl.Status.gradient
    assert float(flow.energy) < 1e-7


def test_a_nan_is_a_failure_and_no_stop():
    broken = lambda W: jnp.where(W[0, 0] < 0.5, jnp.nan, jnp.sum(W**2))  # noqa: E731
    flow = dl.gradient_flow(
        broken,
        np.array([[1.0, 0.2], [0.1, 0.7]]),
        3,
        stop_energy=1e-3,
        chart="dense",
        max_steps=500,
    )
    assert not flow.converged
    with pytest.raises(dl.InputError, match="finite value and gradient at the start"):
        dl.gradient_flow(lambda W: jnp.sum(W) * jnp.nan, np.eye(2), 3, chart="dense")


def test_a_minimizer_as_the_start_ends_at_once(rng):
    X = rng.normal(size=(3, 3))
    flow = dl.gradient_flow(dl.Completion.from_dense(X), X, 3)
    assert flow.status == dl.Status.gradient
    assert float(flow.t_end) == 0


def test_an_energy_that_becomes_negative_stops_where_it_was_asked_to():
    flow = dl.gradient_flow(
        lambda W: jnp.sum((W - 1.0) ** 2) - 1, 0.1 * np.eye(2) + 0.01, 3, stop_energy=1e-6
    )
    assert float(flow.energy) == pytest.approx(1e-6, rel=1e-3)


def test_a_factored_start_with_a_zero_is_the_start_of_lower_rank(rng):
    energy, W0 = completion(rng, (3, 3)), np.outer(rng.normal(size=3), rng.normal(size=3))
    U, s, Vt = np.linalg.svd(W0)
    start = dl.LogSVD(*map(jnp.asarray, (U, np.log([s[0], 1, 1]) - [0, np.inf, np.inf], Vt)))
    ends = [dl.gradient_flow(energy, W, 3, t1=1.0, rtol=1e-9).W for W in (start, W0)]
    np.testing.assert_allclose(*ends, atol=1e-8)
    with pytest.raises(dl.InputError, match="W0 must be finite"):
        dl.gradient_flow(energy, dl.LogSVD(start.U * jnp.nan, start.log_s, start.Vt), 3, t1=1.0)
    with pytest.raises(dl.CriticalPointError, match="W0 must not vanish"):
        dl.gradient_flow(energy, dl.LogSVD(start.U, start.log_s - jnp.inf, start.Vt), 3, t1=1.0)


@pytest.mark.slow
def test_the_derivative_in_depth_of_a_rectangular_flow(rng):
    energy, W0 = completion(rng, (2, 3)), jnp.asarray(0.5 * rng.normal(size=(2, 3)))
    end = lambda N: dl.gradient_flow(energy, W0, N, t1=0.5, chart="dense", rtol=1e-9).W[0, 1]  # noqa: E731
    h = 1e-4
    assert float(jax.grad(end)(3.0)) == pytest.approx(
        float(end(3 + h) - end(3 - h)) / (2 * h), rel=1e-4
    )


@pytest.mark.slow
def test_deep_matrix_factorization_recovers_rank_five(rng):
    """[ACHL]: 100×100, rank 5, 2,000 entries. Depth 3 and 4 recover the matrix, depth 2 does
    not.
    """
    M = rng.normal(size=(100, 5)) @ rng.normal(size=(5, 100))
    M *= 100 / np.linalg.norm(M)
    rows, cols = np.unravel_index(rng.choice(10_000, 2000, replace=False), (100, 100))
    energy = dl.Completion(rows, cols, M[rows, cols], M.shape)
    W0 = 1e-4 * rng.normal(size=(100, 100))
    for depth in (2, 3, 4):
        factors = dl.balanced_factors(W0, depth, jax.random.key(0))
        flow = dl.factor_flow(energy, factors, stop_energy=0.5 * 2000 * 1e-6, rtol=1e-3)
        assert flow.status == dl.Status.energy
        mse = float(jnp.mean((flow.W - M) ** 2))
        rank = oracles.effective_rank(np.asarray(flow.singular_values))
        assert (mse <= 1e-4 and abs(rank - 5) <= 0.1) == (depth > 2), (depth, mse, rank)


def test_every_pair_of_charts_gives_one_flow_on_a_wide_matrix(rng):
    energy, W0 = completion(rng, (3, 6)), 0.2 * rng.normal(size=(3, 6))
    ends = [
        dl.gradient_flow(energy, W0, 2.5, t1=5.0, chart=c, **TIGHT).W
        for c in ("dense", "svd", "auto")
    ]
    for a, b in itertools.combinations(ends, 2):
        np.testing.assert_allclose(a, b, atol=1e-8)
