"""The result of a training."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...status import Status
from .lanes import Run


@dataclasses.dataclass(frozen=True)
class DescentResult:
    """The result of `descend`; NumPy arrays, the run first where there are several.

    - ``factors``: (W_1, …, W_N) after the last step; ``W``: their product.
    - ``energy``: E(W), without weight decay; ``loss``: L = E + (λ/2) Σ ‖W_p‖²; ``gradient``:
      ‖∇L‖_F on the factors. Of the whole energy, also where steps saw a part of it.
    - ``status``: a code of `Status`: ``converged``, ``cycling`` (with its ``period``, otherwise 0),
      ``steps`` (all were taken), ``energy``, ``diverged``, ``not_finite``. ``steps``: how many were
      taken in all.
    - ``records``: by name, at the steps ``record_steps``, along the first axis (the second where
      there are several runs); NaN at steps that a run did not get to.
    - ``state``: what `descend` needs to go on.
    """

    factors: tuple[np.ndarray, ...]
    W: np.ndarray
    energy: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    status: np.ndarray
    period: np.ndarray
    steps: np.ndarray
    record_steps: np.ndarray
    records: Mapping[str, Any]
    state: Run = dataclasses.field(repr=False)

    @property
    def is_batch(self) -> bool:
        """Whether there are several runs."""
        return self.W.ndim == 3

    @property
    def depth(self) -> int:
        """N."""
        return len(self.factors)

    @property
    def singular_values(self) -> np.ndarray:
        """Those of W, descending; NaN where W is not finite."""
        finite = np.isfinite(self.W).all((-2, -1))
        s = np.linalg.svd(np.where(finite[..., None, None], self.W, 0.0), compute_uv=False)
        return np.where(finite[..., None], s, np.nan)

    @property
    def converged(self) -> np.ndarray:
        """Which runs converged, or came to the energy asked for."""
        return (self.status == Status.converged) | (self.status == Status.energy)

    @property
    def counts(self) -> dict[str, int]:
        """How many runs ended for which reason."""
        codes, numbers = np.unique(self.status, return_counts=True)
        return {Status(code).name: int(number) for code, number in zip(codes, numbers, strict=True)}

    def __repr__(self) -> str:
        m, n = self.W.shape[-2:]
        what = f"{m}×{n}, depth {self.depth}"
        if self.is_batch:
            counts = ", ".join(f"{name}: {number}" for name, number in self.counts.items())
            return f"DescentResult({len(self.W):,} runs, {what}; {counts})"
        ending = Status(int(self.status)).name
        if self.period:
            ending += f" with period {int(self.period)}"
        s = self.singular_values
        noise = max(m, n) * np.finfo(s.dtype).eps
        rank = "unknown" if np.isnan(s).any() else int(np.sum(s > noise * s[0]))
        return (
            f"DescentResult({what}: {ending} after {int(self.steps):,} steps; energy "
            f"{float(self.energy):.3g}, rank {rank})"
        )
