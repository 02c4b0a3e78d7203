"""Ensembles: frames, solves and steps against dense linear algebra, runs against SciPy's flow, and
what must not matter.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DEPTHS, slow
from oracles import flow, operator_matrix
from scipy.integrate import solve_ivp

import deeplinear as dl
from deeplinear.dynamics.ensembles.dense_rosenbrock import DenseRosenbrockStepper
from deeplinear.dynamics.ensembles.frames import frame, join, split
from deeplinear.dynamics.ensembles.linear import solve
from deeplinear.dynamics.ensembles.rosenbrock import ImplicitStepper, RosenbrockStepper
from deeplinear.dynamics.ensembles.steppers import (
    DenseStepper,
    EnsembleProblem,
    ExplicitStepper,
    FactorStepper,
    PlanarStepper,
    jump,
)
from deeplinear.errors import DepthError, InputError, PrecisionError
from deeplinear.geometry.kernel import inverse_depth

DIAGONAL = dl.Completion([0, 1], [0, 1], [0.92, 0.92], (2, 2))


def lanes(points: np.ndarray):
    """Points (L, m, n) in the form in which lanes are computed with."""
    return split(jnp.moveaxis(jnp.asarray(points), 0, -1))


def points(W) -> np.ndarray:
    return np.moveaxis(np.asarray(join(W)), -1, 0)


@eqx.filter_jit
def _apply(W, Z, nu, q, often=False):
    return frame(W, nu, often=often).power(Z, q)


# by LAPACK, and by rotations of columns
@pytest.mark.parametrize("often", [False, True])
@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (4, 2), (2, 5), (7, 7), (3, 8)])
def test_the_operator_in_lanes_is_the_explicit_matrix(shape, often, rng):
    W, Z = rng.standard_normal((2, 5, *shape))
    W[1] *= 1e-4
    for N in DEPTHS:
        nu = inverse_depth(N, float)
        once = points(_apply(lanes(W), lanes(Z), nu, 1, often))
        root = _apply(lanes(W), lanes(Z), nu, 0.5, often)
        twice = points(_apply(lanes(W), root, nu, 0.5, often))
        for i in range(5):
            exact = (operator_matrix(W[i], N) @ Z[i].ravel()).reshape(shape)
            # The oracle's quadrature leaves 1e−10 of the integral at N = ∞ where singular values
            # spread.
            np.testing.assert_allclose(once[i], exact, atol=1e-9 * np.abs(exact).max())
        np.testing.assert_allclose(twice, once, atol=1e-12 * np.abs(once).max())


@pytest.mark.parametrize("often", [False, True])
@pytest.mark.parametrize("d", [2, 3])
def test_the_operator_at_ties_and_singular_points(d, often, rng):
    Q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    rank_one = np.outer(rng.standard_normal(d), rng.standard_normal(d))
    reflection = Q.copy()
    reflection[:, 0] *= -1
    W = np.stack([Q, reflection, 1e-3 * np.eye(d), rank_one, np.zeros((d, d))])
    Z = rng.standard_normal((5, d, d))
    for N in (1, 2, 3, math.inf):
        found = points(_apply(lanes(W), lanes(Z), inverse_depth(N, float), 1, often))
        exact = np.stack([np.asarray(dl.Operator(w, N)(z)) for w, z in zip(W, Z, strict=True)])
        np.testing.assert_allclose(found, exact, atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 2), (4, 3)])
def test_solves_with_the_frozen_kernel(shape, rng):
    m, n = shape
    W, b = rng.standard_normal((2, 3, m, n))
    mask = (rng.random((m, n)) < 0.6).astype(float)
    mask[0, 0] = 1.0
    energy = dl.Completion(*np.nonzero(mask), np.ones(int(mask.sum())), shape)
    nu, c = inverse_depth(3, float), jnp.array([0.1, 1.0, 100.0])
    H = np.diag(mask.ravel())
    problem = EnsembleProblem(energy, nu, jnp.asarray(1e-6), 40)
    for shift in (1, 0):
        rhs = (
            b
            if shift
            else np.stack(
                [
                    (operator_matrix(w, 3) @ (mask * x).ravel()).reshape(shape)
                    for w, x in zip(W, b, strict=True)
                ]
            )
        )

        @eqx.filter_jit
        def run(problem, W, rhs, c, shift=shift):
            return solve(
                frame(W, nu), problem.hessian(W), c, rhs, shift=shift, rtol=1e-13, max_steps=40
            )

        x, reached = run(problem, lanes(W), lanes(rhs), c)
        assert np.asarray(reached).all()
        for i in range(3):
            system = shift * np.eye(m * n) + float(c[i]) * operator_matrix(W[i], 3) @ H
            np.testing.assert_allclose(system @ points(x)[i].ravel(), rhs[i].ravel(), atol=1e-10)


@pytest.mark.parametrize(
    ("stepper", "order"),
    [
        (DenseStepper(), 5),
        (ExplicitStepper(), 5),
        (PlanarStepper(), 5),
        (RosenbrockStepper(), 5),
        (DenseRosenbrockStepper(), 5),
        (ImplicitStepper(), 3),
        (FactorStepper(depth=3), 5),
    ],
)
def test_orders_of_the_steps(stepper, order, rng):
    if isinstance(stepper, PlanarStepper):
        energy = dl.Completion([0, 0, 1], [0, 1, 1], [1.0, -0.5, 0.7], (2, 2))
    else:
        energy = dl.Completion([0, 0, 1, 2, 2], [0, 1, 2, 1, 0], [1.0, -0.5, 0.7, 0.3, 0.2], (3, 3))
    W0, T = 0.7 * rng.standard_normal(energy.target.shape), 1.0
    gradient = lambda W: np.asarray(energy.weights) * (W - np.asarray(energy.target))  # noqa: E731
    exact = flow(W0, gradient, 3, [T], rtol=1e-13)[0]
    problem = EnsembleProblem(energy, inverse_depth(3, float), jnp.asarray(1e-12), 60)

    @eqx.filter_jit
    def run(W, steps):
        def body(_, carry):
            trial = stepper.step(problem, *carry, jnp.full(1, T / steps))
            return trial.state, trial.rate

        state = stepper.start(problem, W)
        return stepper.matrix(
            jax.lax.fori_loop(0, steps, body, (state, stepper.rate(problem, state)))[0]
        )

    counts = [16, 32, 64]
    errors = [
        np.linalg.norm(points(run(lanes(W0[None]), jnp.asarray(k)))[0] - exact) for k in counts
    ]
    slopes = np.diff(np.log(errors)) / np.diff(np.log(counts))
    assert (-slopes > order - 0.3).all(), (errors, slopes)
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("N", [2, 3, 5.5, math.inf])
def test_limits_are_those_of_the_exact_flow(N, rng):
    starts = 0.05 * rng.standard_normal((4, 2, 2))
    found = dl.ensemble(DIAGONAL, starts, N, accuracy=1e-7)
    assert found.ok.all()
    assert found.counts == {"limit": 4}
    for W0, W, error in zip(starts, found.W, found.error, strict=True):
        exact = flow(W0, lambda W: np.diag(np.diag(W) - 0.92), N)
        assert np.linalg.norm(W - exact) < 2e-6
        assert error < 2e-7
    np.testing.assert_allclose(found.energy, 0, atol=1e-12)
    np.testing.assert_array_equal(found.start, starts)


@pytest.mark.parametrize(("shape", "N"), [slow((3, 3), 4), ((3, 2), 2.5), ((2, 4), math.inf)])
def test_limits_of_larger_and_rectangular_problems(shape, N, rng):
    X = rng.standard_normal(
        shape
    )  # of full rank, and so without a tail that decays like a power of t
    X[rng.random(shape) < 0.5] = np.nan
    energy = dl.Completion.from_dense(X)
    starts = 0.1 * rng.standard_normal((3, *shape))
    found = dl.ensemble(energy, starts, N, accuracy=1e-6)
    assert found.ok.all()
    for W0, W in zip(starts, found.W, strict=True):
        exact = flow(W0, lambda W: np.nan_to_num(W - X), N)
        assert np.linalg.norm(W - exact) < 3e-5


@pytest.mark.slow
def test_paths_pass_through_the_flow_at_every_time(rng):
    starts, times = 0.1 * rng.standard_normal((5, 2, 2)), [0.5, 3.0, 10.0, math.inf]
    found = dl.ensemble(DIAGONAL, starts, 3, times=times)
    assert found.path.shape == (5, 3, 2, 2)
    assert found.counts == {"limit": 5}
    for W0, path in zip(starts, found.path, strict=True):
        np.testing.assert_allclose(
            path, flow(W0, lambda W: np.diag(np.diag(W) - 0.92), 3, times[:-1]), atol=1e-6
        )
    ended = dl.ensemble(DIAGONAL, starts, 3, times=times[:-1])
    assert ended.counts == {"reached_t1": 5}
    np.testing.assert_allclose(ended.W, ended.path[:, -1], rtol=1e-14)
    np.testing.assert_array_equal(ended.time, 10.0)


@pytest.mark.slow
def test_the_methods_agree(rng):
    d = 8
    truth = rng.standard_normal((d, 1)) @ rng.standard_normal((1, d))
    energy = dl.Completion.from_dense(np.where(rng.random((d, d)) < 0.3, truth, np.nan))
    starts = 0.05 * rng.standard_normal((3, d, d))
    fine = dl.ensemble(energy, starts, 2, method="explicit", accuracy=1e-7)
    for method, accuracy, bound in (("factors", 1e-6, 1e-4), ("implicit", 1e-4, 1e-2)):
        other = dl.ensemble(energy, starts, 2, method=method, accuracy=accuracy)
        assert other.ok.all()
        assert fine.ok.all()
        assert np.linalg.norm(other.W - fine.W, axis=(1, 2)).max() < bound
    assert dl.ensemble(energy, starts, 2).steps.max() < 1000


def test_a_run_depends_on_its_start_alone():
    sampler = dl.normal_start((2, 2), 1e-2)
    whole = dl.ensemble(DIAGONAL, sampler, math.inf, 300)
    for other in (
        dl.ensemble(DIAGONAL, sampler, math.inf, 300, batch_size=64),
        dl.ensemble(DIAGONAL, sampler, math.inf, 300, batch_size=64, workers=3),
        dl.ensemble(DIAGONAL, whole.start, math.inf),
        dl.ensemble(DIAGONAL, whole.start[::-1], math.inf, batch_size=128),
    ):
        order = (
            slice(None, None, -1) if np.array_equal(other.start, whole.start[::-1]) else slice(None)
        )
        for name in ("start", "W", "energy", "error", "time", "steps", "ending"):
            np.testing.assert_array_equal(
                getattr(other, name)[order], getattr(whole, name), err_msg=name
            )
    assert not np.array_equal(
        dl.ensemble(DIAGONAL, sampler, math.inf, 300, seed=1).start, whole.start
    )


@pytest.mark.parametrize("N", [5, 20, math.inf])
def test_the_sign_of_the_determinant_is_kept(N):
    found = dl.ensemble(DIAGONAL, dl.normal_start((2, 2), 1e-3), N, 2000)
    assert found.counts == {"limit": 2000}
    assert (np.sign(np.linalg.det(found.W)) == np.sign(np.linalg.det(found.start))).all()


def test_the_error_of_the_jump_is_estimated_from_above(rng):
    problem = EnsembleProblem(DIAGONAL, inverse_depth(4, float), jnp.asarray(1e-10), 6)
    ends = dl.ensemble(DIAGONAL, dl.normal_start((2, 2), 0.1), 4, 200, accuracy=1e-9)
    early = dl.ensemble(
        DIAGONAL, ends.start, 4, accuracy=1e-9, times=[8.0]
    )  # on the way to these ends
    limit, estimate = eqx.filter_jit(jump)(problem, lanes(early.W))
    error, estimate = np.linalg.norm(points(limit) - ends.W, axis=(1, 2)), np.asarray(estimate)
    told = np.isfinite(estimate) & (estimate > 1e-7)  # below, the steps' own errors decide
    assert told.sum() > 50
    assert (error[told] <= estimate[told]).all()


def test_no_jump_through_a_singular_matrix():
    """A diagonal start with det < 0 cannot reach diag(c, c), though that is where the frozen
    problem points.
    """
    found = dl.ensemble(
        DIAGONAL,
        np.array([[[0.01, 0.0], [0.0, -0.01]], [[0.01, 0.0], [0.0, 0.02]]]),
        3,
        max_steps=500,
    )
    assert found.W[0, 1, 1] < 1e-3
    assert not (found.ok[0] and found.energy[0] < 0.4)
    np.testing.assert_allclose(found.W[1], np.diag([0.92, 0.92]), atol=1e-6)


def test_runs_that_fail_say_so_and_hurt_no_other(rng):
    starts = 0.01 * rng.standard_normal((6, 2, 2))
    alone = dl.ensemble(DIAGONAL, starts, 3)
    starts[1], starts[4, 0, 1] = 0.0, np.nan
    found = dl.ensemble(DIAGONAL, starts, 3)
    assert found.counts == {"limit": 4, "not_finite": 1, "critical": 1}
    assert found.ok.tolist() == [True, False, True, True, False, True]
    np.testing.assert_array_equal(found.W[found.ok], alone.W[found.ok])
    short = dl.ensemble(DIAGONAL, starts[:1], 3, max_steps=8)
    assert short.counts == {"max_steps": 1}
    assert "max_steps: 1" in repr(short)


class Logistic(eqx.Module):
    """Not quadratic, and so a test of the jump as Newton's method."""

    def __call__(self, W):
        return jnp.sum(jnp.log1p(jnp.exp(-W[0])) + 0.3 * W[0]) + 0.5 * (W[1, 1] - 0.5) ** 2


