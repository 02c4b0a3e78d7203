"""`sample_weight` in the forms in which entries come."""

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from .entries import Entries
from .ids import as_array


def entry_weights(sample_weight: ArrayLike | None, entries: Entries) -> np.ndarray | None:
    """One weight per entry, from one per entry, one per row, or one per cell of the matrix."""
    if sample_weight is None:
        return None
    weights = as_array(sample_weight)
    m, n = entries.shape
    if weights.shape == (len(entries),):
        return checked(weights)
    matrix = entries.row_ids.positional
    if matrix and weights.shape == (m,):
        return checked(weights[entries.rows], entries.rows)
    if matrix and weights.shape == (m, n):
        return checked(weights[entries.rows, entries.cols], entries.rows, entries.cols)
    forms = f" per row ({m},), or per cell ({m}, {n})" if matrix else ""
    raise InputError(
        f"sample_weight must hold one weight per entry ({len(entries)},){forms}, got shape "
        f"{weights.shape}."
    )


def checked(
    weights: np.ndarray, rows: np.ndarray | None = None, cols: np.ndarray | None = None
) -> np.ndarray:
    """``weights`` of observed entries, unless some are not numbers, not finite or negative."""
    if weights.dtype.kind not in "fiub":
        raise InputError(f"sample_weight must hold real numbers, got dtype {weights.dtype}.")
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        t = int(np.argmax(bad))
        lines = {"row": rows, "column": cols}
        where = ", ".join(f"{k} {v[t]}" for k, v in lines.items() if v is not None) or f"entry {t}"
        raise InputError(
            f"sample_weight must be finite and ≥ 0, got {weights[t]} for {where} (counted from 0): "
            "0 leaves an entry out."
        )
    return weights


def cell_weights(sample_weight: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """``sample_weight`` as one weight per cell."""
    if sample_weight is None:
        return None
    weights = as_array(sample_weight)
    if weights.shape == shape[:1]:
        weights = weights[:, None]
    elif weights.shape != shape:
        raise InputError(
            f"sample_weight must hold one weight per row {shape[:1]} or per cell {shape}, got "
            f"shape {weights.shape}."
        )
    return np.broadcast_to(weights, shape)
