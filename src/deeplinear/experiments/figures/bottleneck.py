"""A narrow hidden layer bounds the rank: where do its flows end, and is the bound worth a small
start?

**Source**: the question is that of Menon 2024 (2411.09004) and of the critical points of linear
networks: with all entries observed every local minimum is a best matrix of rank h, h the least
width (Baldi, Hornik 1989 at N = 2; Kawaguchi 2016, Trager, Kohn, Bruna 2020 at any depth). With
entries missing nothing of the kind is known. Everything here is our choice.

**Method**: hidden layers of width h in 6×6 networks at depth 2 and 3, independent normal factors of
a small and of a large product; the gradient flow of the factors to its limit. *All entries*: a
matrix with six singular values; the best matrix of rank h is the truncated SVD. *Completion*: a
truth of rank 2, 26 of its 36 entries. The best completion of rank h is the least loss of
alternating least squares from many starts and of all flows of that width; from h = 2 on it is 0. A
flow counts as at the best where its loss is within 1e−5 of it (relative to that of W = 0).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import deeplinear as dl

from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report
from ._recovery import unbalanced_flow

Floats = NDArray[np.float64]

TITLE = "Where networks with a bottleneck end"
SOURCE = "Baldi, Hornik 1989; Kawaguchi 2016"
DURATION = "4 min"
CONCLUSION = (
    "With all entries observed every flow that ended is at the best matrix of its rank. With "
    "entries missing a bottleneck of the right width needs neither depth nor a small start; "
    "without one it takes both."
)
FULL: dict[str, Any] = {
    "size": 6,
    "rank": 2,
    "observed": 26,
    "widths": (1, 2, 3, 6),
    "depths": (2, 3),
    "scales": (1e-3, 1.0),
    "problems": 6,
    "runs": 3,
    "searches": 100,
}
SMOKE: dict[str, Any] = {
    "size": 4,
    "rank": 1,
    "observed": 11,
    "widths": (1, 2, 4),
    "depths": (2,),
    "scales": (1e-2, 1.0),
    "problems": 1,
    "runs": 2,
    "searches": 10,
}
DATA = ("all entries", "completion")
CLOSE = 1e-5


def simulate(
    *,
    seed: int = 0,
    size: int,
    rank: int,
    observed: int,
    widths: Sequence[int],
    depths: Sequence[int],
    scales: Sequence[float],
    problems: int,
    runs: int,
    searches: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Loss, rank and error at the end of each flow, and the best loss of each width."""
    dims = ("data", "depth", "width", "scale", "problem", "run")
    shape = (2, len(depths), len(widths), len(scales), problems, runs)
    loss, left, error = np.full((3, *shape), np.nan)
    least = np.full((2, len(widths), problems), np.nan)
    for j in range(problems):
        rng = np.random.default_rng([seed, j])
        for a, (truth, mask) in enumerate(draw_problems(size, rank, observed, rng)):
            energy = dl.Completion.from_dense(np.where(mask, truth, np.nan))
            unit = 0.5 * np.sum(truth[mask] ** 2)
            for w, width in enumerate(widths):
                report(progress, f"problem {j + 1}, width {width}", j / problems)
                search = best_loss(truth, mask, width, searches, rng)
                for d, depth in enumerate(depths):
                    for s, scale in enumerate(scales):
                        for r in range(runs):
                            # widths and depths share no randomness; each its own start
                            start = [size, *[width] * (depth - 1), size]
                            key = int(rng.integers(2**31))
                            W = ending(energy, start, scale, key, unit)
                            if W is None:
                                continue
                            at = (a, d, w, s, j, r)
                            loss[at] = 0.5 * np.sum((W - truth)[mask] ** 2) / unit
                            left[at] = numerical_rank(W)
                            error[at] = np.linalg.norm(W - truth) / np.linalg.norm(truth)
                found = loss[a, :, w, :, j]
                least[a, w, j] = min(search / unit, np.nanmin(found, initial=np.inf))
    near = {"long_name": "loss at the end, relative to that of W = 0"}
    return xr.Dataset(
        {
            "loss": (dims, loss, near),
            "rank": (dims, left, {"long_name": "rank at the end (singular values above 1e−4 σ_1)"}),
            "error": (dims, error, {"long_name": "relative error ‖W − M‖/‖M‖ on all entries"}),
            "least": (("data", "width", "problem"), least, {"long_name": "best loss known"}),
        },
        coords={
            "data": list(DATA),
            "depth": list(depths),
            "width": list(widths),
            "scale": list(scales),
            "problem": np.arange(problems),
            "run": np.arange(runs),
        },
        attrs={"seed": seed, "rank": rank, "observed": observed},
    )


