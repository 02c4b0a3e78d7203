"""Factors of a deep linear network, and how they relate to their product.

Layer order, here and everywhere: ``factors = (W_1, …, W_N)`` with W_1 first, the one that acts
first on the input; the product is W_N ⋯ W_1.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import RandomKey, check_integer, check_key, check_matrix, one_precision
from ..errors import DepthError, InputError


def product(factors: Sequence[Array | np.ndarray]) -> Float[Array, "m n"]:
    """The end-to-end matrix W = W_N ⋯ W_1 of ``factors = (W_1, …, W_N)``.

    >>> import jax.numpy as jnp
    >>> product([jnp.array([[1.0, 2.0]]), jnp.array([[3.0], [4.0]])]).tolist()
    [[3.0, 6.0], [4.0, 8.0]]
    """
    return reduce(lambda W, W_p: W_p @ W, check_factors(factors))


def check_factors(factors: Sequence[Array | np.ndarray]) -> tuple[Array, ...]:
    """``factors`` as a tuple of finite matrices that can be multiplied; `InputError` otherwise."""
    if len(factors) == 0:
        raise InputError("factors must hold at least one matrix, got none.")
    checked = tuple(check_matrix(W, f"factors[{p}]") for p, W in enumerate(factors))
    for p, (A, B) in enumerate(pairwise(checked)):
        if B.shape[1] != A.shape[0]:
            raise InputError(
                f"factors[{p + 1}] of shape {B.shape} cannot follow factors[{p}] of shape "
                f"{A.shape}: "
                "the order is (W_1, …, W_N) and the product W_N ⋯ W_1."
            )
    return one_precision(checked)


def balanced_factors(
    W: ArrayLike,
    depth: int | float,
    key: RandomKey | None = None,
    *,
    width: int | None = None,
) -> tuple[Array, ...]:
    """Balanced factors of W = U Σ Vᵀ at an integer depth N:

        W_p = Q_p Σ^{1/N} Q_{p−1}ᵀ,   Q_0 = V, Q_N = U, the others orthogonal,

    so that W_{p+1}ᵀ W_{p+1} = W_p W_pᵀ and W_N ⋯ W_1 = W.

    **Arguments**: ``W`` is m×n. ``key``, a JAX random key or an integer seed, draws
    Q_1 … Q_{N−1} from the Haar measure (None: identities). ``width`` is the number of hidden units,
    at least min(m, n), which is the default.

    **Raises** `DepthError` where depth is not an integer ≥ 1, `InputError` for a width too small to
    hold W.

    **Source**: Arora, Cohen, Hazan 2018; Bah et al. 2019, Definition 1.

    >>> import jax, jax.numpy as jnp
    >>> W = jnp.array([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]])
    >>> factors = balanced_factors(W, 3, jax.random.key(0))
    >>> [f.shape for f in factors], bool(abs(product(factors) - W).max() < 1e-5)
    ([(2, 3), (2, 2), (2, 2)], True)
    """
    W = check_matrix(W)
    if isinstance(depth, bool) or not float(depth).is_integer() or depth < 1:
        raise DepthError(
            f"depth must be an integer ≥ 1 for factors, got {depth!r}: use gradient_flow for other "
            "depths."
        )
    N = int(depth)
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    k = s.size
    h = k if width is None else check_integer(width, "width")
    if h < k:
        raise InputError(f"width must be at least min(m, n) = {k}, got {width}.")
    key = None if key is None else check_key(key)
    # Q_0 = V, Q_1 … Q_{N−1} orthogonal (first k columns of h×h), Q_N = U
    frames = [Vt.T]
    for p in range(N - 1):
        if key is None:
            frames.append(jnp.eye(h, k, dtype=W.dtype))
        else:
            frames.append(
                jax.random.orthogonal(jax.random.fold_in(key, p), h, dtype=W.dtype)[:, :k]
            )
    frames.append(U)
    root = s ** (1 / N)
    return tuple((frames[p + 1] * root) @ frames[p].T for p in range(N))


def imbalance(factors: Sequence[Array | np.ndarray]) -> Float[Array, ""]:
    """max_p ‖W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ‖_F: zero for balanced factors.

    The flow without weight decay conserves it.

    >>> import jax.numpy as jnp
    >>> round(float(imbalance([2 * jnp.eye(2), jnp.eye(2)])), 3)
    4.243
    """
    factors = check_factors(factors)
    gaps = [jnp.linalg.norm(B.T @ B - A @ A.T) for A, B in pairwise(factors)]
    return jnp.max(jnp.stack(gaps)) if gaps else jnp.zeros((), factors[0].dtype)
