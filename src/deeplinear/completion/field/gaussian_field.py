"""The Gaussian field itself: rows that resemble their neighbours, columns that vary together.

With μ and Σ = SᵀS + diag(own) of `ColumnCovariance` and the precision P of `graph` over the rows,
the cells of a table are

    z_ij = μ_j + f_i·S_j + ε_ij,     columns of F (m×r) ~ N(0, P⁻¹),  ε_ij ~ N(0, ψ_j/w_ij),

that is, a matrix-normal field with covariance P⁻¹ ⊗ SᵀS under noise of variance
ψ_j = noise · (mean variance) · part_j + own_j. Its mean given the observed cells minimizes

    Σ_observed (w_ij/ψ_j) (z_ij − μ_j − f_i·S_j)² + tr(Fᵀ P F),

a linear system that preconditioned conjugate gradients solve. At P = 1 it is linear regression of
each cell on the other cells of its row; a graph adds the cells of neighbouring rows.

Source: Rue and Held, Gaussian Markov Random Fields (2005), §2; Papandreou and Yuille, NIPS 2010
(draws by perturbed right-hand sides).
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from ...errors import NotConvergedWarning
from ..backends.base import blocks_of, run_blocks
from ..data.observations import Observations
from ..loss import Losses
from .covariance import ColumnCovariance
from .graph import Weights, parts, precision

_MOST_STEPS = 2000


@dataclass(frozen=True)
class Cells:
    """The observed cells of a table: ``values`` (m, n), 0 elsewhere; ``weights``, 0 elsewhere.

    ``pool`` has the threads that share the passes over them (None: one). ``given``: the values by
    which rows are known again, if others.
    """

    values: np.ndarray
    weights: np.ndarray
    pool: ThreadPoolExecutor | None = None
    given: np.ndarray | None = None

    @classmethod
    def of(cls, seen: Observations, pool: ThreadPoolExecutor | None = None) -> "Cells":
        """Entries as dense arrays."""
        values, weights = np.zeros(seen.shape), np.zeros(seen.shape)
        rows, cols, x = seen.triples()
        given = seen.by_row.weights
        values[rows, cols], weights[rows, cols] = x, given if given.size else 1.0
        return cls(values, weights, pool)

    def over(self, completed: np.ndarray) -> np.ndarray:
        """``completed``, with the observed cells as they are."""
        return np.where(self.weights > 0, self.values, completed)

    def astype(self, dtype: np.dtype) -> "Cells":
        values, weights = self.values.astype(dtype), self.weights.astype(dtype)
        return replace(self, values=values, weights=weights)

    def rows(self, mask: np.ndarray) -> "Cells":
        given = None if self.given is None else self.given[mask]
        return Cells(self.values[mask], self.weights[mask], self.pool, given)

    def cleaned(self, losses: Losses | None, network: np.ndarray) -> "Cells":
        """Outliers of Huber's loss moved to where they count as much from the ``network``."""
        if losses is None:
            return self
        values = np.where(self.weights > 0, losses.cleaned(self.values, network), 0.0)
        return Cells(values, self.weights, self.pool, self.values)

    def keys(self) -> np.ndarray:
        """A fingerprint of each row (m,): rows with the same observed cells have the same one."""
        from hashlib import blake2b

        values = self.values if self.given is None else self.given
        seen = np.where(self.weights > 0, values + 0.0, np.nan)  # + 0.0: no negative zero
        digests = [blake2b(row.tobytes(), digest_size=8).digest() for row in seen]
        return np.frombuffer(b"".join(digests), "<u8")


def noise_parts(network: np.ndarray, cells: Cells) -> np.ndarray:
    """How noisy each column is beside the others (n,), 1 on the average.

    The mean square that the ``network`` leaves of its cells, that of all mixed in as one more cell.
    """
    squares = (cells.weights * (cells.values - network) ** 2).sum(axis=0)
    count = (cells.weights > 0).sum(axis=0)
    left = (squares + squares.sum() / max(count.sum(), 1)) / (count + 1)
    return left / left.mean() if left.mean() > 0 else np.ones(len(left))


