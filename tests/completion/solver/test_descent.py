"""When a fit ends and what it gives back, on iterates that are made up for the purpose."""

import math
from dataclasses import replace

import numpy as np
import pytest
from completion_data import same, table

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.penalty import Penalty
from deeplinear.completion.solver import descent
from deeplinear.completion.solver.descent import Watch, begin, finish, improved, is_stationary, rose
from deeplinear.completion.solver.fit import fit, make_problem
from deeplinear.completion.solver.fit_state import FitState, ValidationSplit
from deeplinear.completion.solver.growth import grow
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.problem import objective, rounding
from deeplinear.completion.solver.schedule import Stage
from deeplinear.completion.solver.start import additive
from deeplinear.status import Status


def problem_of(seen, **given):
    record = FitOptions(**given).for_data(seen)
    with open_backend(seen, 1) as backend:
        return make_problem(seen, record, backend), record


@pytest.fixture
def small(rng):
    """(problem, options, the state of the biases alone)."""
    *_, seen = table(rng, 14, 9)
    problem, record = problem_of(seen)
    return problem, record, additive(problem)


def at(state, *trace, s=(), **rest):
    return FitState(replace(state, s=np.array(s, float)), 1.0, trace=trace, **rest)


def test_a_gain_is_held_against_the_energy_and_the_pull_of_the_penalty(small):
    """E + Σ f'(s) s = F + Σ (f'(s) s − f(s)), whatever constant f has."""
    *_, state = small
    s, tol, value = np.array([4.0, 0.5]), 1e-2, 40.0
    for depth in (2, 3, math.inf):
        penalty = Penalty(depth, 0.8, 1e-3)
        stage = Stage(penalty, 10, tol)
        slope = 0.8 * (s + 1e-3) ** (2 / depth - 1)
        size = value + (slope * s - penalty.value(s)).sum()
        assert is_stationary(stage, at(state, 90.0, value + 0.999 * tol * size, value, s=s))
        assert not is_stationary(stage, at(state, 90.0, value + 1.001 * tol * size, value, s=s))
    flat = Stage(Penalty(2, 0.8, 1e-3), 10, 0.0)
    assert is_stationary(flat, at(state, value, value))  # no gain is none at any tolerance
    assert not is_stationary(stage, at(state, value))  # one value shows no gain
    assert not is_stationary(stage, at(state))


def rises(problem, state, last, rise):
    return rose(problem, at(state, 100.0, last, last + rise))


def test_a_rise_counts_from_a_millionth_on(small):
    problem, _, state = small
    assert not rises(problem, state, 50.0, 0.99e-6 * 50)
    assert rises(problem, state, 50.0, 1.02e-6 * 50)
    assert rises(problem, state, 50.0, math.nan)
    assert rose(problem, at(state, 50.0, 51.0))  # the first sweep of all
    assert not rises(problem, state, 50.0, -1.0)
    assert not rose(problem, at(state, math.nan))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_rise_within_the_digits_of_the_data_counts_not(rng, dtype):
    """Of residuals e and their rounding δ, E = ½ Σ w (e + δ)² may rise by 2 √(E_e E_δ) + E_δ."""
    *_, seen = table(rng, 14, 9, dtype=dtype)
    problem, _ = problem_of(seen)
    state, eps = additive(problem), float(np.finfo(dtype).eps)
    values = np.abs(seen.by_row.values).max()
    blur = 0.5 * seen.weight * (16 * eps * float(values)) ** 2
    assert rounding(problem) == pytest.approx(blur, rel=1e-6)
    assert not rises(problem, state, 0.0, 0.99 * blur)
    assert rises(problem, state, 0.0, 1.01 * blur)
    for last in (blur, 100 * blur):
        most = (1e-6 + 30 * eps) * last + 2 * math.sqrt(last * blur) + blur
        assert not rises(problem, state, last, 0.99 * most)
        assert rises(problem, state, last, 1.01 * most)
    assert not rises(problem, state, -0.1 * blur, 0.9 * blur)  # E has no sign where it is rounding


