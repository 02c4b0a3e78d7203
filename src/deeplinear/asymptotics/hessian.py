"""How flat the training loss is at a solution, and what of the volume that is.

At balanced factors of a W without residuals, the nonzero eigenvalues of the Hessian of the loss on
the factors are N times those of the tangent kernel K = P_Ω A_{N,W} P_Ω, and

    √det g^N = det(K)^{−1/2} · √det(g^N on the solution set):

the volume of the neighbourhood is flatness times the volume along the solutions.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_depth, check_integer, check_integer_depth, check_known, check_matrix
from ..dynamics.factors import check_factors, product
from ..energies import Completion, Energy, Sensing, check_energy
from ..errors import DepthError, InputError
from ..geometry.ball_volume.space import free_directions
from ..geometry.leaf import Imbalance, on_leaf
from ..geometry.metric import inner
from ..transforms import needs_values
from .rates import DENSE, kernel_at, kernel_root, tangent_kernel


@needs_values
def hessian_spectrum(
    energy: Energy, factors: Sequence[Array | np.ndarray], top: int | None = None
) -> Float[np.ndarray, " k"]:
    """Eigenvalues, largest first, of the Hessian of E(W_N ⋯ W_1) in all entries of the factors.

    **Arguments**: ``top``: how many of the largest; None for all, which forms the matrix (at most
    1,500 entries). Otherwise products with the Hessian alone are used, by Lanczos iterations.
    **Normalization**: Euclidean coordinates of the factors, the time of plain gradient descent (N
    times slower than [CMV]'s): descent of step η is stable up to 2/λ_max. **Raises** `InputError`.
    **Source**: Mulayoff, Michaeli 2020; Cohen et al. 2021 for sharpness.

    >>> import deeplinear as dl, numpy as np
    >>> energy = dl.Completion.from_dense(np.diag([4.0, 1.0]))
    >>> factors = dl.balanced_factors(np.diag([4.0, 1.0]), 2)
    >>> dl.asymptotics.hessian_spectrum(energy, factors, top=4).round(4).tolist()
    [8.0, 5.0, 5.0, 2.0]
    """
    factors = check_factors(factors)
    check_energy(energy, product(factors).shape, factors[0].dtype)
    flat, unravel = ravel_pytree(factors)
    slope = jax.grad(lambda x: jnp.reshape(energy(product(unravel(x))), ()))
    size = flat.size
    count = size if top is None else min(check_integer(top, "top"), size)
    if size > DENSE and (top is None or count > size // 4):
        raise InputError(
            f"top must be given for {size} entries, at most {size // 4}: the matrix is not formed."
        )
    if size <= DENSE:
        H = np.asarray(jax.jit(jax.jacfwd(slope))(flat))
        return np.linalg.eigvalsh((H + H.T) / 2)[::-1][:count]
    times = jax.jit(lambda v: jax.jvp(slope, (flat,), (v,))[1])
    return _largest(times, size, flat.dtype, count)


def sharpness(
    W: ArrayLike,
    depth: float,
    energy: Energy | ArrayLike,
    *,
    imbalance: Imbalance = 0.0,
    rank_rtol: float | None = None,
) -> Float[Array, ""]:
    """The sharpness N λ_max(K) of the loss at factors of a solution W, balanced or on a leaf.

    It is the largest eigenvalue of the Hessian on the factors where the residual is 0 (with all
    entries observed N σ_1^{2−2/N}); gradient descent of step η on them is stable up to
    η = 2/sharpness. **Arguments** and **raises** as `tangent_kernel`, `DepthError` at N = ∞.

    >>> import deeplinear as dl, numpy as np
    >>> full = np.ones((2, 2), bool)
    >>> float(dl.asymptotics.sharpness(np.diag([4.0, 1.0]), 2, full))
    8.0
    """
    check_known(depth, "depth")
    check_depth(depth, scalar=True)
    if math.isinf(float(depth)):
        raise DepthError("depth must be finite: sharpness in the factors grows like N.")
    kernel = tangent_kernel(energy, W, depth, imbalance=imbalance, rank_rtol=rank_rtol)
    size = kernel.in_size()
    if size <= DENSE:
        return depth * jnp.linalg.eigvalsh(kernel.as_matrix())[-1]
    return jnp.asarray(depth * _largest(kernel.mv, size, kernel.in_structure().dtype, 1)[0])


def critical_step(
    W: ArrayLike,
    depth: float,
    energy: Energy | ArrayLike | None = None,
    *,
    imbalance: Imbalance = 0.0,
    rank_rtol: float | None = None,
) -> Float[Array, ""]:
    """The critical step of gradient descent at factors of a solution W, η_c = 2/`sharpness`:

        η_c = 2/(N σ_1^{2−2/N})    at balanced factors, with all entries observed.

    Below it descent on the factors converges to them from nearby, above it does not: it goes round
    in a cycle of two steps first. **Arguments**: ``energy``: None for ½‖W − M‖_F², all entries
    observed with weight 1; the others, and **raises**, as `sharpness`. **Normalization**: plain
    descent on the factors, without [CMV]'s 1/N. **Source**: Cohen et al. 2021; Ghosh et al. 2025
    (2502.20531).

    >>> import deeplinear as dl, numpy as np
    >>> float(dl.asymptotics.critical_step(np.diag([4.0, 1.0]), 2))  # 2/(2·4)
    0.25
    """
    seen = np.ones(np.shape(W), bool) if energy is None else energy
    return 2 / sharpness(W, depth, seen, imbalance=imbalance, rank_rtol=rank_rtol)


def _largest(
    times: Callable[[Array], Array], size: int, dtype: DTypeLike, count: int
) -> Float[np.ndarray, " k"]:
    """The largest eigenvalues of a symmetric x ↦ Hx, by Lanczos iterations from a fixed start."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator(
        (size, size), matvec=lambda x: np.asarray(times(jnp.ravel(x))), dtype=np.dtype(dtype)
    )
    start = np.random.default_rng(0).normal(size=size).astype(dtype)
    values = eigsh(operator, count, which="LA", v0=start, return_eigenvectors=False)
    return np.sort(values)[::-1]


