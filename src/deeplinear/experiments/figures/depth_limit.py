"""The limit of infinite depth, measured: how fast flows, endpoints and volumes at depth N come to
those at N = ∞ (Cohen, Menon, Veraszto 2023, arXiv 2210.12497, §2 and Theorem 1.1).

**Known of the original**: with the factor 1/N in the metric the limit exists, and N = 20 looks like
N = ∞ in its figures; no rates are given. **Our choice**: completion of 3×3 matrices of rank 1 from
six entries, random starts N(0, scale²) of two sizes, the same start at every depth, N = 4 … 1024
against N = ∞: the largest ‖W_N(t) − W_∞(t)‖_F over time, ‖W_N(∞) − W_∞(∞)‖_F, and at random points
|log √det g^N − log √det g^∞| and |S_N − S_∞| (without the constant). Rates are slopes of the
medians over the four largest depths.

As λ_N(a, b) = λ_∞(a, b) (1 − (log a + log b)/N + O(1/N²)), all are O(1/N), and the last two tend to
(d/N) |log|det W|| and ((d − 1)/(2N)) |log|det W||. A smaller start makes the flows more different,
for log a enters and most of the difference is one of time; and the endpoints less, for they all
come nearer to the completion of rank 1.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ...dynamics.ensembles import ensemble
from ...energies import Completion
from ...geometry.volume import entropy, log_volume
from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "The limit of infinite depth: rates"
SOURCE = "Cohen, Menon, Veraszto 2023, Thm. 1.1"
DURATION = "1 min"
CONCLUSION = "Flows, endpoints, volume and entropy at depth N differ from those at N = ∞ by O(1/N)."
FULL: dict[str, Any] = {
    "depths": (4, 8, 16, 32, 64, 128, 256, 512, 1024),
    "scales": (1e-1, 1e-2),
    "runs": 40,
    "times": 200,
    "accuracy": 1e-8,
}
SMOKE: dict[str, Any] = {
    "depths": (64, 256, 1024),
    "scales": (1e-1,),
    "runs": 10,
    "times": 20,
    "accuracy": 1e-5,
}

SIZE = 3
OBSERVED = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 0))
"""The observed positions: a cycle, so that a completion of rank 1, if there is one, is unique."""


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[float],
    scales: Sequence[float],
    runs: int,
    times: int,
    accuracy: float,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Distances to N = ∞ of every quantity at every depth and run."""
    rng = np.random.default_rng(seed)
    noise, points = rng.normal(size=(2, runs, SIZE, SIZE))
    gaps = {}
    for i, scale in enumerate(scales):
        report(progress, f"flows from starts of size {scale:g}", i / len(scales))
        gaps[f"flow, start {scale:g}"], gaps[f"endpoint, start {scale:g}"] = flow_gaps(
            scale * noise, depths, times, accuracy
        )
    gaps["log volume"] = volume_gaps(log_volume, points, depths)
    gaps["entropy"] = volume_gaps(lambda W, N: entropy(W, N, constant=False), points, depths)
    names = list(gaps)
    gap = np.array([gaps[name] for name in names])
    log_det = np.abs(np.linalg.slogdet(points)[1])
    return xr.Dataset(
        {
            "gap": (("quantity", "depth", "run"), gap, {"long_name": "distance to N = ∞"}),
            "rate": (
                "quantity",
                [rate(np.array(depths), np.nanmedian(g, 1)) for g in gap],
                {"long_name": "p in N^{−p}"},
            ),
            "log_det": ("run", log_det, {"long_name": "|log|det W||, points of the volumes"}),
        },
        coords={"quantity": names, "depth": np.array(depths, float), "run": np.arange(runs)},
    )


def problem() -> Completion:
    """The six entries of u vᵀ, u = (1, 0.8, 0.6), v = (0.9, 1.1, 0.7)."""
    rows, cols = np.array(OBSERVED).T
    truth = np.outer([1.0, 0.8, 0.6], [0.9, 1.1, 0.7])
    return Completion(rows, cols, truth[rows, cols], (SIZE, SIZE))


