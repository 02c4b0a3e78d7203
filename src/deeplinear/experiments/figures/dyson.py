"""Brownian motion of a deep linear network is Dyson's, at every depth: singular values that repel
each other, from one point to the quarter circle law, at infinite depth to the semicircle
(Menon, arXiv 2411.09004, where the drift is derived; Dyson 1962; theory: the volume is flat in the
root R = UΣ^{1/N}Vᵀ).

**Known**: the equation dW = A^{1/2} dB + drift. What it does to singular values follows from the
flat volume: at N < ∞ the roots σ^{1/N} are the singular values of R_0 + B(t)/N, B a matrix of
independent Brownian motions, and at N = ∞ the logarithms log σ are the eigenvalues of a symmetric
one. From one point they fill, for large d, a quarter circle of radius 2√(dt)/N and a semicircle of
radius √(2dt). **Our choice**: d×d matrices from σ^{1/N} = 0.05/N (N = ∞: W = 1), time 1, steps of
`brownian` on all of W, beside exact samples of the same d and the limit d → ∞.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

from ...dynamics.langevin import brownian
from ...exact import dyson, dyson_density, dyson_edge
from ...labels import short_depth_label
from ...plots import COLOURS, house_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "Dyson's Brownian motion at every depth: quarter circle and semicircle"
SOURCE = "Menon 2024; Dyson 1962"
DURATION = "1 min"
CONCLUSION = (
    "Singular values of Brownian motion at depth N follow the quarter circle in root coordinates,"
    " and at infinite depth their logarithms the semicircle."
)
FULL: dict[str, Any] = {
    "depths": (2.0, 5.0, math.inf),
    "size": 24,
    "chains": 60,
    "time": 1.0,
    "steps": 600,
    "exact_samples": 2000,
}
SMOKE: dict[str, Any] = {"size": 6, "chains": 12, "steps": 60, "exact_samples": 500}

START = 0.05
"""N σ^{1/N} of the start, small beside the edge 2√(dt)."""

BINS = np.linspace(-1.3, 1.3, 53)


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[float],
    size: int,
    chains: int,
    time: float,
    steps: int,
    exact_samples: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Singular values over time, in units of the edge at the end, and exact ones at the end."""
    times = np.linspace(0, time, min(steps, 60) + 1)[1:]
    paths, exact, ok = [], [], []
    for i, N in enumerate(depths):
        report(progress, f"Brownian motion at depth {short_depth_label(N)}", i / len(depths))
        W0 = start(N, size)
        run = brownian(
            W0, N, t1=time, dt=time / steps, key=seed * 1000 + i, chains=chains, saveat=times
        )
        edge = dyson_edge(N, size, time)
        paths.append(radial(np.asarray(run.log_singular_values), N) / edge)
        ok.append(np.asarray(run.converged))
        fresh = np.asarray(dyson(W0, N, time, seed * 1000 + 500 + i, exact_samples))
        exact.append(np.histogram(radial(fresh, N) / edge, BINS, density=True)[0])
    good = np.array(ok)
    distance = [
        distance_to_limit(path[keep, -1].ravel(), math.isinf(N))
        for path, keep, N in zip(paths, good, depths, strict=True)
    ]
    return xr.Dataset(
        {
            "path": (
                ("depth", "chain", "time", "k"),
                np.array(paths),
                {"long_name": "σ^{1/N} (N = ∞: log σ) over the edge at the end"},
            ),
            "ok": (("depth", "chain"), good.astype(int)),
            "exact": (
                ("depth", "bin"),
                np.array(exact),
                {"long_name": "density of exact samples of this size"},
            ),
            "distance": (
                "depth",
                np.array(distance),
                {"long_name": "Kolmogorov–Smirnov distance of the steps to the limit d → ∞"},
            ),
        },
        coords={
            "depth": np.array(depths),
            "chain": np.arange(chains),
            "time": times,
            "k": np.arange(size),
            "bin": (BINS[1:] + BINS[:-1]) / 2,
        },
        attrs={"size": size, "steps": steps},
    )


def start(N: float, d: int) -> np.ndarray:
    """W_0: all σ^{1/N} equal to START/N, or the identity at N = ∞."""
    return np.eye(d) if math.isinf(N) else (START / N) ** N * np.eye(d)


def radial(log_s: np.ndarray, N: float) -> np.ndarray:
    """σ^{1/N}, or log σ at N = ∞.

    >>> radial(np.log([8.0]), 3.0).round(6).tolist()
    [2.0]
    """
    return log_s if math.isinf(N) else np.exp(log_s / N)


def distance_to_limit(x: np.ndarray, symmetric: bool) -> float:
    """The Kolmogorov–Smirnov distance to the circle law of edge 1."""
    grid = np.linspace(-1, 1, 4001)
    # an edge of 1 is that of d t = ½ at N = ∞ and of d t = 1 at N = 2
    density = dyson_density(grid, math.inf, 1, 0.5) if symmetric else dyson_density(grid, 2, 1, 1.0)
    cdf = np.cumsum(density) / density.sum()
    return float(stats.kstest(x, lambda v: np.interp(v, grid, cdf)).statistic)


def draw(ds: xr.Dataset) -> Figure:
    """Above one chain over time in its growing edge, below all singular values at the end."""
    with house_style():
        depths = ds.depth.values
        figure = new_figure(4.2 * len(depths), 7.2)
        axes = figure.subplots(2, len(depths), squeeze=False)
        end = float(ds.time[-1])
        for i, N in enumerate(depths):
            infinite = math.isinf(N)
            here = ds.isel(depth=i)
            chain = int(np.argmax(here.ok.values))
            top, below = axes[:, i]
            top.plot(ds.time, here.path.isel(chain=chain), color=COLOURS[0], lw=0.6, alpha=0.8)
            edge = np.sqrt(np.linspace(0, 1, 200))
            for sign in (1, -1) if infinite else (1,):
                top.plot(np.linspace(0, end, 200), sign * edge, color="#444444", ls="--", lw=1.2)
            top.set_title(f"depth {short_depth_label(N)}")
            top.set(xlabel="time t", xlim=(0, end))
            last = here.path.isel(time=-1).values[here.ok.values > 0].ravel()
            below.hist(last, BINS, density=True, color=COLOURS[0], alpha=0.35, label="steps of W")
            width = float(ds.bin[1] - ds.bin[0])
            shown = here.bin if infinite else here.bin[here.bin > -width]
            below.step(
                shown,
                here.exact.sel(bin=shown),
                where="mid",
                color=COLOURS[1],
                lw=1.4,
                label=f"exact, d = {ds.attrs['size']}",
            )
            x = np.linspace(-1 if infinite else 0, 1, 400)
            limit = 2 / math.pi * np.sqrt(1 - x**2) * (1 if infinite else 2)
            below.plot(x, limit, color="#444444", ls="--", lw=1.2, label="d → ∞")
            below.set(xlim=(-1.3 if infinite else 0, 1.3))
            name = "log σ / √(2dt)" if infinite else "N σ$^{1/N}$ / 2√(dt)"
            below.set_xlabel(f"{name}, t = {end:g}")
            top.set_ylabel(name.replace("t)", f"·{end:g})"))
        axes[1, 0].set_ylabel("density")
        axes[1, 0].legend()
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """How far the singular values are from the limit law, and chains that were lost."""
    rows: dict[str, str | float] = {
        f"depth {short_depth_label(float(N))}: distance to the law of d → ∞": round(float(x), 4)
        for N, x in zip(ds.depth, ds.distance, strict=True)
    }
    rows["chains without an end"] = int((ds.ok == 0).sum())
    return rows
