"""Conjugate points: from where on a geodesic of g^N is not the shortest, not even among near
paths.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike

from ..checks import as_array, check_integer, check_matrix, one_precision
from ..compilation import program
from ..errors import InputError, SingularOperatorError
from ..labelled import Labelled, Variable, ending, number_range, status_variable
from ..reals import one_real
from ..status import Status
from ..transforms import needs_values
from .hamiltonian_flow import follow
from .leaf import Depth, DepthLike, Imbalance, in_precision, on_leaf, rescaled
from .operator import Operator

# a zero is known to this part of t_1, and is one where the Jacobian's least singular value is below
# this part of its largest
_WIDTH, _RANK_LOSS = 1e-9, 1e-6


@dataclasses.dataclass(frozen=True, repr=False)
class ConjugatePoint(Labelled):
    """The first conjugate point of a geodesic: what `conjugate_time` returns.

    - ``t``: its time, ∞ where none was found. ``W`` (m, n): the point, NaN where none was found.
    - ``multiplicity``: how many directions of the start velocity do not move it.
    - ``searched``: the time up to which was looked.
    - ``status``: a code of `Status`: ``converged`` (found), ``reached_t1`` (none up to t_1),
      ``left_full_rank`` (none before the geodesic ended at rank loss, or its steps did).
    """

    t: float
    W: np.ndarray
    multiplicity: int
    searched: float
    status: int

    def _variables(self) -> dict[str, Variable]:
        return {
            "t": Variable((), self.t, "time of the first conjugate point"),
            "W": Variable(("row", "column"), self.W, "the conjugate point"),
            "multiplicity": Variable((), self.multiplicity, "directions that do not move it"),
            "searched": Variable((), self.searched, "the time up to which was looked"),
            "status": status_variable((), np.asarray(self.status)),
        }

    def _attributes(self) -> dict[str, Any]:
        return {"status": ending(np.asarray(self.status))}

    def _lines(self) -> list[str]:
        what = f"conjugate at t = {number_range(self.t, '.6g')}, multiplicity {self.multiplicity}"
        none = f"no conjugate point found up to t = {number_range(self.searched, '.6g')}"
        return [what if np.isfinite(self.t) else none, ending(np.asarray(self.status))]


def check_way(
    W: ArrayLike, Z: ArrayLike, depth: DepthLike, imbalance: Imbalance, samples: int, t1: float
) -> tuple[Array, Array, Depth]:
    """W, Z and the metric of a search along exp_W(tZ), t ≤ t_1; what it cannot do is an error."""
    W, Z = one_precision((check_matrix(W, "W"), check_matrix(Z, "Z")))
    if W.shape != Z.shape or W.dtype != np.float64:
        raise InputError(
            f"W and Z must be float64 and of one shape, got {W.shape} and {Z.shape} in {W.dtype}: "
            'set jax.config.update("jax_enable_x64", True).'
        )
    if check_integer(samples, "samples") < 4 or not 0 < one_real(t1) < np.inf:
        raise InputError(f"samples must be ≥ 4 and t1 > 0, got {samples} and {t1!r}.")
    return W, Z, in_precision(on_leaf(depth, imbalance, shape=W.shape, scalar=True), W.dtype)


@needs_values
def conjugate_time(
    W: ArrayLike,
    Z: ArrayLike,
    depth: DepthLike,
    t1: float = 1.0,
    *,
    imbalance: Imbalance = 0.0,
    samples: int = 64,
    rtol: float = 1e-9,
    max_steps: int = 4096,
) -> ConjugatePoint:
    """The first time in (0, t_1] at which exp_W(tZ) is conjugate to W along that geodesic,

        det J(t) = 0,   J(t) X = d/ds exp_W(t (Z + s X)) at s = 0,

    the Jacobi fields that vanish at W. Up to there the geodesic is the shortest among near paths;
    beyond it is not. A farther, shorter path may exist before (a cut point): that is not searched
    for. At N = 1 there is none, the space being flat.

    det J is looked at on ``samples`` equal parts; where it changes its sign it is bracketed, and
    where its least singular value has a minimum (zeros of even multiplicity) that is narrowed, both
    to 1e−9 t_1. Two conjugate points within one part, of no visible minimum, are overlooked.

    **Arguments**: as for `exp`, in float64. **Normalization**: t in units of ``Z``. **Returns** a
    `ConjugatePoint`: look at its status. **Raises** `SingularOperatorError` (W without full rank),
    `InputError`, `DepthError`. **Source**: do Carmo, *Riemannian Geometry*, ch. 5 (conjugate points
    are the critical points of exp).

    >>> import deeplinear as dl, numpy as np
    >>> W, Z = np.diag([2.0, 1.0]), np.array([[0.0, -1.0], [1.0, 0.0]])
    >>> dl.geodesic.conjugate_time(W, Z, 1, samples=8)
    ConjugatePoint(no conjugate point found up to t = 1
      The last of the times asked for was reached.)
    """
    W, Z, N = check_way(W, Z, depth, imbalance, samples, t1)
    scale = float(np.linalg.norm(np.asarray(W)))
    shrunk = rescaled(N, as_array(scale or 1.0, W.dtype))
    if not scale > 0 or bool(Operator.unchecked(W / scale, shrunk).is_singular):
        raise SingularOperatorError("W must have full rank, and has not: move it off rank loss.")
    unit = W / scale, Z / scale, shrunk

    def look(first: float, last: float) -> tuple[np.ndarray, ...]:
        times = np.linspace(first, last, samples)
        ends, J = _fields(*unit, as_array(times, W.dtype), as_array(rtol, W.dtype), max_steps)
        ends, J = np.asarray(ends), np.asarray(J).reshape(samples, W.size, W.size)
        known = np.isfinite(J).all((1, 2)) & np.isfinite(ends).all((1, 2))
        here = J[known] / times[known, None, None]
        s = np.linalg.svd(here, compute_uv=False)
        fine = (s[:, 0] > 0) & (s[:, 0] < np.inf)  # beside rank loss J may leave the range
        times, here, s = times[known][fine], here[fine], s[fine]
        return times, np.linalg.slogdet(here)[0], s / s[:, :1], scale * ends[known][fine]

    times, signs, s, _ = look(t1 / samples, t1)
    searched = float(times[-1]) if times.size else 0.0
    for first, last in _candidates(times, signs, s[:, -1]):
        a, b = first, last
        while b - a > _WIDTH * t1:
            found = look(a, b)
            if len(found[0]) < samples:  # the end of the geodesic, not a conjugate point
                break
            times, signs, least = found[0], found[1], found[2][:, -1]
            (a, b), at = (_candidates(times, signs, least) or [_least(times, least)])[0], found
        else:
            k = int(np.argmin(at[2][:, -1]))
            if at[2][k, -1] < _RANK_LOSS:
                lost = int((at[2][k] < _RANK_LOSS).sum())
                return ConjugatePoint(
                    float(at[0][k]), at[3][k], lost, float(at[0][k]), Status.converged
                )
    status = Status.reached_t1 if searched == t1 else Status.left_full_rank
    return ConjugatePoint(float("inf"), np.full(W.shape, np.nan), 0, searched, status)


def _candidates(
    times: np.ndarray, signs: np.ndarray, least: np.ndarray
) -> list[tuple[float, float]]:
    """Where det J changes its sign, or its least singular value has a minimum, in order."""
    flips = [(times[i], times[i + 1]) for i in range(len(times) - 1) if signs[i] != signs[i + 1]]
    inner = range(1, len(times) - 1)
    lows = [i for i in inner if least[i] <= least[i - 1] and least[i] <= least[i + 1]]
    dips = [(times[i - 1], times[i + 1]) for i in lows]
    # a minimum beside a change of sign is the same zero
    dips = [(a, b) for a, b in dips if not any(a <= f < b for f, _ in flips)]
    return sorted(flips + dips)


def _least(times: np.ndarray, least: np.ndarray) -> tuple[float, float]:
    k = int(np.argmin(least))
    return times[max(k - 1, 0)], times[min(k + 1, len(times) - 1)]


@program
def _fields(
    W: Array, Z: Array, N: Depth, times: Array, rtol: Array, max_steps: int
) -> tuple[Array, Array]:
    """exp_W(tZ) and its derivative in Z, at each time."""
    start = Operator.unchecked(W, N)

    def ends(Z: Array) -> Array:
        return follow(W[None], start.power(Z, -1)[None], N, times, rtol, max_steps)[0][:, 0]

    return ends(Z), jax.jacfwd(ends)(Z)
