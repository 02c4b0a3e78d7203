"""Where optimizers end, beside the flow: the 2×2 hyperbola and 3×3 completions, and what is kept.

**Source**: Cohen, Menon, Veraszto 2023, Figure 4, for the hyperbola. Kunin et al. 2021 (*Neural
mechanics*) for symmetries and conserved charges of gradient flow that finite steps and momentum
break a little, and adaptive steps at once.

**Our choice**: balanced factors of W(0) with N(0, 0.3²) entries, three layers. Plain descent,
momentum .9 (of the same step η/(1 − .9)), and Adam, each of two sizes, to E = 1e−12; beside it the
flow of the same starts in its limit. *Charge*: max_p ‖W_{p+1}ᵀW_{p+1} − W_pW_pᵀ‖_F over the mean
‖W_p‖_F², 0 at the start and along the flow. The 3×3 problem observes five entries of a matrix of
rank 1, which determine it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import optax
import xarray as xr
from matplotlib.figure import Figure

import deeplinear as dl

from ...plots import COLOURS, MARKERS, house_style, new_figure
from ...progress import ProgressCallback, report
from ._descent import balanced, five_entries
from ._hyperbola import OBSERVED, draw_plane
from ._hyperbola import problem as hyperbola

TITLE = "Endpoints of descent, momentum and Adam beside the flow, and the charge they keep"
SOURCE = "after Kunin et al. 2021"
DURATION = "1 min"
CONCLUSION = (
    "Descent and momentum keep the charge of the flow to first order in the step; Adam does not "
    "keep it at any step and follows another flow. Low rank is not lost by either."
)
FULL: dict[str, Any] = {
    "methods": (
        *(("descent", 0.04), ("descent", 0.01)),
        *(("momentum", 0.004), ("momentum", 0.001)),
        *(("Adam", 0.01), ("Adam", 0.0025)),
    ),
    "depth": 3,
    "runs": 300,
    "scale": 0.3,
    "steps": 40_000,
}
SMOKE: dict[str, Any] = {"methods": (("descent", 0.04), ("Adam", 0.01)), "runs": 20, "steps": 5000}

PROBLEMS = ("hyperbola", "3×3")


def simulate(
    *,
    seed: int = 0,
    methods: Sequence[tuple[str, float]],
    depth: int,
    runs: int,
    scale: float,
    steps: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Over (problem, way, run): ``distance`` to the flow's end, ``charge``, ``effective_rank``,
    NaN where a run did not fit the data; on the hyperbola the ends' ``unknown`` entries (w12, w21).
    """
    shape = len(PROBLEMS), len(methods) + 1, runs
    distance, charge, rank = (np.full(shape, np.nan) for _ in range(3))
    unknown = np.full((shape[1], runs, 2), np.nan)
    for i, energy in enumerate((hyperbola(), five_entries(seed))):
        d = energy.target.shape[0]
        key = jax.random.key(seed)
        start = scale * np.asarray(jax.random.normal(key, (runs, d, d), np.float64))
        flow = dl.ensemble(energy, start, depth, seed=seed)
        ends = [np.where(flow.ok[:, None, None], flow.W, np.nan)]
        charge[i, 0] = np.where(flow.ok, 0.0, np.nan)
        factors = balanced(start, depth, seed)
        for j, (name, eta) in enumerate(methods):
            report(progress, f"{PROBLEMS[i]}: {name}, η = {eta:g}", (i + j / len(methods)) / 2)
            found = dl.descend(
                energy, factors, optimizer=optimizer(name, eta), steps=steps, stop_energy=1e-12
            )
            fits = found.energy < 1e-8
            ends.append(np.where(fits[:, None, None], found.W, np.nan))
            charge[i, j + 1] = np.where(fits, charges(found.factors), np.nan)
        W = np.stack(ends)
        distance[i] = np.linalg.norm(W - W[0], axis=(-2, -1))
        there = np.isfinite(W).all((-2, -1))
        rank[i][there] = dl.effective_rank(W[there])
        if i == 0:
            unknown = np.stack([W[..., 0, 1], W[..., 1, 0]], -1)
    cases = ("problem", "way", "run")
    return xr.Dataset(
        {
            "distance": (cases, distance, {"long_name": "distance to the end of the flow"}),
            "charge": (cases, charge, {"long_name": "relative charge"}),
            "effective_rank": (cases, rank, {"long_name": "effective rank"}),
            "unknown": (("way", "run", "entry"), unknown, {"long_name": "w12 and w21"}),
        },
        coords={
            "problem": list(PROBLEMS),
            "way": ["flow", *(f"{name} {eta:g}" for name, eta in methods)],
        },
        attrs={"seed": seed},
    )


