"""The penalties of a fit, their strengths and what ends a stage, from the formulas."""

import math

import pytest
from completion_data import table

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.solver.fit import make_problem
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.schedule import (
    noise_size,
    penalty_at,
    relative_strength,
    schedule,
)

TAU = 3.7


@pytest.fixture
def problem(rng):
    *_, seen = table(rng, 14, 9, seen=0.4)
    with open_backend(seen, 1) as backend:
        return make_problem(seen, FitOptions().for_data(seen), backend)


def options(problem, **given):
    return FitOptions(**given).for_data(problem.observations)


def test_noise_size_is_tau_over_density(problem):
    assert noise_size(problem, TAU) == pytest.approx(TAU / problem.density)
    assert noise_size(problem, 0.5) == pytest.approx(0.5 / problem.density)
    assert noise_size(problem, 0.0) == 1


@pytest.mark.parametrize("tau", [TAU, 0.0])
@pytest.mark.parametrize("depth", [1.5, 2, 3, math.inf])
def test_decay_has_the_slope_of_the_strength_at_the_noise(problem, depth, tau):
    size, unit = (tau / problem.density, tau) if tau else (1.0, 1.0)
    record = options(problem, depth=depth, strength=0.2)
    penalty = penalty_at(problem, record, tau, depth)
    assert penalty.depth == depth
    assert penalty.decay == pytest.approx(0.2 * unit * size ** (1 - 2 / depth), rel=1e-12)
    given = options(problem, depth=depth, decay=0.8)
    assert relative_strength(problem, record, tau) == 0.2
    found = relative_strength(problem, given, tau)
    assert found == pytest.approx(0.8 / (unit * size ** (1 - 2 / depth)), rel=1e-12)
    assert penalty_at(problem, given, tau, depth).decay == pytest.approx(0.8, rel=1e-12)
    # on the way the depth and the strength are those of the stage
    other = penalty_at(problem, record, tau, 2.0, 0.05)
    assert (other.depth, other.decay) == (2.0, pytest.approx(0.05 * unit))


@pytest.mark.parametrize(
    ("strength", "smoothing", "floor"),
    [
        (0.2, None, 0.06),
        (0.9, None, 0.1),
        (0.2, 0.5, 0.5),
        (0.2, 0.0, 1e-12),
        (0.0, None, 1e-12),
    ],
)
def test_smoothing_is_a_part_of_the_noise(problem, strength, smoothing, floor):
    record = options(problem, strength=strength, smoothing=smoothing)
    found = penalty_at(problem, record, TAU, 3).floor
    assert found == pytest.approx(floor * TAU / problem.density, rel=1e-12)


def stages(problem, *, warm=False, **given):
    """(depth, strength at TAU, sweeps, tol) of each stage, and the options."""
    record = options(problem, **given)
    unit = TAU / problem.density
    found = [
        (
            stage.penalty.depth,
            stage.penalty.decay / (TAU * unit ** (1 - 2 / stage.penalty.depth)),
            stage.sweeps,
            stage.tol,
        )
        for stage in schedule(problem, record, TAU, warm)
    ]
    return found, (record.max_sweeps, record.tol)


def approx(rows):
    return [pytest.approx(row, rel=1e-9) for row in rows]


def test_depth_two_finds_the_directions_first(problem):
    found, end = stages(problem, depth=3, strength=0.2)
    assert found == approx([(2, 0.2, 3, 0), (3, 0.2, *end)])


@pytest.mark.parametrize("strength", [0.2, 1e-2])
def test_depth_two_itself_has_one_stage(problem, strength):
    found, end = stages(problem, depth=2, strength=strength)
    assert found == approx([(2, strength, *end)])


@pytest.mark.parametrize("depth", [2, 3])
def test_nearly_exact_data_are_reached_in_stages_of_a_tenth(problem, depth):
    found, end = stages(problem, depth=depth, strength=1e-4)
    way = [(depth, strength, 60, 1e-3) for strength in (1e-2, 1e-3)]
    assert found == approx([(2, 1e-2, 3, 0), *way, (depth, 1e-4, *end)])


def test_a_stage_just_above_the_last_counts_too(problem):
    found, end = stages(problem, depth=3, strength=6e-3)
    assert found == approx([(2, 1e-2, 3, 0), (3, 1e-2, 60, 1e-3), (3, 6e-3, *end)])


def test_no_penalty_at_all_is_approached_down_to_a_strength(problem):
    found, end = stages(problem, depth=3, strength=0.0)
    way = [(3, 10.0**-k, 60, 1e-3) for k in range(2, 8)]
    assert found[:-1] == approx([(2, 1e-2, 3, 0), *way])
    assert found[-1] == (3, 0.0, *end)


@pytest.mark.parametrize("given", [{"depth": 3, "warm": True}, {"depth": 1.5}])
def test_warm_starts_and_convex_penalties_have_the_last_stage_alone(problem, given):
    found, end = stages(problem, strength=1e-4, **given)
    assert found == approx([(given["depth"], 1e-4, *end)])