def test_more_components_are_looked_for_at_depth_two_alone(small):
    problem, record, state = small
    weak = Stage(Penalty(2, 0.3, 1e-12), 10, 1e-6)
    larger = improved(problem, weak, record, state)
    assert larger.rank > 0
    before = objective(problem, weak.penalty, state)
    assert objective(problem, weak.penalty, larger) < before
    deep = replace(weak, penalty=Penalty(3, 0.3, 1e-12))
    assert improved(problem, deep, record, state) is None
    strong = replace(weak, penalty=Penalty(2, 1e3, 1e-12))
    assert improved(problem, strong, record, state) is None
    capped = replace(record, max_rank=larger.rank)
    assert improved(problem, weak, replace(record, max_rank=0), state) is None
    assert improved(problem, weak, capped, state).rank == larger.rank


def test_what_tolerance_leaves_above_the_slope_is_no_component(small, monkeypatch):
    """Triples of R̃_⊥ count from f'(0) (1 + √tol) on."""
    problem, record, state = small
    slacks = []
    monkeypatch.setattr(
        descent, "grow", lambda *a, slack: slacks.append(slack) or grow(*a, slack=slack)
    )
    for tol in (1e-4, 0.0):
        improved(problem, Stage(Penalty(2, 0.3, 1e-12), 10, 0.0), replace(record, tol=tol), state)
    assert slacks == pytest.approx([1e-2, 1e-9])
    # one that does not lower F is refused
    monkeypatch.setattr(descent, "grow", lambda problem, penalty, state, *a, **k: state.copy())
    assert improved(problem, Stage(Penalty(2, 0.3, 1e-12), 10, 0.0), record, state) is None


class Scores(ValidationSplit):
    """Held-out errors as given."""

    def __init__(self, scores, limit=math.inf):
        nothing = np.zeros(0)
        super().__init__(nothing, nothing, nothing, limit)
        object.__setattr__(self, "given", iter(scores))

    def error(self, problem, state):
        return next(self.given)


def held_out(small, scores, limit=math.inf, **given):
    problem, _, state = small
    options = FitOptions(depth=3, tol=0, max_sweeps=50, **given).for_data(problem.observations)
    stage = Stage(Penalty(3, 0.3, 1e-2), 50, 0.0)
    start = grow(problem, Penalty(2, 0.3, 1e-12), state, 4, slack=0.0)
    watch = Watch(Scores(scores, limit))
    return descent.run(problem, options, FitState(start, 1.0), [stage], watch)


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_counts_the_sweeps_since_the_best(small, patience):
    falling = [1.0, 0.9, 0.8, 0.7, 0.75]
    found = held_out(small, [*falling, *[0.9] * 9], patience=patience)
    assert (found.status, found.sweep) == (Status.stopped_early, 4)
    assert len(found.validation) == found.n_sweeps == 4 + patience
    assert found.converged


def test_a_better_score_is_better_by_more_than_rounding(small):
    same_score = [1.0, 1 - 0.9e-5, 1 - 0.95e-5, 1.0, 1.0]
    assert held_out(small, same_score).sweep == 1
    better = [1.0, 1 - 1.1e-5, 1.0, 1.0, 1.0]
    assert held_out(small, better).sweep == 2
    assert held_out(small, [0.0] * 9).sweep == 1  # nothing is better than no error


def test_a_fit_above_the_limit_gets_three_sweeps(small):
    falling = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.6, 0.6, 0.6]
    assert held_out(small, falling, limit=0.75).n_sweeps == 3
    assert held_out(small, falling, limit=0.8).n_sweeps == 9
    assert held_out(small, falling, limit=0.8).sweep == 6


def test_without_patience_the_last_iterate_is_given_back(small):
    found = held_out(small, [0.5, *[1.0] * 60], patience=math.inf)
    assert (found.status, found.sweep) == (Status.max_steps, 50)
    assert not math.isnan(found.certificate.tangent)


def test_the_best_iterate_comes_without_a_certificate_and_with_its_own_ridge(small):
    found = held_out(small, [1.0, 0.9, 1.0, 1.0, 1.0])
    assert found.sweep == 2
    assert math.isnan(found.certificate.tangent)
    slope = found.penalty.slope(found.spectrum)
    assert np.abs(found.ridge / slope - 1).max() > 1e-3  # not that of a stationary point
    last = held_out(small, [1.0, 0.9, 0.8, 0.7, *[0.69] * 60], patience=math.inf)
    np.testing.assert_allclose(last.ridge, last.penalty.slope(last.spectrum), rtol=1e-2)