def draw_problems(
    size: int, rank: int, observed: int, rng: np.random.Generator
) -> list[tuple[Floats, NDArray[np.bool_]]]:
    """(truth, mask): a matrix of full rank with all entries, one of low rank with some of them.

    Every row and column of the second has more entries than the rank.
    """
    U, V = (np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2))
    whole = (U * 0.7 ** np.arange(size)) @ V.T
    low = rng.normal(size=(size, rank)) @ rng.normal(size=(rank, size))
    while True:
        mask = (rng.permutation(size * size) < observed).reshape(size, size)
        if min(mask.sum(0).min(), mask.sum(1).min()) > rank:
            return [(whole, np.ones_like(mask)), (low * size / np.linalg.norm(low) / 2, mask)]


def ending(
    energy: dl.Completion, widths: Sequence[int], scale: float, key: int, unit: float
) -> Floats | None:
    """W where the flow of normal factors ends; None where it did not reach its limit.

    It ends at a loss of 1e−7 of ``unit``, or where the gradient vanishes and the loss falls no more
    in the time that follows: training may rest on plateaus, and begins on one.
    """
    stops = {"stop_energy": 1e-7 * unit, "stop_gradient": 1e-5 * np.sqrt(unit)}
    common = {"rtol": 1e-6, "max_steps": 40_000}
    factors = dl.normal_factors(widths, scale, key)
    for _ in range(4):
        flow = unbalanced_flow(energy, factors, **stops, **common)
        if not bool(flow.converged):
            return None
        if int(flow.status) == int(dl.Status.energy):
            break
        later = unbalanced_flow(
            energy, flow.factors or (), t1=3 * float(flow.t_end) + 1000, **common
        )
        if float(later.energy) > 0.99 * float(flow.energy):
            break
        factors = later.factors or ()
    return np.asarray(flow.W)


def best_loss(
    truth: Floats,
    mask: NDArray[np.bool_],
    width: int,
    searches: int,
    rng: np.random.Generator,
    sweeps: int = 300,
) -> float:
    """The least ½‖P_Ω(XYᵀ − M)‖² of alternating least squares from random starts, X and Y of that
    width; with all entries that of the truncated SVD.
    """
    if mask.all():
        return float(0.5 * np.sum(np.linalg.svd(truth, compute_uv=False)[width:] ** 2))
    Y = rng.normal(size=(searches, len(mask), width))
    X = np.zeros_like(Y)
    for _ in range(sweeps):
        X = _half_step(Y, truth, mask)
        Y = _half_step(X, truth.T, mask.T)
    residual = (X @ np.swapaxes(Y, 1, 2) - truth)[:, mask]
    return float(0.5 * np.min(np.sum(residual**2, 1)))


def _half_step(Y: Floats, truth: Floats, mask: NDArray[np.bool_]) -> Floats:
    """The rows of X that fit the entries best, given Y: (searches, rows, width)."""
    gram = np.einsum("ij,bjk,bjl->bikl", mask, Y, Y)
    ridge = 1e-12 * np.trace(gram, axis1=-2, axis2=-1)[..., None, None]
    data = np.einsum("ij,bjk->bik", mask * truth, Y)
    return np.linalg.solve(gram + ridge * np.eye(Y.shape[-1]), data[..., None])[..., 0]


