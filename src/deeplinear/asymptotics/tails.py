"""The rate at which a trajectory ends, measured."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike

from ..dynamics.results import FlowResult
from ..errors import InputError
from ..labelled import Numbers
from ..reals import as_floats, one_real
from ..status import Status
from ..transforms import needs_values


class MeasuredRate(Numbers, eqx.Module):
    """What `measured_rate` found: E falls like e^{−2λt} at the end of a trajectory.

    ``value``: λ = −½ d log E/dt; ``error``: its standard error and drift;
    ``window``: the first and last time used; ``method``: "line" or "two modes"; ``status``: a
    `Status`.
    """

    value: float
    error: float
    window: tuple[float, float]
    status: Status
    method: str = "line"

    _axis = "end"


@needs_values
def measured_rate(
    ts: ArrayLike | FlowResult,
    energies: ArrayLike | None = None,
    *,
    limit: float = 0.0,
    floor: float | None = None,
) -> MeasuredRate:
    """The rate λ = −½ d log E/dt at the end of a trajectory.

    It is fitted to the tail of log E, the lower half of its fall.

    *Line*: a straight line, on the window of at least six points and a fall of E by e² that knows
    its slope best, standard error and drift (half the change of slope that a parabola sees across
    the window) together. It may leave out up to 40 per cent of the fall at the end, where E may be
    lost in rounding. *Two modes*: E = a e^{−2λt} + b e^{−2μt}, λ < μ, for a tail whose slope still
    creeps from one mode to a slower one; taken where it knows λ better than the line does. It must
    extrapolate the slope by less than 10 per cent.

    **Arguments**: ``ts``, ``energies``: times and values along a flow, or a `FlowResult` with saved
    times. ``limit``: what E tends to.
    ``floor``: energies up to here are rounding and left out; (100 ε)² times the largest by default,
    ε of float64.

    **Returns** a `MeasuredRate`; where the slope is not known to 2 per cent, its status is
    `Status.no_tail`, and the value is the best there is (NaN where no window is left). A slower
    mode that is not to be seen yet in the data is not found in them either. Not differentiable
    (NumPy).

    **Normalization**: time as in [CMV]. **Raises** `InputError` for arrays that do not match.

    >>> import numpy as np, deeplinear as dl
    >>> t = np.linspace(0, 10, 50)
    >>> round(dl.asymptotics.measured_rate(t, 3 * np.exp(-2 * t) + np.exp(-5 * t)).value, 4)
    1.0
    """
    t, y = _log_energy(ts, energies, limit, floor)
    lines = [(*_line(t[i:j], y[i:j]), i, j) for i, j in _windows(y, 19, 17)]
    if not lines:
        return MeasuredRate(math.nan, math.nan, (math.nan, math.nan), Status.no_tail)
    slope, error, i, j = min(lines, key=lambda w: w[1] / abs(w[0]))
    method = "line"
    pairs = [(*_two_modes(t[i:j], y[i:j]), i, j) for i, j in _windows(y, 3, 3) if j - i >= 12]
    pairs = [pair for pair in pairs if math.isfinite(pair[1])]
    if len({pair[3] for pair in pairs}) > 1:
        best = min(pairs, key=lambda w: w[1])
        # an algebraic tail passes for two modes on each window, but for others on each
        conflict = max(abs(other[0] - best[0]) - other[1] for other in pairs)
        pair_error = max(best[1], conflict)
        if pair_error < max(error, abs(best[0] - slope)):
            slope, error, i, j, method = best[0], pair_error, best[2], best[3], "two modes"
    status = Status.converged if error < 0.02 * abs(slope) else Status.no_tail
    return MeasuredRate(-slope / 2, error / 2, (float(t[i]), float(t[j - 1])), status, method)


def _log_energy(
    ts: ArrayLike | FlowResult,
    energies: ArrayLike | None,
    limit: float,
    floor: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Times and log(E − limit), checked, above the floor."""
    pair = (ts.ts, ts.energy) if isinstance(ts, FlowResult) else (ts, energies)
    t, E = (as_floats(x, name) for x, name in zip(pair, ("ts", "energies"), strict=True))
    for x, name in ((limit, "limit"), (floor, "floor")):
        left_out = name == "floor" and x is None
        if not left_out and not np.isfinite(one_real(x)):
            raise InputError(f"{name} must be one finite number, got {x!r}.")
    E = E - one_real(limit)
    if t.ndim != 1 or t.shape != E.shape:
        raise InputError(
            f"ts and energies must be vectors of one length, got {t.shape} and {E.shape}: follow "
            "the flow with saveat."
        )
    if not (np.isfinite(t).all() and (np.diff(t) >= 0).all()):
        raise InputError("ts must be finite and increasing.")
    floor = (
        (100 * np.finfo(float).eps) ** 2 * np.max(np.abs(E), initial=0.0)
        if floor is None
        else one_real(floor)
    )
    kept = np.isfinite(E) & (floor < E) & (np.diff(t, prepend=-math.inf) > 0)
    return t[kept], np.log(E[kept])


