"""First half of `volume_law`: the law of endpoints along the hyperbola of rank-1 completions,
against laws that know no training.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...progress import ProgressCallback
from ..statistics import bootstrap_interval, mixed_gain, tilt, tilt_log_density
from ._hyperbola import OBSERVED, endpoints, position
from ._minimizers import charges

Floats = NDArray[np.float64]

ARC = 2.0  # |τ| ≤ ARC: w12 from 0.12 to 6.8
NODES = np.linspace(-ARC, ARC, 20001)
LAWS = (
    "volume",
    "flatness",
    "induced volume",
    "volume to the power s",
    "exp(-s nuclear norm)",
    "charge of the start",
)
DIAGONAL = np.eye(2, dtype=bool)


def log_norm(tau: Floats) -> Floats:
    """log of σ_1 = 2 · 0.92 · cosh τ, the norm of the rank-1 completion at τ."""
    return np.log(2 * OBSERVED * np.cosh(tau))


def log_volume_law(tau: Floats, depth: float) -> Floats:
    """The Riemannian volume along the hyperbola, per dτ, up to a constant:

        vol_1 σ_1 dτ = σ_1^{1 − 3(1 − 1/N)} dτ,

    the volume of the rank-1 matrices conditioned on w11 and w22; equally what √det g dW has within
    a small fixed σ_2.
    """
    return (1 - 3 * (1 - 1 / depth)) * log_norm(tau)


def log_flatness_law(tau: Floats, depth: float) -> Floats:
    """The flatness −½ log det P_Ω A P_Ω along the hyperbola, up to a constant:

        −(2 − 2/N) log σ_1 − ½ log(2p + (1 − 4p)/N),   p = (0.92/σ_1)²,

    with A on the tangent space of the matrices of rank 1. The volume is this times the volume
    induced on the hyperbola.
    """
    p = (OBSERVED * np.exp(-log_norm(tau))) ** 2
    return -(2 - 2 / depth) * log_norm(tau) - 0.5 * np.log(2 * p + (1 - 4 * p) / depth)


def log_induced_law(tau: Floats, depth: float) -> Floats:
    """The length of the hyperbola in the metric, per dτ: the volume over the flatness.

    Its slope in log σ_1 is 3/N − 1 at the corner of least norm: it is blind there at N = 3.
    """
    return log_volume_law(tau, depth) - log_flatness_law(tau, depth)


def place_of_charge(charge: Floats, sigma2: float, depth: float) -> Floats:
    """τ at which a completion with that charge lies: Q = tanh τ · (σ_1^{2/N} − σ_2^{2/N}), at N = ∞
    tanh τ · 2 log(σ_1/σ_2).
    """
    tau = np.linspace(-8, 8, 160001)
    log_s = log_norm(tau)
    if math.isinf(depth):
        value = np.tanh(tau) * 2 * (log_s - math.log(sigma2))
    else:
        value = np.tanh(tau) * (np.exp(2 / depth * log_s) - sigma2 ** (2 / depth))
    return np.interp(charge, value, tau)


def along_hyperbola(
    depths: Sequence[float],
    scales: Sequence[float],
    runs: int,
    seed: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Endpoints near rank 1 (effective rank below 1.1, |τ| ≤ 2) as a sample of laws on the arc.
    Laws are fitted on the runs of even number and judged on the others; their ``gain`` is in nats
    per run above the uniform law in τ.
    """
    ends = endpoints(depths, scales, runs, seed, progress)
    shape = (len(depths), len(scales))
    tau = np.where(ends.effective_rank < 1.1, position(ends.W.values), np.nan)
    tau = np.where(np.abs(tau) <= ARC, tau, np.nan)
    out = {
        name: np.full(shape, np.nan)
        for name in ("power", "power_low", "power_high", "drift", "explained", "sigma2")
    }
    gain = np.full((*shape, len(LAWS), 3), np.nan)
    predicted = np.full((*shape, runs), np.nan)
    fresh = np.asarray(jax.random.normal(jax.random.key(seed + 1), (20000, 2, 2), np.float64))
    for i, depth in enumerate(depths):
        start = charges(ends.start.values, depth, DIAGONAL)[..., 0]
        for j, scale in enumerate(scales):
            here, W = tau[i, j], ends.W.values[i, j]
            there = np.isfinite(here)
            fit, judge = there & (np.arange(runs) % 2 == 0), there & (np.arange(runs) % 2 == 1)
            if fit.sum() < 10 or judge.sum() < 10:
                continue
            sigma2 = float(np.median(np.linalg.svd(W[fit], compute_uv=False)[:, 1]))
            charge = charges(W[there], depth, DIAGONAL)[:, 0]
            predicted[i, j] = place_of_charge(start[j], sigma2, depth)
            sample = place_of_charge(charges(scale * fresh, depth, DIAGONAL)[:, 0], sigma2, depth)
            gain[i, j], powers = _compare(here[fit], here[judge], sample, depth)
            out["power"][i, j], out["power_low"][i, j], out["power_high"][i, j] = powers
            out["sigma2"][i, j] = sigma2
            out["drift"][i, j] = np.quantile(np.abs(charge - start[j][there]), 0.99) / np.std(
                start[j]
            )
            missed = np.median(np.abs(here - predicted[i, j])[judge])
            out["explained"][i, j] = 1 - missed / np.median(np.abs(here[judge]))
    cases = ("depth", "scale")
    notes = {
        "power": "s of the law volume^s that fits best",
        "drift": "99 % quantile of the change of the charge, over the charge's standard deviation",
        "explained": "1 − median |τ − prediction from the start's charge| / median |τ|",
        "sigma2": "median of the smaller singular value of the endpoints",
    }
    ds = xr.Dataset(
        {name: (cases, value, {"long_name": notes.get(name, name)}) for name, value in out.items()},
        coords={"depth": ends.depth, "scale": ends.scale, "law": list(LAWS)},
    )
    for k, name in enumerate(("gain", "gain_low", "gain_high")):
        ds[name] = ((*cases, "law"), gain[..., k], {"units": "nats per run above uniform in τ"})
    ds["tau"] = ((*cases, "run"), tau, {"long_name": "place along the hyperbola, ½ log(w12/w21)"})
    ds["predicted"] = (
        (*cases, "run"),
        predicted,
        {"long_name": "place that the charge of the start predicts"},
    )
    ds["share"] = (
        cases,
        np.isfinite(tau).mean(-1),
        {"long_name": "share of runs that end near rank 1"},
    )
    return ds


