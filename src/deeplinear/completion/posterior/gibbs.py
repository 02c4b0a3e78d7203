"""Bayesian averaging: Gibbs samples of the two factors around a fit.

Noise and priors are resampled on the way.

The model behind weight decay, x_ij = μ + a_i + b_j + p_i·q_j + ε with ε ~ N(0, 1/(α w_ij)), read as
probability: every row vector (p_i, a_i) is N(m, Λ⁻¹), every column vector (q_j, b_j) likewise, with
the conjugate Normal–Wishart priors on (m, Λ) of Salakhutdinov and Mnih (Bayesian probabilistic
matrix factorization, ICML 2008, eqs 11–16) and a Gamma prior on α. In tables every column has a
noise α_j of its own: factor analysis, which at full rank is a normal law with any covariance. Given
the columns the rows are independent Gaussians, and the other way round: a sweep draws them all. A
chain that starts at the fit of a deep network is in the bulk of the posterior after a few sweeps,
where a random start needs many more.

With implicit feedback the prior means depend on which entries were observed: see
`implicit_feedback`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..backends.base import AbstractBackend
from ..backends.open import open_backend
from ..data.observations import Compressed, Observations
from ..schema import REAL, Field, Schema
from ..solver.fit import LowRankFit
from .implicit_feedback import Pattern, patterns

#: What `RowPosterior` holds of draws at rank q.
POSTERIOR: Schema = {
    "precision": Field(REAL, ("draws", None), above=0),
    "priors": Field(REAL, ("draws", "q+1", "q+1")),
    "pulls": Field(REAL, ("draws", "q+1")),
}
Prior = tuple[np.ndarray, np.ndarray]  # (Λ, Λm)
# Entries of a column that the other columns are worth for its noise.
_SHARED = 2.0


@dataclass(frozen=True)
class Sample:
    """One draw: x̂_ij = mean + a_i + b_j + p_i·q_j + ε_ij, ε_ij ~ N(0, 1/(α_j w_ij)).

    ``rows`` (m, r+1) = (p, a), ``cols`` (n, r+1) = (q, b); α is ``precision``, (n,), or (1,) where
    it is the same in all columns. ``centres`` are the
    conditional means of the rows given the columns: averages of x̂ over pairs (centres, cols) have
    the same limit as over draws of both, and less noise (Rao and Blackwell). ``prior`` = (Λ, Λm) is
    that of the rows, N(m, Λ⁻¹), ``col_prior`` that of the columns.
    """

    rows: np.ndarray
    centres: np.ndarray
    cols: np.ndarray
    mean: float
    precision: np.ndarray
    prior: Prior
    col_prior: Prior


@dataclass(frozen=True)
class RowPosterior:
    """What new rows need of several draws: the noise and the prior of the rows in each of them.

    ``precision`` (draws, n or 1), ``priors`` Λ (draws, r+1, r+1) and ``pulls`` Λm (draws, r+1).
    """

    precision: np.ndarray
    priors: np.ndarray
    pulls: np.ndarray

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "RowPosterior":
        return cls(
            np.stack([sample.precision for sample in samples]),
            np.stack([sample.prior[0] for sample in samples]),
            np.stack([sample.prior[1] for sample in samples]),
        )

    def centres(
        self, seen: Observations, cols: np.ndarray, mean: float, threads: int | None = None
    ) -> np.ndarray:
        """The conditional means of the rows of ``seen`` (draws, m, r+1).

        Given are the draws of the columns, ``cols`` (draws, n, r+1).
        """
        shift, noise = np.zeros((0, cols.shape[2])), np.zeros((seen.shape[0], cols.shape[2]))
        means = []
        with open_backend(seen, threads) as backend:
            for q, *given in zip(cols, self.precision, self.priors, self.pulls, strict=True):
                q = q.astype(float)
                precision, prior, pull = given
                precision = precision[None]
                draw = backend.draw(seen.by_row, q, mean, precision, prior, pull, shift, noise)
                means.append(draw[1])
        return np.stack(means)


def draw_rows(
    sample: Sample, seen: Observations, rng: np.random.Generator, threads: int | None = None
) -> np.ndarray:
    """A draw of the rows of ``seen`` (which need not be those of the fit) given ``sample.cols``."""
    prior, pull = sample.prior
    noise = rng.normal(size=(seen.shape[0], len(pull)))
    given = sample.cols, sample.mean, sample.precision[None], prior, pull
    with open_backend(seen, threads) as backend:
        return backend.draw(seen.by_row, *given, np.zeros((0, len(pull))), noise)[0]


def draw_prior(
    Z: np.ndarray, rng: np.random.Generator, pattern: Pattern | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(Λ, m) of N(m, Λ⁻¹) given its draws Z (m×f).

    The prior is Normal–Wishart with ν0 = f, β0 = 2, W0 = 1, m0 = 0.
    With a ``pattern`` the draws are Z − Fβ, and Λ is also the scale of the loadings β.
    """
    from scipy.stats import wishart

    count, f = Z.shape
    degrees, scatter = f + count, np.eye(f)
    if pattern is not None:
        Z = Z - pattern.mean
        degrees += len(pattern.loadings)
        scatter += pattern.precision * pattern.loadings.T @ pattern.loadings
    average = Z.mean(axis=0)
    centred = Z - average
    scatter += centred.T @ centred + 2 * count / (2 + count) * np.outer(average, average)
    inverse = np.linalg.inv((scatter + scatter.T) / 2)
    precision = np.atleast_2d(wishart.rvs(degrees, (inverse + inverse.T) / 2, random_state=rng))
    root = np.linalg.cholesky((2 + count) * precision)
    return precision, count * average / (2 + count) + np.linalg.solve(root.T, rng.normal(size=f))


