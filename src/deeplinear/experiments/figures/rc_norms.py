"""Norms diverge where the rank falls: Razin and Cohen, *Implicit regularization in deep learning
may not be explainable by norms* (2020, arXiv 2005.06398), Figure 1 and Theorem 1.

A 2×2 matrix with w12 = w21 = 1 and w22 = 0 observed and w11 missing. A flow that starts with det W
> 0 keeps the sign (Theorem 1), and det W > 0 with w12 w21 → 1, w22 → 0 forces |w11| → ∞: every norm
diverges, while the effective rank falls to 1, its infimum.

**Known of the original**: depths 2, 3 and 4, small random starts, gradient descent on the factors
until |w11| has grown past some tens; depths 3 and 4 reach |w11| = 70.7 at a loss of 1e−4. (Their
loss is ½ Σ residual², ours too.) **Our choice**: the exact flow of W instead of gradient descent,
in (U, log σ, V), for at depth 2 the smaller singular value falls to e^−2500 on the way, where dense
arithmetic loses the sign of det W; N = ∞ besides; balanced starts with entries N(0, scale²), det W0
> 0.

The smallest |w11| that det W ≥ 0 allows at a loss E is (1 − a)²/√(2(E − a²)), a = (√(1 + 8E) −
1)/2: 70.6965 at E = 1e−4. It is the lower bound of the theorem made sharp, and depth 2 and 3 sit on
it to five digits.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.interpolate import PchipInterpolator

from ...asymptotics import effective_rank
from ...dynamics.flow import gradient_flow
from ...energies import Completion
from ...geometry.point import LogSVD
from ...labels import depth_label, short_depth_label
from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "Norms diverge where the rank falls"
SOURCE = "Razin, Cohen 2020, Fig. 1"
DURATION = "25 s"
CONCLUSION = (
    "The unobserved entry grows without bound while the rank falls to 1: as published. No norm is"
    " minimized."
)
FULL: dict[str, Any] = {
    "depths": (2.0, 3.0, 4.0, math.inf),
    "runs": 10,
    "scale": 1e-3,
    "last_loss": 1e-6,
    "levels": 61,
}
SMOKE: dict[str, Any] = {"depths": (3.0, math.inf), "runs": 1, "last_loss": 1e-4, "levels": 21}

READ_AT = 1e-4
"""The loss at which the published numbers were read."""


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[float],
    runs: int,
    scale: float,
    last_loss: float,
    levels: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Follow every start at every depth down to ``last_loss``, and read all at the same losses."""
    energy = Completion([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], (2, 2))
    loss = np.unique(np.r_[np.geomspace(0.1, last_loss, levels), READ_AT])[::-1]
    starts = positive_starts(np.random.default_rng(seed), runs, scale)
    shape = (len(depths), runs, len(loss))
    w11, time, rank = (np.full(shape, np.nan) for _ in range(3))
    log_s = np.full((*shape, 2), np.nan)
    status = np.zeros(shape[:2], int)
    for i, depth in enumerate(depths):
        for j, W0 in enumerate(starts):
            flow = gradient_flow(
                energy, W0, depth, stop_energy=last_loss, saveat=dfx.SaveAt(steps=True)
            )
            status[i, j] = int(not flow.converged)
            at = _by_loss(np.asarray(flow.energy), loss)
            w11[i, j] = at(np.asarray(flow.W)[:, 0, 0])
            time[i, j] = np.exp(at(np.log(np.asarray(flow.ts))))
            log_s[i, j] = at(np.asarray(flow.log_singular_values))
            seen = np.isfinite(log_s[i, j, :, 0])
            frames = jnp.broadcast_to(jnp.eye(2), (int(seen.sum()), 2, 2))
            rank[i, j, seen] = effective_rank(
                LogSVD(frames, jnp.asarray(log_s[i, j, seen]), frames)
            )
            report(progress, depth_label(depth), (i * runs + j + 1) / (len(depths) * runs))
    dims = ("depth", "run", "loss")
    return xr.Dataset(
        {
            "w11": (dims, w11, {"long_name": "unobserved entry"}),
            "effective_rank": (dims, rank),
            "log_sigma": ((*dims, "index"), log_s, {"long_name": "log singular value"}),
            "time": (dims, time, {"long_name": "time", "units": "CMV (N × time of the factors)"}),
            "bound": ("loss", smallest_entry(loss), {"long_name": "smallest |w11| with det W ≥ 0"}),
            "failed": (
                ("depth", "run"),
                status,
                {"long_name": "1 where the flow did not reach the last loss"},
            ),
        },
        coords={"depth": np.array(depths), "run": np.arange(runs), "loss": loss, "index": [1, 2]},
    )


