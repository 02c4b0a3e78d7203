"""What was fitted, and how it was chosen: the spectrum, and the curve of held-out errors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ...errors import InputError
from ...labels import depth_label
from ...reals import as_floats
from ..solver.trial import Trial, best_trial, error_name
from .base import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS = 8  # strengths that are written along the axis


class SpectrumDisplay(Display):
    """The singular values of the fitted W, on a logarithmic axis.

    **Arguments**: ``singular_values`` (r,), descending; ``name`` of the line; ``units`` of them, in
    words. **Attributes** after ``plot``: ``line_``, ``ax_``, ``figure_``. Several on one Axes take
    one colour after the other.

    >>> display = SpectrumDisplay(np.array([3.0, 1.0]), "depth 2").plot()
    >>> display.line_.get_ydata().tolist()
    [3.0, 1.0]
    """

    line_: Any

    def __init__(self, singular_values: ArrayLike, name: str = "fit", units: str = "") -> None:
        self.singular_values = as_floats(singular_values, "singular_values")
        self.name, self.units = name, units

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: "Axes | None" = None, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Of a fitted `DeepLinearImputer` or `DeepMatrixCompletion`; ``kwargs``: of `plot`.

        **Raises** `InputError` where W is 0, so that there is nothing to draw.
        """
        check_is_fitted(estimator)
        scaled = " (scaled columns)" if estimator._column_noise else ""
        found = cls(estimator.singular_values_, name or depth_label(estimator.depth_), scaled)
        return found.plot(ax, **kwargs)

    def plot(self, ax: "Axes | None" = None, *, name: str | None = None, **line_kw: Any) -> Self:
        """Draw on ``ax``, or on new axes; ``line_kw`` are set on the line."""
        from ...plots import draw_spectra, house_style, one_axes

        if not len(self.singular_values):
            raise InputError("the fitted W is 0 and has no singular value: there is no spectrum.")
        with house_style():
            axis = one_axes(ax)
            draw_spectra(axis, {name or self.name: self.singular_values}, f" of W{self.units}")
        self.line_ = axis.lines[-1]
        self.line_.set(**line_kw)
        self._drawn(axis)
        return self


class ValidationDisplay(Display):
    """Held-out error against strength, a line for each depth; what was chosen is ringed.

    **Arguments**: ``trials``, those of an estimator; ``score_name``, of the error; ``implicit``:
    whether strengths are parts of the energy at which a flow stops. Bars are the standard errors of
    the difference from the best before of the same depth (`Trial.standard_error`): what lies within
    them is level. **Attributes** after ``plot``: ``lines_`` by depth, ``errorbars_``, ``chosen_``
    (the ring), ``ax_``, ``figure_``.
    """

    lines_: dict[float, Any]
    errorbars_: list[Any]
    chosen_: Any

    def __init__(
        self, trials: Sequence[Trial], score_name: str = "held-out RMSE", implicit: bool = False
    ) -> None:
        self.trials, self.score_name, self.implicit = tuple(trials), score_name, implicit

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Axes | None" = None, **kwargs: Any) -> Self:
        """Of a fitted estimator; ``kwargs``: of `plot`. **Raises** `InputError` where nothing was
        held out.
        """
        check_is_fitted(estimator)
        measure = "RMSE" if not estimator._has_losses else error_name("other")
        unit = " (deviations of the columns)" if estimator._column_noise else " (units of the data)"
        score = f"held-out {measure}" + (unit if measure == "RMSE" else "")
        return cls(estimator.trials_, score, estimator.regularization == "implicit").plot(
            ax, **kwargs
        )

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw on ``ax``, or on new axes."""
        from ...plots import house_style, one_axes

        if not self.trials:
            raise InputError(
                "no entries were held out, so that there is no curve: fit with "
                "validation_fraction > 0 and several strengths or depths."
            )
        with house_style():
            axis = one_axes(ax, 8.5)
            self._lines(axis)
            self._dress(axis)
        self._drawn(axis)
        return self

    def _lines(self, axis: "Axes") -> None:
        from ...plots import line_style

        best = best_trial(self.trials)
        self.lines_, self.errorbars_ = {}, []
        for index, depth in enumerate(dict.fromkeys(trial.depth for trial in self.trials)):
            own = [trial for trial in self.trials if trial.depth == depth]
            own = sorted(own, key=lambda trial: -trial.strength)
            x, y = [t.strength for t in own], [t.validation_rmse for t in own]
            lost = int((~np.isfinite(y)).sum())
            label = depth_label(depth) + (f" ({lost} without a finite error)" if lost else "")
            style = line_style(index)
            (self.lines_[depth],) = axis.plot(x, y, label=label, **style)
            error = [t.standard_error for t in own]
            bars = {"ls": "none", "ecolor": style["color"], "elinewidth": 1, "capsize": 3}
            self.errorbars_.append(axis.errorbar(x, y, error, alpha=0.6, **bars))
        ring = {"mfc": "none", "mec": "black", "mew": 1.5, "ls": "none", "ms": 14, "marker": "o"}
        place = [best.strength], [best.validation_rmse]
        (self.chosen_,) = axis.plot(*place, label="best", **ring)  # type: ignore[arg-type]

    def _dress(self, axis: "Axes") -> None:
        tried = sorted({trial.strength for trial in self.trials})
        if tried[0] > 0:
            axis.set_xscale("log")
        if len(tried) <= _TICKS:  # more would overlap
            axis.set_xticks(tried, [f"{strength:.2g}" for strength in tried])
            axis.minorticks_off()
        axis.invert_xaxis()  # as they were tried, from strong to weak
        where = "part of the initial energy that is left (flow: left to right)"
        axis.set_xlabel(where if self.implicit else "strength (in units of the noise)")
        axis.set_ylabel(self.score_name)
        axis.legend()
