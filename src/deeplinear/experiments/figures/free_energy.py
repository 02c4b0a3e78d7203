"""Free energy of the 2×2 diagonal problem: minimizers of F_β = E − S_N/β over β and N, and Langevin
samples of e^{−βF} (Menon, Yu, *An entropy formula for the deep linear network*, arXiv 2509.09088;
Menon, arXiv 2411.09004).

**Known of the original**: the free energy is defined and the question is asked which minimizers of
E it selects; no settings.
**What there is to know first**: for diagonal observations F_β has *no* minimizer. In the
coordinates W = (rotation part p) + (reflection part q), σ = |p| ± |q|, the energy E = (p_1 − m)² +
q_1² does not see p_2 and q_2, while S_N rises strictly in both singular values; so F_β falls
without bound, like −(1 − 1/N)/β · log‖W‖, as the missing entries grow, from every point and at
every β.

**Our choice**: weight decay λ on the factors, which is what confines them in practice, and observed
values m = 0.92:

    Φ = E + (λN/2) Σ σ_i^{2/N} − S_N/β,      S_N = ½ log λ_N(σ_1, σ_2)  (without its constant).

Decay pulls the smaller singular value to 0 and entropy pushes it up. At N = 2 both see σ_1 + σ_2
alone and every ratio is a minimizer; for N > 2 decay wins at every β, and the minimizer has rank 1.
Its size is the competition of the two: cold, it is the corner of the hyperbola w12 w21 = m² with
σ_1 ≈ 2m; below β_c = (1 − 1/N)/(λ (2m)^{2/N}) entropy inflates it to σ_1 = ((1 − 1/N)/(λβ))^{N/2},
and the minimizer leaves the corner along both arms of the hyperbola: a pitchfork. (At N = ∞ the
decay λ Σ log σ_i has no lower bound at rank 1, nor has Φ.)

The Langevin equation dW = −A(∇F)dt + √(2/β) A^{1/2}dB + … samples e^{−βF} dvol_g; the histogram of
(σ_2/σ_1)^{1/N} stands beside the exact law, a two-dimensional integral. Decay is stronger there
(chains relax at the rate λ/N).
"""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from scipy.special import i0e

from ...dynamics.langevin import langevin
from ...geometry.kernel import log_kernel
from ...geometry.point import LogSVD
from ...geometry.volume import entropy
from ...labels import short_depth_label
from ...plots import house_style, line_style, new_figure
from ...progress import ProgressCallback, report

TITLE = "Free energy of the diagonal problem"
SOURCE = "Menon, Yu 2025"
DURATION = "1 min"
CONCLUSION = (
    "For diagonal observations the free energy has no minimizer. With weight decay it has one, of"
    " rank 1 at every β tried for N > 2; at N = 2 all ratios of singular values are equally good."
)
FULL: dict[str, Any] = {
    "depths": (2.0, 3.0, 5.0, 10.0),
    "betas": tuple(np.geomspace(2, 200, 61).tolist()),
    "decay": 0.1,
    "observed": 0.92,
    "profile_beta": 20.0,
    "sample_depth": 3.0,
    "sample_decay": 0.3,
    "sample_betas": (2.0, 16.0),
    "chains": 2000,
    "time": 60.0,
    "dt": 0.02,
}
SMOKE: dict[str, Any] = {
    "depths": (2.0, 4.0),
    "betas": (2.0, 5.0, 12.0, 30.0),
    "sample_betas": (16.0,),
    "chains": 100,
    "time": 5.0,
    "dt": 0.1,
}

RATIOS = np.linspace(0.0, 1.0, 201)
"""(σ_2/σ_1)^{1/N}, the coordinate in which the two ends are both regular."""


