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
        cls, seen: Observations, *, center: bool, scale: bool, groups: Sequence[slice] = ()
    ) -> "ColumnScaler":
        """From the entries of ``seen`` in float64; weights play no part.

        ``groups``: columns of one category each, which are observed together.
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
        middles = means
        if n > seen.shape[0]:
            free = alive.copy()
            for group in groups:
                free[group] = False
            middles, sizes = means.copy(), sizes.copy()
            gaps_of_free = (gaps / sizes[col])[free[col]]
            middles[free], sizes[free] = borrowed(
                means[free], sizes[free], lines.counts[free], gaps_of_free
            )
        for group in groups:
            vectors = gaps[lines.indptr[group.start] : lines.indptr[group.stop]]
            vectors = vectors.reshape(group.stop - group.start, -1)
            size = np.mean(np.sum(vectors**2, axis=0) ** 2) ** 0.25 if vectors.size else 0.0
            sizes[group] = size if size > 0 else sizes[group]
        if not scale:  # still one for the matrix, or tiny data would meet absolute constants
            sizes = np.full_like(sizes, root_mean_square(sizes))
        return cls(middles if center else np.zeros_like(means), sizes, means)

    def agrees(self, rows: int) -> bool:
        """Whether the centre is one that `of` gives for a table of so many rows."""
        center, means = self.center, self.means
        if not center.any() or (center == means).all():
            return True
        inside = (means.min() <= center) & (center <= means.max())
        return rows < len(means) and bool(inside.all())

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
