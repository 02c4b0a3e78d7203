"""Where noise along the orbits leads: equilibria of the free energy F_β = E − S_N/β, and how fast
they are reached (Menon, Yu, arXiv 2509.09088).

**Known of the original**: noise along the orbits alone makes W follow the gradient flow of F_β, and
its equilibria are asked for; no settings. **Our choice**: energies of singular values alone, d×d
matrices. For E = ½‖W‖² entropy holds W away from 0, at equal singular values σ_*² = (d − 1)(1 −
1/N)/(2β): flows from random starts (N(0, 1) entries) are followed to ten times the slowest of
their predicted times e^{−rate·t}, to which the deviation is compared.

Weight decay (λN/2) Σ σ^{2/N} pulls small singular values harder than entropy spreads large ones:
its equilibrium with equal values is stable only for N < 5 − 6/d, at every β and λ. Deeper networks
leave it (at d = 2 for rank 1), however large β is.
"""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ...asymptotics import entropic_equilibrium
from ...dynamics.flow import gradient_flow
from ...geometry.volume import free_energy
from ...labels import short_depth_label
from ...plots import COLOURS, house_style, line_style, new_figure
from ...progress import ProgressCallback, report
from ...status import Status

TITLE = "Entropic equilibria and their rates"
SOURCE = "Menon, Yu 2025"
DURATION = "20 s"
CONCLUSION = (
    "Entropy holds singular values apart from 0 at one equilibrium, which is reached at the "
    "predicted rates. Under weight decay it is stable for N < 5 − 6/d only."
)
FULL: dict[str, Any] = {
    "depths": (2.0, 3.0, 10.0, math.inf),
    "betas": tuple(np.geomspace(0.2, 20, 9).tolist()),
    "size": 3,
    "times": 40,
    "decay_sizes": (2, 3, 5, 10),
    "decay_depths": tuple(np.linspace(1.25, 6, 39).tolist()),
}
SMOKE: dict[str, Any] = {
    "depths": (3.0, math.inf),
    "betas": (1.0, 4.0),
    "times": 10,
    "decay_sizes": (2, 5),
    "decay_depths": (1.5, 2.0, 3.0, 4.0, 6.0),
}


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[float],
    betas: Sequence[float],
    size: int,
    times: int,
    decay_sizes: Sequence[int],
    decay_depths: Sequence[float],
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Predicted equilibria and rates, ends and deviations of flows, and the rates of decay."""
    N, beta = np.array(depths), np.array(betas)
    shape = (N.size, beta.size)
    sigma, end, slow = (np.full(shape, np.nan) for _ in range(3))
    deviation = np.full((*shape, times), np.nan)
    start = np.random.default_rng(seed).normal(size=(size, size))
    phase = np.linspace(0, 10, times)  # times the slowest rate
    for i, n in enumerate(depths):
        for j, b in enumerate(betas):
            report(progress, f"flows at depth {short_depth_label(n)}", (i + j / beta.size) / N.size)
            at = entropic_equilibrium(half_square, n, b, size)
            sigma[i, j], slow[i, j] = at.singular_values.mean(), at.rates[0]
            s, ok = follow(start, n, b, phase / at.rates[0])
            if ok:
                end[i, j] = s[-1].mean()
                deviation[i, j] = s.std(1) / sigma[i, j]
    report(progress, "weight decay", 0.95)
    return xr.Dataset(
        {
            "sigma": (("depth", "beta"), sigma, {"long_name": "σ of the equilibrium"}),
            "end": (("depth", "beta"), end, {"long_name": "mean σ where the flow ended"}),
            "rate": (("depth", "beta"), slow, {"long_name": "the slowest rate"}),
            "deviation": (
                ("depth", "beta", "phase"),
                deviation,
                {"long_name": "standard deviation of the singular values, over σ"},
            ),
            "decay_rate": (
                ("size", "decay_depth"),
                decay_rates(decay_sizes, decay_depths),
                {"long_name": "slowest rate of equal σ under weight decay, times β σ^{2/N}"},
            ),
        },
        coords={
            "depth": N,
            "beta": beta,
            "phase": phase,
            "size": np.array(decay_sizes),
            "decay_depth": np.array(decay_depths),
        },
        attrs={"size": size},
    )


def half_square(s: jax.Array) -> jax.Array:
    """E = ½ Σ σ²."""
    return 0.5 * jnp.sum(s**2)


class Entropic(eqx.Module):
    """½‖W‖² − S_N/β; its numbers are arrays, so that all flows are one program."""

    depth: jax.Array
    beta: jax.Array

    def __call__(self, W: jax.Array) -> jax.Array:
        return free_energy(lambda X: 0.5 * jnp.sum(X**2), W, self.depth, self.beta, constant=False)


class Decay(eqx.Module):
    """(N/2) Σ σ^{2/N}."""

    depth: jax.Array

    def __call__(self, s: jax.Array) -> jax.Array:
        return self.depth / 2 * jnp.sum(s ** (2 / self.depth))


def follow(
    start: np.ndarray, depth: float, beta: float, times: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Singular values along the entropic flow of ½‖W‖², and whether it went to the end."""
    energy = Entropic(jnp.asarray(depth), jnp.asarray(beta))
    run = gradient_flow(
        energy, start, depth, t1=float(times[-1]), saveat=times, rtol=1e-9, atol=1e-12
    )
    s = np.linalg.svd(np.asarray(run.W), compute_uv=False)
    return s, bool(run.status == Status.reached_t1)


