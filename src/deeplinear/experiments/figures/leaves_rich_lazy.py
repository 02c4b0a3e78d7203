"""From rich to lazy: endpoints on the leaves of unbalanced networks, over their finite volume.

**Source**: λ-balanced networks, W_2ᵀW_2 − W_1W_1ᵀ = δ I (Dominé et al. 2024, 2409.14623; Kunin et
al. 2024, *Get rich quick*, for upstream and downstream starts), on the 2×2 completion of Cohen,
Menon, Veraszto 2023, Figures 4 and 5: w11 = w22 = 0.92 observed.

**Our choice**: equal steps c_p = (p − 1)δ at depths 2 and 3, starts N(0, 1e−2²). On these leaves
the volume density √det g^c is finite at rank loss, so that its preference for low rank, if there is
one, cannot come from a divergence. "Rank kept" is |det W∞|/0.92²: 0 on the hyperbola of rank 1, 1
where the unknown entries have not moved. The volume's own preference is the excess of log √det g^c
at the corner (0.92, 0.92) over the start's completion (0, 0).
"""

from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

import deeplinear as dl

from ...plots import COLOURS, house_style, line_style, new_figure
from ...progress import ProgressCallback, report
from ._hyperbola import OBSERVED, cells, draw_plane, log_volume_at, problem, quantiles

