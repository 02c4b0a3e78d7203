"""Does the preference for high volume survive where the volume is finite? Volume, flatness and
induced volume as predictors of endpoints on leaves.

**Source**: Cohen, Menon, Veraszto 2023 propose that "under small initialization, implicit
regularization is a result of bias towards high state space volume". On balanced networks the volume
is infinite at low rank. On leaves with one least c_p it is finite everywhere; there this question
can be asked of all completions, whatever their rank. Everything here is our choice.

**Method**: random d×d truths of rank 1, entries of standard deviation 1, part of them observed;
starts N(0, ε²). An endpoint is compared with random completions whose unknown entries are as long,
in a random direction: neither size nor distance from zero tells them apart. Below an endpoint: the
share of these that a predictor puts below it (½: blind).
Volume = flatness × induced volume: −½ log det P_Ω A P_Ω, and the volume along the completions.
Then conditional logits: how well each predictor foretells the choice on problems that it was not
fitted to, in nats above a blind choice; how much better the volume does than each other one; and
the volume to the power 1, p ∝ √det g, beside the power that fits. Bootstraps over problems.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import deeplinear as dl

from ...plots import COLOURS, MARKERS, house_style, new_figure
from ...progress import ProgressCallback, report
from ..statistics import (
    bootstrap_interval,
    choice_gain,
    cross_validated_gain,
    fit_choice,
    mixed_gain,
    percentile_rank,
)

Floats = NDArray[np.float64]

TITLE = "Volume, flatness and induced volume as predictors of endpoints on leaves"
SOURCE = "after Cohen, Menon, Veraszto 2023"
DURATION = "5 min"
CONCLUSION = (
    "As a preference high volume survives where it is finite: endpoints have more of it than 88 to "
    "99 % of equally long completions. Neither factor alone does better, the nuclear norm about as "
    "well; and the preference weakens as the leaf gets lazy, though the volume is as finite."
)
FULL: dict = {
    "size": 3,
    "observed": 6,
    "depths": (2, 3),
    "deltas": (0.01, 0.1, 1.0),
    "scales": (1e-2,),
    "problems": 30,
    "runs": 8,
    "alternatives": 200,
}
SMOKE: dict = {
    "depths": (2,),
    "deltas": (0.1, 10.0),
    "scales": (1e-1,),
    "problems": 6,
    "runs": 3,
    "alternatives": 20,
}
PREDICTORS = (
    "volume",
    "flatness",
    "induced volume",
    "-nuclear norm",
    "-effective rank",
)
MODELS = {
    **{name: (name,) for name in PREDICTORS},
    "flatness and induced": ("flatness", "induced volume"),
    "norm and rank": ("-nuclear norm", "-effective rank"),
    "all": tuple(name for name in PREDICTORS if name != "volume"),
}


def simulate(
    *,
    seed: int = 0,
    size: int,
    observed: int,
    depths: Sequence[int],
    deltas: Sequence[float],
    scales: Sequence[float],
    problems: int,
    runs: int,
    alternatives: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """``below`` (case, predictor) and ``choice`` (case, model), with their intervals."""
    cases = [(N, delta, scale) for scale in scales for N in depths for delta in deltas]
    tables = []
    for c, (depth, delta, scale) in enumerate(cases):
        label = f"N = {depth}, δ = {delta:g}, ε = {scale:g}"
        report(progress, label, c / len(cases))
        sets, moved, left_out = [], [], 0
        for i in range(problems):
            rng = np.random.default_rng([seed, i])  # cases share their problems
            truth, mask = _problem(size, observed, rng)
            starts = scale * rng.normal(size=(runs, size, size))
            energy = dl.Completion.from_dense(np.where(mask, truth, np.nan))
            found = dl.ensemble(energy, starts, depth, imbalance=delta)
            left_out += int((~found.ok).sum())
            if not found.ok.any():
                continue
            W = np.where(mask, truth, found.W[found.ok])
            others = _as_long(W, mask, alternatives, rng)
            sets.append(predictors(np.concatenate([W[:, None], others], 1), mask, depth, delta))
            moved.append(np.sqrt(np.mean((W - starts[found.ok])[:, ~mask] ** 2)))
        table = _table(label, (depth, delta, scale), sets, moved, problems)
        about = {"long_name": "runs without a certified limit, left out"}
        table["left_out"] = ("case",), [left_out], about
        tables.append(table)
    ds = xr.concat(tables, "case", coords="different", compat="equals", join="outer")
    return ds.assign_attrs(seed=seed, problems=problems, alternatives=alternatives)


def _problem(size: int, observed: int, rng: np.random.Generator) -> tuple[Floats, np.ndarray]:
    """A truth of rank 1, and a mask without empty rows and columns."""
    truth = rng.normal(size=(size, 1)) * rng.normal(size=size)
    while True:
        mask = (rng.permutation(size * size) < observed).reshape(size, size)
        if mask.any(0).all() and mask.any(1).all():
            return truth, mask


def _as_long(W: Floats, mask: np.ndarray, count: int, rng: np.random.Generator) -> Floats:
    """(runs, count, d, d): W with its unknown entries turned in random directions."""
    free = ~mask
    direction = rng.normal(size=(len(W), count, int(free.sum())))
    length = np.linalg.norm(W[:, free], axis=-1)[:, None, None]
    out = np.repeat(W[:, None], count, 1)
    out[..., free] = length * direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return out


def predictors(W: Floats, mask: np.ndarray, depth: int, delta: float) -> Floats:
    """(…, predictor), in the order of `PREDICTORS`; higher is what the predictor prefers."""
    points = jnp.asarray(W.reshape(-1, *mask.shape))
    flat = np.asarray(_flatness(points, np.flatnonzero(mask), depth, delta)).reshape(W.shape[:-2])
    volume = np.asarray(dl.log_volume(W, depth, imbalance=delta))
    nuclear = np.linalg.svd(W, compute_uv=False).sum(-1)
    rank = np.asarray(dl.effective_rank(W))
    return np.stack([volume, flat, volume - flat, -nuclear, -rank], -1)


@functools.partial(jax.jit, static_argnames=("depth", "delta"))
def _flatness(W: jax.Array, observed: jax.Array, depth: int, delta: float) -> jax.Array:
    """−½ log det of the tangent kernel at each W, among the observed entries."""

    def flatness(X: jax.Array) -> jax.Array:
        A = dl.Operator(X, depth, imbalance=delta).as_matrix()
        return -0.5 * jnp.linalg.slogdet(A[observed][:, observed])[1]

    return jax.vmap(flatness)(W)


def _table(
    label: str, case: tuple, sets: list[Floats], moved: list[float], problems: int
) -> xr.Dataset:
    """The statistics of one case: means over problems, which are what is independent."""
    shares = [percentile_rank(x[:, 0].T, x[:, 1:].transpose(2, 0, 1)).mean(-1) for x in sets]
    below = np.array([_mean(share) for share in np.transpose(shares)])
    gains = {}
    for name, names in MODELS.items():
        columns = [PREDICTORS.index(name) for name in names]
        gains[name] = cross_validated_gain([x[..., columns] for x in sets], min(5, len(sets)))
    choice = np.array([_mean(gain) for gain in gains.values()])
    ahead = np.array([_mean(gains["volume"] - gain) for gain in gains.values()])
    volumes = [x[..., :1] for x in sets]
    density = _mean([mixed_gain(choice_gain(x, np.ones(1))).mean() for x in volumes])
    power = _power(volumes)
    ds = xr.Dataset(coords={"predictor": list(PREDICTORS), "model": list(MODELS)})
    for k, end in enumerate(("", "_low", "_high")):
        ds[f"below{end}"] = "predictor", below[:, k], {"long_name": "share of completions below"}
        ds[f"choice{end}"] = "model", choice[:, k], {"units": "nats per run above a blind choice"}
        ds[f"ahead{end}"] = "model", ahead[:, k], {"units": "nats per run, volume minus model"}
        ds[f"density{end}"] = (), density[k], {"units": "nats per run of p ∝ √det g"}
        ds[f"power{end}"] = (), power[k], {"long_name": "power of the volume that fits"}
    ds["moved"] = (), float(np.median(moved)), {"long_name": "how far unknown entries moved, rms"}
    ds["used"] = (), len(sets) / problems, {"long_name": "share of problems with endpoints"}
    depth, delta, scale = case
    about = {"case": label, "depth": depth, "delta": delta, "scale": scale}
    return ds.assign_coords(about).expand_dims("case")


def _mean(values: Sequence[float] | Floats) -> tuple[float, float, float]:
    """The mean over problems, with its interval."""
    return float(np.mean(values)), *bootstrap_interval(values)


def _power(sets: list[Floats], draws: int = 200) -> tuple[float, float, float]:
    """The power s of the law volume^s that fits all problems together, with its interval."""
    scale = float(np.sqrt(np.mean([x.var(1).mean() for x in sets])))
    scaled = [x / scale for x in sets]
    index = np.random.default_rng(0).integers(len(sets), size=(draws, len(sets)))
    fitted = [float(fit_choice([scaled[i] for i in row])[0]) / scale for row in index]
    low, high = np.quantile(fitted, [0.025, 0.975])
    return float(fit_choice(scaled)[0]) / scale, float(low), float(high)


def draw(ds: xr.Dataset) -> Figure:
    """Shares below the endpoints, and nats on unseen problems, a line for each case."""
    with house_style():
        figure = new_figure(13.5, 2.1 + 0.5 * ds.sizes["case"])
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_cases(left, ds, "below", "predictor", PREDICTORS)
        left.axvline(0.5, color="#555555", lw=1, ls="--")
        left.set(xlim=(0.45, 1.02), xlabel="share of random completions below an endpoint")
        _draw_cases(right, ds, "choice", "model", tuple(MODELS))
        right.axvline(0, color="#555555", lw=1, ls="--")
        right.plot(
            ds.density,
            np.arange(ds.sizes["case"]),
            "|",
            ms=16,
            mew=2,
            color="black",
            label="volume to the power 1",
        )
        right.set_xlabel("nats above a blind choice, on unseen problems")
        left.set_yticks(range(ds.sizes["case"]), ds.case.values)
        left.invert_yaxis()
        for axis in (left, right):
            axis.legend(fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    return figure


def _draw_cases(axis: Axes, ds: xr.Dataset, name: str, along: str, shown: Sequence[str]) -> None:
    for k, label in enumerate(shown):
        y = np.arange(ds.sizes["case"]) + 0.7 * (k / max(len(shown) - 1, 1) - 0.5)
        middle, low, high = (ds[name + end].sel({along: label}) for end in ("", "_low", "_high"))
        axis.errorbar(
            middle,
            y,
            xerr=[middle - low, high - middle],
            fmt=MARKERS[k % len(MARKERS)],
            ms=5,
            lw=1,
            color=COLOURS[k % len(COLOURS)],
            mfc="white" if k >= len(COLOURS) else None,
            label=label,
        )


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """The three volumes, what the volume is ahead of, and the volume as a density, in each case."""
    out: dict[str, str | float] = {}
    for case in ds.case.values:
        row = ds.sel(case=case)
        for name in PREDICTORS:
            here = {"predictor": name, "model": name}
            out[f"{case}: {name}, share below"] = _shown(row, "below", here)
            out[f"{case}: {name}, nats"] = _shown(row, "choice", here)
            if name != "volume":
                out[f"{case}: volume ahead of {name}, nats"] = _shown(row, "ahead", here)
        out[f"{case}: volume to the power 1, nats"] = _shown(row, "density")
        out[f"{case}: power of the volume that fits"] = _shown(row, "power")
        out[f"{case}: unknown entries moved by"] = round(float(row.moved), 4)
    out["runs without a certified limit, left out"] = int(ds.left_out.sum())
    return out


def _shown(row: xr.Dataset, name: str, at: dict[str, str] | None = None) -> str:
    found = [row[name + end] for end in ("", "_low", "_high")]
    middle, low, high = (
        float(x.sel({d: v for d, v in (at or {}).items() if d in x.dims})) for x in found
    )
    return f"{middle:.3g} ({low:.3g} … {high:.3g})"
