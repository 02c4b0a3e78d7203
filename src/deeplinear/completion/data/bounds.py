"""What imputed numbers may be: bounds, and whole numbers in columns of whole numbers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from ...errors import InputError
from ...reals import one_real
from .columns import Mask
from .features import Feature, FeatureKind

#: A bound of all columns, one of each, or "auto": from what was observed.
Bound = None | float | str | Sequence[float | str | None]


@dataclass(frozen=True)
class Limits:
    """Bounds ``low`` ≤ x ≤ ``high`` of the features, and which are ``whole`` numbers: (n,) each."""

    low: np.ndarray
    high: np.ndarray
    whole: Mask

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        observed: Mask,
        features: Sequence[Feature],
        bounds: tuple[np.ndarray, np.ndarray],
        integers: str,
    ) -> "Limits":
        """From what was observed, (rows, n), and ``bounds`` (n,) that are given, or NaN (see
        `given_bounds`).

        Where none is given a column whose observed values are all ≥ 0 has the bounds max(0, lo −
        r/2) and hi + r/2, where lo and hi are its extremes and r = hi − lo; other columns none.
        **Raises** `InputError` where no value is left.
        """
        numbers = np.array([f.kind is not FeatureKind.category for f in features], bool)
        lo = np.min(values, axis=0, where=observed, initial=np.inf)
        hi = np.max(values, axis=0, where=observed, initial=-np.inf)
        with np.errstate(over="ignore", invalid="ignore"):
            margin = np.where(hi >= lo, (hi - lo) / 2, 0.0)
            positive = numbers & (lo >= 0) & (hi >= lo)
            low = np.where(positive, np.maximum(lo - margin, 0), -np.inf)
            high = np.where(positive, hi + margin, np.inf)
        given = [numbers & ~np.isnan(bound) for bound in bounds]
        # a given bound moves the one beside it that is not
        low = np.where(given[1], np.minimum(low, bounds[1]), low)
        high = np.where(given[0], np.maximum(high, bounds[0]), high)
        low, high = np.where(given[0], bounds[0], low), np.where(given[1], bounds[1], high)
        whole = numbers & _whole(values, observed, features, integers)
        low, high = np.where(whole, np.ceil(low), low), np.where(whole, np.floor(high), high)
        if (low > high).any():
            name = features[int(np.argmax(low > high))].name
            raise InputError(
                f"min_value must be at most max_value with a possible value between them, which "
                f"column '{name}' lacks: widen them."
            )
        return cls(low, high, whole)

    def apply(self, x: np.ndarray, features: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The possible values next to ``x``, whose last axis runs over the ``features``."""
        whole = self.whole[features]
        if whole.any():
            x = np.where(whole, np.round(x), x)
        return np.clip(x, self.low[features], self.high[features])

    def outward(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least interval of possible values that holds all those between ``low`` and
        ``high``.
        """
        low = np.where(self.whole, np.floor(low), low)
        high = np.where(self.whole, np.ceil(high), high)
        return np.clip(low, self.low, self.high), np.clip(high, self.low, self.high)


def _whole(
    values: np.ndarray, observed: Mask, features: Sequence[Feature], integers: str
) -> np.ndarray:
    if integers == "keep":
        return np.zeros(len(features), bool)
    declared = np.array([f.kind is FeatureKind.integer for f in features], bool)
    if integers == "auto":
        return declared
    return declared | (
        observed.any(axis=0) & ((values == np.floor(values)) | ~observed).all(axis=0)
    )


def given_bounds(bound: Bound, name: str, width: int) -> np.ndarray:
    """The parameter ``name`` as one bound per column (``width``,), NaN where it is "auto".

    **Raises** `InputError` for anything but None, "auto", a number, or ``width`` of them.
    """
    unbounded = -math.inf if name == "min_value" else math.inf
    if getattr(bound, "ndim", None) == 0:  # a number that is an array of no axes
        bound = one_real(bound)
    one = not isinstance(bound, Iterable) or isinstance(bound, str)
    listed = [bound] * width if one else list(bound)  # type: ignore[arg-type]
    if any(isinstance(x, Real) and x != x for x in listed):  # math.isnan has no large integers
        raise InputError(f"{name} must not be NaN: give None where there is no bound.")
    if any(isinstance(x, Real) and one_real(x) == -unbounded for x in listed):
        raise InputError(f"{name} must leave some number, got {bound!r}: give None for no bound.")
    if not all(x is None or x == "auto" or isinstance(x, Real) for x in listed):
        raise InputError(
            f'{name} must be "auto", None, a number, or one of them per column, got {bound!r}.'
        )
    if any(isinstance(x, Real) and math.isnan(one_real(x)) for x in listed):
        raise InputError(f"{name} must hold numbers within the range of floats.")
    words = {None: unbounded, "auto": math.nan}
    numbers = np.array([words[x] if x is None or x == "auto" else float(x) for x in listed])  # type: ignore[arg-type]
    if len(numbers) != width:
        raise InputError(
            f"{name} must hold one bound for each of the {width} columns of X, got {len(numbers)}."
        )
    return numbers
