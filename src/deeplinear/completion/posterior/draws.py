"""Draws of completed entries: factors from the posterior, and the noise of a new entry."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from ..data.observations import Observations
from ..solver.fit import LowRankFit
from .gibbs import Sample, draw, draw_rows

RandomState: TypeAlias = int | np.random.RandomState | None
# Sweeps before the first draw that is handed out, and from one to the next: in tables with a third
# of the cells missing, estimates from successive ones are then correlated by less than 0.05.
BURNED, APART = 50, 10


def spaced(
    fit: LowRankFit, seen: Observations, count: int, seed: int, burn_in: int = 0, **how: Any
) -> Iterator[tuple[Sample, np.random.Generator]]:
    """``count`` nearly independent samples around ``fit``, each with a generator of its own use.

    ``how``: the options of `gibbs.draw`; ``burn_in``: sweeps to throw away, at least `BURNED`.
    """
    rng, first = np.random.default_rng([seed, 1]), max(burn_in, BURNED)
    chain = draw(fit, seen, first + (count - 1) * APART + 1, seed, **how)
    for step, sample in enumerate(chain):
        if step >= first and (step - first) % APART == 0:
            yield sample, rng


def draw_entries(
    sample: Sample, rows: np.ndarray, cols: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """New entries of weight 1 at codes (rows[t], cols[t]); a line of its own prior at −1."""
    p = _lines(sample.rows, sample.prior, rows, rng)
    q = _lines(sample.cols, sample.col_prior, cols, rng)
    x = sample.mean + p[:, -1] + q[:, -1] + np.einsum("tk,tk->t", p[:, :-1], q[:, :-1])
    precision = np.broadcast_to(sample.precision, len(sample.cols))[cols]
    return x + rng.normal(size=len(x)) / np.sqrt(precision)


def draw_table(
    sample: Sample, seen: Observations, rng: np.random.Generator, threads: int | None = None
) -> np.ndarray:
    """A new matrix with the rows of ``seen`` (m, n), given the columns of ``sample``."""
    p, q = draw_rows(sample, seen, rng, threads), sample.cols
    x = p[:, :-1] @ q[:, :-1].T
    x += sample.mean + p[:, -1:] + q[:, -1]
    return x + rng.normal(size=x.shape) / np.sqrt(sample.precision)


def _lines(
    side: np.ndarray,
    prior: tuple[np.ndarray, np.ndarray],
    codes: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The lines at ``codes``; at −1 one draw of N(m, Λ⁻¹), the same for all of them."""
    if (codes >= 0).all():
        return side[codes]
    precision, pull = prior
    root = np.linalg.cholesky(precision)
    new = np.linalg.solve(precision, pull) + np.linalg.solve(root.T, rng.normal(size=len(pull)))
    return np.where(codes[:, None] >= 0, side[codes], new)
