"""Stated against reached coverage, on entries that had no part in calibrating."""

import numpy as np
import pytest

from deeplinear.completion.displays import CalibrationDisplay
from deeplinear.completion.posterior.conformal import Calibration
from deeplinear.completion.posterior.coverage import cross_fitted
from deeplinear.report.coverage import coverage_sentence


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_split_intervals_cover_whatever_the_scale_of_the_deviations(rng, scale):
    """The coverage that conformal calibration promises, also where the deviations are wrong."""
    scores = np.sort(np.abs(scale * rng.standard_normal(4000)))
    levels = np.array([0.1, 0.5, 0.9])
    reached = cross_fitted(Calibration(scores), levels)
    np.testing.assert_allclose(reached.mean, levels, atol=0.01)
    assert (reached.spread < 0.03).all()
    calibration = Calibration(scores)
    display = CalibrationDisplay._of(calibration).plot()
    covered = np.interp(0.5, *display.normal_line_.get_data())
    assert (covered > 0.55) == (scale < 1)
    assert (covered < 0.45) == (scale > 1)


def test_levels_that_half_of_the_entries_cannot_reach_are_left_out(rng):
    ten = Calibration(np.sort(np.abs(rng.standard_normal(10))))
    mean = cross_fitted(ten, np.array([0.5, 0.99])).mean
    assert np.isfinite(mean[0])
    assert np.isnan(mean[1])


def test_columns_are_measured_one_by_one(rng):
    """Five columns of sizes 1 … 16 with 400 scores, one with too few to judge."""
    cols = np.repeat(np.arange(6), [400] * 5 + [20])
    scores = np.abs(rng.standard_normal(len(cols))) * 2.0 ** np.minimum(cols, 4)
    calibration = Calibration.of(scores, np.ones(len(cols)), cols, 7)
    reached = cross_fitted(calibration, np.array([0.5, 0.9]))
    np.testing.assert_allclose(reached.mean, [0.5, 0.9], atol=0.02)
    # the standard error of a column calibrated on half of its cells and measured on the others
    error = np.sqrt(0.25 * 2 / 200)
    np.testing.assert_allclose(reached.columns[:, 0, :5], 0.5, atol=3.5 * error)
    np.testing.assert_allclose(reached.columns[:, 1, :5], 0.9, atol=3.5 * error * 0.6)
    assert np.isnan(reached.columns[..., 5:]).all()
    legend = CalibrationDisplay(reached, reached.mean).plot().ax_.get_legend()
    assert "nine in ten of 5 columns" in [text.get_text() for text in legend.get_texts()]
    sentence = coverage_sentence(reached, calibration)
    assert "half of the 2,020 held-out cells" in sentence
    assert f"Intervals for 90% held {reached.mean[1]:.1%}; of the 5 columns with 100" in sentence
