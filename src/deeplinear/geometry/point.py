"""A point W of the manifold by its thin SVD, with the logarithms of the singular values."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class LogSVD(eqx.Module):
    """A matrix W = U diag(e^{log_s}) Vt by its thin SVD, with the logarithms of the singular
    values, which may lie far below the floating-point range. As a start for `gradient_flow` it
    resumes a flow exactly where ``result.end`` left it.

    **Shapes**: U m×k, log_s k, Vt k×n with any k ≤ min(m, n); leading axes for several saved times.
    """

    U: Float[Array, "*t m k"]
    log_s: Float[Array, "*t k"]
    Vt: Float[Array, "*t k n"]

    @classmethod
    def of(cls, W: Float[Array, "*t m n"]) -> "LogSVD":
        """The thin SVD of W, computed."""
        U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
        return cls(U, jnp.log(s), Vt)

    def dense(self) -> Float[Array, "*t m n"]:
        """W itself."""
        return (self.U * jnp.exp(self.log_s)[..., None, :]) @ self.Vt
