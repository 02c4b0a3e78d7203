"""How a gradient becomes a step: plain descent of our own, and every optimizer of optax."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ...errors import InputError
from .loss import FactorLoss, Factors


class AbstractOptimizer(eqx.Module):
    """A step of one run. Its state is a pytree of arrays, one in every lane."""

    @abc.abstractmethod
    def step(
        self, loss: FactorLoss, E: Array, slopes: Factors, state: PyTree, factors: Factors
    ) -> tuple[Factors, PyTree]:
        """The factors and the state after one step."""


class GradientDescent(AbstractOptimizer):
    """W_p ← W_p − η ∂_p L. The state is η."""

    def step(
        self, loss: FactorLoss, E: Array, slopes: Factors, state: PyTree, factors: Factors
    ) -> tuple[Factors, PyTree]:
        return tuple(W - state * G for W, G in zip(factors, slopes, strict=True)), state


class Optax(AbstractOptimizer):
    """An `optax.GradientTransformation`."""

    transformation: Any = eqx.field(static=True)
    extra: bool = eqx.field(static=True)

    def step(
        self, loss: FactorLoss, E: Array, slopes: Factors, state: PyTree, factors: Factors
    ) -> tuple[Factors, PyTree]:
        more = {}
        if self.extra:  # line searches and Polyak's step ask for these
            value = loss(factors)
            more = {"value": value, "grad": slopes, "value_fn": loss}
        updates, new = self.transformation.update(slopes, state, factors, **more)
        # in the types that they had: a loop carries them
        moved = tuple((W + U).astype(W.dtype) for W, U in zip(factors, updates, strict=True))
        return moved, jax.tree.map(lambda x, old: jnp.asarray(x, old.dtype), new, state)


def is_transformation(optimizer: object) -> bool:
    """Whether this is an optimizer in the sense of optax."""
    return callable(getattr(optimizer, "init", None)) and callable(
        getattr(optimizer, "update", None)
    )


def make_optimizer(
    optimizer: object, factors: Factors, runs: int
) -> tuple[AbstractOptimizer, PyTree]:
    """The optimizer, and its state in each of the runs (a leading axis); `InputError` otherwise.

    ``factors``: those of all runs, with a leading axis.
    """
    if is_transformation(optimizer):
        return _from_optax(optimizer, factors)
    dtype = factors[0].dtype
    try:
        steps = np.asarray(optimizer, float)
    except (TypeError, ValueError):
        steps = np.zeros(2)
    boolean = isinstance(optimizer, bool) or getattr(optimizer, "dtype", None) == np.bool_
    if steps.ndim > 1 or boolean or isinstance(optimizer, str) or steps.shape not in ((), (runs,)):
        shown = f"shape {steps.shape}" if isinstance(optimizer, np.ndarray) else repr(optimizer)
        raise InputError(
            "optimizer must be an optax optimizer, such as optax.adam(1e-3), or a positive step "
            f"size, or one for each of the runs ({runs}), got {shown}."
        )
    if not (np.isfinite(steps) & (steps > 0)).all():
        raise InputError(f"optimizer must be a positive, finite step size, got {optimizer!r}.")
    return GradientDescent(), jax.device_put(np.broadcast_to(steps, runs).astype(dtype))


def _from_optax(optimizer: Any, factors: Factors) -> tuple[AbstractOptimizer, PyTree]:
    import optax

    extra = isinstance(optimizer, optax.GradientTransformationExtraArgs)
    one = tuple(jax.ShapeDtypeStruct(W.shape[1:], W.dtype) for W in factors)
    try:
        state = jax.jit(jax.vmap(optimizer.init))(factors)
        own = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), state)
        loss = FactorLoss(lambda W: jnp.sum(W**2), jnp.zeros((), factors[0].dtype))
        jax.eval_shape(
            lambda w, s: Optax(optimizer, extra).step(loss, loss.decay, w, s, w), one, own
        )
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise InputError(
            "optimizer must be an optax GradientTransformation that takes a tuple of matrices: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}."
        ) from error
    return Optax(optimizer, extra), state
