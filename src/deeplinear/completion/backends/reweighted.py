"""Any loss on any backend: every pass looks at entries through the parabolas that touch their loss.

At η the loss of an entry is touched by ½ ω (η − z)² (see `loss`): a pass over the entries z with
the weights ω lowers the objective, and what it reports is that of the loss itself: the energy is
Σ w ℓ, and R is the matrix of the −w ∂ℓ/∂η. The fit knows nothing of it.
"""

from dataclasses import replace

import numpy as np

from ..data.observations import Compressed, Observations
from ..loss import Columns, EntryLosses, Losses
from .base import AbstractBackend, Pass
from .pairs import at

# Halvings of a step along which the objective of a line does not fall.
_HALVINGS = 20


class Reweighted(AbstractBackend):
    """The passes of an ``inner`` backend over ``observations`` with ``losses``."""

    def __init__(self, inner: AbstractBackend, losses: Losses, observations: Observations) -> None:
        super().__init__(inner.pool)
        self.inner, self.losses, self._seen = inner, losses, observations
        self._lines: dict[int, np.ndarray] = {}
        self._costs: dict[int, EntryLosses] = {}

    def solve(self, lines, Z, Y, mean, ridge, extra, scale, free, steps) -> Pass:
        eta = self._eta(lines, Z, Y, mean)
        touching, energy = self.touching(lines, eta)
        before = Z.copy() if steps and not self.losses.is_bounded else None
        how = mean, ridge, extra, scale, free, steps
        seen = self.inner.solve(touching, Z, Y, *how)
        self.inner.forget(touching)
        if before is not None:
            decay = ridge * np.asarray(scale)[:, None] + extra
            self._halved(lines, before, Z, Y, mean, decay)
        return seen._replace(energy=energy)

    def residual_matmul(self, lines, Z, Y, X, mean, seed) -> np.ndarray:
        touching, _ = self.touching(lines, self._eta(lines, Z, Y, mean))
        out = self.inner.residual_matmul(touching, Z, Y, X, mean, seed)
        self.inner.forget(touching)
        return out

    def draw(self, lines, other, mean, precision, prior, pull, shift, noise):
        raise NotImplementedError("posterior draws are those of the squared loss")

    def leverage(self, lines, mine, theirs, other, ridge, scale, asked) -> np.ndarray:
        return self.inner.leverage(lines, mine, theirs, other, ridge, scale, asked)

    def predict(self, rows, cols, Z, Y, mean) -> np.ndarray:
        return self.inner.predict(rows, cols, Z, Y, mean)

    def centre(self, lines: Compressed) -> float:
        return self.losses.centre(lines.values, lines.weights)

    def touching(self, lines: Compressed, eta: np.ndarray) -> tuple[Compressed, float]:
        """The entries z with weights w ω that touch the losses at ``eta``, and Σ w ℓ."""
        x, w = lines.values, lines.weights
        value, slope, curvature = self._losses(lines).touch(eta)
        if w.size:
            value, weights = value * w, curvature * w
        else:
            weights = curvature
        z = (eta + slope / curvature).astype(x.dtype)
        weights = np.maximum(weights, np.finfo(x.dtype).tiny * 1e6).astype(x.dtype)
        return replace(lines, values=z, weights=weights), float(value.sum())

    def touched(self, Z: np.ndarray, Y: np.ndarray, mean: float) -> Observations:
        """All entries as `touching` gives them at a state."""
        seen = self._seen
        rows, cols = (
            self.touching(lines, self._eta(lines, mine, others, mean))[0]
            for lines, mine, others in ((seen.by_row, Z, Y), (seen.by_col, Y, Z))
        )
        return Observations(rows, cols, seen.shape)

    def _halved(self, lines, before, Z, Y, mean, decay) -> None:
        """Z, in place, on the way from ``before`` where the objective of each line has fallen."""
        old = self._objectives(lines, before, Y, mean, decay)
        for _ in range(_HALVINGS):
            risen = ~(self._objectives(lines, Z, Y, mean, decay) <= old * (1 + 1e-12))
            if not risen.any():
                return
            Z[risen] = (before[risen] + Z[risen]) / 2
        Z[risen] = before[risen]

    def _objectives(self, lines, Z, Y, mean, decay) -> np.ndarray:
        """Σ_j w ℓ + ½ Σ_k decay_k z_k² of every line."""
        value = self._losses(lines).touch(self._eta(lines, Z, Y, mean))[0]
        value = value * lines.weights if lines.weights.size else value
        own = np.bincount(self._line(lines), value, len(Z))
        return own + 0.5 * np.sum(decay * np.square(Z, dtype=float), axis=1)

    def _eta(self, lines: Compressed, Z: np.ndarray, Y: np.ndarray, mean: float) -> np.ndarray:
        return at(self._line(lines), lines.indices, Z, Y, mean).astype(float)

    def _line(self, lines: Compressed) -> np.ndarray:
        """The line of each entry."""
        if id(lines) not in self._lines:
            count = len(lines.indptr) - 1
            self._lines[id(lines)] = np.repeat(np.arange(count, dtype=np.uint32), lines.counts)
        return self._lines[id(lines)]

    def _losses(self, lines: Compressed) -> EntryLosses:
        if id(lines) not in self._costs:
            self._costs[id(lines)] = self.losses.of(lines.values, self._columns(lines))
        return self._costs[id(lines)]

    def _columns(self, lines: Compressed) -> Columns:
        """The column of each entry, if it matters."""
        if not self.losses.by_column:
            return slice(None)
        return lines.indices if lines is self._seen.by_row else self._line(lines)


def with_losses(
    backend: AbstractBackend, losses: Losses | None, observations: Observations
) -> AbstractBackend:
    """``backend`` for these ``losses``; as it is for the squared one (None)."""
    return backend if losses is None else Reweighted(backend, losses, observations)
