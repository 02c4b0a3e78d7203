"""The balancing flow: along the factorizations of one W, to the balanced ones."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import as_array, check_integer, check_positive
from ..compilation import program
from ..labelled import Numbers
from ..status import Status
from ..transforms import needs_values
from .factors import check_factors, conserved, product

Factors = tuple[Array, ...]

# Beyond this W has not stood still, relatively: from widely different layers in float32, say.
_DRIFT = {"float64": 1e-9, "float32": 1e-3}


class _Balancing(NamedTuple):
    factors: Factors
    t: Array
    imbalance: Array
    drift: Array
    rate: Array
    status: Array


class Balancing(Numbers, _Balancing):
    """The end of a balancing flow: what `balancing_flow` returns.

    - ``factors``: (W_1, …, W_N), whose product is that of the start. ``t``: the time they are at.
    - ``imbalance``: max_p ‖D_p‖_F there. ``drift``: ‖W − W_start‖_F/‖W_start‖_F.
    - ``rate``: that at which imbalances decay near the balanced point, e^{−rate · t}; 0 where some
      decay like 1/t only.
    - ``status``: a code of `Status`; ``converged``.
    """

    _axis = "place"

    @property
    def converged(self) -> Array:
        return Status.succeeded(self.status)


@needs_values
def balancing_flow(
    factors: Sequence[Array | np.ndarray],
    *,
    t1: float = math.inf,
    tol: float = 1e-8,
    max_steps: int = 100_000,
) -> Balancing:
    """The gradient flow of ½ Σ_p ‖W_p‖_F² along the fibre of W = W_N ⋯ W_1,

        Ẇ_p = D_p W_p − W_p D_{p−1},   D_p = W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ,  D_0 = D_N = 0,

    on which W stands still. It ends at balanced factors (D = 0), the shortest ones of the fibre
    where all layers are invertible; imbalances then decay at last at the rate

        min_{i ≤ j, k} 2 (s_i² + s_j² − 2 s_i s_j cos(πk/N)) = 4 σ_d^{2/N} (1 − cos(π/N)),

    s = σ^{1/N}, and like 1/t in hidden directions that W does not use.

    **Arguments**: ``factors`` of any widths, ``t1`` a time to end at; by default the flow goes on
    until max_p ‖D_p‖_F ≤ ``tol`` Σ_p ‖W_p‖_F².

    **Returns** a `Balancing`, always with a ``status``. **Raises** `InputError`.

    **Normalization**: the time of this flow is its own. **Accuracy**: ``drift`` says how far W has
    moved, 1e−10 or so in float64; beyond 1e−9 (float32: 1e−3) the status is ``failed``.

    **Source**: Helmke and Moore, *Optimization and dynamical systems*, 1994; 2511.01137 for deep
    networks; the rate: linearized, in the singular frames a chain of N − 1 coupled equations.

    >>> import deeplinear as dl, numpy as np
    >>> W1, W2 = np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([[0.5, 0.2], [0.0, 1.0]])
    >>> found = dl.balancing_flow((W1, W2))
    >>> bool(found.converged), bool(abs(dl.product(found.factors) - W2 @ W1).max() < 1e-10)
    (True, True)
    """
    y0 = check_factors(factors)
    dtype = jnp.result_type(*y0)
    y0 = tuple(jnp.asarray(W, dtype) for W in y0)
    end = t1 if t1 == math.inf else check_positive(t1, "t1")
    tol, max_steps = check_positive(tol, "tol"), check_integer(max_steps, "max_steps")
    start = product(y0)
    found, t, imbalance, balanced = _flow(y0, as_array(end, dtype), as_array(tol, dtype), max_steps)
    drift = jnp.linalg.norm(product(found) - start) / jnp.maximum(
        jnp.linalg.norm(start), jnp.finfo(dtype).tiny
    )
    status = Status.max_steps
    if not float(drift) <= _DRIFT[np.dtype(dtype).name]:
        status = Status.failed  # W was lost to rounding, or is not finite
    elif bool(balanced):
        status = Status.converged
    elif float(t) >= end:
        status = Status.reached_t1
    return Balancing(found, t, imbalance, drift, _rate(found), jnp.asarray(status, jnp.int32))


def _imbalance(factors: Factors) -> Array:
    gaps = [jnp.linalg.norm(D) for D in conserved(factors)]
    return jnp.max(jnp.stack(gaps)) if gaps else jnp.zeros((), factors[0].dtype)


def _field(t: ArrayLike, factors: Factors, args: None) -> Factors:
    D: list[Array | None] = [None, *conserved(factors), None]
    out = []
    for p, W in enumerate(factors):
        below, above = D[p], D[p + 1]
        velocity = jnp.zeros_like(W) if above is None else above @ W
        out.append(velocity if below is None else velocity - W @ below)
    return tuple(out)


@program
def _flow(
    factors: Factors, t1: Array, tol: Array, max_steps: int
) -> tuple[Factors, Array, Array, Array]:
    """The last factors, their time and imbalance, and whether that is what was asked for."""
    eps = float(jnp.finfo(t1.dtype).eps)
    rtol = (4e3 if eps < 1e-10 else 50) * eps  # W drifts by less than a hundred times as much

    def balanced(t: ArrayLike, y: Factors, args: None, **_: object) -> Array:
        return _imbalance(y) <= tol * jnp.sum(jnp.stack([jnp.sum(W**2) for W in y]))

    already = balanced(0.0, factors, None)
    solution = dfx.diffeqsolve(
        dfx.ODETerm(_field),
        dfx.Dopri8(),
        0.0,
        jnp.where(already, 0.0, t1),
        None,
        factors,
        saveat=dfx.SaveAt(t1=True),
        stepsize_controller=dfx.PIDController(
            rtol=rtol,
            atol=rtol * jnp.sqrt(jnp.mean(jnp.concatenate([W.ravel() for W in factors]) ** 2)),
        ),
        event=dfx.Event(balanced),
        max_steps=max_steps,
        throw=False,
    )
    y = jax.tree.map(lambda x: x[-1], solution.ys)
    stopped = already | (solution.result == dfx.RESULTS.event_occurred)
    return y, solution.ts[-1], _imbalance(y), stopped


def _rate(factors: Factors) -> Float[Array, ""]:
    """See `balancing_flow`; from the singular values that balanced factors of W would have."""
    N = len(factors)
    if N == 1:
        return jnp.asarray(jnp.inf, factors[0].dtype)
    s = jnp.linalg.svd(product(factors), compute_uv=False)
    hidden = max(W.shape[0] for W in factors[:-1])
    used = s[hidden - 1] if hidden <= s.size else jnp.zeros((), s.dtype)
    noise = s.size * jnp.finfo(s.dtype).eps * s[0]
    return jnp.where(used > noise, 4 * used ** (2 / N) * (1 - math.cos(math.pi / N)), 0.0)
