"""Linearly implicit steps of one flow: order, an independent integrator, flows that arrive."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from cases import slow

import deeplinear as dl
from deeplinear.dynamics.coordinates import DenseCoordinates, SvdCoordinates
from deeplinear.dynamics.ensembles.rosenbrock import BENDS_5, GAMMA_5, rodas5p
from deeplinear.dynamics.flow_options import EXPLICIT, make_options
from deeplinear.dynamics.implicit_steps import LinearlyImplicit, RodasInterpolation
from deeplinear.dynamics.motion import FlowProblem
from deeplinear.dynamics.solve import has_second_derivative


def completion(rng, d, rank, observed):
    """Entries of a matrix of low rank."""
    truth = rng.normal(size=(d, rank)) @ rng.normal(size=(rank, d))
    truth[rng.random((d, d)) > observed] = np.nan
    return dl.Completion.from_dense(truth)


@pytest.mark.parametrize("depth", [slow(2.5), slow(np.inf)])
def test_the_error_falls_with_the_fifth_power_of_the_step(rng, depth):
    energy, W0 = completion(rng, 4, 2, 0.7), rng.normal(size=(4, 4))
    exact = dl.gradient_flow(energy, W0, depth, t1=0.5, chart="svd", rtol=1e-12).W

    def error(steps):
        flow = dl.gradient_flow(
            energy,
            W0,
            depth,
            t1=0.5,
            chart="svd",
            solver=LinearlyImplicit(),
            stepsize_controller=dfx.StepTo(jnp.linspace(0, 0.5, steps + 1)),
        )
        return float(jnp.linalg.norm(flow.W - exact))

    few, many = error(20), error(40)
    assert 4.5 < np.log2(few / many) < 5.8
    assert many < 1e-3


def one_step(field, y0, h):
    """A step of Rodas5P by the dense Jacobian, and what it interpolates."""
    matrix = jnp.eye(len(y0)) - h * GAMMA_5 * jax.jacfwd(field)(y0)
    trial = rodas5p(field, lambda b: jnp.linalg.solve(matrix, b), y0, jnp.asarray(h))
    bends = jnp.tensordot(BENDS_5, trial.stages, 1)
    return trial, RodasInterpolation(0.0, jnp.asarray(h), y0, trial.end, bends)


def test_what_a_step_interpolates_errs_with_the_fifth_power_of_it(rng):
    """Of a generic nonlinear field, against an independent integrator at 1e−13."""
    A, B = jnp.asarray(rng.normal(size=(2, 4, 4)))
    field = jax.jit(lambda y: A @ jnp.sin(y) + (B @ y) * y - y**3)
    y0 = jnp.asarray(rng.normal(size=4))
    thetas = np.array([0.13, 0.37, 0.5, 0.62, 0.91])

    def errors(h):
        trial, path = one_step(field, y0, h)
        np.testing.assert_array_equal(path.evaluate(0.0), y0)
        np.testing.assert_allclose(path.evaluate(h), trial.end, rtol=1e-15)
        difference = path.evaluate(0.5 * h) - path.evaluate(0.2 * h)
        np.testing.assert_allclose(path.evaluate(0.2 * h, 0.5 * h), difference, rtol=1e-13)
        exact = scipy.integrate.solve_ivp(
            lambda t, y: np.asarray(field(y)),
            *((0, h), y0, "DOP853", h * thetas),
            rtol=1e-13,
            atol=1e-15,
        ).y.T
        wrong = jax.vmap(path.evaluate)(h * thetas) - exact
        wrong_slope = jax.vmap(path.derivative)(h * thetas) - jax.vmap(field)(exact)
        return np.linalg.norm(wrong, axis=1), np.abs(wrong_slope).max()

    (value, slope), (halved, slope_halved) = errors(0.02), errors(0.01)
    assert np.all(value < 1e-6)
    assert np.all(np.log2(value / halved) > 4.7)
    assert 3.5 < np.log2(slope / slope_halved) < 4.5


def test_what_a_stiff_step_interpolates():
    """y′ = −λ(y − cos t) − sin t with y(0) = 1: cos t at any λ, also where hλ = 10⁵."""

    def field(y):
        return jnp.stack([-1e6 * (y[0] - jnp.cos(y[1])) - jnp.sin(y[1]), 1.0 + 0 * y[1]])

    _, path = one_step(field, jnp.array([1.0, 0.0]), 0.1)
    times = np.linspace(0, 0.1, 11)
    np.testing.assert_allclose(jax.vmap(path.evaluate)(times)[:, 0], np.cos(times), atol=1e-7)


def numpy_field(energy, depth):
    """Ẇ by an SVD in NumPy, as scipy takes it."""
    d = energy.shape[0]

    def field(t, w):
        W = w.reshape(d, d)
        U, s, Vt = np.linalg.svd(W)
        a, b = s[:, None], s[None]
        with np.errstate(divide="ignore", invalid="ignore"):
            K = (a**2 - b**2) / (2 * np.log(a / b))
            if depth < np.inf:
                K = (a**2 - b**2) / (depth * (a ** (2 / depth) - b ** (2 / depth)))
        np.fill_diagonal(K, s ** (2 - 2 / depth))
        G = np.asarray(jax.grad(energy)(jnp.asarray(W)))
        return -(U @ (K * (U.T @ G @ Vt.T)) @ Vt).ravel()

    return field


@pytest.mark.parametrize("depth", [slow(3), np.inf])
def test_saved_times_against_an_independent_integrator(rng, depth):
    """Between the steps too; times before and after the implicit steps take over."""
    energy = completion(rng, 4, 2, 0.7)
    W0 = rng.normal(size=(4, 4))
    ts = np.array([0.05, 0.7, 3.0, 11.0])
    exact = scipy.integrate.solve_ivp(
        *(numpy_field(energy, depth), (0, 11.0), W0.ravel(), "DOP853", ts), rtol=1e-11, atol=1e-13
    ).y.T.reshape(-1, 4, 4)
    for saveat in (ts, dfx.SaveAt(ts=ts)):
        flow = dl.gradient_flow(
            energy, W0, depth, t1=11.0, saveat=saveat, chart="svd", solver=LinearlyImplicit()
        )
        np.testing.assert_allclose(flow.W, exact, atol=2e-5 * np.abs(exact).max())
        assert float(flow.error.max()) < 1e-4


@pytest.mark.parametrize("depth", [slow(2), slow(10), np.inf])
def test_small_flows_by_them_from_the_start(rng, depth):
    """Saved times and a stop, stiff ones too, against an independent integrator."""
    energy, W0 = completion(rng, 3, 2, 0.7), 0.1 * rng.normal(size=(3, 3))
    ts = np.array([0.3, 2.0, 7.0, 25.0])
    exact = scipy.integrate.solve_ivp(
        *(numpy_field(energy, depth), (0, 25.0), W0.ravel(), "DOP853", ts), rtol=1e-12, atol=1e-14
    ).y.T.reshape(-1, 3, 3)
    flow = dl.gradient_flow(energy, W0, depth, t1=25.0, saveat=ts, chart="svd")
    wrong = np.linalg.norm(flow.W - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    assert np.all(wrong < 2e-5)
    assert np.all(wrong < 2 * flow.error)
    stopped = dl.gradient_flow(energy, W0, depth, stop_energy=float(energy(exact[2])), chart="svd")
    assert stopped.status == dl.Status.energy
    wrong = np.linalg.norm(stopped.W - exact[2]) / np.linalg.norm(exact[2])
    assert wrong < 1e-5
    assert wrong < 2 * stopped.error
    np.testing.assert_allclose(stopped.t_end, 7.0, rtol=1e-4)


def test_which_flows_take_them_from_the_start(rng):
    """Small W of full rank, at the usual tolerances; the README's took 1,183 steps of two kinds."""

    def solvers(shape, rtol, rank=None, chart=None):
        U, s, Vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
        chart = SvdCoordinates() if chart is None else chart
        point = dl.LogSVD(*map(jnp.asarray, (U[:, :rank], np.log(s[:rank]), Vt[:rank])))
        energy = dl.Completion.from_dense(np.eye(*shape))
        nothing = (None, None, None)
        options = make_options(
            *(energy, (), jnp.float64, 0.0, 1.0, None, rtol), *nothing, 5000, None
        )
        return [type(solver) for solver, _ in options.solvers(chart, chart.start(point), False)]

    assert solvers((5, 5), None) == [LinearlyImplicit]
    assert solvers((6, 6), None) == [dfx.Tsit5, LinearlyImplicit]
    assert solvers((5, 5), 1e-9) == [dfx.Dopri8, LinearlyImplicit]
    assert solvers((5, 4), None) == [dfx.Tsit5, dfx.Kvaerno3]
    assert solvers((4, 4), None, rank=3) == [dfx.Tsit5, dfx.Kvaerno3]
    assert solvers((5, 5), None, chart=DenseCoordinates()) == [dfx.Tsit5]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [3, np.inf])
