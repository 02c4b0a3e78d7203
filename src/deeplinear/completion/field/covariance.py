"""The covariance of the columns of a table, from a completed table."""

import math
from dataclasses import dataclass

import numpy as np

# Components that are kept: the variance of the others becomes noise of each column.
MAX_RANK = 256
# Cells above which half as many are kept: the others cost most of the time, and gain nothing that
# was measured.
_LARGE = 1 << 21
# The shorter side up to which all of them are computed: a randomized SVD of so many is slower.
_EXACT = 4 * MAX_RANK
# Components below this part of the mean variance are nothing but rounding.
_LEAST = 1e-6
_NOTHING = 1e-30


@dataclass(frozen=True)
class ColumnCovariance:
    """Σ = SᵀS + diag(own) of rows around ``mean``.

    **Shapes**: ``mean`` (n,); ``root`` S (r, n), its rows orthogonal, the longest first; ``own``
    (n,), the variance of each column beyond the r components.
    """

    mean: np.ndarray
    root: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, completed: np.ndarray, *, center: bool = True) -> "ColumnCovariance":
        """The principal components of ``completed`` (m, n)."""
        m, n = completed.shape
        mean = completed.mean(axis=0) if center else np.zeros(n)
        gaps = completed - mean
        most = MAX_RANK if m * n <= _LARGE else MAX_RANK // 2
        s, V = _right_singular(gaps, min(m, n, most))
        root = (s / math.sqrt(m))[:, None] * V
        variance = np.square(gaps).mean(axis=0)
        own = np.maximum(variance - np.square(root).sum(axis=0), 0.0)
        total = float(variance.mean())
        lengths = np.square(root).sum(axis=1)
        return cls(mean, root[lengths > _LEAST * total], own)

    def astype(self, dtype: np.dtype) -> "ColumnCovariance":
        return ColumnCovariance(*(x.astype(dtype) for x in (self.mean, self.root, self.own)))

    @property
    def variance(self) -> float:
        """The mean variance of a column."""
        return float((np.square(self.root).sum(axis=0) + self.own).mean())

    @property
    def varies(self) -> bool:
        """Whether rows differ by more than what rounding leaves of no variance."""
        return self.variance > _NOTHING

    def points(self, rows: np.ndarray, most: int) -> np.ndarray:
        """The coordinates of ``rows`` (…, n) along the longest components, at ``most`` so many."""
        root = self.root[:most]
        return (rows - self.mean) @ (root / np.linalg.norm(root, axis=1, keepdims=True)).T


def _right_singular(X: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``rank`` largest singular values (r,) and right singular vectors (r, n) of X."""
    if rank < min(X.shape) > _EXACT:
        from sklearn.utils.extmath import randomized_svd

        _, s, V = randomized_svd(X, rank, n_iter=2, random_state=0)
        return s, V
    m, n = X.shape
    squares, vectors = np.linalg.eigh(X.T @ X if n <= m else X @ X.T)
    s = np.sqrt(np.maximum(squares[::-1][:rank], 0.0))
    vectors = vectors[:, ::-1][:, :rank]
    if n <= m:
        return s, vectors.T
    with np.errstate(divide="ignore", invalid="ignore"):
        V = np.where(s[:, None] > 0, (vectors.T @ X) / s[:, None], 0.0)
    return s, V
