"""The penalties that a fit goes through: depth 2 first, then the depth itself, ever weaker."""

from dataclasses import dataclass

from ..penalty import Penalty
from .options import EXACT, FitOptions
from .problem import FitProblem

WARM_SWEEPS = 3
# Nearly exact data are reached in stages, each `RATIO` times weaker, of at most `STAGE_SWEEPS`
# sweeps or until a sweep gains less than `STAGE_TOL`: started at once, all components would stay
# and fit nothing in particular.
RATIO = 0.1
STAGE_SWEEPS = 60
STAGE_TOL = 1e-3
# No penalty at all is approached down to this strength.
LEAST = 1e-8


def penalty_at(
    problem: FitProblem,
    options: FitOptions,
    tau: float,
    depth: float,
    strength: float | None = None,
) -> Penalty:
    """The penalty of a ``strength``, by default that of the options.

    Its slope is strength · τ at the noise scale τ/density, at any depth.
    """
    size = noise_size(problem, tau)
    if strength is None:
        strength = relative_strength(problem, options, tau)
    smoothing = min(0.1, 0.3 * strength) if options.smoothing is None else options.smoothing
    return Penalty(
        depth, strength * (tau or 1.0) * size ** (1 - 2 / depth), max(smoothing, 1e-12) * size
    )


def noise_size(problem: FitProblem, tau: float) -> float:
    """The singular value that noise alone would make, τ/density.

    1 for data without any residual.
    """
    return tau / problem.density if tau > 0 else 1.0


def relative_strength(problem: FitProblem, options: FitOptions, tau: float) -> float:
    """``strength``, or what an absolute ``decay`` amounts to."""
    if options.decay is None:
        return options.strength
    return options.decay / ((tau or 1.0) * noise_size(problem, tau) ** (1 - 2 / options.depth))


@dataclass(frozen=True)
class Stage:
    """One penalty on the way.

    For at most ``sweeps`` sweeps, or until a sweep gains less than ``tol``.
    """

    penalty: Penalty
    sweeps: float
    tol: float


def schedule(problem: FitProblem, options: FitOptions, tau: float, warm: bool) -> list[Stage]:
    """The stages of a fit; a ``warm`` start needs the last one alone.

    Depth 2 finds the directions, depth N the rank, ever weaker penalties the last digits.
    """
    last = Stage(penalty_at(problem, options, tau, options.depth), options.max_sweeps, options.tol)
    if warm or options.convex:
        return [last]
    strength = relative_strength(problem, options, tau)
    if options.depth == 2 and strength >= EXACT:
        return [last]
    now = max(strength, EXACT)
    stages = [Stage(penalty_at(problem, options, tau, 2.0, now), WARM_SWEEPS, 0.0)]
    while now > max(strength, LEAST) * (1 + 1e-9):
        penalty = penalty_at(problem, options, tau, options.depth, now)
        stages.append(Stage(penalty, STAGE_SWEEPS, STAGE_TOL))
        now *= RATIO
    return [*stages, last]
