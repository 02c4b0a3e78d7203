"""What `DeepLinearImputer` answers about tables once it is fitted."""

import warnings
from collections.abc import Hashable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..errors import EmptyLineWarning
from ._table_io import Entries, Table, TableLike, TableReader
from .backends.open import workers
from .data.bounds import Limits
from .data.columns import Mask, is_frame, is_pandas
from .data.features import CodedTable
from .data.ids import Ids
from .data.observations import Observations
from .data.table import ColumnScaler
from .field.gaussian_field import Cells
from .field.refined_rows import RefinedRows
from .model.predictor import Model
from .penalty import Array
from .posterior.draws import RandomState, draw_table
from .posterior.labels import LabelLaw


class TablePredictions(TransformerMixin, TableReader):
    """Completed tables, probabilities, deviations, intervals and draws."""

    _scaler: ColumnScaler
    _empty: Mask
    _bounds: Limits
    _laws: dict[int, LabelLaw]  # of the features that are categories
    _refined: RefinedRows | None  # what refines the network, if anything does
    _sampler: np.random.RandomState  # of the draws of ``sample_posterior``

    def transform(self, X: TableLike) -> Any:
        """X with its missing entries filled in; X may be new rows with the same columns.

        With their mean, or with ``sample_posterior`` with a new draw at each call.
        An array of floats; of objects, where entries are no numbers; or what `set_output` asks for.
        A `CodedTable` gives its array of numbers and codes.
        """
        check_is_fitted(self)
        return self._completed(X, _get_output_config("transform", self)["dense"])

    def completed_like(self, X: TableLike) -> Any:
        """X completed as by `transform`, as an object of its own type with its own types of
        columns.
        """
        check_is_fitted(self)
        library = ("pandas" if is_pandas(X) else "polars") if is_frame(X) else "default"
        filled = self._completed(X, library)
        if isinstance(X, CodedTable):
            return CodedTable(filled, tuple(X.features[j] for j in self._layout.kept))
        whole = isinstance(X, np.ndarray) and X.dtype.kind in "iu" and self.integers != "keep"
        return filled.astype(X.dtype) if whole else filled  # type: ignore[union-attr]

    def _has_categories(self) -> bool:
        return bool(self._laws)

    @available_if(_has_categories)
    def predict_proba(self, X: TableLike) -> dict[Hashable, np.ndarray]:
        """The probabilities of the labels of each category, for every row: (rows, labels).

        By the name of the column, or its position if X has no names; the labels in the order of
        ``Feature.categories`` in ``features_``. Observed cells have a 1 at their label. Calibrated
        on the held-out cells. Only there after a fit to a table with categories.
        """
        check_is_fitted(self)
        table = self._read(X, reset=False)
        laws = self._probabilities(self._expanded(table), table)
        keys = list(self._keyed(self._layout.features))
        return {keys[j]: p for j, p in laws.items()}

    def predict_std(self, X: TableLike) -> np.ndarray:
        """The standard deviation of every cell of X as a new entry; 0 where it is observed.

        From the noise and the uncertainty of the factors, times a number per column that makes
        its mean square that of the held-out errors (few held-out cells: more like that of all
        columns). Where errors have heavy tails it is larger than their usual size: for what holds
        with a given probability see `interval`. In the units of X; NaN for categories and for what
        is carried through. Needs the training entries.
        """
        check_is_fitted(self)
        table = self._read(X, reset=False)
        found = self._deviation(table, self._folded(table)) * self.model_.calibration.sizes
        deviation = self._of_numbers(found)
        deviation[table.observed] = 0.0
        base = table.read.base
        carried = None if base is None else np.full(base.shape, np.nan)
        return self._widened(deviation, replace(table.read, base=carried))

    def interval(self, X: TableLike, *, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(low, high), tables of the shape of X that hold a part ``coverage`` of new entries.

        x̂ ∓ q · deviation, with q for each column from its held-out cells (split-conformal), and
        where they are few also from those of the other columns (see
        `deeplinear.completion.posterior.conformal`). Cut to the bounds of the column, and in
        columns of whole numbers out to whole numbers; observed entries are both ends. Without
        held-out entries q is that of a normal law; where the fit leaves no residual to measure the
        noise by, the interval is NaN, with a warning. NaN for missing categories (see
        `predict_proba`), and for entries that are carried through and no numbers.
        """
        check_is_fitted(self)
        table = self._read(X, reset=False)
        model = self._folded(table)
        middle = self._prediction(table, model)
        reach = self.model_.reach(self._deviation(table, model), coverage)
        low, high = (self._of_numbers(end) for end in (middle - reach, middle + reach))
        low, high = self._bounds.outward(low, high)
        low, high = (self._merge(end, table) for end in (low, high))
        return self._widened(low, table.read), self._widened(high, table.read)

    def draws(
        self, n: int, X: TableLike | None = None, *, random_state: RandomState = None
    ) -> np.ndarray:
        """``n`` completed tables drawn from the posterior, noise included (n, samples, features).

        Observed entries stay as they are (bit for bit where X is given): this is multiple
        imputation. X: default the table of the fit; other entries than its own count with weight 1.
        One chain that starts at the fit, ten sweeps apart: successive draws are nearly
        independent. Each column has its residual variance, and in a table of at most 21 columns
        the draws have full rank, so that they can have any covariance. Drawn numbers are cut to the
        bounds of their column, and rounded where it holds whole numbers; labels are drawn by their
        probabilities, and given by their codes (labels that are numbers: as they are). Combine what
        they give with `deeplinear.pool`. Needs the training entries.
        """
        check_is_fitted(self)
        if X is None:
            table, seen = self._table_of_fit(), self._entries("draws")
        else:
            table = self._read(X, reset=False)
            seen = self._scaler.forward(table.entries())
        drawn = self._drawn(n, table, seen, random_state)
        tables = [self._widened(self._merge(values, table), table.read) for values in drawn]
        return np.stack(tables)

    def within_bounds(self, values: np.ndarray) -> np.ndarray:
        """``values`` (rows, columns of X) as they may be imputed, whatever they come from: numbers
        cut to the bounds of their column, and rounded where it holds whole numbers.
        """
        check_is_fitted(self)
        out, fitted = np.array(values, dtype=float), list(self._layout.fitted)
        out[:, fitted] = self._bounds.apply(out[:, fitted])
        return out

    # The model's answers

    def _completed(self, X: TableLike, library: str) -> Any:
        table = self._read(X, reset=False)
        filled = self._merge(self._imputed(table), table)
        return self._handed_back(X, table, filled, library)

    def _imputed(self, table: Table) -> Array:
        """The columns of the fit as features: the mean, or with ``sample_posterior`` a new draw."""
        if not self.sample_posterior:
            return self._values(self._expanded(table), table)
        if not hasattr(self, "_sampler"):  # goes on from call to call
            self._sampler = check_random_state(self.random_state)
        seen = self._scaler.forward(table.entries())
        return next(self._drawn(1, table, seen, self._sampler))

    def _drawn(
        self, n: int, table: Table, seen: Observations, random_state: RandomState
    ) -> Iterator[Array]:
        """``n`` draws of the columns of the fit as features, for the rows of ``table``."""
        laws = self._probabilities(self._expanded(table), table) if self._laws else {}
        for matrix, rng in self._matrices(n, table, seen, random_state):
            values = self._bounds.apply(self._of_numbers(self._scaler.backward(matrix)))
            for j, p in laws.items():
                code = (p.cumsum(axis=1) <= rng.random((len(p), 1))).sum(axis=1)
                code = np.minimum(code, p.shape[1] - 1)  # the sum may round to less than 1
                values[:, j] = self._layout.levels(j)[code]
            yield values

    def _matrices(
        self, n: int, table: Table, seen: Observations, random_state: RandomState
    ) -> Iterator[tuple[Array, np.random.Generator]]:
        """``n`` draws in the scaled units: from the chain of the network, or from the field.

        A field without a graph or lines knows what the network knows, and less about its own
        parameters.
        """
        refined = self._refined
        if refined is None or (refined.settings.graph == "none" and refined.lines is None):
            for sample, rng in self._chain(n, random_state):
                yield draw_table(sample, seen, rng, self.threads), rng
            return
        rng = np.random.default_rng(self._draw_seed(n, random_state))
        network = whole(self._folded(table))
        with workers(self.threads) as pool:
            own, cells = Cells.of(self._entries("draws"), pool), self._cells(table)
            cells, in_order = replace(cells, pool=pool), self.row_order is True
            endless = refined.draws(own, network, cells, rng, in_order=in_order)
            for matrix in islice(endless, n):
                yield matrix, rng

    def _expanded(self, table: Table) -> Array:
        """What the model says about the columns of the fit, in the units of the table."""
        return self._prediction(table, self._folded(table))

    def _prediction(self, table: Table, model: Model) -> Array:
        """That of the ``model`` of these rows, refined."""
        matrix = whole(model)
        if self._refined is not None:
            with workers(self.threads) as pool:
                cells = replace(self._cells(table), pool=pool)
                cells = cells.cleaned(model.fit.losses, matrix)
                matrix = self._refined.refine(matrix, cells, in_order=self.row_order is True)
            if model.fit.losses is not None:
                matrix = model.fit.losses.within(matrix)
        return self._with_marginals(self._scaler.backward(matrix), table)

    def _cells(self, table: Table) -> Cells:
        """Those of ``table`` in the scaled units."""
        if table.is_fitted:
            return Cells.of(self._entries("draws"))
        scaled = (table.values - self._scaler.center) / self._scaler.scale
        return Cells(np.where(table.seen, scaled, 0.0), table.seen.astype(float))

    def _values(self, expanded: Array, table: Table) -> Array:
        """The columns of the fit as features: bounded, rounded and decided."""
        if not self._laws:
            return self._bounds.apply(expanded)
        values = self._bounds.apply(self._of_numbers(expanded))
        for j, p in self._probabilities(expanded, table).items():
            values[:, j] = self._layout.levels(j)[p.argmax(axis=1)]
        return values

    def _of_numbers(self, expanded: Array) -> Array:
        """The features of ``expanded`` that are numbers; NaN for the others."""
        if not self._laws:
            return expanded
        out = np.full((len(expanded), len(self._layout.features)), np.nan)
        out[:, self._indicators.numbers] = expanded[:, self._indicators.columns_of_numbers]
        return out

    def _probabilities(self, expanded: Array, table: Table) -> dict[int, np.ndarray]:
        """Of the labels of each category (rows, labels), by feature."""
        found = {}
        codes = self._layout.codes(np.where(table.observed, table.read.values, np.nan))
        for j, law in self._laws.items():
            labels = self._indicators.seen(j)
            guess = self._indicators.per_label(j, expanded[:, self._indicators.spans[j]])
            p = np.zeros((len(expanded), len(self._layout.features[j].categories)))
            p[:, labels] = law.probabilities(guess)
            known = table.observed[:, j]
            p[known] = 0.0
            p[known, codes[known, j].astype(int)] = 1.0
            found[j] = p
        return found

    def _table_of_fit(self) -> Table:
        """The table of the fit, from the entries that the model keeps."""
        seen = self._entries("draws")
        expanded = np.full(seen.shape, np.nan)
        rows, cols, x = seen.triples()
        expanded[rows, cols] = self._scaler.backward(x, cols)
        starts = [span.start for span in self._indicators.spans]
        observed = ~np.isnan(expanded)[:, starts] if self._laws else ~np.isnan(expanded)
        values = self._indicators.collect(np.nan_to_num(expanded))
        for j in self._laws:
            values[:, j] = self._layout.levels(j)[values[:, j].astype(int)]
        width = self._layout.width
        carried = (
            None if len(self._layout.fitted) == width else np.full((len(values), width), np.nan)
        )
        read = Entries(values, observed, values, carried)
        return Table(read, self._layout, self._indicators, is_fitted=True)

    def _folded(self, table: Table) -> Model:
        """The model for the rows of ``table``, each solved given the columns."""
        empty = ~table.observed.any(axis=1)
        if empty.any() and not (self._refined and self._refined.follows_order):
            self._warn_empty("row", empty)
        seen = self._scaler.forward(table.entries())
        ids = Ids.positions(len(table.values))
        return self.model_.folded(seen, ids, threads=self.threads, device=self.device)

    def _deviation(self, table: Table, model: Model) -> np.ndarray:
        """Those of new entries where the columns of the fit have none, 0 elsewhere, in the units
        of the table.
        """
        missing = ~table.seen
        rows, cols = np.nonzero(missing)
        known = np.where(model.row_counts > 0, np.arange(len(table.values)), -1)[rows]
        lines = np.where(self.model_.col_counts > 0, np.arange(missing.shape[1]), -1)[cols]
        out = np.zeros(missing.shape)
        out[missing] = model.deviation(known, lines, self.threads) * self._units(cols)
        return out

    def _with_marginals(self, expanded: Array, table: Table) -> Array:
        """``expanded``, with marginals for lines without entries where the model has none."""
        if not self.center:
            # without biases W knows nothing about lines that it never saw
            means = self._scaler.means
            count = table.seen.sum(axis=1)
            rows = table.values.sum(axis=1, where=table.seen) / np.maximum(count, 1)
            expanded[:, self._empty] = np.where(count > 0, rows, means.mean())[:, None]
            expanded[count == 0] = means
        return expanded

    def _merge(self, values: Array, table: Table) -> np.ndarray:
        """``values`` in the precision of X as it was given, with the observed entries as given."""
        given = table.given
        return np.where(table.observed, given, values.astype(given.dtype))

    def _warn_empty(self, line: str, empty: Any) -> None:
        warnings.warn(
            f"{empty.sum()} {line}(s) of X without any observed entry (the first is number "
            f"{np.argmax(empty)}, counted "
            "from 0) are filled from the marginals.",
            EmptyLineWarning,
            stacklevel=3,
        )


def whole(model: Model) -> Array:
    """All rows of the model, in the units of the scaled columns."""
    return model.block(np.where(model.row_counts > 0, np.arange(len(model.row_counts)), -1))