def test_a_stiff_flow_arrives_by_them(depth):
    """200,000 explicit ones did not, at N = ∞."""
    rng = np.random.default_rng(0)  # of some problems the limit hangs on the last digits
    energy = completion(rng, 10, 2, 0.6)
    W0 = 1e-2 * rng.normal(size=(10, 10))
    flow = dl.gradient_flow(energy, W0, depth)
    assert flow.status == dl.Status.gradient
    assert EXPLICIT < flow.stats["steps"] < 20_000
    assert flow.error < 1e-4
    runs = dl.ensemble(energy, W0[None], depth, accuracy=1e-6)  # another method
    assert runs.ok.all()
    distance = np.linalg.norm(flow.W - runs.W[0]) / np.linalg.norm(flow.W)
    assert distance < 2e-4


def test_states_that_they_suit(rng):
    chart = SvdCoordinates()

    def suits(*shape, rank=None, most=1600):
        U, s, Vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
        point = dl.LogSVD(*map(jnp.asarray, (U[:, :rank], np.log(s[:rank]), Vt[:rank])))
        return LinearlyImplicit.suits(chart.start(point), most)

    assert suits(5, 5)
    assert not suits(5, 5, most=24)
    assert not suits(5, 4)
    assert not suits(5, 5, rank=4)


