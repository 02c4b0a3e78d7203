"""The pictures of an estimator, as its methods."""

from typing import Any

from .choice import SpectrumDisplay, ValidationDisplay
from .held_out import CalibrationDisplay, ErrorsDisplay


class Pictures:
    """The pictures of an estimator, in one line each."""

    def plot_spectrum(self, *, ax: Any = None, **kwargs: Any) -> SpectrumDisplay:
        """Draw the singular values of W; see `SpectrumDisplay`."""
        return SpectrumDisplay.from_estimator(self, ax=ax, **kwargs)

    def plot_validation(self, *, ax: Any = None) -> ValidationDisplay:
        """Draw the held-out error of all that was tried; see `ValidationDisplay`."""
        return ValidationDisplay.from_estimator(self, ax=ax)

    def plot_calibration(self, *, ax: Any = None) -> CalibrationDisplay:
        """Draw how often intervals cover; see `CalibrationDisplay`."""
        return CalibrationDisplay.from_estimator(self, ax=ax)

    def plot_errors(self, X: Any = None, y: Any = None, **kwargs: Any) -> ErrorsDisplay:
        """Draw the errors by column: of held-out cells, or of the test entries (X, y) of a
        `DeepMatrixCompletion`; see `ErrorsDisplay`.
        """
        return ErrorsDisplay.from_estimator(self, X, y, **kwargs)
