"""Recovery of low-rank matrices: exact without noise, and as good as if the rank were known."""

import math

import numpy as np
import pytest
from completion_data import matrix, rmse

from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit
from deeplinear.completion.solver.path import path


def low_rank(seed, entries, *, noise=0.0, side=500, rank=5):
    """Gaussian factors and uniformly drawn entries, drawn again until every line holds ``rank`` of
    them (fewer determine nothing).
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(side, rank)) @ rng.normal(size=(rank, side))
    while True:
        rows, cols = np.divmod(rng.choice(side * side, entries, replace=False), side)
        if (
            min(np.bincount(rows, minlength=side).min(), np.bincount(cols, minlength=side).min())
            >= rank
        ):
            break
    values = truth[rows, cols] + noise * rng.normal(size=entries)
    return truth, Observations.from_triples(rows, cols, values, truth.shape)


def recovery_error(seed, factor, depth, strength=1e-8, sweeps=1000):
    truth, seen = low_rank(seed, int(factor * 5 * (500 + 500 - 5)))
    options = {"max_rank": 25, "bias_ridge": None, "max_sweeps": sweeps, "tol": 1e-7}
    found = fit(seen, depth=depth, strength=strength, **options)
    return float(np.linalg.norm(matrix(found) - truth) / np.linalg.norm(truth)), found.rank


@pytest.mark.parametrize("depth", [3, math.inf])
def test_exact_recovery_at_one_and_a_half_times_the_degrees_of_freedom(depth):
    error, rank = recovery_error(0, 1.5, depth)
    assert rank == 5
    assert error < 1e-4


def test_the_nuclear_norm_recovers_nothing_there():
    assert recovery_error(0, 1.5, 2, 1e-3, 200)[0] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("depth", [3, 4, math.inf])
def test_exact_recovery_ten_of_ten(depth):
    assert all(recovery_error(seed, 1.5, depth)[0] < 1e-3 for seed in range(10))


def given_the_rank(seen, truth, rank=5, ridge=1e-3, sweeps=15):
    """Plain alternating least squares with the true rank: RMSE against the truth."""
    rng = np.random.default_rng(1)
    sides = [rng.normal(size=(side, rank)) for side in truth.shape]
    for _ in range(sweeps):
        for k, lines in ((0, seen.by_row), (1, seen.by_col)):
            other = sides[1 - k]
            for i in range(truth.shape[k]):
                part = slice(lines.indptr[i], lines.indptr[i + 1])
                design = other[lines.indices[part]]
                sides[k][i] = np.linalg.solve(
                    design.T @ design + ridge * np.eye(rank), design.T @ lines.values[part]
                )
    return rmse(sides[0] @ sides[1].T, truth)


def test_noise_as_well_as_if_the_rank_were_known():
    truth, seen = low_rank(3, 50_000, noise=0.1)
    oracle = given_the_rank(seen, truth)
    rows, cols, values = seen.triples()
    held = np.random.default_rng(9).random(len(values)) < 0.1
    train = Observations.from_triples(rows[~held], cols[~held], values[~held], truth.shape)
    for depth in (3, math.inf):
        chosen = path(
            train,
            [depth],
            validation=(rows[held], cols[held], values[held]),
            max_rank=25,
            bias_ridge=None,
        ).best
        found = fit(seen, depth=depth, strength=chosen.strength, max_rank=25, bias_ridge=None)
        assert found.rank == 5
        assert rmse(matrix(found), truth) < 1.02 * oracle
