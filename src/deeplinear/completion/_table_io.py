"""How `DeepLinearImputer` reads tables of every kind, and hands them back completed."""

import os
import warnings
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_n_features,
    check_array,
    check_is_fitted,
    validate_data,
)

from ..errors import EmptyLineWarning, InputError
from ._training import CompletionEstimator
from .data.assemble import as_library, fill_frame, fill_objects, with_indicators
from .data.columns import (
    LABELS,
    NUMBERS,
    UNMARKED,
    Frame,
    Mask,
    holds_numbers,
    is_frame,
    is_integer_dtype,
    read_column,
)
from .data.features import CodedTable, Feature, FeatureKind
from .data.ids import as_array, is_missing
from .data.indicators import Indicators
from .data.layout import Layout, check_coded, feature_of, positions
from .data.observations import Observations
from .data.sparse import Sparse
from .data.table import check_finite
from .data.weights import checked

TableLike = ArrayLike | Frame | CodedTable
T = TypeVar("T")


@dataclass(frozen=True)
class Entries:
    """The fitted columns of a table as they were read.

    ``values`` (rows, features): numbers, and levels of categories; ``observed``: mask of the same
    shape; ``given``: the values in the precision of X. ``base`` (rows, columns of X) holds the
    numbers of the columns that are carried through; None if there are none. ``objects``: whether X
    has entries that no number stands for.
    """

    values: np.ndarray
    observed: Mask
    given: np.ndarray
    base: np.ndarray | None = None
    objects: bool = False

    def only(self, features: np.ndarray, base: np.ndarray) -> "Entries":
        """These features alone."""
        values, observed, given = (x[:, features] for x in (self.values, self.observed, self.given))
        return Entries(values, observed, given, base, self.objects)


class Table:
    """A table as it is fitted: its `Entries`, and the columns of the fit that they become.

    ``values`` (float64, 0 where missing) and ``seen`` (mask) are those of the columns of the fit.
    ``is_fitted``: whether it is the table of the fit, from the entries that the model keeps.
    """

    def __init__(
        self, read: Entries, layout: Layout, indicators: Indicators, *, is_fitted: bool = False
    ) -> None:
        self.is_fitted = is_fitted
        self.read, self.given, self.observed = read, read.given, read.observed
        numbers = np.where(read.observed, read.values, 0.0).astype(np.float64)
        self.values = indicators.expand(layout.codes(numbers))
        self.seen = self.observed[:, indicators.owner] if layout.has_categories else self.observed

    def entries(self, weights: np.ndarray | None = None) -> Observations:
        rows, cols = np.nonzero(self.seen)
        values, shape = self.values[rows, cols], self.values.shape
        w = None if weights is None else checked(weights[rows, cols], rows, cols)
        return Observations.from_triples(rows, cols, values, shape, weights=w)


