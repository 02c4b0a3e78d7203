"""What is written down of a run at chosen steps: numbers, not the trajectory."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike

from ...checks import check_integer
from ...energies import Completion, Energy
from ...errors import InputError
from ..coordinates import partial_products
from ..factors import conserved
from .loss import FactorLoss, Factors, multiplied, squared_norm

# Up to this many entries of all factors the Hessian is formed.
DENSE = 64

Observer = Callable[[Factors], Array]


class Kernel(eqx.Module):
    """The tangent kernel of the factors on some entries of W, weighted by ``root``."""

    rows: Array
    cols: Array
    root: Array

    @classmethod
    def of(cls, energy: Energy, shape: tuple[int, int], dtype: np.dtype) -> "Kernel":
        weights = np.ones(shape)
        if isinstance(energy, Completion):
            weights = np.asarray(energy.weights)
        rows, cols = np.nonzero(weights)
        root = np.sqrt(weights[rows, cols]).astype(dtype)
        return cls(*(jax.device_put(x) for x in (rows, cols, root)))

    def __call__(self, factors: Factors) -> Array:
        """K = (1/N) Σ_p √w [L_p L_pᵀ]_{ik} [R_pᵀ R_p]_{jl} √w, L_p above and R_p below layer p."""
        below, above = partial_products(factors)
        m, n = factors[-1].shape[0], factors[0].shape[1]
        total = jnp.zeros((self.root.size,) * 2, self.root.dtype)
        for L, R in zip(above, below, strict=True):
            left = jnp.eye(m, dtype=total.dtype) if L is None else L @ L.T
            right = jnp.eye(n, dtype=total.dtype) if R is None else R.T @ R
            total += left[self.rows[:, None], self.rows] * right[self.cols[:, None], self.cols]
        return total * self.root[:, None] * self.root / len(factors)


def sharpness(loss: FactorLoss, factors: Factors) -> Array:
    """The largest eigenvalue of the Hessian of L in all entries of the factors."""
    flat, unravel = ravel_pytree(factors)
    slope = jax.grad(lambda x: loss(unravel(x)))
    if flat.size <= DENSE:
        H = jax.jacfwd(slope)(flat)
        return jnp.linalg.eigvalsh((H + H.T) / 2)[-1]
    from jax.experimental.sparse.linalg import lobpcg_standard  # half a second to import

    times = jax.vmap(lambda v: jax.jvp(slope, (flat,), (v,))[1], 1, 1)
    start = jax.random.normal(jax.random.key(0), (flat.size, 1), flat.dtype)
    return lobpcg_standard(times, start, m=200)[0][0]


class Recorder(eqx.Module):
    """Quantities by name, and the steps at which they are recorded.

    ``loss`` L, ``energy`` E, ``gradient`` ‖∇L‖_F, ``W``, ``factors``, ``singular_values`` of W,
    ``sharpness``, ``imbalance`` max_p ‖W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ‖_F, ``ntk``.
    """

    steps: Array
    kernel: Kernel | None
    names: tuple[str, ...] = eqx.field(static=True)
    observers: tuple[tuple[str, Observer], ...] = eqx.field(static=True)

    def __call__(self, loss: FactorLoss, factors: Factors) -> dict[str, Any]:
        """All of them at one point."""
        found: dict[str, Any] = {}
        for name in self.names:
            found[name] = self.one(name, loss, factors)
            if name in ("singular_values", "sharpness"):
                # One decomposition after the other: batches of them must not run at once (see
                # `recorded.vmapped`), and only what depends on another waits for it.
                total = jnp.sum(found[name])
                wait = jnp.where(jnp.isfinite(total), 0 * total, 0.0)
                factors = tuple(W + wait for W in factors)
        return found | {name: jnp.asarray(observe(factors)) for name, observe in self.observers}

    def one(self, name: str, loss: FactorLoss, factors: Factors) -> Any:
        if name == "loss":
            return loss(factors)
        if name == "energy":
            return loss.energy_of(multiplied(factors))
        if name == "gradient":
            return jnp.sqrt(squared_norm(loss.slopes(factors)[2]))
        if name == "W":
            return multiplied(factors)
        if name == "factors":
            return factors
        if name == "singular_values":
            return jnp.linalg.svd(multiplied(factors), compute_uv=False)
        if name == "sharpness":
            return sharpness(loss, factors)
        if name == "imbalance":
            gaps = [jnp.linalg.norm(D) for D in conserved(factors)]
            return reduce(jnp.maximum, gaps, jnp.zeros((), factors[0].dtype))
        assert self.kernel is not None
        return self.kernel(factors)


NAMES = (
    *("loss", "energy", "gradient", "W", "factors", "singular_values", "sharpness"),
    *("imbalance", "ntk"),
)


def make_recorder(
    records: Sequence[str | Mapping[str, Observer]],
    at: ArrayLike | None,
    first: int,
    last: int,
    energy: Energy,
    factors: Factors,
) -> Recorder:
    """What was asked for, checked; ``factors`` of one run."""
    if isinstance(records, str | Mapping):
        records = (records,)
    names = tuple(dict.fromkeys(x for x in records if isinstance(x, str)))
    own: dict[str, Observer] = {}
    for x in records:
        if isinstance(x, Mapping) and all(map(callable, x.values())):
            own |= x
        elif not isinstance(x, str) or x not in NAMES:
            raise InputError(
                f"records must be names among {', '.join(NAMES)}, or a mapping of names to "
                f"functions of the factors, got {x!r}."
            )
    steps = _steps(at, first, last) if names or own else np.zeros(0, np.int32)
    shape = factors[-1].shape[0], factors[0].shape[1]
    kernel = Kernel.of(energy, shape, factors[0].dtype) if "ntk" in names else None
    return Recorder(jax.device_put(steps), kernel, names, tuple(own.items()))


def _steps(at: ArrayLike | None, first: int, last: int) -> np.ndarray:
    """The steps at which records are taken, increasing, in first … last."""
    if at is None:
        return np.unique(np.linspace(first, last, 101).astype(np.int32))
    if np.ndim(at) == 0:
        every = check_integer(at, "record_at")
        return np.arange(-(-first // every) * every, last + 1, every, dtype=np.int32)
    steps = np.asarray(at)
    if steps.ndim != 1 or steps.dtype.kind not in "iu" or steps.size == 0:
        raise InputError(f"record_at must be one integer, or a list of them, got {at!r}.")
    if (steps < first).any() or (steps > last).any():
        raise InputError(
            f"record_at must lie in {first} … {last}, the steps of this run, counted from the "
            f"start of training, got {steps.min()} … {steps.max()}."
        )
    return np.unique(steps).astype(np.int32)
