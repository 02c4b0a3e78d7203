"""The forms in which observed entries come, and `Entries`, which all of them become.

Sparse matrices, triples with ids, long data frames and series, pairs with values, dense arrays
with NaN.
Entries whose ids a reader of files has numbered already pass as they are.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError, PrecisionError
from .frames import Frame, is_long_frame, pairs, two_levels
from .ids import Ids, IdVector, as_array, check_unmasked, is_missing
from .observations import Observations, RepeatedEntriesError, check_indices, check_shape
from .sparse import Sparse, stored_entries

# A table of fewer rows has pairs of integers that differ by chance.
_SOME_ROWS = 20


@dataclass(frozen=True)
class Entries:
    """Observed entries with positions (of any integer type) in place of ids."""

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    row_ids: Ids
    col_ids: Ids

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        return self.row_ids.size, self.col_ids.size

    def learned_from(self, weights: np.ndarray | None) -> "tuple[Entries, np.ndarray | None]":
        """Those of positive weight, of the lines alone that have one, and their weights.

        The lines are numbered without the empty ones, which cost a fit nothing then.

        **Raises** `InputError` if all weights are 0.
        """
        rows, cols, values = self.rows, self.cols, self.values
        if weights is not None and not weights.all():
            keep = weights > 0
            if not keep.any():
                raise InputError(
                    "sample_weight must be positive for at least one entry, got zeros."
                )
            rows, cols, values, weights = rows[keep], cols[keep], values[keep], weights[keep]
        rows, row_ids = compact(rows, self.row_ids)
        cols, col_ids = compact(cols, self.col_ids)
        return Entries(rows, cols, values, row_ids, col_ids), weights

    def observations(
        self,
        *,
        weights: ArrayLike | None = None,
        duplicates: Literal["error", "mean", "last"] = "error",
        name: str = "X",
        fix: str = "set",
    ) -> Observations:
        """The entries compressed by rows and by columns (`Observations.from_triples`).

        **Raises** `RepeatedEntriesError` with the ids of an entry that comes more than once;
        ``name`` and ``fix`` begin its message and its advice.
        """
        try:
            return Observations.from_triples(
                self.rows,
                self.cols,
                self.values,
                self.shape,
                weights=weights,
                duplicates=duplicates,
            )
        except RepeatedEntriesError as error:  # it has positions, its readers have ids
            row, col = self.row_ids.label(error.row), self.col_ids.label(error.col)
            raise RepeatedEntriesError(error.count, row, col, name, fix) from None


def compact(codes: np.ndarray, ids: Ids) -> tuple[np.ndarray, Ids]:
    """The ``codes`` numbered without gaps, in the same order, and the ids that remain."""
    if ids.size > len(codes):  # most lines are empty: nothing of their number is made
        used, renumbered = np.unique(codes, return_inverse=True)
        return renumbered, ids.kept(used)
    there = np.zeros(ids.size, bool)
    there[codes] = True
    if there.all():
        return codes, ids
    return (np.cumsum(there, dtype=codes.dtype) - 1)[codes], ids.kept(np.flatnonzero(there))


#: Everything that the estimators take for observed entries.
Data = Entries | Sparse | Frame | tuple[IdVector, ...] | ArrayLike
Known = tuple[Ids, Ids] | None


def read_entries(
    X: Data,
    y: ArrayLike | None,
    columns: Sequence[str],
    known: Known = None,
    *,
    name: str = "X",
) -> Entries:
    """Observed entries from any of the forms of `Data`; ids are numbered here unless they are yet.

    ``columns`` are the names of the row id, the column id and the value in a long data frame. With
    ``known`` ids, new ones come behind them.
    """
    if isinstance(X, Entries):
        if y is not None:
            raise InputError(f"y must be None where {name} holds values already, got both.")
        X = _inside(X, name)
        return X if known is None else _renumbered(X, known, name)
    if isinstance(X, Sparse):
        return _sparse_entries(X, known, name)
    if y is not None:
        rows, cols = pairs(X, columns, name)
        return _named_entries(rows, cols, y, known, (f"rows of {name}", f"columns of {name}", "y"))
    levels = two_levels(X)
    if levels is not None:
        named: Sequence[str] = tuple(
            f"{part} of {name}" for part in ("level 0", "level 1", "values")
        )
        return _named_entries(*levels, np.ravel(as_array(X)), known, named)  # type: ignore[arg-type]
    if isinstance(X, Frame) and is_long_frame(X, columns, name):
        rows, cols, values = (X[column] for column in columns)
        named = tuple(f"column '{column}'" for column in columns)
        return _named_entries(rows, cols, values, known, named)
    if isinstance(X, tuple):
        if len(X) != 3:
            raise InputError(f"{name} must be (rows, cols, values), got a tuple of {len(X)}.")
        row_vector, col_vector, value_vector = X
        names = ("rows", "cols", "values")
        return _named_entries(row_vector, col_vector, value_vector, known, names)
    return _matrix_entries(*_dense_entries(X, name), known, name)


def check_not_a_list(X: Data, y: ArrayLike | None, entries: Entries) -> None:
    """Refuse a list of entries that was given as a table: its ``entries`` are read as a matrix's.

    That is a table of 2 to 4 columns, two of which hold repeated integers: ids. **Raises**
    `InputError` if nothing is missing in it; a table where values are missing gets a warning if no
    pair of these ids comes twice.
    """
    m, n = entries.row_ids.extent, entries.col_ids.extent
    listed = y is not None or isinstance(X, Entries | Sparse | tuple)
    if listed or m is None or n is None or not 2 <= n <= 4:
        return
    table = np.full((m, n), np.nan)
    table[entries.rows, entries.cols] = entries.values
    ids = [column for column in table.T if _repeats_integers(column)]
    if len(ids) < 2:
        return
    read = (
        f"X is read as a matrix of {m} rows and {n} columns, but two of its columns hold repeated "
        "integers as ids do: for entries (row id, column id, value) give fit((rows, cols, values)),"
        " or X = the pairs of ids and y = the values"
    )
    if len(entries) == m * n:
        raise InputError(f"{read}.")
    if m >= _SOME_ROWS and len(np.unique(np.column_stack(ids[:2]), axis=0)) == m:
        warnings.warn(f"{read}, without those that are missing.", UserWarning, stacklevel=3)


def _repeats_integers(column: np.ndarray) -> bool:
    return bool((column == np.floor(column)).all()) and len(np.unique(column)) < len(column)


def numbers(values: IdVector, name: str) -> np.ndarray:
    """A vector of finite real numbers as float32 or float64.

    **Raises** `InputError` with the first position that holds anything else.
    """
    check_unmasked(values, name)
    array = as_array(values)
    if array.dtype.kind == "U" and isinstance(values, list | tuple):
        array = np.asarray(values, dtype=object)  # NumPy has made texts of the numbers beside one
    if array.dtype.kind in "cmM":
        raise InputError(f"{name} must hold real numbers, got {array.dtype}: convert it first.")
    if array.dtype.kind not in "fiub":
        plain = [_number(x, t, name) for t, x in enumerate(array.ravel().tolist())]
        array = np.array(plain, dtype=float).reshape(array.shape)
    if array.ndim != 1:
        raise InputError(f"{name} must be a vector, got shape {array.shape}.")
    if array.dtype != np.float32:
        array = array.astype(np.float64, copy=False)
    bad = ~np.isfinite(array)
    if bad.any():
        where = int(np.argmax(bad))
        raise InputError(
            f"{name} must be finite, got {int(bad.sum())} NaN or infinite value(s), the first at "
            f"position {where} (counted from 0): leave missing entries out."
        )
    return array


def _number(value: object, position: int, name: str) -> float:
    """One element of a vector of objects; NaN for None and the NA of pandas."""
    if is_missing(value):
        return math.nan
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{name} must hold real numbers, got {value!r} ({type(value).__name__}) at position "
            f"{position} (counted from 0): convert it first."
        ) from None


def check_size(values: np.ndarray) -> None:
    """Raise `PrecisionError` where fourth powers of the values over- or underflow in their type."""
    largest = 1e8 if values.dtype == np.float32 else 1e60
    size = float(np.abs(values).max(initial=0.0))
    # a fit must resolve the spread; that of a constant, 0, needs no resolution
    spread = float(np.ptp(values)) if size <= largest else size
    if size > largest or 0 < spread < 1 / largest:
        raise PrecisionError(
            f"values of the size {max(size, spread):.3g} with a spread of {spread:.3g} are beyond "
            f"what {values.dtype} carries safely: give them in other units."
        )


def _named_entries(
    rows: IdVector, cols: IdVector, values: IdVector, known: Known, names: Sequence[str]
) -> Entries:
    lengths = [len(part) for part in (rows, cols, values)]  # type: ignore[arg-type]
    if len(set(lengths)) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in zip(names, lengths, strict=True))
        raise InputError(
            f"{names[0]}, {names[1]} and {names[2]} must have one length, got {listed}."
        )
    checked = numbers(values, names[2])
    start = known or (Ids.none(), Ids.none())
    row_ids, row_codes = start[0].extended(rows, names[0])
    col_ids, col_codes = start[1].extended(cols, names[1])
    return Entries(row_codes, col_codes, checked, row_ids, col_ids)


def _sparse_entries(X: Sparse, known: Known, name: str) -> Entries:
    """Stored entries: what is not stored is not observed."""
    rows, cols, data, shape = stored_entries(X, name)
    sides = Ids.positions(shape[0]), Ids.positions(shape[1])
    stored = _inside(Entries(rows, cols, numbers(data, f"the data of {name}"), *sides), name)
    return _matrix_entries(stored.rows, stored.cols, stored.values, shape, known, name)


def _inside(X: Entries, name: str) -> Entries:
    """``X``, if each of its entries has a row, a column and a value.

    **Raises** `InputError` otherwise: positions are used unchecked from here on.
    """
    rows = check_indices(X.rows, X.row_ids.size, f"the rows of {name}")
    cols = check_indices(X.cols, X.col_ids.size, f"the columns of {name}")
    values = np.asarray(X.values)
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise InputError(
            f"the values of {name} must be a vector of real numbers, got dtype {values.dtype} and "
            f"shape {values.shape}."
        )
    if not len(rows) == len(cols) == len(values):
        raise InputError(
            f"rows, cols and values of {name} must have one length, got {len(rows)}, {len(cols)} "
            f"and {len(values)}."
        )
    same = rows is X.rows and cols is X.cols and values is X.values
    return X if same else replace(X, rows=rows, cols=cols, values=values)


def _renumbered(X: Entries, known: tuple[Ids, Ids], name: str) -> Entries:
    """Numbered entries with the positions that ``known`` and the new ids behind them give."""
    if X.row_ids.positional and X.col_ids.positional:
        return _matrix_entries(X.rows, X.cols, X.values, X.shape, known, name)
    row_ids, row_codes = known[0].extended(X.row_ids.labels, f"rows of {name}")
    col_ids, col_codes = known[1].extended(X.col_ids.labels, f"columns of {name}")
    return Entries(row_codes[X.rows], col_codes[X.cols], X.values, row_ids, col_ids)


def _dense_entries(
    X: Data, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """The entries of a dense array or frame that are not NaN."""
    try:
        if isinstance(X, np.ma.MaskedArray):  # masked elements are missing entries
            X = np.ma.filled(
                X.astype(X.dtype if X.dtype in (np.float32, np.float64) else float), np.nan
            )
        _check_no_text(X)
        if hasattr(X, "iloc"):  # pandas
            dense = np.asarray(X.to_numpy(dtype=float, na_value=np.nan))  # type: ignore[union-attr]
        else:
            dense = np.asarray(X)
        dense = dense if dense.dtype in (np.float32, np.float64) else dense.astype(float)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must hold numbers where it is a table; for ids use (rows, cols, values), or a "
            "long frame whose three columns the parameter columns names."
        ) from None
    if dense.ndim != 2:
        raise InputError(
            f"{name} must be a matrix, got shape {dense.shape}; entries come as a tuple (rows, "
            "cols, values)."
        )
    if np.isinf(dense).any():
        row, col = np.argwhere(np.isinf(dense))[0]
        raise InputError(
            f"{name} must not contain infinity, got it at row {row}, column {col} (counted from 0)."
        )
    rows, cols = np.nonzero(~np.isnan(dense))
    return rows, cols, dense[rows, cols], dense.shape


def _check_no_text(X: Data) -> None:
    """Raise TypeError for a table with texts, also those that read as numbers."""
    select = getattr(X, "select_dtypes", None)
    array = as_array(X if select is None else select(exclude=["number", "bool"]))  # type: ignore[arg-type]
    if array.dtype.kind in "US" or (
        array.dtype == object and any(isinstance(x, str | bytes) for x in array.flat)
    ):
        raise TypeError


def _matrix_entries(
    rows: np.ndarray,
    cols: np.ndarray,
    values: np.ndarray,
    shape: tuple[int, int],
    known: Known,
    name: str,
) -> Entries:
    if len(values):
        check_shape(shape)
    if known is None:
        return Entries(rows, cols, values, Ids.positions(shape[0]), Ids.positions(shape[1]))
    if not (known[0].positional and known[1].positional):
        raise InputError(
            f"{name} must carry ids, as the entries of the first fit did: give (rows, cols, "
            "values)."
        )
    row_ids, row_codes = known[0].extended(rows, f"rows of {name}")
    col_ids, col_codes = known[1].extended(cols, f"columns of {name}")
    sides = row_ids.within(shape[0]), col_ids.within(shape[1])
    return Entries(row_codes, col_codes, values, *sides)


def joined(old: Observations, new: Entries) -> tuple[Entries, np.ndarray | None]:
    """The entries of both, the new ones (of weight 1) behind, and their weights."""
    rows, cols, values = (
        np.concatenate(pair)
        for pair in zip(old.triples(), (new.rows, new.cols, new.values), strict=True)
    )
    weights = old.by_row.weights
    joined = Entries(rows, cols, values, new.row_ids, new.col_ids)
    if not weights.size:
        return joined, None
    return joined, np.concatenate([weights, np.ones(len(new), weights.dtype)])
