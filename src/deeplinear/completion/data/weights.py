"""`sample_weight` in the forms in which entries come."""

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from .entries import Entries


def entry_weights(sample_weight: ArrayLike | None, entries: Entries) -> np.ndarray | None:
    """One weight per entry, from one per entry, one per row, or one per cell of the matrix."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight)
    m, n = entries.shape
    if weights.shape == (len(entries),):
        return weights
    matrix = entries.row_ids.positional
    if matrix and weights.shape == (m,):
        return weights[entries.rows]
    if matrix and weights.shape == (m, n):
        return weights[entries.rows, entries.cols]
    forms = f" per row ({m},), or per cell ({m}, {n})" if matrix else ""
    raise InputError(
        f"sample_weight must hold one weight per entry ({len(entries)},){forms}, got shape "
        f"{weights.shape}."
    )
