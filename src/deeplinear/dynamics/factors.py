"""Factors of a deep linear network, and how they relate to their product.

Layer order, here and everywhere: ``factors = (W_1, …, W_N)`` with W_1 first, the one that acts
first on the input; the product is W_N ⋯ W_1.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import (
    RandomKey,
    check_integer,
    check_integer_depth,
    check_key,
    check_matrix,
    check_positive,
    check_widths,
    is_traced,
    one_precision,
    raise_if,
)
from ..errors import InputError
from ..geometry.leaf import check_imbalance, log_root
from ..labelled import Labelled, Variable
from ..transforms import needs_values


def product(factors: Sequence[Array | np.ndarray]) -> Float[Array, "m n"]:
    """The end-to-end matrix W = W_N ⋯ W_1 of ``factors = (W_1, …, W_N)``.

    >>> import jax.numpy as jnp
    >>> product([jnp.array([[1.0, 2.0]]), jnp.array([[3.0], [4.0]])]).tolist()
    [[3.0, 6.0], [4.0, 8.0]]
    """
    return reduce(lambda W, W_p: W_p @ W, check_factors(factors))


def check_factors(factors: Sequence[Array | np.ndarray]) -> tuple[Array, ...]:
    """``factors`` as a tuple of finite matrices that can be multiplied; `InputError` otherwise."""
    stacked = isinstance(factors, Array | np.ndarray) and factors.ndim == 3
    if not stacked and (not isinstance(factors, Sequence) or isinstance(factors, str | bytes)):
        raise InputError(
            f"factors must be a sequence (W_1, …, W_N) of matrices, got {type(factors).__name__}."
        )
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
    widths: Sequence[int] | None = None,
) -> tuple[Array, ...]:
    """Balanced factors of W = U Σ Vᵀ at an integer depth N:

        W_p = Q_p Σ^{1/N} Q_{p−1}ᵀ,   Q_0 = V, Q_N = U, the others with orthonormal columns,

    so that W_{p+1}ᵀ W_{p+1} = W_p W_pᵀ and W_N ⋯ W_1 = W.

    **Arguments**: ``W`` is m×n. ``key``, a JAX random key or an integer seed, draws
    Q_1 … Q_{N−1} from the Haar measure (None: identities). ``width`` is the number of hidden units,
    min(m, n) by default; ``widths`` are all of (d_0, …, d_N), with d_0 = n and d_N = m. The
    smallest is at least the rank of W (to working precision).

    **Raises** `DepthError` where depth is not an integer ≥ 1, `InputError` for widths too small to
    hold W.

    **Source**: Arora, Cohen, Hazan 2018; Bah et al. 2019, Definition 1.

    >>> import jax, jax.numpy as jnp
    >>> W = jnp.array([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]])
    >>> factors = balanced_factors(W, 3, jax.random.key(0))
    >>> [f.shape for f in factors], bool(abs(product(factors) - W).max() < 1e-5)
    ([(2, 3), (2, 2), (2, 2)], True)
    """
    N = check_integer_depth(depth)
    return _factors(W, N, lambda s: [s ** (1 / N)] * N, key, width, widths)


def leaf_factors(
    W: ArrayLike,
    imbalance: ArrayLike | Sequence[int | float],
    key: RandomKey | None = None,
    *,
    depth: int | None = None,
) -> tuple[Array, ...]:
    """Factors of W = U Σ Vᵀ on the isotropic leaf of c = (c_1, …, c_N):

        W_p = Q_p diag(√(x_i + c_p)) Q_{p−1}ᵀ,   ∏_p (x_i + c_p) = σ_i²,   Q_0 = V, Q_N = U,

    with the largest root x_i, so that W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ = (c_{p+1} − c_p) I, which the
    flow conserves. c = 0 gives `balanced_factors`; a common shift of c changes nothing.

    **Arguments**: ``W`` is m×n, the hidden width is min(m, n). ``imbalance`` is c, or with
    ``depth`` a number δ for c_p = pδ (λ-balanced networks are δ at N = 2). ``key`` as in
    `balanced_factors`. **Raises** `InputError`, `DepthError`. **Source**: Dominé et al. 2024
    (2409.14623) for N = 2; theory: x in the place of σ^{2/N}.

    >>> import deeplinear as dl, numpy as np
    >>> W = np.array([[1.0, 2.0], [0.0, 1.0]])
    >>> W1, W2 = dl.leaf_factors(W, (0.0, 3.0), key=0)
    >>> np.round(W2.T @ W2 - W1 @ W1.T, 4).tolist()
    [[3.0, 0.0], [0.0, 3.0]]
    """
    c = check_imbalance(imbalance, depth)

    def scales(s: Array) -> list[Array]:
        log_x = log_root(jnp.log(s), c)
        # e^{ℓ/2} where c_p = 0: a small σ is not squared
        return [
            jnp.exp(log_x / 2) if c_p == 0 else jnp.sqrt(jnp.exp(log_x) + c_p) for c_p in c.tolist()
        ]

    return _factors(W, c.size, scales, key, None, None)


def _factors(
    W: ArrayLike,
    N: int,
    scales: Callable[[Array], list[Array]],
    key: RandomKey | None,
    width: int | None,
    widths: Sequence[int] | None,
) -> tuple[Array, ...]:
    """Q_p diag(scale_p) Q_{p−1}ᵀ, one scale of the singular values for each layer."""
    W = check_matrix(W)
    d = _widths(W.shape, N, width, widths)
    h = min(d)
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    rounding = max(W.shape) * float(jnp.finfo(W.dtype).eps)
    s = raise_if(
        s,
        (s if is_traced(s) else np.asarray(s))[h:] > rounding * s[0],
        InputError(
            f"{'width' if widths is None else 'widths'} must be at least the rank of W, and a "
            f"hidden layer has {h} units."
        ),
    )
    frames = [Vt[:h].T]
    for p in range(N - 1):
        if key is None:
            frames.append(jnp.eye(d[p + 1], h, dtype=W.dtype))
        else:
            own = jax.random.fold_in(check_key(key), p)
            frames.append(jax.random.orthogonal(own, d[p + 1], dtype=W.dtype)[:, :h])
    frames.append(U[:, :h])
    layers = scales(s[:h])
    return tuple((frames[p + 1] * layers[p]) @ frames[p].T for p in range(N))


def _widths(
    shape: tuple[int, ...], N: int, width: int | None, widths: Sequence[int] | None
) -> list[int]:
    """(d_0, …, d_N), of what was given."""
    m, n = shape
    if widths is None:
        hidden = min(m, n) if width is None else check_integer(width, "width")
        return [n, *[hidden] * (N - 1), m]
    if width is not None:
        raise InputError("width and widths must not both be given.")
    d = check_widths(widths)
    if len(d) != N + 1 or (d[0], d[-1]) != (n, m):
        raise InputError(
            f"widths must be (d_0, …, d_N) with N = {N}, d_0 = {n} and d_N = {m}, got {d}."
        )
    return d


def normal_factors(widths: Sequence[int], scale: float, key: RandomKey) -> tuple[Array, ...]:
    """Factors with independent entries, those of W_p normal with mean 0 and variance
    ε^{2/N}/d_{p−1}, for widths (d_0, …, d_N) and the scale ε of their product.

    With equal widths E‖W x‖² = ε² ‖x‖². **Raises** `InputError`. **Source**: Arora, Cohen, Hu, Luo
    2019; Saxe, McClelland, Ganguli 2014.

    >>> [W.shape for W in normal_factors((4, 3, 2), 1e-3, key=0)]
    [(3, 4), (2, 3)]
    """
    d = check_widths(widths)
    root, key = _layer_scale(d, scale), check_key(key)
    keys = jax.random.split(key, len(d) - 1)
    return tuple(
        root / math.sqrt(n) * jax.random.normal(k, (m, n))
        for k, (n, m) in zip(keys, pairwise(d), strict=True)
    )


def orthogonal_factors(widths: Sequence[int], scale: float, key: RandomKey) -> tuple[Array, ...]:
    """Factors ε^{1/N} Q_p with Q_p of Haar's measure: orthogonal, or with orthonormal rows or
    columns where the widths (d_0, …, d_N) change.

    With equal widths they are balanced, and every singular value of the product is ε.
    **Raises** `InputError`. **Source**: Saxe, McClelland, Ganguli 2014.

    >>> import deeplinear as dl, numpy as np
    >>> factors = orthogonal_factors((3, 3, 3), 0.01, key=0)
    >>> np.linalg.svd(dl.product(factors))[1].round(4).tolist()
    [0.01, 0.01, 0.01]
    """
    d = check_widths(widths)
    root, key = _layer_scale(d, scale), check_key(key)
    keys = jax.random.split(key, len(d) - 1)
    return tuple(
        root * jax.random.orthogonal(k, max(m, n))[:m, :n]
        for k, (n, m) in zip(keys, pairwise(d), strict=True)
    )


def identity_factors(widths: Sequence[int], scale: float) -> tuple[Array, ...]:
    """Factors ε^{1/N} I, with ones on the diagonal where the widths (d_0, …, d_N) change.

    **Raises** `InputError`. **Source**: Arora, Cohen, Golowich, Hu 2019; Bartlett, Helmbold, Long
    2018.

    >>> [W.tolist() for W in identity_factors((2, 2, 1), 0.25)]
    [[[0.5, 0.0], [0.0, 0.5]], [[0.5, 0.0]]]
    """
    d = check_widths(widths)
    root = _layer_scale(d, scale)
    return tuple(root * jnp.eye(m, n) for n, m in pairwise(d))


def _layer_scale(widths: Sequence[int], scale: float) -> float:
    """ε^{1/N}."""
    return check_positive(scale, "scale") ** (1 / (len(widths) - 1))


#: Of Σ ‖W_p‖²: what the imbalances of a leaf may be off, in float64 and in float32.
OFF_LEAF = {"float64": 1e-8, "float32": 1e-4}


class _Imbalances(NamedTuple):
    matrices: tuple[Array, ...]
    isotropic: bool
    leaf: np.ndarray | None


class Imbalances(Labelled, _Imbalances):
    """What the flow without weight decay conserves.

    ``matrices``: D_p = W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ for p = 1 … N − 1, each d_p×d_p. ``isotropic``:
    whether each is a multiple of I, but for 1e−8 of Σ ‖W_p‖² (float32: 1e−4), which flows with
    tolerances leave; ``leaf`` is then (c_1, …, c_N) with
    D_p = (c_{p+1} − c_p) I and min c = 0, and None otherwise.

    >>> import deeplinear as dl
    >>> dl.imbalances(dl.leaf_factors(np.eye(2), (1.0, 0.0, 3.0)))
    Imbalances(2 matrices, the largest of norm 4.24; on the isotropic leaf 1, 0, 3)
    >>> dl.imbalances(dl.normal_factors((2, 2, 2), 1.0, key=0))
    Imbalances(1 matrix, of norm 2.27; on no isotropic leaf)
    """

    def _variables(self) -> dict[str, Variable]:
        found = {
            f"imbalance_{p}": Variable((f"width_{p}", f"width_{p}_2"), D, f"D_{p}", framed=False)
            for p, D in enumerate(self.matrices, start=1)
        }
        norms = np.array([float(np.linalg.norm(D)) for D in self.matrices])
        found["norm"] = Variable(("step",), norms, "‖D_p‖, p = 1 …")
        if self.leaf is not None:
            found["leaf"] = Variable(("layer",), self.leaf, "c_p", framed=False)
        return found

    def _attributes(self) -> dict[str, str]:
        return {"isotropic": str(self.isotropic).lower()}

    def _lines(self) -> list[str]:
        norms = [float(np.linalg.norm(D)) for D in self.matrices]
        count = "1 matrix, of" if len(norms) == 1 else f"{len(norms)} matrices, the largest of"
        where = "no isotropic leaf"
        if self.leaf is not None:
            places = self.leaf.round(6) + 0.0
            where = "the isotropic leaf " + ", ".join(f"{c:g}" for c in places)
        return [f"{count} norm {max(norms, default=0.0):.3g}; on {where}"]


@needs_values
def imbalances(factors: Sequence[Array | np.ndarray]) -> Imbalances:
    """The conserved matrices D_p = W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ, and the leaf that they name.

    On an isotropic leaf the product W follows a Riemannian gradient flow of its own; elsewhere it
    does not close on W. **Source**: Arora, Cohen, Hazan 2018; Du, Hu, Lee 2018.

    >>> import deeplinear as dl, numpy as np
    >>> dl.imbalances(dl.leaf_factors(np.eye(2), (1.0, 0.0, 3.0))).leaf.round(4).tolist()
    [1.0, 0.0, 3.0]
    """
    factors = check_factors(factors)
    D = conserved(factors)
    size = sum(float(jnp.sum(W**2)) for W in factors)
    steps = [float(jnp.trace(X)) / len(X) for X in D]
    small = OFF_LEAF[factors[0].dtype.name] * size
    isotropic = all(
        float(jnp.linalg.norm(X - step * jnp.eye(len(X)))) <= small
        for X, step in zip(D, steps, strict=True)
    )
    c = np.cumsum([0.0, *steps])
    return Imbalances(D, isotropic, c - c.min() if isotropic else None)


def imbalance(factors: Sequence[Array | np.ndarray]) -> Float[Array, ""]:
    """max_p ‖W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ‖_F: zero for balanced factors.

    The flow without weight decay conserves it.

    >>> import jax.numpy as jnp
    >>> round(float(imbalance([2 * jnp.eye(2), jnp.eye(2)])), 3)
    4.243
    """
    factors = check_factors(factors)
    gaps = [jnp.linalg.norm(D) for D in conserved(factors)]
    return jnp.max(jnp.stack(gaps)) if gaps else jnp.zeros((), factors[0].dtype)


def conserved(factors: Sequence[Array]) -> tuple[Array, ...]:
    """D_p = W_{p+1}ᵀ W_{p+1} − W_p W_pᵀ, p = 1 … N − 1, which the flow conserves."""
    return tuple(B.T @ B - A @ A.T for A, B in pairwise(factors))
