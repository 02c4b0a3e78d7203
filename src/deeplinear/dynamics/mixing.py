"""Whether chains have forgotten their starts, and how many independent draws they are worth.

Vehtari, Gelman, Simpson, Carpenter, Bürkner, *Rank-normalization, folding, and localization: an
improved R̂ for assessing convergence of MCMC*, Bayesian Analysis 16(2):667–718, 2021. NumPy on the
host. An array holds chains × draws × quantities; each quantity is judged by itself.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from ..errors import InputError

Floats = NDArray[np.float64]


def split_r_hat(draws: ArrayLike) -> Floats:
    """R̂ of each quantity, the larger one of the bulk's and of the tails' (folded).

    √((n−1)/n + B/(nV)) of the ranks, as normal scores, of chains that are cut in halves: B/n the
    variance of their means, V the mean of their variances, n their length. Near 1 where chains and
    halves agree. **Shapes**: draws (chains, samples ≥ 4, …); the result (…). NaN where a quantity
    is constant or not finite.

    >>> apart = np.arange(2.0)[:, None] + np.random.default_rng(0).normal(size=(2, 1000))
    >>> bool(split_r_hat(apart) > 1.1 > 1.01 > split_r_hat(apart - [[0.0], [1.0]]))
    True
    """
    x = _halves(draws)
    folded = np.abs(x - np.median(x, (0, 1)))
    value = np.maximum(_plain_r_hat(_scores(x)), _plain_r_hat(_scores(folded)))
    return np.where(_usable(x), value, np.nan)


def effective_samples(draws: ArrayLike) -> Floats:
    """The number of independent draws that estimate as well, for each quantity the least of three:
    its bulk, and its 5 % and 95 % quantiles.

    n/(1 + 2 Σ ρ_t), ρ the autocorrelation over all chains, cut in halves, summed as long as sums of
    two neighbours are positive and fall (Geyer 1992). **Shapes**, NaN: as in `split_r_hat`.

    >>> independent = np.random.default_rng(0).normal(size=(4, 1000))
    >>> bool(3000 < effective_samples(independent) < 5000)
    True
    """
    x = _halves(draws)
    tails = [x <= np.quantile(x, q, (0, 1)) for q in (0.05, 0.95)]
    counts = [_plain_size(y) for y in (_scores(x), *(t.astype(float) for t in tails))]
    return np.where(_usable(x), np.min(counts, 0), np.nan)


def _halves(draws: ArrayLike) -> Floats:
    """Each chain as two, (2·chains, samples//2, …); the middle of an odd number is left out."""
    x = np.asarray(draws, np.float64)
    if x.ndim < 2 or x.shape[1] < 4:
        raise InputError(
            f"draws must be chains × samples with at least 4 samples, got shape {x.shape}."
        )
    n = x.shape[1] // 2
    return np.concatenate([x[:, :n], x[:, -n:]])


def _usable(x: Floats) -> NDArray[np.bool_]:
    return np.isfinite(x).all((0, 1)) & (np.ptp(x, (0, 1)) > 0)


def _scores(x: Floats) -> Floats:
    """Normal scores of the ranks over all chains."""
    rank = rankdata(x.reshape(-1, *x.shape[2:]), axis=0).reshape(x.shape)
    return ndtri((rank - 3 / 8) / (x.shape[0] * x.shape[1] + 1 / 4))


def _plain_r_hat(x: Floats) -> Floats:
    n = x.shape[1]
    within, between = x.var(1, ddof=1).mean(0), x.mean(1).var(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((n - 1) / n + between / within)


def _plain_size(x: Floats) -> Floats:
    chains, n = x.shape[:2]
    # autocovariances by the Fourier transform, padded so that nothing wraps around
    centred = x - x.mean(1, keepdims=True)
    power = np.abs(np.fft.rfft(centred, 2 * n, axis=1)) ** 2
    covariance = np.fft.irfft(power, 2 * n, axis=1)[:, :n].mean(0) / n
    within = covariance[0] * n / (n - 1)
    total = covariance[0] + x.mean(1).var(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - covariance) / total
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, *rho.shape[1:]).sum(1)
    pairs = np.where(np.logical_and.accumulate(pairs > 0), pairs, 0.0)
    tau = 2 * np.minimum.accumulate(pairs).sum(0) - 1
    size = chains * n
    # anticorrelated draws may be worth more than independent ones, within reason
    return size / np.maximum(tau, 1 / np.log10(size))
