"""Endpoints on the hyperbola against the size of the start, and at depth 2.

**Source**: the problem of Cohen, Menon, Veraszto 2023, Figure 4, which shows one size of start, and
no depth below 5.
**Our choice**: starts N(0, ε²), ε = 1e−1 … 1e−4, the same directions throughout; depths 2, 5, 10,
20, ∞.

Three things to see. At N > 2 endpoints approach rank 1 as the start shrinks. At N = 2 half of them,
those with det W(0) > 0, do not (depth 2 does not couple the two observed entries: [SY], Shin and
Yun 2026), and fill the diagonal between the corners: in the limit w12 = w21 = 0.92 ρ, where W(0) =
UΣVᵀ, (U + V) Σ (U + V)ᵀ = [[a, b], [b, c]] and ρ = b/√(ac); with det W(0) < 0 this is singular and
ρ = ±1. Along the hyperbola endpoints close in on the corners, at finite depth like ε^{2/N}: the
diagonal entries of (WWᵀ)^{1/N} − (WᵀW)^{1/N} never change, are of the order ε^{2/N} at the start,
and fix the place (docs/volume_law.md). At N = ∞ it is only like 1/log(1/ε).
"""

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...labels import short_depth_label
from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback
from ._hyperbola import draw_plane, endpoints, position, quantiles

TITLE = "Endpoints on the hyperbola against the size of the start"
SOURCE = "after Cohen, Menon, Veraszto 2023, Fig. 4"
DURATION = "15 s"
CONCLUSION = (
    "Endpoints close in on the corners like ε^{2/N}, at infinite depth only like 1/log(1/ε). At "
    "depth 2 half of the starts never reach rank 1."
)
FULL: dict = {"depths": (2, 5, 10, 20, math.inf), "scales": (1e-1, 1e-2, 1e-3, 1e-4), "runs": 3000}
SMOKE: dict = {"depths": (2, 5, math.inf), "scales": (1e-1, 1e-3), "runs": 60}


def simulate(
    *,
    seed: int = 0,
    depths: tuple[float, ...],
    scales: tuple[float, ...],
    runs: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Endpoints (depth, scale, run)."""
    return endpoints(depths, scales, runs, seed, progress)


def _against_size(ds: xr.Dataset, values: np.ndarray, q: float) -> np.ndarray:
    """The q-quantile over runs (depth, scale)."""
    return np.array(
        [
            [quantiles(values[i, j], [q])[0] for j in range(ds.sizes["scale"])]
            for i in range(len(ds.depth))
        ]
    )


def draw(ds: xr.Dataset) -> Figure:
    """Above, the endpoints for each depth; below, their distances from corners and rank 1."""
    depths, scales = ds.depth.values, ds.scale.values
    with house_style():
        figure = new_figure(max(3.1 * len(depths), 9.0), 8.4)
        grid = figure.add_gridspec(2, 2 * len(depths), height_ratios=(1, 1.3))
        for i, depth in enumerate(depths):
            axis = figure.add_subplot(grid[0, 2 * i : 2 * i + 2])
            draw_plane(axis, ds.attrs["observed"])
            for j, scale in enumerate(scales):
                W = ds.W.values[i, j]
                style = line_style(j)
                axis.plot(
                    W[:, 0, 1],
                    W[:, 1, 0],
                    ".",
                    ms=3.5,
                    color=style["color"],
                    mew=0,
                    alpha=0.6,
                    label=f"{scale:g}",
                )
            axis.set_title(short_depth_label(float(depth)))
            if i:
                axis.set_ylabel("")
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            title="standard deviation ε of the start",
            ncols=4,
            loc="outside upper center",
            markerscale=4,
        )
        left, right = (
            figure.add_subplot(grid[1, : len(depths)]),
            figure.add_subplot(grid[1, len(depths) :]),
        )
        _draw_distances(ds, left, right)
    return figure


def _draw_distances(ds: xr.Dataset, left: Axes, right: Axes) -> None:
    """Distances from the corners, and from rank 1, against the size of the start."""
    scales = ds.scale.values
    along = _against_size(ds, np.abs(position(ds.W.values)), 0.9)
    away = _against_size(ds, ds.effective_rank.values - 1, 0.9)
    for i, depth in enumerate(ds.depth.values):
        style = line_style(i)
        left.loglog(scales, along[i], label=short_depth_label(float(depth)), **style)
        right.loglog(scales, away[i], label=short_depth_label(float(depth)), **style)
        if math.isfinite(depth) and depth > 2:  # the law ε^{2/N}, through the smallest start
            law = along[i, -1] * (scales / scales[-1]) ** (2 / depth)
            left.loglog(scales, law, ":", color=style["color"], lw=1.2)
    left.set(
        xlabel="ε",
        ylabel="|½ log(w12/w21)|, 90 % quantile",
        title="distance from the corners, along the hyperbola",
    )
    right.set(xlabel="ε", ylabel="effective rank − 1, 90 % quantile", title="distance from rank 1")
    left.plot([], [], ":", color="#555555", label="∝ $ε^{2/N}$")
    left.legend(fontsize=9)
    right.legend(fontsize=9)


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """The exponents of the spread, the share of runs at rank 1, and the runs without an end."""
    out: dict[str, str | float] = {}
    along = _against_size(ds, np.abs(position(ds.W.values)), 0.9)
    for i, depth in enumerate(ds.depth.values):
        name = short_depth_label(float(depth))
        if ds.sizes["scale"] > 1:
            slope = np.log(along[i, -2] / along[i, -1]) / np.log(
                ds.scale.values[-2] / ds.scale.values[-1]
            )
            out[f"{name}: exponent of the spread, last two sizes (2/N = {2 / depth:.3g})"] = round(
                float(slope), 3
            )
        rank = ds.effective_rank.values[i]
        near = np.nanmean(
            np.where(np.isfinite(rank), rank < 1 + 1e-3, np.nan), -1
        )  # of the runs that ended
        out[f"{name}: share of runs below effective rank 1.001, by size"] = ", ".join(
            f"{x:.3f}" for x in near
        )
        case = ds.isel(depth=i)
        out[f"{name}: sign of det changed, by size"] = ", ".join(
            str(int(x)) for x in (~case.same_sign & case.ok).sum("run")
        )
    out["runs not carried to the end"] = int((~ds.ok).sum())
    return out
