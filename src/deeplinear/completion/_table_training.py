"""How `DeepLinearImputer` learns from a table, what it holds out, and what model files keep."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import asdict, replace
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ._column_scores import ColumnScore, category_cells, category_score, number_scores, unscored
from ._table_io import Table, TableLike
from ._table_predictions import TablePredictions
from ._training import whole_or_not_at_all
from .data.bounds import Limits, given_bounds
from .data.columns import Mask
from .data.features import FeatureKind
from .data.id_columns import warn_of_ids
from .data.ids import Ids
from .data.indicators import Indicators
from .data.layout_file import dump_layout, named, restore_layout
from .data.observations import Observations
from .data.table import ColumnScaler
from .data.weights import cell_weights
from .file_format import Arrays, Meta
from .model.predictor import Model
from .posterior.labels import LabelLaw
from .schema import NUMBER, REAL, TRUTH, WHOLE, Field, Schema, check_arrays
from .solver.fit import LowRankFit, fold_in
from .solver.fit_state import held_out_size
from .solver.path import TABLE_STRENGTHS
from .solver.selection import HoldOut

# Tried for the ridge of new rows, and the conjugate-gradient steps that tell them apart.
_RIDGE_FACTORS = (1.0, 2.0**0.5, 2.0, 2.0**1.5, 4.0)
_FEW_STEPS = 40


# The arrays of a table's model: n columns of the fit, of the features.
_TABLE: Schema = {
    "center": Field(REAL, ("n",)),
    "scale": Field(REAL, ("n",), least=0),
    "column_means": Field(REAL, ("n",)),
    "low": Field(REAL, ("features",), finite=False),
    "high": Field(REAL, ("features",), finite=False),
    "whole": Field(TRUTH, ("features",)),
    "empty": Field(TRUTH, ("n",)),
    "indicated": Field(WHOLE, (None,), least=0),
}
_LABELS: Schema = {
    "labels": Field(WHOLE, ("seen",), least=0),
    "prior": Field(REAL, ("seen",), least=0),
    "slope": Field(NUMBER, least=0),
}


class TableTraining(TablePredictions):
    """The fit of a table."""

    def fit(self, X: TableLike, y: None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn W from the observed entries of X (n_samples × n_features).

        ``sample_weight`` ≥ 0, one per row or one per cell: the precisions 1/variance of the
        entries, up to a common factor. Entries of weight 0 are not learned from.

        **Raises** `InputError` for a table without any column or entry to fit, for columns that mix
        numbers and text or hold numbers written as text, and for parameters that do not fit X.
        """
        with whole_or_not_at_all(self):
            self._check()
            table = self._read(X, reset=True)
            if not table.observed.any():
                raise InputError(
                    "X has no observed entry: give it at least one value that is not missing."
                )
            self._prepare(table)
            raw = table.entries(self._weights(sample_weight, table))
            if not raw.nnz:
                raise InputError("sample_weight must be positive for an observed entry, got zeros.")
            raw = raw.rescaled() if raw.by_row.weights.size else raw
            self._empty = raw.by_col.counts == 0
            if self._empty.any():
                self._warn_empty("column", self._empty)
            self._table = table  # for callbacks, while the fit runs
            m, n = raw.shape
            try:
                held_out = self._learn(raw, (Ids.positions(m), Ids.positions(n)))
            finally:
                del self._table
            self._mark_held_out(*held_out)
            if not np.isfinite(self.train_score_):
                raise InputError(
                    "X has values beyond what float64 can square: rescale its columns, or leave "
                    "scale=True."
                )
        return self

    def _prepare(self, table: Table) -> None:
        """What is known of the features before the fit: bounds, frequencies of labels."""
        layout, indicators, read = self._layout, self._indicators, table.read
        numbers = slice(None) if layout.plain else indicators.numbers
        names = [layout.features[j].name for j in indicators.numbers]
        warn_of_ids(read.values[:, numbers], read.observed[:, numbers], names)
        low, high = (
            given_bounds(getattr(self, name), name, layout.width)
            for name in ("min_value", "max_value")
        )
        self._bounds = Limits.of(
            read.values,
            read.observed,
            layout.features,
            (low[list(layout.fitted)], high[list(layout.fitted)]),
            self.integers,
        )
        sums = np.sum(table.values, axis=0)
        counts = table.seen.sum(axis=0)
        self._laws = {
            j: LabelLaw.start(indicators.label_counts(j, sums, counts))
            for j in indicators.categories
        }
        self.features_ = layout.features
        self.standardized_score_ = np.nan
        self.column_scores_ = self._keyed(unscored(layout.features))

    def _weights(self, sample_weight: ArrayLike | None, table: Table) -> np.ndarray | None:
        """One weight for each entry of the columns of the fit."""
        layout = self._layout
        weights = cell_weights(sample_weight, (len(table.values), layout.width))
        if weights is None or layout.plain:
            return weights
        return weights[:, np.array(layout.fitted)[self._indicators.owner]]

    # What is held out, and what it shows

    def _held_out_mask(self, raw: Observations, state: np.random.RandomState) -> Mask:
        """Cells of the table: the indicators of a category are held out together."""
        if not self._indicators.groups:
            return super()._held_out_mask(raw, state)
        rows, cols, _ = raw.triples()
        owner = self._indicators.owner[cols]
        first = np.append(True, (np.diff(rows) != 0) | (np.diff(owner) != 0))
        cell = np.cumsum(first) - 1
        return self._held_out_of(int(cell[-1]) + 1, state)[cell]

    def _mark_held_out(self, rows: np.ndarray, cols: np.ndarray) -> None:
        layout = self._layout
        self.validation_mask_ = np.zeros((self.model_.fit.shape[0], layout.width), bool)
        if not layout.plain:
            cols = np.array(layout.fitted)[self._indicators.owner[cols]]
        self.validation_mask_[rows, cols] = True

    def _record(self, held: HoldOut, gaps: np.ndarray) -> None:
        super()._record(held, gaps)
        self.standardized_score_ = held_out_size(gaps, held.cols, self._column_noise)
        features, predicted = self._layout.features, held.values - gaps
        how = self._indicators, self._scaler
        scores = dict(enumerate(unscored(features)))
        scores |= number_scores(held, predicted, features, *how, self._bounds)
        counts = held.training.by_col.counts
        for j, law in self._laws.items():
            guess, truth = category_cells(j, held, predicted, *how)
            sums = self._scaler.means * counts
            start = LabelLaw.start(self._indicators.label_counts(j, sums, counts))
            tuned = start.calibrated(guess, truth)
            scores[j] = category_score(features[j], tuned, guess, truth)
            self._laws[j] = replace(law, slope=tuned.slope)
        self.column_scores_ = self._keyed(scores.values())

    def _calibrating(self, held: HoldOut) -> Mask | slice:
        if not self._laws:
            return slice(None)
        return np.isin(held.cols, self._indicators.columns_of_numbers)

    # What `CompletionEstimator` asks for

    def _standardize(self, seen: Observations) -> Observations:
        self._scaler = ColumnScaler.of(
            seen, center=self.center, scale=self.scale, groups=self._indicators.groups
        )
        return self._scaler.forward(seen)

    def _forward(self, values: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return (values - self._scaler.center[cols]) / self._scaler.scale[cols]

    def _units(self, cols: np.ndarray | slice) -> np.ndarray:
        return self._scaler.scale[cols]

    def _strength_path(self) -> Sequence[float]:
        return TABLE_STRENGTHS

    def _bias_options(self) -> dict[str, None]:
        return {} if self.center else {"bias_ridge": None}

    def _limits(self, seen: Observations) -> None:
        return None

    def _rank_cap(self, seen: Observations) -> int:
        return min(seen.shape)

    def _completion(self, fit: LowRankFit) -> Callable[[], np.ndarray]:
        # of this state: the estimator may have gone on, or back after an interrupt
        return partial(copy(self)._completed_by, fit, self._table)

    def _completed_by(self, fit: LowRankFit, table: Table) -> np.ndarray:
        """The fitted columns as numbers and levels, completed."""
        expanded = self._with_marginals(self._scaler.backward(fit.matrix()), table)
        return self._merge(self._values(expanded, table), table)

    def _row_ridge_factor(self, held: HoldOut, fit: LowRankFit) -> float:
        """The factor with the smallest held-out error of rows that are solved given the columns.

        Rows that were stopped early had not come to their minimum; solved to it with the ridge of
        the fit they may follow their entries too closely.
        """
        errors = []
        for factor in _RIDGE_FACTORS:
            ridge = factor * fit.ridge
            rows = fold_in(
                replace(fit, ridge=ridge),
                held.training,
                steps=_FEW_STEPS,
                threads=self.threads,
                device=self.device,
            )
            gaps = rows.predict(held.rows, held.cols) - held.values
            errors.append(held_out_size(gaps, held.cols, self._column_noise))
            if errors[-1] > min(errors):
                break
        return _RIDGE_FACTORS[int(np.argmin(errors))]

    def _as_predicted(self, model: Model) -> Model:
        assert model.seen is not None
        where = {"threads": self.threads, "device": self.device}
        return model.folded(model.seen, model.row_ids, **where)

    def _describe(self) -> None:
        super()._describe()
        self.components_ = self.model_.fit.V.T

    @property
    def _sizes(self) -> dict[str, int]:
        return self.model_.sizes | {"features": len(self._layout.features)}

    def _dump_more(self, meta: Meta, arrays: Arrays) -> None:
        scaler, limits = self._scaler, self._bounds
        own: Arrays = {"center": scaler.center, "scale": scaler.scale, "column_means": scaler.means}
        own |= {"low": limits.low, "high": limits.high, "whole": limits.whole}
        own |= {"empty": self._empty, "indicated": self._indicated}
        check_arrays(_TABLE, own, self._sizes)
        arrays |= own
        dump_layout(self._layout, meta, arrays)
        for j, law in self._laws.items():
            arrays |= {f"labels.{j}": self._indicators.seen(j), f"prior.{j}": law.prior}
        meta["slopes"] = {str(j): law.slope for j, law in self._laws.items()}
        meta["scores"] = [asdict(score) for score in self.column_scores_.values()]
        if hasattr(self, "feature_names_in_"):
            meta["names"] = [str(name) for name in self.feature_names_in_]

    def _restore_more(self, meta: Meta, arrays: Arrays) -> None:
        self._layout = restore_layout(meta, arrays)
        self.n_features_in_, self.features_ = self._layout.width, self._layout.features
        check_arrays(_TABLE, arrays, self._sizes)
        self._scaler = ColumnScaler(*(arrays[x] for x in ("center", "scale", "column_means")))
        self._bounds = Limits(*(arrays[x] for x in ("low", "high", "whole")))
        self._empty, self._indicated = arrays["empty"], arrays["indicated"]
        if "names" in meta:
            names = named(meta["names"], self.n_features_in_)
            self.feature_names_in_ = np.array(names, dtype=object)
        seen = {int(j): arrays[f"labels.{j}"] for j in meta["slopes"]}
        self._laws = {}
        for j, labels in seen.items():
            law = LabelLaw(arrays[f"prior.{j}"], meta["slopes"][str(j)])
            check_arrays(_LABELS, {"labels": labels} | vars(law))
            if labels.max() >= len(self.features_[j].categories):
                raise ValueError(f"labels.{j} are not those of '{self.features_[j].name}'")
            self._laws[j] = law
        self._indicators = Indicators(tuple(seen.get(j) for j in range(len(self.features_))))
        kinds = [f.kind is FeatureKind.category for f in self.features_]
        if np.flatnonzero(kinds).tolist() != self._indicators.categories:
            raise ValueError("the labels are of other columns than those of categories")
        if len(self._indicators.owner) != self.model_.fit.shape[1]:
            raise ValueError("the features have other columns than the fit")
        if self._indicated.max(initial=0) >= len(self.features_):
            raise ValueError("a column is indicated that is not there")
        scores = [ColumnScore(**s | {"kind": FeatureKind(s["kind"])}) for s in meta["scores"]]
        self.column_scores_ = self._keyed(scores)
