"""What an entry x costs at a prediction on the link scale, for data that are not Gaussian.

With t = unit · η, η = W_ij + μ + a_i + b_j and F(u) = 1/(1 + e^{−u}), an entry costs ℓ, and a new
one has a mean:

    squared    ½ (x − t)²                                        t
    huber      ½ r² for |r| ≤ c, else c |r| − ½ c²; r = x − t    t
    ordinal    −log(F(c_k − t) − F(c_{k−1} − t)), x = l_k        Σ_k l_k P(x = l_k)
    poisson    e^t − x t − (x − x log x)                         e^t

(`ordinal` is the proportional-odds model; with two levels it is logistic regression, whose mean is
a probability where they are 0 and 1.) `EntryLosses.touch` gives the slope −∂ℓ/∂η and a curvature ω
of each entry: ½ ω (η − z)² with z = η + slope/ω touches ℓ, so that weighted sweeps fit any of them
(`backends.reweighted`). It lies above ℓ for Huber's weights min(1, c/|r|) and for the bound
tanh(u/2)/(2u) of log(1 + e^u), of which −log(F(a) − F(b)) = log(1 + e^{−a}) + log(1 + e^b) + const
has two; not for Poisson, where steps are halved until the objective falls.

Sources: Huber, Annals of Statistics 1964; Jaakkola and Jordan, Statistics and Computing 2000 (the
bound of the logistic); McCullagh, JRSS B 1980 (proportional odds); Lange, MM Optimization
Algorithms (2016), §8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

from ..errors import InputError
from .file_format import Arrays
from .schema import REAL, WHOLE, Field, Schema, check_arrays, check_nothing_left, take

#: The codes of the losses. Logistic is ordinal with two levels.
SQUARED, HUBER, ORDINAL, POISSON = range(4)
#: What a file keeps of them, of each of n columns or of all (one).
LOSSES: Schema = {
    "kinds": Field(WHOLE, ("losses",), least=0, most=3),
    "units": Field(REAL, ("losses",), above=0),
    "thresholds": Field(REAL, ("losses",), above=0, infinite=True),
    "levels": Field(REAL, ("losses", "k+1")),
    "cuts": Field(REAL, ("losses", "k"), infinite=True),
}
# Curvatures are at least this: an entry that says nothing still has a weight.
LEAST = 1e-10
#: In standard deviations of normal residuals: 95 % efficient there (Huber 1964).
HUBER_CONSTANT = 1.345
# e^t beyond is taken for e^600: it is squared.
_LARGEST = 300.0
# A held-out entry this many times the median gap from its mean is an outlier.
_USUAL = 5.0
_TINY = 1e-300

Columns = np.ndarray | slice


@dataclass(frozen=True)
class Losses:
    """The losses of the columns, or one of all.

    **Shapes**: ``kinds``, ``units``, ``thresholds`` c of Huber (n,) or (1,); ``levels`` (n or 1,
    k + 1), rising, the last repeated where a column has fewer; ``cuts`` (n or 1, k) between them on
    the scale of t, rising, ∞ where there are none.
    """

    kinds: np.ndarray
    units: np.ndarray
    thresholds: np.ndarray
    levels: np.ndarray
    cuts: np.ndarray

    def __post_init__(self) -> None:
        check_arrays(LOSSES, vars(self))

    @classmethod
    def restore(cls, stored: Arrays, width: int) -> "Losses":
        """From the arrays of a file, of all or of ``width`` columns, taken out of ``stored``.

        **Raises** `InputError` for anything else.
        """
        own = take(LOSSES, stored)
        check_nothing_left(stored)
        losses = cls(**own)
        with np.errstate(invalid="ignore"):
            rising = (np.diff(losses.levels) >= 0).all() and not (np.diff(losses.cuts) < 0).any()
        if len(losses.kinds) not in (1, width) or not rising:
            raise InputError("the losses are not those of the columns.")
        return losses

    @property
    def by_column(self) -> bool:
        """Whether columns have losses of their own."""
        return len(self.kinds) > 1

    @property
    def is_bounded(self) -> bool:
        """Whether ½ ω (η − z)² lies above each loss."""
        return not (self.kinds == POISSON).any()

    def of(self, x: np.ndarray, cols: Columns) -> "EntryLosses":
        """Those of entries x in the columns ``cols``."""
        return EntryLosses(self, x, cols)

    def residuals(self, x: np.ndarray, eta: np.ndarray, cols: Columns) -> np.ndarray:
        """±√(2ℓ), with the sign of x − mean: the mean of their squares is the mean deviance."""
        value, slope, _ = self.of(x, cols).touch(eta)
        return np.copysign(np.sqrt(2 * np.maximum(value, 0.0)), slope)

    def mean(self, eta: np.ndarray, cols: Columns) -> np.ndarray:
        """The mean of new entries, in the units of x."""
        return self._each(_MEAN, eta, self._unit(cols) * eta, cols)

    def variance(self, eta: np.ndarray, cols: Columns, noise: float) -> np.ndarray:
        """That of new entries about their `mean`: ``noise`` of the squared loss, a robust one of
        Huber's, and that of their law of the others.
        """
        return self._each(_VARIANCE, np.full(np.shape(eta), noise), self._unit(cols) * eta, cols)

    def dispersion(self, cols: Columns, noise: float) -> np.ndarray:
        """What the variance of η is in units of 1/ω: ``noise`` of the squared loss, 0 of Huber's
        (outliers in its few entries hide how sure a line is), 1 of the others.
        """
        return np.choose(self.kinds, (noise, 0.0, 1.0, 1.0))[self.codes(cols)]

    def mean_slope(self, eta: np.ndarray, cols: Columns) -> np.ndarray:
        """∂ mean / ∂η."""
        unit = self._unit(cols)
        return unit * self._each(_MEAN_SLOPE, eta, unit * eta, cols)

    def probabilities(self, eta: np.ndarray) -> np.ndarray:
        """Of the levels of one ordinal loss of all columns, (…, levels)."""
        t = (self.units[0] * eta)[..., None]
        below = expit(self.cuts[0] - t)
        ends = np.zeros_like(t), np.ones_like(t)
        return np.diff(np.concatenate([ends[0], below, ends[1]], axis=-1))

    def cleaned(self, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Entries x (m, n) no farther from their ``mean`` than Huber's threshold."""
        reach = np.where(self.kinds == HUBER, self.thresholds, np.inf)
        return mean + np.clip(x - mean, -reach, reach)

    def judged(self, x: np.ndarray, mean: np.ndarray, cols: Columns) -> np.ndarray:
        """Held-out entries x without outliers: no farther from their ``mean`` than Huber's
        threshold, or than `_USUAL` times the median gap where means are that far off themselves.
        """
        reach = np.where(self.kinds == HUBER, self.thresholds, np.inf)[self.codes(cols)]
        gaps, some = x - mean, np.isfinite(reach)
        reach *= max(1.0, _USUAL * median_size(gaps[some] / reach[some]))
        return mean + np.clip(gaps, -reach, reach)

    def within(self, means: np.ndarray) -> np.ndarray:
        """Means (m, n) of something else, cut to what the losses of their columns allow."""
        ordinal = self.kinds == ORDINAL
        low = np.where(ordinal, self.levels[:, 0], -np.inf)
        high = np.where(ordinal, self.levels[:, -1], np.inf)
        return np.clip(means, low, high)

    def noise(self, gaps: np.ndarray, cols: Columns, weights: np.ndarray) -> float:
        """Σ w e² / Σ w of the ``gaps`` e of entries of the squared loss; 1 where there are none."""
        mine = np.broadcast_to((self.kinds == SQUARED)[self.codes(cols)], gaps.shape)
        if not mine.any():
            return 1.0
        squares = np.square(gaps[mine], dtype=float)
        return float(np.average(squares, weights=weights[mine] if weights.size else None))

    def spread(self, values: np.ndarray) -> float:
        """The standard deviation of all entries, robustly measured where the loss is Huber's."""
        if (self.kinds == HUBER).any():
            size = median_size(values - np.median(values))
            if size > 0:
                return size
        return float(np.std(values, dtype=float))

    def centre(self, values: np.ndarray, weights: np.ndarray) -> float:
        """η of the mean of all entries, where a fit begins."""
        if self.by_column or self.kinds[0] == ORDINAL:
            return 0.0  # columns are centred, and so are the cuts
        if self.kinds[0] == HUBER:
            return float(np.median(values))
        mean = float(np.average(values, weights=weights if weights.size else None))
        return float(np.log(max(mean, 1e-300)) / self.units[0])

    # By kind

    def codes(self, cols: Columns) -> Columns:
        """Which loss the columns ``cols`` have."""
        return cols if self.by_column else np.zeros(1, np.intp)

    def _unit(self, cols: Columns) -> np.ndarray:
        return self.units[self.codes(cols)]

    def _each(
        self, laws: dict[int, "_Law"], x: np.ndarray, t: np.ndarray, cols: Columns
    ) -> np.ndarray:
        """The law of each entry's kind; ``cols`` are as many as entries, or the last axis of x."""
        codes = self.codes(cols)
        x, t = np.asarray(x, float), np.asarray(t, float)
        present = np.unique(self.kinds)
        if len(present) == 1:
            return laws[int(present[0])](x, t, _Parameters(self, codes))
        out = np.empty(t.shape)
        for kind in present.tolist():
            mine = self.kinds[codes] == kind
            some = np.arange(len(self.kinds))[codes][mine]
            out[..., mine] = laws[kind](x[..., mine], t[..., mine], _Parameters(self, some))
        return out


