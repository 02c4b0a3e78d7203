"""Graphs over the rows of a table: a chain in time, nearest neighbours, or one of the user's own.

A graph is its symmetric matrix W of weights ≥ 0 (m×m, sparse), scaled to a mean degree of 2, that
of a chain. With L = diag(W1) − W it gives m values the precision matrix

    P(ρ) = ρ/(1 − ρ²) L + diag(g),     g_i = 1 − d_i ρ/(1 + ρ),  d_i = min(degree of i, 2),

positive definite for 0 ≤ ρ < 1. On a chain this is the autoregressive process of first order with
variance 1 and the correlation ρ between successive rows, exactly; a row without neighbours is
N(0, 1), and so is every row at ρ = 0.
"""

import contextlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from ...errors import InputError
from ..data.ids import as_array
from ..data.sparse import Sparse, stored_entries

NEIGHBOURS = 10
# The neighbour that sets the length of a row's surroundings (Zelnik-Manor and Perona 2004).
_LOCAL = 7
# Times closer than this part of the typical step count as so far apart: weights stay finite.
_CLOSEST = 0.1

Weights: TypeAlias = sp.csr_array


def chain(times: ArrayLike) -> Weights:
    """Successive times are neighbours, the more the closer: w = (typical step)/(step).

    ``times`` (m,): numbers or dates in any order; rows without one (NaN, NaT) have no neighbours.
    """
    values = _as_numbers(times)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = np.diff(values[order])
    positive = steps[steps > 0]
    typical = float(np.median(positive)) if len(positive) else 1.0
    w = typical / np.maximum(steps, _CLOSEST * typical)
    return _scaled(_symmetric(order[:-1], order[1:], w, len(values)))


def _as_numbers(times: ArrayLike) -> np.ndarray:
    values = as_array(times)
    if values.dtype == object:
        with contextlib.suppress(TypeError, ValueError):
            values = values.astype("datetime64[ns]")
    if values.dtype.kind in "mM":
        return np.where(np.isnat(values), np.nan, values.astype("int64").astype(float))
    try:
        return values.astype(float)
    except (TypeError, ValueError):
        raise InputError(
            "row_order must hold numbers or dates, one for each row, got "
            f"{values.dtype.type.__name__}: convert them, or give True where the rows are in order."
        ) from None


@dataclass(frozen=True)
class Neighbours:
    """Nearest neighbours among m points, with weights exp(−d²/(s_i s_k)).

    ``points`` (m, q); ``lengths`` s (m,): the distance to the seventh neighbour; ``unit``: what the
    weights were multiplied by.
    """

    points: np.ndarray
    lengths: np.ndarray
    unit: float

    @classmethod
    def of(cls, points: np.ndarray) -> tuple["Neighbours", Weights]:
        """Those of every point, and the graph: i and k are neighbours if either is among the
        nearest of the other.
        """
        m = len(points)
        distances, nearest = _nearest(points, points, min(NEIGHBOURS, m - 1) + 1)
        own = nearest == np.arange(m)[:, None]
        own[~own.any(axis=1), -1] = True  # among equal points it may not find itself
        k = nearest.shape[1] - 1
        distances, nearest = distances[~own].reshape(m, k), nearest[~own].reshape(m, k)
        lengths = _lengths(distances)
        w = _likeness(distances, lengths, lengths[nearest])
        graph = _symmetric(np.repeat(np.arange(m), k), nearest.ravel(), w.ravel(), m)
        scaled = _scaled(graph)
        total = graph.sum()
        return cls(points, lengths, float(scaled.sum() / total) if total > 0 else 1.0), scaled

    def around(self, points: np.ndarray) -> Weights:
        """The weights (rows, m) of new points to those that are known."""
        m = len(self.points)
        distances, nearest = _nearest(self.points, points, min(NEIGHBOURS, m))
        w = _likeness(distances, _lengths(distances), self.lengths[nearest]) * self.unit
        rows = np.repeat(np.arange(len(points)), nearest.shape[1])
        return sp.csr_array((w.ravel(), (rows, nearest.ravel())), (len(points), m))


def _nearest(known: np.ndarray, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k).fit(known).kneighbors(asked)


def _lengths(distances: np.ndarray) -> np.ndarray:
    return distances[:, min(_LOCAL, distances.shape[1]) - 1]


def _likeness(distances: np.ndarray, own: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    product = own[:, None] * theirs
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distances > 0, distances**2 / product, 0.0)
    return np.exp(-ratio)


def mixed(first: Weights, second: Weights) -> Weights:
    """Both graphs, half each."""
    return _scaled((first + second).tocsr())


def no_graph(m: int) -> Weights:
    """``m`` rows without neighbours."""
    return sp.csr_array((m, m))


def given(graph: ArrayLike | sp.sparray, m: int, name: str) -> Weights:
    """A user's own graph over ``m`` rows. **Raises** `InputError` unless it is one."""
    shape = np.shape(graph)
    if shape != (m, m):
        raise InputError(f"{name} must be a graph of {m} × {m} weights, got {shape}.")
    if isinstance(graph, Sparse):  # compiled code follows its indices
        rows, cols, values, _ = stored_entries(graph, name)
        graph = sp.coo_array((values, (rows, cols)), shape)
    weights = sp.csr_array(graph, dtype=float)
    if not np.isfinite(weights.data).all() or (weights.data < 0).any():
        raise InputError(f"{name} must hold finite weights ≥ 0.")
    gap = abs(weights - weights.T)
    if gap.nnz and gap.max() > 1e-8 * weights.max():
        raise InputError(f"{name} must be symmetric: give (W + Wᵀ)/2 if it is directed.")
    weights = ((weights + weights.T) / 2).tocsr()
    weights.setdiag(0.0)
    weights.eliminate_zeros()
    return _scaled(weights)


def stored(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray) -> Weights:
    """A graph from the arrays of a file. **Raises** `InputError` unless they are one."""
    m = len(indptr) - 1
    rises = indptr[0] == 0 and (np.diff(indptr.astype(np.int64)) >= 0).all()
    if not (rises and indptr[-1] == len(indices) and (indices < m).all()):
        raise InputError("the graph of the rows is none.")
    weights = sp.csr_array((data, indices.astype(np.int32), indptr.astype(np.int32)), (m, m))
    if abs(weights - weights.T).nnz:
        raise InputError("the graph of the rows must be symmetric.")
    return weights


def precision(weights: Weights, rho: float) -> sp.csr_array:
    """P(ρ), sparse (m, m)."""
    degree = weights.sum(axis=0)
    edges, alone = parts(degree, rho)
    laplacian = sp.diags_array(degree) - weights
    return (edges * laplacian + sp.diags_array(alone)).tocsr()


def parts(degree: np.ndarray, rho: float) -> tuple[float, np.ndarray]:
    """(ρ/(1 − ρ²), g) of P(ρ), for rows of these degrees."""
    return rho / (1 - rho**2), 1 - np.minimum(degree, 2.0) * rho / (1 + rho)


def _symmetric(rows: np.ndarray, cols: np.ndarray, w: np.ndarray, m: int) -> Weights:
    one = sp.csr_array((w, (rows, cols)), (m, m))
    return one.maximum(one.T).tocsr()


def _scaled(weights: Weights) -> Weights:
    """With a mean degree of 2 over the rows that have neighbours."""
    degree = weights.sum(axis=0)
    some = degree > 0
    return weights * (2 / degree[some].mean()) if some.any() else weights
