"""Which coordinates a flow starts in, and which it changes to; the start in the form they need."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..checks import is_traced
from ..errors import CriticalPointError, InputError, PrecisionError
from ..geometry.leaf import DepthLike, Leaf, is_smooth_leaf
from ..geometry.point import LogSVD
from .coordinates import (
    AbstractCoordinates,
    DenseCoordinates,
    SvdCoordinates,
    ThinCoordinates,
)
from .flow_options import is_small

#: The coordinates of W that `gradient_flow` knows by name.
CHARTS: dict[str, AbstractCoordinates] = {
    "dense": DenseCoordinates(),
    "svd": SvdCoordinates(),
    "thin": ThinCoordinates(),
}


# Relative gap of neighbouring singular values from which on the SVD chart is comfortable.
SEPARATED = 1e-2


def factored(W: Array) -> LogSVD:
    """`LogSVD.of`, in NumPy where values can be seen, since eager JAX would compile first."""
    if is_traced(W):
        return LogSVD.of(W)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    with np.errstate(divide="ignore"):
        return LogSVD(*map(jax.device_put, (U, np.log(s), Vt)))


def checked(point: LogSVD) -> LogSVD:
    """A start that the user gives as a `LogSVD`, checked; zero singular values are left out."""
    U, log_s, Vt = (jnp.asarray(x) for x in (point.U, point.log_s, point.Vt))
    if not (U.ndim == Vt.ndim == 2 and log_s.shape == (U.shape[1],) == (Vt.shape[0],)):
        raise InputError(
            f"W0 must have U, log_s, Vt of shapes (m, k), (k,), (k, n), got {U.shape}, "
            f"{log_s.shape}, {Vt.shape}."
        )
    if is_traced(point):
        return LogSVD(U, log_s, Vt)
    if not (
        np.isfinite(U).all() and np.isfinite(Vt).all() and (np.asarray(log_s) < math.inf).all()
    ):
        raise InputError("W0 must be finite, got NaN or infinite entries in its LogSVD.")
    keep = np.flatnonzero(np.asarray(log_s) > -math.inf)
    keep = keep if keep.size else np.array([0])  # W0 = 0, for `choose_charts` to judge
    return LogSVD(U[:, keep], log_s[keep], Vt[keep])


def trimmed(point: LogSVD) -> LogSVD:
    """The point without singular values that are rounding noise: max(m, n) ε σ_1 or less."""
    log_s = np.asarray(point.log_s)
    size = max(point.U.shape[0], point.Vt.shape[1])
    rank = int(np.sum(log_s > log_s[0] + math.log(size * float(np.finfo(log_s.dtype).eps))))
    return LogSVD(point.U[:, :rank], point.log_s[:rank], point.Vt[:rank])


def choose_charts(
    point: LogSVD,
    W: Array | None,
    depth: DepthLike,
    chart: str | AbstractCoordinates,
    rtol: float,
) -> tuple[AbstractCoordinates, AbstractCoordinates | None]:
    """The coordinates to start in and those to change to (or None).

    Checks ``chart`` and the size of the start.
    """
    own = chart if isinstance(chart, AbstractCoordinates) else None
    if own is None and chart != "auto" and chart not in CHARTS:
        raise InputError(
            f"chart must be 'auto', 'dense', 'svd', 'thin' or AbstractCoordinates, got {chart!r}."
        )
    on_frames = chart in ("svd", "thin") or isinstance(own, SvdCoordinates | ThinCoordinates)
    if on_frames and is_smooth_leaf(depth):
        raise InputError(
            f"chart must be 'dense' or 'auto' for depth {depth}, where singular values cross zero."
        )
    if is_traced(point, depth):
        if chart == "auto":
            raise InputError(
                "chart must be named inside jit or vmap ('svd' or 'dense'), where 'auto' cannot "
                "look at W0."
            )
        return own or CHARTS[str(chart)], None
    # on a leaf that depth as which small singular values move
    N = float(depth.zeros if isinstance(depth, Leaf) else np.asarray(depth))
    log_s = np.asarray(point.log_s)
    if N > 1 and not log_s[0] > -math.inf:
        raise CriticalPointError(
            "W0 must not vanish: W = 0 is critical at every depth > 1; start from small random "
            "entries."
        )
    _check_underflow(float(log_s[0]), N, log_s.dtype)
    if own is not None:
        return own, None
    if N < 2 and chart in ("svd", "thin"):
        raise InputError(
            f"chart must be 'dense' or 'auto' for depth {depth}, where singular values cross zero."
        )
    if chart != "auto":
        return CHARTS[str(chart)], None
    if N < 2:
        return CHARTS["dense"], None
    if W is None:
        return CHARTS["svd"], None
    kept = np.asarray(trimmed(point).log_s)
    separated = np.min(kept[:-1] - kept[1:], initial=math.inf) > separation(point)
    too_small = float(kept[-1] - kept[0]) < math.log(smallest_dense(rtol))
    if separated or too_small:
        return CHARTS["svd"], None
    return CHARTS["dense"], CHARTS["svd"]


def smallest_dense(rtol: float) -> float:
    """The ratio σ_k/σ_1 below which errors of dense steps, of size rtol σ_1, come close to σ_k."""
    return min(1e-2, 100 * rtol)


def separation(point: LogSVD) -> float:
    """The gap of log σ from which on the SVD chart is the better one.

    For a large W it never is while dense arithmetic will do: among many singular values some pair
    is always close, and turns fast.
    """
    return SEPARATED if is_small(CHARTS["svd"].start(point)) else math.inf


def _check_underflow(largest: float, N: float, dtype: np.dtype) -> None:
    """Refuse a start whose σ_1^{2−2/N} underflows: the flow would stall without a word."""
    if N > 1 and (2 - 2 / N) * largest < math.log(float(np.finfo(dtype).tiny)):
        raise PrecisionError(
            f"W0 is too small for {np.dtype(dtype).name} at depth {N:g} (σ_1^(2−2/N) = "
            f"e^{(2 - 2 / N) * largest:.0f} underflows): "
            "take a larger start, or float64 (jax.config.update('jax_enable_x64', True))."
        )