@dataclass(frozen=True)
class GaussianField:
    """The law of a table: Σ, P, and the noise as a part of the mean variance of the columns.

    ``parts`` (n,): how noisy each column is beside the others, see `noise_parts`.
    """

    covariance: ColumnCovariance
    rho: float
    noise: float
    parts: np.ndarray

    @property
    def noises(self) -> np.ndarray:
        """ψ (n,)."""
        return self.noise * self.covariance.variance * self.parts + self.covariance.own

    def matrix(self, F: np.ndarray) -> np.ndarray:
        """μ + F S (m, n)."""
        return self.covariance.mean + F @ self.covariance.root

    def mean(self, cells: Cells, graph: Weights, *, tol: float) -> np.ndarray:
        """F (m, r), the mean given ``cells``; ``tol``: how far a row may be off, see `_solve`."""
        D = cells.weights / self.noises
        P = precision(graph, self.rho).astype(D.dtype)
        return self._solve(cells, D, P, self._pull(D, cells.values), tol)

    def deviation(
        self, cells: Cells, graph: Weights, rng: np.random.Generator, *, tol: float
    ) -> np.ndarray:
        """A draw of F around its mean, given which ``cells`` are observed: their values play no
        part.
        """
        D, P = cells.weights / self.noises, precision(graph, self.rho)
        edges, alone = parts(graph.sum(axis=0), self.rho)
        upper = sp.triu(graph).tocoo()
        b = self._perturbation(D, alone, rng)
        along = np.sqrt(edges * upper.data)[:, None] * rng.normal(size=(upper.nnz, b.shape[1]))
        np.add.at(b, upper.row, along)
        np.add.at(b, upper.col, -along)
        return self._solve(cells, D, P, b, tol)

    def beside(
        self, cells: Cells, weights: Weights, known: np.ndarray, *, tol: float
    ) -> np.ndarray:
        """F of new rows, each given its own ``cells`` and the rows ``known`` (m, r) beside it.

        ``weights`` (rows, m) are those of its neighbours among them.
        """
        D = cells.weights / self.noises
        edges, own = self._beside(weights)
        b = self._pull(D, cells.values) + edges * (weights @ known)
        return self._solve(cells, D, sp.diags_array(own), b, tol)

    def deviation_beside(
        self, cells: Cells, weights: Weights, rng: np.random.Generator, *, tol: float
    ) -> np.ndarray:
        """A draw of such rows around their mean."""
        D, own = cells.weights / self.noises, self._beside(weights)[1]
        return self._solve(cells, D, sp.diags_array(own), self._perturbation(D, own, rng), tol)

    def _beside(self, weights: Weights) -> tuple[float, np.ndarray]:
        """(ρ/(1 − ρ²), the precision of each new row given its neighbours)."""
        degree = weights.sum(axis=1)
        edges, alone = parts(degree, self.rho)
        return edges, edges * degree + alone

    def _perturbation(
        self, D: np.ndarray, alone: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """N(0, (D ∘ ·S)Sᵀ + diag(alone)): what cells and rows have by themselves."""
        pull = (np.sqrt(D) * rng.normal(size=D.shape)) @ self.covariance.root.T
        return pull + np.sqrt(alone)[:, None] * rng.normal(size=pull.shape)

    def _pull(self, D: np.ndarray, values: np.ndarray) -> np.ndarray:
        return (D * (values - self.covariance.mean)) @ self.covariance.root.T

    def _solve(
        self,
        cells: Cells,
        D: np.ndarray,
        P: sp.sparray,
        b: np.ndarray,
        tol: float,
    ) -> np.ndarray:
        """(D ∘ (F S)) Sᵀ + P F = b by conjugate gradients, with the diagonal as preconditioner.

        In the basis of the principal components that diagonal is nearly all there is, and the
        coordinates of a row have variances of about 1: it may be off by ``tol``, in the norm of the
        system, which counts each observed cell by its precision and is never less than the rows'
        own.
        """
        S = self.covariance.root
        blocks = blocks_of(*D.shape)

        def image(p: np.ndarray) -> np.ndarray:
            out = P @ p

            def add(lo: int, hi: int) -> None:
                out[lo:hi] += (D[lo:hi] * (p[lo:hi] @ S)) @ S.T

            run_blocks(cells.pool, blocks, add)
            return out

        diagonal = D @ np.square(S).T + P.diagonal()[:, None]
        F, r = np.zeros_like(b), b.copy()
        z = r / diagonal
        p, rz = z.copy(), float(np.vdot(r, z))
        enough = tol**2 * len(b)
        for _ in range(_MOST_STEPS):
            if rz <= enough:
                break
            Ap = image(p)
            length = rz / float(np.vdot(p, Ap))
            F += length * p
            r -= length * Ap
            z = r / diagonal
            rz, before = float(np.vdot(r, z)), rz
            p *= rz / before
            p += z
        else:
            warnings.warn(
                f"The Gaussian field was still on its way after {_MOST_STEPS} steps of conjugate "
                "gradients: its cells may be less well refined than the held-out ones.",
                NotConvergedWarning,
                stacklevel=4,
            )
        return F
