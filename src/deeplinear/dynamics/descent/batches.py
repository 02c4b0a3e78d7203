"""What a step sees of an energy: all of it, some entries or samples, labels with fresh noise."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...checks import check_integer
from ...energies import AbstractEnergy, Completion, Energy, Regression, Sensing
from ...errors import InputError


class AbstractDraw(eqx.Module):
    """A random energy, which each step draws anew.

    A subclass defines ``__call__(key)``, an energy whose expectation is ``energy``, but for a
    constant. ``noisy``: whether it goes on moving at a minimizer that fits all data.
    """

    energy: eqx.AbstractVar[Energy]
    noisy: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def __call__(self, key: Array) -> Energy:
        """The energy of one step."""


class Whole(AbstractDraw):
    """The energy itself, at every step."""

    energy: Energy
    noisy: bool = eqx.field(static=True, default=False)

    def __call__(self, key: Array) -> Energy:
        return self.energy


class AbstractSelection(AbstractDraw):
    """``batch`` of the observations in each step; ``noise`` is the deviation of that of labels."""

    noise: eqx.AbstractVar[Array]
    batch: eqx.AbstractVar[int]

    def chosen(self, key: Array, count: int) -> Array:
        """``batch`` distinct numbers below ``count``, all choices alike."""
        if self.batch == 1:
            return jax.random.randint(key, (1,), 0, count)
        return jax.random.permutation(key, count)[: self.batch]

    def shaken(self, key: Array, labels: Array) -> Array:
        """The labels with fresh noise."""
        if not self.noisy:
            return labels
        return labels + self.noise * jax.random.normal(key, labels.shape, labels.dtype)


class Entries(AbstractSelection):
    """Of |Ω| entries b distinct ones, with the weights |Ω|/b w_ij; M_ij + noise ξ_ij for M_ij."""

    energy: Completion
    rows: Array
    cols: Array
    noise: Array
    batch: int = eqx.field(static=True)
    noisy: bool = eqx.field(static=True)

    def __call__(self, key: Array) -> Energy:
        pick, shake = jax.random.split(key)
        weights, target = self.energy.weights, self.energy.target
        if self.batch < self.rows.size:
            chosen = self.chosen(pick, self.rows.size)
            at = self.rows[chosen], self.cols[chosen]
            scale = self.rows.size / self.batch
            weights = jnp.zeros_like(weights).at[at].set(scale * weights[at])
        changed = weights, self.shaken(shake, target)
        return eqx.tree_at(lambda e: (e.weights, e.target), self.energy, changed)


class Measurements(AbstractSelection):
    """Of p measurements b distinct ones, weighted p/b; y_l + noise ξ_l for y_l."""

    energy: Sensing
    noise: Array
    batch: int = eqx.field(static=True)
    noisy: bool = eqx.field(static=True)

    def __call__(self, key: Array) -> Energy:
        pick, shake = jax.random.split(key)
        A, y, weights = self.energy.A, self.energy.y, self.energy.weights
        if self.batch < y.size:
            chosen = self.chosen(pick, y.size)
            A, y, weights = A[chosen], y[chosen], weights[chosen] * (y.size / self.batch)
        changed = A, self.shaken(shake, y), weights
        return eqx.tree_at(lambda e: (e.A, e.y, e.weights), self.energy, changed)


class SampleEnergy(AbstractEnergy):
    """(1/2b) ‖Y − W X‖_F² on b samples."""

    X: Float[Array, "n b"]
    Y: Float[Array, "m b"]

    def __call__(self, W: Float[Array | np.ndarray, "m n"]) -> Float[Array, ""]:
        return 0.5 * jnp.sum((W @ self.X - self.Y) ** 2) / self.X.shape[1]


class Samples(AbstractSelection):
    """Of p samples b distinct ones; y + noise ξ for the outputs y of each."""

    energy: Regression
    noise: Array
    batch: int = eqx.field(static=True)
    noisy: bool = eqx.field(static=True)

    def __call__(self, key: Array) -> Energy:
        pick, shake = jax.random.split(key)
        assert self.energy.samples is not None
        X, Y = self.energy.samples
        if self.batch < X.shape[1]:
            chosen = self.chosen(pick, X.shape[1])
            X, Y = X[:, chosen], Y[:, chosen]
        return SampleEnergy(X, self.shaken(shake, Y))


def make_draw(energy: Energy, batch: int | None, noise: float, dtype: np.dtype) -> AbstractDraw:
    """The draw of a (checked) energy; `InputError` where it has no entries or samples to draw."""
    if batch is None and noise == 0:
        return Whole(energy)
    data: Completion | Sensing | Regression
    if isinstance(energy, Completion):
        rows, cols = np.nonzero(np.asarray(energy.weights))
        count = rows.size
    elif isinstance(energy, Sensing):
        count = energy.y.size
    elif isinstance(energy, Regression) and energy.samples is not None:
        count = energy.samples[0].shape[1]
    else:
        name = "batch" if batch is not None else "label_noise"
        raise InputError(
            f"{name} needs data to draw from: a Completion, a Sensing, or a Regression made with "
            f"keep_samples=True, got {type(energy).__name__}."
        )
    data = energy
    size = count if batch is None else check_integer(batch, "batch")
    if size > count:
        raise InputError(f"batch must be at most {count}, the number of observations, got {size}.")
    data = jax.tree.map(lambda x: x.astype(dtype), data)
    spread = jax.device_put(np.asarray(noise, dtype))
    if isinstance(data, Completion):
        rows, cols = jax.device_put(rows), jax.device_put(cols)
        return Entries(energy=data, rows=rows, cols=cols, noise=spread, batch=size, noisy=noise > 0)
    if isinstance(data, Sensing):
        return Measurements(energy=data, noise=spread, batch=size, noisy=noise > 0)
    return Samples(energy=data, noise=spread, batch=size, noisy=noise > 0)
