"""How good predictions and their intervals are, on entries that made none of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ...errors import InputError
from ...labels import printable
from ...reals import as_floats, as_reals
from ...scores import root_mean_square
from ..data.entries import read_entries
from ..data.features import FeatureKind
from ..posterior.conformal import Calibration
from ..posterior.coverage import ENOUGH, LEVELS, Reached, cross_fitted
from .base import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CalibrationDisplay(Display):
    """How often intervals cover, against what was asked for, on entries that made none of them.

    **Arguments**: ``reached``, from `cross_fitted`; ``normal``: at the same levels the coverage of
    intervals of the normal law, from the deviations before any calibration. The band is one
    deviation over the random halves, or, where columns have laws of their own, where nine in ten of
    them lie. **Attributes** after ``plot``: ``line_`` (calibrated), ``normal_line_``, ``band_``,
    ``diagonal_``, ``ax_``, ``figure_``.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=500)
    >>> display = CalibrationDisplay.from_predictions(truth, np.zeros(500), np.ones(500))
    >>> bool(abs(display.reached.mean - display.reached.levels).max() < 0.05)
    True
    """

    line_: Any
    normal_line_: Any
    band_: Any
    diagonal_: Any

    def __init__(self, reached: Reached, normal: ArrayLike) -> None:
        self.reached, self.normal = reached, np.asarray(normal, float)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Axes | None" = None, **kwargs: Any) -> Self:
        """Of a fitted estimator and its held-out entries. **Raises** `InputError` where fewer than
        40 were held out.
        """
        check_is_fitted(estimator)
        return cls._of(estimator.model_.calibration).plot(ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        deviations: ArrayLike,
        *,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Of test entries, their predictions and the deviations of these (``return_std=True``)."""
        gaps, sizes = np.subtract(y_true, y_pred), np.asarray(deviations, float)
        if gaps.ndim != 1 or sizes.shape != gaps.shape or not (sizes > 0).all():
            raise InputError(
                "y_true, y_pred and deviations must be vectors of one length, deviations > 0, got "
                f"shapes {np.shape(y_true)}, {np.shape(y_pred)} and {sizes.shape}."
            )
        return cls._of(Calibration.of(gaps, sizes)).plot(ax, **kwargs)

    @classmethod
    def _of(cls, calibration: Calibration) -> Self:
        from scipy.stats import norm

        scores = calibration.scores
        if len(scores) < ENOUGH:
            raise InputError(
                f"calibration needs at least {ENOUGH} held-out entries to be looked at, got "
                f"{len(scores)}: hold out more."
            )
        normal = [(scores <= norm.ppf((1 + level) / 2)).mean() for level in LEVELS]
        return cls(cross_fitted(calibration), normal)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw on ``ax``, or on new axes."""
        from ...plots import COLOURS, house_style, line_style, one_axes

        reached, levels = self.reached, self.reached.levels
        judged = int((~np.isnan(reached.columns).all(axis=(0, 1))).sum())
        with house_style():
            axis = one_axes(ax, 6.4, 5.4)
            dashes: dict[str, Any] = {"color": "#555555", "lw": 1.4, "ls": "--"}
            (self.diagonal_,) = axis.plot([0, 1], [0, 1], label="as often as they say", **dashes)
            if judged > 1:
                low, high = np.nanquantile(reached.columns, [0.05, 0.95], axis=(0, 2))
                band, label = f"nine in ten of {judged} columns", "calibrated, all cells"
            else:
                low, high = reached.mean - reached.spread, reached.mean + reached.spread
                band, label = "", "calibrated (± one deviation of a split)"
            look: dict[str, Any] = {
                "color": COLOURS[0],
                "alpha": 0.2,
                "lw": 0,
                "label": band or None,
            }
            self.band_ = axis.fill_between(levels, low, high, **look)
            (self.line_,) = axis.plot(levels, reached.mean, label=label, **line_style(0))
            (self.normal_line_,) = axis.plot(
                levels, self.normal, label="normal law", **line_style(1)
            )
            axis.set_xlabel("coverage that was asked for")
            axis.set_ylabel("part of the held-out entries covered")
            axis.set_xlim(0, 1)
            axis.set_ylim(0, 1)
            axis.set_aspect("equal")
            axis.legend(loc="upper left", fontsize="small")
        self._drawn(axis)
        return self


class ErrorsDisplay(Display):
    """Errors by column, the worst first: of numbers RMSE over their deviation from the mean of the
    column, √(1 − R²), which is 1 for a prediction that is no better than the mean; of categories
    the part of the labels that is wrong.

    **Arguments**: ``names``, ``errors``, and the ``counts`` of entries that they come from, (n,)
    each; ``categories`` (n,) booleans. **Attributes** after ``plot``: ``bars_`` (the containers, of
    numbers and of categories), ``ax_``, ``figure_``.

    >>> truth, found = [1.0, 3.0, 5.0, 1.0, 2.0], [1.0, 3.0, 3.0, 1.5, 1.5]
    >>> display = ErrorsDisplay.from_predictions(["a", "a", "a", "b", "b"], truth, found)
    >>> dict(zip(display.names, display.errors.round(3).tolist()))
    {'b': 1.0, 'a': 0.707}
    """

    bars_: list[Any]

    def __init__(
        self,
        names: Sequence[str],
        errors: ArrayLike,
        counts: ArrayLike,
        categories: ArrayLike | None = None,
    ) -> None:
        errors = as_floats(errors, "errors")
        counts = as_reals(counts, "counts")
        given = np.zeros(len(names), bool) if categories is None else np.asarray(categories, bool)
        if not errors.shape == counts.shape == given.shape == (len(names),):
            raise InputError(
                f"errors, counts and categories must hold one for each of the {len(names)} names, "
                f"got shapes {errors.shape}, {counts.shape} and {given.shape}."
            )
        order = np.argsort(-np.nan_to_num(errors, nan=-np.inf), kind="stable")
        self.names = [str(names[i]) for i in order]
        self.errors, self.counts = errors[order], counts[order]
        self.categories = given[order]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Of a fitted `DeepLinearImputer`, on the cells that it held out; of a
        `DeepMatrixCompletion` on test entries (X, y), in any of the forms of its ``fit``, which
        keeps no held-out values. ``kwargs``: of `plot`.
        """
        check_is_fitted(estimator)
        if hasattr(estimator, "column_scores_"):
            if X is not None:
                raise InputError("X must be left out for an imputer, which held cells out itself.")
            scored = [score for score in estimator.column_scores_.values() if score.count]
            labels = [score.kind is FeatureKind.category for score in scored]
            errors = [
                1 - s.accuracy if label else np.sqrt(max(0.0, 1 - s.r2)) if s.r2 == s.r2 else np.nan
                for s, label in zip(scored, labels, strict=True)
            ]
            found = cls([s.name for s in scored], errors, [s.count for s in scored], labels)
            return found.plot(ax, **kwargs)
        if X is None:
            raise InputError(
                "X must hold test entries, such as (rows, cols, values): a DeepMatrixCompletion "
                "keeps no held-out values."
            )
        entries = read_entries(X, y, estimator.columns)
        rows, cols = entries.row_ids.labels[entries.rows], entries.col_ids.labels[entries.cols]
        return cls.from_predictions(
            cols, entries.values, estimator.predict(rows, cols), ax=ax, **kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        columns: ArrayLike,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Of numbers, their predictions, and the column of each; the mean is that of ``y_true``.

        NaN, which is not drawn, where a column does not vary.
        """
        names, which = np.unique(np.asarray(columns), return_inverse=True)
        truth, gaps = np.asarray(y_true, float), np.subtract(y_pred, y_true)
        if not truth.shape == gaps.shape == which.shape:
            raise InputError(
                f"columns, y_true and y_pred must be vectors of one length, got {which.shape}, "
                f"{truth.shape} and {np.shape(y_pred)}."
            )
        errors = np.full(len(names), np.nan)
        for j in range(len(names)):
            own = which == j
            spread = root_mean_square(truth[own] - truth[own].mean())
            if spread > 0:
                errors[j] = root_mean_square(gaps[own]) / spread
        found = cls([str(name) for name in names], errors, np.bincount(which))
        return found.plot(ax, **kwargs)

    def plot(self, ax: "Axes | None" = None, *, max_columns: int = 30) -> Self:
        """Draw the worst ``max_columns`` on ``ax``, or on new axes."""
        from ...plots import COLOURS, house_style, one_axes

        drawn = np.flatnonzero(np.isfinite(self.errors))[:max_columns]
        if not len(drawn):
            raise InputError("no column has held-out entries that vary: hold out more.")
        place = np.arange(len(drawn))[::-1]
        kinds = self.categories[drawn]
        with house_style():
            axis = one_axes(ax, 7.0, 1.6 + 0.27 * len(drawn))
            self.bars_ = []
            words = "numbers: RMSE / deviation from the mean", "categories: part that is wrong"
            for kind, (colour, label) in enumerate(zip(COLOURS, words, strict=False)):
                own = kinds == bool(kind)
                if own.any():
                    bars: dict[str, Any] = {"color": colour, "height": 0.7, "label": label}
                    self.bars_.append(axis.barh(place[own], self.errors[drawn][own], **bars))
            labels = [f"{printable(self.names[i])} ({self.counts[i]:,})" for i in drawn]
            axis.set_yticks(place, labels, fontsize="small")
            axis.axvline(1.0, color="#555555", ls="--", lw=1)
            axis.set_xlim(left=0)
            axis.grid(axis="y", visible=False)
            axis.set_xlabel("error of the held-out cells (1: no better than the mean)")
            axis.set_ylabel("column (held-out cells)")
            left, blank = len(self.errors) - len(drawn), int(np.isnan(self.errors).sum())
            more = [f"the worst {len(drawn)} of {len(self.errors)} columns"] * bool(left - blank)
            more += [f"{blank} without spread left out"] * bool(blank)
            axis.margins(y=0.02)
            axis.legend(
                title="; ".join(more) or None,
                loc="lower left",
                bbox_to_anchor=(0, 1),
                borderaxespad=0.2,
                alignment="left",
                fontsize="small",
            )
        self._drawn(axis)
        return self