@pytest.mark.parametrize("energy", [Logistic(), "sensing"])
def test_other_energies(energy, rng):
    if energy == "sensing":
        A = rng.standard_normal((2, 2, 2))
        energy = dl.Sensing(A, [1.0, -0.4])
    starts = np.array([[0.8, 0.3], [-0.2, 0.6]]) + 0.3 * rng.standard_normal((3, 2, 2))
    found = dl.ensemble(energy, starts, 3)
    gradient = jax.jit(jax.grad(energy))
    assert found.ok.all()
    for W0, W in zip(starts, found.W, strict=True):
        assert np.linalg.norm(W - flow(W0, lambda W: np.asarray(gradient(W)), 3, rtol=1e-9)) < 1e-5


def test_single_precision():
    starts = np.asarray(0.1 * np.random.default_rng(0).standard_normal((20, 2, 2)), np.float32)
    found = dl.ensemble(DIAGONAL32, starts, 3)
    assert found.W.dtype == np.float32
    assert found.ok.all()
    np.testing.assert_allclose(found.W, dl.ensemble(DIAGONAL, starts.astype(float), 3).W, atol=2e-2)
    with pytest.raises(PrecisionError, match="accuracy"):
        dl.ensemble(DIAGONAL32, starts, 3, accuracy=1e-9)


