"""Functions under JAX's transformations that they do not have: one sentence, and no error from
inside.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree

from .checks import is_traced
from .errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
Values = TypeVar("Values", bound=PyTree)


def needs_values(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, which looks at its arguments' values: `InputError` inside ``jit``, ``vmap`` and
    ``grad``, where there are none.
    """

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if is_traced(args, kwargs):
            name = function.__qualname__.removesuffix(".__init__")
            raise InputError(
                f"{name} looks at the values of its arguments: call it outside jit, vmap and grad."
            )
        return function(*args, **kwargs)

    return checked


@contextmanager
def reverse_only(remedy: str) -> Iterator[None]:
    """What is done in this context cannot be differentiated by forward mode: `NotImplementedError`
    with ``remedy``.
    """
    try:
        yield
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise NotImplementedError(remedy) from None


def forward_only(values: Values, remedy: str) -> Values:
    """``values``, as they are; differentiated by reverse mode they raise `NotImplementedError` with
    ``remedy`` (JAX itself says that a loop is in the way, but not what to do).
    """

    def marked(x: Any) -> Any:
        return _forward_only.bind(x, remedy=remedy) if is_traced(x) else x

    return jax.tree.map(marked, values)


# An identity, linear in its argument, that has no transpose.
_forward_only = Primitive("forward_only")
_forward_only.def_impl(lambda x, *, remedy: x)
_forward_only.def_abstract_eval(lambda x, *, remedy: x)
mlir.register_lowering(_forward_only, lambda context, x, *, remedy: [x])
batching.defvectorized(_forward_only)


def _no_transpose(cotangent: Array, x: Array, *, remedy: str) -> list[Array]:
    raise NotImplementedError(remedy)


ad.deflinear2(_forward_only, _no_transpose)
