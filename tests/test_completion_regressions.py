"""Completion at its edges: few new entries, no penalty, other units, refits, overlapping fits."""

import math

import numpy as np
import pytest

import deeplinear as dl

ONE = {"random_state": 0, "threads": 1}


def rmse(x, y):
    return float(np.sqrt(np.mean((np.asarray(x) - y) ** 2)))


def half_observed(seed, noise):
    """80 × 60 of rank 3, half observed: (seen triples, hidden triples with noise, the truth there)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 60))
    mask = rng.random(truth.shape) < 0.5
    values = truth + noise * rng.normal(size=truth.shape)
    seen, hidden = np.nonzero(mask), np.nonzero(~mask)
    return (*seen, values[mask]), (*hidden, values[~mask]), truth[~mask]


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
    few, *rest = np.split(np.random.default_rng(0).permutation(len(seen[2])), [150, 400, 1000, 1700])
    model, whole = (dl.DeepMatrixCompletion(3, strength=0.1, validation_fraction=0, **ONE) for _ in range(2))
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