DIAGONAL32 = dl.Completion([0, 1], [0, 1], np.array([0.92, 0.92], np.float32), (2, 2))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"depth": 0.5}, DepthError, "depth"),
        ({"runs": None}, InputError, "runs must be given"),
        ({"runs": 0}, InputError, "runs must be an integer ≥ 1"),
        ({"start": np.ones((2, 2))}, InputError, "start must be an array"),
        ({"start": np.ones((3, 2, 2)), "runs": 4}, InputError, "does not match the 3 starts"),
        ({"start": lambda key: jnp.ones(3)}, InputError, "start must draw real matrices"),
        ({"method": "euler"}, InputError, "method must be one of"),
        ({"method": "implicit", "depth": 1.5}, InputError, "depth must be ≥ 2"),
        ({"method": "factors", "depth": 5}, InputError, "depth must be 2, 3 or 4"),
        ({"times": [2.0, 1.0]}, InputError, "times must be positive and increasing"),
        (
            {"times": [1.0, 1e300], "start": np.ones((1, 2, 2), np.float32), "runs": 1},
            InputError,
            "range of float32",
        ),
        ({"seed": 1.5}, InputError, "seed must be an integer"),
        ({"batch_size": 0}, InputError, "batch_size"),
        ({"workers": 1.5}, InputError, "workers"),
        ({"accuracy": -1.0}, InputError, "accuracy must be positive"),
        ({"energy": lambda W: W}, InputError, "energy must map a matrix to a scalar"),
    ],
)
def test_bad_input(change, error, match):
    arguments = {
        "energy": DIAGONAL,
        "start": dl.normal_start((2, 2), 0.1),
        "depth": 3,
        "runs": 2,
    } | change
    with pytest.raises(error, match=match):
        dl.ensemble(**arguments)


