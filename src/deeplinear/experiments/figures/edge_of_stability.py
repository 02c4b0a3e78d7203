"""Descent past its critical step: cycles, chaos, sharpness, and the end of a conservation law.

**Source**: Ghosh, Kwon, Wang, Ravishankar, Qu 2025 (2502.20531): past the edge of stability the
loss of a deep linear network takes the period-doubling route to chaos, in the leading mode first,
and the balancing gap, which the flow keeps, decays monotonically to zero. Cohen et al. 2021: the
sharpness rises to 2/η and stays about there.

**Our choice**: all entries of M = diag(2, 1, .5) observed. *Cycles*: from balanced factors of a
generic small W, the values of the leading mode, |W_11|, after a long burn-in, over η/η_c,
η_c = 2/(N σ_1^{2−2/N}). At N = 2 they are known, with a = η/η_c: the roots of
σ² − s(1 + 1/a)σ + s²/a² for 1 < a < √5 − 1, where four values follow. *Sharpness and gap*: three
layers, aligned with M and not balanced (entries c_p of layer p in every mode); the gap of a mode is
max_p |w_{p+1}² − w_p²|.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import deeplinear as dl

from ...plots import COLOURS, house_style, line_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "The edge of stability: cycles, sharpness and the balancing gap"
SOURCE = "Ghosh et al. 2025"
DURATION = "1 min"
CONCLUSION = (
    "Past the critical step the leading mode takes the period-doubling route to chaos, and its "
    "balancing gap decays to zero: as published. Modes below their own edge keep theirs."
)
FULL: dict[str, Any] = {
    "depths": (2, 3, 4),
    "ratios": tuple(np.round(np.linspace(0.9, 1.7, 401), 6).tolist()),
    "burn_in": 20_000,
    "orbit": 64,
    "shown": (0.5, 0.9, 1.05, 1.2, 1.3),
    "steps": 2000,
}
SMOKE: dict[str, Any] = {
    "depths": (2, 3),
    "ratios": (0.95, 1.1, 1.3),
    "burn_in": 2000,
    "shown": (0.9, 1.2),
    "steps": 400,
}

SPECTRUM = np.array([2.0, 1.0, 0.5])
LAYERS = (1.1, 0.7, 0.4)  # the unbalanced start


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[int],
    ratios: Sequence[float],
    burn_in: int,
    orbit: int,
    shown: Sequence[float],
    steps: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """``sigma`` on the orbit, ``period``; ``sharpness`` (times η/2), ``gap`` and ``loss`` at
    training, and the gaps where the flow ends.
    """
    energy = dl.Completion.from_dense(np.diag(SPECTRUM))
    W0 = 0.1 * np.random.default_rng(seed).normal(size=(3, 3)) + 0.3 * np.eye(3)
    size = len(depths), len(ratios)
    sigma = np.full((*size, orbit), np.nan)
    period, diverged = np.zeros(size, np.int64), np.zeros(size, bool)
    for i, depth in enumerate(depths):
        report(progress, f"cycles at depth {depth}", i / (len(depths) + 1))
        factors = [np.asarray(W) for W in dl.balanced_factors(W0, depth, key=seed)]
        found = dl.descend(
            energy,
            [np.repeat(W[None], size[1], 0) for W in factors],
            optimizer=np.asarray(ratios) * critical_step(depth),
            steps=burn_in + orbit,
            records=("W",),
            record_at=np.arange(burn_in + 1, burn_in + orbit + 1),
            stop=False,
        )
        diverged[i] = found.status == dl.Status.diverged
        leading = np.abs(found.records["W"][..., 0, 0])
        sigma[i] = np.where(diverged[i][:, None], np.nan, leading)
        period[i] = found.period
    report(progress, "sharpness and gap", len(depths) / (len(depths) + 1))
    over_time, flow = training(energy, shown, steps)
    return xr.Dataset(
        {
            "sigma": (
                ("depth", "ratio", "place"),
                sigma,
                {"long_name": "leading mode on the orbit"},
            ),
            "period": (("depth", "ratio"), period, {"long_name": "period, 0 if there is none"}),
            "diverged": (("depth", "ratio"), diverged),
            **over_time,
            "flow_gap": (("k",), flow, {"long_name": "gap where the flow ends"}),
        },
        coords={
            "depth": np.asarray(depths, float),
            "ratio": ("ratio", np.asarray(ratios, float), {"long_name": "η/η_c"}),
            "shown": ("shown", np.asarray(shown, float), {"long_name": "η/η_c"}),
            "step": np.arange(steps + 1),
        },
        attrs={"seed": seed},
    )


def critical_step(depth: int) -> float:
    """η_c = 2/(N σ_1^{2−2/N}) of the target."""
    return float(dl.asymptotics.critical_step(np.diag(SPECTRUM), depth))


def training(
    energy: dl.Completion, shown: Sequence[float], steps: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Sharpness over 2/η, gaps of the modes and loss after each step of training from LAYERS, and
    the gaps at the end of the flow.
    """
    start = [c * np.eye(3) for c in LAYERS]
    eta = np.asarray(shown) * critical_step(len(LAYERS))
    found = dl.descend(
        energy,
        [np.repeat(W[None], len(shown), 0) for W in start],
        optimizer=eta,
        steps=steps,
        records=("sharpness", "factors", "loss"),
        record_at=1,
        stop=False,
    )
    records, cases = found.records, ("shown", "step")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.ImbalanceWarning)  # that is what is shown
        flow = dl.factor_flow(energy, start)
    return {
        "sharpness": (
            cases,
            records["sharpness"] * eta[:, None] / 2,
            {"long_name": "sharpness over 2/η"},
        ),
        "gap": ((*cases, "k"), gaps(records["factors"]), {"long_name": "balancing gap"}),
        "loss": (cases, records["loss"], {"long_name": "loss"}),
    }, gaps(flow.factors or ())


