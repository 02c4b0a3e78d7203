"""The options of a fit, in one record with their defaults, checked once."""

import math
from dataclasses import dataclass, replace
from typing import Any

from ...depths import check_depth
from ...errors import InputError
from ..backends.open import DENSE_CELLS
from ..data.observations import Observations
from ..loss import Losses

DEFAULT_RANK = 50
# Fits below this strength are nearly exact.
EXACT = 1e-2
# Conjugate-gradient steps per line and sweep, and for nearly exact data, where lines with few
# entries are badly conditioned.
STEPS = 2
EXACT_STEPS = 5


@dataclass(frozen=True)
class FitOptions:
    """What the result of a fit depends on, besides the entries.

    - ``depth`` N: real, ≥ 1, or ``math.inf`` (where the penalty is λ Σ log σ_k).
    - ``strength``: λ/τ at depth 2 and, at any depth, the slope of the penalty at the noise scale
      σ = τ/density in units of τ, with τ the spectral norm of the residual of the biases alone
      under random signs; multiplying the data by a constant changes nothing. ``decay`` gives λ
      itself instead.
    - ``max_rank``: a cap; below it the penalty, or an early stop, makes the rank. Default
      min(m, n, 50) (a `path` may double it). Below depth 2 every rank is used.
    - ``bias_ridge`` β, in units of weights; None fits W alone, without mean and biases.
    - ``smoothing``: the floor ε of the slope λ(σ + ε)^{2/N−1} in units of the noise scale; by
      default 0.3 · ``strength``, at most 0.1: it lets weak components live long enough to prove
      themselves.
    - ``weighted_trace_norm`` α sets ρ_i², κ_j² to (count / mean count)^α, so that lines with many
      entries are shrunk more (0: off). Source: Salakhutdinov and Srebro, NIPS 2010.
    - ``tol``: the relative gain of a sweep that counts as none. ``max_sweeps``: a limit.
    - ``patience``: sweeps without a better held-out error that end a fit.
    - ``steps``: conjugate-gradient steps per line and sweep (default 2, or 5 below strength 0.01).
    - ``seed``: of power iterations.
    - ``column_noise``: judge held-out errors by a noise level of each column
      (`column_noise.column_error`), not by their mean square.
    - ``losses``: what entries cost (`Losses`); None is the squared error. Needs depth ≥ 2.

    **Raises** `InputError` for values out of range.
    """

    depth: float = 3.0
    strength: float = 0.5
    decay: float | None = None
    max_rank: int | None = None
    bias_ridge: float | None = 2.0
    smoothing: float | None = None
    weighted_trace_norm: float = 0.5
    tol: float = 1e-6
    max_sweeps: float = 200
    patience: float = 3
    steps: int | None = None
    seed: int = 0
    column_noise: bool = False
    losses: Losses | None = None

    def __post_init__(self) -> None:
        check_depth(self.depth, scalar=True)
        for name in ("strength", "decay", "bias_ridge"):
            value = getattr(self, name)
            if value is not None and not (0 <= value < math.inf):
                raise InputError(f"{name} must be a finite number ≥ 0, got {value!r}.")
        for name, least in (("max_rank", 0), ("max_sweeps", 1), ("patience", 1), ("steps", 1)):
            value = getattr(self, name)
            if value not in (None, math.inf) and (value != int(value) or value < least):
                raise InputError(f"{name} must be an integer ≥ {least}, got {value!r}.")
        if not self.tol >= 0:
            raise InputError(f"tol must be ≥ 0, got {self.tol!r}.")
        for name in ("weighted_trace_norm", "smoothing"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} must lie between 0 (off) and 1, got {value!r}.")

    @property
    def convex(self) -> bool:
        """Whether the penalty is convex without being the nuclear norm: every rank is used."""
        return self.depth < 2

    def for_data(self, observations: Observations, *, flow: bool = False) -> "FitOptions":
        """With the defaults that depend on the data and on each other filled in.

        A ``flow`` keeps to its rank at every depth.
        """
        convex = self.convex and not flow
        limit = min(observations.shape)
        if observations.nnz == 0:
            raise InputError("observations must hold at least one entry, got none.")
        check_rank(self.max_rank, observations.shape)
        if convex and self.max_rank not in (None, limit):
            raise InputError(
                f"max_rank must be None below depth 2 (got depth {self.depth:g}), where every rank "
                "is used."
            )
        if convex and math.prod(observations.shape) > DENSE_CELLS:
            m, n = observations.shape
            raise InputError(
                f"depth must be ≥ 2 for a matrix of {m} × {n}, got {self.depth:g}: below, the "
                "dense matrix is formed."
            )
        if convex and self.losses is not None:
            raise InputError(
                f"depth must be ≥ 2 for losses other than squared errors, got {self.depth:g}."
            )
        exact = self.decay is None and self.strength < EXACT
        rank = min(limit, DEFAULT_RANK) if self.max_rank is None else self.max_rank
        return replace(
            self,
            max_rank=limit if convex else rank,
            steps=(EXACT_STEPS if exact else STEPS) if self.steps is None else self.steps,
        )

    @property
    def rank_cap(self) -> int:
        """``max_rank``, once it is filled in."""
        assert self.max_rank is not None, "call for_data first"
        return self.max_rank


def check_rank(max_rank: int | None, shape: tuple[int, int]) -> None:
    """`InputError` for a cap above the rank of any matrix of this ``shape``."""
    limit = min(shape)
    if max_rank is not None and max_rank > limit:
        raise InputError(
            f"max_rank must be at most min(m, n) = {limit}, got {max_rank}: lower it, or leave it "
            "out."
        )


def for_depth(options: dict[str, Any], depth: float) -> dict[str, Any]:
    """``options`` for one of several depths: a cap on the rank is one of the depths from 2 on."""
    return options | {"max_rank": None} if depth < 2 else options