class EntryLosses:
    """The losses of given entries."""

    def __init__(self, losses: Losses, x: np.ndarray, cols: Columns) -> None:
        x, codes = np.asarray(x, float), losses.codes(cols)
        self._unit, present = losses.units[codes], np.unique(losses.kinds)
        self._parts: list[tuple[np.ndarray | slice, _Touch]] = []
        for kind in present.tolist():
            mine: np.ndarray | slice = slice(None)
            own = codes
            if len(present) > 1:
                mine = losses.kinds[codes] == kind
                own = np.arange(len(losses.kinds))[codes][mine]
            self._parts.append((mine, _TOUCH[kind](x[mine], _Parameters(losses, own))))

    def touch(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """ℓ ≥ 0, −∂ℓ/∂η and the curvature ω > 0 of each entry at η."""
        t, unit = self._unit * np.asarray(eta, float), self._unit
        if len(self._parts) == 1:
            value, slope, curvature = self._parts[0][1](t)
        else:
            value, slope, curvature = np.empty((3, *t.shape))
            for mine, law in self._parts:
                value[mine], slope[mine], curvature[mine] = law(t[mine])
        return value, unit * slope, np.maximum(unit**2 * curvature, LEAST)


@dataclass(frozen=True)
class _Parameters:
    """Those of entries whose losses are at ``codes``."""

    losses: Losses
    codes: Columns

    @property
    def threshold(self) -> np.ndarray:
        return self.losses.thresholds[self.codes]

    @cached_property
    def levels(self) -> np.ndarray:
        return self.losses.levels[self.codes].T

    @cached_property
    def cuts(self) -> np.ndarray:
        return self.losses.cuts[self.codes].T


def nearest_level(x: np.ndarray, levels: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The position of the nearest level, ``levels`` (k + 1, …), ``cuts`` (k, …): ∞ for none."""
    codes = np.zeros(x.shape, np.intp)
    for low, high, cut in zip(levels[:-1], levels[1:], cuts, strict=True):
        codes += (x > (low + high) / 2) & (cut < np.inf)
    return codes


def median_size(gaps: np.ndarray) -> float:
    """1.4826 · median |gap|: the standard deviation of a normal law."""
    return 1.4826 * float(np.median(np.abs(gaps))) if len(gaps) else 0.0


_Law = Callable[[np.ndarray, np.ndarray, _Parameters], np.ndarray]
_Touch = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _exp(t: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(t, -_LARGEST, _LARGEST))


# ℓ, −∂ℓ/∂t and the curvature of entries x, as functions of t


def _squared(x: np.ndarray, p: _Parameters) -> _Touch:
    return lambda t: (0.5 * (x - t) ** 2, x - t, np.ones(t.shape))


def _huber(x: np.ndarray, p: _Parameters) -> _Touch:
    c = p.threshold

    def touch(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        gap = x - t
        slope, size = np.clip(gap, -c, c), np.abs(gap)
        value = np.abs(slope) * (size - np.abs(slope) / 2)
        return value, slope, np.minimum(1.0, c / np.maximum(size, 1e-300))

    return touch


def _ordinal(x: np.ndarray, p: _Parameters) -> _Touch:
    codes = nearest_level(x, p.levels, p.cuts)
    upper, lower = np.full(x.shape, np.inf), np.full(x.shape, -np.inf)
    for k, cut in enumerate(p.cuts):
        upper = np.where(codes == k, cut, upper)
        lower = np.where(codes == k + 1, cut, lower)
    with np.errstate(divide="ignore"):
        between = np.log(-np.expm1(lower - upper))

    def touch(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ends = upper - t, t - lower
        below, above = expit(ends[0]), expit(ends[1])
        value = -np.log(np.maximum(below, _TINY)) - np.log(np.maximum(above, _TINY)) - between
        curvature = _bound(ends[0], below) + _bound(ends[1], above)
        return value, below - above, curvature

    return touch


def _bound(u: np.ndarray, F: np.ndarray) -> np.ndarray:
    """tanh(u/2)/(2u) = (F(u) − ½)/u, of the parabola above log(1 + e^{−u}) that touches it at u."""
    small = np.abs(u) < 1e-6
    return np.where(small, 0.25, (F - 0.5) / np.where(small, 1.0, u))


def _poisson(x: np.ndarray, p: _Parameters) -> _Touch:
    log = np.log(np.where(x > 0, x, 1.0))

    def touch(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rate = _exp(t)
        # e^t, or where that is less than x the chord of the slope to the minimum at log x
        below = (x > 0) & (rate < x * (1 - 1e-6))
        with np.errstate(divide="ignore", invalid="ignore"):
            curvature = np.where(below, (x - rate) / (log - t), rate)
        return rate - x * t - (x - x * log), x - rate, curvature

    return touch


def _expected(power: int) -> _Law:
    """E l^power of the levels: l_0 + Σ (l_{k+1} − l_k) P(x > l_k)."""

    def law(x: np.ndarray, t: np.ndarray, p: _Parameters) -> np.ndarray:
        levels = p.levels**power
        out = levels[0] + np.zeros(t.shape)
        for low, high, cut in zip(levels[:-1], levels[1:], p.cuts, strict=True):
            out += (high - low) * expit(t - cut)
        return out

    return law


def _ordinal_variance(x: np.ndarray, t: np.ndarray, p: _Parameters) -> np.ndarray:
    return np.maximum(_expected(2)(x, t, p) - _expected(1)(x, t, p) ** 2, 1e-12)


def _ordinal_mean_slope(x: np.ndarray, t: np.ndarray, p: _Parameters) -> np.ndarray:
    out = np.zeros(t.shape)
    for low, high, cut in zip(p.levels[:-1], p.levels[1:], p.cuts, strict=True):
        out += (high - low) * expit(t - cut) * expit(cut - t)
    return out


_TOUCH: dict[int, Callable[[np.ndarray, _Parameters], _Touch]] = {
    SQUARED: _squared,
    HUBER: _huber,
    ORDINAL: _ordinal,
    POISSON: _poisson,
}
_MEAN: dict[int, _Law] = {
    SQUARED: lambda x, t, p: t,
    HUBER: lambda x, t, p: t,
    ORDINAL: _expected(1),
    POISSON: lambda x, t, p: _exp(t),
}
_VARIANCE: dict[int, _Law] = {  # x: the noise
    SQUARED: lambda x, t, p: x,
    HUBER: lambda x, t, p: (p.threshold / HUBER_CONSTANT) ** 2 + 0 * t,
    ORDINAL: _ordinal_variance,
    POISSON: lambda x, t, p: np.maximum(_exp(t), 1e-12),
}
_MEAN_SLOPE: dict[int, _Law] = {
    SQUARED: lambda x, t, p: np.ones(t.shape),
    HUBER: lambda x, t, p: np.ones(t.shape),
    ORDINAL: _ordinal_mean_slope,
    POISSON: lambda x, t, p: _exp(t),
}
