"""Does the density of endpoints follow the Riemannian volume? The proposal of a paper as a
quantitative test.

**Source**: Cohen, Menon, Veraszto 2023 propose that implicit regularization is a bias towards high
state space volume, from maps of the volume and pictures of endpoints. No test of it is published;
everything here is our choice. docs/volume_law.md tells question, method and answer.

**First half** (`_law_hyperbola`): 2×2, observed diagonal. Rank-1 completions are an arc with
coordinate τ = ½ log(w12/w21); volume and norms are all functions of σ_1 = 2 · 0.92 cosh τ there, so
they agree on the order, and differ in what density they mean. Laws: the volume as it is; the volume
to a fitted power s; exp(−s · nuclear norm); and the law that gradient flow itself dictates, for it
conserves

    Q = [(WWᵀ)^{1/N}]_11 − [(WᵀW)^{1/N}]_11,   at rank 1  tanh τ · σ_1^{2/N}

(σ_2 > 0: tanh τ · (σ_1^{2/N} − σ_2^{2/N}), N = ∞: tanh τ · 2 log(σ_1/σ_2)): the start alone decides
where a run ends.

**Second half** (`_law_minimizers`): random problems of higher rank, where volume and norms
disagree. Each endpoint against random completions of its rank: how many of them a predictor puts
below the endpoint, and how well it predicts the choice on problems that were not used for its fit.
"""

import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...labels import short_depth_label
from ...plots import COLOURS, MARKERS, house_style, line_style, new_figure
from ...progress import ProgressCallback, part
from ._law_hyperbola import ARC, along_hyperbola, log_volume_law
from ._law_minimizers import among_minimizers

TITLE = "Does the density of endpoints follow Riemannian volume?"
SOURCE = "after Cohen, Menon, Veraszto 2023"
DURATION = "11 min"
CONCLUSION = (
    "As a density the volume is refuted, by orders of magnitude. As a preference among minimizers"
    " of one rank it stands at depth 3 and 5; at small starts and at N = ∞ low effective rank "
    "foretells more."
)
FULL: dict = {
    "depths": (3, 5, 20, math.inf),
    "scales": (1e-1, 1e-2, 1e-3, 1e-4),
    "runs": 3000,
    "cases": (
        (3, 2, 6, 3, 1e-1),
        (3, 2, 6, 3, 1e-2),
        (3, 2, 6, 3, 1e-3),
        (3, 2, 6, 3, 1e-4),
        (3, 2, 6, 5, 1e-3),
        (3, 2, 6, math.inf, 1e-3),
        (3, 2, 7, 3, 1e-3),
        (4, 2, 9, 3, 1e-3),
        (4, 2, 9, math.inf, 1e-3),
        (4, 2, 11, 3, 1e-3),
        (4, 3, 13, 3, 1e-3),
        (5, 2, 13, 3, 1e-3),
    ),
    "problems": 40,
    "problem_runs": 16,
    "alternatives": 200,
    "climbs": 12,
}
SMOKE: dict = {
    "depths": (5,),
    "scales": (1e-1,),
    "runs": 60,
    "cases": ((3, 2, 6, 3, 0.3),),
    "problems": 5,
    "problem_runs": 10,
    "alternatives": 20,
    "climbs": 1,
}
_SHOWN = (
    "volume",
    "flatness",
    "induced volume",
    "stratum volume",
    "entropy",
    "-nuclear norm",
    "-Frobenius norm",
    "-Schatten 2/N",
    "-effective rank",
)


