"""Whether the volume of low loss shrinks as the learning coefficient says, by Monte Carlo."""

import itertools
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from ..asymptotics import learning_coefficient
from ..checks import check_integer, check_positive
from ..errors import InputError
from .result import Check

Floats = NDArray[np.float64]

# Levels of β on the way down, and levels between which the exponent is read off: beyond a first
# range where the prior and the true matrix still show.
_RUNGS, _FROM, _TO = 70, 1e5, 1e10


def volume_scaling(
    widths: Sequence[int],
    rank: int,
    *,
    coefficient: tuple[float, int] | None = None,
    particles: int = 400,
    repeats: int = 8,
    seed: int = 0,
    tol: float = 0.05,
) -> Check:
    """Whether the volume of the networks of loss below ε has the `learning_coefficient`'s law,

        vol{‖W_N ⋯ W_1 − W*‖_F² < ε} ~ C ε^λ (log 1/ε)^{m−1},    ε → 0,

    for a random true matrix W* of that rank, singular values in 1 … 2, and volume in the measure of
    independent entries N(0, 1). It goes up a ladder β_k of the laws ∝ e^{−β loss} by
    sequential Monte Carlo: particles are weighted, drawn again, and moved by exact draws of each
    layer, which given the others is Gaussian. Each volume is then a mean of bounded weights,

        vol{loss < ε} = Z(β) · E_β[e^{β loss}; loss < ε],    β = max(1, λ)/ε,

    and λ the slope of log vol − (m − 1) log log(1/ε) in log ε over 1e−10 … 1e−5.

    **Arguments**: ``coefficient``: (λ, m) to be checked, by default that of the formula.
    ``particles``, ``repeats``: independent runs of so many particles.

    **Tolerance**: |slope − λ| ≤ ``tol`` + 3.5 standard errors (of independent runs; one in a
    thousand repetitions of a true statement with 8 runs lies beyond). ``tol`` is for what ε > 0
    leaves: where m > 1 terms of order 1/log(1/ε)², about 0.02. Coefficients differ by 1/4 at least.
    **Figures**: ``slope``, ``standard error``, ``coefficient``, ``multiplicity``, and
    ``log_volume`` at ``eps``. **Raises** `InputError`. **Source**: Watanabe 2009 (Algebraic
    geometry and statistical learning theory) for the law; Del Moral, Doucet, Jasra 2006 for the
    sampler.

    >>> import deeplinear as dl
    >>> bool(dl.verify.volume_scaling((2, 1, 2), 1, particles=100, repeats=4))
    True
    """
    lam, m = learning_coefficient(widths, rank) if coefficient is None else coefficient
    particles, repeats = check_integer(particles, "particles", 2), check_integer(repeats, "repeats")
    check_positive(tol, "tol")
    if repeats < 3:
        raise InputError(f"repeats must be at least 3, for a standard error, got {repeats}.")
    runs = [
        _log_volumes(
            tuple(widths), rank, particles, max(1.0, lam), np.random.default_rng([seed, i])
        )
        for i in range(repeats)
    ]
    eps, log_volume = runs[0][0], np.array([volume for _, volume in runs])
    x = np.log(eps)
    chosen = (eps <= 1 / _FROM) & np.isfinite(log_volume).all(0)
    if chosen.sum() < 3:
        raise InputError(f"particles must be more than {particles} for widths {tuple(widths)}.")
    y = log_volume[:, chosen] - (m - 1) * np.log(-x[chosen])
    slopes = np.polyfit(x[chosen], y.T, 1)[0]
    slope, error = float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(repeats))
    passed = bool(abs(slope - lam) <= tol + 3.5 * error)
    text = (
        f"The volume of low loss shrinks with the exponent {slope:.3f} ± {error:.3f}; the learning "
        f"coefficient is {lam:g} (multiplicity {m})."
    )
    figures = {
        "slope": slope,
        "standard error": error,
        "coefficient": lam,
        "multiplicity": m,
        "eps": eps,
        "log_volume": log_volume.mean(0),
        "tol": tol,
    }
    return Check("volume_scaling", passed, figures, text)


def _log_volumes(
    widths: tuple[int, ...], rank: int, particles: int, reach: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """log vol{loss < ε} at ε = ``reach``/β, from one run of sequential Monte Carlo up to ε = 1e−10.

    (β loss has about the law Gamma(λ): with a reach of λ many particles are inside.)
    """
    U, V = (np.linalg.qr(rng.normal(size=(d, rank)))[0] for d in (widths[-1], widths[0]))
    target = (U * rng.uniform(1, 2, rank)) @ V.T
    layers = [rng.normal(size=(particles, d, n)) for n, d in itertools.pairwise(widths)]
    betas = np.append(0.0, reach * np.geomspace(1e-2, _TO, _RUNGS))
    log_z, volumes = 0.0, []
    for last, beta in itertools.pairwise(betas):
        weight = (last - beta) * _loss(layers, target)
        log_z += float(logsumexp(weight)) - np.log(particles)
        share = np.exp(weight - logsumexp(weight))
        # systematic: as few particles are lost as the weights allow
        places = (rng.uniform() + np.arange(particles)) / particles
        drawn = np.minimum(np.searchsorted(np.cumsum(share), places), particles - 1)
        layers = [W[drawn] for W in layers]
        for _ in range(2):
            for p in rng.permutation(len(layers)):
                layers[p] = _draw_layer(layers, int(p), target, beta, rng)
        scaled = beta * _loss(layers, target)
        inside = scaled[scaled < reach]
        mean = logsumexp(inside) - np.log(particles) if inside.size else -np.inf
        volumes.append(log_z + float(mean))
    return reach / betas[1:], np.array(volumes)


def _loss(layers: list[Floats], target: Floats) -> Floats:
    """‖W_N ⋯ W_1 − W*‖_F² of each particle."""
    return np.sum((_chain(layers, target.shape[1]) - target) ** 2, (1, 2))


def _chain(layers: list[Floats], size: int) -> Floats:
    """The product of some layers, the first one first; the identity of that size for none."""
    return reduce(lambda W, X: X @ W, layers) if layers else np.eye(size)[None]


def _draw_layer(
    layers: list[Floats], p: int, target: Floats, beta: float, rng: np.random.Generator
) -> Floats:
    """Layer p of each particle from its law given the others: with L and R what stands left and
    right of it, ∝ e^{−β‖L X R − W*‖² − ½‖X‖²}, in singular vectors of L and R independent normal.
    """
    before = _chain(layers[:p], target.shape[1])
    after = _chain(layers[p + 1 :], target.shape[0])
    A, s, B = np.linalg.svd(after)
    C, t, D = np.linalg.svd(before)
    rows, columns = layers[p].shape[1:]
    s, t = _padded(s, rows), _padded(t, columns)
    product = s[:, :, None] * t[:, None, :]
    seen = np.swapaxes(A, 1, 2) @ target @ np.swapaxes(D, 1, 2)
    image = np.zeros((len(layers[p]), rows, columns))
    high, wide = min(rows, seen.shape[1]), min(columns, seen.shape[2])
    image[:, :high, :wide] = seen[:, :high, :wide]
    precision = 1 + 2 * beta * product**2
    X = 2 * beta * product * image / precision
    X = X + rng.normal(size=X.shape) / np.sqrt(precision)
    return np.swapaxes(B, 1, 2) @ X @ np.swapaxes(C, 1, 2)


def _padded(values: Floats, size: int) -> Floats:
    """Singular values with zeros up to that size."""
    missing = size - values.shape[1]
    return np.pad(values, ((0, 0), (0, max(missing, 0))))[:, :size]
