"""Opposing staircases: as training learns one rank after the other, the loss falls in steps and
the learning coefficient rises in steps.

**Source**: Chen, Lau, Mendel, Wei, Murfet 2023 (*Dynamical versus Bayesian phase transitions in a
toy model of superposition*, arXiv 2310.06301) see both staircases in their model; for deep linear
networks λ is known at every rank (Aoyagi 2024, `deeplinear.learning_coefficient`), so that here
nothing is estimated.

**Our choice**: all entries of a 5×5 matrix with singular values 1, 0.6, 0.35 and 0.2 and random
frames, random starts N(0, ε²), hidden widths of 5. Where a run rests it is near the best matrix of
some rank r, of loss ½ Σ_{k>r} s_k², and λ is that of a true matrix of rank r: how fast the volume
of the networks shrinks that compute nearly what this one does. A step of the loss is where it
crosses the geometric mean of two plateaus, a step of λ where σ_r is half of what it ends as.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ...asymptotics import escape_time, learning_coefficient, learning_staircase
from ...dynamics.ensembles import ensemble
from ...energies import Completion
from ...labels import depth_label, short_depth_label
from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "Opposing staircases: the loss falls and the learning coefficient rises, rank by rank"
SOURCE = "after Chen et al. 2023; Aoyagi 2024"
DURATION = "3 min"
CONCLUSION = "The loss falls and the learning coefficient rises at the same times, rank after rank."
FULL: dict[str, Any] = {"depths": (2, 3, 4), "scales": (1e-2, 1e-4), "runs": 40, "times": 1500}
SMOKE: dict[str, Any] = {"depths": (2, 3), "scales": (1e-2,), "runs": 3, "times": 200}

SIDE = 5
SPECTRUM = np.array([1.0, 0.6, 0.35, 0.2])
STEPS = SPECTRUM.size
LAST = 30.0
"""How long runs are followed, in times at which an aligned start learns the last mode."""


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[int],
    scales: Sequence[float],
    runs: int,
    times: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """``loss`` and ``coefficient`` over (depth, scale, run, moment), and when they step."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.normal(size=(SIDE, SIDE)))[0][:, :STEPS] for _ in range(2))
    truth = (U * SPECTRUM) @ V.T
    energy, starts = Completion.from_dense(truth), rng.normal(size=(runs, SIDE, SIDE))
    size = (len(depths), len(scales))
    ts, loss = np.empty((*size, times)), np.full((*size, runs, times), np.nan)
    coefficient = loss.copy()
    falls, rises = np.full((2, *size, runs, STEPS), np.nan)
    for i, depth in enumerate(depths):
        for j, scale in enumerate(scales):
            report(
                progress,
                f"{depth_label(depth)}, start {scale:g}",
                (i * size[1] + j) / size[0] / size[1],
            )
            last = float(escape_time(depth, scale, SPECTRUM[-1] / 2, SPECTRUM[-1]))
            ts[i, j] = last * np.append(
                np.linspace(0, 3, times - times // 4 + 1)[1:],
                np.geomspace(3, LAST, times // 4 + 1)[1:],
            )
            path = ensemble(energy, scale * starts, depth, times=ts[i, j], accuracy=1e-4).path
            good = np.isfinite(path).all((1, 2, 3))
            sigma = np.linalg.svd(path[good], compute_uv=False)
            stairs = learning_staircase(sigma, (SIDE,) * (depth + 1))
            loss[i, j, good] = 0.5 * np.sum((path[good] - truth) ** 2, (-2, -1))
            coefficient[i, j, good] = stairs.coefficient
            falls[i, j, good] = falling(ts[i, j], loss[i, j, good])
            rises[i, j, good] = rising(ts[i, j], stairs.rank)
    curve, step = ("depth", "scale", "run", "moment"), ("depth", "scale", "run", "step")
    levels = [
        [learning_coefficient((SIDE,) * (N + 1), r).value for r in range(STEPS + 1)] for N in depths
    ]
    time = {"long_name": "time", "units": "CMV (N × time of the factors)"}
    return xr.Dataset(
        {
            "time": (("depth", "scale", "moment"), ts, time),
            "loss": (curve, loss, {"long_name": "loss ½‖W − M‖²"}),
            "coefficient": (curve, coefficient, {"long_name": "learning coefficient λ"}),
            "fall": (step, falls, {**time, "long_name": "when the loss steps down"}),
            "rise": (step, rises, {**time, "long_name": "when λ steps up"}),
            "level": (("depth", "rank"), levels, {"long_name": "λ at a truth of that rank"}),
            "plateau": ("rank", plateaus(), {"long_name": "loss of the best matrix of that rank"}),
        },
        coords={
            "depth": list(depths),
            "scale": list(scales),
            "run": np.arange(runs),
            "step": np.arange(1, STEPS + 1),
            "rank": np.arange(STEPS + 1),
        },
        attrs={"seed": seed},
    )


def plateaus() -> np.ndarray:
    """½ Σ_{k>r} s_k² for r = 0, 1, …: the least loss at each rank.

    >>> plateaus().round(5).tolist()
    [0.76125, 0.26125, 0.08125, 0.02, 0.0]
    """
    return np.append(np.cumsum(SPECTRUM[::-1] ** 2)[::-1] / 2, 0.0)


def falling(ts: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """When each run's loss (runs, times) crosses between two plateaus, (runs, steps).

    At the geometric mean of the two; before the last plateau, which is 0, at a quarter of the one
    before, where half of its singular value is learned.
    """
    levels = plateaus()
    between = np.append(np.sqrt(levels[:-2] * levels[1:-1]), levels[-2] / 4)
    below = loss[:, :, None] <= between
    return np.where(below.any(1), ts[below.argmax(1)], np.nan)


def rising(ts: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """When each run (runs, times) first has rank 1, 2, …, (runs, steps)."""
    there = rank[:, :, None] >= np.arange(1, STEPS + 1)
    return np.where(there.any(1), ts[there.argmax(1)], np.nan)


def draw(ds: xr.Dataset) -> Figure:
    """For the smallest start, loss and λ over time, a column for each depth; then one against the
    other.
    """
    depths, small = ds.depth.values, int(np.argmin(ds.scale.values))
    with house_style():
        figure = new_figure(4.3 * (len(depths) + 1), 6.4)
        axes = figure.subplots(2, len(depths) + 1)
        for i, depth in enumerate(depths):
            here = ds.isel(depth=i, scale=small)
            for row, (name, color) in enumerate((("loss", 0), ("coefficient", 1))):
                axis, colour = axes[row, i], line_style(color)["color"]
                axis.plot(here.time, here[name].T, color=colour, lw=0.7, alpha=0.35)
                axis.plot(
                    here.time, here[name].quantile(0.5, "run", method="lower"), color=colour, lw=2.2
                )
            for level in ds.plateau.values:
                axes[0, i].axhline(level, color="#777777", lw=0.8, ls=":")
            for level in here.level.values:
                axes[1, i].axhline(level, color="#777777", lw=0.8, ls=":")
            title = f"{short_depth_label(depth)}, {ds.sizes['run']} starts of {ds.scale[small]:g}"
            axes[0, i].set_title(title)
            for axis in axes[:, i]:
                axis.set(xscale="log", xlim=_shown(here))
                axis.xaxis.set_minor_formatter(NullFormatter())
            axes[1, i].set_xlabel("time")
        axes[0, 0].set_ylabel("loss")
        axes[1, 0].set_ylabel("learning coefficient λ")
        _draw_together(axes[0, -1], ds)
        _draw_lags(axes[1, -1], ds, small)
    return figure


def _shown(here: xr.Dataset) -> tuple[float, float]:
    """The times from before the first step to after the last."""
    return float(here.fall.min()) / 2, float(here.fall.max()) * 1.3


def _draw_together(axis: Any, ds: xr.Dataset) -> None:
    """λ of each rank over the loss of the rank: what a step costs and what it gains."""
    for i, depth in enumerate(ds.depth.values):
        axis.plot(
            ds.plateau, ds.level.isel(depth=i), label=short_depth_label(depth), **line_style(i)
        )
    axis.set(
        xlabel="loss of the plateau", ylabel="λ of the plateau", title="plateaus of rank 0 … 4"
    )
    axis.legend()


def _draw_lags(axis: Any, ds: xr.Dataset, small: int) -> None:
    """When λ steps against when the loss does."""
    for i, depth in enumerate(ds.depth.values):
        here, style = ds.isel(depth=i, scale=small), line_style(i)
        axis.plot(
            here.fall.values.ravel(),
            here.rise.values.ravel(),
            **{**style, "ls": "", "ms": 3, "label": short_depth_label(depth)},
        )
    axis.axline((1, 1), (10, 10), color="#555555", lw=1, ls="--")
    axis.set(
        xlabel="time at which the loss steps down",
        ylabel="time at which λ steps up",
        title="each step of each run",
        xscale="log",
        yscale="log",
    )
    axis.legend()


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """λ of the plateaus, how far apart the two staircases step, and how long runs rest."""
    out: dict[str, str | float] = {}
    for depth in ds.depth.values:
        here = ds.sel(depth=depth)
        name = short_depth_label(depth)
        out[f"{name}: λ at rank 0, 1, …"] = ", ".join(f"{x:g}" for x in here.level.values)
        for scale in ds.scale.values:
            case = here.sel(scale=scale)
            lag = np.abs(case.rise - case.fall) / case.fall
            out[f"{name}, start {scale:g}: |rise − fall|/fall, median; largest"] = (
                f"{float(lag.median()):.4f}; {float(lag.max()):.4f}"
            )
            out[f"{name}, start {scale:g}: share of the time at a plateau"] = round(
                at_rest(case.time.values, case.loss.values, case.fall.values), 3
            )
            bad = int(case.fall.isnull().any("step").sum())
            out[f"{name}, start {scale:g}: runs left out"] = bad
    return out


def at_rest(ts: np.ndarray, loss: np.ndarray, falls: np.ndarray) -> float:
    """The share of the time up to the last step at which the loss (runs, times) is within 5 % of a
    plateau but the last, over all runs that took all steps.
    """
    done = np.isfinite(falls).all(1)
    near = (np.abs(loss[:, :, None] / plateaus()[:-1] - 1) < 0.05).any(-1)
    steps = np.diff(ts, prepend=0.0)
    before = (ts <= falls[:, -1:]) * steps
    return float((near * before)[done].sum() / before[done].sum())
