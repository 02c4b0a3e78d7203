"""The Riemannian volume over the plane of the unknown entries, with the endpoints of training on
top.

**Source**: Cohen, Menon, Veraszto 2023, Figure 5: maps of the logarithm of the volume form √det g^N
over (w12, w21), brightest at the corners of the hyperbola, where training ends.

**Known of the original**: the map and its plane. **Our choice**: the depths and endpoints of Figure
4 (N = 5, 10, 20, ∞, start N(0, 1e−3²)), the density with respect to ∏ dw_ij, colours clipped at
quantiles of each map, for it is infinite on the hyperbola. The last panel says what the eye cannot:
the volume at a small fixed |det| along the hyperbola, whose limit is the law cosh(τ)^{−2(1−1/N)}.
"""

import math

import numpy as np
import xarray as xr
from matplotlib.figure import Figure, SubFigure

from ...labels import short_depth_label
from ...plots import COLOURS, house_style, line_style, new_figure
from ...progress import ProgressCallback
from ._hyperbola import OBSERVED, cells, draw_plane, endpoints, log_volume_at, position

TITLE = "Log volume over the plane of the unknown entries, endpoints on top"
SOURCE = "Cohen, Menon, Veraszto 2023, Fig. 5"
DURATION = "10 s"
CONCLUSION = (
    "The volume is largest at the corners, where training ends: as published. But along the "
    "hyperbola it changes by less than a factor of 2.4 within |τ| ≤ 1, too little to gather "
    "endpoints as they are."
)
FULL: dict = {"depths": (5, 10, 20, math.inf), "runs": 500, "scale": 1e-3, "grid": 300}
SMOKE: dict = {"runs": 60, "grid": 40}
_NEAR = 1e-4  # |det| of the curve beside the hyperbola


def simulate(
    *,
    seed: int = 0,
    depths: tuple[float, ...],
    runs: int,
    scale: float,
    grid: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Endpoints (depth, run), the map ``log_volume`` (depth, w21, w12), and ``along`` (depth, tau)
    beside the hyperbola.
    """
    ds = endpoints(depths, (scale,), runs, seed, progress).isel(scale=0)
    x = cells(grid)
    w21, w12 = np.meshgrid(x, x, indexing="ij")
    tau = np.linspace(-1.5, 1.5, 61)
    beside = math.sqrt(OBSERVED**2 - _NEAR)
    maps = np.stack([log_volume_at(w12, w21, depth) for depth in depths])
    along = np.stack(
        [log_volume_at(beside * np.exp(tau), beside * np.exp(-tau), depth) for depth in depths]
    )
    ds["log_volume"] = (("depth", "w21", "w12"), maps, {"long_name": "log √det g", "units": "nats"})
    ds["along"] = (
        ("depth", "tau"),
        along,
        {"long_name": f"log √det g at det = {_NEAR:g}", "units": "nats"},
    )
    return ds.assign_coords(w12=x, w21=x, tau=tau)


def draw(ds: xr.Dataset) -> Figure:
    """One map for each depth; below, the volume along the hyperbola beside the endpoints."""
    x, panels = ds.w12.values, ds.sizes["depth"]
    half = 0.5 * (x[1] - x[0])
    extent = (x[0] - half, x[-1] + half, x[0] - half, x[-1] + half)
    with house_style():
        columns = min(panels, 2)
        rows = -(-panels // columns)
        figure = new_figure(5.0 * columns, 4.3 * rows + 3.4)
        grid = figure.add_gridspec(2, 1, height_ratios=(4.3 * rows, 3.4))
        above = figure.add_subfigure(grid[0])
        below = figure.add_subfigure(grid[1])
        axes = np.atleast_1d(above.subplots(rows, columns)).ravel()
        for axis, i in zip(axes, range(panels), strict=False):
            values, W = ds.log_volume.values[i], ds.W.values[i]
            low, high = np.quantile(values, (0.01, 0.99))
            shown = axis.imshow(
                values, origin="lower", extent=extent, vmin=low, vmax=high, cmap="viridis"
            )
            draw_plane(axis, ds.attrs["observed"], ls="")  # the map shows it by itself
            axis.plot(W[:, 0, 1], W[:, 1, 0], ".", ms=5, color=COLOURS[1], mew=0, zorder=5)
            axis.grid(False)
            axis.set_title(short_depth_label(float(ds.depth[i])))
            above.colorbar(shown, ax=axis, label="log √det g (1 % – 99 %)", shrink=0.85)
        for axis in axes[panels:]:
            axis.set_axis_off()
        _draw_along(ds, below)
    return figure


def _draw_along(ds: xr.Dataset, figure: SubFigure) -> None:
    left, right = figure.subplots(1, 2)
    for i, depth in enumerate(ds.depth.values):
        style = line_style(i) | {"markevery": 6}
        left.plot(
            ds.tau,
            ds.along.values[i] - ds.along.values[i].max(),
            label=short_depth_label(float(depth)),
            **style,
        )
        tau = np.sort(position(ds.W.values[i]))
        tau = tau[np.isfinite(tau)]
        right.step(
            tau,
            np.linspace(0, 1, tau.size),
            where="mid",
            label=short_depth_label(float(depth)),
            color=style["color"],
        )
    left.set(
        xlabel="τ = ½ log(w12/w21)",
        ylabel="log √det g, less its maximum",
        title=f"volume at det = {_NEAR:g}",
    )
    right.set(xlim=(-1.5, 1.5), xlabel="τ", ylabel="share of endpoints below", title="endpoints")
    left.legend(fontsize=9)
    right.legend(fontsize=9)


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """How much less volume there is away from the corners, and how many endpoints."""
    out: dict[str, str | float] = {}
    tau = ds.tau.values
    for i, depth in enumerate(ds.depth.values):
        name, volume = short_depth_label(float(depth)), ds.along.values[i]
        drop = float(np.interp(0, tau, volume) - np.interp(1, tau, volume))
        out[f"{name}: log volume, corner less τ = 1"] = round(drop, 3)
        out[f"{name}: its limit 2(1 − 1/N) log cosh 1"] = round(
            2 * (1 - 1 / depth) * math.log(math.cosh(1)), 3
        )
        place = np.abs(position(ds.W.values[i]))
        out[f"{name}: largest |τ| of an endpoint"] = round(float(np.nanmax(place)), 3)
    return out
