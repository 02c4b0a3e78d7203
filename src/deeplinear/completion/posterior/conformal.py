"""Split-conformal calibration: intervals that cover as often as they say, for any errors."""

from dataclasses import dataclass, field

import numpy as np

from ...errors import InputError

_KEEP = 20_000  # calibration scores that are kept


@dataclass(frozen=True)
class Calibration:
    """Split-conformal factors: the sorted scores |x − x̂| / deviation of held-out entries.

    Without any, the normal law's.

    An interval x̂ ± q · deviation, with q the ⌈(n + 1) c⌉-th smallest score, covers a new entry
    that is exchangeable with the held-out ones with probability at least c and at most c +
    1/(n + 1), whatever the law of the errors.

    Source: Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, Distribution-free predictive inference for
    regression, JASA 2018, §2.3 and §5.2.
    """

    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, gaps: np.ndarray, deviations: np.ndarray) -> "Calibration":
        scores = np.sort(np.abs(gaps) / np.maximum(deviations, 1e-300))
        if len(scores) > _KEEP:  # at equal distances, the largest included
            scores = scores[np.linspace(0, len(scores) - 1, _KEEP).round().astype(int)]
        return cls(scores)

    def reaches(self, coverage: float) -> bool:
        """Whether there are enough held-out entries for ``coverage``.

        True without any, where the normal law is taken.
        """
        return not len(self.scores) or np.ceil((len(self.scores) + 1) * coverage) <= len(
            self.scores
        )

    def factor(self, coverage: float) -> float:
        """q for intervals that cover a fraction ``coverage``."""
        if not 0 < coverage < 1:
            raise InputError(f"coverage must lie between 0 and 1, got {coverage!r}.")
        if not len(self.scores):
            from scipy.stats import norm

            return float(norm.ppf((1 + coverage) / 2))
        if not self.reaches(coverage):
            raise InputError(
                f"coverage {coverage} needs at least {int(np.ceil(coverage / (1 - coverage)))} "
                "held-out entries, there are "
                f"{len(self.scores)}: hold out more, or ask for less."
            )
        return float(self.scores[int(np.ceil((len(self.scores) + 1) * coverage)) - 1])
