"""Rank over training: descent, minibatches, and labels with fresh noise, at two to four layers.

**Source**: Varre, Sagitova, Flammarion 2024, *SGD vs GD: rank deficiency in linear networks*:
gradient descent keeps the rank of the parameters at the start, label noise diminishes it whatever
the start is; two layers. **Known of the original**: 1,000 Gaussian samples in R⁵, labels in R² by
some matrix, width 10, starts N(0, 1). Steps, batches and noise are **our choice**, as are the
completions: five entries of a 3×3 matrix of rank 1, balanced starts N(0, 0.3²), two entries in a
batch, all entries under label noise. The limit of label noise as η → 0 is known at two layers
(`asymptotics.label_noise_limit`): the least nuclear norm, weighted by the numbers of entries in
rows and columns, not the plain one.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import deeplinear as dl

from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report
from ._descent import balanced, five_entries

TITLE = "Rank over training: descent, minibatches, label noise"
SOURCE = "Varre, Sagitova, Flammarion 2024"
DURATION = "10 min"
CONCLUSION = (
    "Gradient descent keeps the rank of the parameters, label noise diminishes it: as published, "
    "at three and four layers too. Minibatches alone lose no rank here."
)
FULL: dict[str, Any] = {
    "depths": (2, 3, 4),
    "runs": 32,
    "step": 0.02,
    "noise": 0.5,
    "steps": 100_000,
    "samples": 1000,
    "regression_runs": 8,
    "regression_step": 0.01,
    "regression_noise": 2.0,
    "regression_batch": 5,
    "regression_steps": 100_000,
}
SMOKE: dict[str, Any] = {
    "depths": (2,),
    "runs": 4,
    "steps": 2000,
    "samples": 100,
    "regression_runs": 2,
    "regression_steps": 1000,
}

WAYS = ("descent", "minibatches", "label noise")
INPUTS, OUTPUTS, WIDTH = 5, 2, 10
MOMENTS = 100


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[int],
    runs: int,
    step: float,
    noise: float,
    steps: int,
    samples: int,
    regression_runs: int,
    regression_step: float,
    regression_noise: float,
    regression_batch: int,
    regression_steps: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """``effective_rank`` (way, depth, run, moment) and the mean W of the last quarter, ``W`` (way,
    depth, run, row, column), of completions; ``sigma`` of W_1 (way, sample_run, regression_moment,
    k) in the regression; the ``limit`` at two layers.
    """
    energy = five_entries(seed)
    start = scale_start(seed, runs)
    size = len(WAYS), len(depths), runs
    at = moments(steps)
    rank, W = np.full((*size, at.size), np.nan), np.full((*size, 3, 3), np.nan)
    for j, depth in enumerate(depths):
        factors = balanced(start, depth, seed)
        for i, way in enumerate(WAYS):
            report(progress, f"completion, N = {depth}: {way}", (j + i / 3) / (len(depths) + 1))
            found = dl.descend(
                energy,
                factors,
                optimizer=step,
                steps=steps,
                batch=2 if way == "minibatches" else None,
                label_noise=noise if way == "label noise" else 0.0,
                key=seed,
                records=("W",),
                record_at=at,
                stop=False,
            )
            path = found.records["W"]
            rank[i, j] = dl.effective_rank(path)
            W[i, j] = path[:, at > 0.75 * steps].mean(1)
    report(progress, "regression", len(depths) / (len(depths) + 1))
    sigma, regression_at = regression(
        seed,
        samples,
        regression_runs,
        regression_step,
        regression_noise,
        regression_batch,
        regression_steps,
    )
    limit = dl.asymptotics.label_noise_limit(energy)
    return xr.Dataset(
        {
            "effective_rank": (("way", "depth", "run", "moment"), rank),
            "W": (("way", "depth", "run", "row", "column"), W, {"long_name": "mean W, late"}),
            "sigma": (
                ("way", "sample_run", "regression_moment", "k"),
                sigma,
                {"long_name": "singular values of W_1"},
            ),
            "limit": (("row", "column"), limit.W, {"long_name": "limit of label noise at N = 2"}),
        },
        coords={
            "way": list(WAYS),
            "depth": np.asarray(depths, float),
            "moment": ("moment", at, {"long_name": "steps"}),
            "regression_moment": ("regression_moment", regression_at, {"long_name": "steps"}),
        },
        attrs={"seed": seed, "step": step, "noise": noise},
    )


def scale_start(seed: int, runs: int) -> np.ndarray:
    """The starts of the completions, N(0, 0.3²)."""
    return 0.3 * np.asarray(jax.random.normal(jax.random.key(seed), (runs, 3, 3), np.float64))


def moments(steps: int) -> np.ndarray:
    """Steps at which is recorded, early ones more densely."""
    early, even = np.geomspace(1, steps, MOMENTS // 2), np.linspace(0, steps, MOMENTS // 2)
    return np.unique(np.concatenate([early, even]).astype(np.int64))


def regression(
    seed: int, samples: int, runs: int, step: float, noise: float, batch: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of W_1 over training, way×run×moment×k, and the moments."""
    rng = np.random.default_rng(seed)
    X, truth = rng.normal(size=(INPUTS, samples)), rng.normal(size=(OUTPUTS, INPUTS))
    energy = dl.Regression(X, truth @ X, keep_samples=True)
    start = [rng.normal(size=(runs, WIDTH, INPUTS)), rng.normal(size=(runs, OUTPUTS, WIDTH))]
    at = moments(steps)
    out = [
        dl.descend(
            energy,
            start,
            optimizer=step,
            steps=steps,
            batch=None if way == "descent" else batch,
            label_noise=noise if way == "label noise" else 0.0,
            key=seed,
            records=({"sigma": _first_layer},),
            record_at=at,
            stop=False,
        ).records["sigma"]
        for way in WAYS
    ]
    return np.stack(out), at


