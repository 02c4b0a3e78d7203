"""The extension points of the library, each used in the way that its contract documents."""

import math

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.completion.backends.base import AbstractBackend, Pass, total
from deeplinear.completion.backends.dense import random_signs
from deeplinear.dynamics.coordinates import AbstractCoordinates
from deeplinear.dynamics.ensembles.frames import norm
from deeplinear.dynamics.ensembles.linear import axpy
from deeplinear.dynamics.ensembles.steppers import AbstractStepper, StepTrial
from deeplinear.dynamics.langevin_process import AbstractProcess, sign_of_det
from deeplinear.dynamics.langevin_solve import DiffusionPlan, finish, sample
from deeplinear.energies import AbstractEnergy
from deeplinear.geometry.operator import Operator

ENERGY = dl.Completion([0, 0, 1], [0, 1, 0], [2.0, 1.0, 1.0], (2, 2))
START = np.array([[0.4, 0.1], [-0.2, 0.3]])


class TestEnergy:
    class LogCosh(AbstractEnergy):
        """E(W) = Σ log cosh(W_ij − M_ij): a robust loss, with gradient tanh(W − M)."""

        M: jax.Array

        def __call__(self, W):
            x = jnp.abs(W - self.M)
            return jnp.sum(x + jnp.log1p(jnp.exp(-2 * x)) - jnp.log(2.0))

    @pytest.fixture
    def energy(self, rng):
        return self.LogCosh(jnp.asarray(np.eye(3) + 0.2 * rng.normal(size=(3, 3))))

    @pytest.fixture
    def W0(self, rng):
        return 0.5 * np.eye(3) + 0.1 * rng.normal(size=(3, 3))

    def test_its_derivatives_are_checked(self, energy, W0):
        assert dl.verify.gradient_check(energy, W0)
        np.testing.assert_allclose(jax.grad(energy)(W0), np.tanh(W0 - energy.M), atol=1e-14)

    @pytest.mark.parametrize("depth", [3, np.inf])
    def test_it_is_trained_to_its_minimizer(self, energy, W0, depth):
        result = dl.gradient_flow(energy, W0, depth)
        assert result.converged
        np.testing.assert_allclose(result.W, energy.M, atol=3e-5)  # it stops at 10 rtol

    def test_a_plain_function_is_an_energy_too(self, energy, W0):
        flows = [dl.gradient_flow(e, W0, 2, t1=1.0) for e in (energy, lambda W: energy(W))]
        np.testing.assert_allclose(flows[0].W, flows[1].W, rtol=1e-12)

    def test_an_energy_without_a_value_cannot_be_made(self):
        class Incomplete(AbstractEnergy):
            M: jax.Array

        with pytest.raises(TypeError, match="abstract"):
            Incomplete(jnp.eye(2))

    def test_the_energies_of_the_library_keep_the_contract(self, W0):
        for energy in (dl.Completion.from_dense(np.ones((3, 3))), dl.Sensing(W0[None], np.ones(1))):
            assert isinstance(energy, AbstractEnergy)
            assert energy.shape == (3, 3)
            assert energy(W0).shape == ()
        assert self.LogCosh(jnp.eye(3)).shape is None


class TestCoordinates:
    """The flow of the transpose V = Wᵀ."""

    class Transposed(AbstractCoordinates):
        name = "transposed"

        def start(self, point):
            return point.dense().T

        def field(self, t, y, problem):
            W = y.T
            return (-Operator(W, problem.depth)(problem.gradient(W)) - problem.weight_decay * W).T

        def matrix(self, y):
            return y.T

        def scale(self, y):
            return jnp.sqrt(jnp.mean(y**2))

    def test_a_flow_in_them_is_the_flow_of_the_dense_chart(self):
        options = {"weight_decay": 0.1, "rtol": 1e-8, "stop_gradient": 1e-3}
        dense = dl.gradient_flow(ENERGY, START, 3, chart="dense", **options)
        found = dl.gradient_flow(ENERGY, START, 3, chart=self.Transposed(), **options)
        np.testing.assert_allclose(found.W, dense.W, atol=1e-7)
        np.testing.assert_allclose(found.t_end, dense.t_end, rtol=1e-6)
        assert found.status == dense.status == dl.Status.gradient
        assert found.converged
        assert set(found.stats) == {"steps", "transposed"}

    def test_a_part_that_is_missing_is_named(self):
        class Half(AbstractCoordinates):
            name = "half"

        with pytest.raises(TypeError, match="field"):
            Half()
        with pytest.raises(dl.InputError, match="AbstractCoordinates"):
            dl.gradient_flow(ENERGY, START, 3, chart="transposed", t1=1.0)


