"""Bayesian averaging: Gibbs samples of the two factors around a fit, with noise and priors
resampled on the way.

The model behind weight decay, x_ij = μ + a_i + b_j + p_i·q_j + ε with ε ~ N(0, 1/(α w_ij)), read as
probability: every row vector (p_i, a_i) is N(m, Λ⁻¹), every column vector (q_j, b_j) likewise, with
the conjugate Normal–Wishart priors on (m, Λ) of Salakhutdinov and Mnih (Bayesian probabilistic
matrix factorization, ICML 2008, eqs 11–16) and a Gamma prior on α. Given the columns the rows are
independent Gaussians, and the other way round: a sweep draws them all. A chain that starts at the
fit of a deep network is in the bulk of the posterior after a few sweeps, where a random start needs
many more; and the rank is the one that depth has found.

With side information the prior means depend on which entries were observed: see `features`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.threads import workers
from ..compiled import compiled
from ..data.observations import Compressed, Observations
from ..solver.fit import LowRankFit
from .implicit_feedback import Pattern, patterns


@dataclass(frozen=True)
class Sample:
    """x̂_ij = mean + a_i + b_j + p_i·q_j with ``rows`` (m, r+1) = (p, a), ``cols`` (n, r+1) =
    (q, b); α is ``precision``.

    Of a chain: drawn columns, and the conditional means of the rows given them. Averages of x̂ over
    such pairs have the same limit as over draws of both, and less noise (Rao and Blackwell).
    """

    rows: np.ndarray
    cols: np.ndarray
    mean: float
    precision: float


def draw_prior(
    Z: np.ndarray, rng: np.random.Generator, pattern: Pattern | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(Λ, m) of N(m, Λ⁻¹) given its draws Z (m×f): Normal–Wishart with ν0 = f, β0 = 2, W0 = 1, m0 =
    0.

    With a ``pattern`` the draws are Z − Fβ, and Λ is also the scale of the loadings β.
    """
    from scipy.stats import wishart

    count, f = Z.shape
    degrees, scatter = f + count, np.eye(f)
    if pattern is not None:
        Z = Z - pattern.mean()
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
    features: bool,
    threads: int | None,
) -> Iterator[Sample]:
    """``count`` draws of a chain that starts at ``fit``."""
    rows, cols, values = observations.triples()
    weights = observations.by_row.weights
    square = np.square(values - fit.predict(rows, cols), dtype=float)
    total = float(np.sum(square * weights if weights.size else square))
    # The prior's scale W0 = 1 is that of the noise: the draws do not depend on the units of the
    # values or weights. The floor keeps a perfect fit from an infinite precision.
    noise = math.sqrt(
        max(total / observations.weight, 1e-12 * float(np.var(values, dtype=float)), 1e-300)
    )
    size = np.array([math.sqrt(noise)] * fit.rank + [noise])  # of (p_i, a_i) and of (q_j, b_j)
    start = Sample(
        np.column_stack([fit.left, fit.row_bias]).astype(float) / size,
        np.column_stack([fit.right, fit.col_bias]).astype(float) / size,
        fit.mean / noise,
        1.0,
    )
    precision = observations.nnz / observations.weight / noise**2
    chain = gibbs(
        observations.rescaled(noise),
        start,
        np.random.default_rng(seed),
        features=features,
        threads=threads,
    )
    for _ in range(count):
        found = next(chain)
        yield Sample(found.rows * size, found.cols * size, fit.mean, found.precision * precision)


def gibbs(
    observations: Observations,
    start: Sample,
    rng: np.random.Generator,
    *,
    features: bool = False,
    threads: int | None = None,
) -> Iterator[Sample]:
    """Draws for ever, one per sweep over rows and columns, from ``start``; with ``features`` the
    pattern of Ω informs the priors.

    The draws do not depend on ``threads``.
    """
    sides = patterns(observations, start.rows.shape[1]) if features else (None, None)
    begun = False
    rows, cols, precision = start.rows, start.cols, start.precision
    with workers(threads) as pool:
        while True:
            rows, centres, _ = _side(
                observations.by_row, rows, cols, start.mean, precision, rng, sides[0], pool
            )
            if begun:
                yield Sample(centres, cols, start.mean, precision)
            cols, _, squares = _side(
                observations.by_col, cols, rows, start.mean, precision, rng, sides[1], pool
            )
            # Gamma(1/2, ·) prior worth one entry: negligible beside the data; weights are
            # precisions, not numbers of entries
            precision = rng.gamma(0.5 * (1 + observations.nnz)) / (
                0.5 * (squares + 1.0 / start.precision)
            )
            begun = True


def _side(
    lines: Compressed,
    Z: np.ndarray,
    other: np.ndarray,
    mean: float,
    precision: float,
    rng: np.random.Generator,
    pattern: Pattern | None,
    pool: Any,
) -> tuple[np.ndarray, np.ndarray, float]:
    """New vectors of one side, their conditional means, and Σ w e² at the former."""
    prior, centre = draw_prior(Z, rng, pattern)
    pull, shift = prior @ centre, np.zeros((0, Z.shape[1]))
    if pattern is not None:
        pattern.draw(Z, centre, prior, rng)
        shift = pattern.mean() @ prior
    out, centres, noise = np.empty_like(Z), np.empty_like(Z), rng.normal(size=Z.shape)

    def block(lo: int, hi: int) -> float:
        return draw_lines(
            lo, hi, *lines.arrays, mean, other, prior, pull, precision, shift, noise, out, centres
        )

    return out, centres, sum(pool.run(lines.blocks, block))
