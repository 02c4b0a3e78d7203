"""Where small random starts end: the 2×2 completion with an observed diagonal.

**Source**: Cohen, Menon, Veraszto 2023, Figure 4: endpoints of gradient flow in the plane of the
two unknown entries, for N = 5, 10, 20 and ∞ and 3,000 small random starts of full rank, with insets
of their effective ranks.

**Known of the original**: the four depths, the number of runs, rank-1 completions on a hyperbola
whose corners are near ±(0.92, 0.92). **Our choice**: both observed entries 0.92 (which is what puts
the corners there), and the law of the start, which was not published: i.i.d. N(0, 1e−3²) entries.
The time t = ∞ is reached, with an error estimate for each run.
"""

import math

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ...labels import short_depth_label
from ...plots import COLOURS, house_style, new_figure
from ...progress import ProgressCallback
from ._hyperbola import draw_plane, endpoints, quantiles

TITLE = "Endpoints of small random starts on the hyperbola of rank-1 completions"
SOURCE = "Cohen, Menon, Veraszto 2023, Fig. 4"
DURATION = "15 s"
CONCLUSION = (
    "Endpoints lie on the hyperbola of rank 1, gathered at its corners: the picture of the paper."
    " The deeper the network, the wider they spread along it."
)
FULL: dict = {"depths": (5, 10, 20, math.inf), "runs": 3000, "scale": 1e-3}
SMOKE: dict = {"runs": 60}


def simulate(
    *,
    seed: int = 0,
    depths: tuple[float, ...],
    runs: int,
    scale: float,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Endpoints (depth, run) of the same starts at every depth."""
    return endpoints(depths, (scale,), runs, seed, progress).isel(scale=0)


def draw(ds: xr.Dataset) -> Figure:
    """One plane of (w12, w21) for each depth, the effective ranks in an inset."""
    with house_style():
        columns = min(2, ds.sizes["depth"])
        rows = -(-ds.sizes["depth"] // columns)
        figure = new_figure(4.9 * columns, 4.8 * rows)
        axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        top = 1 + 1.1 * float(np.nanmax(ds.effective_rank.quantile(0.995, "run")) - 1)
        bins = np.linspace(1, top, 31)
        for axis, (_, case) in zip(axes, ds.groupby("depth", squeeze=False), strict=False):
            case = case.isel(depth=0)
            W = case.W.values
            draw_plane(axis, ds.attrs["observed"])
            axis.plot(
                W[:, 0, 1], W[:, 1, 0], ".", ms=3, alpha=0.5, color=COLOURS[0], mew=0, zorder=3
            )
            axis.set_title(f"{short_depth_label(float(case.depth))}: {int(case.ok.sum()):,} runs")
            inset = axis.inset_axes((0.13, 0.66, 0.36, 0.27))
            inset.hist(np.minimum(case.effective_rank, top), bins, color=COLOURS[1])
            inset.set_yscale("log")
            inset.set_xlim(1, top)
            inset.tick_params(labelsize=8)
            inset.set_title("runs by effective rank (last bar: all above)", fontsize=8)
        for axis in axes[ds.sizes["depth"] :]:
            axis.set_axis_off()
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """Quantiles of |w12| and of the effective rank for each depth."""
    out: dict[str, str | float] = {}
    for depth in ds.depth.values:
        case, name = ds.sel(depth=depth), short_depth_label(float(depth))
        low, median, high = quantiles(np.abs(case.W.values[:, 0, 1]), (0.01, 0.5, 0.99))
        out[f"{name}: |w12| median (central 98 %)"] = f"{median:.3f} ({low:.3f} … {high:.3f})"
        typical, large = quantiles(case.effective_rank.values, (0.5, 0.99))
        out[f"{name}: effective rank median, 99 %, largest"] = (
            f"{typical:.4f}, {large:.3f}, {float(case.effective_rank.max()):.3f}"
        )
        out[f"{name}: runs with the sign of det changed"] = int((~case.same_sign & case.ok).sum())
        out[f"{name}: runs not carried to the end"] = int((~case.ok).sum())
    return out
