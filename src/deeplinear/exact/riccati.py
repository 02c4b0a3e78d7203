"""The flow of two layers on whitened inputs in closed form: a matrix Riccati equation."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from ..checks import check_matrix, check_numbers
from ..dynamics.factors import OFF_LEAF
from ..errors import InputError
from ..labelled import Labelled, Variable, number_range
from ..reals import as_reals
from ..transforms import needs_values

# One step of the formula spans growth by e^{2·_REACH} at most: it inverts a matrix whose condition
# number that is.
_REACH, _MOST = 3.0, 1e6


class _TwoLayer(NamedTuple):
    W: Float[np.ndarray, "*t m n"]
    gram1: Float[np.ndarray, "*t n n"]
    gram2: Float[np.ndarray, "*t m m"]


class TwoLayer(Labelled, _TwoLayer):
    """What `two_layer` returns: the layers along their flow, one leading axis of times, or none.

    ``W`` = W_2 W_1, m×n; ``gram1`` = W_1ᵀW_1, n×n, and ``gram2`` = W_2 W_2ᵀ, m×m, which make the
    network's tangent kernel gram2 ⊗ I + I ⊗ gram1. The factors are these up to a rotation of the
    hidden units.
    """

    def _variables(self) -> dict[str, Variable]:
        times = ("step",)[: self.W.ndim - 2]
        return {
            "W": Variable((*times, "row", "column"), self.W, "W_2 W_1"),
            "gram1": Variable((*times, "column", "column2"), self.gram1, "W_1ᵀW_1", framed=False),
            "gram2": Variable((*times, "row", "row2"), self.gram2, "W_2 W_2ᵀ", framed=False),
        }

    def _lines(self) -> list[str]:
        m, n = self.W.shape[-2:]
        norm = number_range(np.linalg.norm(self.W, axis=(-2, -1)), ".4g")
        return [f"{m}×{n}, {int(np.prod(self.W.shape[:-2]))} time(s), norm of W {norm}"]


@needs_values
def two_layer(W1: ArrayLike, W2: ArrayLike, target: ArrayLike, t: ArrayLike) -> TwoLayer:
    """The gradient flow of W_2 W_1 for E = ½‖W_2 W_1 − S‖_F², on any isotropic leaf

        W_2ᵀW_2 − W_1W_1ᵀ = δ I,

    balanced (δ = 0) or not. With Q = (W_1ᵀ; W_2), F = [[−δ/2 I, Sᵀ], [S, δ/2 I]] and τ the time of
    the factors' flow, d(QQᵀ)/dτ = F QQᵀ + QQᵀ F − (QQᵀ)², so that

        QQᵀ(τ) = e^{Fτ} Q_0 [I + Q_0ᵀ (∫_0^τ e^{2Fs} ds) Q_0]^{−1} Q_0ᵀ e^{Fτ},

    with the integral in eigenvectors of F, where a singular F is no exception.

    **Arguments**: ``W1`` h×n and ``W2`` m×h, ``target`` S m×n, ``t`` a time ≥ 0 or several.
    **Normalization**: [CMV]'s time t = 2τ, that of `factor_flow` and `gradient_flow`.
    **Accuracy**: that of double precision, in steps of bounded growth.

    **Raises** `InputError`, also where the factors are on no isotropic leaf (beyond 1e−8 of their
    size, 1e−4 in float32), and for times of more than a million steps.

    **Source**: Fukumizu 1998; Braun, Dominé, Fitzgerald, Saxe 2022; Dominé et al. 2024
    (2409.14623), for whitened regression.

    >>> import deeplinear as dl, numpy as np
    >>> W1, W2 = 0.1 * np.eye(2), 0.1 * np.eye(2)
    >>> dl.exact.two_layer(W1, W2, np.diag([2.0, 1.0]), 4.0).W.round(4).tolist()
    [[1.8748, 0.0], [0.0, 0.3555]]
    """
    W1, W2, target = (
        X if isinstance(X, jax.Array) else as_reals(X, name)
        for X, name in ((W1, "W1"), (W2, "W2"), (target, "target"))
    )
    for X, name in ((W1, "W1"), (W2, "W2"), (target, "target")):
        check_matrix(X, name)
    # as given, not as JAX holds it: NumPy's numbers have 64 bits
    single = any(getattr(X, "dtype", None) == np.float32 for X in (W1, W2))
    precision = "float32" if single else "float64"
    A, B, S = (np.asarray(X, float) for X in (W1, W2, target))
    if A.shape[0] != B.shape[1] or S.shape != (B.shape[0], A.shape[1]):
        raise InputError(
            f"W2 W1 must have the shape {S.shape} of target, got factors of shapes {B.shape} and "
            f"{A.shape}."
        )
    times = check_numbers(t, "t")
    if times.ndim > 1:
        raise InputError(f"t must be finite times ≥ 0 in one axis at most, got {t!r}.")
    with np.errstate(over="ignore", invalid="ignore"):
        difference = B.T @ B - A @ A.T
    if not np.isfinite([np.sum(A * A), np.sum(B * B), np.sum(S * S)]).all():
        raise InputError("W1, W2 and target must have squares in the range of float64: scale them.")
    delta = np.trace(difference) / len(difference)
    off = np.linalg.norm(difference - delta * np.eye(len(difference)))
    size = np.linalg.norm(A) ** 2 + np.linalg.norm(B) ** 2
    if off > OFF_LEAF[precision] * size:
        raise InputError(
            "W1 and W2 must lie on an isotropic leaf, W2ᵀW2 − W1W1ᵀ = δI: they are off by "
            f"{off:.2e} beside {size:.2e}; use factor_flow."
        )
    m, n = S.shape
    F = np.block([[-delta / 2 * np.eye(n), S.T], [S, delta / 2 * np.eye(m)]])
    f, V = np.linalg.eigh(F)
    Q, now = V.T @ np.vstack([A.T, B]), 0.0
    # QQᵀ pulls back with up to the square of its norm, F pushes with up to its own
    rate = max(abs(f).max(), np.linalg.norm(Q, 2) ** 2)
    order = np.argsort(times, axis=None)
    if times.size and times.max() / 2 * rate / _REACH > _MOST:
        latest = 2 * _MOST * _REACH / rate
        raise InputError(f"t must be at most {latest:.3g} here, {_MOST:g} steps of the formula.")
    found = np.empty((times.size, n + m, n + m))
    for i in order:
        tau = times.ravel()[i] / 2
        steps = int(np.ceil((tau - now) * rate / _REACH))
        for _ in range(steps):
            Q = _step(Q, f, (tau - now) / steps)
        now = tau
        found[i] = V @ Q @ Q.T @ V.T
    P = found.reshape(*times.shape, n + m, n + m)
    return TwoLayer(P[..., n:, :n], P[..., :n, :n], P[..., n:, n:])


def _step(Q: np.ndarray, f: np.ndarray, tau: float) -> np.ndarray:
    """e^{Fτ} Q (I + Qᵀ ∫e^{2Fs}ds Q)^{−1/2} for diagonal F, up to a rotation of the columns."""
    x = 2 * f * tau
    safe = np.where(x == 0, 1.0, x)
    weights = tau * np.where(x == 0, 1.0, np.expm1(safe) / safe)
    # the root by singular values of √weights Q: no square of a condition number
    _, s, Wt = np.linalg.svd(np.sqrt(weights)[:, None] * Q, full_matrices=False)
    moved = np.exp(f * tau)[:, None] * Q
    along = moved @ Wt.T
    # what lies beyond the rank of Q is 0 times anything
    return (along / np.sqrt(1 + s**2)) @ Wt
