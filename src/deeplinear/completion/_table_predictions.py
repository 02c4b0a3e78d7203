"""What `DeepLinearImputer` answers about tables once it is fitted."""

import math
import warnings
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted, validate_data

from ..errors import EmptyLineWarning, InputError
from ._training import CompletionEstimator
from .data.ids import Ids
from .data.observations import Observations
from .data.table import ColumnScaler, check_columns, check_finite
from .data.weights import checked
from .model.predictor import Model
from .penalty import Array
from .posterior.draws import RandomState, draw_table

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Table:
    """A table: float64 values (0 where missing), the mask of what is observed, and as given."""

    def __init__(self, values: Array, observed: Mask, given: np.ndarray) -> None:
        self.values, self.observed, self.given = values, observed, given

    def entries(self, weights: np.ndarray | None = None) -> Observations:
        rows, cols = np.nonzero(self.observed)
        values, shape = self.values[rows, cols], self.values.shape
        w = None if weights is None else checked(weights[rows, cols], rows, cols)
        return Observations.from_triples(rows, cols, values, shape, weights=w)


class TablePredictions(CompletionEstimator):
    """Completed tables, deviations, intervals and draws."""

    _scaler: ColumnScaler
    _empty: Mask

    def transform(self, X: ArrayLike) -> np.ndarray:
        """X with its missing entries filled in; X may be new rows with the same columns."""
        check_is_fitted(self)
        table = self._read(X, reset=False)
        model = self._folded(table)
        return self._merge(self._scaler.backward(_whole(model)), table)

    def predict_std(self, X: ArrayLike) -> np.ndarray:
        """The standard deviation of every cell of X as a new entry; 0 where it is observed.

        From the noise and the uncertainty of the factors (not calibrated: see `interval`), in the
        units of X. Needs the training entries.
        """
        check_is_fitted(self)
        table = self._read(X, reset=False)
        return self._deviation(table, self._folded(table))

    def interval(self, X: ArrayLike, *, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(low, high), tables of the shape of X that hold a part ``coverage`` of new entries.

        x̂ ∓ q · deviation with q from the held-out entries (split-conformal); observed entries are
        both ends. Without held-out entries q is that of a normal law; where the fit leaves no
        residual to measure the noise by, the interval is NaN, with a warning.
        """
        check_is_fitted(self)
        table = self._read(X, reset=False)
        model = self._folded(table)
        filled = self._merge(self._scaler.backward(_whole(model)), table)
        reach = self._reach(self._deviation(table, model), coverage)
        reach[table.observed] = 0.0
        return filled - reach, filled + reach

    def draws(
        self, n: int, X: ArrayLike | None = None, *, random_state: RandomState = None
    ) -> np.ndarray:
        """``n`` completed tables drawn from the posterior, noise included (n, samples, features).

        Observed entries stay as they are (bit for bit where X is given): this is multiple
        imputation. X: default the table of the fit; other entries than its own count with weight 1.
        A chain of ``burn_in`` + n sweeps that starts at the fit; successive draws are a little
        correlated. Needs the training entries.
        """
        check_is_fitted(self)
        seen = self._entries("draws")
        if X is None:
            values = np.full(seen.shape, np.nan)
            rows, cols, x = seen.triples()
            values[rows, cols] = self._scaler.backward(x, cols)
            table = Table(np.nan_to_num(values), ~np.isnan(values), values)
        else:
            table = self._read(X, reset=False)
            seen = self._scaler.forward(table.entries())
        tables = []
        for sample, rng in self._chain(n, random_state):
            drawn = self._scaler.backward(draw_table(sample, seen, rng, self.threads))
            tables.append(np.where(table.observed, table.given, drawn.astype(table.given.dtype)))
        return np.stack(tables)

    # Tables in and out

    def _read(self, X: ArrayLike, *, reset: bool) -> Table:
        nan = isinstance(self.missing_values, Real) and math.isnan(self.missing_values)
        check_columns(X)
        try:
            given = validate_data(
                self,
                X,
                reset=reset,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,
                copy=False,
            )
        except ValueError as error:
            raise InputError(str(error)) from None
        marker = given.dtype.type(self.missing_values)
        observed = ~np.isnan(given) if nan else given != marker
        values = np.where(observed, given, 0.0).astype(np.float64)
        check_finite(values)
        if np.isnan(values).any():
            raise InputError(
                f"X contains NaN, which missing_values={self.missing_values} does not mark as "
                "missing."
            )
        return Table(values, observed, given)

    def _folded(self, table: Table) -> Model:
        """The model for the rows of ``table``, each solved given the columns."""
        empty = ~table.observed.any(axis=1)
        if empty.any():
            self._warn_empty("row", empty)
        seen = self._scaler.forward(table.entries())
        ids = Ids.positions(len(table.values))
        return self.model_.folded(seen, ids, threads=self.threads, device=self.device)

    def _deviation(self, table: Table, model: Model) -> np.ndarray:
        """Those of new entries where the table has none, 0 elsewhere, in its units."""
        missing = ~table.observed
        rows, cols = np.nonzero(missing)
        known = np.where(model.row_counts > 0, np.arange(len(table.values)), -1)[rows]
        lines = np.where(self.model_.col_counts > 0, np.arange(missing.shape[1]), -1)[cols]
        out = np.zeros(missing.shape)
        out[missing] = model.deviation(known, lines, self.threads) * self._units(cols)
        return out

    def _merge(self, filled: Array, table: Table, scaler: ColumnScaler | None = None) -> np.ndarray:
        """``filled`` in the precision of X as it was given, with the observed entries as given."""
        if not self.center:
            # without biases W knows nothing about lines that it never saw
            means = (scaler or self._scaler).means
            count = table.observed.sum(axis=1)
            rows = table.values.sum(axis=1, where=table.observed) / np.maximum(count, 1)
            filled[:, self._empty] = np.where(count > 0, rows, means.mean())[:, None]
            filled[count == 0] = means
        given = table.given
        return np.where(table.observed, given, filled.astype(given.dtype))

    def _warn_empty(self, line: str, empty: Any) -> None:
        warnings.warn(
            f"{empty.sum()} {line}(s) of X without any observed entry (the first is number "
            f"{np.argmax(empty)}, counted "
            "from 0) are filled from the marginals.",
            EmptyLineWarning,
            stacklevel=3,
        )


def _whole(model: Model) -> Array:
    """All rows of the model, in the units of the scaled columns."""
    return model.block(np.where(model.row_counts > 0, np.arange(len(model.row_counts)), -1))


def cell_weights(sample_weight: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """``sample_weight`` as one weight per cell."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight)
    if weights.shape == shape[:1]:
        weights = weights[:, None]
    elif weights.shape != shape:
        raise InputError(
            f"sample_weight must hold one weight per row {shape[:1]} or per cell {shape}, got "
            f"shape {weights.shape}."
        )
    return np.broadcast_to(weights, shape)