def gaps(factors: Sequence[Any]) -> np.ndarray:
    """max_p |w_{p+1}² − w_p²| of each mode of diagonal factors."""
    squares = np.stack([np.diagonal(np.asarray(W), axis1=-2, axis2=-1) ** 2 for W in factors])
    return np.abs(np.diff(squares, axis=0)).max(0)


def two_layer_cycle(ratio: np.ndarray, s: float) -> tuple[np.ndarray, np.ndarray]:
    """The two values of σ in the cycle of balanced descent at N = 2 and η = ratio/s."""
    half = s * (1 + 1 / ratio) / 2
    root = np.sqrt(np.maximum(half**2 - (s / ratio) ** 2, 0.0))
    return half - root, half + root


def draw(ds: xr.Dataset) -> Figure:
    """Orbits above, one panel for each depth; sharpness, gap and loss below."""
    with house_style():
        figure = new_figure(13.5, 8.2)
        above, below = np.ravel(np.asarray(figure.subfigures(2, 1)))
        axes = np.atleast_1d(above.subplots(1, ds.sizes["depth"], sharey=True))
        for axis, depth in zip(axes, ds.depth.values, strict=True):
            _draw_orbits(axis, ds.sel(depth=depth), int(depth))
        axes[0].set(ylim=(0, 1.04 * float(ds.sigma.max())))
        axes[0].set_ylabel("leading mode after the burn-in")
        left, middle, right = below.subplots(1, 3)
        for i, ratio in enumerate(ds.shown.values):
            case, style = ds.sel(shown=ratio), {"color": line_style(i)["color"], "lw": 1.3}
            left.plot(ds.step, case.sharpness, label=f"η = {ratio:g} η_c", **style)
            middle.plot(ds.step, np.maximum(case.gap[:, 0], 1e-16), **style)
            right.plot(ds.step, np.maximum(case.loss, 1e-30), **style)
        left.axhline(1, color="#444444", ls="--", lw=1.2)
        middle.axhline(
            float(ds.flow_gap[0]), color="#444444", ls="--", lw=1.2, label="where the flow ends"
        )
        left.set(xlim=(0, 60), ylim=(0, 3.4), ylabel="sharpness · η/2")
        middle.set(yscale="log", ylabel="balancing gap of the leading mode")
        right.set(yscale="log", ylabel="loss", ylim=(1e-24, None))
        for axis in (left, middle, right):
            axis.set_xlabel("steps")
        left.legend(ncols=2, loc="upper center", fontsize=9)
        middle.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
        left.set_title("Three layers, not balanced: sharpness")
        middle.set_title("The gap that the flow keeps")
        right.set_title("Loss")
    return figure


def _draw_orbits(axis: Axes, case: xr.Dataset, depth: int) -> None:
    ratio = np.repeat(case.ratio.values, case.sizes["place"])
    axis.plot(ratio, case.sigma.values.ravel(), ".", ms=1.2, color=COLOURS[0], alpha=0.5)
    if depth == 2:
        a = np.linspace(1, math.sqrt(5) - 1, 100)
        for branch in two_layer_cycle(a, SPECTRUM[0]):
            axis.plot(a, branch, color=COLOURS[1], lw=1.4, ls="--")
        axis.plot([], [], color=COLOURS[1], ls="--", label="closed form, to √5 − 1")
        axis.legend(loc="upper left")
    axis.axvline(1, color="#444444", lw=0.8)
    axis.set(xlabel="η/η_c", title=f"N = {depth}")


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """Where cycles of two and of four begin, and what became of the gaps."""
    out: dict[str, str | float] = {}
    ratio = ds.ratio.values
    for depth in ds.depth.values:
        case, name = ds.sel(depth=depth), f"N = {depth:g}"
        for period in (2, 4, 8):
            there = ratio[case.period.values == period]
            if there.size:
                out[f"{name}: period {period} at η/η_c"] = f"{there.min():.3f} … {there.max():.3f}"
        if case.diverged.any():
            out[f"{name}: diverges from η/η_c on"] = float(ratio[case.diverged.values].min())
        if depth == 2:
            at = case.sel(ratio=ratio[case.period.values == 2])
            known = np.stack(two_layer_cycle(at.ratio.values, SPECTRUM[0]), -1)
            both = np.stack([at.sigma.min("place"), at.sigma.max("place")], -1)
            out["N = 2: cycle of two from its closed form"] = f"{np.abs(both - known).max():.1e}"
    gap = ds.gap.values
    out["flow: largest change of a gap"] = f"{np.abs(ds.flow_gap.values - gap[0, 0]).max():.1e}"
    for i, here in enumerate(ds.shown.values):
        ends = " ".join(f"{g:.2g}" for g in gap[i, -1] / gap[i, 0])
        out[f"η = {here:g} η_c: gap kept in each mode"] = ends
        out[f"η = {here:g} η_c: sharpness · η/2, last steps"] = (
            f"{ds.sharpness.values[i, -64:].min():.3f} … {ds.sharpness.values[i, -64:].max():.3f}"
        )
    return out