def _first_layer(factors: Sequence[jax.Array]) -> jax.Array:
    return jnp.linalg.svd(factors[0], compute_uv=False)


def draw(ds: xr.Dataset) -> Figure:
    """Singular values of W_1 in the regression above, effective ranks of completions below."""
    with house_style():
        figure = new_figure(13.5, 8)
        above, below = np.ravel(np.asarray(figure.subfigures(2, 1)))
        axes = above.subplots(1, len(WAYS), sharey=True)
        for axis, way in zip(axes, WAYS, strict=True):
            middle = ds.sigma.sel(way=way)
            for k in range(INPUTS):
                style = {"color": line_style(k)["color"], "lw": 1.0, "alpha": 0.6}
                for run in range(ds.sizes["sample_run"]):
                    label = f"σ_{k + 1}" if run == 0 else None
                    values = middle.isel(sample_run=run, k=k)
                    axis.plot(ds.regression_moment, values, label=label, **style)
            axis.set(yscale="log", xlabel="steps", title=f"Regression, {way}")
        axes[0].set_ylabel("singular values of W_1")
        axes[0].legend(loc="lower left", ncols=2)
        axes = np.atleast_1d(below.subplots(1, ds.sizes["depth"], sharey=True))
        for axis, depth in zip(axes, ds.depth.values, strict=True):
            for i, way in enumerate(WAYS):
                values = ds.effective_rank.sel(way=way, depth=depth)
                low, median, high = values.quantile([0.25, 0.5, 0.75], "run").values
                color = line_style(i)["color"]
                axis.plot(ds.moment[1:], median[1:], color=color, label=way, lw=1.6)
                axis.fill_between(ds.moment[1:], low[1:], high[1:], color=color, alpha=0.15)
            if depth == 2:
                limit = float(dl.effective_rank(ds.limit.values))
                axis.axhline(limit, color="#444444", ls="--", label="limit, η → 0")
            axis.set(xscale="log", xlabel="steps", title=f"3×3 completion, N = {depth:g}")
            axis.legend(fontsize=9)
        axes[0].set_ylabel("effective rank: median, quartiles")
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """What is left of small singular values; ends of completions, and the limit at N = 2."""
    out: dict[str, str | float] = {}
    for way in WAYS:
        ends = ds.sigma.sel(way=way).isel(regression_moment=-1).median("sample_run").values
        out[f"regression, {way}: σ of W_1 at the end (medians)"] = " ".join(
            f"{x:.2g}" for x in ends
        )
        for depth in ds.depth.values:
            case = ds.sel(way=way, depth=depth)
            mean = case.W.mean("run").values
            rank = float(case.effective_rank.isel(moment=-1).median())
            ratio = np.median(np.divide(*np.linalg.svd(case.W.values)[1][:, 1::-1].T))
            out[f"completion, N = {depth:g}, {way}: effective rank; σ_2/σ_1 of the late mean"] = (
                f"{rank:.3f}; {ratio:.3f}"
            )
            if depth == 2:
                error = case.W.values.std(0, ddof=1).max() / np.sqrt(case.sizes["run"])
                gap = np.abs(mean - ds.limit.values).max()
                out[f"completion, N = 2, {way}: mean to the limit (standard error)"] = (
                    f"{gap:.3f} ({error:.3f})"
                )
    return out
