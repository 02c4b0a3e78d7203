"""Depth and strength chosen on held-out entries, and the fit of all entries after it."""

import numpy as np
import pytest
from completion_data import half_observed, observe, rmse, table

import deeplinear as dl
from deeplinear.completion.data.holdout import held_out_mask
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.flow import FlowLaw
from deeplinear.completion.solver.path import STRENGTHS
from deeplinear.completion.solver.selection import Explicit, Implicit, hold_out
from deeplinear.completion.solver.trial import best_trial


def test_entries_are_held_out_once(rng):
    *_, seen = table(rng, weighted=True)
    out = held_out_mask(seen.nnz, 0.1, np.random.RandomState(0))
    assert out.sum() == round(0.1 * seen.nnz)
    held = hold_out(seen, out)
    assert held.training.nnz + len(held.values) == seen.nnz
    values = seen.triples()[2]
    np.testing.assert_array_equal(held.values, values[out])
    np.testing.assert_array_equal(held.training.triples()[2], values[~out])
    np.testing.assert_array_equal(held.training.by_row.weights, seen.by_row.weights[~out])
    # at least one, and not all; the same for the same generator
    assert held_out_mask(2, 0.9, np.random.RandomState(0)).sum() == 1
    assert held_out_mask(5, 1e-9, np.random.RandomState(0)).sum() == 1
    assert (out == held_out_mask(seen.nnz, 0.1, np.random.RandomState(0))).all()


def test_it_walks_down_until_it_stops_helping(rng):
    X = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30)) + 0.5 * rng.normal(size=(40, 30))
    seen = observe(X, rng.random(X.shape) < 0.7)
    held = hold_out(seen, held_out_mask(seen.nnz, 0.1, np.random.RandomState(1)))
    fits, options = [], {"max_rank": 20, "bias_ridge": None}
    choice = Explicit().choose(held, [3], STRENGTHS, callback=fits.append, **options)
    trials, best = choice.trials, choice.best
    assert [t.strength for t in trials] == list(STRENGTHS[: len(trials)])
    assert len(trials) < len(STRENGTHS)
    assert best.validation_rmse == min(t.validation_rmse for t in trials)
    assert [fit.strength for fit in fits] == [t.strength for t in trials]
    assert best.validation_rmse < 0.5 * rmse(held.values, 0.0)
    again = Explicit().repeat(seen, choice, **options)
    assert (again.depth, again.strength, again.sweep) == (3, best.strength, best.sweeps)
    whole = Explicit().fit(seen, 3, 0.25, **options)
    assert whole.converged
    for fit in (again, whole):
        assert fit.s[2] > 3 * fit.s[3:].max(initial=0.0)


@pytest.mark.parametrize(
    ("depth", "biases", "noise"), [(2.0, False, 0.0), (2.0, False, 0.1), (3.0, True, 0.0)]
)
def test_the_fit_of_all_entries_is_as_good_as_the_one_that_was_chosen(depth, biases, noise):
    """Exact rank 3 down to a weak penalty: the fit of all entries must come from where the fits of
    the path came from.
    """
    seen, hidden, _ = half_observed(1, noise)
    entries = Observations.from_triples(*seen, (80, 60))
    options = {"bias_ridge": 2.0 if biases else None, "threads": 1, "tol": 1e-5, "max_sweeps": 100}
    held = hold_out(entries, held_out_mask(entries.nnz, 0.1, np.random.RandomState(0)))
    choice = Explicit().choose(held, (depth,), STRENGTHS, **options)
    whole = Explicit().repeat(entries, choice, **options)
    assert whole.strength == choice.best.strength
    assert abs(whole.rank - choice.fit.rank) <= 1
    # on the same 2400 entries; 5e-6: both ended by tol = 1e-5, at a sweep more or less
    assert (
        rmse(whole.predict(*hidden[:2]), hidden[2])
        < 1.1 * rmse(choice.fit.predict(*hidden[:2]), hidden[2]) + 5e-6
    )
    model = dl.DeepMatrixCompletion(depth, biases=biases, random_state=0, threads=1).fit(seen)
    low, high = model.interval(*hidden[:2])
    assert np.mean((low <= hidden[2]) & (hidden[2] <= high)) > 0.84


def additive_entries(rng, count, size=(60, 50)):
    """Row and column effects and noise, and nothing else."""
    a, b = rng.normal(size=size[0]), rng.normal(size=size[1])
    rows, cols = np.divmod(rng.permutation(size[0] * size[1])[:count], size[1])
    return Observations.from_triples(rows, cols, a[rows] + b[cols] + rng.normal(size=count), size)


@pytest.mark.parametrize("depths", [(3.0,), (1.5, 2.0)])
@pytest.mark.parametrize("strengths", [STRENGTHS, (0.2,), (1e-3,)])
def test_biases_are_used_unless_they_are_clearly_bettered(rng, depths, strengths):
    seen = additive_entries(rng, 900)
    held = hold_out(seen, held_out_mask(seen.nnz, 0.1, np.random.RandomState(0)))
    choice = Explicit().choose(held, depths, strengths, threads=1)
    assert (choice.fit.rank, choice.best.rank) == (0, 0)
    assert choice.trials[-1] is choice.best is best_trial(choice.trials)
    again = Explicit().repeat(seen, choice, threads=1)
    assert (again.rank, again.depth) == (0, choice.best.depth)
    assert again.converged
    # exact ridge means: the normal equations of the biases, β = 2, hold
    gaps = again.residuals(seen)
    rows, cols, _ = seen.triples()
    pull = np.bincount(rows, gaps, 60), np.bincount(cols, gaps, 50)
    np.testing.assert_allclose(pull[0], 2 * again.row_bias, atol=0.05)
    np.testing.assert_allclose(pull[1], 2 * again.col_bias, atol=0.05)


def test_a_flow_is_chosen_and_repeated(rng):
    """Down to the same part of the energy."""
    *_, seen = table(rng, noise=0.5)
    held = hold_out(seen, held_out_mask(seen.nnz, 0.2, np.random.RandomState(1)))
    method = Implicit(FlowLaw(start_scale=1e-2))
    choice = method.choose(held, (2, 3), (1e-3,), max_rank=6)
    assert {trial.depth for trial in choice.trials} == {2, 3}
    assert choice.best.validation_rmse == min(trial.validation_rmse for trial in choice.trials)
    again = method.repeat(seen, choice, max_rank=6)
    assert again.depth == choice.best.depth
    assert again.objective[-1] <= choice.best.strength * again.objective[0] * (1 + 1e-6)
