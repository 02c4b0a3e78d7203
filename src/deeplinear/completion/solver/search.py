"""How strong the weight decay should be: a scale made of the data, a path of strengths, and the
held-out choice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..penalty import Penalty
from .convex import Fit, Problem, certificate, descend, sweep

# Half-octaves from 1 to 2⁻⁷, then factors of 4 for data that are nearly exact.
STRENGTHS = tuple(
    float(c) for c in np.r_[2.0 ** -np.arange(0, 14.5, 0.5), 4.0 ** -np.arange(4.5, 10)]
)


def additive(problem: Problem) -> Fit:
    """W = 0 with the row and column biases alone (a few alternations of two exact ridge means)."""
    fit = Fit.zero(*problem.X.shape)
    for _ in range(5):
        fit = sweep(problem, Penalty(2, 0.0, 1.0), fit)
    return replace(fit, objective=(), n_sweeps=0)


def noise_level(problem: Problem) -> float:
    """τ: the spectral norm that the observed residual of `additive` would have if its signs were
    random.

    For independent entries of variance v seen with density ρ it is √(ρv)(√m + √n) (Bai–Yin). Uneven
    lines count by their size-biased mean energy: τ = √(Σr²/Σr) + √(Σc²/Σc) with r, c the row and
    column sums of squares. Depends on no order and no random draw.
    """
    squares = (problem.weights * (problem.X - additive(problem).matrix())) ** 2
    total = squares.sum()
    if total == 0:
        return 0.0
    return float(sum(np.sqrt((squares.sum(axis=axis) ** 2).sum() / total) for axis in (0, 1)))


def penalty_at(problem: Problem, tau: float, depth: float, strength: float) -> Penalty:
    """The penalty whose slope f'(σ) at the noise scale σ = τ/ρ is strength · τ, whatever the depth.

    So λ = strength · τ · (τ/ρ)^{1 − 2/N}: at depth 2 strength is λ/τ; multiplying X by a constant
    changes nothing.
    """
    scale = tau / problem.density if tau > 0 else 1.0
    return Penalty(depth, strength * tau * scale ** (1 - 2 / depth), 1e-12 * scale)


def warm_starts(
    problem: Problem, tau: float, depth: float, strengths: tuple[float, ...], max_rank: int
) -> Iterator[tuple[float, Fit]]:
    """A start for each of the decreasing strengths: a depth-2 iterate at twice the strength, one
    sweep after the other.

    Depth N > 2 can only lose rank (W = 0 is a local minimum), while depth 2 is convex and finds the
    directions. Twice the strength keeps its rank, and so the cost, low; depth N undoes the
    shrinkage. Below depth 2, which is convex itself, all start at W = 0.
    """
    fit = additive(problem)
    for strength in strengths:
        if depth >= 2:
            fit = next(
                descend(
                    problem,
                    penalty_at(problem, tau, 2.0, 2 * strength),
                    fit,
                    max_rank=max_rank,
                    tol=0.0,
                )
            )
        yield strength, fit


@dataclass(frozen=True)
class Trial:
    """One strength on the path: its held-out root-mean-square error, the rank, and after how many
    sweeps to stop.

    ``sweeps`` is None where the held-out entries gave no reason to stop before convergence.
    """

    strength: float
    validation_rmse: float
    rank: int
    sweeps: int | None


@dataclass(frozen=True)
class Budget:
    """When a descent stops: at rank ``max_rank``, after ``max_sweeps``, or where a sweep gains less
    than ``tol`` (relative).
    """

    max_rank: int
    max_sweeps: int
    tol: float


def try_strength(
    problem: Problem,
    penalty: Penalty,
    start: Fit,
    score: Callable[[Fit], float],
    budget: Budget,
    patience: float,
) -> tuple[float, Fit, bool]:
    """Descend while the held-out score improves: (score, iterate, whether it is an early stop).

    ``patience`` is the number of sweeps without a better score (by 1e−4, relative) that ends it;
    ``inf`` takes the end.
    """
    best = None
    for fit in descend(problem, penalty, start, max_rank=budget.max_rank, tol=budget.tol):
        error = score(fit)
        if best is None or patience == np.inf or error < best[0] * (1 - 1e-4):
            best = error, fit
        if (
            fit.converged
            or fit.n_sweeps >= budget.max_sweeps
            or fit.n_sweeps >= best[1].n_sweeps + patience
        ):
            return *best, best[1].n_sweeps < fit.n_sweeps
    raise AssertionError("descend ends only at convergence")


def choose(
    problem: Problem,
    depth: float,
    score: Callable[[Fit], float],
    budget: Budget,
    *,
    strengths: tuple[float, ...] = STRENGTHS,
    patience: float = 2,
    report: Callable[[float, float, Fit], None],
) -> tuple[list[Trial], Trial]:
    """Walk down the path of strengths, scoring every iterate on the held-out entries; all trials,
    and the best.

    Early stopping (``patience``) matters at great depth, where the minimizer itself is too sparse.
    The path ends after three strengths without progress, counted once something has beaten the
    biases alone. ``report`` gets the fraction done, the best score and its iterate after every
    strength.
    """
    tau = noise_level(problem)
    trials: list[Trial] = []
    best: tuple[Trial, Fit] | None = None
    bias_only, stale = score(additive(problem)), 0
    for strength, start in warm_starts(problem, tau, depth, strengths, budget.max_rank):
        penalty = penalty_at(problem, tau, depth, strength)
        error, fit, early = try_strength(problem, penalty, start, score, budget, patience)
        trials.append(Trial(strength, error, fit.rank, fit.n_sweeps if early else None))
        if best is None or error < best[0].validation_rmse * (1 - 1e-4):
            best, stale = (trials[-1], fit), 0
        elif best[0].validation_rmse < bias_only * (1 - 1e-3):
            stale += 1
        report(len(trials) / len(strengths), best[0].validation_rmse, best[1])
        if stale == 3 or tau == 0:
            break
    assert best is not None
    return trials, best[0]


def refit(
    problem: Problem,
    depth: float,
    strength: float,
    budget: Budget,
    *,
    sweeps: int | None = None,
    report: Callable[[float, Fit], None],
) -> Fit:
    """Fit at one strength, down the same path: ``sweeps`` of them where early stopping chose so,
    else to convergence.

    ``converged`` says that it ended where it was meant to, and not because the budget was spent.
    """
    tau = noise_level(problem)
    start = additive(problem)
    path = (*(c for c in STRENGTHS if c > strength), strength)
    for _, start in warm_starts(problem, tau, depth, path, budget.max_rank):
        report(0.0, start)
    penalty = penalty_at(problem, tau, depth, strength)
    last = sweeps or budget.max_sweeps
    for fit in descend(problem, penalty, start, max_rank=budget.max_rank, tol=budget.tol):
        report(fit.n_sweeps / last, fit)
        if fit.n_sweeps >= last:
            break
    return replace(
        fit,
        converged=fit.converged or sweeps is not None,
        stationarity=certificate(problem, penalty, fit).tangent,
    )