class TableReader(CompletionEstimator):
    """Tables in and out."""

    _layout: Layout
    _indicators: Indicators
    _indicated: np.ndarray  # the features for which `add_indicator` adds a column

    # In

    def _read(self, X: Any, *, reset: bool) -> Table:
        """X as a `Table`; ``reset``: its columns become those of the fit."""
        read = self._entries_of(X, reset)
        if reset:
            if not self.keep_empty_features:
                read = self._without_empty(read)
            codes = self._layout.codes(read.values)
            self._indicators = Indicators.of(codes, read.observed, self._layout.features)
            self._indicated = np.flatnonzero(~read.observed.all(axis=0))
        return Table(read, self._layout, self._indicators)

    def _entries_of(self, X: Any, reset: bool) -> Entries:
        if isinstance(X, CodedTable):
            return self._read_coded(X, reset)
        X = as_matrix(X)
        if holds_numbers(X):
            array = self._validated(X, reset, [np.float64, np.float32])
            self._lay_out(X, reset)
            if not self._layout.has_categories:
                return self._read_numbers(array)
            return self._read_columns(X if is_frame(X) else array, array)
        array = self._validated(X, reset, None)
        X = X if is_frame(X) else array
        self._lay_out(X, reset)
        return self._read_columns(X)

    def _validated(self, X: Any, reset: bool, dtype: Any) -> Any:
        how: dict[str, Any] = {"dtype": dtype, "ensure_all_finite": False, "copy": False}
        if is_frame(X):
            check_names(X)
        else:
            _check_axes(X)
        if dtype is None and is_frame(X):
            how = {"skip_check_array": True}
            if not min(X.shape):
                raise InputError(
                    f"X must have at least one row and one column, got the shape {X.shape}."
                )
        try:
            return validate_data(self, X, reset=reset, **how)
        except ValueError as error:
            raise InputError(str(error)) from None

    def _lay_out(self, X: Any, reset: bool) -> None:
        """Decide what becomes of each column of X."""
        if not reset:
            return
        width = self.n_features_in_
        names = [str(c) for c in X.columns] if is_frame(X) else [f"x{j}" for j in range(width)]
        chosen, declared = self._chosen(getattr(self, "feature_names_in_", None), width)
        if holds_numbers(X) and not declared:
            integer = _integers(X, width)
            kinds = np.where(integer, FeatureKind.integer, FeatureKind.number)
            features: list[Feature | None] = [
                Feature(names[j], FeatureKind(kinds[j])) for j in chosen
            ]
        else:
            features = [self._feature(X, j, names[j], j in declared) for j in chosen]
        self._settle(width, chosen, features)

    def _chosen(self, names: Any, width: int) -> tuple[list[int], set[int]]:
        """(the columns that the user wants fitted, those that are declared categories)."""
        chosen = positions(self.columns, "columns", names, width)
        declared = positions(self.categorical, "categorical", names, width) or []
        if chosen is not None and not set(declared) <= set(chosen):
            raise InputError(
                "categorical must list columns that are fitted, got one that columns leaves out: "
                "name it in both, or in neither."
            )
        return list(range(width)) if chosen is None else chosen, set(declared)

    def _feature(self, X: Any, j: int, name: str, declared: bool) -> Feature | None:
        column = read_column(X, j, self.missing_values)
        feature = feature_of(column, name, declared=declared, named=self.columns is not None)
        if feature is None and column.missing.all() and column.holds in LABELS:
            fate = "left empty" if self.keep_empty_features else "carried through"
            warnings.warn(
                f"Column '{name}' of {column.holds} has no observed entry: it is {fate}.",
                EmptyLineWarning,
                stacklevel=5,
            )
        return feature

    def _settle(self, width: int, chosen: list[int], features: list[Feature | None]) -> None:
        pairs = [(j, f) for j, f in zip(chosen, features, strict=True) if f is not None]
        if not pairs:
            raise InputError(
                "X has no column of numbers or labels that can be fitted: convert one to numbers, "
                "or name one in categorical."
            )
        fitted, kept = zip(*pairs, strict=True)
        self._layout = Layout(width, fitted, kept)

    def _without_empty(self, read: Entries) -> Entries:
        """Without the features that have no observed entry, which are dropped."""
        empty = ~read.observed.any(axis=0)
        if not empty.any() or empty.all():
            return read
        layout, kept = self._layout, np.flatnonzero(~empty)
        dropped = tuple(layout.fitted[k] for k in np.flatnonzero(empty))
        warnings.warn(
            f"{len(dropped)} column(s) of X without any observed entry (the first is number "
            f"{dropped[0]}, counted from 0) are dropped.",
            EmptyLineWarning,
            stacklevel=4,
        )
        self._layout = replace(
            layout,
            fitted=tuple(layout.fitted[k] for k in kept),
            features=tuple(layout.features[k] for k in kept),
            dropped=dropped,
        )
        return read.only(kept, read.given if read.base is None else read.base)

    def _read_numbers(self, array: np.ndarray) -> Entries:
        layout, marker = self._layout, self.missing_values
        given = array if layout.plain else array[:, layout.fitted]
        if is_missing(marker):
            observed = ~np.isnan(given)
        else:
            number = isinstance(marker, Real)
            observed = given != given.dtype.type(marker) if number else np.isfinite(given)
            if np.isnan(given).any():
                raise InputError(UNMARKED.format(marker))
        check_finite(np.where(observed, given, 0), layout.fitted)
        return Entries(given, observed, given, None if layout.plain else array)

    def _read_columns(self, X: Any, array: np.ndarray | None = None) -> Entries:
        """Column by column; ``array``: X as floats, if it is numbers throughout."""
        layout = self._layout
        values, observed = layout.read(
            [read_column(X, j, self.missing_values) for j in layout.fitted]
        )
        check_finite(np.where(observed, values, 0), layout.fitted)
        objects, base = layout.has_words, array
        if len(layout.fitted) < layout.width and array is None:
            base = np.full((len(values), layout.width), np.nan)
            for j in layout.carried:
                column = read_column(X, j, None)
                if column.holds in NUMBERS:
                    base[:, j] = column.values
                objects |= column.holds not in NUMBERS
        if len(layout.fitted) == layout.width:
            base = None
        given = values if array is None else values.astype(array.dtype)
        return Entries(values, observed, given, base, objects)

    def _read_coded(self, X: CodedTable, reset: bool) -> Entries:
        if not is_missing(self.missing_values) or self.categorical is not None:
            name = "missing_values" if self.categorical is None else "categorical"
            raise InputError(
                f"{name} must be left out for a CodedTable, which itself says what is missing and "
                "which features are categories."
            )
        names = [feature.name for feature in X.features]
        if np.shape(X.values)[1:] != (len(names),):
            raise InputError(
                "a CodedTable must have one feature for each column of its values, got "
                f"{len(names)} for values of shape {np.shape(X.values)}."
            )
        if reset or not hasattr(self, "feature_names_in_"):
            array = self._validated(X.values, reset, [np.float64])
        else:  # names that scikit-learn does not see in an array
            array = check_array(X.values, dtype=np.float64, ensure_all_finite=False, copy=False)
            _check_n_features(self, array, reset=False)
        if reset:
            if len(set(names)) == len(names):
                self.feature_names_in_ = np.array(names, dtype=object)
            chosen, _ = self._chosen(names, array.shape[1])
            seen = np.isfinite(array).any(axis=0)
            features = [
                f if f.kind is not FeatureKind.category or seen[j] else None
                for j, f in enumerate(X.features)
                if j in set(chosen)
            ]
            self._settle(array.shape[1], chosen, features)
            self._layout = replace(self._layout, coded=True)
        check_coded(X, array, self._layout)
        layout = self._layout
        given = array[:, layout.fitted]
        check_finite(given, layout.fitted)
        base = array if len(layout.fitted) < layout.width else None
        return Entries(given, ~np.isnan(given), given, base)

    # Out

    def _widened(self, matrix: np.ndarray, read: Entries) -> np.ndarray:
        """The fitted columns among those that are carried through, where these are numbers."""
        if read.base is None:
            return matrix
        out = np.array(read.base, dtype=np.result_type(matrix, read.base))
        out[:, self._layout.fitted] = matrix
        return out[:, self._layout.kept] if self._layout.dropped else out

    def _handed_back(self, X: Any, table: Table, filled: np.ndarray, library: str) -> Any:
        """X completed by ``filled`` (rows, features): a frame of ``library``, or an array.

        ``library`` is "pandas", "polars" or "default": an array, of objects if it must be.
        """
        observed = table.observed
        missing, names = ~observed[:, self._indicated], self._indicator_names()
        if library != "default" and is_frame(X):
            out = as_library(fill_frame(X, self._layout, filled, observed), library)
            return with_indicators(out, names, missing) if self.add_indicator else out
        if table.read.objects:
            out = fill_objects(as_matrix(X), self._layout, filled, observed)
        else:
            out = self._widened(filled, table.read)
        return np.hstack([out, missing.astype(out.dtype)]) if self.add_indicator else out

    def _indicator_names(self) -> list[str]:
        names = _check_feature_names_in(self)
        return [f"missingindicator_{names[self._layout.fitted[k]]}" for k in self._indicated]

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """The names of the columns that `transform` gives: those of X (x0, x1, … without names).

        With ``add_indicator``, "missingindicator_…" for the columns that were incomplete in the
        fit.
        """
        check_is_fitted(self, "_layout")
        names = _check_feature_names_in(self, input_features)[self._layout.kept]
        more = self._indicator_names() if self.add_indicator else []
        return np.concatenate([names, np.array(more, dtype=object)])

    def _keyed(self, values: Iterable[T]) -> dict[Hashable, T]:
        """One value per feature by the name of its column, or by its position without names."""
        names = getattr(self, "feature_names_in_", None)
        keys = self._layout.fitted if names is None else names[list(self._layout.fitted)].tolist()
        keys = keys if len(set(keys)) == len(keys) else self._layout.fitted
        return dict(zip(keys, values, strict=True))