def _windows(y: np.ndarray, starts: int, ends: int) -> list[tuple[int, int]]:
    """Candidates: between first passages of log E through levels in the lower half of its fall.

    Levels and not numbers of points: the rounding at the end of a flow may have any number of them.
    """
    if y.size < 6:
        return []
    lowest = np.minimum.accumulate(y)
    passage = lambda part: int(np.searchsorted(-lowest, -(y[0] - part * (y[0] - lowest[-1]))))  # noqa: E731
    first = sorted(
        {passage(part) for part in np.linspace(0.5, 0.95 if starts > 3 else 0.7, starts)}
    )
    last = sorted(
        {
            min(passage(part), y.size - 1) + 1
            for part in np.linspace(0.6 if ends > 3 else 0.8, 1.0, ends)
        }
    )
    return [(i, j) for i in first for j in last if j - i >= 6 and y[i] - y[j - 1] >= 2]


def _line(t: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The slope of y(t) and its error, from the scatter and from the change of the slope."""
    half = (t[-1] - t[0]) / 2
    x = (t - t[0]) / half - 1
    slope, level = np.polyfit(x, y, 1)
    curvature = np.polyfit(x, y, 2)[0]
    scatter = np.sum((y - level - slope * x) ** 2) / (x.size - 2) / np.sum((x - x.mean()) ** 2)
    return float(slope / half), float(np.hypot(math.sqrt(scatter), 2 * curvature) / half)


def _two_modes(t: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The smaller slope of log E in a fit of E by the sum of two exponentials, and its error."""
    from scipy.optimize import least_squares

    x = (t - t[0]) / (t[-1] - t[0])
    slope, level = np.polyfit(x[x.size // 2 :], y[x.size // 2 :], 1)
    # the second mode by its excess over the first, and the excess of its slope by its logarithm
    model = lambda p: p[0] + p[1] * x + np.logaddexp(0.0, p[2] - np.exp(p[3]) * x)  # noqa: E731
    fits = [
        least_squares(
            lambda p: model(p) - y,
            [level, slope, excess, math.log(rate)],
            x_scale="jac",
            max_nfev=200,
        )
        for excess in (-1.0, 2.0)
        for rate in (0.1 * abs(slope), abs(slope))
    ]
    fit = min(fits, key=lambda f: f.cost)
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac) * 2 * fit.cost / (x.size - 4)
    excess = fit.x[2] - math.exp(fit.x[3])
    # by how much the slope will still change after the end of the data
    at_end = math.exp(fit.x[3]) / (1 + math.exp(min(-excess, 700.0)))
    if not (fit.success and fit.x[1] < 0 and at_end < 0.1 * abs(fit.x[1])):
        return math.nan, math.inf
    error = math.hypot(math.sqrt(covariance[1, 1]), 0.1 * at_end)
    return float(fit.x[1] / (t[-1] - t[0])), error / float(t[-1] - t[0])
