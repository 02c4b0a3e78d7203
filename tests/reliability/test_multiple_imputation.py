"""Intervals after multiple imputation cover as often as they say."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from reliability.multiple_imputation import (
    COVERAGE,
    MECHANISMS,
    Trial,
    analyse,
    corrected,
    covariance,
    share,
    table,
    trials,
    truth,
)


def test_the_truth_and_the_textbook_formulas():
    complete, holed = table(200_000, MECHANISMS[1], 0)
    estimates, variances = analyse(complete)
    assert (np.abs(estimates - truth()) < 4.5 * np.sqrt(variances)).all()
    C = covariance()
    noise = C[0, 0] - C[0, 1:] @ np.linalg.solve(C[1:, 1:], C[1:, 0])
    expected = noise * np.linalg.inv(C[1:, 1:])[0, 0], C[1, 1]
    np.testing.assert_allclose(variances * 200_000, expected, rtol=0.02)
    assert 0.2 < np.isnan(holed[:, :-1]).mean() < 0.4
    seen = ~np.isnan(holed[:, 1])  # what is seen is not like the rest
    assert abs(complete[seen, 1].mean() - truth()[1]) > 20 * math.sqrt(variances[1])


def test_luck_that_complete_tables_have_too_is_taken_out():
    """Trials that cover whenever the complete table does, and once more: 0.95 and that one."""
    found = []
    for k in range(100):
        known = np.array([k % 10 > 0, k % 50 > 0])  # 90 % and 98 %
        ours = known | (k == 10)
        found.append(Trial(ours, known, known, np.zeros(2), np.zeros(2)))
    slope = 1 - 0.01 / 0.1  # of the first: one of the ten that miss is covered
    expected = [0.91 - slope * (0.90 - 0.95), 0.98 - (0.98 - 0.95)]
    np.testing.assert_allclose(corrected(found), expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_intervals_after_multiple_imputation_cover(mechanism):
    """120 tables: a coverage of 93 % or 97 % gives a count outside these bounds in 1 of 2,000
    cases on either side. Completing the table once covers less.
    """
    count = 120
    found = trials(mechanism, count, rows=200, draws=20)
    least, most = binom.ppf(0.0005, count, 0.93), binom.ppf(0.9995, count, 0.97)
    multiple, single = (share(found, way) * count for way in ("multiple", "single"))
    assert (least <= multiple).all()
    assert (multiple <= most).all()
    assert (single < binom.ppf(0.001, count, COVERAGE)).all()
    assert (single < multiple).all()
