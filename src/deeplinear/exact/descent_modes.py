"""Stochastic descent of one singular value: its equation, and where label noise takes it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike
from scipy.integrate import quad
from scipy.optimize import brentq

from ..checks import check_depth, check_known, check_not_negative, check_numbers, check_positive
from ..errors import DepthError, InputError
from ..labelled import Numbers


class _ModeDiffusion(NamedTuple):
    drift: np.ndarray
    variance: np.ndarray


class ModeDiffusion(Numbers, _ModeDiffusion):
    """What `mode_diffusion` returns: dσ = ``drift`` dt + √``variance`` dB, time as in [CMV]."""


def mode_diffusion(
    sigma: ArrayLike,
    target: ArrayLike,
    depth: float,
    step: float,
    *,
    data_noise: float = 0.0,
    label_noise: float = 0.0,
) -> ModeDiffusion:
    """The equation that a singular value σ follows under stochastic descent of small steps η,

        dσ = (−σ^{2−2/N} (σ − s) + ½ (N − 1) η v σ^{3−4/N}) dt + (N η v)^{1/2} σ^{2−2/N} dB,
        v = κ (σ − s)² + ν²,

    for E = ½‖W − S‖_F² from balanced factors with the singular vectors of S, where the noise of the
    gradient in W is diagonal in these too and has the variance v. All layers of a mode then see
    one and the same noise, stay equal, and the equation is Itô's for σ = w^N.

    **Arguments**: ``sigma`` σ > 0 and ``target`` s ≥ 0, which broadcast; ``depth`` N ≥ 1, finite;
    ``step`` η. ``data_noise``: κ; batches of b of the n samples √n e_i (e_i the right singular
    vectors of S) have κ = n/b − 1, and normal inputs 2/b in each mode (but these turn the singular
    vectors too). ``label_noise``: ν, the deviation of the noise of one mode's target.

    **Normalization**: k steps of η are the time t = N k η of [CMV]. **Raises** `InputError`,
    `DepthError`. **Source**: Corlouer et al. 2026 (2604.06366); the Itô terms are derived here.

    >>> import deeplinear as dl
    >>> drift, variance = dl.exact.mode_diffusion(0.5, 1.0, 2, 0.01, label_noise=1.0)
    >>> round(float(drift), 5), round(float(variance), 5)  # ½·½ + ½·0.01·½, 2·0.01·¼
    (0.2525, 0.005)
    """
    N = _depth(depth)
    eta = check_positive(step, "step")
    x, s = check_numbers(sigma, "sigma"), check_numbers(target, "target")
    try:
        sigma, target = np.broadcast_arrays(x, s)
    except ValueError:
        raise InputError(
            f"sigma and target must broadcast, got shapes {x.shape} and {s.shape}."
        ) from None
    kappa, nu = check_not_negative(data_noise=data_noise, label_noise=label_noise)
    v = kappa * (sigma - target) ** 2 + nu * nu
    speed = sigma ** (2 - 2 / N)
    # σ^{3−4/N}: 0 at N = 1, where it has the factor N − 1 = 0, and σ may be 0
    curved = sigma ** (3 - 4 / N) if N > 1 else np.zeros_like(sigma)
    drift = -speed * (sigma - target) + 0.5 * (N - 1) * eta * v * curved
    return ModeDiffusion(drift, N * eta * v * speed**2)


def label_noise_density(
    sigma: ArrayLike, target: float, depth: float, step: float, label_noise: float
) -> np.ndarray:
    """The density of the law in which label noise keeps a singular value σ (see `mode_diffusion`),

        p(σ) ∝ σ^{3/N − 3} exp(−(2/(η ν²)) (½ σ^{2/N} + s σ^{2/N − 1}/(N − 2))),    N > 2,

    and at N = 2 the gamma law of shape s/(ην²) − ½ and scale ην², of mean s − ην²/2: what training
    with a small penalty on the nuclear norm would give.

    **Arguments**: ``sigma`` > 0, of any shape; ``target`` s > 0; ``depth`` N ≥ 2, finite; ``step``
    η, ``label_noise`` ν. **Raises** `DepthError`, `InputError`; also where at N = 2 the noise is so
    strong, ην² ≥ 2s, that σ falls to 0. **Source**: the stationary solution of the equation of
    `mode_diffusion`; Corlouer et al. 2026 (2604.06366).

    >>> import deeplinear as dl, numpy as np
    >>> sigma = np.linspace(0.01, 3, 1000)
    >>> p = dl.exact.label_noise_density(sigma, 1.0, 3, 0.01, 2.0)
    >>> round(float(np.sum(p) * (sigma[1] - sigma[0])), 4)
    1.0
    """
    N = _depth(depth)
    if N < 2:
        raise DepthError(f"depth must be ≥ 2 here, where σ stays positive, got {depth!r}.")
    s = check_positive(target, "target")
    eta, nu = check_positive(step, "step"), check_positive(label_noise, "label_noise")
    noise = eta * nu * nu
    if not 1e-300 < noise < 1e301:
        raise InputError(
            f"step and label_noise must have η ν² within the range of floats, got {noise:g}."
        )
    x = check_numbers(sigma, "sigma")
    if not (x > 0).all():
        raise InputError("sigma must be finite and positive.")
    if N == 2 and noise >= 2 * s:
        raise InputError(f"label_noise is so strong, η ν² = {noise:g} ≥ 2s, that σ falls to 0.")
    top = _mode(s, N, noise)
    with np.errstate(over="ignore"):
        hill, fall = 0.5 * np.exp(2 * top / N), s * np.exp((2 - N) / N * top)

    def log_weight(h: ArrayLike) -> np.ndarray:
        """Of log σ = top + h beside its height at the top, the factor σ of dσ included: by
        differences, for the exponents themselves are large where the noise is small.
        """
        h = np.asarray(h, float)
        rise = 0.5 * _difference(2 * top / N, 2 / N * h)
        a = (2 - N) / N  # exact near N = 2
        if N == 2:  # (e^{ah} − 1)/(N − 2) = −(h/N) (e^{ah} − 1)/(ah)
            return (3 / N - 2) * h - (2 / noise) * (rise - s * h / N)
        lift = s / (N - 2) * _difference(a * top, a * h)
        return (3 / N - 2) * h - (2 / noise) * (rise + lift)

    with np.errstate(over="ignore", invalid="ignore"):
        width = 1 / math.sqrt((2 / noise) * (4 * hill + (N - 2) * fall) / N**2)
        left, right = (_reach(log_weight, sign * width) for sign in (-1, 1))
        total = sum(
            quad(lambda h: math.exp(log_weight(h)), *ends, epsabs=0, epsrel=1e-12, limit=500)[0]
            for ends in ((left, 0.0), (0.0, right))
        )
        return np.exp(log_weight(np.log(x) - top)) / x / total


def _difference(x: float, dx: np.ndarray) -> np.ndarray:
    """e^{x + dx} − e^x, with all its digits where dx is small."""
    return np.where(
        abs(dx) < 1, np.exp(x) * np.expm1(np.minimum(dx, 1)), np.exp(x + dx) - np.exp(x)
    )


def _mode(s: float, N: float, noise: float) -> float:
    """Where the density of log σ is largest: its logarithm is concave."""

    def slope(y: float) -> float:
        u = math.exp(min((2 - N) / N * y, 700.0))  # further out it is positive anyway
        return (3 / N - 2) * noise / 2 * N - math.exp(2 * y / N) + s * u

    high = math.log(s)
    low = high - 1.0
    while slope(low) <= 0:
        low -= high - low
    return float(brentq(slope, low, high, xtol=1e-300, rtol=1e-15))


def _reach(log_weight: Callable[[float], np.ndarray], step: float) -> float:
    """So far on one side that what is further out does not count."""
    while log_weight(step) > -60:
        step *= 1.5
    return step


def _depth(depth: float) -> float:
    check_known(depth, "depth")
    N = float(np.asarray(check_depth(depth, scalar=True)))
    if math.inf == N:
        raise DepthError(f"depth must be ≥ 1 and finite here, got {depth!r}.")
    return N
