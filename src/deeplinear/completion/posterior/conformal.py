"""Split-conformal calibration: intervals that cover as often as they say, for any errors.

The score of a held-out entry is |x − x̂| / deviation. Columns of a table have noise levels, tails
and bounds of their own, so each has a law F_j of its scores; it is drawn from a Dirichlet process
around the law F of all scores, F_j ~ DP(k, F). Its mean given the n_j scores of the column is

    F_j(q) = (k F(q) + #{scores of column j ≤ q}) / (k + n_j),

the common law where the column has few scores and its own where it has many. How alike columns are,
k, is what makes the number X_j of each column's scores beyond the common quantile most likely:
X_j ~ Beta-binomial(n_j, k p, k (1 − p)), p = Σ X_j / Σ n_j.

Sources: Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, Distribution-free predictive inference for
regression, JASA 2018, §2.3 and §5.2 (the common factor); Ferguson, Annals of Statistics 1973 (the
mean of a Dirichlet process); Searle, Casella, McCulloch, Variance components, §3.6 (`_sizes`).
"""

from dataclasses import dataclass, field

import numpy as np

from ...errors import InputError
from ...scores import root_mean_square
from ..schema import REAL, WHOLE, Field, Schema

#: What a model file keeps of a `Calibration`.
CALIBRATION: Schema = {
    "scores": Field(REAL, ("scores",), least=0, infinite=True, nan=True),
    "columns": Field(WHOLE, ("scores",), least=0, may_be_empty=True),
    "sizes": Field(REAL, ("laws",), least=0, infinite=True, nan=True),
}
_KEEP = 20_000  # calibration scores that are kept for one law,
_KEEP_BY_COLUMN = 200_000  # and for laws of columns
_ALIKE = 2.0 ** np.arange(1, 21)  # tried for k


@dataclass(frozen=True)
class Calibration:
    """The sorted scores of held-out entries, and how large they are. Without any: the normal law.

    ``columns``: the column of each score, where columns have laws of their own; else empty.
    ``sizes``: the root mean square of the scores, of each column (n,) or of all (1,): times the
    deviation of an entry it is the standard deviation that held-out entries show.

    For one law, an interval x̂ ± q · deviation, with q the ⌈(n + 1) c⌉-th smallest score, covers a
    new entry that is exchangeable with the held-out ones with probability at least c and at most
    c + 1/(n + 1), whatever the law of the errors. For laws of columns q_j is the smallest number
    with F_j(q_j) ≥ c (see the module).
    """

    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    columns: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    sizes: np.ndarray = field(default_factory=lambda: np.ones(1))

    @classmethod
    def of(
        cls,
        gaps: np.ndarray,
        deviations: np.ndarray,
        columns: np.ndarray | None = None,
        width: int = 1,
    ) -> "Calibration":
        """From the errors of held-out entries; ``columns``: theirs, of ``width`` columns."""
        with np.errstate(over="ignore"):  # next to exact fits: a score of ∞ is a score
            scores = np.abs(gaps) / np.maximum(deviations, 1e-300)
        own = columns is not None
        cols = np.asarray(columns, np.uint32) if own else np.zeros(len(scores), np.uint32)
        sizes = _sizes(scores, cols, width)
        order = np.argsort(scores, kind="stable")
        most = _KEEP_BY_COLUMN if own else _KEEP
        if len(order) > most:  # at equal distances, the largest included
            order = order[np.linspace(0, len(order) - 1, most).round().astype(int)]
        return cls(scores[order], cols[order] if own else cols[:0], sizes)

    def only(self, mine: np.ndarray) -> "Calibration":
        """That of the scores where the mask ``mine`` is true alone; the sizes stay."""
        columns = self.columns[mine] if len(self.columns) else self.columns
        return Calibration(self.scores[mine], columns, self.sizes)

    def reaches(self, coverage: float) -> bool:
        """Whether there are enough held-out entries for ``coverage``.

        True without any, where the normal law is taken.
        """
        return not len(self.scores) or np.ceil((len(self.scores) + 1) * coverage) <= len(
            self.scores
        )

    def factor(self, coverage: float) -> float:
        """q for intervals that cover a fraction ``coverage`` of the entries of all columns."""
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

    def factors(self, coverage: float) -> np.ndarray:
        """q_j for intervals that cover ``coverage`` of each column: (n,), or (1,) of one law."""
        common = self.factor(coverage)
        q = np.full(len(self.sizes), common)
        if not len(self.columns):
            return q
        counts = np.bincount(self.columns, minlength=len(q))
        beyond = np.bincount(self.columns, self.scores > common, len(q))
        k = _alike(beyond, counts)
        order = np.argsort(self.columns, kind="stable")  # within a column from small to large
        ends = np.cumsum(counts)
        for j in np.flatnonzero(counts):
            own = order[ends[j] - counts[j] : ends[j]]
            q[j] = self._quantile(own, k, coverage)
        return q

    def _quantile(self, own: np.ndarray, k: float, coverage: float) -> float:
        """The smallest score with F_j ≥ ``coverage``; ``own``: the places of the column's."""
        count = len(self.scores)
        low, high = 0, count - 1  # F_j rises: bisect
        while low < high:
            at = (low + high) // 2
            mine = np.searchsorted(own, at, side="right")
            reached = k * (at + 1) / (count + 1) + mine
            low, high = (low, at) if reached >= coverage * (k + len(own)) else (at + 1, high)
        return float(self.scores[low])


def _alike(beyond: np.ndarray, counts: np.ndarray) -> float:
    """The k that makes ``beyond`` of ``counts`` scores per column most likely."""
    from scipy.special import betaln

    beyond, counts = beyond[counts > 0], counts[counts > 0]
    p = beyond.sum() / counts.sum()
    if not 0 < p < 1:
        return float(_ALIKE[-1])
    a, b = _ALIKE[:, None] * p, _ALIKE[:, None] * (1 - p)
    likelihood = (betaln(a + beyond, b + counts - beyond) - betaln(a, b)).sum(axis=1)
    return float(_ALIKE[np.argmax(likelihood)])


def _sizes(scores: np.ndarray, cols: np.ndarray, width: int) -> np.ndarray:
    """The root mean square of the scores of each column, pulled towards that of all (width,).

    The squares z² of column j have a mean m_j ~ (m, τ) around the common one and a variance v
    about it: m_j is estimated by (k m + Σ z²) / (k + n_j), k = v/τ with v and τ from the analysis
    of variance (τ ≤ 0: the columns are alike).
    """
    if not len(scores):
        return np.ones(width)
    size = root_mean_square(scores)
    if not 0 < size < np.inf:
        return np.full(width, size)
    squares = np.square(scores / size)
    counts = np.bincount(cols, minlength=width)
    sums, among = np.bincount(cols, squares, width), np.maximum(counts, 1)
    means, groups, total = sums / among, int((counts > 0).sum()), len(scores)
    if groups < 2 or total <= groups:
        return np.full(width, size)
    within = np.sum((squares - means[cols]) ** 2) / (total - groups)
    between = np.sum(counts * (means - 1) ** 2) / (groups - 1)
    usual = (total - np.sum(counts**2) / total) / (groups - 1)
    tau = (between - within) / usual
    if not tau > 0:
        return np.full(width, size)
    k = within / tau
    means = np.where(counts > 0, (k + sums) / np.maximum(k + counts, 1e-300), 1.0)
    return size * np.sqrt(means)
