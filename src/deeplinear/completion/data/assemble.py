"""Completed columns put back into the object they came from, in its types."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from .columns import Frame, Mask, is_frame, is_integer_dtype, is_pandas
from .features import FeatureKind
from .layout import Layout

# The largest float64 below 2⁶³ and 2⁶⁴, which an integer type can hold.
_INT64, _UINT64 = 2**63 - 1024, 2**64 - 2048


def fill_objects(X: Any, layout: Layout, filled: np.ndarray, observed: Mask) -> np.ndarray:
    """X, a frame or a matrix, as an array of Python objects (rows, columns that are kept).

    The fitted columns are taken from ``filled`` (rows, fitted; numbers and levels) where they are
    not ``observed``.
    """
    out = np.empty((len(filled), layout.width), object)
    for j in range(layout.width):
        out[:, j] = _objects(X, j)
    for k, j in enumerate(layout.fitted):
        missing = ~observed[:, k]
        out[missing, j] = _values(layout, k, filled[missing, k])
    return out[:, layout.kept]


def fill_frame(X: Frame, layout: Layout, filled: np.ndarray, observed: Mask) -> Any:
    """X, a frame of pandas or polars, with the missing entries of its fitted columns from
    ``filled``, as `fill_objects`; the types of the columns stay.
    """
    fitted = {
        j: _filler(layout, k, filled[:, k], ~observed[:, k])
        for k, j in enumerate(layout.fitted)
        if not observed[:, k].all()
    }
    return _pandas(X, layout, fitted) if is_pandas(X) else _polars(X, layout, fitted)


def with_indicators(X: Any, names: Sequence[str], missing: Mask) -> Any:
    """A frame with one more boolean column for each of ``names``."""
    if is_pandas(X):
        return X.assign(**dict(zip(names, missing.T, strict=True)))
    series = [
        type(X.to_series(0))(name, mask)
        for name, mask in zip(names, missing.T.tolist(), strict=True)
    ]
    return X.with_columns(series)


def as_library(X: Any, library: str) -> Any:
    """A frame as one of "pandas" or "polars"."""
    if is_pandas(X) == (library == "pandas"):
        return X
    if library == "pandas":
        return X.to_pandas()
    import polars as pl

    return pl.from_pandas(X)


def _objects(X: Any, j: int) -> np.ndarray:
    if not is_frame(X):
        return X[:, j]
    if is_pandas(X):
        return X.iloc[:, j].to_numpy(dtype=object)  # type: ignore[attr-defined]
    series = X.to_series(j)  # type: ignore[attr-defined]
    return np.fromiter(series.to_list(), object, len(series))


def _values(layout: Layout, feature: int, numbers: np.ndarray) -> np.ndarray:
    """Numbers and levels of one feature as what they stand for: an array of Python objects."""
    kind = layout.features[feature].kind
    if kind is FeatureKind.category:
        labels = np.fromiter(layout.features[feature].categories, object)
        levels = layout.levels(feature)
        order = np.argsort(levels)
        return labels[order[np.searchsorted(levels[order], numbers)]]
    if kind is FeatureKind.integer and (numbers == np.floor(numbers)).all():
        return np.fromiter(map(int, numbers), object, len(numbers))
    return numbers.astype(object)


Filler = tuple[Mask, np.ndarray, bool]  # where, what (objects), and whether these are labels


def _filler(layout: Layout, feature: int, filled: np.ndarray, missing: Mask) -> Filler:
    is_label = layout.features[feature].kind is FeatureKind.category
    return missing, _values(layout, feature, filled[missing]), is_label


def _pandas(X: Any, layout: Layout, fitted: dict[int, Filler]) -> Any:
    out = X.copy()
    for j, (missing, values, is_label) in fitted.items():
        series = X.iloc[:, j]
        dtype = series.dtype
        if hasattr(dtype, "categories"):
            new = [x for x in dict.fromkeys(values) if x not in dtype.categories]
            series = series.cat.add_categories(new) if new else series
        elif is_integer_dtype(dtype):
            series, values = _whole(series, values, series.astype, "Float64", "float64")
        elif not is_label and dtype.kind != "O":
            width = getattr(dtype, "numpy_dtype", dtype)
            values = values.astype(width if isinstance(width, np.dtype) else np.float64)
        array = series.array.copy()
        array[missing] = values
        out.isetitem(j, type(series)(array, index=series.index, name=series.name, copy=False))
    return out if not layout.dropped else out.iloc[:, layout.kept]


def _polars(X: Any, layout: Layout, fitted: dict[int, Filler]) -> Any:
    import polars as pl

    columns = []
    for j, (missing, values, is_label) in fitted.items():
        series = X.to_series(j)
        if series.dtype.is_integer():
            series, values = _whole(series, values, series.cast, pl.Float64, pl.Float64)
        listed = np.full(len(missing), None)
        listed[missing] = values
        own = series.dtype.is_integer() or isinstance(series.dtype, pl.Boolean)
        between = series.dtype if own else pl.String if is_label else pl.Float64
        if is_label and series.dtype.is_float():
            between = pl.Float64
        try:
            new = pl.Series(series.name, listed.tolist(), dtype=between).cast(series.dtype)
        except pl.exceptions.PolarsError:
            raise InputError(
                f"column '{series.name}' of X has a type that cannot hold the labels of the fit: "
                "give it the type that it had there."
            ) from None
        columns.append(series.zip_with(pl.Series(~missing), new))
    out = X.with_columns(columns)
    return out if not layout.dropped else out[:, layout.kept]


def _whole(
    series: Any, values: np.ndarray, cast: Callable[[Any], Any], nullable: Any, plain: Any
) -> tuple[Any, np.ndarray]:
    """A column of integers and new values for it: within its range, or both as floats."""
    numbers = values.astype(np.float64)
    if (numbers != np.floor(numbers)).any():
        return cast(nullable if hasattr(series.dtype, "na_value") else plain), numbers
    dtype = np.dtype(str(series.dtype).lower().split("[")[0].replace("int128", "int64"))
    limits = np.iinfo(dtype)
    low, high = float(limits.min), float(min(limits.max, _UINT64 if limits.min == 0 else _INT64))
    whole = [int(x) for x in np.clip(numbers, low, high)]
    return series, np.fromiter(whole, object, len(whole))