def check_names(X: Frame) -> None:
    """`InputError` for a frame with two columns of one name."""
    names = list(X.columns)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"X has {names.count(twice)} columns '{twice}': rename them.")


def as_matrix(X: Any) -> Any:
    """X, but lists with text as an array of objects, and masked entries as missing ones."""
    if isinstance(X, Sparse):
        raise InputError(
            "X must be dense, got a sparse matrix: give X.toarray(), with NaN where an entry is "
            "missing, or use DeepMatrixCompletion."
        )
    if isinstance(X, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(X)
        return np.where(masked, np.nan, X.data) if masked.any() else X.data
    if isinstance(X, list | tuple):
        array = _array(X)
        return array.astype(object) if array.dtype.kind in "OUSmM" else X
    return X.astype(object) if getattr(getattr(X, "dtype", None), "kind", "O") in "USmM" else X


def _array(X: Any) -> np.ndarray:
    """A list as an array that keeps its text and its numbers apart."""
    array = as_array(X)
    return np.asarray(X, dtype=object) if array.dtype.kind == "U" else array


def _check_axes(X: Any) -> None:
    """`InputError` for what is no table: a path, lists of different lengths, one axis or three."""
    if isinstance(X, str | bytes | os.PathLike):
        raise InputError(
            f"X must be a table, got the path {str(X)!r}: read it first, by pandas.read_csv for"
            " one, or complete the file by the command deeplinear complete."
        )
    axes = getattr(X, "ndim", None)
    axes = np.asarray(X, object).ndim if axes is None else axes
    lengths = {len(row) for row in X if isinstance(row, list | tuple)} if axes == 1 else ()
    if len(lengths) > 1:
        raise InputError(
            f"X must have rows of one length, got rows of {min(lengths)} to {max(lengths)} cells: "
            "fill the short ones up with NaN."
        )
    if axes != 2:
        raise InputError(
            f"X must have two axes, rows and columns, got a {axes}D array. Reshape your data: "
            "X.reshape(-1, 1) makes one column of it, X.reshape(1, -1) one row."
        )


def _integers(X: Any, width: int) -> list[bool]:
    if is_frame(X):
        return [is_integer_dtype(dtype) for dtype in X.dtypes]
    return [isinstance(X, np.ndarray) and X.dtype.kind in "iu"] * width