def test_a_bad_sampler():
    with pytest.raises(InputError, match="scale must be one positive number"):
        dl.normal_start((2, 2), 0.0)
    with pytest.raises(InputError, match="shape must be"):
        dl.normal_start((2, 0), 1.0)


@pytest.mark.slow
def test_compiled_programs_serve_a_second_process(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, jax, deeplinear as dl; dl.cache_compilations(sys.argv[1]);"
        "e = dl.Completion([0, 1], [0, 1], [1.0, 1.0], (2, 2));"
        "print(dl.ensemble(e, dl.normal_start((2, 2), 0.1), 3, 4).W.sum())"
    )
    outputs, entries = [], []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )
        outputs.append(done.stdout)
        entries.append({path.name for path in tmp_path.iterdir() if path.suffix == ".program"})
    assert outputs[0] == outputs[1]
    assert entries[0]
    assert entries[0] == entries[1]


@pytest.mark.parametrize(
    ("N", "accuracy"), [(2, 1e-6), (3, 1e-6), (math.inf, 1e-6), (math.inf, 1e-3)]
)
def test_no_limit_at_a_saddle(N, accuracy):
    """Everything is observed and can be fitted: a run that says it has its limit has E = 0."""
    energy = dl.Completion([0, 0, 1, 1], [0, 1, 0, 1], [1.0, 0.0, 0.0, 0.3], (2, 2))
    starts = np.array([[1.0, 0.2], [-0.3, 0.8]]) * np.array([1e-3, 1e-5, 1e-7])[:, None, None]
    found = dl.ensemble(energy, starts, N, accuracy=accuracy)
    assert found.ok[:2].all()
    assert (found.energy[found.ok] < accuracy).all()


