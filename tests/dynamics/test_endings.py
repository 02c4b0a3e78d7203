"""How flows end: what each status claims, against SciPy, closed forms and the points themselves."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from cases import slow, with_singular_values
from oracles import flow as scipy_flow
from oracles import velocity

import deeplinear as dl
from deeplinear.status import Status

FULL = dl.Completion.from_dense(np.array([[1.0, 2.0], [3.0, 4.0]]))
PART = dl.Completion([0, 0, 1], [0, 1, 0], [1.0, 2.0, 3.0], (2, 2))
START = np.array([[0.05, -0.08], [0.02, 0.03]])


def best_of_wrong_sign():
    """½ of the square of the smaller singular value of the target: what a start with another sign
    of det leaves of E.
    """
    return 0.5 * np.linalg.svd(np.array([[1.0, 2.0], [3.0, 4.0]]), compute_uv=False)[1] ** 2


# Trial steps


@pytest.mark.parametrize("N", [1, 2, 3, math.inf])
def test_trial_steps_that_overflow_are_rejected(N):
    """From c·I, c so large that the first trial steps leave the floating-point range."""
    for size in (1e2, 1e6, 1e8):
        for chart in ("auto", "dense"):
            flow = dl.gradient_flow(FULL, size * np.eye(2), N, t1=1e-3 / size, chart=chart)
            assert flow.status == Status.reached_t1, (size, chart)
            assert np.isfinite(flow.W).all()


@pytest.mark.parametrize("N", [slow(2), slow(3), math.inf])
def test_huge_starts_arrive(N):
    for W0 in (1e2 * np.eye(2), 1e8 * np.array([[0.3, -0.5], [0.9, 0.2]])):
        flow = dl.gradient_flow(FULL, W0, N)
        # det W0 > 0 > det of the target: one singular value dies
        assert flow.status == Status.gradient
        assert float(flow.energy) == pytest.approx(best_of_wrong_sign(), rel=1e-3)
        assert flow.stats["steps"] < 3000


def test_zero_is_a_start_at_depth_one():
    zero = dl.LogSVD(jnp.eye(2), jnp.full(2, -jnp.inf), jnp.eye(2))
    for W0 in (np.zeros((2, 2)), zero):
        for kind in ({}, {"t1": 40.0}, {"stop_energy": 1e-6}):
            flow = dl.gradient_flow(FULL, W0, 1, **kind)
            assert flow.converged
            np.testing.assert_allclose(flow.W, FULL.target, atol=1e-2)
    with pytest.raises(dl.CriticalPointError, match=r"^W0 must not vanish"):
        dl.gradient_flow(FULL, zero, 1.5)


# Singular values that die, and those that grow


@pytest.mark.parametrize("N", [2, 3, math.inf])
def test_singular_values_that_die_by_decay_hold_nothing_up(N, rng):
    low = np.outer([1.0, 2.0, 1.0], [1.0, 1.0, 0.5])
    flow = dl.gradient_flow(
        dl.Completion.from_dense(low), 0.1 * rng.normal(size=(3, 3)), N, weight_decay=0.1
    )
    assert flow.status == Status.gradient
    assert flow.stats["steps"] < 2000
    # the one that stays solves σ − σ₀ + λ σ^{2/N − 1} = 0
    sigma = float(np.linalg.svd(np.asarray(flow.W), compute_uv=False)[0])
    power = 0.0 if math.isinf(N) else 2 / N
    top = np.linalg.svd(low, compute_uv=False)[0]
    assert sigma - top + 0.1 * sigma ** (power - 1) == pytest.approx(0, abs=1e-4)
    assert (flow.singular_values[1:] < 1e-4 * sigma).all()


@pytest.mark.parametrize("N", [2, 3, math.inf])
def test_strong_decay_ends_at_zero(N, rng):
    W0 = 0.1 * rng.normal(size=(3, 3))
    flow = dl.gradient_flow(dl.Completion.from_dense(np.ones((3, 3))), W0, N, weight_decay=50.0)
    assert flow.status == Status.gradient
    assert flow.singular_values[0] < 1e-3 * np.linalg.norm(W0)


@pytest.mark.parametrize("N", [2, slow(3), math.inf])
def test_a_plateau_is_no_limit(N, rng):
    """From 1e−6 the singular values 3, 1, 0.3 are learned one after the other, after long waits."""
    energy = dl.Completion.from_dense(np.diag([3.0, 1.0, 0.3]))
    flow = dl.gradient_flow(energy, 1e-6 * (np.eye(3) + 0.3 * rng.normal(size=(3, 3))), N)
    assert flow.status == Status.gradient
    np.testing.assert_allclose(flow.singular_values, [3, 1, 0.3], rtol=1e-3)


def test_a_plateau_is_no_limit_for_factors_either(rng):
    energy = dl.Completion.from_dense(np.diag([3.0, 1.0]))
    start = dl.balanced_factors(1e-5 * (np.eye(2) + 0.3 * rng.normal(size=(2, 2))), 3, 1)
    flow = dl.factor_flow(energy, start)
    assert flow.status == Status.gradient
    np.testing.assert_allclose(flow.singular_values, [3, 1], rtol=1e-3)


@pytest.mark.filterwarnings("ignore::deeplinear.errors.ImbalanceWarning")
def test_a_singular_value_on_its_way_through_zero_is_no_limit():
    """Factors that are not balanced: the last mode falls, changes its sign and is learned."""
    draws = (np.random.default_rng(k).normal(size=(6, 6)) for k in (0, 100))
    U, V = (np.linalg.qr(X)[0] for X in draws)
    s = np.array([3, 2.5, 2, 1.5, 1, 0.5])
    start = dl.normal_factors((6,) * 4, 1e-3, key=0)
    flow = dl.factor_flow(dl.Completion.from_dense((U * s) @ V), start)
    assert flow.status == Status.gradient
    np.testing.assert_allclose(flow.singular_values, s, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::deeplinear.errors.ImbalanceWarning")
@pytest.mark.parametrize("stop", [None, 1e-4])
@pytest.mark.parametrize("N", [slow(2), 3])
def test_a_product_of_zero_that_grows_is_no_limit(N, stop):
    A = 1e-2 * np.array([[0.3, 0.1], [0.2, 0.4]])
    energy = dl.Completion.from_dense(np.diag([2.0, 1.0]))
    start = (0 * A, *[100 ** (N - 2) * A] * (N - 1))
    flow = dl.factor_flow(energy, start, stop_gradient=stop)
    assert flow.status == Status.gradient
    np.testing.assert_allclose(flow.singular_values, [2, 1], rtol=1e-3)


@pytest.mark.parametrize("N", [3, 4])
def test_a_balanced_singular_value_that_falls_holds_nothing_up(N):
    start = dl.balanced_factors(np.array([[0.3, 0.2], [0.1, 0.4]]), N, 0)
    flow = dl.factor_flow(FULL, start)
    assert flow.status == Status.gradient
    assert float(flow.energy) == pytest.approx(best_of_wrong_sign(), rel=1e-2)
    assert flow.stats["steps"] < 6000


def test_a_small_singular_value_beside_a_huge_one_is_seen():
    """The missing entry is 1e5, and the rest of W as far from its limit as ever."""
    W0 = 1e6 * np.array([[0.3, -0.5], [0.9, 0.2]])
    flow = dl.gradient_flow(PART, W0, math.inf)
    assert flow.converged
    assert flow.energy < 1e-6


# What cannot be reached


@pytest.mark.parametrize("stop", [1e-2, 1e-25, 1e-40])
def test_an_energy_below_the_limit_is_not_waited_for(stop):
    flow = dl.gradient_flow(FULL, START * [[1, 1], [1, -1]], 2, stop_energy=stop)
    sign = np.linalg.det(START * [[1, 1], [1, -1]])
    assert sign > 0  # the target has another sign
    assert flow.status == Status.at_rest
    assert not flow.converged
    assert float(flow.energy) == pytest.approx(best_of_wrong_sign(), rel=1e-3)
    assert flow.stats["steps"] < 3000


@pytest.mark.parametrize("stop", [1e-8, slow(1e-20), 1e-29, slow(1e-40), 1e-300])
def test_a_stop_is_claimed_only_where_it_is_met(stop):
    flow = dl.gradient_flow(PART, START, 3, stop_energy=stop)
    if flow.status == Status.energy:
        assert flow.energy <= 1.001 * stop
    else:
        assert stop < 1e-25
        assert flow.status == Status.at_rest


@pytest.mark.slow
def test_a_gradient_below_rounding_is_not_claimed():
    flow = dl.gradient_flow(PART, START, 3, stop_gradient=1e-40)
    assert flow.status == Status.at_rest
    assert flow.energy < 1e-20


# Values that are not finite


def test_an_energy_that_becomes_nan_is_told():
    where = lambda W: jnp.where(jnp.sum(W**2) > 0.5, jnp.nan, 0.5 * jnp.sum((W - 1) ** 2))  # noqa: E731
    root = lambda W: jnp.sum((W - 1) ** 2) + jnp.sqrt(0.5 - jnp.sum(W**2)) ** 3  # noqa: E731
    flow = dl.gradient_flow(where, START, 3, t1=100.0, chart="dense")
    assert flow.status == Status.not_finite
    # linearly implicit steps end before the edge: they may not slide along it, where E is a number
    flow = dl.gradient_flow(where, START, 3, t1=100.0)
    assert flow.status == Status.step_too_small
    assert 0.499 < float(jnp.sum(flow.end.dense() ** 2)) < 0.5
    assert int(flow.stats["steps"]) < 1000
    # a velocity that is not finite: the steps shrink to nothing, and that is the end
    flow = dl.gradient_flow(root, START, 2, t1=100.0, chart="dense", max_steps=5000)
    assert flow.status in (Status.step_too_small, Status.not_finite, Status.failed)
    for kind in ({"t1": 1.0}, {"stop_energy": 1.0}, {}):
        with pytest.raises(dl.InputError, match=r"^energy must have a finite value and gradient"):
            dl.gradient_flow(lambda W: jnp.log(jnp.sum(W) - 99.0), START, 2, **kind)


def test_a_blow_up_ends_where_it_happens():
    """E = −σ³/3 at N = 2 in one dimension: σ̇ = σ³, infinite at t = 1/(2σ₀²)."""
    flow = dl.gradient_flow(lambda W: -(W[0, 0] ** 3) / 3, np.array([[0.5]]), 2, t1=10.0)
    assert flow.status in (Status.step_too_small, Status.failed, Status.not_finite)
    assert float(flow.t_end) == pytest.approx(2.0, rel=1e-3)


# The error of a flow


@pytest.mark.parametrize("N", [1.5, 2, 3, math.inf])
def test_the_error_is_estimated(rng, N):
    """Against SciPy at 1e−11: the truth is below ten times the estimate, and small where it is."""
    W0 = with_singular_values(rng, [0.3, 0.05, 0.01])
    X = rng.normal(size=(3, 3))
    energy = dl.Completion.from_dense(X)
    ts = np.array([0.1, 0.5, 2.0])
    exact = scipy_flow(W0, lambda W: W - X, N, np.array([0.0, *ts]))[1:]
    flow = dl.gradient_flow(energy, W0, N, t1=ts[-1], saveat=ts)
    true = np.linalg.norm(flow.W - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    assert flow.error.shape == (3,)
    assert (true < 10 * flow.error + 1e-9).all()
    assert (flow.error < 1e-3).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("stop", ["stop_energy", "stop_gradient", None])
def test_the_error_is_estimated_at_a_stop(stop, dtype, rng):
    """Where E(W0), and all that is compared with a stop, is below 1 too."""
    W0 = with_singular_values(rng, [0.3, 0.05]).astype(dtype)
    energy = dl.Completion.from_dense(np.array([[0.2, 0.4], [np.nan, 0.1]], dtype))
    stops = {} if stop is None else {stop: 1e-3}
    flow = dl.gradient_flow(energy, W0, 3, **stops)
    # where it is stationary depends on rtol: of that the error says nothing
    same = stops if stops else {"t1": float(flow.t_end)}
    exact = dl.gradient_flow(energy, W0.astype(float), 3, **same, rtol=1e-11)
    assert Status.succeeded(flow.status)
    true = np.linalg.norm(flow.W - exact.W) / np.linalg.norm(exact.W)
    assert float(flow.error) < 1e-2
    assert true < 10 * float(flow.error)


def test_the_error_is_estimated_where_numbers_are_tiny():
    """In float32 an energy of 1e−17, and a stop below what is left of products with it."""
    energy = dl.Completion.from_dense(np.array([[3e-9, np.nan], [1e-9, 2e-9]], np.float32))
    flow = dl.gradient_flow(energy, np.eye(2, dtype=np.float32) * 1e-9, 1, stop_energy=1e-21)
    assert Status.succeeded(flow.status)
    assert float(flow.error) < 1e-2


def test_the_error_shows_where_a_flow_is_sensitive():
    """Half-way through a rise at N = ∞ after a wait of 1e4: the time of the rise is uncertain."""
    W0 = 1e-4 * np.array([[0.3, -0.5], [0.9, 0.2]])
    half = dl.gradient_flow(PART, W0, math.inf, stop_energy=float(PART(W0)) / 2, rtol=1e-10)
    flow = dl.gradient_flow(PART, W0, math.inf, t1=half.t_end)
    true = np.linalg.norm(flow.W - half.W) / np.linalg.norm(half.W)
    assert true < 10 * float(flow.error)
    assert float(flow.error) > 1e-4


def test_rates_at_the_end_are_those_of_the_motion(rng):
    """−dE/dt of the field is what the stops take for it, without weight decay."""
    from deeplinear.dynamics.coordinates import DenseCoordinates
    from deeplinear.dynamics.motion import FlowProblem

    W, X = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    energy = dl.Completion.from_dense(X)
    for N in (1, 2, 3.5):
        as_array = lambda x: jnp.asarray(x, float)  # noqa: E731
        problem = FlowProblem(energy, as_array(1 / N), as_array(0), as_array(-np.inf), as_array(0))
        moving = DenseCoordinates().motion(jnp.asarray(W), problem, as_array(1.0))
        slope = -np.sum((W - X) * velocity(W, W - X, N))
        assert float(moving.slope) == pytest.approx(slope, rel=1e-10)
        if N == 1:
            assert float(moving.gradient) == pytest.approx(np.linalg.norm(W - X), rel=1e-10)
