"""Random low-rank matrices and their completion without noise, for the experiments on recovery."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ...completion.data.observations import Observations
from ...completion.solver.fit import LowRankFit, fit
from ...dynamics.factors import balanced_factors
from ...dynamics.flow import factor_flow
from ...dynamics.results import FlowResult
from ...energies import Completion
from ...errors import ImbalanceWarning
from ...labels import short_depth_label

# Weak enough for errors of 1e-6 where a matrix is recovered.
LAST_STRENGTH = 5e-9


@dataclass(frozen=True)
class RecoveryProblem:
    """A d×d truth with ‖M‖_F = d (entries of unit mean square), and the mask of observed ones."""

    truth: np.ndarray
    mask: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator, d: int, rank: int, entries: int) -> "RecoveryProblem":
        """Factors with N(0, 1) entries, and ``entries`` positions drawn without replacement."""
        truth = rng.normal(size=(d, rank)) @ rng.normal(size=(rank, d))
        mask = np.zeros(d * d, bool)
        mask[rng.choice(d * d, entries, replace=False)] = True
        return cls(truth * (d / np.linalg.norm(truth)), mask.reshape(d, d))

    @property
    def energy(self) -> Completion:
        rows, cols = np.nonzero(self.mask)
        return Completion(rows, cols, self.truth[self.mask], self.truth.shape)

    @property
    def determined(self) -> bool:
        """Whether every row and column has as many entries as the rank: else it cannot be known."""
        rank = np.linalg.matrix_rank(self.truth)
        return bool(min(self.mask.sum(0).min(), self.mask.sum(1).min()) >= rank)

    def error(self, W: np.ndarray) -> float:
        """‖W − M‖_F/‖M‖_F."""
        return float(np.linalg.norm(W - self.truth) / np.linalg.norm(self.truth))


def explicit(seen: RecoveryProblem, depth: float, *, max_rank: int) -> np.ndarray:
    """min (λN/2) Σ σ_i^{2/N} over the matrices that agree with what is seen: the minimizer of E +
    the same for λ → 0.

    Depth 2 is the nuclear norm: λ falls in half-octaves, one sweep each, and then by factors of
    √10, down to 10⁻⁴. At a larger depth `fit` reaches the last λ in stages of its own. The rank is
    found; ``max_rank`` is a cap.
    """
    rows, cols = np.nonzero(seen.mask)
    entries = Observations.from_triples(rows, cols, seen.truth[seen.mask], seen.truth.shape)
    common: dict[str, Any] = {
        "depth": depth,
        "bias_ridge": None,
        "weighted_trace_norm": 0.0,
        "smoothing": 0.0,
        "max_rank": max_rank,
        "threads": 1,
    }
    if depth > 2:
        result = fit(entries, **common, strength=LAST_STRENGTH, max_sweeps=1000, tol=1e-9)
        return result.left @ result.right.T
    start: LowRankFit | None = None
    way = 2.0 ** -np.arange(0, 8, 0.5)
    for strength in way:
        start = fit(entries, **common, strength=float(strength), max_sweeps=1, start=start)
    # in small steps, for it converges slowly where it does not recover, and grows at the ends alone
    for factor in 10.0 ** -np.arange(0, 4.1, 0.5):
        last: dict[str, Any] = {"strength": float(way[-1] * factor), "max_sweeps": 60, "tol": 1e-6}
        start = fit(entries, **common, **last, start=start)
    assert start is not None
    return start.left @ start.right.T


def train(
    seen: RecoveryProblem,
    depth: int,
    scale: float,
    *,
    error: float,
    seed: int,
    moments: int = 0,
    max_steps: int = 8000,
) -> tuple[FlowResult, FlowResult | None]:
    """The flow of the factors from a balanced start N(0, scale²), to a mean square error of
    ``error`` on the entries seen; and, if ``moments`` > 0, the same flow again, saved at that many
    equally spaced times.
    """
    energy = seen.energy
    noise = np.random.default_rng(seed).normal(size=seen.truth.shape)
    factors = balanced_factors(scale * noise, depth, jax.random.key(seed))
    stop = 0.5 * int(seen.mask.sum()) * error
    end = factor_flow(energy, factors, stop_energy=stop, rtol=1e-3, max_steps=max_steps)
    if not moments:
        return end, None
    ts = np.linspace(0, float(end.t_end), moments)
    return end, factor_flow(energy, factors, t1=ts[-1], saveat=ts, rtol=1e-3)


def unbalanced_flow(energy: Completion, factors: Sequence[jax.Array], **options: Any) -> FlowResult:
    """`factor_flow` of factors with independent entries, which are on no leaf: not a surprise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImbalanceWarning)
        return factor_flow(energy, factors, **options)


def degrees_of_freedom(d: int, rank: int | np.ndarray) -> float | np.ndarray:
    """r (2d − r), the dimension of the d×d matrices of rank r."""
    return rank * (2 * d - rank)


def method_label(depth: float) -> str:
    """The name of a depth with vanishing weight decay."""
    return "nuclear norm (N = 2)" if depth == 2 else short_depth_label(depth)