def test_no_limit_at_a_saddle_of_a_larger_problem(rng):
    truth = rng.standard_normal((8, 3)) @ rng.standard_normal((3, 8))
    energy = dl.Completion.from_dense(np.where(rng.random((8, 8)) < 0.8, truth, np.nan))
    found = dl.ensemble(energy, 1e-5 * rng.standard_normal((4, 8, 8)), 4)
    assert found.ok.any()
    assert (found.energy[found.ok] < 1e-2).all()  # at the saddles before it is above 1
    assert (
        np.linalg.norm(found.W - truth, axis=(1, 2))[found.ok] < 0.2 * np.linalg.norm(truth)
    ).all()


@pytest.mark.parametrize("N", [slow(2), 3, slow(4), slow(math.inf)])
def test_a_flow_that_diverges_has_no_limit(N):
    """w12 = w21 = 1, w22 = 0 needs det W = −1: from det W > 0 the norm grows without bound
    (Razin and Cohen).
    """
    energy = dl.Completion([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], (2, 2))
    found = dl.ensemble(energy, dl.normal_start((2, 2), 1e-2), N, 40, max_steps=2000)
    positive = np.linalg.det(found.start) > 0
    assert positive.sum() > 10
    assert not found.ok[positive].any()
    assert found.ok[~positive].any()


@pytest.mark.parametrize(
    "energy",
    [slow(jnp.sum), slow(lambda W: jnp.sum(jnp.exp(-W))), slow(lambda W: jnp.sum((W**2 - 1) ** 2))],
)
def test_energies_that_are_not_convex_quadratic_end_only_at_minima(energy):
    starts = 1e-2 * np.random.default_rng(0).standard_normal((3, 2, 2))
    for N in (1, 2):
        found = dl.ensemble(energy, starts, N, max_steps=300)
        slopes = np.asarray(jax.vmap(jax.grad(energy))(found.W[found.ok]))
        assert np.abs(slopes).max(initial=0) < 1e-4
        assert energy is not jnp.sum or not found.ok.any()


def test_starts_that_are_where_they_go():
    starts = np.array([[[0.92, 0.1], [0.2, 0.92]], [[0.0, 0.0], [0.0, 0.0]]])
    found = dl.ensemble(DIAGONAL, starts, 3, times=[1.0, 2.0, math.inf])
    assert [dl.Ending(code).name for code in found.ending] == ["limit", "critical"]
    assert found.error[0] == 0
    np.testing.assert_array_equal(found.path, np.repeat(starts[:, None], 2, 1))
    np.testing.assert_allclose(
        dl.ensemble(DIAGONAL, starts[1:], 1).W, [np.diag([0.92, 0.92])], atol=1e-6
    )  # N = 1: it moves


