"""The options of a large fit, checked, and the penalties that it goes through."""

import math
from dataclasses import dataclass

from ...checks import check_depth
from ...errors import InputError
from ..penalty import Penalty
from .sweep import FitProblem

DEFAULT_RANK = 50
WARM_SWEEPS = 3
# Weaker penalties than this (nearly exact data) are reached in stages, each `RATIO` times weaker,
# of at most `STAGE_SWEEPS` sweeps or until a sweep gains less than `STAGE_TOL`: started at once,
# all components would stay and fit nothing in particular.
FIRST = 1e-2
RATIO = 0.1
STAGE_SWEEPS = 60
STAGE_TOL = 1e-3
# Conjugate-gradient steps per line and sweep, and for nearly exact data, where lines with few
# entries are badly conditioned.
STEPS = 2
EXACT_STEPS = 5


@dataclass(frozen=True)
class Options:
    """The arguments of `fit` that its result depends on, checked."""

    depth: float
    strength: float
    decay: float | None
    max_rank: int
    bias_ridge: float | None
    smoothing: float | None
    scaling: float
    tol: float
    max_sweeps: int
    patience: int
    steps: int
    seed: int

    def __post_init__(self) -> None:
        check_depth(self.depth, scalar=True)
        if self.depth < 2:
            raise InputError(
                f"depth must be ≥ 2 for a thin fit, got {self.depth:g} (below 2 the minimizer has "
                "full rank): use DeepLinearImputer."
            )
        for name in ("strength", "decay", "bias_ridge"):
            value = getattr(self, name)
            if value is not None and not (0 <= value < math.inf):
                raise InputError(f"{name} must be a finite number ≥ 0, got {value!r}.")
        for name, least in (("max_rank", 0), ("max_sweeps", 1), ("patience", 1), ("steps", 1)):
            value = getattr(self, name)
            if value != math.inf and (value != int(value) or value < least):
                raise InputError(f"{name} must be an integer ≥ {least}, got {value!r}.")
        if not self.tol >= 0:
            raise InputError(f"tol must be ≥ 0, got {self.tol!r}.")
        for name in ("scaling", "smoothing"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} must lie between 0 (off) and 1, got {value!r}.")


def penalty_at(
    problem: FitProblem, options: Options, tau: float, depth: float, factor: float = 1.0
) -> Penalty:
    """The penalty at ``factor`` times the strength of the options: slope strength · τ at the noise
    scale τ/density, at any depth.
    """
    size = noise_size(problem, tau)
    strength = factor * relative_strength(problem, options, tau)
    smoothing = min(0.1, 0.3 * strength) if options.smoothing is None else options.smoothing
    return Penalty(
        depth, strength * (tau or 1.0) * size ** (1 - 2 / depth), max(smoothing, 1e-12) * size
    )


def noise_size(problem: FitProblem, tau: float) -> float:
    """The singular value that noise alone would make, τ/density; 1 for data without any
    residual.
    """
    return tau / problem.density if tau > 0 else 1.0


def relative_strength(problem: FitProblem, options: Options, tau: float) -> float:
    """``strength``, or what an absolute ``decay`` amounts to."""
    if options.decay is None:
        return options.strength
    return options.decay / ((tau or 1.0) * noise_size(problem, tau) ** (1 - 2 / options.depth))


@dataclass(frozen=True)
class Stage:
    """One penalty on the way, for at most ``sweeps`` sweeps or until a sweep gains less than
    ``tol``.
    """

    penalty: Penalty
    sweeps: float
    tol: float


def plan(problem: FitProblem, options: Options, tau: float, warm: bool) -> list[Stage]:
    """Depth 2 finds the directions, depth N the rank, ever weaker penalties the last digits."""
    last = Stage(penalty_at(problem, options, tau, options.depth), options.max_sweeps, options.tol)
    if warm or options.depth == 2:
        return [last]
    strength = relative_strength(problem, options, tau)
    factor = max(FIRST / strength, 1.0) if strength > 0 else 1.0
    stages = [Stage(penalty_at(problem, options, tau, 2.0, factor), WARM_SWEEPS, 0.0)]
    while factor > 1:
        stages.append(
            Stage(penalty_at(problem, options, tau, options.depth, factor), STAGE_SWEEPS, STAGE_TOL)
        )
        factor *= RATIO
    return [*stages, last]