def test_a_result_that_needs_no_certificate_gets_none(small):
    problem, record, state = small
    penalty = Penalty(3, 0.3, 1e-2)
    start = grow(problem, Penalty(2, 0.3, 1e-12), state, 4, slack=0.0)
    for best, sweeps in ((None, 2), (start, 5)):
        now = FitState(start, 1.0, sweeps=sweeps, trace=(9.0,), best=best, best_sweep=3)
        plain = finish(problem, record, penalty, now, Status.converged, False)
        certified = finish(problem, record, penalty, now, Status.converged)
        assert math.isnan(plain.certificate.tangent)
        assert math.isnan(certified.certificate.tangent) == (best is not None)
        assert plain.sweep == (sweeps if best is None else 3)
        assert plain.objective == (9.0, pytest.approx(objective(problem, penalty, start)))
    slope = penalty.slope(start.s)
    np.testing.assert_array_equal(plain.ridge, slope)  # of the best iterate, not measured
    assert np.abs(certified.ridge / slope - 1).max() > 1e-3


def recorded(monkeypatch, names=("sweep", "convex_sweep")):
    """The (step, penalty) of every sweep of the fits that follow."""
    seen = []
    for name in names:
        plain = getattr(descent, name)

        def step(problem, penalty, state, name=name, plain=plain):
            seen.append((name, penalty.depth, penalty.decay))
            return plain(problem, penalty, state)

        monkeypatch.setattr(descent, name, step)
    return seen


def test_stages_follow_each_other_and_the_last_may_take_all_sweeps(rng, monkeypatch):
    *_, seen = table(rng, 14, 9)
    steps = recorded(monkeypatch)
    found = fit(seen, depth=3, strength=0.2, tol=0, max_sweeps=7)
    assert [step[:2] for step in steps] == [("sweep", 2)] * 3 + [("sweep", 3)] * 7
    assert (found.n_sweeps, found.sweep, found.status) == (10, 7, Status.max_steps)
    assert len(found.objective) == 8  # of the last stage, and the end
    steps.clear()
    fit(seen, depth=1.5, strength=0.2, tol=0, max_sweeps=4)
    assert [name for name, *_ in steps] == ["convex_sweep"] * 4
    steps.clear()
    fit(seen, depth=2.5, strength=0.2, tol=0, max_sweeps=1)
    assert [name for name, *_ in steps] == ["sweep"] * 4
    steps.clear()
    found = fit(seen, depth=2, strength=1e-3, tol=0, max_sweeps=4)
    sizes = [decay for *_, decay in steps]
    assert sizes[-4:] == pytest.approx([sizes[0] / 10] * 4)  # 0.01 before 0.001
    assert sizes[:-4] == [sizes[0]] * (len(sizes) - 4)
    assert len(sizes) > 8
    assert found.n_sweeps == len(steps)


def test_a_callback_sees_every_sweep_but_the_last(rng):
    *_, seen = table(rng, 14, 9)
    told = []
    found = fit(seen, strength=0.2, tol=0, max_sweeps=5, callback=lambda r: told.append(r))
    assert [r.n_sweeps for r in told] == list(range(1, 8))
    assert found.n_sweeps == 8
    assert {r.depth for r in told} == {3.0}


def test_the_first_state(rng):
    *_, seen = table(rng, 14, 9)
    problem, record = problem_of(seen, strength=0.2)
    state = additive(problem)
    one = begin(problem, record, None)
    other = begin(problem, record, None, state)
    np.testing.assert_array_equal(one.state.Z, other.state.Z)
    assert one.state.rank > 0
    assert one.tau == other.tau > 0
    convex = replace(record, depth=1.5)
    assert begin(problem, convex, None).state.rank == 0
    found = fit(seen, strength=0.2)
    again = begin(problem, record, found)
    np.testing.assert_allclose(again.state.s[: found.rank], found.spectrum, rtol=1e-9)
    assert same(fit(seen, strength=0.2), found)


@pytest.mark.parametrize("strength", [0.6, 0.1])
def test_the_spectral_start_is_that_of_the_first_penalty(rng, strength):
    """Triples of R̃ above λ at depth 2, counted by a dense SVD."""
    _, _, X, weights, seen = table(rng, 14, 9)
    problem, record = problem_of(seen, depth=3, strength=strength)
    state, first = additive(problem), begin(problem, record, None)
    gap = X - state.mean - state.row_bias[:, None] - state.col_bias
    R = weights * gap / problem.row_scale[:, None] / problem.col_scale
    above = np.linalg.svd(R, compute_uv=False) > strength * first.tau
    assert first.state.rank == above.sum()
