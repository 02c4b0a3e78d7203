"""The 2×2 problem that several figures share: w11 = w22 = 0.92 observed, rank-1 completions on
w12·w21 = 0.92².
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

import deeplinear as dl

from ...labels import depth_label
from ...progress import ProgressCallback, report

OBSERVED = 0.92  # so that the rank-1 completions of least norm, the corners, are ±(0.92, 0.92)
REACH = 1.6  # of the axes


def problem() -> dl.Completion:
    """E(W) = ½ (w11 − 0.92)² + ½ (w22 − 0.92)²."""
    return dl.Completion([0, 1], [0, 1], [OBSERVED, OBSERVED], (2, 2))


def endpoints(
    depths: Sequence[float],
    scales: Sequence[float],
    runs: int,
    seed: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Endpoints of flows from i.i.d. N(0, scale²) starts, of the same directions throughout.

    Variables over (depth, scale, run): ``W`` (…, row, column), ``start``, ``ok``, ``error``,
    ``effective_rank`` (NaN where a run was not carried to its end), ``same_sign`` (whether det kept
    its sign, as the exact flow does).
    """
    shape = (len(depths), len(scales), runs)
    directions = np.asarray(jax.random.normal(jax.random.key(seed), (runs, 2, 2), np.float64))
    W, error, ok = np.full((*shape, 2, 2), np.nan), np.full(shape, np.nan), np.zeros(shape, bool)
    for i, depth in enumerate(depths):
        for j, scale in enumerate(scales):
            done = (i * len(scales) + j) / (shape[0] * shape[1])
            report(progress, f"{depth_label(depth)}, start {scale:g}", done)
            result = dl.ensemble(problem(), scale * directions, depth, seed=seed)
            ok[i, j], error[i, j] = result.ok, result.error
            W[i, j] = np.where(result.ok[:, None, None], result.W, np.nan)
    start = np.asarray(scales)[:, None, None, None] * directions
    cases = ("depth", "scale", "run")
    return xr.Dataset(
        {
            "W": ((*cases, "row", "column"), W, {"long_name": "endpoint"}),
            "start": (("scale", "run", "row", "column"), start),
            "ok": (cases, ok, {"long_name": "carried to its end"}),
            "error": (cases, error, {"long_name": "estimated distance to the limit"}),
            "effective_rank": (cases, effective_rank(W)),
            "same_sign": (cases, _same_sign(start, W), {"long_name": "sign of det kept"}),
        },
        coords={
            "depth": ("depth", np.asarray(depths, float), {"long_name": "depth N"}),
            "scale": (
                "scale",
                np.asarray(scales, float),
                {"long_name": "standard deviation of the start's entries"},
            ),
        },
        attrs={"observed": OBSERVED, "seed": seed},
    )


def _same_sign(start: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Whether det has the sign of the start's; rounding noise counts as no change."""
    det = np.linalg.det(W)
    return (np.sign(det) == np.sign(np.linalg.det(start))) | (
        np.abs(det) < 1e-9 * (W**2).sum((-2, -1))
    )


def effective_rank(W: np.ndarray) -> np.ndarray:
    """The effective rank of each matrix; NaN for one that is not there."""
    there = np.isfinite(W).all((-2, -1))
    out = np.full(there.shape, np.nan)
    if there.any():
        out[there] = dl.effective_rank(W[there])
    return out


def cells(grid: int) -> np.ndarray:
    """The centres of ``grid`` cells along an axis."""
    return REACH * (2 * np.arange(grid) + 1 - grid) / grid


def log_volume_at(
    w12: np.ndarray, w21: np.ndarray, depth: float, imbalance: float = 0.0
) -> np.ndarray:
    """log √det g, with respect to ∏ dw_ij, at unknown entries.

    Infinite on the hyperbola, which the centre of a cell may hit; not on a leaf of equal steps.
    """
    w12, w21 = np.broadcast_arrays(w12, w21)
    diagonal = np.full_like(w12, OBSERVED, float)
    W = np.stack([diagonal, w12, w21, diagonal], -1).reshape(*w12.shape, 2, 2)
    singular = (np.abs(np.linalg.det(W)) < 1e-14) & (imbalance == 0)
    safe = np.where(singular[..., None, None], np.eye(2), W)
    return np.where(singular, np.inf, np.asarray(dl.log_volume(safe, depth, imbalance=imbalance)))


def position(W: np.ndarray) -> np.ndarray:
    """τ = ½ log(w12/w21), the place along the hyperbola: 0 at the corners, NaN for w12·w21 ≤ 0."""
    w12, w21 = W[..., 0, 1], W[..., 1, 0]
    between = w12 * w21 > 0
    return np.where(
        between, 0.5 * np.log(np.where(between, w12, 1.0) / np.where(between, w21, 1.0)), np.nan
    )


def quantiles(values: np.ndarray, at: Sequence[float]) -> list[float]:
    """Quantiles of what is there."""
    values = values[np.isfinite(values)]
    return [float(q) for q in np.quantile(values, at)] if values.size else [math.nan] * len(at)


def draw_plane(axis: Axes, observed: float, **line: float | str) -> None:
    """The plane of the unknown entries: the hyperbola of rank 1 and its corners."""
    x = np.geomspace(observed**2 / (2 * REACH), 2 * REACH, 300)
    style: dict[str, Any] = {"color": "#888888", "lw": 1.0, "ls": "--", "zorder": 1} | line
    for sign in (1, -1):
        axis.plot(sign * x, sign * observed**2 / x, **style)
    axis.plot(
        [observed, -observed], [observed, -observed], "o", mfc="none", mec="black", ms=9, zorder=4
    )
    axis.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xlabel="w12", ylabel="w21")
