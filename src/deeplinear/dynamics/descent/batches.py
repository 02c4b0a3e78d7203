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


class Entries(AbstractDraw):
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
            chosen = _some(pick, self.rows.size, self.batch)
            at = self.rows[chosen], self.cols[chosen]
            scale = self.rows.size / self.batch
            weights = jnp.zeros_like(weights).at[at].set(scale * weights[at])
        if self.noisy:
            target = target + self.noise * jax.random.normal(shake, target.shape, target.dtype)
        return eqx.tree_at(lambda e: (e.weights, e.target), self.energy, (weights, target))


class Measurements(AbstractDraw):
    """Of p measurements b distinct ones, weighted p/b; y_l + noise ξ_l for y_l."""

    energy: Sensing
    noise: Array
    batch: int = eqx.field(static=True)
    noisy: bool = eqx.field(static=True)

    def __call__(self, key: Array) -> Energy:
        pick, shake = jax.random.split(key)
        A, y, weights = self.energy.A, self.energy.y, self.energy.weights
        if self.batch < y.size:
            chosen = _some(pick, y.size, self.batch)
            A, y, weights = A[chosen], y[chosen], weights[chosen] * (y.size / self.batch)
        if self.noisy:
            y = y + self.noise * jax.random.normal(shake, y.shape, y.dtype)
        parts = lambda e: (e.A, e.y, e.weights)  # noqa: E731
        return eqx.tree_at(parts, self.energy, (A, y, weights))


class SampleEnergy(AbstractEnergy):
    """(1/2b) ‖Y − W X‖_F² on b samples."""

    X: Float[Array, "n b"]
    Y: Float[Array, "m b"]

    def __call__(self, W: Float[Array | np.ndarray, "m n"]) -> Float[Array, ""]:
        return 0.5 * jnp.sum((W @ self.X - self.Y) ** 2) / self.X.shape[1]


class Samples(AbstractDraw):
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
            chosen = _some(pick, X.shape[1], self.batch)
            X, Y = X[:, chosen], Y[:, chosen]
        if self.noisy:
            Y = Y + self.noise * jax.random.normal(shake, Y.shape, Y.dtype)
        return SampleEnergy(X, Y)


def _some(key: Array, count: int, batch: int) -> Array:
    """``batch`` distinct numbers below ``count``, all choices alike."""
    if batch == 1:
        return jax.random.randint(key, (1,), 0, count)
    return jax.random.permutation(key, count)[:batch]


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
