"""How the average of posterior draws and the fit itself make one prediction: held-out entries tell.

A chain around a fit costs the square of its rank, and weak components add noise to it; so it has
those components alone that held-out entries feel. The average is often better than the fit, but
not always, and its errors are others: the prediction is share · average + (1 − share) · fit.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..solver.fit import LowRankFit
from ..solver.fit_state import Validation, held_out_size

#: The ranks that chains may have; without held-out entries the third.
RANKS = (10, 14, 20, 28, 40, 56)
# The held-out error that components may make together and still be left out of a chain.
_FELT = 1.01
# Shares that are compared, and the one without held-out entries: by convexity its mean square error
# is at most the mean of the two.
_SHARES = np.linspace(0, 1, 11)
UNJUDGED_SHARE = 0.5


@dataclass(frozen=True)
class Averaging:
    """The rank of a chain, and the share of its average in predictions."""

    rank: int = RANKS[2]
    share: float = UNJUDGED_SHARE


def chain_rank(fit: LowRankFit, held_out: Validation, column_noise: bool) -> int:
    """The least of `RANKS` whose leading components alone err at most 1 % more than ``fit``.

    The errors are those on the entries ``held_out`` = (rows, cols, values); the last of the ranks
    if there is none.
    """
    rows, cols, values = (np.asarray(x) for x in held_out)

    def error(part: LowRankFit) -> float:
        return held_out_size(part.predict(rows, cols) - values, cols, column_noise)

    most = _FELT * error(fit)
    for rank in RANKS[:-1]:
        if rank >= fit.rank or error(leading_part(fit, rank)) <= most:
            return rank
    return RANKS[-1]


def best_share(fit: np.ndarray, average: np.ndarray, cols: np.ndarray, column_noise: bool) -> float:
    """The share of the smallest held-out error, given those of the fit and of the average."""
    sizes = [
        held_out_size(share * average + (1 - share) * fit, cols, column_noise) for share in _SHARES
    ]
    return float(_SHARES[int(np.argmin(sizes))])


def leading_part(fit: LowRankFit, rank: int) -> LowRankFit:
    """``fit`` with its ``rank`` largest components alone."""
    if rank >= fit.rank:
        return fit
    keep = np.sort(np.argsort(-fit.spectrum, kind="stable")[:rank])
    parts = {name: getattr(fit, name)[..., keep] for name in ("left", "right", "spectrum", "ridge")}
    return replace(fit, **parts)