def simulate(
    *,
    seed: int = 0,
    depths: tuple[float, ...],
    scales: tuple[float, ...],
    runs: int,
    cases: tuple[tuple, ...],
    problems: int,
    problem_runs: int,
    alternatives: int,
    climbs: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Both halves in one dataset: (depth, scale, run, law), and (case, predictor, model).

    A case is (size d, rank r, observed entries, depth, start size): ``problems`` random ones,
    ``problem_runs`` starts each."""
    first = along_hyperbola(depths, scales, runs, seed, part(progress, 0.0, 0.2))
    second = among_minimizers(
        cases,
        problems,
        problem_runs,
        alternatives,
        climbs,
        seed,
        part(progress, 0.2, 1.0),
    )
    return xr.merge([first, second]).assign_attrs(
        seed=seed, problems=problems, alternatives=alternatives
    )


def draw(ds: xr.Dataset) -> Figure:
    """Above, the hyperbola: densities, the power of the volume that would be needed, the place that
    the start's charge predicts. Below, higher rank: what the predictors make of the endpoints.
    """
    with house_style():
        figure = new_figure(14.5, 10.5)
        grid = figure.add_gridspec(2, 6, height_ratios=(1, 1.25))
        top = [figure.add_subplot(grid[0, 2 * k : 2 * k + 2]) for k in range(3)]
        _draw_density(top[0], ds)
        _draw_power(top[1], ds)
        _draw_charge(top[2], ds)
        left, right = figure.add_subplot(grid[1, :3]), figure.add_subplot(grid[1, 3:])
        _draw_cases(left, ds, "below", "predictor", _SHOWN)
        left.axvline(0.5, color="#555555", lw=1, ls="--")
        left.set(
            xlim=(-0.02, 1.02),
            xlabel=(
                "share of random minimizers that the predictor puts below an endpoint (½: blind)"
            ),
            title="order",
        )
        left.legend(
            fontsize=8.5,
            loc="upper center",
            bbox_to_anchor=(0.3, -0.12),
            ncols=4,
            handletextpad=0.2,
        )
        _draw_cases(right, ds, "choice", "model", _SHOWN, names=False)
        right.axvline(0, color="#555555", lw=1, ls="--")
        most = math.log(ds.attrs["alternatives"] + 1)
        right.axvline(most, color="#555555", lw=1, ls=":")
        right.set(
            xlabel=f"nats per run above a blind choice, unseen problems (at most {most:.1f})",
            title="prediction, one fitted power",
        )
    return figure


def _middle_scale(ds: xr.Dataset) -> int:
    return int(np.argmin(np.abs(np.log10(ds.scale.values) + 3)))


def _draw_density(axis: Axes, ds: xr.Dataset) -> None:
    j = _middle_scale(ds)
    tau = np.linspace(-1.2, 1.2, 801)
    for i, depth in enumerate(ds.depth.values):
        colour = line_style(i)["color"]
        law = np.exp(log_volume_law(tau, depth) - log_volume_law(np.zeros(1), depth))
        nodes = np.linspace(-ARC, ARC, 2001)
        whole = np.trapezoid(
            np.exp(log_volume_law(nodes, depth) - log_volume_law(np.zeros(1), depth)), nodes
        )
        axis.plot(tau, law / whole, "--", color=colour, lw=1.2)
        place = ds.tau.values[i, j]
        place = place[np.isfinite(place)]
        wide = min(float(np.quantile(np.abs(place), 0.999)), 1.2)
        count, edges = np.histogram(place, np.linspace(-wide, wide, 31))
        axis.stairs(
            count / place.size / np.diff(edges),
            edges,
            color=colour,
            lw=1.6,
            label=short_depth_label(float(depth)),
        )
    axis.plot([], [], "--", color="#555555", lw=1.2, label="∝ volume")
    axis.set(
        yscale="log",
        ylim=(0.02, None),
        xlabel="τ = ½ log(w12/w21)",
        ylabel="density",
        title=f"endpoints along the hyperbola, ε = {ds.scale.values[j]:g}",
    )
    axis.legend(fontsize=9, loc="upper right")


def _draw_power(axis: Axes, ds: xr.Dataset) -> None:
    for i, depth in enumerate(ds.depth.values):
        style = line_style(i)
        low, mid, high = (ds[name].values[i] for name in ("power_low", "power", "power_high"))
        axis.errorbar(
            ds.scale,
            mid,
            [mid - low, high - mid],
            label=short_depth_label(float(depth)),
            capsize=2,
            **style,
        )
    axis.axhline(1, color="#555555", lw=1.2, ls="--")
    axis.annotate(
        "density ∝ volume",
        (ds.scale.values.max(), 1),
        xytext=(-4, 5),
        textcoords="offset points",
        fontsize=9,
        ha="right",
    )
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="size ε of the start",
        ylabel="s",
        title="density ∝ $volume^s$: the best s",
    )
    axis.set_ylim(0.5, None)
    axis.legend(fontsize=9)


def _draw_charge(axis: Axes, ds: xr.Dataset) -> None:
    j = _middle_scale(ds)
    wide = 0.01
    for i in range(ds.sizes["depth"])[::-1]:
        style = line_style(i)
        x, y = ds.predicted.values[i, j], ds.tau.values[i, j]
        there = np.isfinite(y)
        wide = max(wide, float(np.quantile(np.abs(y[there]), 0.99)))
        name = f"{short_depth_label(float(ds.depth[i]))} ({float(ds.explained[i, j]):.0%})"
        axis.plot(
            x[there],
            y[there],
            style["marker"],
            ms=3,
            mew=0,
            alpha=0.5,
            color=style["color"],
            label=name,
        )
    axis.plot([-wide, wide], [-wide, wide], color="#555555", lw=1, ls="--")
    axis.set(
        xlim=(-wide, wide),
        ylim=(-wide, wide),
        xlabel="τ predicted from the charge of the start",
        ylabel="τ of the endpoint",
        title="each run, before and after",
    )
    axis.legend(fontsize=9, markerscale=2)


def _draw_cases(
    axis: Axes, ds: xr.Dataset, name: str, over: str, shown: tuple[str, ...], names: bool = True
) -> None:
    y = np.arange(ds.sizes["case"])[::-1]
    for k, predictor in enumerate(shown):
        chosen = {over: predictor}
        mid, low, high = (ds[f"{name}{end}"].sel(chosen).values for end in ("", "_low", "_high"))
        style: dict[str, Any] = {
            "color": COLOURS[k % len(COLOURS)],
            "marker": MARKERS[k % len(MARKERS)],
            "mfc": COLOURS[k] if k < len(COLOURS) else "white",
        }
        place = y + 0.36 - 0.09 * k
        axis.errorbar(
            mid,
            place,
            xerr=[mid - low, high - mid],
            ls="",
            ms=5,
            lw=0.9,
            label=predictor.replace("-", "− "),
            **style,
        )
    for edge in y[:-1]:
        axis.axhline(edge - 0.5, color="#dddddd", lw=0.8)
    axis.set_yticks(y, ds.case.values if names else [""] * len(y), fontsize=9)
    axis.set_ylim(-0.6, len(y) - 0.4)
    axis.grid(axis="y", visible=False)


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """The powers, the gains of the laws, and for each case how well each predictor orders."""
    out: dict[str, str | float] = {}
    for i, depth in enumerate(ds.depth.values):
        for j, scale in enumerate(ds.scale.values):
            name = f"2×2, {short_depth_label(float(depth))}, ε = {scale:g}"
            power = "{:.3g} ({:.3g} … {:.3g})".format(
                *(float(ds[x][i, j]) for x in ("power", "power_low", "power_high"))
            )
            out[f"{name}: s of volume^s"] = power
            gains = ", ".join(
                f"{law} {value:.2f}"
                for law, value in zip(ds.law.values, ds.gain.values[i, j], strict=True)
            )
            out[f"{name}: nats above uniform"] = gains
            out[f"{name}: of the place explained by the start's charge"] = (
                f"{float(ds.explained[i, j]):.1%}"
            )
    for c, case in enumerate(ds.case.values):
        for name in _SHOWN:
            here = ds.isel(case=c).sel(predictor=name, model=name)
            rank = "{:.2f} ({:.2f} … {:.2f})".format(
                *(float(here[f"below{e}"]) for e in ("", "_low", "_high"))
            )
            choice = "{:.2f} ({:.2f} … {:.2f})".format(
                *(float(here[f"choice{e}"]) for e in ("", "_low", "_high"))
            )
            out[f"{case}: {name}: order; nats"] = f"{rank}; {choice}"
        joint = (
            ds.isel(case=c)
            .choice.sel(model=["norms", "norms and volume", "norms and effective rank", "all"])
            .values
        )
        out[f"{case}: nats, norms; + volume; + effective rank; all"] = "; ".join(
            f"{x:.2f}" for x in joint
        )
        climb = ds.isel(case=c).climb
        out[f"{case}: way to the nearest maximum"] = ", ".join(
            f"{n} {v:.2f}" for n, v in zip(climb.climbed.values, climb.values, strict=True)
        )
        out[f"{case}: near rank r, distance, spread"] = (
            f"{float(ds.ok[c]):.2f}, {float(ds.off[c]):.1e}, {float(ds.spread[c]):.2f}"
        )
    return out