def smallest_entry(loss: np.ndarray) -> np.ndarray:
    """The infimum of |w11| over det W ≥ 0 and E(W) ≤ loss, for losses below 1/2.

    By symmetry w12 = w21 = 1 − a, w22 = √(2(E − a²)) and w11 = w12 w21/w22; stationary in a where
    a² + a = 2E.

    >>> smallest_entry(np.array([1e-4])).round(4).tolist()
    [70.6965]
    """
    a = (np.sqrt(1 + 8 * loss) - 1) / 2
    return (1 - a) ** 2 / np.sqrt(2 * (loss - a**2))


def positive_starts(rng: np.random.Generator, runs: int, scale: float) -> np.ndarray:
    """Random 2×2 matrices, entries N(0, scale²), rows exchanged where det is negative."""
    W = scale * rng.normal(size=(runs, 2, 2))
    return np.where(np.linalg.det(W)[:, None, None] > 0, W, W[:, ::-1])


def _by_loss(energy: np.ndarray, loss: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Interpolate what was saved along a flow to given losses; NaN where it did not get."""
    x = -np.log(energy)
    kept = np.r_[True, np.diff(np.maximum.accumulate(x)) > 0]
    within = 1e-6  # the stop is found to a relative 1e−9 or so: the last loss counts as reached
    target = -np.log(loss)
    target = np.where((target > x[-1]) & (target < x[-1] + within), x[-1], target)

    def at(values: np.ndarray) -> np.ndarray:
        return PchipInterpolator(x[kept], values[kept], extrapolate=False)(target)

    return at


def draw(ds: xr.Dataset) -> Figure:
    """|w11|, the effective rank and the smaller singular value, against the loss as it falls."""
    with house_style():
        figure = new_figure(12.5, 4.4)
        axes = figure.subplots(1, 3)
        axes[0].plot(
            ds.loss, ds.bound, color="#888888", lw=5, alpha=0.5, label="least possible, det W ≥ 0"
        )
        decades = -ds.log_sigma.sel(index=2) / math.log(10)
        for i, depth in enumerate(ds.depth.values):
            style = {**line_style(i), "markevery": (3 * i, 12)}
            for axis, values in zip(
                axes, (abs(ds.w11), ds.effective_rank - 1, decades), strict=True
            ):
                middle = values.sel(depth=depth).median("run")
                low, high = (values.sel(depth=depth).quantile(q, "run") for q in (0.0, 1.0))
                axis.fill_between(ds.loss, low, high, color=style["color"], alpha=0.2, lw=0)
                axis.plot(ds.loss, middle, label=short_depth_label(depth), **style)
        titles = ("The unobserved entry", "Effective rank above 1", "The smaller singular value")
        labels = ("$|w_{11}|$", "effective rank − 1", "decades below 1: $−\\log_{10}\\,\\sigma_2$")
        for axis, title, label in zip(axes, titles, labels, strict=True):
            axis.set(title=title, ylabel=label, xlabel="loss", xscale="log", yscale="log")
            axis.invert_xaxis()
        axes[0].legend()
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """|w11| at a loss of 1e−4, as published."""
    here = ds.sel(loss=READ_AT, method="nearest")
    rows: dict[str, str | float] = {"least |w11| with det W ≥ 0 at loss 1e−4": float(here.bound)}
    for depth in ds.depth.values:
        w11 = abs(here.w11.sel(depth=depth))
        rows[f"|w11| at loss 1e−4, {short_depth_label(depth)}: median (least … largest)"] = (
            f"{float(w11.median()):.2f} ({float(w11.min()):.2f} … {float(w11.max()):.2f})"
        )
        rows[f"effective rank − 1 at loss 1e−4, {short_depth_label(depth)}"] = (
            f"{float(here.effective_rank.sel(depth=depth).median()) - 1:.2e}"
        )
    rows["flows that failed"] = float(ds.failed.sum())
    return rows
