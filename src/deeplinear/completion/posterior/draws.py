"""Draws of completed entries: factors from the posterior, and the noise of a new entry."""

from typing import TypeAlias

import numpy as np

from ..data.observations import Observations
from .gibbs import Sample, draw_rows

RandomState: TypeAlias = int | np.random.RandomState | None


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
