"""The pictures of a fit, as scikit-learn's Display classes: spectrum, validation, calibration of
intervals, errors by column.

Each is made by ``from_estimator`` or ``from_predictions``, which draw it, holds the numbers that it
draws, and is drawn again by ``plot(ax=…)``, which returns it with the attributes ``ax_`` and
``figure_``. The reports draw through the same classes.
"""

from .choice import SpectrumDisplay, ValidationDisplay
from .held_out import CalibrationDisplay, ErrorsDisplay
from .pictures import Pictures

__all__ = [
    "CalibrationDisplay",
    "ErrorsDisplay",
    "Pictures",
    "SpectrumDisplay",
    "ValidationDisplay",
]