def flatness(
    W: ArrayLike,
    depth: ArrayLike,
    energy: Energy | ArrayLike,
    *,
    imbalance: Imbalance = 0.0,
    rank_rtol: float | None = None,
) -> Float[Array, ""]:
    """−½ log det K: the log volume of low loss across the solution set, to leading order.

    It is the limit of e^{−βE} dvol for β → ∞, and −½ log of the pseudo-determinant of the Hessian
    on the factors, but for the factors N. ∞ where K is singular to rounding (a condition number
    beyond 1e30 in float64): at a W of low rank whose kernel misses observed directions.

    **Arguments** and **raises** as `tangent_kernel`, but no other functions of W.

    >>> import deeplinear as dl, numpy as np
    >>> W = np.array([[2.0, 1.0], [0.5, 1.0]])
    >>> full = dl.asymptotics.flatness(W, 3, np.ones((2, 2), bool))
    >>> bool(np.isclose(full, dl.log_volume(W, 3)))  # nothing is free
    True
    """
    if callable(energy) and not isinstance(energy, Completion | Sensing):
        raise InputError("energy must be a Completion, a Sensing or a mask of observed entries.")
    kernel = kernel_at(energy, W, depth, imbalance, rank_rtol)
    # singular values of a root of K: digits of small ones that K itself has lost
    values = jnp.linalg.svd(kernel_root(kernel), compute_uv=False)
    noise = values.size * jnp.finfo(values.dtype).eps * values[0]
    safe = jnp.where(values > noise, values, 1.0)
    return jnp.where(jnp.all(values > noise), -jnp.sum(jnp.log(safe)), jnp.inf)


@needs_values
def log_induced_volume(
    W: ArrayLike,
    depth: ArrayLike,
    energy: Completion | Sensing | ArrayLike,
    *,
    imbalance: Imbalance = 0.0,
) -> float:
    """½ log det of the metric g^N on the directions in which W may move without changing E.

    The volume along the solution set, in its Euclidean coordinates: with weights 1, `log_volume` =
    `flatness` + `log_induced_volume`. **Arguments**: ``energy``: a `Completion` or `Sensing` (W
    must solve it), or a mask of observed entries. **Normalization**: [CMV]'s metric. **Raises**
    `SingularOperatorError` without full rank, `InputError`, `DepthError`.

    >>> import deeplinear as dl, numpy as np
    >>> mask = np.array([[True, False], [False, True]])
    >>> W = np.array([[2.0, 1.0], [0.5, 1.0]])
    >>> parts = dl.asymptotics.flatness(W, 3, mask), dl.asymptotics.log_induced_volume(W, 3, mask)
    >>> bool(np.isclose(sum(parts), dl.log_volume(W, 3)))
    True
    """
    at = np.asarray(check_matrix(W), float)
    on_leaf(depth, imbalance, shape=at.shape, scalar=True)
    if not isinstance(energy, Sensing):
        seen = np.asarray(energy.observed if isinstance(energy, Completion) else energy)
        if seen.shape != at.shape or seen.dtype != bool:
            raise InputError(
                "energy must be a Completion, a Sensing or a mask of booleans, of the shape "
                f"{at.shape} of W, got shape {seen.shape} and dtype {seen.dtype}."
            )
        if seen.all():
            return 0.0
    basis = free_directions(at, energy)
    gram = np.asarray(inner(at, basis[:, None], basis[None], depth, imbalance))
    return float(0.5 * np.linalg.slogdet((gram + gram.T) / 2)[1])


def minimum_hessian_trace(W: ArrayLike, depth: int) -> Float[Array, ""]:
    """The least trace of the Hessian among all factors of W, with all entries observed:

        min tr ∇²L = N (mn)^{1/N} ‖W‖_*^{2(N−1)/N},

    for L = ½‖W_N ⋯ W_1 − W‖_F² and hidden widths of at least min(m, n). Balanced factors are in
    general not the flattest in this sense from N = 3 on. **Raises** `DepthError`, `InputError`.
    **Source**: Gatmiry et al. 2023 (2306.13239); Marion, Chizat 2024.

    >>> import deeplinear as dl, numpy as np
    >>> float(dl.asymptotics.minimum_hessian_trace(np.diag([3.0, 1.0]), 2))  # 2 √4 (3 + 1)
    16.0
    """
    W = check_matrix(W)
    N = check_integer_depth(depth)
    nuclear = jnp.sum(jnp.linalg.svd(W, compute_uv=False))
    return N * math.prod(W.shape) ** (1 / N) * nuclear ** (2 * (N - 1) / N)
