"""The standard error of a difference of held-out errors."""

import numpy as np
import pytest

from deeplinear.completion.solver.fit_state import (
    ValidationSplit,
    held_out_size,
    standard_error,
)


@pytest.mark.parametrize("column_noise", [False, True])
def test_it_is_the_spread_of_the_difference_over_samples(rng, column_noise):
    """Over fresh held-out entries, whose errors are paired: far less than that of either error."""
    noise = np.exp(0.5 * rng.normal(size=10))

    def sample():
        cols = rng.integers(0, 10, 800)
        best = noise[cols] * rng.normal(size=800)
        return best + 0.2 * noise[cols] * rng.normal(size=800), best, cols

    gaps, errors, singles = [], [], []
    for _ in range(400):
        other, best, cols = sample()
        sizes = [held_out_size(e, cols, column_noise) for e in (other, best)]
        gaps.append(sizes[0] - sizes[1])
        singles.append(sizes[1])
        errors.append(standard_error(other, best, cols, column_noise))
    assert np.mean(errors) == pytest.approx(np.std(gaps), rel=0.15)  # ± 3.5 % of 400 samples
    assert np.mean(errors) < 0.5 * np.std(singles)
    assert standard_error(best, best, cols, column_noise) == 0


def test_without_a_size_there_is_none():
    cols = np.zeros(4, int)
    for errors, best in ((np.ones(4), np.zeros(4)), (np.full(4, np.nan), np.ones(4))):
        assert standard_error(errors, best, cols, False) == 0


def test_a_clear_difference_is_more_than_its_standard_error(rng):
    values = np.zeros(2000)
    judge = ValidationSplit(np.zeros(2000, int), np.zeros(2000, int), values)
    best = rng.normal(size=2000)
    worse = best + 0.5 * rng.normal(size=2000)
    same = np.where(rng.random(2000) < 0.5, best, -best)
    assert judge.is_clear(best, worse)
    assert not judge.is_clear(worse, best)
    assert not judge.is_clear(best, same)


def test_a_large_difference_is_no_less_certain_for_being_large(rng):
    """Of few entries: the t statistic of the squares, not one in units of the small errors."""
    cols, large = np.zeros(22, int), rng.normal(size=22)
    small = 0.1 * rng.normal(size=22)
    for pair in ((large, small), (small, large)):
        error = standard_error(*pair, cols, True)
        assert error < 0.25 * (held_out_size(large, cols, True) - held_out_size(small, cols, True))
