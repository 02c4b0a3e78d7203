"""What is done otherwise on an accelerator, on the processor: widths, 2×2 decompositions."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.compilation import programs
from deeplinear.dynamics import langevin_solve
from deeplinear.dynamics.ensembles import lanes
from deeplinear.dynamics.ensembles.dense_rosenbrock import DenseRosenbrockStepper
from deeplinear.dynamics.ensembles.rosenbrock import RosenbrockStepper
from deeplinear.dynamics.ensembles.run import _queue
from deeplinear.dynamics.ensembles.steppers import PlanarStepper
from deeplinear.geometry import geodesic_programs
from deeplinear.geometry.small import planar_svd, product

DIAGONAL = dl.Completion([0, 1], [0, 1], [0.92, 0.92], (2, 2))


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(programs, "_platform", lambda: "gpu")


def test_lanes_fill_an_accelerator(accelerator):
    assert lanes.width(PlanarStepper(), 2, 2) == (65536, 16)
    assert lanes.width(RosenbrockStepper(), 6, 6) == (4096, 16)
    assert lanes.width(DenseRosenbrockStepper(), 12, 12) == (1024, 16)
    for m, n in ((40, 40), (400, 300)):  # (mn)² numbers in each, at most 256 MiB in all or one
        most, _ = lanes.width(RosenbrockStepper(), m, n)
        assert most == 1 or most * (m * n) ** 2 * 8 <= 2**28
    assert _queue(10**6, (2, 2), 0, None) == 2**20


def test_many_lanes_end_as_few_do(accelerator, monkeypatch):
    sampler = dl.normal_start((2, 2), 1e-2)
    monkeypatch.setattr(lanes, "_FILLED", 2**9)
    wide = dl.ensemble(DIAGONAL, sampler, math.inf, 300)
    split = dl.ensemble(DIAGONAL, sampler, math.inf, 300, batch_size=64, workers=2)
    for name in ("W", "energy", "error", "time", "steps", "ending"):
        np.testing.assert_array_equal(getattr(wide, name), getattr(split, name), err_msg=name)
    monkeypatch.undo()
    few = dl.ensemble(DIAGONAL, sampler, math.inf, 300)
    assert few.counts == wide.counts == {"limit": 300}
    np.testing.assert_array_equal(few.steps, wide.steps)
    np.testing.assert_allclose(few.W, wide.W, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_2x2_decompositions_in_closed_form(rng, scale):
    W = scale * rng.standard_normal((200, 2, 2))
    W[0], W[1], W[2], W[3] = 0, scale * np.eye(2), scale * np.ones((2, 2)), np.diag([scale, 0])
    W[4] = scale * np.array([[1.0, 2.0], [2.0, 4.0 + 1e-9]])  # nearly singular
    W[5] = scale * np.array([[0.0, 1.0], [1.0, 0.0]])  # a reflection
    U, s, Vt = map(np.asarray, jax.vmap(planar_svd)(jnp.asarray(W)))
    tiny = 1e-15 * scale
    np.testing.assert_allclose(U * s[:, None] @ Vt, W, atol=8 * tiny)
    np.testing.assert_allclose(s, np.linalg.svd(W, compute_uv=False), atol=4 * tiny)
    assert (s[:, 0] >= s[:, 1]).all()
    for Q in (U, Vt):
        np.testing.assert_allclose(Q.mT @ Q, np.broadcast_to(np.eye(2), W.shape), atol=1e-15)
    assert np.isnan(planar_svd(jnp.full((2, 2), jnp.nan))[1]).all()


def test_small_products_are_written_out(accelerator, rng):
    A, B, C = (rng.standard_normal(shape) for shape in ((2, 3), (3, 4), (4, 1)))
    np.testing.assert_allclose(product(*map(jnp.asarray, (A, B, C))), A @ B @ C, rtol=1e-14)
    assert "dot_general" not in str(jax.make_jaxpr(product)(A, B, C))
    large = np.ones((7, 7))
    assert "dot_general" in str(jax.make_jaxpr(product)(large, large))


@pytest.mark.slow
def test_chains_and_geodesics_are_the_same_by_them(accelerator, monkeypatch, rng):
    """The same noise and the same end points, by LAPACK and in closed form."""
    run = {"t1": 0.3, "dt": 0.01, "key": 3, "chains": 20}
    A, B = (np.eye(2) + 0.2 * rng.standard_normal((2, 2)) for _ in range(2))

    def both() -> tuple[np.ndarray, float]:
        # traced anew: a program that is kept knows nothing of an accelerator that is not there
        fresh = eqx.filter_jit(lambda *x: langevin_solve_sample(*x))
        monkeypatch.setattr(langevin_solve, "_sample", fresh)
        chains = dl.langevin(DIAGONAL, A, 3, 4.0, **run)
        log = eqx.filter_jit(lambda *x: geodesic_log(*x))
        found, _ = log(*map(jnp.asarray, (A, B, 3.0, 1e-11)), 512)
        return np.asarray(chains.W), float(found.distance)

    langevin_solve_sample = langevin_solve._sample._function
    geodesic_log = geodesic_programs.logarithm._function
    closed = both()
    monkeypatch.setattr(programs, "_platform", lambda: "cpu")
    usual = both()
    assert not np.array_equal(closed[0], usual[0])
    np.testing.assert_allclose(closed[0], usual[0], rtol=1e-10, atol=1e-12)
    assert abs(closed[1] - usual[1]) < 1e-9


def test_products_of_float32_are_not_rounded(accelerator):
    @programs.program
    def product(A, B):
        return A @ B

    A = jnp.ones((3, 3), jnp.float32)
    assert "HIGHEST" in str(jax.make_jaxpr(lambda A: product(A, A))(A))
    with jax.default_matmul_precision("bfloat16"):  # what is asked for holds
        assert "HIGHEST" not in str(jax.make_jaxpr(lambda A: product(A, A))(A))
