"""Warm-up: how much larger a step can be when it is reached slowly.

**Source**: Gilmer et al. 2021 (2110.04369), Kalra and Barkeshli 2024 (2406.09405): from sharp
starts, a step that grows slowly carries training to where the loss is flatter, so that larger final
steps train. Their networks are others; none of their numbers is compared.

**Our choice**: a 4×4 truth with singular values 2, 1.5, 1, .5 in generic frames, all entries
observed; independent normal factors as starts, small and large; final steps of .1 to 16 times 2/λ,
λ the sharpness (the largest eigenvalue of the Hessian) of the start, at once or after a warm-up in
ten equal stages of η/10, 2η/10, … A run *trains* where its loss ends below 1e−6 of that of W = 0.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import deeplinear as dl

from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "Warm-up: the largest step that trains"
SOURCE = "Gilmer et al. 2021; Kalra, Barkeshli 2024"
DURATION = "2 min"
CONCLUSION = (
    "Warm-up helps where the start is the sharpest place on the way. Small starts end sharper "
    "than they begin, and the end alone decides."
)
FULL: dict[str, Any] = {
    "depth": 3,
    "scales": (0.3, 1.0, 3.0),
    "runs": 40,
    "grid": tuple(np.round(np.geomspace(0.1, 16.0, 23), 4).tolist()),
    "warm": (0, 10, 100, 1000),
    "steps": 6000,
}
SMOKE: dict[str, Any] = {
    "scales": (1.0,),
    "runs": 6,
    "grid": (0.25, 1.0, 4.0),
    "warm": (0, 100),
    "steps": 1500,
}

SPECTRUM = np.array([2.0, 1.5, 1.0, 0.5])
STAGES = 10
TRAINED = 1e-6  # of the loss of W = 0


def simulate(
    *,
    seed: int = 0,
    depth: int = 3,
    scales: Sequence[float],
    runs: int,
    grid: Sequence[float],
    warm: Sequence[int],
    steps: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """``trained`` (a share) over (scale, warm, ratio), ``largest`` over (scale, warm, run), and the
    ``sharpness`` at the end of each warm-up over that of the start, median of those trained at
    ``ratio``.
    """
    target, ratios = truth(seed), np.asarray(grid, float)
    energy, size = dl.Completion.from_dense(target), (len(scales), len(warm))
    done = np.zeros((*size, ratios.size, runs), bool)
    flatter = np.full((*size, ratios.size), np.nan)
    for i, scale in enumerate(scales):
        factors = starts(depth, scale, runs, seed)
        sharp = sharpness(energy, factors)
        many = [np.tile(W, (ratios.size, 1, 1)) for W in factors]
        for j, length in enumerate(warm):
            report(progress, f"starts of {scale:g}, {length} steps of warm-up", i / len(scales))
            eta = np.outer(ratios, 2 / sharp)
            warmed, found = train(energy, many, eta.ravel(), length, steps)
            ok = found.loss < TRAINED * 0.5 * np.sum(target**2)
            done[i, j] = ok.reshape(eta.shape)
            if warmed is not None:
                after = sharpness(energy, warmed).reshape(eta.shape) / sharp
                for k in np.flatnonzero(done[i, j].any(1)):
                    flatter[i, j, k] = np.median(after[k][done[i, j, k]])
    over = ("scale", "warm")
    largest = np.where(done, ratios[:, None], 0.0).max(2)
    return xr.Dataset(
        {
            "trained": ((*over, "ratio"), done.mean(3), {"long_name": "share of runs that train"}),
            "largest": ((*over, "run"), largest, {"long_name": "largest η that trains, in 2/λ"}),
            "sharpness": (
                (*over, "ratio"),
                flatter,
                {"long_name": "sharpness after warm-up, in λ"},
            ),
        },
        coords={
            "scale": np.asarray(scales, float),
            "warm": ("warm", np.asarray(warm), {"long_name": "steps of warm-up"}),
            "ratio": ("ratio", ratios, {"long_name": "η over 2/λ of the start"}),
        },
        attrs={"seed": seed, "depth": depth},
    )


def truth(seed: int) -> np.ndarray:
    """The matrix that is observed."""
    frames = np.random.default_rng(seed).normal(size=(2, SPECTRUM.size, SPECTRUM.size))
    U, V = (np.linalg.qr(frame)[0] for frame in frames)
    return (U * SPECTRUM) @ V.T


def starts(depth: int, scale: float, runs: int, seed: int) -> list[np.ndarray]:
    """Normal factors of each run, runs first."""
    widths = (SPECTRUM.size,) * (depth + 1)
    keys = jax.random.split(jax.random.key(seed), runs)
    each = [dl.normal_factors(widths, scale, key=key) for key in keys]
    return [np.stack(layer) for layer in zip(*each, strict=True)]


def sharpness(energy: dl.Completion, factors: Sequence[np.ndarray]) -> np.ndarray:
    """The largest eigenvalue of the Hessian in each run; NaN where it is not finite."""
    found = dl.descend(
        energy, factors, optimizer=1.0, steps=0, records=("sharpness",), record_at=np.array([0])
    )
    return np.asarray(found.records["sharpness"])[:, 0]


def train(
    energy: dl.Completion, factors: Sequence[np.ndarray], eta: np.ndarray, warm: int, steps: int
) -> tuple[tuple[np.ndarray, ...] | None, dl.DescentResult]:
    """(The factors after the warm-up, the end); one η for each run."""
    start: Any = factors
    for stage in range(1, STAGES + 1) if warm else ():
        part = eta * stage / STAGES
        start = dl.descend(energy, start, optimizer=part, steps=warm // STAGES, stop=False)
    warmed = start.factors if warm else None
    return warmed, dl.descend(energy, start, optimizer=eta, steps=steps)


def draw(ds: xr.Dataset) -> Figure:
    """The share of runs that train over the step, a panel for each size of the starts."""
    with house_style():
        figure = new_figure(13.5, 4.4)
        axes = np.atleast_1d(figure.subplots(1, ds.sizes["scale"], sharey=True))
        for axis, scale in zip(axes, ds.scale.values, strict=True):
            for i, length in enumerate(ds.warm.values):
                name = f"warm-up of {length:,} steps" if length else "at once"
                case = ds.trained.sel(scale=scale, warm=length)
                axis.plot(ds.ratio, case, **line_style(i) | {"ms": 4, "label": name})
            axis.axvline(1, color="#444444", lw=0.8)
            axis.set(xscale="log", xlabel="η over 2/λ of the start")
            axis.set_title(f"starts of size {scale:g}")
        axes[0].set_ylabel("share of runs that train")
        axes[-1].legend(fontsize=9, loc="lower left")
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """The largest steps that train: median and quartiles over runs; the sharpness they are at."""
    out: dict[str, str | float] = {}
    for scale in ds.scale.values:
        for length in ds.warm.values:
            case = ds.sel(scale=scale, warm=length)
            low, middle, high = np.quantile(case.largest, [0.25, 0.5, 0.75])
            name = f"starts of {scale:g}, warm-up of {length} steps"
            out[f"{name}: largest η in 2/λ"] = f"{middle:.3g} ({low:.3g} … {high:.3g})"
            if length and np.isfinite(case.sharpness).any():
                last = case.sharpness.values[np.isfinite(case.sharpness.values)][-1]
                out[f"{name}: sharpness after it, at the largest η, in λ"] = float(last)
    return out
