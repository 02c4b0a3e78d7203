"""Paths over strengths, and the way down again on other entries."""

import math

import numpy as np
import pytest
from completion_data import observe, rmse, same, table

from deeplinear import InputError
from deeplinear.completion.solver.fit import fit
from deeplinear.completion.solver.path import held_out_error, path, retrace


def split(rng, **given):
    """(training entries, held-out triples)."""
    _, mask, X, _, _ = table(rng, **given)
    held = mask & (rng.random(mask.shape) < 0.2)
    rows, cols = np.nonzero(held)
    return observe(X, mask & ~held), (rows, cols, X[rows, cols])


def test_a_path_is_as_good_as_its_best_fit_alone(rng, where):
    train, held = split(rng, m=200, n=150, noise=0.7, seen=0.3)
    given = {"validation": held, "max_rank": 20, **where}
    found = path(train, [2, 3], **given)
    assert {trial.depth for trial in found.trials} == {2.0, 3.0}
    assert found.best.depth == found.best_trial.depth == 3.0
    alone = fit(train, depth=3, strength=found.best.strength, **given)
    assert found.best_trial.validation_rmse < 1.01 * min(alone.validation)
    assert found.best_trial.validation_rmse < 0.97 * np.std(held[2])


def test_scores_are_the_errors_of_the_fits(rng):
    train, held = split(rng)
    for early in (True, False):
        fits = []
        how = {"early_stopping": early, "callback": fits.append}
        found = path(train, [1.5, 2, math.inf], (0.5, 0.2), held, **how)
        assert len(fits) == 6
        for one, trial in zip(fits, found.trials, strict=True):
            score = trial.validation_rmse
            assert rmse(one.predict(*held[:2]), held[2]) == pytest.approx(score, rel=1e-12)
            assert held_out_error(one) == score
            assert (one.depth, one.strength) == (trial.depth, trial.strength)
            assert (one.rank, one.sweep) == (trial.rank, trial.sweeps)
        best = min(fits, key=held_out_error)
        np.testing.assert_array_equal(found.best.left, best.left)
        if not early:
            assert all(one.sweep == one.n_sweeps for one in fits)


def test_retracing_makes_the_last_fit_again(rng):
    """On the same entries, with as many sweeps as it had."""
    train, held = split(rng)
    for depth in (1.5, 3, math.inf):
        fits = []
        how = {"early_stopping": False, "threads": 1, "callback": fits.append}
        path(train, [depth], (0.5, 0.3, 0.2), held, **how)
        way = {one.strength: one.sweep for one in fits}
        again = retrace(train, depth, way, threads=1)
        np.testing.assert_allclose(again.matrix(), fits[-1].matrix(), atol=1e-10)


def test_a_killed_way_down_resumes_to_the_same_numbers(rng, tmp_path):
    train, _ = split(rng)
    way = {0.5: 5, 0.2: 12}

    def killed(found):
        if found.n_sweeps == 4:
            raise KeyboardInterrupt

    options = {"checkpoint": tmp_path / "way", "threads": 1, "tol": 0}
    with pytest.raises(KeyboardInterrupt):
        retrace(train, 3, way, callback=killed, **options)
    assert (tmp_path / "way").exists()
    resumed = retrace(train, 3, way, **options)
    assert same(resumed, retrace(train, 3, way, threads=1, tol=0))


def test_a_callback_ends_a_path(rng):
    train, held = split(rng)
    fits = []

    def third(found):
        fits.append(found)
        return len(fits) == 3

    found = path(train, [2, 3], validation=held, callback=third)
    asked = [[(one.depth, one.strength) for one in several] for several in (found.trials, fits)]
    assert asked[0] == asked[1]
    assert len(fits) == 3


def test_bad_input(rng):
    train, held = split(rng)
    with pytest.raises(InputError, match="validation must be given"):
        path(train, [3])
    with pytest.raises(InputError, match="at least one number each"):
        path(train, [3], [], held)
