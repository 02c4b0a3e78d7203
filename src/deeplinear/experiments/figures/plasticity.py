"""Does training on few entries first spoil training on more of them later, and does depth avoid it?

**Sources.** Kleinman, Achille, Soatto, *Critical learning periods emerge even in deep linear
networks* (ICLR 2024, arXiv 2308.12221), with their code: 100×100, a truth of rank 5, 1,000 of its
entries first, then 1,250 to 2,000 that contain them; depth 3, Gaussian factors of scale 1e−3,
descent of step 0.2 on half the mean square error, 0 … 100,000 steps, then 30,000 more; the mean
square error on all entries at the end, as a figure without a table. Shin and Yun (ICLR 2026, arXiv
2603.04703): a network of depth 2 that was trained on decoupled observations does not become
low-rank when training goes on with more entries, and deep ones do.

**Here, Kleinman's settings** with the gradient flow in the place of descent (the step is a tenth
of where descent would become unstable or less: k steps on n entries are the time 0.2 k/n of the
factors), at depth 2, 3 and 4, on several problems.

**Shin and Yun's**: a 4×4 truth of rank 1. First only its diagonal is observed, then more entries,
and training goes on from where it was (warm), or starts again with all of them (cold), each to its
limit. Where the entries connect all rows and columns there is one completion of rank 1. Sizes,
starts and entries are our choice.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...asymptotics import effective_rank
from ...dynamics.ensembles import ensemble
from ...dynamics.factors import normal_factors
from ...dynamics.results import FlowResult
from ...labels import short_depth_label
from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report
from ._recovery import RecoveryProblem, unbalanced_flow
from .sy_coupling import SIDE, TRUTH, draw_median, observe

TITLE = "Loss of plasticity: does training on few entries first spoil later training?"
SOURCE = "Kleinman, Achille, Soatto 2024; Shin, Yun 2026"
DURATION = "30 min"
CONCLUSION = (
    "A long first training spoils the second, and depth does not avoid it: deeper networks lose "
    "more of what they had. Only N = ∞, at the limit, loses next to nothing."
)
FULL: dict[str, Any] = {
    "size": 100,
    "rank": 5,
    "first": 1000,
    "entries": (1250, 1500, 2000),
    "layers": (2, 3, 4),
    "switches": (0, 1000, 5000, 20_000, 100_000),
    "last": 30_000,
    "scale": 1e-3,
    "problems": 3,
    "rtol": 1e-5,
    "depths": (2.0, 3.0, 4.0, math.inf),
    "added": (4, 6, 8, 10),
    "runs": 40,
    "start": 1e-2,
    "accuracy": 1e-4,
}
SMOKE: dict[str, Any] = {
    "size": 12,
    "rank": 1,
    "first": 40,
    "entries": (70,),
    "layers": (2, 3),
    "switches": (0, 5000),
    "last": 3000,
    "problems": 1,
    "rtol": 1e-3,
    "depths": (2.0, 3.0),
    "added": (6,),
    "runs": 3,
    "start": 3e-2,
}
LEARNING_RATE = 0.2


def simulate(
    *,
    seed: int = 0,
    size: int,
    rank: int,
    first: int,
    entries: Sequence[int],
    layers: Sequence[int],
    switches: Sequence[int],
    last: int,
    scale: float,
    problems: int,
    rtol: float,
    depths: Sequence[float],
    added: Sequence[int],
    runs: int,
    start: float,
    accuracy: float,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """``test`` and ``end_rank`` of the large problems, ``error`` and ``plastic_rank`` of the small.

    NaN where a flow did not arrive.
    """
    shape = (len(layers), problems, len(entries), len(switches))
    found = np.full((4, *shape), np.nan)
    for i, depth in enumerate(layers):
        for j in range(problems):
            report(
                progress, f"{size}×{size}, N = {depth}", (i * problems + j) / shape[0] / shape[1]
            )
            problem = _Nested(seed + j, size, rank, (first, *entries))
            found[:, i, j] = problem.retrained(depth, scale, switches, last, rtol)
    noise = start * np.random.default_rng(seed).normal(size=(runs, SIDE, SIDE))
    order = np.random.default_rng(seed + 1).permutation(np.flatnonzero(~np.eye(SIDE, dtype=bool)))
    small = np.array([warm_and_cold(depth, noise, added, order, accuracy) for depth in depths])
    large = ("layers", "problem", "entries", "switch")
    again = ("depth", "training", "added", "run")
    names = {
        "test": "mean square error on all entries",
        "train": "mean square error on the observed entries",
        "end_rank": "effective rank at the end",
        "step_error": "estimated relative error of the flow",
    }
    return xr.Dataset(
        {
            **{
                name: (large, values, {"long_name": label})
                for (name, label), values in zip(names.items(), found, strict=True)
            },
            "error": (again, small[:, 0], {"long_name": "relative error ‖W − M‖/‖M‖"}),
            "plastic_rank": (again, small[:, 1], {"long_name": "effective rank of the limit"}),
        },
        coords={
            "layers": list(layers),
            "problem": np.arange(problems),
            "entries": list(entries),
            "switch": ("switch", list(switches), {"long_name": "steps on the first entries"}),
            "depth": list(depths),
            "training": ["warm", "cold"],
            "added": list(added),
            "run": np.arange(runs),
        },
        attrs={"seed": seed, "first": first, "last": last},
    )


class _Nested:
    """A random truth, and masks of more and more of its entries."""

    def __init__(self, seed: int, size: int, rank: int, counts: Sequence[int]) -> None:
        self.seed, self.counts = seed, counts
        rng = np.random.default_rng(seed)
        whole = RecoveryProblem.random(rng, size, rank, 0)
        order = rng.permutation(size * size)
        self.problems = []
        for count in counts:
            mask = np.zeros(size * size, bool)
            mask[order[:count]] = True
            self.problems.append(RecoveryProblem(whole.truth, mask.reshape(size, size)))

    def retrained(
        self,
        depth: int,
        scale: float,
        switches: Sequence[int],
        last: int,
        rtol: float,
    ) -> np.ndarray:
        """Test and training error, effective rank, estimated error of the flow: (4, entries,
        switch).

        One flow on the first entries, left at every switch for the others.
        """
        out = np.full((4, len(self.counts) - 1, len(switches)), np.nan)
        size = len(self.problems[0].truth)
        factors: Sequence[jax.Array] = normal_factors((size,) * (depth + 1), scale, self.seed)
        done, before = 0, 0.0
        for j, switch in enumerate(switches):
            if switch > done:
                pre = follow(self.problems[0], factors, switch - done, rtol)
                if not bool(pre.converged):
                    break
                factors, done = pre.factors or (), switch
                before = max(before, float(np.asarray(pre.error)))
            for i, problem in enumerate(self.problems[1:]):
                flow = follow(problem, factors, last, rtol)
                if bool(flow.converged):
                    W = np.asarray(flow.W)
                    out[:, i, j] = (
                        np.mean((W - problem.truth) ** 2),
                        np.mean((W - problem.truth)[problem.mask] ** 2),
                        float(effective_rank(W)),
                        max(before, float(np.asarray(flow.error))),
                    )
        return out


def follow(problem: RecoveryProblem, factors: Sequence[Any], steps: int, rtol: float) -> FlowResult:
    """The flow in the place of that many steps of descent, on half the mean square error."""
    time = len(factors) * LEARNING_RATE * steps / int(problem.mask.sum())  # of [CMV]
    return unbalanced_flow(problem.energy, factors, t1=time, rtol=rtol)


def warm_and_cold(
    depth: float, starts: np.ndarray, added: Sequence[int], order: np.ndarray, accuracy: float
) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors and effective ranks, (training, added, run): warm (first the diagonal, then
    all) and cold (all at once).
    """
    truth, diagonal = np.outer(TRUTH, TRUTH), np.eye(SIDE, dtype=bool)
    before = ensemble(observe(diagonal), starts, depth, accuracy=accuracy)
    error, rank = np.full((2, 2, len(added), len(starts)), np.nan)
    for j, count in enumerate(added):
        mask = diagonal.copy()
        mask.flat[order[:count]] = True
        for k, start in enumerate((before.W, starts)):
            found = ensemble(observe(mask), start, depth, accuracy=accuracy)
            ok = found.ok & (before.ok if k == 0 else True)
            distance = np.linalg.norm(found.W - truth, axis=(1, 2)) / np.linalg.norm(truth)
            error[k, j] = np.where(ok, distance, np.nan)
            rank[k, j] = np.where(ok, effective_rank(found.W), np.nan)
    return error, rank


