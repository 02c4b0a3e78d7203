"""The operator A_{N,W}: the inverse metric of the deep linear network, from one SVD of W."""

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_matrix, is_traced, raise_if
from ..errors import InputError, SingularOperatorError
from ..reals import one_real
from .kernel import beside, inverse_depth, kernel, log_kernel
from .leaf import Depth, DepthLike, Imbalance, check_leaf_shape, in_precision, on_leaf
from .small import product, svd


class Operator(lx.AbstractLinearOperator):
    """The operator A_{N,W} on m×n matrices, self-adjoint and positive:

        A_{N,W}(Z) = (1/N) Σ_p (WWᵀ)^{(N−p)/N} Z (WᵀW)^{(p−1)/N} = U (λ_N(σ_i, σ_j) ∘ (UᵀZV)) Vᵀ,
        A_{∞,W}(Z) = ∫_0^1 (WWᵀ)^{1−s} Z (WᵀW)^s ds,

    for real depth N ≥ 1 and N = ∞. W is factored once, as a thin SVD; the part of Z outside its
    singular spaces is carried by the edge kernels λ_N(σ_i, 0) and λ_N(0, 0). Square, rectangular
    and rank-deficient W alike.

    It is a lineax operator (``mv``, ``lineax.linear_solve``, …) and a pytree: build and apply it
    inside ``jit`` and ``vmap``.

    **Arguments**

    - ``W``: m×n, finite.
    - ``depth``: real N ≥ 1 or ``math.inf``. ``imbalance``: the leaf, as in `kernel`.
    - ``rank_rtol``: singular values up to ``rank_rtol · σ_1`` count as zero. By default max(m, n)
      times machine precision: below that they are rounding noise, which λ_∞(a, σ) would turn into
      something visible (it decays only like 1/|log σ|). Give 0 to keep all, or use `from_svd`.

    **Normalization**: [CMV], with the factor 1/N. **Source**: Cohen, Menon, Veraszto 2023, §2.

    >>> import numpy as np, deeplinear as dl
    >>> W, Z = np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> op = dl.Operator(W, depth=2)
    >>> bool(abs(op.inverse(op(Z)) - Z).max() < 1e-12)
    True
    """

    U: Float[Array, "m k"]
    s: Float[Array, " k"]
    Vt: Float[Array, "k n"]
    depth: Depth

    def __init__(
        self,
        W: ArrayLike,
        depth: DepthLike,
        *,
        imbalance: Imbalance = 0.0,
        rank_rtol: float | None = None,
    ):
        self._factor(check_matrix(W), on_leaf(depth, imbalance, scalar=True), rank_rtol)

    def _factor(self, W: Array, depth: DepthLike, rank_rtol: float | None) -> None:
        U, s, Vt = svd(W, full_matrices=False)
        if rank_rtol is None:
            rank_rtol = max(W.shape) * float(jnp.finfo(W.dtype).eps)
        elif not is_traced(rank_rtol) and not 0 <= one_real(rank_rtol) < 1:
            raise InputError(f"rank_rtol must be one number in [0, 1), got {rank_rtol!r}.")
        s = jnp.where(s > rank_rtol * s[0], s, jnp.where(jnp.isnan(s), s, 0.0))
        self._set(U=U, s=s, Vt=Vt, depth=depth)

    def _set(self, U: Array, s: Array, Vt: Array, depth: DepthLike) -> None:
        check_leaf_shape(depth, (U.shape[0], Vt.shape[1]))
        fields = {"U": U, "s": s, "Vt": Vt, "depth": in_precision(depth, s.dtype)}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def unchecked(cls, W: Array, depth: Depth) -> "Operator":
        """The operator at a W that may be infinite or NaN, as a trial step is: it is NaN then."""
        self = object.__new__(cls)  # past __init__, which would raise
        self._factor(W, depth, None)
        return self

    @classmethod
    def from_svd(
        cls,
        U: ArrayLike,
        s: ArrayLike,
        Vt: ArrayLike,
        depth: DepthLike,
        imbalance: Imbalance = 0.0,
    ) -> "Operator":
        """The operator at W = U diag(s) Vᵀ, every s as it is; U, V with orthonormal columns.

        k below min(m, n) is a point of rank k, at a cost of O(mnk) for each application.
        """
        U, s, Vt = map(jnp.asarray, (U, s, Vt))
        if not (U.ndim == Vt.ndim == 2 and s.shape == (U.shape[1],) == (Vt.shape[0],)):
            raise InputError(
                f"U, s, Vt must have shapes (m, k), (k,), (k, n), got {U.shape}, {s.shape}, "
                f"{Vt.shape}."
            )
        depth = on_leaf(depth, imbalance, scalar=True)
        self = object.__new__(cls)  # past __init__, which would factor W again
        self._set(U=U, s=s, Vt=Vt, depth=depth)
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n), the shape of W."""
        return self.U.shape[0], self.Vt.shape[1]

    @property
    def eigenvalues(self) -> tuple[Float[Array, "k k"], Float[Array, " k"], Float[Array, ""]]:
        """λ_N(σ_i, σ_j), the edge kernels λ_N(σ_i, 0), and λ_N(0, 0).

        Of multiplicity 1, m + n − 2k and (m − k)(n − k).
        """
        zero = jnp.zeros((), self.s.dtype)
        return (
            kernel(self.s[:, None], self.s, self.depth),
            kernel(self.s, zero, self.depth),
            kernel(zero, zero, self.depth),
        )

    def power(self, Z: ArrayLike, q: int | float) -> Float[Array, "m n"]:
        """A^q(Z), for any real q (infinite where A has a kernel and q < 0: see `inverse`)."""
        Z = jnp.asarray(Z)
        if Z.shape != self.shape:
            raise InputError(
                f"Z must have the shape {self.shape} of W, got {Z.shape}: use jax.vmap for a batch."
            )
        core, edge, corner = (x if q == 1 else jnp.power(x, q) for x in self.eigenvalues)
        U, Vt = self.U, self.Vt
        m, n = self.shape
        k = self.s.size
        C = product(U.T, Z, Vt.T)
        # the parts of Z with one leg in the singular spaces and one outside
        left, right = Z @ Vt.T - U @ C, U.T @ Z - C @ Vt
        out = product(U, core * C, Vt)
        if m > k:
            out = out + (left * edge) @ Vt
        if n > k:
            out = out + U @ (edge[:, None] * right)
        if m > k and n > k:
            out = out + corner * (Z - U @ C @ Vt - left @ Vt - U @ right)
        return out

    def __call__(self, Z: ArrayLike) -> Float[Array, "m n"]:
        """A(Z)."""
        return self.power(Z, 1)

    def sqrt(self, Z: ArrayLike) -> Float[Array, "m n"]:
        """A^{1/2}(Z): the shape of the noise in the Riemannian Langevin equation."""
        return self.power(Z, 0.5)

    def inverse(self, Z: ArrayLike) -> Float[Array, "m n"]:
        """A^{−1}(Z), the metric applied to Z; `SingularOperatorError` where A has a kernel."""
        return self.power(raise_if(jnp.asarray(Z), self.is_singular, singular_error()), -1)

    @property
    def is_singular(self) -> Array:
        """Whether A has a kernel: W below full rank at N > 1, or not square at N = ∞."""
        core, edge, corner = self.eigenvalues
        m, n = self.shape
        k = self.s.size
        singular = jnp.any(core == 0)
        if m + n > 2 * k:
            singular |= jnp.any(edge == 0)
        if m > k and n > k:
            singular |= corner == 0
        return singular

    def logdet(self) -> Float[Array, ""]:
        """log det A = Σ log λ over all m·n eigenvalues; −∞ where A is singular."""
        m, n = self.shape
        k = self.s.size
        nu = inverse_depth(self.depth, self.s.dtype)
        out = log_determinant(jnp.log(self.s), m + n - 2 * k, nu)
        if m > k and n > k:
            zero = jnp.full((), -jnp.inf, self.s.dtype)
            out = out + (m - k) * (n - k) * log_kernel(zero, zero, nu)
        return out

    # lineax's interface

    def mv(self, vector: Float[Array, "m n"]) -> Float[Array, "m n"]:
        return self(vector)

    def as_matrix(self) -> Float[Array, "mn mn"]:
        m, n = self.shape
        columns = jax.vmap(lambda e: self(e.reshape(m, n)).ravel())(
            jnp.eye(m * n, dtype=self.s.dtype)
        )
        return columns.T

    def transpose(self) -> "Operator":
        return self

    def in_structure(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.shape, self.s.dtype)

    def out_structure(self) -> jax.ShapeDtypeStruct:
        return self.in_structure()


def singular_error() -> SingularOperatorError:
    """The error where the inverse of A is needed and A has a kernel."""
    return SingularOperatorError(
        "W must have full rank (and be square at depth = math.inf) for the inverse of A to exist, "
        "and has not to working precision: use Operator.from_svd(U, s, Vt, depth) if its small "
        "singular values are known better than W shows."
    )


def log_determinant(log_s: Float[Array, "... k"], edges: int, nu: DepthLike) -> Float[Array, "..."]:
    """log det A on the k×k block and ``edges`` times its edge.

    Σ_ij log λ_N(σ_i, σ_j) + edges · Σ_i log λ_N(σ_i, 0).
    """
    pairs = log_kernel(log_s[..., :, None], log_s[..., None, :], beside(nu, 2))
    out = jnp.sum(pairs, (-2, -1))
    if edges:
        out = out + edges * jnp.sum(
            log_kernel(log_s, jnp.array(-jnp.inf, log_s.dtype), beside(nu, 1)), -1
        )
    return out


def _yes(_: Operator) -> bool:
    return True


def _no(_: Operator) -> bool:
    return False


# What lineax may assume of it, registered as lineax does for its own operators.
for _property in (lx.is_symmetric, lx.is_positive_semidefinite):
    _property.register(Operator)(_yes)
for _property in (
    lx.is_diagonal,
    lx.is_tridiagonal,
    lx.is_lower_triangular,
    lx.is_upper_triangular,
    lx.has_unit_diagonal,
    lx.is_negative_semidefinite,
):
    _property.register(Operator)(_no)


@lx.linearise.register(Operator)
@lx.materialise.register(Operator)
@lx.conj.register(Operator)
def _(operator: Operator) -> Operator:
    return operator


@lx.diagonal.register(Operator)
def _(operator: Operator) -> Array:
    return jnp.diag(operator.as_matrix())
