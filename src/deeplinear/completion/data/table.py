"""What happens to a table before and after the fit: checks, columns to a common scale, entries held
out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from ...errors import InputError
from ..penalty import Array


def check_columns(X: Any) -> None:
    """Raise `InputError` that names the columns of a data frame (pandas, polars) which do not hold
    numbers.
    """
    if not (hasattr(X, "columns") and hasattr(X, "dtypes")):
        return
    bad = [
        str(X.columns[j])
        for j, kind in enumerate(X.dtypes)
        if not (_is_numeric(kind) or _converts(X, j))
    ]
    if bad:
        raise InputError(
            f"X has columns that do not hold numbers: {', '.join(bad)}; drop or encode them first."
        )


def _is_numeric(kind: Any) -> bool:
    if hasattr(
        kind, "is_numeric"
    ):  # polars; a column of nothing but nulls is an empty column of numbers
        return bool(kind.is_numeric()) or str(kind) in ("Boolean", "Null")
    return getattr(kind, "kind", "O") in "fiub" or getattr(kind, "_is_numeric", False)


def _converts(X: Any, j: int) -> bool:
    """Whether column j of a pandas frame, of mixed type ``object``, holds nothing but numbers and
    None.
    """
    if not (hasattr(X, "iloc") and X.dtypes.iloc[j] == np.dtype(object)):
        return False
    try:
        np.asarray(X.iloc[:, j], dtype=float)
    except (TypeError, ValueError):
        return False
    return True


def check_finite(X: Array) -> None:
    """Raise `InputError` if entries are infinite, with their number and the first position."""
    where = np.argwhere(np.isinf(X))
    if len(where):
        row, col = where[0]
        raise InputError(
            f"X must not contain infinity, got {len(where)} infinite value(s), the first at row "
            f"{row}, column {col} "
            "(counted from 0): replace them by NaN if they mean missing."
        )


def root_mean_square(x: Array) -> float:
    """√(mean x²) without overflow or underflow on the way; 0 for nothing."""
    largest = float(np.abs(x).max(initial=0.0))
    return (
        largest * float(np.sqrt(np.mean((x / largest) ** 2))) if 0 < largest < np.inf else largest
    )


@dataclass(frozen=True)
class ColumnScaler:
    """Affine map of each column, x ↦ (x − center_j) / scale_j, made from the observed entries.

    The centre is the column mean; the scale is the fourth-moment size (mean |x − mean|⁴)^{1/4}:
    like the standard deviation it makes units irrelevant, but it does not blow up columns that are
    constant up to a few entries. Constant and empty columns take the size of the others, and empty
    columns the mean of everything.
    """

    center: Array
    scale: Array

    @classmethod
    def of(cls, X: Array, observed: Any, *, center: bool, scale: bool) -> "ColumnScaler":
        count = observed.sum(axis=0)
        seen = count > 0
        count = np.maximum(count, 1)
        overall = X[observed].mean()
        means = np.where(seen, np.where(observed, X, 0.0).sum(axis=0) / count, overall)
        gaps = np.where(observed, X - means, 0.0)
        largest = np.abs(gaps).max(axis=0)
        # relative to the largest gap, so that no power overflows or underflows
        relative = gaps / np.where(largest > 0, largest, 1.0)
        sizes = largest * ((relative**4).sum(axis=0) / count) ** 0.25
        alive = largest > 1e-12 * np.abs(means)
        sizes = np.where(alive, sizes, root_mean_square(sizes[alive]) if alive.any() else 1.0)
        # without a scale per column there is still one for the matrix, or tiny data would meet
        # absolute constants
        common = np.full_like(sizes, root_mean_square(sizes))
        return cls(means if center else np.zeros_like(means), sizes if scale else common)

    def forward(self, X: Array, observed: Any) -> Array:
        """Standardized, 0 where nothing was observed."""
        return np.where(observed, (X - self.center) / self.scale, 0.0)

    def backward(self, W: Array) -> Array:
        return W * self.scale + self.center


def hold_out(observed: Any, fraction: float, random_state: Any) -> Any:
    """A boolean mask of ``fraction`` of the observed entries, at least one and not all, chosen at
    random.

    It depends on ``observed``, ``fraction`` and ``random_state`` alone.
    """
    where = np.flatnonzero(observed)
    size = min(max(1, round(fraction * len(where))), len(where) - 1)
    chosen = np.zeros(observed.size, dtype=bool)
    chosen[check_random_state(random_state).choice(where, size=size, replace=False)] = True
    return chosen.reshape(observed.shape)
