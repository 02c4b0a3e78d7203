"""Features of the rows and of the columns as prior means of their factors and biases.

Without features a row (p_i, a_i) has the prior mean 0: the ridge of a fit pulls it there. With
features x_i it has the mean (x_i − x̄) B, of the same precision, as in Macau (Simm et al. 2017); the
columns likewise, (y_j − ȳ) C. At a fit, whose ridge d_k, scales ρ, κ and bias ridge β stay,

    ½ Σ w_ij (μ + a_i + b_j + p_i·q_j − x_ij)²
      + ½ t Σ_k d_k (Σ_i ρ_i² (p_ik − (x_i − x̄)·B_k)² + λ |B_k|²) + the same of a_i, β without ρ,
      + the same of the columns,

is lowered in turn over the rows (ridge regressions of the residuals at the prior means), B (a ridge
regression of the lines on their features), the columns, and C: it never rises. Lines without
features have mean ones, x̄.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix

from ..backends.base import AbstractBackend
from ..backends.open import Device, open_backend
from ..backends.pairs import at
from ..data.observations import Compressed, Observations
from .balance import balance
from .problem import FitProblem, State, solve_lines
from .result import LowRankFit

# Features up to which the Gram matrix is formed; beyond it conjugate gradients need none.
_DIRECT = 1000
_CG_STEPS, _CG_TOL = 100, 1e-6
STEPS = 3  # conjugate-gradient steps per line and sweep


@dataclass(frozen=True)
class Side:
    """The features of the lines of one side, (lines, f), and which of the lines ``have`` any."""

    features: csr_matrix
    have: np.ndarray


Sides = tuple[Side | None, Side | None]


@dataclass(frozen=True)
class Loadings:
    """c (r+1,) and B (f, r+1): a line with features x has the prior mean c + x B.

    ``average`` (r+1,) is that of mean features, which lines without any have.
    """

    centre: np.ndarray
    slopes: np.ndarray
    average: np.ndarray

    def lines(self, features: csr_matrix) -> np.ndarray:
        """The prior means of lines with these features (lines, r+1)."""
        return self.centre + np.asarray(features @ self.slopes)

    def deviations(self, side: Side) -> np.ndarray:
        """How far the lines of a side are to lie from the average: (x_i − x̄) B, 0 without x_i."""
        return np.where(side.have[:, None], self.lines(side.features) - self.average, 0.0)

    def towards(self, line: np.ndarray, share: float) -> "Loadings":
        """Those whose prior means are share · these + (1 − share) · ``line``."""
        rest = (1 - share) * line
        return Loadings(
            share * self.centre + rest, share * self.slopes, share * self.average + rest
        )


def regress(side: Side, lines: np.ndarray, weights: np.ndarray, decay: float) -> Loadings:
    """The ridge regression of ``lines`` (m, r+1) on features, with an intercept.

    Minimizes Σ_i w_ik (v_ik − c_k − x_i·B_k)² + λ |B_k|² for each k; ``weights`` (m, 2): those of
    the factors and of the bias. Lines without features have the mean of the others'. λ = ``decay``
    · Σ w_ik over the lines with features: in units of the Gram matrix of standardized features.
    """
    V = lines.astype(float)
    parts = [
        _ridge(side, V[:, columns], own, decay)
        for columns, own in ((slice(None, -1), weights[:, 0]), (slice(-1, None), weights[:, 1]))
    ]
    centres, slopes, averages = zip(*parts, strict=True)
    return Loadings(np.concatenate(centres), np.hstack(slopes), np.concatenate(averages))


def _ridge(
    side: Side, V: np.ndarray, w: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(c, B, average) for lines of the weights ``w``."""
    average = w @ V / max(w.sum(), 1e-300)
    known = side.have & (w > 0)
    X, V, w = side.features[known], V[known] - average, w[known]
    total = float(w.sum())
    if not total:
        return average, np.zeros((X.shape[1], V.shape[1])), average
    x = X.T @ w / total
    weighted = X.multiply(w[:, None]).tocsr()
    right = weighted.T @ V - np.outer(x, w @ V)
    if X.shape[1] <= _DIRECT:
        gram = (weighted.T @ X).toarray() - total * np.outer(x, x)
        slopes = np.linalg.solve(gram + decay * total * np.eye(len(x)), right)
    else:

        def product(b: np.ndarray) -> np.ndarray:
            return weighted.T @ (X @ b) - total * np.outer(x, x @ b) + decay * total * b

        slopes = _conjugate_gradients(product, right)
    return average - x @ slopes, slopes, average