def _compare(
    fit: Floats, judge: Floats, sample: Floats, depth: float
) -> tuple[Floats, tuple[float, float, float]]:
    """Gains of `LAWS` (law, [mean, low, high]), and the power s of the volume with its interval."""
    weights = np.ones(NODES.size)
    volume, norm = log_volume_law(NODES, depth), -np.exp(log_norm(NODES))
    at_volume, at_norm = log_volume_law(judge, depth), -np.exp(log_norm(judge))
    s, t = (
        tilt(log_volume_law(fit, depth), volume, weights),
        tilt(-np.exp(log_norm(fit)), norm, weights),
    )
    uniform = -math.log(NODES.size)
    logs = (
        *(
            tilt_log_density(law(judge, depth), 1.0, law(NODES, depth), weights) - uniform
            for law in (log_volume_law, log_flatness_law, log_induced_law)
        ),
        tilt_log_density(at_volume, s, volume, weights) - uniform,
        tilt_log_density(at_norm, t, norm, weights) - uniform,
        np.log(np.maximum(_histogram_density(sample, judge) * 2 * ARC, 1e-300)),
    )
    rows = []
    for value in logs:
        mixed = mixed_gain(value)
        rows.append((float(mixed.mean()), *bootstrap_interval(mixed)))
    return np.array(rows), (s, *_power_interval(fit, depth, volume, weights))


def _power_interval(
    fit: Floats, depth: float, volume: Floats, weights: Floats
) -> tuple[float, float]:
    """The bootstrap interval of s, an increasing function of the mean log volume alone."""
    low, high = bootstrap_interval(log_volume_law(fit, depth))
    return tilt([low], volume, weights), tilt([high], volume, weights)


def _histogram_density(sample: Floats, at: Floats) -> Floats:
    """The density of a symmetric sample at points, from its quantiles: constant between 200 of
    them, so narrow laws stay narrow.
    """
    edges = np.unique(np.quantile(np.concatenate([sample, -sample]), np.linspace(0, 1, 201)))
    count = np.histogram(np.concatenate([sample, -sample]), edges)[0]
    density = count / count.sum() / np.diff(edges)
    index = np.searchsorted(edges, at, side="right") - 1
    inside = (index >= 0) & (index < density.size)
    return np.where(inside, density[np.clip(index, 0, density.size - 1)], 0.0)
