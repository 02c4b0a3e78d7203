"""Paths over strengths, and the way down again on other entries."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from completion_data import observe, rmse, same, table

from deeplinear import InputError
from deeplinear.completion.solver import options
from deeplinear.completion.solver.fit import fit
from deeplinear.completion.solver.fit_state import ValidationSplit
from deeplinear.completion.solver.path import STRENGTHS, _Walk, path, retrace
from deeplinear.completion.solver.selection import Explicit, HoldOut
from deeplinear.completion.solver.trial import Trial, held_out_error


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


@dataclass
class Scripted(_Walk):
    """A walk whose fits have the held-out errors of a script, and standard errors of 0.01."""

    script: tuple = ()

    def walked(self):
        for strength, error in zip(range(99, 0, -1), self.script, strict=False):
            self._count(Trial(3.0, float(strength), error, 5, 3, 0.01, 50))
            if self.stale[3.0] >= self.patience:
                break
        return len(self.trials)


@pytest.mark.parametrize(
    ("script", "walked"),
    [
        ((0.9, 0.8, 0.82, 0.83, 0.5), 4),  # two clear rises: the end
        ((0.9, 0.8, 0.805, 0.806, 0.5, 0.52, 0.52, 0.4), 7),  # a bump within the noise, a valley
        ((0.9, 0.8, 0.805, 0.806, 0.5, 0.9, 0.9, 0.4), 6),  # a rise that is far counts twice
        ((0.9, 0.8, 0.805, 0.806, 0.807, 0.808, 0.5), 6),  # but not for ever
        ((0.9, 0.8, 0.82, 0.809, 0.807, 0.5), 5),
        ((0.99995, 1.2, 1.3, 1.4, 1.5, 0.9), 6),  # nothing is there to lose yet
    ],
)
def test_a_rise_counts_by_whether_it_is_clear(script, walked):
    given = dict.fromkeys(("problem", "flat", "records", "thorough", "growing"))
    held = ValidationSplit(np.zeros(1, int), np.zeros(1, int), np.zeros(1))
    walk = Scripted(**given, held_out=held, patience=2, biases=np.ones(1), script=script)
    assert walk.walked() == walked


def many_components(rng):
    """Of rank 12, so that a cap of 4 binds: (training entries, held-out triples, all entries)."""
    truth = rng.normal(size=(80, 12)) @ rng.normal(size=(12, 60))
    X, mask = truth + 0.3 * rng.normal(size=truth.shape), rng.random(truth.shape) < 0.8
    held = mask & (rng.random(mask.shape) < 0.1)
    rows, cols = np.nonzero(held)
    return observe(X, mask & ~held), (rows, cols, X[rows, cols]), observe(X, mask)


def test_a_cap_grows_where_it_binds_and_held_out_entries_gain(rng, monkeypatch):
    monkeypatch.setattr(options, "DEFAULT_RANK", 4)
    train, held, everything = many_components(rng)
    found = path(train, [2, 3], validation=held, threads=1)
    caps = {trial.strength: trial.max_rank for trial in found.trials}
    assert list(caps.values()) == sorted(caps.values())
    assert {4, 8, 16} <= set(caps.values()) <= {4, 8, 16, 32, 60}
    assert found.best.rank > 4
    capped = path(train, [2, 3], validation=held, max_rank=4, threads=1)
    assert {trial.max_rank for trial in capped.trials} == {4}
    assert found.best_trial.validation_rmse < 0.7 * capped.best_trial.validation_rmse
    choice = Explicit().choose(HoldOut(train, *held), [2, 3], STRENGTHS, threads=1)
    whole = Explicit().repeat(everything, choice, threads=1)
    assert abs(whole.rank - choice.fit.rank) <= 2


def test_a_cap_that_does_not_bind_stays(rng):
    train, held = split(rng, m=80, n=70)
    found = path(train, [3], validation=held)
    assert {trial.max_rank for trial in found.trials} == {50}


def test_a_path_whose_caps_grow_resumes_to_the_same_numbers(rng, monkeypatch, tmp_path):
    monkeypatch.setattr(options, "DEFAULT_RANK", 4)
    monkeypatch.setattr("deeplinear.completion.solver.checkpoint.SHARE", math.inf)  # write always
    train, held, _ = many_components(rng)
    whole = path(train, [2, 3], validation=held, threads=1)
    count = len(whole.trials)
    for stop in range(1, count, 3):
        fits = []

        def killed(found, fits=fits, stop=stop):
            fits.append(found)
            if len(fits) == stop:
                raise KeyboardInterrupt

        given = {"validation": held, "threads": 1, "checkpoint": tmp_path / f"{stop}"}
        with pytest.raises(KeyboardInterrupt):
            path(train, [2, 3], callback=killed, **given)
        resumed = path(train, [2, 3], **given)
        assert resumed.trials == whole.trials
        assert same(resumed.best, whole.best)


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
