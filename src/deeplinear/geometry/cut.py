"""Cut points: up to where a geodesic of g^N is a shortest path between its ends."""

import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..checks import as_array
from ..labelled import Labelled, Variable, ending, number_range, status_variable
from ..status import Status
from ..transforms import needs_values
from .conjugate import check_way, conjugate_time
from .derivatives import operator_power
from .geodesic_closed_form import planar_distance
from .geodesic_programs import exponential, logarithm
from .leaf import Depth, DepthLike, Imbalance, Leaf
from .operator import singular_error

# a length within this part of a bound is the bound; a path shorter by this part is shorter
_EQUAL, _SHORTER = 1e-9, 1e-8
# times are narrowed to this part of t_1; the cut is known where its bounds are within that part
_WIDTH, _KNOWN = 1e-8, 1e-6
_LOOKS = 8  # at so many of the times shorter paths are looked for
# another geodesic is looked for this part of t beyond the cut; of the steps of each
_BEYOND, _LOG_STEPS = 1e-6, 512


@dataclasses.dataclass(frozen=True, repr=False)
class CutPoint(Labelled):
    """Up to where a geodesic is a shortest path.

    - ``t``: its cut time; ∞ where it is shortest as far as it was followed, NaN where that is known
      between two times only: it is a shortest path up to ``shortest_to``, and none from
      ``shorter_from`` on (∞ where no shorter path was found).
    - ``W`` (m, n): the cut point, NaN where t is no finite number. ``other`` (m, n): the velocity
      at W(0) of another geodesic, as long, that is there at the same time; NaN where none was
      found.
    - ``searched``: the time up to which the geodesic was followed.
    - ``status``: a code of `Status`: ``converged`` (a cut point), ``reached_t1`` (shortest up to
      t_1), ``left_full_rank`` (shortest up to its end), ``between_bounds`` (t is NaN).
    """

    t: float
    W: np.ndarray
    other: np.ndarray
    shortest_to: float
    shorter_from: float
    searched: float
    status: int

    def _variables(self) -> dict[str, Variable]:
        return {
            "t": Variable((), self.t, "cut time"),
            "W": Variable(("row", "column"), self.W, "the cut point"),
            "other": Variable(("row", "column"), self.other, "velocity of another geodesic there"),
            "shortest_to": Variable((), self.shortest_to, "a shortest path up to here"),
            "shorter_from": Variable((), self.shorter_from, "no shortest path from here on"),
            "searched": Variable((), self.searched, "the time up to which it was followed"),
            "status": status_variable((), np.asarray(self.status)),
        }

    def _attributes(self) -> dict[str, Any]:
        return {"status": ending(np.asarray(self.status))}

    def _lines(self) -> list[str]:
        if math.isnan(self.t):
            low, high = (number_range(x, ".6g") for x in (self.shortest_to, self.shorter_from))
            head = f"shortest up to t = {low}, not from t = {high} on"
        elif math.isinf(self.t):
            head = f"shortest up to t = {number_range(self.searched, '.6g')}"
        else:
            head = f"cut at t = {number_range(self.t, '.6g')}"
        return [head, ending(np.asarray(self.status))]