@pytest.mark.slow
def test_times_with_a_limit_end_for_stiff_runs_too():
    energy = dl.Completion(
        [0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 0, 2], [1, 0.5, 0.3, -0.2, 0.7, 0.9], (3, 3)
    )
    starts = 1e-4 * np.random.default_rng(1).standard_normal((1, 3, 3))
    found = dl.ensemble(energy, starts, 4, times=[2, math.inf])
    assert found.counts == {"limit": 1}
    np.testing.assert_allclose(found.W, dl.ensemble(energy, starts, 4).W, atol=3e-6)
    stiff = dl.ensemble(energy, starts, 4, method="explicit", max_steps=300)
    assert stiff.counts == {"max_steps": 1}


def chart_flow(W0, gradient, N, t_end):
    """W(t_end) by SciPy's LSODA on (U, log σ, V) in NumPy: another method, at tolerance 1e−12."""
    d = len(W0)
    U, s, Vt = np.linalg.svd(W0)
    nu = 1 / N  # 0 at N = ∞

    def parts(y):
        U, V = y[: d * d].reshape(d, d), y[d * d : 2 * d * d].reshape(d, d)
        return (1.5 * U - 0.5 * U @ U.T @ U), y[2 * d * d :], (1.5 * V - 0.5 * V @ V.T @ V)

    def field(t, y):
        U, log_s, V = parts(y)
        s = np.exp(log_s)
        M = U.T @ gradient((U * s) @ V.T) @ V
        gap = log_s[:, None] - log_s + np.eye(d)
        c = 1 / (np.expm1(2 * nu * gap) * s ** (2 * nu) / nu if nu else 2 * gap)
        np.fill_diagonal(c, 0)
        omega = c * (s * M + s[:, None] * M.T)
        theta = c * (s[:, None] * M + s * M.T)
        growth = -np.exp((1 - 2 * nu) * log_s) * np.diag(M)
        return np.concatenate([(U @ omega).ravel(), (V @ theta).ravel(), growth])

    y0 = np.concatenate([U.ravel(), Vt.T.ravel(), np.log(s)])
    found = solve_ivp(field, (0, t_end), y0, method="LSODA", rtol=1e-12, atol=1e-13)
    U, log_s, V = parts(found.y[:, -1])
    return (U * np.exp(log_s)) @ V.T


