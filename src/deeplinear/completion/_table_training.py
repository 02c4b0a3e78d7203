"""How `DeepLinearImputer` learns from a table, what it holds out, and what model files keep."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ._column_scores import ColumnScore, category_cells, category_score, number_scores, unscored
from ._saving import SCORE
from ._table_io import Table, TableLike
from ._table_refinement import TableRefinement
from ._training import whole_or_not_at_all
from .data.bounds import Limits, given_bounds
from .data.columns import Mask
from .data.features import FeatureKind
from .data.id_columns import warn_of_ids
from .data.ids import Ids
from .data.indicators import Indicators
from .data.layout import check_chosen
from .data.layout_file import dump_layout, restore_layout
from .data.observations import Observations
from .data.table import ColumnScaler
from .data.weights import cell_weights
from .field.refinement import Refinement
from .file_format import Arrays, Meta, named, take_group
from .model.predictor import Model
from .posterior.labels import LabelLaw
from .schema import (
    NUMBER,
    REAL,
    TEXT,
    TRUTH,
    WHOLE,
    Field,
    Schema,
    check_agree,
    check_arrays,
    check_nothing_left,
    take,
    take_part,
)
from .solver.fit import LowRankFit, fold_in
from .solver.fit_state import held_out_size
from .solver.path import TABLE_STRENGTHS
from .solver.selection import HoldOut

# Tried for the ridge of new rows, and the conjugate-gradient steps that tell them apart.
_RIDGE_FACTORS = (1.0, 2.0**0.5, 2.0, 2.0**1.5, 4.0)
_FEW_STEPS = 40
# Draws of tables have at least this rank: a chain costs its square.
_FULL_RANK = 20


# The arrays of a table's model: n columns of the fit, of the features.
_TABLE: Schema = {
    "center": Field(REAL, ("n",)),
    "scale": Field(REAL, ("n",), above=0),
    "column_means": Field(REAL, ("n",)),
    "low": Field(REAL, ("features",), infinite=True),
    "high": Field(REAL, ("features",), infinite=True),
    "whole": Field(TRUTH, ("features",)),
    "indicated": Field(WHOLE, (None,), least=0),
}
_LABELS: Schema = {
    "labels": Field(WHOLE, ("seen",), least=0),
    "prior": Field(REAL, ("seen",), above=0),
}
_SCORES: Schema = {
    "count": Field(WHOLE, ("features",), least=0),
    "rmse": Field(NUMBER, ("features",), least=0, infinite=True, nan=True),
    "r2": Field(NUMBER, ("features",), most=1, infinite=True, nan=True),
    "accuracy": Field(NUMBER, ("features",), least=0, most=1, nan=True),
    "log_loss": Field(NUMBER, ("features",), least=0, nan=True),
}


class TableTraining(TableRefinement):
    """The fit of a table."""

    _state: ClassVar[Schema] = {**TableRefinement._state, "standardized_score_": SCORE}

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
            self.__dict__.pop("_sampler", None)
            self._table = table  # for callbacks, while the fit runs
            m, n = raw.shape
            self._order = self._order_of(X, m)
            self.refinement_, self._refined = Refinement(), None
            try:
                held_out = self._learn(raw, (Ids.positions(m), Ids.positions(n)))
                self._refine_all()
            finally:
                del self._table, self._order
                for name in ("_second_stage", "_errors"):
                    self.__dict__.pop(name, None)
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
        self._check_losses(read)
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
        self.validation_predictions_ = np.full((len(table.values), layout.width), np.nan)
        self.column_scores_ = self._keyed(unscored(layout.features))

    def _weights(self, sample_weight: ArrayLike | None, table: Table) -> np.ndarray | None:
        """One weight for each entry of the columns of the fit."""
        layout = self._layout
        weights = cell_weights(sample_weight, (len(table.values), layout.width))
        if weights is None or layout.plain:
            return weights
        return weights[:, np.array(layout.fitted)[self._indicators.owner]]

    def _check(self) -> None:
        super()._check()
        for name in ("columns", "categorical"):
            check_chosen(getattr(self, name), name)

    # What is held out, and what it shows

    def _held_out_mask(self, raw: Observations, state: np.random.RandomState) -> Mask:
        """Cells of the table: the indicators of a category are held out together."""
        if not self._indicators.groups:
            return super()._held_out_mask(raw, state)
        rows, cols, _ = raw.triples()
        owner = self._indicators.owner[cols]
        first = np.append(True, (np.diff(rows) != 0) | (np.diff(owner) != 0))
        cell = np.cumsum(first) - 1
        shape = raw.shape[0], len(self._layout.features)
        return self._held_out_of(rows[first], owner[first], shape, state)[cell]

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
        expanded = np.full(held.training.shape, np.nan)
        expanded[held.rows, held.cols] = predicted
        expanded = self._scaler.backward(expanded)
        found = self._bounds.apply(self._of_numbers(expanded))
        how = self._indicators, self._scaler
        scores = dict(enumerate(unscored(features)))
        scores |= number_scores(held, predicted, features, *how, self._bounds)
        for j, law in self._laws.items():
            guess, truth = category_cells(j, held, predicted, *how)
            tuned = self._start(j, held).calibrated(guess, truth)
            scores[j] = category_score(features[j], tuned, guess, truth)
            self._laws[j] = replace(law, slope=tuned.slope)
            rows = np.flatnonzero(~np.isnan(expanded[:, self._indicators.spans[j].start]))
            labels = self._indicators.seen(j)[tuned.probabilities(guess).argmax(axis=1)]
            found[rows, j] = self._layout.levels(j)[labels]
        self.column_scores_ = self._keyed(scores.values())
        self.validation_predictions_[:, self._layout.fitted] = found

    def _calibrating(self, held: HoldOut) -> Mask | slice:
        if not self._laws:
            return slice(None)
        return np.isin(held.cols, self._indicators.columns_of_numbers)

    def _laws_of_errors(self, cols: np.ndarray) -> dict[str, Any]:
        return {"columns": cols, "width": len(self._indicators.owner)}

    # What `CompletionEstimator` asks for

    def _standardize(self, seen: Observations) -> Observations:
        self._scaler = ColumnScaler.of(
            seen,
            center=self.center,
            scale=self.scale,
            groups=self._indicators.groups,
            robust=self._with_loss("huber"),
            counts=self._with_loss("poisson"),
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

    def _drawn_rank(self) -> int:
        # with noise of their own, columns of a full-rank model have any covariance
        m, n = self.model_.fit.shape
        return min(_FULL_RANK, m - 1, n - 1)

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
            gaps = rows.judged(held.rows, held.cols, held.values)
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
    def _about(self) -> tuple[Schema, dict[str, int]]:
        """What the header says of the table, beside its layout; and the sizes that are known."""
        layout = self._layout
        categories = sum(feature.kind is FeatureKind.category for feature in layout.features)
        schema = {
            "names": Field(TEXT, (layout.width,), optional=True),
            "slopes": Field(NUMBER, (categories,), least=0),
        }
        return schema, self.model_.sizes | {"features": len(layout.features)}

    def _dump_more(self, meta: Meta, arrays: Arrays) -> None:
        scaler, limits = self._scaler, self._bounds
        own: Arrays = {"center": scaler.center, "scale": scaler.scale, "column_means": scaler.means}
        own |= {"low": limits.low, "high": limits.high, "whole": limits.whole}
        own |= {"indicated": self._indicated}
        names = getattr(self, "feature_names_in_", None)
        schema, sizes = self._about
        about = {
            "slopes": [law.slope for law in self._laws.values()],
            "names": None if names is None else [str(name) for name in names],
        }
        scores = self.column_scores_.values()
        meta["scores"] = {name: [getattr(score, name) for score in scores] for name in _SCORES}
        check_arrays(_TABLE, own, sizes)
        check_arrays(schema, about)
        check_arrays(_SCORES, meta["scores"], sizes)
        dump_layout(self._layout, meta, arrays)
        meta |= about
        arrays |= own
        for j, law in self._laws.items():
            labels = {"labels": self._indicators.seen(j), "prior": law.prior}
            check_arrays(_LABELS, labels)
            arrays |= named(labels, f"category {j}.")
        self._dump_field(meta, arrays)
        self._check_agreement()

    def _restore_more(self, meta: Meta, arrays: Arrays) -> None:
        self._layout = restore_layout(meta, arrays)
        features = self.features_ = self._layout.features
        self.n_features_in_ = self._layout.width
        schema, sizes = self._about
        about, own = take(schema, meta), take(_TABLE, arrays, sizes)
        self._scaler = ColumnScaler(*(own[x] for x in ("center", "scale", "column_means")))
        self._bounds = Limits(*(own[x] for x in ("low", "high", "whole")))
        self._indicated, self._empty = own["indicated"], self.model_.col_counts == 0
        if about["names"] is not None:
            self.feature_names_in_ = np.array(about["names"], dtype=object)
        seen: dict[int, np.ndarray] = {}
        self._laws = {}
        places = [j for j, f in enumerate(features) if f.kind is FeatureKind.category]
        for j, slope in zip(places, about["slopes"], strict=True):
            given = take_group(arrays, f"category {j}.")
            labels = take(_LABELS, given)
            check_nothing_left(given)
            seen[j], self._laws[j] = labels["labels"], LabelLaw(labels["prior"], slope)
        self._indicators = Indicators(tuple(seen.get(j) for j in range(len(features))))
        self._check_agreement()
        self._restore_field(meta, arrays)
        columns = take_part(meta, "scores")
        scores = take(_SCORES, columns, sizes)
        check_nothing_left(columns)
        named_scores = zip(features, *scores.values(), strict=True)
        self.column_scores_ = self._keyed(
            ColumnScore(feature.name, feature.kind, *row) for feature, *row in named_scores
        )

    def _check_agreement(self) -> None:
        """`InputError` unless the parts of the model say the same about the table."""
        layout, model, limits, scaler = self._layout, self.model_, self._bounds, self._scaler
        (m, n), indicated = model.fit.shape, self._indicated
        numbers = self._indicators.numbers
        free = np.setdiff1d(np.arange(len(layout.features)), numbers)
        names = getattr(self, "feature_names_in_", None)
        own = None if names is None else [names[j] for j in layout.fitted]
        agree = {
            "ids and a table": model.row_ids.are_positions(m) and model.col_ids.are_positions(n),
            "a table and what only ratings have": not model.is_folded and model.limits is None,
            "ids and lines": model.row_ids.positional and model.col_ids.positional,
            "the columns of layout and fit": len(self._indicators.owner) == n,
            "the names of columns": own is None or own == [f.name for f in layout.features],
            "center and column_means": scaler.agrees(m),
            "low and high": (limits.low <= limits.high).all(),
            "bounds and labels": np.isinf(limits.low[free]).all()
            and np.isinf(limits.high[free]).all()
            and not limits.whole[free].any(),
            "indicated and the columns": _rises(indicated, len(layout.features)),
        }
        for j, law in self._laws.items():
            labels = self._indicators.seen(j)
            count = len(layout.features[j].categories)
            agree[f"the labels of category {j}"] = len(labels) > 0 and _rises(labels, count)
            agree[f"the prior of category {j}"] = abs(law.prior.sum() - 1) < 1e-6
        check_agree(agree)


def _rises(codes: np.ndarray, count: int) -> bool:
    """Whether codes are different ones of 0 … count − 1, in order."""
    return bool((codes[1:] > codes[:-1]).all() and (codes[-1:] < count).all())
