"""Statistics of experiments: bootstrap intervals, tilted laws, choices among alternatives.

NumPy arrays in, numbers out. "Gain" is always log likelihood per observation above that of the
reference, in nats.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax

from ..errors import InputError

Floats = NDArray[np.float64]


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[Floats, int], ArrayLike] = lambda x, axis: np.mean(x, axis=axis),
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic of independent values: its quantiles over
    resamples with replacement.

    **Arguments**: ``values``, one-dimensional, one for each independent unit (average first over
    runs that share their data; NaN is left out); ``statistic(x, axis)``, the mean by default.
    **Returns** (low, high), NaN for fewer than two values.

    **Source**: Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993, §13.3.

    >>> low, high = bootstrap_interval(np.arange(100.0))
    >>> bool(42 < low < 46 and 53 < high < 57)  # 49.5 ± 1.96 · 28.9/10
    True
    """
    x = np.asarray(values, float)
    if x.ndim != 1:
        raise InputError(
            f"values must be one-dimensional, one for each independent unit, got shape {x.shape}."
        )
    x = x[~np.isnan(x)]
    if x.size < 2:
        return float("nan"), float("nan")
    index = np.random.default_rng(seed).integers(x.size, size=(draws, x.size))
    low, high = np.quantile(np.asarray(statistic(x[index], 1)), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def percentile_rank(chosen: ArrayLike, alternatives: ArrayLike) -> Floats:
    """For each chosen value the share of the alternatives that are smaller, ties counted half: ½ on
    average if the choice does not look.

    **Shapes**: chosen (…,), alternatives (…, K) or (K,); the result (…,).

    >>> percentile_rank([1.0, 5.0], [0.0, 1.0, 2.0, 3.0]).tolist()
    [0.375, 1.0]
    """
    x, y = np.asarray(chosen, float)[..., None], np.asarray(alternatives, float)
    return (np.mean(y < x, -1) + np.mean(y <= x, -1)) / 2


def tilt(values: ArrayLike, grid: ArrayLike, weights: ArrayLike) -> float:
    """The maximum-likelihood s of the law p ∝ e^{s f} with respect to a reference measure,

        s solves  Σ_k w_k f_k e^{s f_k} / Σ_k w_k e^{s f_k} = mean of f over the observations.

    **Arguments**: ``values`` of f at the observations; ``grid``, f at the nodes of the reference
    measure, of ``weights`` w ≥ 0. s = 1 says that the density is e^f itself. **Returns** ±∞ where
    the observations lie beyond every node.

    **Raises** `InputError` where f does not vary over the nodes.

    >>> f = np.linspace(0, 1, 1001)
    >>> u = (np.arange(1000) + 0.5) / 1000
    >>> draws = np.log1p(u * (np.e**3 - 1)) / 3  # density ∝ e^{3f} on [0, 1]
    >>> round(tilt(draws, f, np.ones(1001)), 1)
    3.0
    """
    f, w, target = (
        np.asarray(grid, float),
        np.asarray(weights, float),
        float(np.mean(np.asarray(values, float))),
    )
    f, w = f[w > 0], w[w > 0]
    spread = float(f.max() - f.min())
    if not spread > 0:
        raise InputError(
            "grid must hold a predictor that varies over the reference measure, got a constant."
        )
    if target >= f.max():
        return float("inf")
    if target <= f.min():
        return float("-inf")

    log_w = np.log(w)

    def excess(s: float) -> float:
        # a plain sum: BLAS would start threads for a dot product of this length
        return float(np.sum(softmax(s * f + log_w) * f)) - target

    edge = 1 / spread
    while excess(-edge) > 0 or excess(edge) < 0:
        edge *= 4
    return float(brentq(excess, -edge, edge, xtol=1e-10 * edge, rtol=1e-12))


def tilt_log_density(values: ArrayLike, s: float, grid: ArrayLike, weights: ArrayLike) -> Floats:
    """log of the density e^{s f} / Σ_k w_k e^{s f_k} of `tilt`, with respect to the reference
    measure, at f = ``values``.
    """
    f, w = np.asarray(grid, float), np.asarray(weights, float)
    return s * np.asarray(values, float) - logsumexp(s * f, b=w)


def fit_choice(features: Sequence[Floats], ridge: float = 1e-3, steps: int = 100) -> Floats:
    """The coefficients b of the conditional logit: of each set of options, the first was chosen,
    with probability

        e^{b·x_0} / Σ_k e^{b·x_k}.

    **Arguments**: ``features``, one array (sets, options, features) for each independent group,
    groups weighted equally; ``ridge`` keeps b finite where the chosen options are always extreme: ½
    ridge |b|² is subtracted from the mean log likelihood, so scale the features to a spread of
    about one. Concave; Newton with halved steps.

    **Source**: McFadden, *Conditional logit analysis of qualitative choice behavior*, 1974.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(20000, 5, 1))
    >>> chosen = (2.0 * x[..., 0] + rng.gumbel(size=(20000, 5))).argmax(1)
    >>> x[:, 0], x[np.arange(20000), chosen] = x[np.arange(20000), chosen], x[:, 0].copy()
    >>> bool(abs(fit_choice([x], ridge=0.0)[0] - 2.0) < 0.1)
    True
    """
    b = np.zeros(features[0].shape[-1])
    value = _choice_objective(features, b, ridge)
    for _ in range(steps):
        gradient, hessian = -ridge * b, -ridge * np.eye(b.size)
        for x in features:
            p = softmax(x @ b, -1)
            mean = np.einsum("sk,skf->sf", p, x)
            gradient = gradient + (x[:, 0] - mean).mean(0) / len(features)
            centred = x - mean[:, None]
            hessian = hessian - np.einsum("sk,skf,skg->fg", p, centred, centred) / (
                len(x) * len(features)
            )
        move = -np.linalg.solve(hessian - 1e-12 * np.eye(b.size), gradient)
        size = 1.0
        while size > 1e-8 and _choice_objective(features, b + size * move, ridge) < value:
            size /= 2
        b = b + size * move
        new = _choice_objective(features, b, ridge)
        if new - value < 1e-10:
            break
        value = new
    return b


def choice_gain(x: Floats, b: Floats) -> Floats:
    """log of the probability of the first option over that of a blind choice, (sets,), at most log
    of the number of options.
    """
    u = x @ b
    return u[:, 0] - logsumexp(u, axis=-1) + np.log(x.shape[1])


def mixed_gain(gain: ArrayLike, share: float = 0.01) -> Floats:
    """The gain of a law that is mixed with ``share`` of the reference: never below log ``share``,
    so that no single observation decides.

    >>> mixed_gain([-1000.0, 0.0]).round(3).tolist()
    [-4.605, 0.0]
    """
    return np.logaddexp(np.asarray(gain, float) + np.log1p(-share), np.log(share))


def cross_validated_gain(features: Sequence[Floats], folds: int = 6, ridge: float = 1e-3) -> Floats:
    """The `mixed_gain` of `fit_choice` on groups that it did not see, the mean over the sets of
    each group: (groups,).

    Groups are dealt to folds in turn. Features are scaled by their standard deviation over the
    options of the groups that are fitted.
    """
    if not 2 <= folds <= len(features):
        raise InputError(
            f"folds must be from 2 to the number {len(features)} of groups, got {folds}."
        )
    out = np.empty(len(features))
    for fold in range(folds):
        seen = [x for i, x in enumerate(features) if i % folds != fold]
        scale = np.sqrt(np.mean([x.var(1).mean(0) for x in seen], 0))
        scale = np.where(scale > 0, scale, 1.0)
        b = fit_choice([x / scale for x in seen], ridge)
        for i in range(fold, len(features), folds):
            out[i] = mixed_gain(choice_gain(features[i] / scale, b)).mean()
    return out


def _choice_objective(features: Sequence[Floats], b: Floats, ridge: float) -> float:
    return float(np.mean([choice_gain(x, b).mean() for x in features]) - 0.5 * ridge * b @ b)
