"""Options of a fit: what is refused, and what depends on the data."""

import math

import numpy as np
import pytest
from completion_data import table

from deeplinear import InputError
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit
from deeplinear.completion.solver.options import DEFAULT_RANK, EXACT_STEPS, STEPS, FitOptions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0.5}, "depth must be ≥ 1"),
        ({"strength": -1}, "strength must be a finite number ≥ 0"),
        ({"decay": math.nan}, "decay must be a finite number ≥ 0"),
        ({"bias_ridge": -1.0}, "bias_ridge must be a finite number ≥ 0"),
        ({"max_rank": 41}, "max_rank must be at most min.m, n. = 40, got 41"),
        ({"max_rank": -1}, "max_rank must be an integer ≥ 0"),
        ({"depth": 1.5, "max_rank": 3}, "max_rank must be None below depth 2"),
        ({"max_sweeps": 0}, "max_sweeps must be an integer ≥ 1"),
        ({"patience": 0.5}, "patience must be an integer ≥ 1"),
        ({"steps": 0}, "steps must be an integer ≥ 1"),
        ({"tol": -1e-3}, "tol must be ≥ 0"),
        ({"weighted_trace_norm": 2}, "weighted_trace_norm must lie between 0"),
        ({"smoothing": -0.1}, "smoothing must lie between 0"),
        ({"threads": 0}, "threads must be a positive integer"),
    ],
)
def test_bad_options(rng, change, message):
    *_, seen = table(rng)
    with pytest.raises(InputError, match=message):
        fit(seen, **change)


def test_defaults_that_depend_on_the_data(rng):
    *_, seen = table(rng)
    filled = FitOptions().for_data(seen)
    assert (filled.rank_cap, filled.steps) == (40, STEPS)
    assert FitOptions(depth=1.5).for_data(seen).rank_cap == 40
    assert FitOptions(strength=1e-3).for_data(seen).steps == EXACT_STEPS
    assert FitOptions(decay=1e-3).for_data(seen).steps == STEPS
    large = Observations.from_triples([0], [0], [1.0], (100, 90))
    assert FitOptions().for_data(large).rank_cap == DEFAULT_RANK
    assert FitOptions(depth=1.5).for_data(large).rank_cap == 90
    assert FitOptions(max_sweeps=np.inf, patience=np.inf).for_data(seen).patience == math.inf