TITLE = "From rich to lazy: endpoints and the finite volume on unbalanced leaves"
SOURCE = "after Dominé et al. 2024; Cohen, Menon, Veraszto 2023, Fig. 4"
DURATION = "8 min"
CONCLUSION = (
    "Where the volume is finite it still prefers low rank, but endpoints do not follow it: what "
    "decides is the imbalance δ beside ε^{2/N} of the start."
)
FULL: dict = {
    "depths": (2, 3),
    "deltas": (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0),
    "runs": 500,
    "scale": 1e-2,
    "grid": 120,
}
SMOKE: dict = {"depths": (2,), "deltas": (0.0, 0.03, 1.0), "runs": 40, "grid": 30}
_SHOWN = (0.0, 1e-2, 0.1, 1.0)  # imbalances whose planes are drawn, at the first depth


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[int],
    deltas: Sequence[float],
    runs: int,
    scale: float,
    grid: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Endpoints (depth, delta, run) of the same starts, and the map ``log_volume`` (depth, delta,
    w21, w12) of each leaf.
    """
    starts = scale * np.asarray(jax.random.normal(jax.random.key(seed), (runs, 2, 2), np.float64))
    shape = (len(depths), len(deltas))
    W, ok = np.full((*shape, runs, 2, 2), np.nan), np.zeros((*shape, runs), bool)
    maps, excess = np.empty((*shape, grid, grid)), np.empty(shape)
    x = cells(grid)
    w21, w12 = np.meshgrid(x, x, indexing="ij")
    for i, depth in enumerate(depths):
        for j, delta in enumerate(deltas):
            done = (i * len(deltas) + j) / (shape[0] * shape[1])
            report(progress, f"depth {depth}, imbalance {delta:g}", done)
            found = dl.ensemble(problem(), starts, depth, imbalance=delta)
            ok[i, j] = found.ok
            W[i, j] = np.where(found.ok[:, None, None], found.W, np.nan)
            maps[i, j] = log_volume_at(w12, w21, depth, delta)
            corner, lazy = (
                float(log_volume_at(y, y, depth, delta)) for y in np.array([OBSERVED, 0.0])
            )
            excess[i, j] = corner - lazy
    kept = np.abs(np.linalg.det(W)) / OBSERVED**2
    cases = ("depth", "delta")
    volume = {"long_name": "log √det g", "units": "nats"}
    return xr.Dataset(
        {
            "W": ((*cases, "run", "row", "column"), W, {"long_name": "endpoint"}),
            "ok": ((*cases, "run"), ok, {"long_name": "carried to its end"}),
            "rank_kept": ((*cases, "run"), kept, {"long_name": "|det W∞|/0.92²"}),
            "log_volume": ((*cases, "w21", "w12"), maps, volume),
            "excess": (cases, excess, volume | {"long_name": "log √det g, corner less (0, 0)"}),
        },
        coords={
            "depth": ("depth", np.asarray(depths, float), {"long_name": "depth N"}),
            "delta": ("delta", np.asarray(deltas, float), {"long_name": "imbalance δ"}),
            "w12": x,
            "w21": x,
        },
        attrs={"observed": OBSERVED, "seed": seed},
    )


def draw(ds: xr.Dataset) -> Figure:
    """Planes of the first depth at some imbalances; below, all imbalances and depths."""
    shown = [delta for delta in _SHOWN if delta in ds.delta.values] or list(ds.delta.values[:4])
    with house_style():
        figure = new_figure(4.1 * max(len(shown), 2), 7.0)
        grid = figure.add_gridspec(2, 1, height_ratios=(3.2, 3.8))
        above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        axes = np.atleast_1d(above.subplots(1, len(shown)))
        for axis, delta in zip(axes, shown, strict=True):
            _draw_leaf(axis, above, ds.isel(depth=0).sel(delta=delta), ds.attrs["observed"])
        left, right = below.subplots(1, 2)
        _draw_rank(left, ds)
        _draw_excess(right, ds)
    return figure


def _draw_leaf(axis: Axes, figure: SubFigure, case: xr.Dataset, observed: float) -> None:
    x, values, W = case.w12.values, case.log_volume.values, case.W.values
    half = 0.5 * (x[1] - x[0])
    extent = (x[0] - half, x[-1] + half, x[0] - half, x[-1] + half)
    low, high = np.quantile(values[np.isfinite(values)], (0.01, 0.99))
    image = axis.imshow(values, origin="lower", extent=extent, vmin=low, vmax=high, cmap="viridis")
    draw_plane(axis, observed, color="white")
    axis.plot(W[:, 0, 1], W[:, 1, 0], ".", ms=5, color=COLOURS[1], mew=0, zorder=5)
    axis.grid(False)
    axis.set_title(f"N = {float(case.depth):g}, δ = {float(case.delta):g}")
    figure.colorbar(image, ax=axis, label="log √det g", shrink=0.62)


def _draw_rank(axis: Axes, ds: xr.Dataset) -> None:
    x = _positions(ds)
    for i, depth in enumerate(ds.depth.values):
        style = line_style(i)
        low, middle, high = np.array(
            [quantiles(ds.rank_kept.values[i, j], (0.1, 0.5, 0.9)) for j in range(x.size)]
        ).T
        axis.plot(x, middle, label=f"N = {depth:g}, median", **style)
        axis.fill_between(x, low, high, color=style["color"], alpha=0.2, lw=0)
    axis.set(ylabel="rank kept, |det W∞|/0.92²", title="endpoints (band: 10 – 90 %)")
    _label(axis, ds)
    axis.legend(fontsize=9)


def _draw_excess(axis: Axes, ds: xr.Dataset) -> None:
    x = _positions(ds)
    for i, depth in enumerate(ds.depth.values):
        excess = ds.excess.values[i]
        axis.plot(
            np.where(np.isfinite(excess), x, np.nan),
            excess,
            label=f"N = {depth:g}",
            **line_style(i),
        )
    axis.axhline(0, color="#888888", lw=1)
    axis.set(ylabel="log √det g: corner less (0, 0)", title="the volume's preference")
    _label(axis, ds)
    axis.legend(fontsize=9)


def _positions(ds: xr.Dataset) -> np.ndarray:
    """log10 δ; the balanced leaf one decade to the left of the smallest δ."""
    delta = ds.delta.values
    smallest = delta[delta > 0].min()
    return np.log10(np.where(delta > 0, delta, smallest / 10))


def _label(axis: Axes, ds: xr.Dataset) -> None:
    x, delta = _positions(ds), ds.delta.values
    axis.set_xticks(x, [f"{value:g}" for value in delta], rotation=45, fontsize=8)
    axis.set_xlabel("imbalance δ (0: balanced)")


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """The rank that endpoints keep, where the volume is largest, and its excess, on each leaf."""
    out: dict[str, str | float] = {}
    for i, depth in enumerate(ds.depth.values):
        for j, delta in enumerate(ds.delta.values):
            name = f"N = {depth:g}, δ = {delta:g}"
            low, middle, high = quantiles(ds.rank_kept.values[i, j], (0.1, 0.5, 0.9))
            out[f"{name}: rank kept (10 – 90 %)"] = f"{middle:.3f} ({low:.3f} … {high:.3f})"
            out[f"{name}: excess of log volume at the corner"] = round(float(ds.excess[i, j]), 3)
            out[f"{name}: largest volume at"] = _place(ds, i, j)
        out[f"N = {depth:g}: runs not carried to the end"] = int((~ds.ok.values[i]).sum())
    return out


def _place(ds: xr.Dataset, i: int, j: int) -> str:
    row, column = np.unravel_index(
        np.argmax(ds.log_volume.values[i, j]), ds.log_volume.values[i, j].shape
    )
    return f"|w12| = {abs(ds.w12.values[column]):.2f}, |w21| = {abs(ds.w21.values[row]):.2f}"