@needs_values
def cut_time(
    W: ArrayLike,
    Z: ArrayLike,
    depth: DepthLike,
    t1: float = 1.0,
    *,
    imbalance: Imbalance = 0.0,
    samples: int = 32,
    rtol: float = 1e-11,
    max_steps: int = 4096,
) -> CutPoint:
    """The time up to which exp_W(tZ), t in (0, t_1], is a shortest path from W: its cut time.

    It is one as long as its length is a lower bound of the distance from W,

    - N = 1: ‖W(t) − W‖_F; a single row or column, N < ∞: the distance in a cone over the sphere of
      radius 1/√N; N = 2, 2×2: `planar_distance`. These are the distance, and the cut time exact;
    - N = 2: √2 times the distance of the balanced factors in Euclidean space, over O(k);
    - N = ∞: (Σ (log σ_i(t) − log σ_i)² + ‖log OᵀO(t)‖²_F)^{1/2}, O orthogonal polar factors; finite
      N ≥ 2, 2×2: a cone over such a product; any N: the first of both sums, of Nσ^{1/N}.

    These are attained by W = UΣVᵀ, Z = UDVᵀ with a normal D that commutes with Σ (common singular
    vectors; turns in planes of equal σ_i), where singular values do not change their order if N > 2
    (and at 2 < N < ∞ nothing turns, or W is 2×2); at N = 2 also by ZOᵀ symmetric. There a half turn
    is the cut. It is no shortest path where `log` finds a shorter one, or beyond a conjugate point
    (`conjugate_time`). Where the two times differ, on leaves and for most Z, the cut time is known
    between them only. ``samples`` times are looked at; what is between is narrowed to 1e−8 t_1.

    **Arguments**: as for `conjugate_time`. **Returns** a `CutPoint`: look at its status. Lengths
    are compared to 1e−8. **Raises** `SingularOperatorError`, `InputError`, `DepthError`.
    **Normalization**: t in units of ``Z``. **Source**: do Carmo, *Riemannian Geometry*, ch. 13;
    the bounds are derived here.

    >>> import deeplinear as dl, numpy as np
    >>> W, Z = np.eye(2), np.array([[0.0, -1.0], [1.0, 0.0]])  # half a turn of e^{tZ}
    >>> found = dl.geodesic.cut_time(W, Z, float("inf"), 5.0)
    >>> round(found.t, 6), np.round(found.other, 4).tolist()  # and the other way round
    (3.141593, [[0.0, 1.0], [-1.0, 0.0]])
    """
    W, Z, N = check_way(W, Z, depth, imbalance, samples, t1)
    way = _Way(W, Z, N, as_array(rtol, W.dtype), max_steps)
    times = np.linspace(t1 / samples, t1, samples)
    ends = way.at(times)
    times = times[: len(ends)]
    searched = float(times[-1]) if len(ends) else 0.0
    nothing = np.full(W.shape, np.nan)
    loose = np.flatnonzero(~way.is_shortest(times, ends))
    if not loose.size:
        status = Status.reached_t1 if searched == t1 else Status.left_full_rank
        return CutPoint(math.inf, nothing, nothing, searched, math.inf, searched, status)
    k = int(loose[0])
    low, high = way.narrowed(times[k - 1] if k else 0.0, times[k], samples, _WIDTH * t1)
    low = low if low > _KNOWN * t1 else 0.0
    if not way.exact:
        high = way.first_shorter(times[k:], low, _WIDTH * t1, _KNOWN * t1)
        looked = min(high, searched)
        found = conjugate_time(
            W, Z, depth, looked, imbalance=imbalance, samples=2 * samples, max_steps=max_steps
        )
        high = min(high, found.t)
    other = way.other(high)
    if high - low > _KNOWN * t1:
        status = Status.between_bounds
        return CutPoint(math.nan, nothing, other, low, high, searched, status)
    # the proof ends at the cut; a shorter path shows some way beyond it only
    t = low if low > 0 else high
    return CutPoint(t, way.at(np.array([t]))[0], other, low, high, searched, Status.converged)