def simulate(
    *,
    seed: int = 0,
    depths: Sequence[float],
    betas: Sequence[float],
    decay: float,
    observed: float,
    profile_beta: float,
    sample_depth: float,
    sample_decay: float,
    sample_betas: Sequence[float],
    chains: int,
    time: float,
    dt: float,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Profiles and minimizers of Φ, and Langevin samples with the exact law beside them."""
    N, beta = np.array(depths), np.array([*betas, profile_beta])
    phi, log_s1 = profiles(N, beta, decay, observed)
    phi, log_s1, shown = phi[:, :-1], log_s1[:, :-1], phi[:, -1]
    best = np.argmin(phi, axis=-1)
    take = lambda x: np.take_along_axis(x, best[..., None], -1)[..., 0]  # noqa: E731
    edges = np.linspace(0, 1, 41)
    samples, exact, ok = [], [], []
    for i, b in enumerate(sample_betas):
        done = 0.1 + 0.9 * i / len(sample_betas)
        report(progress, f"Langevin samples at β = {b:g}", done)
        key = jax.random.fold_in(jax.random.key(seed), i)
        ratio, good = sample(sample_depth, b, sample_decay, observed, chains, time, dt, key)
        samples.append(ratio)
        ok.append(good)
        exact.append(exact_density(sample_depth, b, sample_decay, observed, edges))
    dims = ("depth", "beta")
    return xr.Dataset(
        {
            "free_energy": (dims, take(phi), {"long_name": "least Φ"}),
            "sigma_1": (
                dims,
                np.exp(take(log_s1)),
                {"long_name": "largest singular value of the minimizer"},
            ),
            "ratio": (dims, RATIOS[best], {"long_name": "(σ_2/σ_1)^{1/N} of the minimizer"}),
            "onset": (
                "depth",
                onset(N, decay, observed),
                {"long_name": "β below which the minimizer leaves the corner"},
            ),
            "profile": (("depth", "x"), shown, {"long_name": "least Φ at a given ratio"}),
            "samples": (
                ("sample_beta", "chain"),
                np.array(samples),
                {"long_name": "(σ_2/σ_1)^{1/N}"},
            ),
            "sample_ok": (("sample_beta", "chain"), np.array(ok).astype(int)),
            "exact": (
                ("sample_beta", "bin"),
                np.array(exact),
                {"long_name": "exact probability of each bin"},
            ),
        },
        coords={
            "depth": N,
            "beta": np.array(betas),
            "x": RATIOS,
            "sample_beta": np.array(sample_betas),
            "chain": np.arange(chains),
            "bin": (edges[1:] + edges[:-1]) / 2,
        },
        attrs={
            "decay": decay,
            "observed": observed,
            "profile_beta": profile_beta,
            "sample_depth": sample_depth,
            "sample_decay": sample_decay,
        },
    )


def onset(depth: np.ndarray, decay: float, observed: float) -> np.ndarray:
    """β_c = (1 − 1/N)/(λ (2m)^{2/N}), where ((1 − 1/N)/(λβ))^{N/2} = 2m.

    >>> onset(np.array([2.0]), 0.1, 1.0).tolist()
    [2.5]
    """
    return (1 - 1 / depth) / (decay * (2 * observed) ** (2 / depth))


def off_diagonal(sigma_1: np.ndarray, observed: float) -> tuple[np.ndarray, np.ndarray]:
    """(w12, w21), w12 ≥ w21, of a rank-1 matrix with largest singular value σ_1 and the diagonal as
    near to m as it goes:
    |p| = |q| = σ_1/2, p_1 = min(m, σ_1/2)."""
    half = sigma_1 / 2
    p2 = np.sqrt(np.maximum(half**2 - observed**2, 0.0))
    return half + p2, half - p2


def free_energy_of_spectrum(
    log_s1: ArrayLike,
    x: ArrayLike,
    depth: ArrayLike,
    beta: ArrayLike,
    decay: float,
    observed: float,
) -> jax.Array:
    """Φ minimized over all W with singular values σ_1 and σ_2 = x^N σ_1: E is then max(m −
    (σ_1 + σ_2)/2, 0)².
    """
    log_s1, x, N = jnp.broadcast_arrays(*(jnp.asarray(a, float) for a in (log_s1, x, depth)))
    log_x = jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -jnp.inf)
    log_s = jnp.stack([log_s1, log_s1 + N * log_x], -1)
    frames = jnp.broadcast_to(jnp.eye(2), (*log_s1.shape, 2, 2))
    sigma = jnp.exp(log_s)
    energy = jnp.maximum(observed - sigma.sum(-1) / 2, 0.0) ** 2
    penalty = decay * N / 2 * jnp.exp(2 * log_s1 / N) * (1 + x**2)
    return (
        energy
        + penalty
        - entropy(LogSVD(frames, log_s, frames), N, constant=False) / jnp.asarray(beta)
    )


def profiles(
    depths: np.ndarray, betas: np.ndarray, decay: float, observed: float
) -> tuple[np.ndarray, np.ndarray]:
    """min over σ_1 of Φ, and the log σ_1 where it is taken, for each depth, β and x in `RATIOS`.

    A grid in log σ_1 and golden sections between its neighbours: for Φ has a kink where E becomes
    0.
    """
    shape = (depths.size, betas.size, RATIOS.size)
    N, beta = depths[:, None, None], betas[None, :, None]
    value = eqx.filter_jit(lambda y: free_energy_of_spectrum(y, RATIOS, N, beta, decay, observed))
    grid = np.linspace(-4, 12, 161)
    values = np.stack([np.broadcast_to(value(np.full(shape, y)), shape) for y in grid])
    middle = grid[np.clip(np.argmin(values, 0), 1, grid.size - 2)]
    low, high = middle - 0.1, middle + 0.1
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(50):
        a, b = high - golden * (high - low), low + golden * (high - low)
        left = np.asarray(value(a) < value(b))
        low, high = np.where(left, low, a), np.where(left, b, high)
    return np.asarray(value((low + high) / 2)), (low + high) / 2


class Confined(eqx.Module):
    """E + (λN/2) Σ σ_i^{2/N} of a 2×2 matrix, where σ = |p| ± |q| in closed form."""

    depth: jax.Array
    decay: float
    observed: float

    def __call__(self, W: jax.Array) -> jax.Array:
        p = jnp.array([W[0, 0] + W[1, 1], W[1, 0] - W[0, 1]]) / 2
        q = jnp.array([W[0, 0] - W[1, 1], W[1, 0] + W[0, 1]]) / 2
        P, Q = (jnp.sqrt(jnp.sum(x**2) + 1e-300) for x in (p, q))
        s2 = jnp.abs(W[0, 0] * W[1, 1] - W[0, 1] * W[1, 0]) / (P + Q)
        power = lambda s: jnp.exp(2 / self.depth * jnp.log(s + 1e-300))  # noqa: E731
        penalty = self.decay * self.depth / 2 * (power(P + Q) + power(s2))
        return (p[0] - self.observed) ** 2 + q[0] ** 2 + penalty


def sample(
    depth: float,
    beta: float,
    decay: float,
    observed: float,
    chains: int,
    time: float,
    dt: float,
    key: jax.Array,
) -> tuple[np.ndarray, np.ndarray]:
    """(σ_2/σ_1)^{1/N} at the ends of entropic Langevin chains, and which of them converged."""
    energy = Confined(jnp.asarray(depth), decay, observed)
    start = np.array([[observed, 0.3], [0.5, observed]])
    run = langevin(
        energy, start, depth, beta, t1=time, dt=dt, key=key, chains=chains, entropic=True
    )
    log_s = np.asarray(run.log_singular_values)
    return np.exp((log_s[:, 1] - log_s[:, 0]) / depth), np.asarray(run.converged)


def exact_density(
    depth: float, beta: float, decay: float, observed: float, edges: np.ndarray
) -> np.ndarray:
    """Probabilities of bins of x = (σ_2/σ_1)^{1/N} under e^{−βF} dvol_g, with entropy and decay.

    In dW it is e^{−β(E + decay)} λ_12^{1/2} · (σ_1σ_2)^{−(1−1/N)} λ_12^{−1}. The angle of q is
    integrated in closed form, that of p by the trapezoidal rule; the rest is a grid over y =
    σ_1^{1/N} and x, for both signs of det, where nothing is singular: σ_i^{−(1−1/N)} dσ_i = N
    dσ_i^{1/N}.
    """
    y = np.linspace(
        0, (2 * observed) ** (1 / depth) + 12 / (beta * decay * depth) ** 0.5 + 1, 1501
    )[1:]
    x = np.linspace(0, 1, 8 * (len(edges) - 1) * 4 + 1)
    x = (x[1:] + x[:-1]) / 2
    Y, X = np.meshgrid(y, x, indexing="ij")
    s1, s2 = Y**depth, (X * Y) ** depth
    log_lambda = np.asarray(log_kernel(np.log(s1), np.log(s2), 1 / depth))
    angle = 2 * np.pi * (np.arange(128) + 0.5) / 128
    total = np.zeros_like(Y)
    for sign in (1, -1):
        P, Q = (s1 + sign * s2) / 2, (s1 - sign * s2) / 2
        of_p = sum(np.exp(-beta * (P * math.cos(a) - observed) ** 2) for a in angle)
        total += P * Q * of_p * i0e(beta * Q**2 / 2)
    density = total * np.exp(-beta * decay * depth / 2 * Y**2 * (1 + X**2) - log_lambda / 2) * Y
    weight = density.sum(0)
    binned, _ = np.histogram(x, edges, weights=weight)
    return binned / binned.sum()


def draw(ds: xr.Dataset) -> Figure:
    """Profiles of Φ over the ratio of singular values, minimizers over β, samples on their law."""
    with house_style():
        figure = new_figure(14.5, 4.8)
        ax_profile, ax_fork, ax_law = figure.subplots(1, 3)
        for i, depth in enumerate(ds.depth.values):
            here, style = ds.sel(depth=depth), {**line_style(i), "markevery": (2 * i, 20)}
            rise = (here.profile - here.profile.min()) * ds.attrs["profile_beta"]
            ax_profile.plot(ds.x, rise, label=short_depth_label(depth), **style)
            if depth > 2:
                style["markevery"] = (i, 8)
                for w, label in zip(
                    off_diagonal(here.sigma_1, ds.attrs["observed"]),
                    (short_depth_label(depth), None),
                    strict=True,
                ):
                    ax_fork.plot(ds.beta, w, label=label, **style)
                ax_fork.axvline(float(here.onset), color=style["color"], lw=1, ls=":")
        ax_profile.set(
            title=f"The landscape at β = {ds.attrs['profile_beta']:g}",
            xlabel="$(\\sigma_2/\\sigma_1)^{1/N}$: rank 1 at 0, ties at 1",
            ylabel="β (Φ − least Φ)",
        )
        ax_fork.set(
            title="The minimizer (rank 1); dotted: $\\beta_c$",
            xlabel="β",
            ylabel="$w_{12}$ and $w_{21}$",
            xscale="log",
            yscale="log",
            ylim=(0.02, 50),
        )
        edges = np.linspace(0, 1, ds.sizes["bin"] + 1)
        for i, beta in enumerate(ds.sample_beta.values):
            law, colour = ds.sel(sample_beta=beta), line_style(i)["color"]
            kept = law.samples.values[law.sample_ok.values == 1]
            label = f"β = {beta:g}"
            ax_law.hist(
                kept,
                edges,
                density=True,
                color=colour,
                alpha=0.3,
                label=f"{label}, {kept.size} chains",
            )
            line = {"color": colour, "lw": 1.8, "ls": ("-", "--")[i % 2]}
            ax_law.stairs(law.exact * ds.sizes["bin"], edges, label=f"{label}, exact", **line)
        ax_law.set(
            title=f"Langevin samples, {short_depth_label(ds.attrs['sample_depth'])}",
            xlabel="$(\\sigma_2/\\sigma_1)^{1/N}$",
            ylabel="probability density",
        )
        for axis in (ax_profile, ax_fork, ax_law):
            axis.legend(fontsize=9)
    return figure


def summary(ds: xr.Dataset) -> dict[str, str | float]:
    """Ratios of the minimizers, where they leave the corner, and how well samples fit their law."""
    rows: dict[str, str | float] = {}
    for depth in ds.depth.values:
        here = ds.sel(depth=depth)
        if depth > 2:
            rows[f"largest σ_2/σ_1 of a minimizer, {short_depth_label(depth)}"] = float(
                (here.ratio**depth).max()
            )
        rows[f"β_c, {short_depth_label(depth)}"] = round(float(here.onset), 3)
    flat = ds.profile.sel(depth=2.0, method="nearest")
    rows[f"spread of β Φ over all ratios, {short_depth_label(float(flat.depth))}"] = (
        f"{float(flat.max() - flat.min()) * ds.attrs['profile_beta']:.1e}"
    )
    for beta in ds.sample_beta.values:
        distance, limit = ks_distance(ds, beta)
        rows[f"Kolmogorov distance of samples and exact law, β = {beta:g}"] = (
            f"{distance:.4f} (95 % of exact samples: below {limit:.4f})"
        )
        rows[f"chains that failed, β = {beta:g}"] = int(
            (ds.sample_ok.sel(sample_beta=beta) == 0).sum()
        )
    return rows


def ks_distance(ds: xr.Dataset, beta: float) -> tuple[float, float]:
    """The largest gap of the distribution functions at the edges of the bins, and its 95 per cent
    limit 1.36/√n for exact samples.
    """
    here = ds.sel(sample_beta=beta)
    kept = here.samples.values[here.sample_ok.values == 1]
    counts, _ = np.histogram(kept, np.linspace(0, 1, ds.sizes["bin"] + 1))
    gap = np.abs(np.cumsum(counts) / kept.size - np.cumsum(here.exact.values))
    return float(gap.max()), 1.36 / math.sqrt(kept.size)
