"""An energy of the user's as the operations that it consists of, its data apart.

So a program that contains it can be kept: it depends on the operations, which are text, and not on
a function, of which only the name is known. Other data of the same shapes compile nothing again.
"""

import collections
import hashlib
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from .compilation import is_known, setting
from .energies import AbstractEnergy, Energy

Tree = TypeVar("Tree")

# The last functions that were recorded, as JAX remembers what it traced.
_MOST = 64
_RECORDED: collections.OrderedDict[object, "tuple[_Operations, list[Array]]"]
_RECORDED = collections.OrderedDict()


class _Operations:
    """The operations of E; equal to those with the same E, E′ and E″ in XLA's words."""

    def __init__(self, jaxpr: ClosedJaxpr, text: str) -> None:
        self.jaxpr = jaxpr.jaxpr
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self.decomposes = "custom_call" in text  # into LAPACK, or what stands for it

    def __call__(self, data: list[Array], W: Array) -> Array:
        constants, inputs = data[: len(self.jaxpr.constvars)], data[len(self.jaxpr.constvars) :]
        return jaxpr_as_fun(ClosedJaxpr(self.jaxpr, constants))(*inputs, W)[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Operations) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class RecordedEnergy(AbstractEnergy):
    """An energy that was traced once; see the head of this module."""

    data: list[Array]
    operations: _Operations = eqx.field(static=True)

    def __call__(self, W: Float[Array | np.ndarray, "m n"]) -> Float[Array, ""]:
        return self.operations(self.data, jnp.asarray(W))


def vmapped(energy: object, function: Callable[..., Tree], axis: int = 0) -> Callable[..., Tree]:
    """``jax.vmap(function, axis, axis)`` of a function that evaluates ``energy`` and decomposes W.

    One after the other where the energy has decompositions of its own: on a batch, jaxlib 0.10 may
    run both at once, and on a CPU of two cores each then waits for a thread that the other has.
    Among decompositions of the library none run at once.
    """
    if not (isinstance(energy, RecordedEnergy) and energy.operations.decomposes):
        return jax.vmap(function, axis, axis)

    def loop(*batches: Tree) -> Tree:
        move = lambda from_, to: lambda x: jnp.moveaxis(x, from_, to)  # noqa: E731
        first = jax.tree.map(move(axis, 0), batches)
        return jax.tree.map(move(0, axis), jax.lax.map(lambda xs: function(*xs), first))

    return loop


def recorded(energy: Energy, shape: tuple[int, ...], dtype: DTypeLike) -> Energy:
    """``energy`` (checked), recorded for W of this shape and type.

    As it is where it is the library's own, holds a tracer, or has no second derivatives.
    """
    if is_known(type(energy)):
        return energy
    data, rest = eqx.partition(energy, eqx.is_array)
    leaves, tree = jax.tree.flatten(data)
    W = jax.ShapeDtypeStruct(shape, dtype)
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in leaves]
    if any(isinstance(x, jax.core.Tracer) for x in leaves):
        return energy

    def value(*inputs: Array) -> Array:
        whole = eqx.combine(jax.tree.unflatten(tree, inputs[:-1]), rest)
        return jnp.reshape(whole(inputs[-1]), ())

    key = (rest, tree, tuple(shapes), W, setting("jax_enable_x64"))
    try:
        known = _RECORDED.get(key)
    except TypeError:  # something in it cannot be compared
        return energy
    if known is None:
        jaxpr = jax.make_jaxpr(value)(*shapes, W)
        if any(isinstance(x, jax.core.Tracer) for x in jaxpr.consts):
            return energy
        with jax.ensure_compile_time_eval():  # kept for later calls: no constants of this trace
            constants = [jnp.asarray(x) for x in jaxpr.consts]
        try:
            text = _text(ClosedJaxpr(jaxpr.jaxpr, constants), shapes, W)
        except Exception:  # any: the function itself is good enough, and says what is wrong
            return energy
        known = _RECORDED[key] = _Operations(jaxpr, text), constants
        if len(_RECORDED) > _MOST:
            _RECORDED.popitem(last=False)
    operations, constants = known
    return RecordedEnergy([*constants, *leaves], operations)


def _text(jaxpr: ClosedJaxpr, shapes: list[jax.ShapeDtypeStruct], W: jax.ShapeDtypeStruct) -> str:
    """E, E′ and E″ Z as XLA gets them: all that the library computes of an energy."""
    operations = _Operations(jaxpr, "")
    fixed = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in jaxpr.consts]

    def whole(data: list[Array], W: Array, Z: Array) -> tuple[Array, Array, Array]:
        slope: Callable[[Array], Array] = jax.grad(lambda X: operations(data, X))
        return operations(data, W), *jax.jvp(slope, (W,), (Z,))

    return jax.jit(whole).lower([*fixed, *shapes], W, W).as_text()