def flow_gaps(
    starts: np.ndarray, depths: Sequence[float], times: int, accuracy: float
) -> tuple[np.ndarray, np.ndarray]:
    """sup_t ‖W_N − W_∞‖_F over a grid of times, and the distance of the ends; depth first. NaN for
    runs without an end.
    """
    energy = problem()
    ts = np.linspace(0, 6 / float(np.abs(starts).mean()), times)[1:]
    follow = lambda N, ts=None: ensemble(energy, starts, N, times=ts, accuracy=accuracy)  # noqa: E731
    limit, limit_end = follow(math.inf, ts), follow(math.inf)
    paths, ends = [], []
    for N in depths:
        here, end = follow(N, ts), follow(N)
        distance = np.linalg.norm(here.path - limit.path, axis=(2, 3)).max(1)
        paths.append(np.where(here.ok & limit.ok, distance, np.nan))
        distance = np.linalg.norm(end.W - limit_end.W, axis=(1, 2))
        ends.append(np.where(end.ok & limit_end.ok, distance, np.nan))
    return np.array(paths), np.array(ends)


def volume_gaps(
    function: Callable[[np.ndarray, float], ArrayLike], points: np.ndarray, depths: Sequence[float]
) -> np.ndarray:
    """|f_N − f_∞| at the points, depth first."""
    limit = np.asarray(function(points, math.inf))
    return np.array([np.abs(np.asarray(function(points, float(N))) - limit) for N in depths])


def rate(depths: np.ndarray, gap: np.ndarray) -> float:
    """p of gap ∝ N^{−p}, by least squares in logarithms over the four largest depths.

    >>> round(rate(np.array([1.0, 2, 4, 8, 16]), 3.0 / np.array([1.0, 2, 4, 8, 16])), 6)
    1.0
    """
    last = np.argsort(depths)[-4:]
    return -float(np.polyfit(np.log(depths[last]), np.log(gap[last]), 1)[0])


def draw(ds: xr.Dataset) -> Figure:
    """The medians of all distances over the depth, with their quartiles, and a line of slope −1."""
    with house_style():
        figure = new_figure(12.5, 4.8)
        groups = (
            [q for q in ds.quantity.values if "start" in q],
            [q for q in ds.quantity.values if "start" not in q],
        )
        for axis, names in zip(figure.subplots(1, 2), groups, strict=True):
            for i, name in enumerate(names):
                gap, style = ds.gap.sel(quantity=name), line_style(i)
                low, middle, high = (gap.quantile(q, "run") for q in (0.25, 0.5, 0.75))
                axis.fill_between(ds.depth, low, high, color=style["color"], alpha=0.2, lw=0)
                axis.plot(
                    ds.depth,
                    middle,
                    label=f"{name}: $N^{{-{float(ds.rate.sel(quantity=name)):.3f}}}$",
                    **style,
                )
            top = float(ds.gap.sel(quantity=names).median("run").isel(depth=-1).max())
            guide = 1.6 * top * float(ds.depth[-1]) / ds.depth
            axis.plot(ds.depth, guide, color="#888888", ls="--", lw=1, label="slope −1")
            axis.set(xscale="log", yscale="log", xlabel="depth N", ylabel="distance to N = ∞")
            axis.legend()
        figure.axes[0].set_ylim(bottom=3e-9)
        figure.axes[0].set_title("Flows and endpoints: ‖$W_N − W_∞$‖")
        figure.axes[1].set_title("Volume and entropy at random points")
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """The rates, and how near the medians are to N = ∞ at the largest depth."""
    rows: dict[str, str | float] = {}
    for name in ds.quantity.values:
        gap = ds.gap.sel(quantity=name).isel(depth=-1)
        rows[f"{name}: rate p of N^−p; median distance at N = {float(ds.depth[-1]):g}"] = (
            f"{float(ds.rate.sel(quantity=name)):.4f}; {float(gap.median()):.2e}"
        )
    rows["flows without an end"] = int(ds.gap.isnull().any("quantity").sum())
    return rows
