"""Rubin's rules against their formulas by hand, and against what they promise."""

import math

import numpy as np
import pytest
from scipy.stats import t

import deeplinear as dl
from deeplinear.errors import InputError


def by_hand(estimates, variances, complete_dof):
    """(Q̄, T, ν, γ) in plain Python, in the order of Barnard and Rubin's paper."""
    m = len(estimates)
    mean = sum(estimates) / m
    within = sum(variances) / m
    between = sum((q - mean) ** 2 for q in estimates) / (m - 1)
    total = within + between * (m + 1) / m
    part = between * (m + 1) / m / total
    dof = (m - 1) / part**2
    if complete_dof is not None:
        observed = (complete_dof + 1) / (complete_dof + 3) * complete_dof * (1 - part)
        dof = dof * observed / (dof + observed)
    ratio = (m + 1) / m * between / within
    return mean, total, dof, (ratio + 2 / (dof + 3)) / (ratio + 1)


@pytest.mark.parametrize("complete_dof", [None, 7, 40.5])
def test_vectors_are_pooled_number_by_number(complete_dof):
    rng = np.random.default_rng(0)
    estimates, variances = rng.normal(size=(6, 2, 3)), rng.uniform(0.1, 2, (6, 2, 3))
    found = dl.pool(estimates, variances, complete_dof=complete_dof)
    low, high = found.interval(0.9)
    for at in np.ndindex(2, 3):
        here = (slice(None), *at)
        mean, total, dof, lost = by_hand(estimates[here], variances[here], complete_dof)
        assert found.estimate[at] == pytest.approx(mean)
        assert found.variance[at] == pytest.approx(total)
        assert found.dof[at] == pytest.approx(dof)
        assert found.missing_information[at] == pytest.approx(lost)
        assert (high - low)[at] == pytest.approx(2 * t.ppf(0.95, dof) * math.sqrt(total))
    np.testing.assert_allclose(found.variance, found.within + 7 / 6 * found.between)
    np.testing.assert_allclose(found.standard_error**2, found.variance)


def test_equal_estimates_have_lost_nothing():
    large = dl.pool([2.0, 2.0, 2.0], [0.25, 0.25, 0.25])
    assert (large.dof, large.missing_information) == (math.inf, 0)
    assert large.interval()[1] == pytest.approx(2 + 0.5 * 1.959964)
    small = dl.pool([2.0, 2.0, 2.0], [0.25, 0.25, 0.25], complete_dof=12)
    assert small.dof == pytest.approx(12 * 13 / 15)


def test_intervals_cover_when_the_model_is_right():
    """Half of 40 normal numbers is missing; the posterior of the mean is drawn from exactly.

    95 % of 2,000 intervals, within 3.3 binomial standard errors (0.016).
    """
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        seen = rng.normal(size=20)
        estimates, variances = [], []
        for _ in range(10):
            scale = math.sqrt(19 * seen.var(ddof=1) / rng.chisquare(19))
            centre = seen.mean() + scale / math.sqrt(20) * rng.normal()
            whole = np.append(seen, centre + scale * rng.normal(size=20))
            estimates.append(whole.mean())
            variances.append(whole.var(ddof=1) / 40)
        low, high = dl.pool(estimates, variances, complete_dof=39).interval()
        covered += low <= 0 <= high
    assert abs(covered / 2000 - 0.95) < 0.016


@pytest.mark.parametrize(
    ("estimates", "variances", "options", "sentence"),
    [
        ([1.0], [1.0], {}, "two completed tables or more"),
        (1.0, 1.0, {}, "two completed tables or more"),
        ([1.0, 2.0], [1.0], {}, "the shape of estimates, got"),
        ([1.0, np.nan], [1.0, 1.0], {}, "estimates must be finite"),
        ([1.0, 2.0], [1.0, 0.0], {}, "variances must be positive"),
        ([1.0, 2.0], [1.0, np.inf], {}, "variances must be positive"),
        ([1.0, 2.0], [1.0, 1.0], {"complete_dof": 0}, "complete_dof must be positive, got 0"),
    ],
)
def test_what_cannot_be_pooled(estimates, variances, options, sentence):
    with pytest.raises(InputError, match=sentence):
        dl.pool(estimates, variances, **options)
    with pytest.raises(InputError, match="coverage must lie between 0 and 1, got 95"):
        dl.pool([1.0, 2.0], [1.0, 1.0]).interval(95)
