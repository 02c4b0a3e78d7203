"""How strong the weight decay should be: a scale made of the data, a path of strengths, and the held-out choice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from .engine import Array, Fit, Penalty, Problem, descend, sweep

# Half-octaves from 1 to 2⁻⁷, then factors of 4 for data that are nearly exact.
STRENGTHS = tuple(float(c) for c in np.r_[2.0 ** -np.arange(0, 14.5, 0.5), 4.0 ** -np.arange(4.5, 10)])


def additive(problem: Problem) -> Fit:
    """W = 0 with the row and column biases alone (a few alternations of two exact ridge means)."""
    fit = Fit.zero(*problem.X.shape)
    for _ in range(5):
        fit = sweep(problem, Penalty(2, 0.0, 1.0), fit)
    return replace(fit, objective=(), n_sweeps=0)


def noise_level(problem: Problem) -> float:
    """τ: the spectral norm that the observed residual of `additive` would have if its signs were random.

    For independent entries of variance v seen with density ρ it is √(ρv)(√m + √n) (Bai–Yin). Uneven lines count by
    their size-biased mean energy: τ = √(Σr²/Σr) + √(Σc²/Σc) with r, c the row and column sums of squares.
    Depends on no order and no random draw.
    """
    squares = (problem.weights * (problem.X - additive(problem).matrix())) ** 2
    total = squares.sum()
    if total == 0:
        return 0.0
    return float(sum(np.sqrt((squares.sum(axis=axis) ** 2).sum() / total) for axis in (0, 1)))


def penalty_at(problem: Problem, tau: float, depth: float, strength: float) -> Penalty:
    """The penalty whose slope f'(σ) at the noise scale σ = τ/ρ is strength · τ, whatever the depth.

    So λ = strength · τ · (τ/ρ)^{1 − 2/N}: at depth 2 strength is λ/τ; multiplying X by a constant changes nothing.
    """
    scale = tau / problem.density if tau > 0 else 1.0
    return Penalty(depth, strength * tau * scale ** (1 - 2 / depth), 1e-12 * scale)


def warm_starts(problem: Problem, tau: float, strengths: Iterator[float] | tuple[float, ...], max_rank: int
                ) -> Iterator[tuple[float, Fit]]:
    """A depth-2 iterate for each of the decreasing strengths, one sweep after the other, at twice the strength.

    Every depth starts here: depth N > 2 can only lose rank (W = 0 is a local minimum), while depth 2 is convex and
    finds the directions. Twice the strength keeps its rank, and so the cost, low; depth N undoes the shrinkage.
    """
    fit = additive(problem)
    for strength in strengths:
        fit = next(descend(problem, penalty_at(problem, tau, 2.0, 2 * strength), fit, max_rank=max_rank, tol=0.0))
        yield strength, fit


@dataclass(frozen=True)
class Trial:
    """One strength on the path: held-out root-mean-square error at the best sweep, which sweep that was, its rank."""

    strength: float
    validation_rmse: float
    sweeps: int
    rank: int
    converged: bool


def choose(problem: Problem, depth: float, score: Callable[[Fit], float], *, max_rank: int, max_sweeps: int, tol: float,
           report: Callable[[float, Trial, Fit], None]) -> list[Trial]:
    """Walk the path of strengths and score every iterate on the held-out entries.

    Within a strength the sweeps stop at convergence or after two without a better score: early stopping, which matters
    at great depth, where the minimizer itself is too sparse. The path stops after three strengths without progress,
    counted once something has beaten the biases alone. ``report`` gets (fraction done, best trial, best fit) after each.
    """
    tau, trials, best, stale = noise_level(problem), [], None, 0
    base = None
    for position, (strength, start) in enumerate(warm_starts(problem, tau, STRENGTHS, max_rank)):
        base = score(replace(start, U=start.U[:, :0], s=start.s[:0], Vt=start.Vt[:0])) if base is None else base
        trial, fit = best_sweep(problem, penalty_at(problem, tau, depth, strength), start, score, strength,
                                max_rank=max_rank, max_sweeps=max_sweeps, tol=tol)
        trials.append(trial)
        if best is None or trial.validation_rmse < best[0].validation_rmse * (1 - 1e-4):
            best, stale = (trial, fit), 0
        elif best[0].validation_rmse < base * (1 - 1e-3):
            stale += 1
        report((position + 1) / len(STRENGTHS), *best)
        if stale == 3 or tau == 0:
            break
    return trials


def best_sweep(problem: Problem, penalty: Penalty, start: Fit, score: Callable[[Fit], float], strength: float, *,
               max_rank: int, max_sweeps: int, tol: float) -> tuple[Trial, Fit]:
    """The iterate of best held-out score on the way down at one strength."""
    best = None
    for fit in descend(problem, penalty, start, max_rank=max_rank, tol=tol):
        error = score(fit)
        if best is None or error < best[0]:
            best = error, fit
        if fit.converged or fit.n_sweeps >= max_sweeps or fit.n_sweeps >= best[1].n_sweeps + 2:
            break
    assert best is not None
    error, fit = best
    return Trial(strength, error, fit.n_sweeps, fit.rank, fit.converged), fit


def refit(problem: Problem, depth: float, strength: float, *, sweeps: int | None, max_rank: int, max_sweeps: int,
          tol: float, report: Callable[[float, Fit], None]) -> tuple[Fit, Penalty]:
    """Fit at one strength, down the same path: ``sweeps`` of them where early stopping chose so, else to convergence."""
    tau = noise_level(problem)
    fit = additive(problem)
    for _, fit in warm_starts(problem, tau, (*(c for c in STRENGTHS if c > strength), strength), max_rank):
        report(0.0, fit)
    penalty = penalty_at(problem, tau, depth, strength)
    limit = sweeps or max_sweeps
    for fit in descend(problem, penalty, fit, max_rank=max_rank, tol=tol):
        report(fit.n_sweeps / limit, fit)
        if fit.n_sweeps >= limit:
            break
    return fit, penalty