def decay_rates(sizes: Sequence[int], depths: Sequence[float]) -> np.ndarray:
    """rate · β σ^{2/N} for E = (N/2) Σ σ^{2/N} at β = 1; that product does not depend on β."""
    rows = []
    for d in sizes:
        row = []
        for N in depths:
            at = entropic_equilibrium(Decay(jnp.asarray(N)), N, 1.0, d, equal=True)
            row.append(float(at.rates[0] * at.singular_values[0] ** (2 / N)))
        rows.append(row)
    return np.array(rows)


def draw(ds: xr.Dataset) -> Figure:
    """The equilibria over β, the way there, and where weight decay loses its own."""
    with house_style():
        figure = new_figure(13.5, 4.4)
        left, middle, right = figure.subplots(1, 3)
        d = ds.attrs["size"]
        fine = np.geomspace(float(ds.beta.min()), float(ds.beta.max()), 100)
        for i, N in enumerate(ds.depth.values):
            style, label = line_style(i), f"N = {short_depth_label(N).split('= ')[-1]}"
            left.plot(
                fine, np.sqrt((d - 1) * (1 - 1 / N) / (2 * fine)), color=style["color"], lw=1.4
            )
            left.plot(
                ds.beta,
                ds.end.isel(depth=i),
                color=style["color"],
                marker=style["marker"],
                ls="",
                ms=6,
                label=label,
            )
            here = ds.deviation.isel(depth=i)
            for j in range(ds.beta.size):
                middle.plot(ds.phase, here.isel(beta=j), color=style["color"], lw=1, alpha=0.7)
        guide = 3 * np.exp(-ds.phase)
        middle.plot(ds.phase, guide, color="#444444", ls="--", lw=1.6, label="predicted slope")
        for i, size in enumerate(ds["size"].values):
            style = line_style(i)
            right.plot(
                ds.decay_depth,
                ds.decay_rate.isel(size=i),
                color=style["color"],
                lw=1.6,
                label=f"d = {size}",
            )
            right.plot(5 - 6 / size, 0, color=style["color"], marker=style["marker"], ms=7)
        right.axhline(0, color=COLOURS[-1], lw=0.8)
        left.set(
            xscale="log",
            yscale="log",
            xlabel="β",
            ylabel="σ",
            title=f"½‖W‖² − S/β, d = {d}: the equilibrium",
        )
        middle.set(
            yscale="log",
            xlabel="time · predicted rate",
            ylabel="spread of σ, relative",
            title="On the way there",
        )
        right.set(
            xlabel="depth N",
            ylabel="slowest rate · β σ$^{2/N}$",
            title="Weight decay: stable up to N = 5 − 6/d",
        )
        for axis in (left, middle, right):
            axis.legend()
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """How far ends are from the equilibrium, and slopes from the predicted rate."""
    late = ds.deviation.isel(phase=slice(ds.phase.size // 2, None))
    slopes = -np.polyfit(late.phase, np.log(late).values.reshape(-1, late.phase.size).T, 1)[0]
    gap = np.abs(ds.end / ds.sigma - 1)
    return {
        "largest relative distance of an end from σ_*": f"{float(gap.max()):.1e}",
        "measured over predicted rate": f"{np.nanmin(slopes):.3f} … {np.nanmax(slopes):.3f}",
        "flows without an end": int(ds.end.isnull().sum()),
    }