def _conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray], right: np.ndarray
) -> np.ndarray:
    """A⁻¹ right for the positive definite A of ``product``: all columns in the same passes."""
    solved, rest = np.zeros_like(right), right.copy()
    way, size = rest.copy(), np.square(rest).sum(axis=0)
    enough, tiny = _CG_TOL**2 * size, np.finfo(float).tiny
    for _ in range(_CG_STEPS):
        if (size <= enough).all():
            break
        image = product(way)
        step = size / np.maximum((way * image).sum(axis=0), tiny)
        solved += step * way
        rest -= step * image
        left = np.square(rest).sum(axis=0)
        way = rest + left / np.maximum(size, tiny) * way
        size = left
    return solved


def informed(
    fit: LowRankFit,
    seen: Observations,
    sides: Sides,
    decay: float,
    tightness: float = 1.0,
    *,
    threads: int | None = None,
    device: Device = "cpu",
) -> Iterator[LowRankFit]:
    """Fits with the features of both ``sides`` and λ = ``decay``, one per sweep, without end.

    The more features explain, the less is left around the prior means: the ridge of the sides that
    have features is ``tightness`` times that of the fit.
    Lines without entries come out at their prior means.
    """
    state = fit.state().copy()
    with open_backend(seen, threads, device) as backend:
        while True:
            _move(backend, fit, seen.by_row, state, sides[0], decay, tightness)
            flipped = State(state.Y, state.Z, state.s, state.mean)
            _move(backend, fit.T, seen.by_col, flipped, sides[1], decay, tightness, shift=1)
            yield _as_fit(fit, state)


def loadings_of(fit: LowRankFit, seen: Observations, side: Side, decay: float) -> Loadings:
    """The regression of the rows of ``fit`` on their features."""
    return regress(side, lines_of(fit), weights_of(fit, seen.by_row), decay)


def balanced(fit: LowRankFit, seen: Observations) -> LowRankFit:
    """The same matrix with balanced factors."""
    with open_backend(seen, 1) as backend:
        scales = fit.row_scale, fit.col_scale
        state = balance(FitProblem(seen, *scales, fit.bias_ridge, backend), fit.state())
    return _as_fit(fit, state)  # of less rank, where directions were not needed


def lines_of(fit: LowRankFit) -> np.ndarray:
    """(p_i, a_i) of the rows, (m, r+1)."""
    return np.column_stack([fit.left, fit.row_bias])


def weights_of(fit: LowRankFit, seen: Compressed) -> np.ndarray:
    """The weights of the rows in a regression: ρ² for factors, 1 for biases; 0 without entries."""
    known = (seen.counts > 0).astype(float)
    return np.column_stack([known * np.square(fit.row_scale, dtype=float), known])


def _as_fit(fit: LowRankFit, state: State) -> LowRankFit:
    r = state.rank
    return replace(
        fit,
        mean=state.mean,
        spectrum=state.s,
        ridge=fit.ridge[:r],
        left=state.Z[:, :r].copy(),
        right=state.Y[:, :r].copy(),
        row_bias=state.Z[:, r].copy(),
        col_bias=state.Y[:, r + 1].copy(),
    )


def _move(
    backend: AbstractBackend,
    fit: LowRankFit,
    lines: Compressed,
    state: State,
    side: Side | None,
    decay: float,
    tightness: float,
    shift: int = 0,
) -> None:
    """Lower the objective over B, then over the lines ``state.Z``, in place."""
    column = fit.rank + shift
    here, prior = [*range(fit.rank), column], np.zeros_like(state.Z)
    if side is not None:
        weights = weights_of(fit, lines)
        prior[:, here] = regress(side, state.Z[:, here], weights, decay).deviations(side)
    counts = lines.counts
    owners = np.repeat(np.arange(len(counts)), counts)
    expected = at(owners, lines.indices, prior, state.Y, 0.0)
    rest, tight = replace(lines, values=lines.values - expected), tightness if side else 1.0
    ridge = tight * fit.ridge.astype(float)
    gap = state.Z - prior
    bias = column, None if fit.bias_ridge is None else tight * fit.bias_ridge
    sides = gap, state.Y
    solve_lines(backend, rest, sides, state.mean, ridge, fit.row_scale, bias, STEPS)
    state.Z[:] = gap + prior