def optimizer(name: str, eta: float) -> Any:
    """η itself for plain descent, optax's otherwise."""
    if name == "descent":
        return eta
    return optax.sgd(eta, momentum=0.9) if name == "momentum" else optax.adam(eta)


def charges(factors: Sequence[np.ndarray]) -> np.ndarray:
    """max_p ‖W_{p+1}ᵀW_{p+1} − W_pW_pᵀ‖_F over the mean of ‖W_p‖_F², of each run."""
    gaps = [
        np.linalg.norm(np.swapaxes(B, 1, 2) @ B - A @ np.swapaxes(A, 1, 2), axis=(1, 2))
        for A, B in pairwise(factors)
    ]
    return np.max(gaps, 0) / np.mean([np.sum(W**2, (1, 2)) for W in factors], 0)


def draw(ds: xr.Dataset) -> Figure:
    """Ends on the hyperbola; distance to the flow's end and charge in both problems."""
    with house_style():
        figure = new_figure(14, 4.8)
        plane, *axes = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
        draw_plane(plane, OBSERVED)
        for k, way in enumerate(ds.way.values):
            ends, style = ds.unknown.sel(way=way).values, {"color": COLOURS[k % 7]}
            label, marker = str(way), MARKERS[k % 7]
            if k == 0:
                plane.plot(*ends.T, ".", color="#999999", ms=9, label=label, mew=0)
                continue
            if k % 2 == 1 or ds.sizes["way"] < 4:  # one size of each in the plane
                plane.plot(*ends.T, marker, ms=3, ls="", label=label, alpha=0.7, mew=0, **style)
            for axis, name in zip(axes, ("distance", "charge"), strict=True):
                for row, problem in enumerate(ds.problem.values):
                    x = np.sort(ds[name].sel(problem=problem, way=way).dropna("run").values)
                    share = (np.arange(x.size) + 0.5) / max(x.size, 1)
                    line = {"ls": ("-", "--")[row], "lw": 1.6, **style}
                    axis.plot(np.maximum(x, 1e-8), share, label=label if row == 0 else None, **line)
        axes[1].plot([], [], color="#444444", ls="--", label="3×3 (the same colours)")
        for axis, title in zip(
            axes, ("Distance to the flow's end", "Charge at the end"), strict=True
        ):
            axis.set(xscale="log", xlabel="size", ylabel="share of runs below", title=title)
        axes[1].legend(fontsize=9)
        plane.legend(fontsize=9, loc="lower right")
        plane.set_title("Ends in the plane of the unknown entries")
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """Medians of distance, charge and effective rank, and runs without an end."""
    out: dict[str, str | float] = {}
    for problem in ds.problem.values:
        for way in ds.way.values:
            case = ds.sel(problem=problem, way=way)
            middle = [f"{float(case[v].median()):.2g}" for v in ("distance", "charge")]
            out[f"{problem}, {way}: distance, charge (medians)"] = ", ".join(middle)
            high = case.effective_rank.quantile([0.5, 0.95]).values
            out[f"{problem}, {way}: effective rank, median and 95 %"] = (
                f"{high[0]:.4f}, {high[1]:.3f}"
            )
            out[f"{problem}, {way}: runs that did not fit"] = int(case.charge.isnull().sum())
    return out
