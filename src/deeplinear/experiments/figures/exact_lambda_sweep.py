"""Exact learning of two layers on leaves: loss and tangent kernel against time, from rich to lazy.

**Source**: Dominé et al. 2024 (2409.14623): λ-balanced networks W_2ᵀW_2 − W_1W_1ᵀ = δ I, whose
Riccati equation has a solution; large |δ| is lazy, δ near 0 rich. Kunin et al. 2024, *Get rich
quick*: the sign of δ matters where the widths of input and output differ.

**Our choice**: starts of one small product W(0) = 0.05 G/√(mn) with Gaussian G, a target with
singular values 3, 2, … (of rank min(m, n)), δ from −5 to 5, three shapes. The distance of the
tangent kernel from its start is that of `deeplinear.asymptotics.kernel_motion`, of the kernel as an
operator on matrices, Z ↦ ½ (W_2W_2ᵀZ + Z W_1ᵀW_1); nothing is integrated.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure

import deeplinear as dl

from ...plots import house_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "Exact loss and tangent kernel of two layers on leaves, from rich to lazy"
SOURCE = "Dominé et al. 2024; Kunin et al. 2024"
DURATION = "15 s"
CONCLUSION = (
    "Large |δ| is lazy where the widths of input and output agree; where they do not, for one "
    "sign of δ only."
)
FULL: dict = {
    "shapes": ((4, 4), (2, 6), (6, 2)),
    "deltas": (-5.0, -3.0, -1.0, -0.3, -0.1, 0.0, 0.1, 0.3, 1.0, 3.0, 5.0),
    "times": 120,
}
SMOKE: dict = {"shapes": ((3, 3), (2, 4)), "deltas": (-3.0, 0.0, 3.0), "times": 30}


def simulate(
    *,
    seed: int = 0,
    shapes: Sequence[tuple[int, int]],
    deltas: Sequence[float],
    times: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """``loss`` (relative to its start) and ``kernel_distance`` over (shape, delta, time)."""
    rng = np.random.default_rng(seed)
    ts = np.append(0.0, np.geomspace(1e-2, 30, times - 1))
    size = (len(shapes), len(deltas), times)
    loss, distance = np.empty(size), np.empty(size)
    for i, (m, n) in enumerate(shapes):
        W0 = 0.05 * rng.normal(size=(m, n)) / np.sqrt(m * n)
        target = _target(rng, m, n)
        for j, delta in enumerate(deltas):
            report(progress, f"{m}×{n}, δ = {delta:g}", (i * len(deltas) + j) / size[0] / size[1])
            W1, W2 = dl.leaf_factors(W0, delta, depth=2, key=seed)
            found = dl.exact.two_layer(W1, W2, target, ts)
            loss[i, j] = np.sum((found.W - target) ** 2, (-2, -1))
            distance[i, j] = dl.asymptotics.kernel_motion(found).distance
    cases = ("shape", "delta", "time")
    return xr.Dataset(
        {
            "loss": (cases, loss / loss[..., :1], {"long_name": "loss, relative to its start"}),
            "kernel_distance": (cases, distance, {"long_name": "distance of the tangent kernel"}),
        },
        coords={
            "shape": [f"{m}×{n}" for m, n in shapes],
            "delta": ("delta", np.asarray(deltas, float), {"long_name": "imbalance δ"}),
            "time": ("time", ts, {"long_name": "time of [CMV]"}),
        },
        attrs={"seed": seed},
    )


def _target(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    """A matrix of generic singular vectors with singular values 3, 2.5, …."""
    U, _, Vt = np.linalg.svd(rng.normal(size=(m, n)), full_matrices=False)
    return (U * (3 - 0.5 * np.arange(min(m, n)))) @ Vt


def draw(ds: xr.Dataset) -> Figure:
    """Loss above, distance of the kernel below, a column for each shape, a colour for each δ."""
    norm = CenteredNorm(0.0, float(np.abs(_scaled(ds.delta.values)).max()))
    colours = ScalarMappable(norm, "PuOr")
    with house_style():
        figure = new_figure(4.2 * ds.sizes["shape"] + 1.2, 6.8)
        axes = figure.subplots(2, ds.sizes["shape"], sharex=True, sharey="row", squeeze=False)
        for k, shape in enumerate(ds.shape.values):
            for row, name in enumerate(("loss", "kernel_distance")):
                axis = axes[row, k]
                for delta in ds.delta.values:
                    case = ds[name].sel(shape=shape, delta=delta)
                    balanced = {"color": "black", "lw": 2.0, "ls": "--", "zorder": 5}
                    style = {"color": colours.to_rgba(_scaled(delta)), "lw": 1.6}
                    axis.plot(ds.time[1:], case[1:], **(balanced if delta == 0 else style))
                axis.set_xscale("log")
            axes[0, k].set_title(f"{shape} (outputs × inputs)")
            axes[1, k].set_xlabel("time")
        axes[0, 0].set_ylabel("loss / loss at the start")
        axes[1, 0].set_ylabel("distance of the tangent kernel")
        bar = figure.colorbar(colours, ax=axes, label="imbalance δ (dashed: 0)")
        ticks = [delta for delta in ds.delta.values if abs(delta) not in (0.1, 3.0)]
        bar.set_ticks(_scaled(np.array(ticks)).tolist(), labels=[f"{delta:g}" for delta in ticks])
    return figure


def _scaled(delta: np.ndarray) -> np.ndarray:
    """δ on a scale that is linear near 0 and logarithmic beyond .1."""
    return np.arcsinh(np.asarray(delta) / 0.1)


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """When the loss has halved, and how far the kernel went, at the ends and in the middle."""
    out: dict[str, str | float] = {}
    for shape in ds.shape.values:
        for delta in (ds.delta.values.min(), 0.0, ds.delta.values.max()):
            case, name = ds.sel(shape=shape, delta=delta), f"{shape}, δ = {delta:g}"
            half = ds.time.values[np.argmax(case.loss.values < 0.5)]
            out[f"{name}: time at half the loss"] = round(float(half), 3)
            out[f"{name}: distance of the kernel at the end"] = round(
                float(case.kernel_distance[-1]), 4
            )
    return out
