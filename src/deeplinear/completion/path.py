"""A path of strengths with warm starts: every fit begins where the stronger one ended."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .observations import Observations
from .thin import ThinFit, Validation, fit

# From strong to weak, in factors of 2^{1/3}: the best was between 0.3 and 0.65 on all ratings tried.
STRENGTHS = tuple(2.0 ** (-k / 3) for k in range(10))


@dataclass(frozen=True)
class PathResult:
    """All fits of a path in the order they were made, and the one with the smallest held-out error."""

    fits: tuple[ThinFit, ...]
    best: ThinFit
    scores: tuple[float, ...]


def path(
    observations: Observations,
    depths: Iterable[float],
    strengths: Iterable[float] = STRENGTHS,
    validation: Validation | None = None,
    *,
    patience: int = 3,
    callback: Callable[[ThinFit], None] | None = None,
    **options: Any,
) -> PathResult:
    """`thin.fit` at every depth and strength; the best by the held-out error.

    Along each depth the strengths go from strong to weak, each from the fit before, and end after ``patience`` without a
    better held-out error. ``callback`` gets every fit. ``options`` are those of `thin.fit`.
    """
    if validation is None:
        raise InputError("validation must be given as (rows, cols, values): a path needs entries to choose by.")
    fits: list[ThinFit] = []
    for depth in depths:
        previous, best, stale = None, math.inf, 0
        for strength in sorted(strengths, reverse=True):
            previous = fit(
                observations, depth=depth, strength=strength, validation=validation, start=previous, **options
            )
            fits.append(previous)
            if callback is not None:
                callback(previous)
            score = min(previous.validation)
            best, stale = (score, 0) if score < best else (best, stale + 1)
            if stale == patience:
                break
    scores = tuple(min(found.validation) for found in fits)
    return PathResult(tuple(fits), fits[scores.index(min(scores))], scores)
