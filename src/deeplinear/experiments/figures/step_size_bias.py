"""What the step does to the effective rank: on the way, and at the end.

**Source**: Chou, Gieshoff, Maly, Rauhut 2024 (2011.13772): all entries observed, equal factors αI,
the effective rank ‖W‖_*/‖W‖ of the iterates grows (but for a few first steps) in plateaus near that
of the truncated truth; depth lengthens them. No numbers of theirs are compared.

**Our choice**: *on the way*, a symmetric 4×4 truth with eigenvalues 4, 2, 1, .5 in a generic frame,
α = .05, steps from .02 to .95 η_c. A *plateau* is the time ηk during which the effective rank is
within 5 % of that of a truncation. *At the end*, there is only something to choose where entries
are missing: five entries of a 3×3 matrix of rank 1, the same balanced starts for every step, from
.02 to 2.5 of the critical step at that matrix. The median is over starts that converged at every
step up to the critical one, and at the one in question.
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
from ._descent import balanced, five_entries, rank_one

TITLE = "The step and the effective rank, on the way and at the end"
SOURCE = "Chou, Gieshoff, Maly, Rauhut 2024"
DURATION = "1 min"
CONCLUSION = (
    "The effective rank grows in plateaus that depth lengthens: as published. They belong to the "
    "flow: no bias of larger steps towards low rank is seen."
)
FULL: dict[str, Any] = {
    "depths": (2, 3, 4),
    "ratios": (0.02, 0.1, 0.5, 0.95),
    "times": 300,
    "runs": 100,
    "scale": 0.3,
    "steps": 20_000,
    "grid": tuple(np.round(np.geomspace(0.02, 2.5, 22), 4).tolist()),
}
SMOKE: dict[str, Any] = {
    "depths": (3,),
    "ratios": (0.1, 0.95),
    "times": 80,
    "runs": 10,
    "steps": 4000,
    "grid": (0.05, 0.5, 1.5),
}

SPECTRUM = np.array([4.0, 2.0, 1.0, 0.5])
START = 0.05  # of every factor
PLATEAU = 0.05  # relative


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[int],
    ratios: Sequence[float],
    times: int,
    runs: int,
    scale: float,
    steps: int,
    grid: Sequence[float],
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """``plateau_rank`` over (depth, ratio, moment) with its ``step`` and ``moment_time``; ``rank``,
    ``distance`` (to the end at the smallest step) and ``found_share`` over (depth, end_ratio).
    """
    size, ends = (len(depths), len(ratios), times), (len(depths), len(grid))
    way, step, time = (np.zeros(size) for _ in range(3))
    rank, distance, share, quartiles = (
        np.full((*ends, *more), np.nan) for more in ((), (), (), (2,))
    )
    for i, depth in enumerate(depths):
        report(progress, f"N = {depth}", i / len(depths))
        way[i], step[i], time[i] = on_the_way(seed, depth, ratios, times)
        W, ok = at_the_end(seed, depth, grid, runs, scale, steps)
        stable = ok[np.asarray(grid) <= 1].all(0)
        for j in range(len(grid)):
            kept = W[j][ok[j] & stable]
            share[i, j] = ok[j].mean()
            if len(kept):
                values = chou_rank(kept)
                rank[i, j] = np.median(values)
                quartiles[i, j] = np.quantile(values, [0.25, 0.75])
                gap = kept - W[0][ok[j] & stable]
                distance[i, j] = np.median(np.linalg.norm(gap, axis=(1, 2)))
    cases, over = ("depth", "ratio", "moment"), ("depth", "end_ratio")
    return xr.Dataset(
        {
            "plateau_rank": (cases, way, {"long_name": "‖W‖_*/‖W‖"}),
            "step": (cases, step, {"long_name": "steps k"}),
            "moment_time": (cases, time, {"long_name": "ηk"}),
            "rank": (over, rank, {"long_name": "‖W‖_*/‖W‖ at the end, median"}),
            "quartile": ((*over, "side"), quartiles, {"long_name": "its quartiles"}),
            "distance": (over, distance, {"long_name": "distance to the end of small steps"}),
            "found_share": (over, share, {"long_name": "share of runs that converged"}),
        },
        coords={
            "depth": np.asarray(depths, float),
            "ratio": ("ratio", np.asarray(ratios, float), {"long_name": "η/η_c"}),
            "end_ratio": ("end_ratio", np.asarray(grid, float), {"long_name": "η/η_c"}),
        },
        attrs={"seed": seed},
    )


def chou_rank(W: np.ndarray) -> np.ndarray:
    """‖W‖_*/‖W‖ of each matrix."""
    s = np.linalg.svd(W, compute_uv=False)
    return s.sum(-1) / s[..., 0]


def on_the_way(
    seed: int, depth: int, ratios: Sequence[float], times: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effective ranks over time from αI, with their steps and times; each as ratio×times."""
    Q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(SPECTRUM.size,) * 2))
    truth = (Q * SPECTRUM) @ Q.T
    edge = float(dl.asymptotics.critical_step(truth, depth))
    # the last mode takes log(1/α)/s at two layers, α^{2−N}/((N − 2) s) at more
    last = SPECTRUM[-1]
    escape = -np.log(START) / last if depth == 2 else START ** (2 - depth) / (depth - 2) / last
    out = []
    for ratio in ratios:
        count = int(1.6 * escape / (ratio * edge)) + times
        even, early = np.linspace(1, count, times), np.geomspace(1, count, times)
        at = np.unique(np.concatenate([even, early]).astype(int))
        found = dl.descend(
            dl.Completion.from_dense(truth),
            [START * np.eye(SPECTRUM.size)] * depth,
            optimizer=ratio * edge,
            steps=count,
            records=("singular_values",),
            record_at=at,
            stop=False,
        )
        s = found.records["singular_values"]
        kept = np.linspace(0, at.size - 1, times).astype(int)
        out.append(((s.sum(1) / s[:, 0])[kept], at[kept], at[kept] * ratio * edge))
    rank, step, time = (np.stack(x) for x in zip(*out, strict=True))
    return rank, step, time