def numerical_rank(W: Floats) -> int:
    """The number of singular values above 1e−4 σ_1.

    >>> numerical_rank(np.diag([1.0, 1e-3, 1e-6]))
    2
    """
    s = np.linalg.svd(W, compute_uv=False)
    return int(np.sum(s > 1e-4 * s[0]))


def draw(ds: xr.Dataset) -> Figure:
    """Over the width: the loss at the end on the best known, and the error of completions."""
    with house_style():
        figure = new_figure(13.5, 4.4)
        axes = figure.subplots(1, 3)
        for axis, data in zip(axes[:2], DATA, strict=True):
            _draw_losses(axis, ds.sel(data=data))
            axis.set_title(data)
        axes[0].set_ylabel("loss at the end / loss of W = 0")
        for k, (depth, scale, here) in enumerate(_cases(ds.error.sel(data="completion"))):
            flat = here.stack(all=("problem", "run"))
            style = {**line_style(k), "label": f"N = {depth}, start {scale:g}"}
            axes[2].plot(ds.width, flat.median("all"), **style)
            low, high = (flat.quantile(q, "all") for q in (0.25, 0.75))
            axes[2].fill_between(ds.width, low, high, color=style["color"], alpha=0.15, lw=0)
        axes[2].axvline(ds.attrs["rank"], color="#777777", lw=1, ls=":")
        axes[2].set(
            title="completion (dotted: rank of the truth)",
            ylabel="relative error on all entries",
            yscale="log",
        )
        for axis in axes:
            axis.set_xlabel("width of the hidden layers")
            axis.legend(fontsize=8.5)
    return figure


def _draw_losses(axis: Axes, ds: xr.Dataset) -> None:
    for k, (depth, scale, here) in enumerate(_cases(ds.loss)):
        style = line_style(k)
        flat = here.transpose("width", ...).values.reshape(ds.sizes["width"], -1)
        place = ds.width.values[:, None] + 0.09 * (k - 1.5)
        axis.plot(
            np.broadcast_to(place, flat.shape).ravel(),
            np.maximum(flat, 1e-8).ravel(),
            **{
                **style,
                "ls": "",
                "ms": 3.5,
                "alpha": 0.5,
                "label": f"N = {depth}, start {scale:g}",
            },
        )
    for width in ds.width.values:
        level = float(ds.least.sel(width=width).median())
        axis.plot([width - 0.3, width + 0.3], [max(level, 1e-8)] * 2, color="black", lw=1.2)
    axis.plot([], [], color="black", lw=1.2, label="best known (median)")
    axis.set_yscale("log")


def _cases(values: xr.DataArray) -> list[tuple[int, float, xr.DataArray]]:
    return [
        (int(depth), float(scale), values.sel(depth=depth, scale=scale))
        for depth in values.depth.values
        for scale in values.scale.values
    ]


def at_best(ds: xr.Dataset) -> xr.DataArray:
    """Whether each flow ended with the best loss of its width; NaN where it did not end."""
    return (ds.loss - ds.least < CLOSE).where(ds.loss.notnull())


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """How many flows end at the best of their width, their ranks, and the errors of completions."""
    rows: dict[str, str | float] = {}
    best, over = at_best(ds), ("problem", "run")
    for data in DATA:
        for depth, scale, here in _cases(best.sel(data=data)):
            rows[f"{data}, N = {depth}, start {scale:g}: share at the best loss of its width"] = (
                _by_width(here.mean(over), ".3g")
            )
            case = ds.sel(data=data, depth=depth, scale=scale)
            rows[f"{data}, N = {depth}, start {scale:g}: rank, median (largest)"] = (
                _by_width(case["rank"].median(over), ".3g")
                + " ("
                + _by_width(case["rank"].max(over), ".3g")
                + ")"
            )
            if data == "completion":
                rows[f"{data}, N = {depth}, start {scale:g}: relative error, median"] = _by_width(
                    case.error.median(over), ".2g"
                )
    rows["flows without an end"] = int(ds.loss.isnull().sum())
    return rows


def _by_width(values: xr.DataArray, form: str) -> str:
    return ", ".join(f"h = {int(x.width)}: {float(x):{form}}" for x in values)
