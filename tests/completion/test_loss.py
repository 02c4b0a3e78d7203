"""Losses against their textbook laws: values, slopes, parabolas, means."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import huber

from deeplinear.completion.loss import (
    HUBER,
    ORDINAL,
    POISSON,
    SQUARED,
    Losses,
    median_size,
    nearest_level,
)
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
    np.testing.assert_allclose(law.probabilities(eta[None])[0], p, rtol=1e-10)
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


def of_each_kind():
    """One column of each kind, in the order of their codes."""
    kinds = np.array([SQUARED, HUBER, ORDINAL, POISSON], np.uint8)
    thresholds = np.where(kinds == HUBER, 0.8, np.inf)
    levels = np.where((kinds == ORDINAL)[:, None], LEVELS, 0.0)
    cuts = np.where((kinds == ORDINAL)[:, None], CUTS, np.inf)
    return Losses(kinds, np.full(4, 1.7), thresholds, levels, cuts)


@pytest.mark.parametrize("kind", [HUBER, ORDINAL, POISSON])
def test_curvatures_are_those_of_the_parabolas_that_touch(kind):
    """min(1, c/|r|); (F(u) − ½)/u of both ends; e^t, or the chord of the slope to the minimum."""
    x, eta = entries(kind, np.random.default_rng(20 + kind))
    if kind == ORDINAL:
        x[:3], eta[:3] = LEVELS[:3], CUTS / 1.7  # u = 0 at an end: ¼
    t = 1.7 * eta
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == HUBER:
            exact = np.minimum(1, 0.8 / np.abs(x - t))
        elif kind == POISSON:
            chord = (x - np.exp(t)) / (np.log(x) - t)
            exact = np.where((x > 0) & (np.exp(t) < x), chord, np.exp(t))
        else:
            ends = np.r_[-np.inf, CUTS, np.inf]
            k = np.searchsorted(LEVELS, x)
            exact = 0
            for u in (ends[k + 1] - t, t - ends[k]):
                exact = exact + np.where(np.abs(u) < 1e-6, 0.25, np.tanh(u / 2) / (2 * u))
    found = losses(kind).of(x, slice(None)).touch(eta)[2]
    np.testing.assert_allclose(found, 1.7**2 * exact, rtol=1e-9)


def test_variances_and_mean_slopes():
    law, eta = of_each_kind(), np.random.default_rng(1).normal(size=(6, 4))
    eta[0] = 0
    found, slopes = law.variance(eta, slice(None), 0.3), law.mean_slope(eta, slice(None))
    rate = np.exp(1.7 * eta[:, 3])
    np.testing.assert_allclose(found[:, 0], 0.3)
    np.testing.assert_allclose(found[:, 1], (0.8 / 1.345) ** 2)
    np.testing.assert_allclose(found[:, 3], rate)
    np.testing.assert_allclose(law.mean(eta, slice(None))[:, 3], rate)
    np.testing.assert_allclose(slopes[:, :2], 1.7)
    np.testing.assert_allclose(slopes[:, 3], 1.7 * rate)
    np.testing.assert_array_equal(law.dispersion(slice(None), 0.3), [0.3, 0.0, 1.0, 1.0])


def test_which_are_bounded_and_which_are_by_column():
    assert [losses(kind).is_bounded for kind in range(4)] == [True, True, True, False]
    assert not of_each_kind().is_bounded
    assert of_each_kind().by_column
    assert not losses(HUBER).by_column


def test_entries_and_means_are_cut_to_what_a_loss_allows():
    law, means = of_each_kind(), np.array([[0.0, 1.0, 0.2, 9.0], [0.0, 1.0, 7.0, -9.0]])
    np.testing.assert_array_equal(law.within(means), [[0, 1, 1, 9], [0, 1, 5, -9]])
    x = means + np.array([[5.0, 0.7, 5.0, 5.0], [5.0, -3.0, 5.0, 5.0]])
    gaps = np.array([[5, 0.7, 5, 5], [5, -0.8, 5, 5]])
    np.testing.assert_allclose(law.cleaned(x, means), means + gaps)


def test_the_noise_is_that_of_the_squared_loss():
    gaps, weights = np.array([1.0, 2.0, 9.0, 3.0]), np.array([1.0, 2.0, 5.0, 1.0])
    cols = np.array([0, 0, 1, 0])
    law, none = of_each_kind(), np.zeros(0)
    assert law.noise(gaps, cols, weights) == pytest.approx((1 + 8 + 9) / 4)
    assert law.noise(gaps, cols, none) == pytest.approx((1 + 4 + 9) / 3)
    assert law.noise(gaps, np.full(4, 3), none) == 1
    assert losses(SQUARED).noise(gaps, cols, none) == pytest.approx(np.mean(gaps**2))


def test_the_spread_is_robust_where_the_loss_is_hubers():
    values = np.array([0.0, 1.0, 2.0, 4.0, 100.0])
    assert losses(HUBER).spread(values) == pytest.approx(1.4826 * 2)  # of 2, 1, 0, 2, 98
    assert losses(HUBER).spread(0.01 * values) == pytest.approx(0.014826 * 2)
    assert losses(POISSON).spread(values) == pytest.approx(values.std())
    mostly_one = np.array([1.0, 1.0, 1.0, 5.0])
    assert losses(HUBER).spread(mostly_one) == pytest.approx(mostly_one.std())
    assert median_size(np.zeros(0)) == 0
    assert median_size(np.array([-3.0])) == pytest.approx(3 * 1.4826)


def test_where_a_fit_begins():
    values, weights, none = np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 2.0]), np.zeros(0)
    assert losses(HUBER).centre(values, none) == 2
    assert losses(ORDINAL).centre(values, none) == 0
    assert of_each_kind().centre(values, none) == 0
    assert losses(POISSON).centre(values, none) == pytest.approx(np.log(4) / 1.7)
    assert losses(POISSON).centre(values, weights) == pytest.approx(np.log(21 / 4) / 1.7)
    assert losses(POISSON).centre(np.zeros(3), none) == pytest.approx(np.log(1e-300) / 1.7)


def test_the_nearest_level():
    x = np.array([-9.0, 1.4, 1.5, 1.6, 3.9, 4.1, 9.0])
    found = nearest_level(x, LEVELS[:, None], CUTS[:, None])
    np.testing.assert_array_equal(found, [0, 0, 0, 1, 2, 3, 3])
    few = nearest_level(x, LEVELS[:, None], np.array([-1.0, 2.0, np.inf])[:, None])
    np.testing.assert_array_equal(few, [0, 0, 0, 1, 2, 2, 2])  # a level that is not there


def test_extremes_stay_finite():
    for kind in range(4):
        x = np.array([1.0, 1.0, 5.0])
        found = losses(kind).of(x, slice(None)).touch(np.array([-1e4, 0.0, 1e4]))
        assert np.isfinite(found).all()
        assert (found[2] >= 1e-10).all()
        assert np.isfinite(losses(kind).mean(np.array([-1e4, 1e4]), slice(None))).all()
    far = losses(POISSON).variance(np.array([-1e4]), slice(None), 0.0)
    assert far == 1e-12


def test_losses_of_another_number_of_columns_are_refused():
    kept = {name: getattr(of_each_kind(), name) for name in vars(of_each_kind())}
    assert Losses.restore(dict(kept), 4).by_column
    with pytest.raises(InputError, match="losses are not"):
        Losses.restore(dict(kept), 5)
    one = {name: getattr(losses(ORDINAL), name) for name in vars(losses(ORDINAL))}
    assert not Losses.restore(dict(one), 5).by_column
    with pytest.raises(InputError, match="losses are not"):
        Losses.restore(one | {"levels": LEVELS[None, ::-1].copy()}, 5)


def test_two_columns_of_two_kinds():
    both = of_each_kind()
    two = Losses(*(getattr(both, name)[1::2] for name in vars(both)))
    assert two.by_column
    x, eta, cols = np.array([9.0, 4.0]), np.array([0.1, -0.5]), np.array([0, 1])
    together = two.of(x, cols).touch(eta)
    for k, kind in enumerate((HUBER, POISSON)):
        alone = losses(kind).of(x[k : k + 1], slice(None)).touch(eta[k : k + 1])
        np.testing.assert_allclose([part[k] for part in together], np.ravel(alone))
    with pytest.raises(InputError, match="kinds"):
        Losses(np.array([4], np.uint8), *(getattr(both, n)[:1] for n in list(vars(both))[1:]))
