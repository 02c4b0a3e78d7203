"""What is shown is what the library computes, and what closed forms say."""

import dataclasses
import math

import jax
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.explorer import compute
from deeplinear.explorer.presets import PRESETS
from deeplinear.explorer.state import State

SOME = State(values=(0.7, 0.3, -0.4, 1.1), runs=100, scale=0.03, seed=3)


def cell_of(state, i, j):
    """The matrix at the centre of a cell of the map."""
    x = state.reach * (2 * np.arange(compute.GRID) + 1 - compute.GRID) / compute.GRID
    W = np.reshape(np.array(state.values), (2, 2)).copy()
    for name, value in zip(state.plane, (x[j], x[i]), strict=True):
        W[int(name[0]) - 1, int(name[1]) - 1] = value
    return W


def test_depth_one_ends_at_the_projection_of_its_starts():
    """Gradient flow of the loss alone moves observed entries to their values, and no others."""
    found = compute.endpoints(dataclasses.replace(SOME, depth=1.0))
    expected = found.start.copy()
    expected[:, 0, 0], expected[:, 1, 1] = 0.7, 1.1
    np.testing.assert_allclose(found.W[found.ok], expected[found.ok], atol=2e-3)
    assert found.ok.all()


def test_endpoints_are_those_of_single_flows():
    state = dataclasses.replace(SOME, depth=3.0)
    found = compute.endpoints(state)
    energy = dl.Completion([0, 1], [0, 1], [0.7, 1.1], (2, 2))
    for run in (0, 41):
        assert found.ok[run]
        flow = dl.gradient_flow(energy, found.start[run], 3, rtol=1e-8)
        np.testing.assert_allclose(found.W[run], flow.W, atol=5e-3)


def test_weight_decay_is_that_of_the_flow():
    state = dataclasses.replace(SOME, depth=3.0, decay=0.03, scale=0.3)
    found = compute.endpoints(state)
    flow = dl.gradient_flow(
        compute.completion(state), found.start[5], 3, t1=compute.DECAY_TIME, weight_decay=0.03
    )
    np.testing.assert_allclose(found.W[5], flow.W, atol=5e-3)


def test_descent_is_that_of_plain_steps_on_balanced_factors():
    """At η = .3 to a limit; at .7 the first mode goes around it, beyond 2/(3·1.1^{4/3}) = .59."""
    state = dataclasses.replace(SOME, depth=3.0, step=0.3, scale=0.1)
    found = compute.endpoints(state)
    assert found.ok.all()
    ways = compute.paths(state, found)
    mask = np.eye(2, dtype=bool)
    for run in (0, 41):
        U, s, Vt = np.linalg.svd(found.start[run])
        root = np.diag(np.cbrt(s))
        factors, way = [root @ Vt, root, U @ root], []
        for _ in range(round(found.time[run] / 0.9)):
            A, B, C = factors
            if run == 0:
                way.append(C @ B @ A)
            G = np.where(mask, C @ B @ A - np.reshape(state.values, (2, 2)), 0)
            slopes = (C @ B).T @ G, C.T @ G @ A.T, G @ (B @ A).T
            factors = [W - 0.3 * slope for W, slope in zip(factors, slopes, strict=True)]
        np.testing.assert_allclose(found.W[run], factors[2] @ factors[1] @ factors[0], atol=1e-9)
        if run == 0:  # the first of the random ones is the second path
            k = round(ways.ts[7] / 0.9)
            np.testing.assert_allclose(ways.W[1, 7], way[k], atol=1e-9)
    fast = compute.endpoints(dataclasses.replace(state, step=0.7))
    assert not fast.ok.any()
    assert set(fast.counts) <= {"cycling", "steps"}
    assert np.isfinite(fast.W).all()
    assert compute.in_force(dataclasses.replace(state, depth=20.0))[0].step == 0