def draw(
    fit: LowRankFit,
    observations: Observations,
    count: int,
    seed: int,
    *,
    noise: float | None = None,
    rank: int = 0,
    column_noise: bool = False,
    implicit_feedback: bool = False,
    threads: int | None = None,
) -> Iterator[Sample]:
    """``count`` draws of a chain that starts at ``fit``.

    ``noise`` is the mean square of the weighted residuals of the fit, if it is known already;
    ``rank``: how many components the draws have at least; ``column_noise``: see `gibbs`.
    """
    if noise is None:
        noise = observations.mean_square(fit.residuals(observations))
    # The prior's scale W0 = 1 is that of the noise: the draws do not depend on the units of the
    # values or weights. The floor keeps a perfect fit from an infinite precision.
    floor = 1e-12 * float(np.var(observations.by_row.values, dtype=float))
    noise = math.sqrt(max(noise, floor, 1e-300))
    rng, extra = np.random.default_rng(seed), max(0, rank - fit.rank)
    # of (p_i, a_i) and of (q_j, b_j)
    size = np.array([math.sqrt(noise)] * (fit.rank + extra) + [noise])
    # The signs of the components come from an SVD, where rounding may flip them: with signs that
    # the values fix, all devices draw the same, up to rounding.
    sign = np.where(np.sum(fit.right.astype(float) ** 3, axis=0) < 0, -1, 1)
    # more components begin with columns of 0: they change nothing yet
    left, right = sign * fit.left, np.pad(sign * fit.right, ((0, 0), (0, extra)))
    left = np.hstack([left, math.sqrt(noise) * rng.normal(size=(len(left), extra))])
    left = np.column_stack([left, fit.row_bias]).astype(float) / size
    right = np.column_stack([right, fit.col_bias]).astype(float) / size
    none = np.zeros((len(size), len(size))), np.zeros(len(size))
    alpha = np.ones(fit.shape[1] if column_noise else 1)
    start = Sample(left, left, right, fit.mean / noise, alpha, none, none)
    precision, scaled = (
        observations.nnz / observations.weight / noise**2,
        observations.rescaled(noise),
    )
    chain = gibbs(scaled, start, rng, implicit_feedback=implicit_feedback, threads=threads)
    for _ in range(count):
        sample = next(chain)
        yield Sample(
            sample.rows * size,
            sample.centres * size,
            sample.cols * size,
            fit.mean,
            sample.precision * precision,
            _rescaled(sample.prior, size),
            _rescaled(sample.col_prior, size),
        )


def _rescaled(prior: Prior, size: np.ndarray) -> Prior:
    """The prior of D v, D = diag(``size``), for that of v."""
    return prior[0] / np.outer(size, size), prior[1] / size


def gibbs(
    observations: Observations,
    start: Sample,
    rng: np.random.Generator,
    *,
    implicit_feedback: bool = False,
    threads: int | None = None,
) -> Iterator[Sample]:
    """Draws without end, one per sweep over rows and columns, from ``start``.

    With ``implicit_feedback`` the pattern of Ω informs the priors. The noise is that of ``start``:
    one, or one for each column. The draws do not depend on ``threads``.
    """
    width = start.rows.shape[1]
    begun, behind = False, start.col_prior
    rows, cols, precision = start.rows, start.cols, start.precision
    with open_backend(observations, threads) as backend:
        sides = patterns(backend, observations, width) if implicit_feedback else (None, None)
        sampler = _Sampler(backend, rng, start.mean)
        while True:
            rows, centres, _, prior = sampler.side(
                observations.by_row, rows, cols, precision[None], sides[0]
            )
            if begun:
                yield Sample(rows, centres, cols, start.mean, precision, prior, behind)
            cols, _, squares, behind = sampler.side(
                observations.by_col, cols, rows, precision[:, None], sides[1]
            )
            precision = draw_precision(squares, observations.by_col.counts, rng, start.precision)
            begun = True


def draw_precision(
    squares: np.ndarray, counts: np.ndarray, rng: np.random.Generator, usual: np.ndarray
) -> np.ndarray:
    """α given ``squares`` Σ_i w e² over the ``counts`` entries of each column.

    One for all columns where ``usual`` is one, with a Gamma(1/2, ·) prior around it that is worth
    one entry: negligible beside the data. Else one of each column, with a prior around the
    precision of all together that is worth `_SHARED` entries: few entries that the factors fit by
    chance are no proof of a column without noise. Weights are precisions, not numbers of entries.
    """
    together = 0.5 * (1 / usual.mean() + squares.sum())
    if len(usual) == 1:
        return rng.gamma(0.5 * (1 + counts.sum(keepdims=True))) / together
    mean = 2 * together / (1 + counts.sum())
    return rng.gamma(0.5 * (_SHARED + counts)) / (0.5 * (_SHARED * mean + squares))


@dataclass(frozen=True)
class _Sampler:
    """What all half-sweeps of a chain share."""

    backend: AbstractBackend
    rng: np.random.Generator
    mean: float

    def side(
        self,
        lines: Compressed,
        Z: np.ndarray,
        other: np.ndarray,
        precision: np.ndarray,
        pattern: Pattern | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Prior]:
        """New vectors of one side, their conditional means, Σ w e² of each, (Λ, Λm)."""
        prior, centre = draw_prior(Z, self.rng, pattern)
        pull, shift = prior @ centre, np.zeros((0, Z.shape[1]))
        if pattern is not None:
            pattern.draw(Z, centre, prior, self.rng)
            shift = pattern.mean @ prior
        noise = self.rng.normal(size=Z.shape)
        given = other, self.mean, precision, prior, pull
        return *self.backend.draw(lines, *given, shift, noise), (prior, pull)
