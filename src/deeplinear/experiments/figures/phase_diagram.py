"""Sample complexity: how often a matrix of low rank is recovered exactly, over the share of entries
seen and the rank, at each depth.

A phase diagram of this kind is standard for the nuclear norm (Candès, Recht 2009); for depth it
goes with the recovery errors of Arora, Cohen, Hu, Luo 2019 and with Schatten-p completion, p = 2/N
(Shang et al. 2016). **Our choice**: 100×100 truths with N(0, 1) factors, no noise, entries drawn
without replacement, the same problems for every method; recovered means ‖W − M‖_F < 1e−3 ‖M‖_F.

Methods: the minimizer of Σ σ_i^{2/N} among the matrices that agree with the entries
(weight decay λ → 0) at depth 2, which is the nuclear norm, 3, 4 and ∞ (there Σ log σ_i), with the
rank unknown (a cap of 30). None can succeed where a row or a column has fewer entries than the
rank; the grey line is where half of the problems have one. (The implicit bias of depth 2, the flow
from a small start, is in ``achl_depth``: it does no better than the nuclear norm.)
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report
from ._recovery import RecoveryProblem, degrees_of_freedom, explicit, method_label

TITLE = "Exact recovery: how many entries at which depth"
SOURCE = "after Candès, Recht 2009; Arora et al. 2019"
DURATION = "40 min"
CONCLUSION = (
    "Depth 3, 4 and ∞ recover with about 1 to 3 entries per degree of freedom, the nuclear norm "
    "with 2.4 to 10.6; they do not differ from each other here."
)
FULL: dict[str, Any] = {
    "size": 100,
    "ranks": (1, 2, 4, 6, 8, 10, 12),
    "shares": tuple(np.round(np.arange(0.06, 0.79, 0.06), 2).tolist()),
    "depths": (2.0, 3.0, 4.0, math.inf),
    "trials": 4,
    "max_rank": 30,
}
SMOKE: dict[str, Any] = {
    "size": 24,
    "ranks": (1, 2),
    "shares": (0.3, 0.45, 0.6),
    "depths": (2.0, 3.0),
    "trials": 2,
    "max_rank": 10,
}

TOLERANCE = 1e-3
"""The relative error below which a matrix counts as recovered."""


def simulate(
    *,
    seed: int = 0,
    size: int,
    ranks: Sequence[int],
    shares: Sequence[float],
    depths: Sequence[float],
    trials: int,
    max_rank: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Complete ``trials`` problems of each kind by each method; cells with fewer entries than
    degrees of freedom are left out (NaN).
    """
    methods = [method_label(depth) for depth in depths]
    error = np.full((len(methods), len(ranks), len(shares), trials), np.nan)
    determined = np.full(error.shape[1:], np.nan)
    for i, rank in enumerate(ranks):
        for j, share in enumerate(shares):
            done = (i * len(shares) + j) / (len(ranks) * len(shares))
            report(progress, f"rank {rank}, {share:.0%} observed", done)
            entries = round(share * size**2)
            if entries < degrees_of_freedom(size, rank):
                continue
            for k in range(trials):
                rng = np.random.default_rng([seed, i, j, k])
                problem = RecoveryProblem.random(rng, size, rank, entries)
                determined[i, j, k] = problem.determined
                for a, depth in enumerate(depths):
                    completed = explicit(problem, depth, max_rank=max_rank)
                    error[a, i, j, k] = problem.error(completed)
    dims = ("way", "rank", "share", "trial")
    return xr.Dataset(
        {
            "error": (dims, error, {"long_name": "relative error ‖W − M‖/‖M‖"}),
            "determined": (
                dims[1:],
                determined,
                {"long_name": "1 where no row or column has fewer entries than the rank"},
            ),
        },
        coords={
            "way": methods,
            "rank": list(ranks),
            "share": list(shares),
            "trial": np.arange(trials),
        },
        attrs={"size": size},
    )


def recovered(ds: xr.Dataset) -> xr.DataArray:
    """The fraction of problems recovered, per method, rank and share; NaN where there are fewer
    entries than degrees of freedom.
    """
    return (ds.error < TOLERANCE).where(ds.error.notnull()).mean("trial")


