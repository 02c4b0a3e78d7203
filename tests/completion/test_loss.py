"""Losses against their textbook laws: values, slopes, parabolas, means."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import huber

from deeplinear.completion.loss import HUBER, ORDINAL, POISSON, SQUARED, Losses
from deeplinear.errors import InputError

CUTS = np.array([-1.3, 0.2, 1.9])
LEVELS = np.array([1.0, 2.0, 3.0, 5.0])


def losses(kind, unit=1.7, threshold=0.8):
    ordinal = kind == ORDINAL
    return Losses(
        np.array([kind], np.uint8),
        np.array([unit]),
        np.array([threshold if kind == HUBER else np.inf]),
        LEVELS[None] if ordinal else np.zeros((1, 4)),
        CUTS[None] if ordinal else np.full((1, 3), np.inf),
    )


def probability(level, t):
    """Of a level, by the logistic law of SciPy."""
    k = np.searchsorted(LEVELS, level)
    ends = np.r_[-np.inf, CUTS, np.inf]
    return stats.logistic.cdf(ends[k + 1] - t) - stats.logistic.cdf(ends[k] - t)


def textbook(kind, x, t):
    if kind == SQUARED:
        return 0.5 * (x - t) ** 2
    if kind == HUBER:
        return huber(0.8, x - t)
    if kind == ORDINAL:
        return -np.log(probability(x, t))
    saturated = stats.poisson.logpmf(x, np.maximum(x, 1e-300))
    return saturated - stats.poisson.logpmf(x, np.exp(t))


def entries(kind, rng, count=200):
    x = {
        SQUARED: rng.normal(size=count),
        HUBER: 2 * rng.normal(size=count),
        ORDINAL: rng.choice(LEVELS, count),
        POISSON: rng.poisson(2.0, count).astype(float),
    }[kind]
    return x, rng.normal(size=count)


@pytest.mark.parametrize("kind", [SQUARED, HUBER, ORDINAL, POISSON])
def test_values_and_slopes_are_those_of_the_textbook(kind):
    x, eta = entries(kind, np.random.default_rng(kind))
    value, slope, curvature = losses(kind).of(x, slice(None)).touch(eta)
    np.testing.assert_allclose(value, textbook(kind, x, 1.7 * eta), atol=1e-12)
    ends = [textbook(kind, x, 1.7 * (eta + h)) for h in (-1e-6, 1e-6)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, atol=1e-6)
    assert (curvature > 0).all()


@pytest.mark.parametrize("kind", [SQUARED, HUBER, ORDINAL])
def test_parabolas_lie_above(kind):
    x, eta = entries(kind, np.random.default_rng(10 + kind))
    entry = losses(kind).of(x, slice(None))
    value, slope, curvature = entry.touch(eta)
    for step in np.linspace(-6, 6, 41):
        above = value - slope * step + 0.5 * curvature * step**2
        assert (above >= entry.touch(eta + step)[0] - 1e-9).all()


def test_logistic_is_the_bernoulli_law():
    law = Losses(
        np.array([ORDINAL], np.uint8),
        np.ones(1),
        np.full(1, np.inf),
        np.array([[0.0, 1.0]]),
        np.zeros((1, 1)),
    )
    eta = np.linspace(-4, 4, 9)
    p = stats.logistic.cdf(eta)
    np.testing.assert_allclose(law.mean(eta, slice(None)), p, rtol=1e-12)
    np.testing.assert_allclose(law.variance(eta, slice(None), 9.0), p * (1 - p), rtol=1e-9)
    ones = law.residuals(np.ones(9), eta, slice(None))
    np.testing.assert_allclose(ones**2 / 2, -np.log(p), rtol=1e-12)
    assert (ones > 0).all()
    assert (law.residuals(np.zeros(9), eta, slice(None)) < 0).all()


def test_ordinal_means_and_probabilities_sum_over_the_levels():
    eta = np.linspace(-3, 3, 7)
    p = np.stack([probability(level, 1.7 * eta) for level in LEVELS], axis=1)
    law = losses(ORDINAL)
    np.testing.assert_allclose(law.probabilities(eta), p, rtol=1e-10)
    mean = p @ LEVELS
    np.testing.assert_allclose(law.mean(eta, slice(None)), mean)
    np.testing.assert_allclose(law.variance(eta, slice(None), 0.0), p @ LEVELS**2 - mean**2)
    h = 1e-6
    rise = law.mean(eta + h, slice(None)) - law.mean(eta - h, slice(None))
    np.testing.assert_allclose(law.mean_slope(eta, slice(None)), rise / (2 * h), rtol=1e-5)


def test_columns_have_losses_of_their_own():
    rng = np.random.default_rng(3)
    kinds = np.array([SQUARED, HUBER, ORDINAL, POISSON], np.uint8)
    law = Losses(
        kinds,
        np.full(4, 1.7),
        np.array([np.inf, 0.8, np.inf, np.inf]),
        np.where((kinds == ORDINAL)[:, None], LEVELS, 0.0),
        np.where((kinds == ORDINAL)[:, None], CUTS, np.inf),
    )
    cols = rng.integers(0, 4, 60)
    drawn = np.stack([entries(kind, rng, 60)[0] for kind in kinds])
    x, eta = drawn[cols, np.arange(60)], rng.normal(size=60)
    together = law.of(x, cols).touch(eta)
    for kind in kinds.tolist():
        mine = cols == kind
        alone = losses(kind).of(x[mine], slice(None)).touch(eta[mine])
        np.testing.assert_allclose([part[mine] for part in together], alone)
        np.testing.assert_allclose(
            law.mean(eta, cols)[mine], losses(kind).mean(eta[mine], slice(None))
        )
    matrix = np.tile(rng.normal(size=(5, 1)), 4)
    np.testing.assert_allclose(
        law.mean(matrix, slice(None))[:, 2], losses(ORDINAL).mean(matrix[:, 2], slice(None))
    )


def test_files_with_other_losses_are_refused():
    stored = {
        "kinds": np.array([ORDINAL], np.uint8),
        "units": np.ones(1),
        "thresholds": np.full(1, np.inf),
        "levels": LEVELS[None],
        "cuts": CUTS[None, ::-1].copy(),
    }
    with pytest.raises(InputError, match="losses are not"):
        Losses.restore(stored, 5)
