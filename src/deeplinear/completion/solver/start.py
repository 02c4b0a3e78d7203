"""Before the first sweep: line scales, the biases alone, the noise scale τ, the leading triples."""

from dataclasses import replace

import numpy as np

from ..backends.lanes import filled
from ..data.observations import Compressed, Observations
from ..penalty import Penalty
from .balance import centred, orthonormal
from .problem import (
    FitProblem,
    Residual,
    State,
    assemble,
    cols_pass,
    energy,
    look,
    rows_pass,
)

BIAS_SWEEPS = 5
POWER_STEPS = 4
# Extra columns, at least: as many more as fill a vector.
OVERSAMPLING = 4
# Steps for ‖R̃‖₂: 2 % short at the edge of noise.
NORM_STEPS = 7
# Triples that a spectral start asks for at first.
FIRST_TRIPLES = 64
# The least part of a direction that a line search goes.
_SHORTEST = 1e-4


def line_scale(lines: Compressed, power: float) -> np.ndarray:
    """(count_i / mean count)^{power/2}, the scale ρ of each line.

    Lines without entries count as one entry.
    """
    counts = np.maximum(lines.counts, 1).astype(float)
    return (counts / counts.mean()) ** (power / 2)


def zero(observations: Observations, *, biases: bool) -> State:
    """W = 0, and with biases the weighted mean of everything as μ."""
    m, n = observations.shape
    mean = observations.mean if biases else 0.0
    sides, biases_of = (np.zeros((m, 0)), np.zeros((n, 0))), (np.zeros(m), np.zeros(n))
    return assemble(*sides, np.zeros(0), *biases_of, mean, observations.dtype)


def additive(problem: FitProblem) -> State:
    """W = 0 with the biases alone: a few alternations of exact ridge means."""
    state = zero(problem.observations, biases=False)
    if problem.bias_ridge is not None:
        state = replace(state, mean=problem.backend.centre(problem.observations.by_row))
        for _ in range(BIAS_SWEEPS):
            rows_pass(problem, state, state.s, 1)
            cols_pass(problem, state, state.s, 1)
            state = centred(state)
    return state


def leading(
    problem: FitProblem,
    state: State,
    k: int,
    *,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k leading singular triples (U, g, V) of R̃.

    By subspace iteration with `OVERSAMPLING` extra columns or a few more.
    """
    m, n = problem.observations.shape
    width = min(filled(k + OVERSAMPLING), m, n)
    V = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, width)))[0]
    residual = Residual(problem, state)
    for _ in range(POWER_STEPS):
        U = orthonormal(residual.matmul(V))
        B = residual.t_matmul(U)
        V = orthonormal(B)
    A, g, Bt = np.linalg.svd((B.T @ V).astype(float))
    return (U @ A)[:, :k], g[:k], (V @ Bt.T)[:, :k]


def noise_scale(problem: FitProblem, state: State, seed: int = 0) -> float:
    """τ = ‖signs ∘ R̃‖₂, with random signs: what noise alone would reach.

    By Golub–Kahan steps (from below, about 2 % short where it is the edge of many singular values);
    deterministic for a seed.
    """
    return Residual(problem, state, seed + 1).norm(seed, NORM_STEPS)


def spectral_initialization(
    problem: FitProblem, state: State, penalty: Penalty, max_rank: int, seed: int = 0
) -> State:
    """The biases of ``state`` with the leading triples of R̃, soft-thresholded as depth 2 would.

    s = (g − λ)/density where g > λ. Triples are asked for in growing numbers, until they reach λ.
    """
    cap = min(max_rank, *problem.observations.shape)
    k = min(cap, FIRST_TRIPLES)
    U, g, V = leading(problem, state, k, seed=seed)
    while k < cap and g[-1] > penalty.decay:
        k = min(cap, 2 * k)
        U, g, V = leading(problem, state, k, seed=seed)
    keep = g > penalty.decay
    s = (g[keep] - penalty.decay) / problem.density
    root = np.sqrt(s)
    P = U[:, keep] * root / problem.row_scale[:, None]
    Q = V[:, keep] * root / problem.col_scale[:, None]
    new = assemble(P, Q, s, state.row_bias, state.col_bias, state.mean, state.Z.dtype)
    return exact_line_search(problem, state, new)


def exact_line_search(problem: FitProblem, state: State, new: State) -> State:
    """``new`` = ``state`` + W, with W shrunk to the length that minimizes E along it.

    E is a parabola there.
    """
    if not new.rank:
        return new
    seen = look(problem, new)
    pull = float(
        seen.pull[: new.rank].sum()
    )  # ⟨R, W⟩ at the far end, where E = E(0) − pull − square/2
    before = energy(problem, state)
    square = 2 * (before - seen.energy - pull)
    if not square > 0 and problem.losses is None:
        return new
    part = float(np.clip((pull + square) / square, 0.01, 1.0)) if square > 0 else 1.0
    shorter = _shortened(new, part)
    while problem.losses is not None and part > _SHORTEST:  # whose energy is no parabola
        if energy(problem, shorter) <= before:
            break
        part /= 4
        shorter = _shortened(new, part)
    return shorter


def _shortened(state: State, part: float) -> State:
    """``state`` with W times ``part``."""
    root, r = np.sqrt(part), state.rank
    P, Q = (side[:, :r] * root for side in (state.Z, state.Y))
    rest = state.row_bias, state.col_bias, state.mean, state.Z.dtype
    return assemble(P, Q, state.s * part, *rest)
