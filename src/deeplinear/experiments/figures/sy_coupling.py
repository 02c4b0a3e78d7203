"""Coupled dynamics: Shin and Yun, *Implicit bias and loss of plasticity in matrix completion: depth
promotes low-rankness* (ICLR 2026, arXiv 2603.04703).

**Known of the original** (its abstract and theorems): with block-diagonal observations depth ≥ 3
couples the blocks unless the start is diagonal, and the flow goes to rank 1 if and only if it is
coupled. Sizes, starts and entries are our choice. What becomes of such a network when training goes
on with more entries is the experiment `plasticity`.

**Coupling.** A 4×4 truth of rank 1, two 2×2 blocks observed; random starts N(0, scale²) and
diagonal ones of the same size; depth 2, 3, 4 and ∞: the effective rank of the endpoint, and the
norm of what is left outside the blocks.

A diagonal start stays diagonal exactly, though at N = ∞ the time is long enough for rounding errors
to grow from the smallest start: the steps in (U, log σ, V) keep them out.

At depth 2 decoupling is exact for single entries: rows of W_2 and columns of W_1 meet only in their
own entry, and turn by (cosh τ_i, sinh τ_i), which gives every endpoint in closed form
(`decoupled_endpoint`).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import brentq

from ...asymptotics import effective_rank
from ...dynamics.ensembles import ensemble
from ...energies import Completion
from ...labels import depth_label, short_depth_label
from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "Coupled dynamics: what joins two blocks of observations"
SOURCE = "Shin, Yun 2026"
DURATION = "25 s"
CONCLUSION = (
    "Depth 3 and more couple the blocks and go to rank 1 unless the start is diagonal; depth 2 "
    "does not: as published."
)
FULL: dict[str, Any] = {
    "depths": (2.0, 3.0, 4.0, math.inf),
    "scales": (1.0, 0.3, 1e-1, 1e-2, 1e-3),
    "runs": 40,
    "accuracy": 1e-4,
}
SMOKE: dict[str, Any] = {
    "depths": (2.0, 3.0),
    "scales": (0.3, 3e-2),
    "runs": 3,
    "accuracy": 1e-4,
}

BLOCKS = np.kron(np.eye(2, dtype=bool), np.ones((2, 2), bool))
SIDE = 4
TRUTH = np.linspace(0.7, 1.3, SIDE)
"""u of the truth u uᵀ."""


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[float],
    scales: Sequence[float],
    runs: int,
    accuracy: float,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Endpoints under block-diagonal observations; NaN where a run did not converge."""
    noise = np.random.default_rng(seed).normal(size=(runs, SIDE, SIDE))
    one = np.eye(SIDE, dtype=bool)
    diagonal = np.abs(noise) * one
    shape = (len(depths), len(scales), 2, runs)
    rank, outside = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, depth in enumerate(depths):
        report(progress, depth_label(depth), i / len(depths))
        for j, scale in enumerate(scales):
            for k, (start, mask) in enumerate(((noise, BLOCKS), (diagonal, one))):
                found = ensemble(observe(mask), scale * start, depth, accuracy=accuracy)
                rank[i, j, k] = np.where(found.ok, effective_rank(found.W), np.nan)
                outside[i, j, k] = np.where(
                    found.ok, np.linalg.norm(found.W[:, ~mask], axis=1), np.nan
                )
    dims = ("depth", "scale", "start", "run")
    return xr.Dataset(
        {
            "effective_rank": (dims, rank),
            "outside": (dims, outside, {"long_name": "norm of the entries that are not observed"}),
        },
        coords={
            "depth": list(depths),
            "scale": list(scales),
            "start": ["random", "diagonal"],
            "run": np.arange(runs),
        },
    )


def observe(mask: np.ndarray) -> Completion:
    """The completion of the truth from the entries of a mask."""
    rows, cols = np.nonzero(mask)
    return Completion(rows, cols, np.outer(TRUTH, TRUTH)[rows, cols], mask.shape)


def decoupled_endpoint(W0: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Where the depth-2 flow ends that observes the diagonal alone: W_ij = ⟨a_i(τ_i), b_j(τ_j)⟩
    with rows a_i of W_2 and columns b_i of W_1, (a_i, b_i) turned by (cosh τ_i, sinh τ_i) until
    ⟨a_i, b_i⟩ is the observed value.

    >>> W = decoupled_endpoint(np.array([[0.1, 0.02], [0.05, 0.1]]), np.array([1.0, 1.0]))
    >>> W.diagonal().round(9).tolist()
    [1.0, 1.0]
    """
    U, s, Vt = np.linalg.svd(W0)
    a, b = U * np.sqrt(s), Vt.T * np.sqrt(s)  # balanced factors: W_2 = U√Σ, W_1 = √ΣVᵀ
    size, inner = (np.sum(a**2, 1) + np.sum(b**2, 1)) / 2, np.sum(a * b, 1)
    # ⟨a(τ), b(τ)⟩ = inner cosh 2τ + size sinh 2τ
    turn = [
        brentq(
            lambda x, p=p, q=q, m=m: p * math.cosh(2 * x) + q * math.sinh(2 * x) - m,
            -30,
            30,
            xtol=1e-14,
        )
        for p, q, m in zip(inner, size, observed, strict=True)
    ]
    c, h = np.cosh(turn)[:, None], np.sinh(turn)[:, None]
    return (c * a + h * b) @ (c * b + h * a).T


def draw(ds: xr.Dataset) -> Figure:
    """The effective rank of the endpoint against the size of the start."""
    with house_style():
        figure = new_figure(4.8, 4.6)
        axis = figure.subplots()
        for i, depth in enumerate(ds.depth.values):
            style, here = line_style(i), ds.effective_rank.sel(depth=depth)
            label = {**style, "label": short_depth_label(depth)}
            draw_median(axis, ds.scale, here.sel(start="random"), "run", label)
            diagonal = here.sel(start="diagonal").median("run")
            axis.plot(ds.scale, diagonal, **{**style, "ls": ":", "ms": 3, "lw": 1.2})
        axis.set(
            title="Two observed blocks (dotted: diagonal starts)",
            xlabel="size of the start (standard deviation of the entries)",
            ylabel="effective rank of the endpoint",
            xscale="log",
        )
        axis.legend()
    return figure


def draw_median(
    axis: Axes, x: xr.DataArray, values: xr.DataArray, over: str, style: dict[str, Any]
) -> None:
    """The median as a line, the quartiles as a band."""
    low, high = (values.quantile(q, over) for q in (0.25, 0.75))
    axis.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)
    axis.plot(x, values.median(over), **style)


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """Effective ranks at the smallest start."""
    rows: dict[str, str | float] = {}
    small = ds.isel(scale=int(np.argmin(ds.scale.values)))
    for depth in ds.depth.values:
        random, diagonal = (
            small.effective_rank.sel(depth=depth, start=s) for s in ("random", "diagonal")
        )
        rows[
            f"effective rank at start {float(small.scale):g}, {short_depth_label(depth)}: "
            "median, 95 % quantile; diagonal start"
        ] = (
            f"{float(random.median()):.4f}, {float(random.quantile(0.95)):.4f}; "
            f"{float(diagonal.median()):.4f}"
        )
    rows["runs without an end"] = int(ds.effective_rank.isnull().sum())
    return rows
