"""What happens to a table before and after the fit: checks, and columns to a common scale."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import InputError
from ...scores import root_mean_square
from ..penalty import Array
from .alike import borrowed
from .observations import Compressed, Observations


def check_finite(X: Array, positions: Sequence[int] | None = None) -> None:
    """Raise `InputError` if entries are infinite, with their number and the first position.

    ``positions`` are those of the columns in the table that they come from.
    """
    where = np.argwhere(np.isinf(X))
    if len(where):
        row, col = where[0]
        col = col if positions is None else positions[col]
        raise InputError(
            f"X must not contain infinity, got {len(where)} infinite value(s), the first at row "
            f"{row}, column {col} (counted from 0): replace them by NaN if they mean missing."
        )


# The fourth-moment size of a normal law in units of what nine tenths of its deviations are within.
_TENTH = 3**0.25 / 1.6449


@dataclass(frozen=True)
class ColumnScaler:
    """Affine map of each column, x ↦ (x − center_j) / scale_j, made from the observed entries.

    The centre is the column mean; the scale is the fourth-moment size (mean |x − mean|⁴)^{1/4}:
    like the standard deviation it makes units irrelevant, but it does not blow up columns that are
    constant up to a few entries. Constant and empty columns take the size of the others, and empty
    columns the mean of everything. The columns of a category have one scale, the size of their
    vector, so that all together count as one column. Where there are more columns than rows, means
    and sizes of those that are alike borrow from each other (`alike`). ``means`` are the column
    means whether or not they are the centre.
    """

    center: Array
    scale: Array
    means: Array

    @classmethod
    def of(
        cls,
        seen: Observations,
        *,
        center: bool,
        scale: bool,
        groups: Sequence[slice] = (),
        robust: np.ndarray | None = None,
        counts: np.ndarray | None = None,
    ) -> "ColumnScaler":
        """From the entries of ``seen`` in float64; weights play no part.

        ``groups``: columns of one category each, which are observed together. ``robust`` (n,):
        columns of which a tenth may be anything: centred at their median, with the size of a normal
        law of which as many deviations, nine of ten, lie within theirs (unless that is 0).
        ``counts`` (n,): columns of counts, which keep their 0.
        """
        lines, n = seen.by_col, seen.shape[1]
        col, values = np.repeat(np.arange(n), lines.counts), lines.values.astype(float)
        count = np.maximum(lines.counts, 1)
        means = np.bincount(col, values, n) / count
        means = np.where(lines.counts > 0, means, values.mean())
        gaps = values - means[col]
        largest = np.zeros(n)
        np.maximum.at(largest, col, np.abs(gaps))
        # relative to the largest gap, so that no power overflows or underflows
        relative = gaps / np.where(largest > 0, largest, 1.0)[col]
        sizes = largest * (np.bincount(col, relative**4, n) / count) ** 0.25
        alive = largest > 1e-12 * np.abs(means)
        sizes = np.where(alive, sizes, root_mean_square(sizes[alive]) if alive.any() else 1.0)
        for group in groups:
            vectors = gaps[lines.indptr[group.start] : lines.indptr[group.stop]]
            vectors = vectors.reshape(group.stop - group.start, -1)
            size = np.mean(np.sum(vectors**2, axis=0) ** 2) ** 0.25 if vectors.size else 0.0
            sizes[group] = size if size > 0 else sizes[group]
        free = alive
        for group in groups:
            free[group] = False
        for j in [] if robust is None else np.flatnonzero(robust & (lines.counts > 0)):
            own = values[lines.indptr[j] : lines.indptr[j + 1]]
            means[j] = np.median(own)
            sizes[j] = _TENTH * np.quantile(np.abs(own - means[j]), 0.9) or sizes[j]
            free[j] = False
        if counts is not None:
            free[counts] = False
        centers = means.copy()
        if n > seen.shape[0]:
            own = (gaps / sizes[col])[free[col]]
            of_free = means[free], sizes[free], lines.counts[free], own
            centers[free], sizes[free] = borrowed(*of_free)
        if not scale:  # still one for the matrix, or tiny data would meet absolute constants
            sizes = np.full_like(sizes, root_mean_square(sizes))
        if counts is not None:
            centers[counts] = 0.0
        return cls(centers if center else np.zeros_like(means), sizes, means)

    def agrees(self, rows: int) -> bool:
        """Whether the centre is one that `of` gives for a table of so many rows."""
        center, means = self.center, self.means
        between = (rows < len(means)) & (means.min() <= center) & (center <= means.max())
        return bool(np.all((center == means) | (center == 0) | between))

    def forward(self, seen: Observations) -> Observations:
        """The entries with standardized values."""
        col = np.repeat(np.arange(seen.shape[1]), seen.by_col.counts)
        return Observations(
            self._mapped(seen.by_row, seen.by_row.indices),
            self._mapped(seen.by_col, col),
            seen.shape,
        )

    def _mapped(self, lines: Compressed, col: np.ndarray) -> Compressed:
        return replace(lines, values=(lines.values - self.center[col]) / self.scale[col])

    def backward(self, W: Array, cols: np.ndarray | slice = slice(None)) -> Array:
        """Standardized values of the columns ``cols`` (all: a matrix) in the units of the table."""
        return W * self.scale[cols] + self.center[cols]
