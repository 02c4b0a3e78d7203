"""Incremental learning as the start shrinks: Li, Luo, Lyu, *Towards resolving the implicit bias of
gradient descent for matrix factorization: greedy low-rank learning* (2020, arXiv 2012.09839).

**Known of the original**: from an infinitesimal start gradient flow learns one rank after the
other, and passes ever closer by the points of greedy low-rank learning as the start shrinks; at
depth ≥ 3 the start need not be exponentially small for it. **Our choice**: all entries of a 6×6
matrix of rank 3, singular values 1, 0.6 and 0.3, observed, E = ½‖W − M‖², so that the greedy points
are the truncated SVDs M_1, M_2 and everything is known in closed form; random starts N(0, scale²)
beside aligned ones, scale · U Vᵀ, which learn each singular value by itself, dσ/dt = σ^{2−2/N}
(s − σ). Singular value i gets to half of s_i at about the time that
`deeplinear.asymptotics.escape_time` gives for a push of s_i.

How near the flow comes to M_1: ∝ ε^{(s_1−s_2)/(s_1+s_2)} at N = 2, where the second singular value
grows while the first one still settles; ∝ ε at N > 2, where it has hardly moved then. The same for
M_2, with s_2 and s_3. (Fitted to the aligned run; random starts get there later, and at N = ∞ and ε
= 1e−6 the steps, accurate to about 1e−5, are what is seen.)
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ...asymptotics import escape_time
from ...dynamics.ensembles import ensemble
from ...energies import Completion
from ...labels import depth_label, short_depth_label
from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "Incremental learning: rank after rank, as the start shrinks"
SOURCE = "Li, Luo, Lyu 2020"
DURATION = "3 min"
CONCLUSION = (
    "Ranks are learned one after the other at the predicted times, and the flow passes the greedy"
    " points ever nearer as the start shrinks: as published."
)
FULL: dict[str, Any] = {
    "depths": (2.0, 3.0, math.inf),
    "scales": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    "shown": (1e-1, 1e-3, 1e-5),
    "runs": 8,
    "times": 400,
    "method": "implicit",
}
SMOKE: dict[str, Any] = {
    "depths": (2.0, 3.0),
    "scales": (1e-1, 1e-3),
    "shown": (1e-1, 1e-3),
    "runs": 2,
    "method": "explicit",
}

SIDE = 6
SPECTRUM = np.array([1.0, 0.6, 0.3])


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[float],
    scales: Sequence[float],
    shown: Sequence[float],
    runs: int,
    times: int,
    method: str,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Follow random starts and an aligned one (run 0) until the third singular value is learned."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.normal(size=(SIDE, SIDE)))[0] for _ in range(2))
    truth = (U[:, :3] * SPECTRUM) @ V[:, :3].T
    rows, cols = np.indices(truth.shape).reshape(2, -1)
    energy = Completion(rows, cols, truth.ravel(), truth.shape)
    starts = np.concatenate([(U @ V.T)[None], rng.normal(size=(runs, SIDE, SIDE))])
    greedy = np.stack([(U[:, :r] * SPECTRUM[:r]) @ V[:, :r].T for r in (1, 2)])
    shape = (len(depths), len(scales))
    ts, predicted = np.empty((*shape, times)), np.empty((*shape, 3))
    sigma = np.full((*shape, runs + 1, times, 4), np.nan)
    closest = np.full((*shape, runs + 1, 2), np.nan)
    for i, depth in enumerate(depths):
        for j, scale in enumerate(scales):
            done = (i * len(scales) + j) / (len(depths) * len(scales))
            report(progress, f"{depth_label(depth)}, start {scale:g}", done)
            predicted[i, j] = escape_time(depth, scale, SPECTRUM / 2, SPECTRUM)
            ts[i, j] = 2.0 * predicted[i, j, 2] * np.linspace(0, 1, times + 1)[1:]
            found = ensemble(energy, scale * starts, depth, times=ts[i, j], method=method)
            good = np.isfinite(found.path).all((1, 2, 3))
            sigma[i, j, good] = np.linalg.svd(found.path[good], compute_uv=False)[..., :4]
            distance = np.linalg.norm(found.path[:, :, None] - greedy, axis=(3, 4))
            closest[i, j, good] = distance[good].min(1)
    return _dataset(
        xr.Coordinates({"depth": list(depths), "scale": list(scales)}),
        ts,
        sigma,
        closest,
        predicted,
    ).assign_attrs(shown=list(shown))


def _dataset(
    grid: xr.Coordinates,
    ts: np.ndarray,
    sigma: np.ndarray,
    closest: np.ndarray,
    predicted: np.ndarray,
) -> xr.Dataset:
    """The paths and what is read off them, labelled; arrays begin with (depth, scale)."""
    dims, depths, scales = ("depth", "scale"), grid["depth"].values, grid["scale"].values
    half = half_times(ts, sigma[:, :, 0, :, :3])
    fits = [fitted(scales.tolist(), c) for c in closest]
    time = {"long_name": "time", "units": "CMV (N × time of the factors)"}
    variables = {
        "time": ((*dims, "step"), ts, time),
        "sigma": (
            (*dims, "run", "step", "index"),
            sigma,
            {"long_name": "singular values; run 0 is aligned"},
        ),
        "closest": (
            (*dims, "run", "stage"),
            closest,
            {"long_name": "least distance to the greedy point"},
        ),
        "predicted": (
            (*dims, "mode"),
            predicted,
            {"long_name": "escape time to s/2 under a push s"},
        ),
        "half_time": ((*dims, "mode"), half, {"long_name": "time at which σ = s/2, aligned"}),
        "exponent": (
            ("depth", "stage"),
            [exponents(d) for d in depths],
            {"long_name": "predicted p in ε^p"},
        ),
        "fitted": (
            ("depth", "stage"),
            fits,
            {"long_name": "p in ε^p, fitted to the aligned run"},
        ),
    }
    labels = {
        "run": np.arange(sigma.shape[2]),
        "stage": [1, 2],
        "mode": [1, 2, 3],
        "index": [1, 2, 3, 4],
    }
    return xr.Dataset(variables, grid).assign_coords(labels)


def half_times(ts: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """When each of the three singular values first reaches half of its goal: linear interpolation
    on the grid; NaN where it does not.
    """
    out = np.full((*ts.shape[:2], 3), np.nan)
    for i, j in np.ndindex(*ts.shape[:2]):
        for k in range(3):
            above = np.flatnonzero(sigma[i, j, :, k] >= SPECTRUM[k] / 2)
            if above.size and above[0] > 0:
                pair = slice(above[0] - 1, above[0] + 1)
                out[i, j, k] = np.interp(SPECTRUM[k] / 2, sigma[i, j, pair, k], ts[i, j, pair])
    return out


def exponents(depth: float) -> list[float]:
    """p in (least distance to M_r) ∝ ε^p: (s_r − s_{r+1})/(s_r + s_{r+1}) at N = 2, 1 at N > 2.

    >>> [round(p, 6) for depth in (2.0, 3.0) for p in exponents(depth)]
    [0.25, 0.333333, 1.0, 1.0]
    """
    s = SPECTRUM
    return [
        round(float((s[r] - s[r + 1]) / (s[r] + s[r + 1])), 15) if depth == 2 else 1.0
        for r in (0, 1)
    ]


def fitted(scales: Sequence[float], closest: np.ndarray) -> list[float]:
    """Slope of the aligned run over the three smallest starts; closest: (scale, run, stage)."""
    last = np.argsort(scales)[:3]
    x, y = np.log(np.array(scales)[last]), np.log(closest[last, 0])
    return [float(np.polyfit(x, y[:, r], 1)[0]) for r in (0, 1)]


def draw(ds: xr.Dataset) -> Figure:
    """Singular values over time, one row per depth, and how near they come to the greedy points."""
    shown, depths = ds.attrs["shown"], ds.depth.values
    with house_style():
        figure = new_figure(4.2 * (len(shown) + 1), 2.9 * len(depths))
        axes = np.atleast_2d(figure.subplots(len(depths), len(shown) + 1))
        for i, depth in enumerate(depths):
            for j, scale in enumerate(shown):
                axis, here = axes[i, j], ds.sel(depth=depth).sel(scale=scale, method="nearest")
                unit = float(here.predicted[2])
                for k in range(4):
                    colour = line_style(k)["color"]
                    axis.plot(
                        here.time / unit,
                        here.sigma.isel(run=slice(1, 5), index=k).T,
                        color=colour,
                        lw=1,
                    )
                    axis.plot(
                        here.time / unit,
                        here.sigma.isel(run=0, index=k),
                        color=colour,
                        lw=2.2,
                        ls="--",
                    )
                    if k < 3:
                        axis.axvline(float(here.predicted[k]) / unit, color=colour, lw=1, ls=":")
                axis.set(title=f"{short_depth_label(depth)}, start {scale:g}", ylim=(-0.03, 1.08))
                axis.set_ylabel("singular values" if j == 0 else "")
                axis.set_xlabel(
                    f"time / {unit:.3g}" + (" (escape of $\\sigma_3$)" if j == 0 else "")
                )
            axis = axes[i, -1]
            for stage in (1, 2):
                style, here = line_style(stage + 2), ds.closest.sel(depth=depth, stage=stage)
                p, q = (float(x.sel(depth=depth, stage=stage)) for x in (ds.fitted, ds.exponent))
                label = f"to $M_{stage}$, aligned: $ε^{{{p:.2f}}}$ (theory {q:.2f})"
                axis.plot(ds.scale, here.isel(run=0), label=label, **{**style, "ls": "--"})
                random = here.isel(run=slice(1, None))
                low, middle, high = (random.quantile(x, "run") for x in (0.25, 0.5, 0.75))
                axis.fill_between(ds.scale, low, high, color=style["color"], alpha=0.2, lw=0)
                axis.plot(
                    ds.scale, middle, color=style["color"], lw=1, label=f"to $M_{stage}$, random"
                )
            axis.set(
                title=f"{short_depth_label(depth)}: nearest approach",
                xlabel="size of the start ε",
                ylabel="distance",
                xscale="log",
                yscale="log",
            )
            axis.set_ylim(bottom=axis.get_ylim()[0] ** 1.7)
            axis.legend(fontsize=8, loc="lower right")
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """Escape times against the formula, and exponents against theirs."""
    rows: dict[str, str | float] = {}
    small = int(np.argmin(ds.scale.values))
    for depth in ds.depth.values:
        here = ds.sel(depth=depth)
        ratio = (here.half_time / here.predicted).isel(scale=small)
        rows[
            f"time to s/2 over escape_time, aligned start {float(ds.scale[small]):g}, "
            f"{short_depth_label(depth)}"
        ] = ", ".join(f"{float(x):.4f}" for x in ratio)
        rows[
            "exponents of the nearest approach to M_1, M_2, aligned, "
            f"{short_depth_label(depth)}: fitted (theory)"
        ] = ", ".join(
            f"{float(p):.3f} ({float(q):.3f})"
            for p, q in zip(here.fitted, here.exponent, strict=True)
        )
    rows["runs without an end"] = int(ds.closest.isel(stage=0).isnull().sum())
    return rows