@pytest.mark.parametrize("depth", [3.0, math.inf])
def test_the_decayed_energy_is_its_definition(depth):
    state = dataclasses.replace(SOME, depth=depth, decay=0.03)
    W = np.array([[0.9, -0.4], [0.3, 0.5]])
    s = np.linalg.svd(W, compute_uv=False)
    extra = np.log(s).sum() if math.isinf(depth) else depth / 2 * (s ** (2 / depth)).sum()
    expected = float(compute.completion(state)(W)) + 0.03 * extra
    np.testing.assert_allclose(compute.energy_of(state)(W), expected, rtol=1e-12)
    assert np.isfinite(jax.grad(compute.energy_of(state))(W)).all()


@pytest.mark.parametrize("depth", [1.0, 3.0, math.inf])
@pytest.mark.parametrize("kind", ["volume", "stratum", "entropy", "energy", "free"])
def test_maps_are_the_library_s_functions(kind, depth):
    state = dataclasses.replace(SOME, map=kind, depth=depth, beta=10.0, observed=("12", "22"))
    values = compute.map_of(state)
    assert values.shape == (compute.GRID, compute.GRID)
    if kind == "stratum" and math.isinf(depth):
        assert np.isnan(values).all()
        return
    energy = compute.completion(state)
    functions = {
        "volume": lambda W: dl.log_volume(W, depth),
        "stratum": lambda W: dl.log_stratum_volume(W, depth, 1),
        "entropy": lambda W: dl.entropy(W, depth, constant=False),
        "energy": energy,
        "free": lambda W: dl.free_energy(energy, W, depth, 10.0, constant=False),
    }
    for i, j in ((3, 100), (77, 12)):
        expected = float(functions[kind](cell_of(state, i, j)))
        np.testing.assert_allclose(values[i, j], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("observed", [("11", "22"), ("11", "12"), ("12", "21", "22")])
def test_the_curve_is_where_the_determinant_vanishes(observed):
    state = dataclasses.replace(SOME, observed=observed)
    x, y = compute.rank_one_curve(state)
    there = np.isfinite(x)
    W = np.broadcast_to(np.reshape(np.array(state.values), (2, 2)), (there.sum(), 2, 2)).copy()
    for name, value in zip(state.plane, (x[there], y[there]), strict=True):
        W[:, int(name[0]) - 1, int(name[1]) - 1] = value
    np.testing.assert_allclose(np.linalg.det(W), 0, atol=1e-12)


def test_the_followed_run_starts_where_one_clicks():
    state = dataclasses.replace(SOME, click=(0.4, -0.3))
    assert compute.clicked_start(state)[0, 1] == 0.4
    assert compute.clicked_start(state)[1, 0] == -0.3
    found = compute.paths(state, compute.endpoints(state))
    np.testing.assert_allclose(found.W[0, 0], compute.clicked_start(state))
    assert (np.diff(found.ts) > 0).all()
    np.testing.assert_allclose(found.W[0, -1, [0, 1], [0, 1]], [0.7, 1.1], atol=1e-2)
    np.testing.assert_allclose(found.singular[-1].prod(), math.exp(found.log_det[-1]), rtol=1e-6)


def test_fewer_runs_are_the_first_of_many():
    few, many = (compute.starts(dataclasses.replace(SOME, runs=n)) for n in (100, 1000))
    np.testing.assert_array_equal(few, many[:100])


def test_what_cannot_be_combined_is_said():
    for given in ({"depth": math.inf}, {"depth": 1.0}, {"beta": 10.0}, {"decay": 0.1}):
        state, notes = compute.in_force(State(**{"delta": 0.1, "runs": 100, **given}))
        assert state.delta == 0
        assert notes
    state, notes = compute.in_force(State(delta=0.1, runs=1000))
    assert state.delta == 0.1
    assert f"first {compute.LEAF_RUNS} runs" in notes[0]
    assert compute.in_force(State()) == (State(), [])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_two_things_and_name_themselves(name):
    preset = PRESETS[name]
    assert preset.state.preset == name
    for sentence in (preset.look, preset.meaning):
        assert sentence.endswith(".")
        assert "  " not in sentence
