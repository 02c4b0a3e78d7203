"""Split-conformal factors: quantiles of the held-out scores, the normal law without any."""

import numpy as np
import pytest
from scipy.stats import betabinom, norm

from deeplinear.completion.posterior import conformal
from deeplinear.completion.posterior.conformal import Calibration
from deeplinear.errors import InputError


def test_calibration_is_the_conformal_quantile():
    calibration = Calibration.of(np.arange(-99.0, 0.0), np.ones(99))
    assert calibration.factor(0.9) == 90.0
    assert Calibration().factor(0.95) == pytest.approx(1.959964, abs=1e-6)
    with pytest.raises(InputError, match="needs at least 199 held-out entries, there are 99"):
        calibration.factor(0.995)
    with pytest.raises(InputError, match="coverage must lie between 0 and 1"):
        calibration.factor(1.0)
    many = Calibration.of(np.linspace(0, 1, 100_000), np.ones(100_000))
    assert len(many.scores) == 20_000
    assert many.factor(0.9) == pytest.approx(0.9, abs=1e-4)


def columns_of_scores(counts, sizes, seed=0):
    """(scores, columns): |normal| errors of the given sizes, by columns."""
    rng = np.random.default_rng(seed)
    cols = np.repeat(np.arange(len(counts)), counts)
    return np.abs(rng.normal(size=len(cols))) * np.asarray(sizes)[cols], cols


def slow_factors(scores, cols, width, coverage, k):
    """The smallest score with (k F(q) + #own ≤ q) ≥ c (k + n_j), F conformal: by counting."""
    found = []
    for j in range(width):
        own, many = scores[cols == j], len(scores)
        law = [(k * np.sum(scores <= q) / (many + 1) + np.sum(own <= q)) for q in np.sort(scores)]
        found.append(np.sort(scores)[np.argmax(np.array(law) >= coverage * (k + len(own)))])
    return np.array(found)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("sizes", [np.ones(6), np.array([0.1, 0.3, 1, 1, 3, 10])])
def test_factors_of_columns_are_quantiles_of_the_mixed_law(coverage, sizes):
    scores, cols = columns_of_scores([40, 5, 60, 1, 80, 33], sizes)
    calibration = Calibration.of(scores, np.ones(len(scores)), cols, 7)
    beyond = np.bincount(cols, scores > calibration.factor(coverage))
    k = conformal._alike(beyond, np.bincount(cols))
    expected = slow_factors(scores, cols, 6, coverage, k)
    np.testing.assert_array_equal(calibration.factors(coverage)[:6], expected)
    assert calibration.factors(coverage)[6] == calibration.factor(coverage)  # no scores


def test_columns_that_differ_keep_their_own_law_and_alike_ones_share():
    assert conformal._alike(np.array([0, 100, 0, 100]), np.full(4, 100)) == 2
    assert conformal._alike(np.full(4, 10), np.full(4, 100)) == conformal._ALIKE[-1]
    assert conformal._alike(np.zeros(4), np.full(4, 100)) == conformal._ALIKE[-1]


def test_the_likelihood_of_alike_columns_is_that_of_the_beta_binomial():
    beyond, counts = np.array([3, 20, 0, 9, 11, 2]), np.array([40, 60, 10, 80, 50, 33])
    p = beyond.sum() / counts.sum()
    each = [betabinom.logpmf(beyond, counts, k * p, k * (1 - p)).sum() for k in conformal._ALIKE]
    assert conformal._alike(beyond, counts) == conformal._ALIKE[np.argmax(each)]


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_intervals_cover_each_column_as_often_as_they_say(spread):
    """40 columns of 200 scores with log-normal sizes; exact coverage by the normal law.

    The deviation of coverages around 0.9 is at most that of a column calibrated alone,
    √(0.9 · 0.1/200) = 0.021, up to 3 standard errors of a mean square of 40.
    """
    sizes = np.exp(spread * np.random.default_rng(1).normal(size=40))
    scores, cols = columns_of_scores(np.full(40, 200), sizes)
    q = Calibration.of(scores, np.ones(len(scores)), cols, 40).factors(0.9)
    covered = 2 * norm.cdf(q / sizes) - 1
    limit = 0.021 if spread else 0.021 / 2  # alike columns help each other
    assert np.sqrt(np.mean((covered - 0.9) ** 2)) < limit * np.sqrt(1 + 3 * np.sqrt(2 / 40))


def slow_sizes(squares, cols, width):
    """Shrunk column means by the analysis of variance, column by column."""
    groups = [squares[cols == j] for j in range(width)]
    seen, mean = [g for g in groups if len(g)], squares.mean()
    within = sum(((g - g.mean()) ** 2).sum() for g in seen) / (len(squares) - len(seen))
    between = sum(len(g) * (g.mean() - mean) ** 2 for g in seen) / (len(seen) - 1)
    usual = len(squares) - sum(len(g) ** 2 for g in seen) / len(squares)
    k = within / ((between - within) / (usual / (len(seen) - 1)))
    return np.sqrt([(k * mean + g.sum()) / (k + len(g)) for g in groups])


def test_sizes_are_root_mean_squares_pulled_towards_the_common_one():
    scores, cols = columns_of_scores([400, 300, 2, 500], [1.0, 5.0, 1.0, 0.2])
    sizes = Calibration.of(-2 * scores, np.full(len(scores), 2.0), cols, 5).sizes
    np.testing.assert_allclose(sizes, slow_sizes(scores**2, cols, 5), rtol=1e-12)
    own, common = np.sqrt(np.mean(scores[cols == 1] ** 2)), np.sqrt(np.mean(scores**2))
    assert common < sizes[1] < own
    assert sizes[1] > 0.9 * own
    np.testing.assert_allclose(sizes[4], common)  # no scores
    np.testing.assert_allclose(Calibration.of(scores, np.full(len(scores), 2.0)).sizes, common / 2)
    assert Calibration().sizes.tolist() == [1.0]


def test_sizes_of_huge_scores_do_not_overflow():
    scores, cols = columns_of_scores([20, 20], [1.0, 3.0])
    plain = Calibration.of(scores, np.ones(40), cols, 2).sizes
    np.testing.assert_allclose(
        Calibration.of(1e200 * scores, np.ones(40), cols, 2).sizes, 1e200 * plain, rtol=1e-12
    )
    assert Calibration.of(np.zeros(3), np.ones(3), np.arange(3), 3).sizes.tolist() == [0.0] * 3