def at_the_end(
    seed: int, depth: int, grid: Sequence[float], runs: int, scale: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the same starts for every step, ratio×runs×3×3, and whether they converged."""
    energy = five_entries(seed)
    key = jax.random.key(seed)
    start = scale * np.asarray(jax.random.normal(key, (runs, 3, 3), np.float64))
    factors = balanced(start, depth, seed)
    edge = float(dl.asymptotics.critical_step(rank_one(seed), depth, energy))
    found = dl.descend(
        energy,
        [np.tile(W, (len(grid), 1, 1)) for W in factors],
        optimizer=np.repeat(np.asarray(grid) * edge, runs),
        steps=steps,
    )
    return found.W.reshape(len(grid), runs, 3, 3), found.converged.reshape(len(grid), runs)


def truncated(rank: int) -> float:
    """‖M_k‖_*/‖M_k‖ of the truth cut off after ``rank`` modes."""
    return float(SPECTRUM[:rank].sum() / SPECTRUM[0])


def draw(ds: xr.Dataset) -> Figure:
    """Effective rank over ηk above; ranks, distances and shares at the end below."""
    with house_style():
        figure = new_figure(13.5, 8)
        above, below = np.ravel(np.asarray(figure.subfigures(2, 1)))
        axes = np.atleast_1d(above.subplots(1, ds.sizes["depth"], sharey=True))
        for axis, depth in zip(axes, ds.depth.values, strict=True):
            for k in range(1, SPECTRUM.size + 1):
                axis.axhline(truncated(k), color="#888888", ls="--", lw=1)
            for i, ratio in enumerate(ds.ratio.values):
                case = ds.sel(depth=depth, ratio=ratio)
                colour = line_style(i)["color"]
                axis.plot(
                    case.moment_time,
                    case.plateau_rank,
                    color=colour,
                    lw=1.6,
                    label=f"η = {ratio:g} η_c",
                )
            axis.set(xscale="log", xlabel="ηk", title=f"N = {depth:g}", xlim=(0.05, None))
        axes[0].set_ylabel("‖W‖$_*$/‖W‖")
        axes[0].legend(fontsize=9, loc="lower right")
        left, middle, right = below.subplots(1, 3)
        for i, depth in enumerate(ds.depth.values):
            case, style = ds.sel(depth=depth), line_style(i) | {"ms": 4, "label": f"N = {depth:g}"}
            left.plot(ds.end_ratio, case["rank"], **style)
            left.fill_between(
                ds.end_ratio, *case.quartile.values.T, color=style["color"], alpha=0.12
            )
            middle.plot(ds.end_ratio[1:], case.distance[1:], **style)
            right.plot(ds.end_ratio, case.found_share, **style)
        left.set(ylabel="‖W‖$_*$/‖W‖ at the end", title="3×3 completion: median and quartiles")
        middle.set(yscale="log", ylabel="distance", title="Distance to the end at .02 η_c")
        right.set(ylabel="share", title="Runs that converged")
        for axis in (left, middle, right):
            axis.set(xscale="log", xlabel="η/η_c of the rank-1 completion")
            axis.axvline(1, color="#444444", lw=0.8)
        left.legend(fontsize=9)
    return figure


def plateaus(ds: xr.Dataset, depth: float, ratio: float) -> list[float]:
    """The time within 5 % of each truncation but the last."""
    case = ds.sel(depth=depth, ratio=ratio)
    time, rank = case.moment_time.values, case.plateau_rank.values
    late = rank.argmin()  # αI has full rank: the growth begins after the least
    fine = np.linspace(time[late], time[-1], 20_000)
    here = np.interp(fine, time, rank)
    near = [np.abs(here / truncated(k) - 1) < PLATEAU for k in range(1, SPECTRUM.size)]
    return [float(x.sum() * (fine[1] - fine[0])) for x in near]


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """Lengths of the plateaus, falls of the rank, and ends at small and large steps."""
    out: dict[str, str | float] = {}
    for depth in ds.depth.values:
        name = f"N = {depth:g}"
        for ratio in ds.ratio.values:
            lengths = " ".join(f"{x:.3g}" for x in plateaus(ds, depth, ratio))
            out[f"{name}, η = {ratio:g} η_c: time on plateaus of rank 1, 2, 3"] = lengths
            rank = ds.plateau_rank.sel(depth=depth, ratio=ratio).values
            fall = np.max(np.maximum.accumulate(rank[rank.argmin() :]) - rank[rank.argmin() :])
            out[f"{name}, η = {ratio:g} η_c: largest fall after the least"] = f"{fall:.1e}"
        case = ds.sel(depth=depth)
        for ratio in (*ds.end_ratio.values[[0, -1]].tolist(), 0.5, 1.0, 1.5):
            at = case.sel(end_ratio=ratio, method="nearest")
            out[f"{name}, end at {float(at.end_ratio):g} η_c: rank, distance, converged"] = (
                f"{float(at['rank']):.4f}, {float(at.distance):.2g}, {float(at.found_share):.2f}"
            )
    return out
