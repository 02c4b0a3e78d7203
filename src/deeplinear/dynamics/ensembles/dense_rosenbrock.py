"""Rodas5P on W itself: for norms that nearly diverge, where every curved coordinate is stiff.

There σ_1 is a thousand times what the data ask for and goes on growing along the manifold of fitted
matrices, while small singular values grow or die slowly. E is quadratic in W: on W the fast
directions, which hold the observed entries, stay linear, whatever the step. In (U, log σ, V) a
rotation by δ moves observed entries by σ_1 δ², which the kernel, of size σ_1², multiplies: steps
are shorter there by factors of 10 to 1,000.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...geometry.differences import first_differences
from ...geometry.kernel import depth_of
from ...geometry.leaf import Depth, at_zero, exponent, rescaled
from .frames import Matrix, join, pair, sign_of_determinant, split
from .rosenbrock import GAMMA_5, rodas5p
from .steppers import AbstractStepper, EnsembleProblem, StepTrial


class DenseRosenbrockStepper(AbstractStepper[Matrix]):
    """Rodas5P on W with the exact Jacobian, of size mn; errors relative to each singular value.

    The error of a step is the change of each log σ between the orders 5 and 4, and of the entries
    in the singular frame, relative to the larger of their two singular values. A step that changes
    the sign of det W is refused (at N ≥ 2). Singular values below rounding, max(m, n) ε σ_1, do
    not count. Where singular values do cross zero (N < 2, leaves that are smooth there) errors are
    relative to σ_1, the start may be 0, and det W may change its sign.
    """

    order: int = 5
    stride: ClassVar[int] = 8
    # One: of four lanes in step three are idle where one run in a hundred is hard, and each costs a
    # factorization. Side by side four take no less time than one after the other.
    lanes: ClassVar[int] = 1
    jacobian: ClassVar[bool] = True

    def start(self, problem: EnsembleProblem, W: Matrix) -> Matrix:
        return W

    def matrix(self, state: Matrix) -> Matrix:
        return state

    def rate(self, problem: EnsembleProblem, state: Matrix) -> tuple[()]:
        return ()

    def step(
        self, problem: EnsembleProblem, state: Matrix, rate: PyTree[Array], h: Array
    ) -> StepTrial[Matrix]:
        shape = join(state).shape[:2]
        U, s, Vt = jnp.linalg.svd(_first(state), full_matrices=True)
        a, b = (jnp.pad(s, ((0, 0), (0, size - s.shape[1]))) for size in shape)
        K = jax.vmap(_linearized, (0, 0, 0, 0, None))(
            a, b, U.mT @ _first(problem.gradient(state)) @ Vt.mT, _hessian(problem, state, U, Vt),
            problem.nu,
        )  # fmt: skip
        size = shape[0] * shape[1]
        system = jnp.eye(size, dtype=s.dtype) + (h * GAMMA_5)[:, None, None] * K
        factors = jax.scipy.linalg.lu_factor(system)
        # One batched decomposition after the other: two at once can lock up jaxlib's threads.
        state, factors = jax.lax.optimization_barrier((state, factors))

        def solved(X: Matrix) -> Matrix:
            inside = (U.mT @ _first(X) @ Vt.mT).reshape(-1, size, 1)
            inside = jax.scipy.linalg.lu_solve(factors, inside).reshape(-1, *shape)
            return _last(U @ inside @ Vt)

        def flow(W: Matrix) -> Matrix:
            return jax.tree.map(jnp.negative, problem.frame(W).power(problem.gradient(W), 1))

        end, coarse, change, _ = rodas5p(flow, solved, state, h)
        both = jnp.stack([_first(end), _first(coarse)])
        sigma = jnp.linalg.svd(both, compute_uv=False)
        noise = max(shape) * jnp.finfo(s.dtype).eps * s[:, :1]
        crossing = at_zero(problem.nu) > 0.5  # singular values do reach zero and pass it
        noise = jnp.where(crossing, jnp.maximum(noise, sigma[0][:, :1]), noise)
        log_s = jnp.log(jnp.maximum(sigma, noise))
        entries = U.mT @ _first(change) @ Vt.mT
        entries = entries / jnp.maximum(jnp.maximum(a[:, :, None], b[:, None]), noise[:, None])
        error = jnp.sqrt(jnp.sum((log_s[0] - log_s[1]) ** 2, 1) + jnp.sum(entries**2, (1, 2)))
        end, _ = jax.lax.optimization_barrier((end, sigma))
        crossed = sign_of_determinant(end) * sign_of_determinant(state) < 0
        crossed &= (jnp.minimum(s, sigma[0])[:, -1] > noise[:, 0]) & ~crossing
        return StepTrial(end, (), jnp.where(crossed, jnp.inf, error) / problem.tol)


def _first(X: Matrix) -> Float[Array, "L m n"]:
    """The lanes first, as LAPACK takes them."""
    return jnp.moveaxis(join(X), -1, 0)


def _last(X: Float[Array, "L m n"]) -> Matrix:
    return split(jnp.moveaxis(X, 0, -1))


def _hessian(problem: EnsembleProblem, W: Matrix, U: Array, Vt: Array) -> Float[Array, "L m n m n"]:
    """E″ in the singular frame: the entries of Uᵀ E″(W)(U Z Vᵀ) V, then those of Z."""
    m, n, L = join(W).shape
    second = problem.hessian(W)
    basis = jnp.eye(m * n, dtype=U.dtype).reshape(m * n, m, n, 1)
    H = jax.vmap(lambda Z: join(second(split(jnp.broadcast_to(Z, (m, n, L))))))(basis)
    H = jnp.transpose(H, (3, 0, 1, 2)).reshape(L, m, n, m, n)  # symmetric
    H = jnp.einsum("lai,labcd->libcd", U, H)
    H = jnp.einsum("ljb,labcd->lajcd", Vt, H)
    H = jnp.einsum("lci,labcd->labid", U, H)
    return jnp.einsum("ljd,labcd->labcj", Vt, H)


def _linearized(
    a: Float[Array, " m"],
    b: Float[Array, " n"],
    G: Float[Array, "m n"],
    H: Float[Array, "m n m n"],
    nu: Depth,
) -> Float[Array, "mn mn"]:
    """The derivative of W ↦ A_{N,W}(E′(W)) in the singular frame, for σ padded by zeros in a, b.

    A E″ and ∂_X A(G), the latter as in `geometry.derivatives`: with f(x, y) = λ_N(√x, √y),
    Σ_k f[x_i, x_k; y_j] (X_ik s_k + s_i X_ki) G_kj and the like on the other side.
    """
    m, n = G.shape
    k = min(m, n)
    # at W/σ_1, of which A is homogeneous
    largest = jnp.where(a[0] > 0, a[0], 1.0)
    here = rescaled(depth_of(nu), largest)
    rows, columns = first_differences(a / largest, b / largest, here, 1)
    factor = jnp.exp((1 - 2 * exponent(nu)) * jnp.log(largest)) / largest
    left = factor * jnp.swapaxes(rows * G, 1, 2)  # f[x_i, x_k; y_j] G_kj, indexed ijk
    right = factor * jnp.transpose(columns * G.T, (2, 0, 1))  # f[x_i; y_j, y_l] G_il, indexed ijl
    by_row = jnp.zeros((m, n, n), G.dtype).at[..., :k].set(left[..., :k] * a[:k])
    by_column = jnp.zeros((m, n, m), G.dtype).at[..., :k].set(right[..., :k] * b[:k])
    same = jnp.eye(m, dtype=G.dtype), jnp.eye(n, dtype=G.dtype), jnp.eye(m, n, dtype=G.dtype)
    turned = (
        same[0][:, None, :, None] * by_row[:, :, None, :]  # X_ik s_k
        + same[2][:, None, None, :] * (left * a[:, None, None])[:, :, :, None]  # s_i X_ki
        + same[1][None, :, None, :] * by_column[:, :, :, None]  # X_lj s_l
        + same[2].T[None, :, :, None] * (right * b[:, None])[:, :, None, :]  # s_j X_jl
    )
    log_a, log_b = jnp.log(a), jnp.log(b)
    inside = pair(log_a[:, None], log_b, nu)[:, :, None, None] * H
    return (inside + turned).reshape(m * n, m * n)
