"""The estimator of long data in hard cases: few new entries, no penalty, values far from zero."""

import itertools
import math
import warnings

import numpy as np
import pytest
from completion_data import half_observed, rmse

import deeplinear as dl
from deeplinear.completion.solver import descent
from deeplinear.errors import NotConvergedWarning, PrecisionError
from deeplinear.status import Status

ONE = {"random_state": 0, "threads": 1}


@pytest.mark.parametrize(("seed", "depth"), [(1, 3.0), (2, math.inf), (3, 2.0)])
def test_partial_fit_of_single_entries_keeps_the_model(seed, depth):
    seen, hidden, truth = half_observed(seed, 0.1)
    model = dl.DeepMatrixCompletion(depth, **ONE).fit(seen)
    before, rank = rmse(model.predict(*hidden[:2]), truth), model.rank_
    for k in range(4):
        model.partial_fit(tuple(part[k : k + 1] for part in hidden))
    later = slice(4, None)
    low, high = model.interval(hidden[0][later], hidden[1][later])
    assert model.rank_ <= rank
    assert rmse(model.predict(*hidden[:2]), truth) < 1.02 * before
    assert abs(np.mean((low <= hidden[2][later]) & (hidden[2][later] <= high)) - 0.9) < 0.06


def test_partial_fit_finds_components_that_only_the_new_entries_show():
    seen, hidden, truth = half_observed(1, 0.1)
    few, *rest = np.split(
        np.random.default_rng(0).permutation(len(seen[2])), [150, 400, 1000, 1700]
    )
    model, whole = (
        dl.DeepMatrixCompletion(3, strength=0.1, validation_fraction=0, **ONE) for _ in range(2)
    )
    model.fit(tuple(x[few] for x in seen))
    assert model.rank_ < 3
    for part in rest:
        model.partial_fit(tuple(x[part] for x in seen))
    whole.fit(seen)
    assert model.rank_ == whole.rank_ == 3
    assert rmse(model.predict(*hidden[:2]), truth) < 1.2 * rmse(whole.predict(*hidden[:2]), truth)


def test_partial_fit_of_a_new_row_is_like_folding_it_in():
    seen, hidden, _ = half_observed(1, 0.1)
    old = seen[0] < 79
    model = dl.DeepMatrixCompletion(3, **ONE).fit(tuple(x[old] for x in seen))
    new = tuple(x[~old] for x in seen)
    folded = model.fold_in(new)
    model.partial_fit(new)
    asked = hidden[0] == 79
    found = model.predict(hidden[0][asked], hidden[1][asked])
    other = folded.predict(hidden[0][asked], hidden[1][asked])
    assert rmse(found, hidden[2][asked]) < 0.2
    assert rmse(found, other) < 0.1 * np.std(hidden[2][asked])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_without_a_penalty_the_objective_falls_to_the_end(dtype):
    """1500 entries, 50 components: far more parameters than entries, and factors whose columns come
    to depend on each other.
    """
    rows, cols, values = dl.datasets.make_ratings(100, 60, 1500).triples
    model = dl.DeepMatrixCompletion(strength=0, validation_fraction=0, max_iter=60, **ONE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)
        model.fit((rows, cols, values.astype(dtype)))
    trace = model.model_.fit.objective
    assert len(trace) > 5
    assert all(after <= before * (1 + 1e-5) + 1e-6 for before, after in itertools.pairwise(trace))
    assert model.train_score_ < 0.05 * np.std(values)
    assert np.abs(model.predict(rows, cols)).max() < 10


def test_a_rise_of_the_objective_is_a_failure(monkeypatch):
    seen, _, _ = half_observed(0, 0.1)
    plain = descent.sweep
    calls = []

    def broken(problem, penalty, state):
        calls.append(0)
        value, new = plain(problem, penalty, state)
        if len(calls) == 8:
            new.Z[:] *= 3
        return value, new

    monkeypatch.setattr(descent, "sweep", broken)
    model = dl.DeepMatrixCompletion(strength=0.2, validation_fraction=0, tol=1e-12, **ONE)
    with pytest.warns(NotConvergedWarning, match="rose"):
        model.fit(seen)
    assert not model.converged_
    assert model.model_.fit.status == Status.diverged


def test_float32_far_from_zero_is_exact_enough_or_refused():
    rows, cols, values = dl.datasets.make_ratings(100, 60, 1500).triples
    model = dl.DeepMatrixCompletion(strength=0.4, validation_fraction=0, **ONE)
    expected = model.fit((rows, cols, values)).predict(rows, cols)
    moved = model.fit((rows, cols, (values + 1e3).astype(np.float32)))
    np.testing.assert_allclose(moved.predict(rows, cols) - 1e3, expected, atol=0.02)
    with pytest.raises(PrecisionError, match="float64"):
        model.fit((rows, cols, (values + 1e5).astype(np.float32)))
    np.testing.assert_allclose(
        model.fit((rows, cols, values + 1e5)).predict(rows, cols) - 1e5, expected, atol=1e-6
    )
    model.fit((rows, cols, np.full(len(rows), 1e5, np.float32)))
    assert model.rank_ == 0