START = np.array([[0.3, -0.5], [0.9, 0.2]])
TRUTH = jnp.array([[2.0, 1.0], [1.0, 0.5]])


@jax.custom_vjp
def squares(W):
    return 0.5 * jnp.sum((W - TRUTH) ** 2)


squares.defvjp(lambda W: (squares(W), W), lambda W, g: (g * (W - TRUTH),))


def test_which_energies_have_second_derivatives():
    smooth = dl.Completion.from_dense(np.array([[2, 1], [1, np.nan]]))
    none, one = jnp.zeros(()), jnp.asarray(1 / 3)

    def curved(energy):
        problem = FlowProblem(energy, one, none, none, none)
        return has_second_derivative(problem, jnp.asarray(START))

    assert curved(smooth)
    assert curved(lambda W: jnp.sum(W**4))
    assert not curved(squares)
    assert not curved(lambda W: 2 * squares(W))
    # and small flows take the steps that need them: few, where the problem is stiff
    assert dl.gradient_flow(smooth, START, 3, stop_energy=1e-12, chart="svd").stats["steps"] < 60


def test_energies_without_second_derivatives_take_other_steps():
    smooth = dl.Completion.from_dense(np.array(TRUTH))
    exact = dl.gradient_flow(smooth, START, 3, t1=2.0)
    for energy in (squares, lambda W: squares(W)):
        flow = dl.gradient_flow(energy, START, 3, t1=2.0)
        np.testing.assert_allclose(flow.W, exact.W, atol=1e-5)
        assert flow.converged
    for options in ({"chart": "dense"}, {"solver": dfx.Tsit5()}):
        flow = dl.gradient_flow(squares, START, 3, t1=2.0, **options)
        np.testing.assert_allclose(flow.W, exact.W, atol=1e-5)


def test_an_energy_may_hold_what_is_traced():
    @jax.jit
    def end(truth):
        energy = lambda W: 0.5 * jnp.sum((W - truth) ** 2)  # noqa: E731
        return dl.gradient_flow(energy, START, 3, t1=2.0, chart="svd", solver=dfx.Tsit5()).W

    exact = dl.gradient_flow(dl.Completion.from_dense(np.array(TRUTH)), START, 3, t1=2.0)
    np.testing.assert_allclose(end(TRUTH), exact.W, atol=1e-5)


@pytest.mark.parametrize("chart", ["auto", "dense"])
@pytest.mark.parametrize(
    ("saveat", "times"),
    [
        ([0.0, 1.0], [0]),
        ([1.0], []),
        (dfx.SaveAt(t0=True, t1=True, ts=jnp.array([0.5])), [0, 0]),
    ],
)
def test_a_stop_that_the_start_meets_leaves_later_times_out(chart, saveat, times):
    energy = dl.Completion.from_dense(np.array([[2, 1], [1, np.nan]]))
    options = {"stop_energy": 10.0, "t1": 3.0, "chart": chart}
    flow = dl.gradient_flow(energy, START, 3, saveat=saveat, **options)
    assert flow.status == dl.Status.energy
    assert flow.ts.tolist() == times
    assert flow.t_end == 0
    np.testing.assert_allclose(flow.W, np.broadcast_to(START, (len(times), 2, 2)), atol=1e-15)
    assert len(flow.error) == len(flow.energy) == len(times)


@pytest.mark.parametrize("d", [2, 6])
def test_a_controller_of_ones_own_measures_the_coordinates(d, rng):
    energy, W0 = completion(rng, d, 2, 1.0), rng.normal(size=(d, d))
    shapes = []

    def norm(y):
        shapes.append([x.shape for x in y])
        return jnp.max(jnp.abs(y[1]))

    control = dfx.PIDController(rtol=1e-7, atol=1e-7, norm=norm)
    how = {"t1": 0.3, "chart": "svd"}
    flow = dl.gradient_flow(energy, W0, 3, stepsize_controller=control, **how)
    assert all(shape == [(d, d), (d,), (d, d)] for shape in shapes)
    assert shapes
    exact = dl.gradient_flow(energy, W0, 3, rtol=1e-10, **how)
    np.testing.assert_allclose(flow.W, exact.W, atol=1e-4)
