"""A column that nothing predicts (a row number, a time stamp) costs the other columns little."""

import math

import numpy as np
import pytest
from cases import slow

import deeplinear as dl
from deeplinear.completion.data.features import CodedTable, Feature
from deeplinear.report.compare import Comparison, best, compare_depths


def low_rank(m, n, rank, noise, seed):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n)) / math.sqrt(rank)
    return signal + noise * rng.normal(size=(m, n))


TABLES = {
    "nearly exact": (low_rank(200, 12, 4, 0.0, 0), 0),
    "little noise": (low_rank(150, 10, 2, 0.02, 1), 1),
    "noise": (low_rank(200, 12, 3, 0.1, 2), 2),
}


def extra(kind, X, seed):
    rng, m = np.random.default_rng(100 + seed), len(X)
    return {
        "row number": np.arange(1.0, m + 1),
        "shuffled id": rng.permutation(m) + 1.0,
        "time": 1.6e9 + np.cumsum(rng.exponential(3600, m)),
        "noise": rng.normal(size=m),
        "heavy tails": rng.standard_t(1.5, size=m),
        "constant": np.full(m, 3.0),
        "three": np.column_stack([np.arange(m), 1.6e9 + 60.0 * np.arange(m), rng.normal(size=m)]),
    }[kind]


def error(X, missing, depth, more=None):
    """RMSE of the missing cells of X, with ``more`` columns before it or none."""
    table = np.where(missing, np.nan, X)
    table = table if more is None else np.column_stack([more, table])
    filled = dl.DeepLinearImputer(depth=depth, random_state=0).fit_transform(table)
    return float(np.sqrt(np.mean((filled[:, -X.shape[1] :] - X)[missing] ** 2)))


@pytest.fixture(scope="module")
def alone():
    """The errors without any other column, computed once."""
    found = {}

    def get(name, depth):
        if (name, depth) not in found:
            X, seed = TABLES[name]
            missing = np.random.default_rng(seed).random(X.shape) < 0.2
            found[name, depth] = X, missing, seed, error(X, missing, depth)
        return found[name, depth]

    return get


@pytest.mark.parametrize("depth", [slow(2), 3, slow(math.inf)])
@pytest.mark.parametrize("name", ["little noise", "noise"])
@pytest.mark.parametrize(
    "kind",
    ["row number", "shuffled id", "time", "noise", "heavy tails", "constant", "three"],
)
def test_the_others_are_as_good_as_without_it(alone, name, kind, depth):
    X, missing, seed, without = alone(name, depth)
    assert error(X, missing, depth, extra(kind, X, seed)) < 1.15 * without


@pytest.mark.parametrize("kind", ["row number", "time", "noise"])
def test_nearly_exact_tables_stay_nearly_exact(alone, kind):
    """Where the row number once made the error 26 times as large."""
    X, missing, seed, without = alone("nearly exact", 3)
    assert without < 3e-3
    assert error(X, missing, 3, extra(kind, X, seed)) < 3 * without


@pytest.mark.parametrize("strength", ["auto", 1e-3, 4e-6])
def test_rows_of_few_entries_are_solved_as_the_fit_has_them(strength):
    """Not by the weakest components of a fit that was stopped early, which are mostly noise."""
    X = low_rank(300, 10, 2, 0.05, 4)
    missing = np.random.default_rng(3).random(X.shape) < 0.5
    imputer = dl.DeepLinearImputer(depth=2, strength=strength, random_state=3)
    solved = imputer.fit_transform(np.where(missing, np.nan, X))
    fitted = imputer._scaler.backward(imputer.model_.fit.matrix())
    errors = [np.sqrt(np.mean((found - X)[missing] ** 2)) for found in (solved, fitted)]
    assert errors[1] < 0.3
    assert errors[0] < 1.05 * errors[1]  # 1.07 it was, and more


def test_the_depth_does_not_depend_on_the_units_of_a_column():
    X, seed = TABLES["noise"]
    missing = np.random.default_rng(seed).random(X.shape) < 0.2
    table = np.column_stack([np.arange(len(X)), np.where(missing, np.nan, X)])
    chosen = []
    for unit in (1e-6, 1.0, 1e9):
        scaled = table * np.r_[unit, np.ones(X.shape[1])]
        features = tuple(Feature(str(j)) for j in range(scaled.shape[1]))
        comparison = Comparison(CodedTable(scaled, features))
        networks, _ = compare_depths(comparison, [2, 3, math.inf], random_state=0)
        chosen.append((best(networks).depth, best(networks).strength))
    assert len(set(chosen)) == 1
