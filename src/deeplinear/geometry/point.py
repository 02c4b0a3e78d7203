"""A point W of the manifold by its thin SVD, with the logarithms of the singular values."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..compilation import program


class LogSVD(eqx.Module):
    """A matrix W = U diag(e^{log_s}) Vt by its thin SVD, with logarithms of singular values.

    The singular values may lie far below the floating-point range. As a start for `gradient_flow`
    it resumes a flow exactly where ``result.end`` left it.

    **Shapes**: U m×k, log_s k, Vt k×n with any k ≤ min(m, n); leading axes for several saved times.

    >>> point = LogSVD.of(jnp.array([[0.0, 0.5], [3.0, 0.0]]))
    >>> jnp.exp(point.log_s).round(6).tolist()
    [3.0, 0.5]
    """

    U: Float[Array, "*t m k"]
    log_s: Float[Array, "*t k"]
    Vt: Float[Array, "*t k n"]

    @classmethod
    def of(cls, W: Float[Array, "*t m n"]) -> "LogSVD":
        """The thin SVD of W, computed."""
        U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
        return cls(U, log_singular_values(s), Vt)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n), the shape of one W."""
        return self.U.shape[-2], self.Vt.shape[-1]

    def dense(self) -> Float[Array, "*t m n"]:
        """W itself."""
        return (self.U * jnp.exp(self.log_s)[..., None, :]) @ self.Vt


@program
def log_singular_values(s: Float[Array, "*t k"], rtol: float = 0.0) -> Float[Array, "*t k"]:
    """log s for descending s; −∞, with derivative 0, where 0 ≤ s ≤ rtol · s_1; NaN where s < 0.

    >>> log_singular_values(jnp.array([1.0, 1e-20, 0.0]), rtol=1e-15).tolist()
    [0.0, -inf, -inf]
    """
    zero = (s >= 0) & (s <= rtol * s[..., :1])
    return jnp.where(zero, -jnp.inf, jnp.log(jnp.where(zero, 1.0, s)))


@program
def log_spectrum(W: Float[Array, "*t m n"], rtol: float = 0.0) -> Float[Array, "*t k"]:
    """`log_singular_values` of the singular values of a matrix W, or of a stack of them."""
    return log_singular_values(jnp.linalg.svd(W, compute_uv=False), rtol)
