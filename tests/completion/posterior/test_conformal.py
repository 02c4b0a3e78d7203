"""Split-conformal factors: quantiles of the held-out scores, the normal law without any."""

import numpy as np
import pytest

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