def boundary(fraction: xr.DataArray) -> np.ndarray:
    """For each rank the smallest share from which on at least half are recovered (interpolated to
    one half); NaN if there is none.
    """
    shares, out = fraction.share.values, []
    for row in np.nan_to_num(fraction.transpose("rank", "share").values):
        below = np.flatnonzero(row < 0.5)
        j = below[-1] + 1 if below.size else 0
        if j == len(shares):
            out.append(math.nan)
        elif j == 0:
            out.append(shares[0])
        else:
            out.append(np.interp(0.5, row[j - 1 : j + 1], shares[j - 1 : j + 1]))
    return np.array(out)


def draw(ds: xr.Dataset) -> Figure:
    """One diagram for each method, and the boundaries of all in one."""
    fraction = recovered(ds)
    columns = 3
    rows = -(-(ds.sizes["way"] + 1) // columns)
    with house_style():
        figure = new_figure(13.5, 3.9 * rows)
        axes = np.atleast_2d(figure.subplots(rows, columns))
        shown = None
        for axis, method in zip(axes.flat, ds.way.values, strict=False):
            axis.grid(False)
            values = fraction.sel(way=method).transpose("rank", "share")
            colours = mpl.colormaps["cividis"].with_extremes(bad="#f2f2f2")
            shown = axis.pcolormesh(
                ds.share, ds["rank"], values, cmap=colours, vmin=0, vmax=1, shading="nearest"
            )
            _limits(axis, ds)
            axis.set_title(str(method))
        last = axes.flat[ds.sizes["way"]]
        for i, method in enumerate(ds.way.values):
            last.plot(
                boundary(fraction.sel(way=method)), ds["rank"], label=str(method), **line_style(i)
            )
        _limits(last, ds)
        last.set_title("Half of the problems recovered")
        last.legend(fontsize=8, loc="lower right")
        last.set(xlim=axes.flat[0].get_xlim(), ylim=axes.flat[0].get_ylim())
        for axis in axes.flat[ds.sizes["way"] + 1 :]:
            axis.set_axis_off()
        for axis in axes.flat[: ds.sizes["way"] + 1]:
            axis.set(xlabel="share of entries seen", ylabel="rank")
        if shown is not None:
            figure.colorbar(
                shown,
                ax=axes,
                label="fraction recovered (light grey: fewer entries than unknowns)",
                shrink=0.7,
            )
    return figure


def _limits(axis: Axes, ds: xr.Dataset) -> None:
    """Where entries equal the degrees of freedom, and where half the problems are determined."""
    d = ds.attrs["size"]
    ranks = np.linspace(float(ds["rank"].min()), float(ds["rank"].max()), 100)
    axis.plot(
        degrees_of_freedom(d, ranks) / d**2,
        ranks,
        color="#D55E00",
        lw=1.6,
        ls="--",
        label="unknowns = entries",
    )
    axis.plot(
        boundary(ds.determined.mean("trial")),
        ds["rank"],
        color="#888888",
        lw=1.6,
        ls=":",
        label="half determined",
    )


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """How many entries, in units of the degrees of freedom, recover half of the problems; and who
    recovers which.
    """
    fraction, d = recovered(ds), ds.attrs["size"]
    rows: dict[str, str | float] = {}
    for method in ds.way.values:
        ratio = boundary(fraction.sel(way=method)) * d**2 / degrees_of_freedom(d, ds["rank"].values)
        cells = ", ".join(f"{r}: {x:.2f}" for r, x in zip(ds["rank"].values, ratio, strict=True))
        rows[f"entries per degree of freedom to recover half, by rank; {method}"] = cells
        ok = (ds.error.sel(way=method) < TOLERANCE).sum() / ds.error.sel(way=method).notnull().sum()
        rows[f"share of all problems recovered; {method}"] = f"{float(ok):.3f}"
    if method_label(2) in ds.way.values and method_label(3) in ds.way.values:
        two, three = (ds.error.sel(way=method_label(depth)) < TOLERANCE for depth in (2, 3))
        rows["problems that N = 3 recovers and the nuclear norm does not; the reverse"] = (
            f"{int((three & ~two).sum())}; {int((two & ~three).sum())}"
        )
    return rows