class TestProcess:
    """The Ornstein–Uhlenbeck process dW = −W dt + √2 dB, whose law is known."""

    class OrnsteinUhlenbeck(AbstractProcess):
        def start(self, W):
            return W

        def drift(self, t, y, args):
            return -y

        def noise(self, t, y, args):
            return lx.DiagonalLinearOperator(jnp.full_like(y, math.sqrt(2)))

        def observe(self, t, y, args):
            log_s = jnp.log(jnp.linalg.svd(y, compute_uv=False))
            return y, None, log_s, self.det_sign(y)

        def det_sign(self, y):
            return sign_of_det(y)

    def test_its_chains_have_its_law(self):
        plan = DiffusionPlan.of(0.0, 0.5, 0.01).settled(float)
        starts = jnp.broadcast_to(2 * jnp.eye(2), (4000, 2, 2))
        found = finish(
            sample(self.OrnsteinUhlenbeck(), starts, jax.random.key(0), plan), False, plan
        )
        assert found.converged.all()
        assert found.energy is None
        # Euler's scheme: mean (1 − dt)^n, variance Σ 2 dt (1 − dt)^{2k}
        mean = 2 * 0.99**50 * np.eye(2)
        variance = 0.02 * (1 - 0.99**100) / (1 - 0.99**2)
        W = np.asarray(found.W)
        assert np.abs(W.mean(0) - mean).max() < 4 * math.sqrt(variance / 4000)
        assert np.abs(W.var(0) / variance - 1).max() < 4 * math.sqrt(2 / 4000)

    def test_what_is_lost_and_what_has_crossed_is_the_process_own(self):
        class Stopped(self.OrnsteinUhlenbeck):
            def has_crossed(self, y, sign):
                return self.det_sign(y) != sign

        plan = DiffusionPlan.of(0.0, 0.5, 0.05).settled(float)
        near = jnp.diag(jnp.array([1e-3, 1.0]))
        starts = jnp.stack([10 * jnp.eye(2), jnp.eye(2) * jnp.nan, *[near] * 50])
        status = sample(Stopped(), starts, jax.random.key(1), plan).status
        assert status[0] == dl.Status.reached_t1
        assert status[1] == dl.Status.failed
        assert (status[2:] == dl.Status.crossed).sum() > 20


class TestStepper:
    """Heun's pair of orders 2 and 1."""

    class Heun(AbstractStepper):
        order: int = 2

        def start(self, problem, W):
            return W

        def matrix(self, state):
            return state

        def rate(self, problem, state):
            velocity = problem.frame(state).power(problem.gradient(state), 1)
            return jax.tree.map(jnp.negative, velocity)

        def step(self, problem, state, rate, h):
            last = self.rate(problem, axpy(h, rate, state))
            half = axpy(1.0, rate, last)
            end = axpy(h / 2, half, state)
            error = axpy(h / 2, axpy(-1.0, rate, last), jax.tree.map(jnp.zeros_like, state))
            size = norm(error) / norm(end) / problem.tol
            return StepTrial(end, self.rate(problem, end), size)

    @pytest.mark.parametrize("depth", [3, math.inf])
    def test_runs_end_where_the_explicit_stepper_ends_them(self, depth):
        options = {"depth": depth, "runs": 8, "accuracy": 1e-4}
        starts = dl.normal_start((2, 2), 0.1)
        usual = dl.ensemble(ENERGY, starts, method="explicit", **options)
        found = dl.ensemble(ENERGY, starts, method=self.Heun(), **options)
        assert found.ok.all()
        assert usual.ok.all()
        np.testing.assert_array_equal(found.start, usual.start)
        np.testing.assert_allclose(found.W, usual.W, atol=3e-3 * np.abs(usual.W).max())
        assert found.steps.sum() > usual.steps.sum()

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(dl.InputError, match="AbstractStepper"):
            dl.ensemble(ENERGY, START[None], 3, method="heun")


class TestBackend:
    """Every line's problem solved exactly, one line after the other."""

    class Exact(AbstractBackend):
        def entries(self, lines, Y):
            for i, count in enumerate(lines.counts):
                part = slice(lines.indptr[i], lines.indptr[i] + count)
                w = lines.weights[part] if lines.weights.size else np.ones(count)
                yield i, lines.indices[part], lines.values[part], w, Y[lines.indices[part]]

        def solve(self, lines, Z, Y, mean, ridge, extra, scale, free, steps):
            seen = []
            for i, _, x, w, y in self.entries(lines, Y):
                e, z = x - mean - y @ Z[i], Z[i].copy()
                seen.append(Pass(w @ e**2 / 2, z * ((w * e) @ y), z**2 * (w @ y**2)))
                if steps:
                    moving = free > 0
                    A = (w[:, None] * y).T @ y + np.diag(ridge * scale[i] + extra)
                    c = (w * (x - mean)) @ y - A[:, ~moving] @ z[~moving]
                    Z[i, moving] = np.linalg.lstsq(A[np.ix_(moving, moving)], c[moving])[0]
            return total(seen)

        def residual_matmul(self, lines, Z, Y, X, mean, seed):
            out = np.zeros((len(Z), X.shape[1]))
            signs = random_signs(len(Z), len(Y), seed) if seed else np.ones((len(Z), len(Y)))
            for i, j, x, w, y in self.entries(lines, Y):
                out[i] = (signs[i, j] * w * (x - mean - y @ Z[i])) @ X[j]
            return out

        def draw(self, lines, other, mean, precision, prior, pull, shift, noise):
            raise NotImplementedError

        def leverage(self, lines, mine, theirs, other, ridge, scale, asked):
            raise NotImplementedError

    @pytest.mark.parametrize("depth", [2, 3, math.inf])
    def test_a_fit_on_it_ends_where_the_others_do(self, rng, depth):
        truth = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 15))
        X = np.where(rng.random(truth.shape) < 0.7, truth + 0.1 * rng.normal(size=(20, 15)), np.nan)
        options = {"strength": 0.3, "validation_fraction": 0, "tol": 1e-12, "max_iter": 2000}
        usual = dl.DeepLinearImputer(depth, random_state=0, **options).fit(X)
        found = dl.DeepLinearImputer(depth, random_state=0, device=self.Exact(), **options).fit(X)
        assert found.converged_
        assert usual.converged_
        assert found.rank_ == usual.rank_
        ends = [x.model_.fit.objective[-1] for x in (found, usual)]
        np.testing.assert_allclose(*ends, rtol=1e-8)
        np.testing.assert_allclose(found.transform(X), usual.transform(X), atol=1e-4)

    def test_a_part_that_is_missing_is_named(self):
        class Half(AbstractBackend):
            pass

        with pytest.raises(TypeError, match="leverage"):
            Half()