@dataclasses.dataclass(frozen=True)
class _Way:
    """exp_W(tZ), and what is known about shorter ones."""

    W: Array
    Z: Array
    N: Depth
    rtol: Array
    max_steps: int

    @property
    def exact(self) -> bool:
        """Whether `least_length` is the distance."""
        if isinstance(self.N, Leaf):
            return False
        N = float(self.N)
        return N == 1 or min(self.W.shape) == 1 or (N == 2 and self.W.shape == (2, 2))

    @functools.cached_property
    def speed(self) -> float:
        return float(jnp.linalg.norm(operator_power(self.W, self.Z, self.N, -0.5)))

    def at(self, times: ArrayLike) -> np.ndarray:
        """The points at increasing times, as far as they were reached."""
        times = as_array(times, self.W.dtype)
        found, singular = exponential(self.W, self.Z, self.N, times, self.rtol, self.max_steps)
        if bool(singular):
            raise singular_error()
        ends = np.asarray(found.W)
        return ends[: int(np.isfinite(ends).all((1, 2)).sum())]

    def is_shortest(self, times: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """At which of the times it is proved to be a shortest path."""
        if isinstance(self.N, Leaf):
            return np.zeros(len(times), bool)
        start, N = np.asarray(self.W), float(self.N)
        least = np.array([least_length(start, end, N) for end in ends])
        return self.speed * times <= least * (1 + _EQUAL)

    def narrowed(self, low: float, high: float, parts: int, width: float) -> tuple[float, float]:
        """Two near times between which the proof ends, in place of ``low`` and ``high``."""
        while high - low > width:
            times = np.linspace(low, high, parts + 1)[1:]
            ends = self.at(times)
            proved = self.is_shortest(times[: len(ends)], ends)
            k = int(np.argmin(np.append(proved, False)[: len(times)]))
            if proved.size and proved.all():  # its end, up to rounding
                return float(high), float(high)
            low, high = times[k - 1] if k else low, times[k]
        return float(low), float(high)

    def shorter(self, t: float) -> np.ndarray | None:
        """The velocity of a shorter geodesic that is at the same point at the time t, if any is
        found.
        """
        end = self.at(np.array([t]))
        if not len(end):
            return None
        found, _ = logarithm(self.W, jnp.asarray(end[0]), self.N, self.rtol, _LOG_STEPS)
        short = found.distance < self.speed * t * (1 - _SHORTER)
        return np.asarray(found.Z) / t if bool(found.converged) and short else None

    def first_shorter(self, times: np.ndarray, low: float, width: float, near: float) -> float:
        """A time from which on it is not shortest, narrowed; ∞ where none is found. It is shortest
        up to ``low``, where it is looked at closely.
        """
        if low > 0 and self.shorter(low + 0.9 * near) is not None:
            return low + 0.9 * near
        some = times[:: -(-len(times) // _LOOKS)]
        some = np.unique(np.append(some, times[-1]))
        high = next((float(t) for t in some if self.shorter(t) is not None), math.inf)
        low = max([low, *(float(t) for t in some if t < high)])
        while width < high - low < math.inf:
            middle = (low + high) / 2
            low, high = (low, middle) if self.shorter(middle) is not None else (middle, high)
        return high

    def other(self, t: float) -> np.ndarray:
        """The velocity of another geodesic to about the same point; NaN where none is found."""
        found = self.shorter(t * (1 + _BEYOND)) if math.isfinite(t) else None
        return np.full(self.W.shape, np.nan) if found is None else found


def least_length(W0: np.ndarray, W1: np.ndarray, N: float) -> float:
    """A number that no path from W_0 to W_1 of full rank is shorter than, in g^N; often their
    distance (see `cut_time`).
    """
    m, n = W0.shape
    if N == 1:
        return float(np.linalg.norm(W1 - W0))
    if min(m, n) == 1 and max(m, n) > 1:  # a cone over the sphere of radius 1/√N
        a, b = (np.linalg.norm(W) for W in (W0, W1))
        angle = 2 * math.atan2(np.linalg.norm(W0 / a - W1 / b), np.linalg.norm(W0 / a + W1 / b))
        return _in_a_cone(N * a ** (1 / N), N * b ** (1 / N), angle / math.sqrt(N))
    if N == 2 and m == n == 2:
        return planar_distance(W0, W1)
    frames = [np.linalg.svd(W, full_matrices=False) for W in (W0, W1)]
    y0, y1 = (np.log(s) if math.isinf(N) else N * s ** (1 / N) for _, s, _ in frames)
    radial = float(np.linalg.norm(y1 - y0))
    if N == 2:  # the distance of the factors in the space that they lie in, over O(k)
        first = [np.sqrt(s)[:, None] * Vt for _, s, Vt in frames]
        last = [U * np.sqrt(s) for U, s, _ in frames]
        A, _, Bt = np.linalg.svd(first[1] @ first[0].T + last[1].T @ last[0])
        turned = (A @ Bt).T
        gaps = first[0] - turned @ first[1], last[0] - last[1] @ turned.T
        return max(radial, math.sqrt(2) * math.hypot(*(np.linalg.norm(gap) for gap in gaps)))
    if m != n or N < 2:
        return radial
    turn = frames[0][0] @ frames[0][2]
    angles = np.angle(np.linalg.eigvals(turn.T @ frames[1][0] @ frames[1][2]))
    if math.isinf(N):
        return math.hypot(radial, float(np.linalg.norm(angles)))
    if m == 2:  # a cone over a strip
        places = [math.atan2(y[1], y[0]) for y in (y0, y1)]
        link = math.hypot(places[1] - places[0], abs(angles[0]) / N)
        return max(radial, _in_a_cone(np.linalg.norm(y0), np.linalg.norm(y1), link))
    return radial


def _in_a_cone(a: np.floating, b: np.floating, angle: float) -> float:
    """The distance of points at the distances a and b from the tip, whose rays meet at an angle."""
    if angle >= math.pi:
        return float(a + b)
    return math.hypot(a - b, 2 * math.sqrt(a * b) * math.sin(angle / 2))