def draw(ds: xr.Dataset) -> Figure:
    """Above, the large problems, a panel for each depth; below, the small ones."""
    with house_style():
        figure = new_figure(13.5, 8.2)
        grid = figure.add_gridspec(2, 6)
        width = 6 // min(ds.sizes["layers"], 3)
        for i, depth in enumerate(ds.layers.values[:3]):
            axis = figure.add_subplot(grid[0, width * i : width * (i + 1)])
            _draw_switches(axis, ds.isel(layers=i))
            axis.set_title(f"{short_depth_label(depth)}: {ds.attrs['first']} entries first")
            if i == 0:
                axis.legend(fontsize=8.5)
                axis.set_ylabel("mean square error on all entries")
        left, right = figure.add_subplot(grid[1, :3]), figure.add_subplot(grid[1, 3:])
        for i, depth in enumerate(ds.depth.values):
            style, here = line_style(i), ds.sel(depth=depth)
            for axis, values in ((left, here.error), (right, here.plastic_rank)):
                for training, change in (("warm", {}), ("cold", {"ls": "--", "mfc": "white"})):
                    label = f"{short_depth_label(depth)}, {training}"
                    draw_median(
                        axis,
                        SIDE + ds.added,
                        values.sel(training=training),
                        "run",
                        {**style, **change, "label": label},
                    )
        left.set(
            title="4×4, the diagonal first",
            xlabel="entries observed",
            ylabel="relative error",
            yscale="log",
        )
        right.set(
            title="… and the effective rank", xlabel="entries observed", ylabel="effective rank"
        )
        right.legend(fontsize=8, ncols=2)
    return figure


