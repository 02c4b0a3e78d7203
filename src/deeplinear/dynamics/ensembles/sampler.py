"""Where the runs of an ensemble start: samplers of matrices, and starts that are given."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ...checks import check_matrix, check_positive, check_shape
from ...compilation import Effort, program
from ...errors import InputError
from ...reals import as_reals

Sampler = Callable[[Array], Array]  # a JAX key ↦ W


class Normal(eqx.Module):
    """A sampler of starts; see `normal_start`."""

    shape: tuple[int, int] = eqx.field(static=True)
    scale: float

    def __call__(self, key: Array) -> Array:
        return self.scale * jax.random.normal(key, self.shape)


def normal_start(shape: tuple[int, int], scale: float) -> Normal:
    """A sampler of matrices with independent entries N(0, scale²), for `ensemble`.

    >>> import deeplinear as dl, jax
    >>> dl.normal_start((2, 3), 1e-3)(jax.random.key(0)).shape
    (2, 3)
    """
    return Normal(check_shape(shape), check_positive(scale, "scale"))


@program(effort=Effort.LEAST)
def draw_starts(sampler: Sampler, key_data: Array, index: Array) -> Array:
    """The starts of the runs ``index``: run i has the key fold_in(key, i)."""
    key = jax.random.wrap_key_data(key_data)
    return jax.vmap(lambda i: sampler(jax.random.fold_in(key, i)))(index)


def sampled_shape(sampler: Sampler) -> tuple[tuple[int, int], np.dtype]:
    """Shape and type of what a sampler draws; `InputError` if these are no real matrices."""
    try:
        drawn = eqx.filter_eval_shape(sampler, jax.random.key(0))
    except TypeError as error:
        raise InputError(
            f"start must be an array (runs, m, n) or a function of one JAX key: {error}."
        ) from None
    if getattr(drawn, "ndim", None) != 2 or not jnp.issubdtype(drawn.dtype, jnp.floating):
        raise InputError(f"start must draw real matrices, got {drawn}.")
    return drawn.shape, np.dtype(drawn.dtype)


def checked_starts(start: ArrayLike) -> np.ndarray:
    """Starts (runs, m, n) that the user gives, as floating-point numbers."""
    starts = as_reals(start, "start")
    if starts.ndim != 3 or 0 in starts.shape:
        raise InputError(
            f"start must be an array (runs, m, n) or a sampler, got shape {starts.shape}."
        )
    usable = np.where(np.isfinite(starts), starts, 0) if starts.dtype.kind == "f" else starts
    # A run that is not finite says so in its ending, and hurts no other.
    return starts.astype(check_matrix(usable[0], "start").dtype)