@pytest.mark.parametrize(
    ("d", "entries", "N", "scale"),
    [(3, 6, math.inf, 1e-3), slow(4, 9, 10, 1e-3), (4, 12, 3, 1e-1), slow(5, 18, 4, 1e-2)],
)
def test_the_error_of_a_limit_is_stated(d, entries, N, scale):
    """Saddles on the way amplify the errors of the steps: the estimate has to cover them."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((d, 2)) @ rng.standard_normal((2, d))
    rows, cols = np.divmod(rng.permutation(d * d)[:entries], d)
    energy = dl.Completion(rows, cols, truth[rows, cols], (d, d))
    mask = np.asarray(energy.weights)
    found = dl.ensemble(energy, scale * rng.standard_normal((6, d, d)), N)
    assert found.ok.sum() >= 4
    for i in np.flatnonzero(found.ok)[:3]:
        exact = chart_flow(found.start[i], lambda W: mask * (W - truth), N, 200 * found.time[i])
        error = np.linalg.norm(found.W[i] - exact)
        assert error < 3 * found.error[i]
        assert found.error[i] <= 1e-6 * np.linalg.norm(found.W[i])


@pytest.mark.slow
def test_the_error_shrinks_with_the_accuracy(rng):
    truth = rng.standard_normal((4, 2)) @ rng.standard_normal((2, 4))
    energy = dl.Completion.from_dense(np.where(rng.random((4, 4)) < 0.7, truth, np.nan))
    starts = 1e-2 * rng.standard_normal((8, 4, 4))
    fine = dl.ensemble(energy, starts, 3, accuracy=1e-9)
    for accuracy in (1e-3, 1e-5, 1e-7):
        found = dl.ensemble(energy, starts, 3, accuracy=accuracy)
        both = found.ok & fine.ok
        assert both.sum() >= 6
        error = np.linalg.norm(found.W - fine.W, axis=(1, 2))
        assert (error <= 3 * found.error)[both].all()
        assert (found.error <= accuracy * np.linalg.norm(found.W, axis=(1, 2)))[both].all()


@pytest.mark.parametrize("N", [2, 3, 10])
def test_a_flow_that_diverges_on_a_lost_rank_has_no_limit(N):
    """On rank 1 w12 w21 = 1 and w22 = 0 need w11 = ∞: a dense W drifts off that rank instead."""
    energy = dl.Completion([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], (2, 2))
    found = dl.ensemble(energy, np.array([[[1.0, 2.0], [0.5, 1.0]]]), N, max_steps=1000)
    assert found.counts == {"max_steps": 1}
    s = np.linalg.svd(found.W[0], compute_uv=False)
    assert s[1] < 1e-13 * s[0]


@pytest.mark.parametrize("N", [slow(1), slow(1.5), slow(2), 3, slow(math.inf)])
@pytest.mark.parametrize(
    "energy", [lambda W: jnp.exp(-W[0, 0]), lambda W: jnp.exp(-jnp.sum(W**2))], ids=["exp", "bell"]
)
def test_a_minimum_at_infinity_is_no_limit(energy, N):
    found = dl.ensemble(energy, np.array([[[0.5, 0.2], [-0.1, 0.4]]]), N)
    assert not found.ok.any()


@pytest.mark.parametrize("N", [1, 2, math.inf])
def test_where_the_gradient_ends_at_a_wall_it_is_a_limit(N):
    hinge = lambda W: jnp.maximum(0.0, 1 - W[0, 0]) ** 2  # noqa: E731
    found = dl.ensemble(hinge, np.array([[[0.5, 0.2], [-0.1, 0.4]]]), N)
    assert found.counts == {"limit": 1}
    np.testing.assert_allclose(found.W[0, 0, 0], 1, atol=1e-6)


def test_below_depth_two_the_determinant_may_change_its_sign(rng):
    target = rng.standard_normal((2, 2))
    energy = dl.Completion.from_dense(target)
    starts = 0.1 * rng.standard_normal((20, 2, 2))
    flipped = np.sign(np.linalg.det(starts)) != np.sign(np.linalg.det(target))
    assert 3 < flipped.sum() < 17
    found = dl.ensemble(energy, starts, 1)
    assert found.counts == {"limit": 20}
    np.testing.assert_allclose(found.W, np.broadcast_to(target, found.W.shape), atol=1e-6)


def test_tied_starts_follow_their_neighbours(rng):
    truth = rng.standard_normal((3, 2)) @ rng.standard_normal((2, 3))
    energy = dl.Completion.from_dense(np.where(rng.random((3, 3)) < 0.8, truth, np.nan))
    near = 1 + 1e-7 * np.arange(3)
    for start in (0.01 * np.eye(3), 0.01 * np.linalg.qr(rng.standard_normal((3, 3)))[0]):
        for N in (2, math.inf):
            found = dl.ensemble(energy, np.stack([start, start * near]), N)
            assert found.ok.all()
            np.testing.assert_allclose(found.W[0], found.W[1], atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-5, 1e-6])
def test_a_limit_that_rounding_decides_is_undetermined(size):
    """In single precision and from a small start the saddles amplify rounding beyond 1e−4; and a
    singular value of 1e−6 is lost in W beside one of 3, so that a saddle looks like a limit.
    """
    rng = np.random.default_rng(0)
    truth = (rng.standard_normal((4, 2)) @ rng.standard_normal((2, 4))).astype(np.float32)
    rows, cols = np.divmod(rng.permutation(16)[:9], 4)
    energy = dl.Completion(rows, cols, truth[rows, cols], (4, 4))
    starts = (size * rng.standard_normal((24, 4, 4))).astype(np.float32)
    found = dl.ensemble(energy, starts, math.inf, max_steps=1000)
    wide = dl.ensemble(
        dl.Completion(rows, cols, truth[rows, cols].astype(float), (4, 4)),
        starts.astype(float),
        math.inf,
        max_steps=2000,
    )
    assert found.counts.get("undetermined", 0) > 0
    both = found.ok & wide.ok
    error = np.linalg.norm(found.W - wide.W, axis=(1, 2))
    assert (error <= 3 * found.error)[both].all()