def _draw_switches(axis: Axes, ds: xr.Dataset) -> None:
    """The error at the end over the length of the first training, a line for each problem."""
    for k, count in enumerate(ds.entries.values):
        style = line_style(k)
        here = ds.test.sel(entries=count)
        axis.plot(ds.switch, here.median("problem"), **style, label=f"then {count}")
        low, high = here.min("problem"), here.max("problem")
        axis.fill_between(ds.switch, low, high, color=style["color"], alpha=0.12, lw=0)
    axis.set_xscale("symlog", linthresh=1000)
    axis.set_xticks([0, 1000, 10_000, 100_000], ["0", "1,000", "10,000", "100,000"])
    axis.set(yscale="log", xlabel="steps of the first training")


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """Errors over the length of the first training, and of warm and cold training."""
    rows: dict[str, str | float] = {}
    switches = ", ".join(f"{x:,}" for x in ds.switch.values)
    for depth in ds.layers.values:
        for count in ds.entries.values:
            here = ds.test.sel(layers=depth, entries=count)
            rows[
                f"N = {depth}, then {count} entries: mean square error, median (least … largest), "
                f"switch after {switches}"
            ] = "; ".join(
                f"{float(x.median()):.3g} ({float(x.min()):.2g} … {float(x.max()):.2g})"
                for x in here.transpose("switch", "problem")
            )
        error = ds.step_error.sel(layers=depth)
        rows[f"N = {depth}: estimated error of the flows, median; largest"] = (
            f"{float(error.median()):.1e}; {float(error.max()):.1e}"
        )
    for depth in ds.depth.values:
        errors = ds.error.sel(depth=depth).median("run")
        rows[f"4×4, median relative error, warm / cold, {short_depth_label(depth)}, by entries"] = (
            ", ".join(
                f"{SIDE + int(n)}: {float(errors.sel(training='warm', added=n)):.1e} / "
                f"{float(errors.sel(training='cold', added=n)):.1e}"
                for n in ds.added.values
            )
        )
    rows["flows and runs without an end"] = int(ds.test.isnull().sum() + ds.error.isnull().sum())
    return rows
