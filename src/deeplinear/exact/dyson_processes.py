"""The singular values of Brownian motion at a finite time: Dyson's processes, at every depth."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import (
    RandomKey,
    check_depth,
    check_integer,
    check_key,
    check_known,
    check_matrix,
    check_numbers,
    check_positive,
)
from ..errors import DepthError, InputError
from ..geometry.root import root
from ..transforms import needs_values


@needs_values
def dyson(
    W0: ArrayLike, depth: float, t: float, key: RandomKey, samples: int = 1000
) -> Float[Array, "samples k"]:
    """Exact, independent samples of log σ_1 ≥ … ≥ log σ_k of `brownian` at time t from W0,

        N < ∞:  σ^{1/N} = the singular values of R_0 + B(t)/N,   R_0 = UΣ^{1/N}Vᵀ of W0,
        N = ∞:  log σ = the eigenvalues of diag(log σ_0) + (B(t) + B(t)ᵀ)/2,

    B an m×n matrix of independent Brownian motions: no steps, no error. At N = ∞ it is Dyson's
    motion dℓ_i = dB_i + ½ Σ_j dt/(ℓ_i − ℓ_j); at finite depth its relative for singular values,
    with y = σ^{1/N},

        dy_i = dB_i/N + (1/2N²) [Σ_j (1/(y_i − y_j) + 1/(y_i + y_j)) + |m − n|/y_i] dt.

    **Arguments**: ``W0`` m×n, at N = ∞ square and invertible. ``t`` > 0, in [CMV]'s normalization.
    **Raises** `DepthError`, `InputError`. **Source**: Dyson 1962; theory: the volume is flat in the
    root, so that the radial part of ½Δ_g is that of the flat Laplacian of R.

    >>> import deeplinear as dl
    >>> log_s = dl.exact.dyson(np.eye(2), 3, 0.5, key=0, samples=2000)
    >>> y = np.exp(log_s / 3)
    >>> bool(abs((y**2).sum(1).mean() - (2 + 4 * 0.5 / 9)) < 0.1)  # Σ y² grows by mn/N² per time
    True
    """
    W0 = check_matrix(W0, "W0")
    check_known(depth, "depth")
    N = float(np.asarray(check_depth(depth, scalar=True)))
    time, count = check_positive(t, "t"), check_integer(samples, "samples")
    m, n = W0.shape
    noise = math.sqrt(time) * jax.random.normal(check_key(key), (count, m, n), W0.dtype)
    if math.isfinite(N):
        return N * jnp.log(jnp.linalg.svd(root(W0, N) + noise / N, compute_uv=False))
    if m != n:
        raise DepthError("depth must be finite for a W0 that is not square.")
    s = np.linalg.svd(W0, compute_uv=False)
    if not s[-1] > m * np.finfo(s.dtype).eps * s[0]:
        raise InputError("W0 must be invertible at infinite depth, got a singular matrix.")
    H = jnp.diag(jnp.log(s)) + (noise + jnp.swapaxes(noise, 1, 2)) / 2
    return jnp.linalg.eigvalsh(H)[:, ::-1]


def dyson_density(x: ArrayLike, depth: float, d: int, t: float) -> np.ndarray:
    """The density of the singular values of `dyson` from R_0 = 0 (N = ∞: from σ = 1) as d grows.

    - N < ∞: of σ^{1/N}, the quarter circle √(E² − x²) · 4/(πE²) on [0, E], E = 2√(dt)/N;
    - N = ∞: of log σ, the semicircle √(E² − x²) · 2/(πE²) on [−E, E], E = √(2dt).

    d×d matrices. **Source**: Wigner 1955; Marchenko, Pastur 1967.

    >>> import deeplinear as dl
    >>> x = np.linspace(0, 1, 10001)
    >>> round(float(np.trapezoid(dl.exact.dyson_density(x, 2, 4, 0.25), x)), 4)  # E = 1
    1.0
    """
    E = dyson_edge(depth, d, t)
    x = check_numbers(x, "x", least=-math.inf)
    inside = np.sqrt(np.maximum(E**2 - x**2, 0.0)) * 2 / (math.pi * E**2)
    return inside if np.isinf(np.asarray(depth, float)) else np.where(x >= 0, 2 * inside, 0.0)


def dyson_edge(depth: float, d: int, t: float) -> float:
    """E of `dyson_density`.

    >>> import deeplinear as dl
    >>> dl.exact.dyson_edge(math.inf, 8, 1.0)
    4.0
    """
    check_known(depth, "depth")
    N = float(np.asarray(check_depth(depth, scalar=True)))
    size = check_integer(d, "d") * check_positive(t, "t")
    return math.sqrt(2 * size) if math.isinf(N) else 2 * math.sqrt(size) / N
