"""Whether a kernel, the metric and the volume are those of the deep linear network."""

from collections.abc import Callable, Sequence
from typing import SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from .. import asymptotics
from ..checks import RandomKey, check_depth, check_key, check_matrix, one_precision
from ..compilation import program
from ..dynamics.coordinates import FactorCoordinates, partial_products
from ..dynamics.factors import balanced_factors, check_factors
from ..energies import Completion, Sensing
from ..errors import DepthError, InputError
from ..geometry.kernel import kernel
from ..geometry.metric import inner
from ..geometry.operator import Operator
from ..geometry.volume import log_volume
from ..transforms import needs_values
from .result import Check, tolerance, within


@needs_values
def kernel_check(
    fn: Callable[[Array, Array], Array],
    depth: ArrayLike | None = None,
    *,
    tol: float | None = None,
    seed: int = 0,
) -> Check:
    """Whether a function λ(a, b) of two singular values can be the kernel of an operator.

    It must be finite, positive, symmetric, λ(a, b) = λ(b, a), and continuous at ties,
    λ(a, a (1 + δ)) → λ(a, a) down to δ = 1e−14 (where a plain quotient loses all digits); and,
    given the ``depth``, it must be `kernel` at that depth.

    **Arguments**: ``fn`` takes two arrays of one shape. It is tried at 200 pairs, log-uniform in
    1e−3 … 1e3. ``tol``: of relative deviations, 1e−9 by default (float32: 1e−4).

    **Figures**: the largest relative deviations, ``asymmetry``, ``tie`` (beyond 10 δ), ``depth``;
    ``smallest``, the smallest value.

    **Normalization**: [CMV], with the factor 1/N, where a depth is given. **Raises** `DepthError`.
    **Source**: [CMV], Theorem 1.1.

    >>> import deeplinear as dl
    >>> bool(dl.verify.kernel_check(lambda a, b: (a + b) / 2, depth=2))
    True
    >>> bool(dl.verify.kernel_check(lambda a, b: a))
    False
    """
    a, b = np.exp(np.random.default_rng(seed).uniform(np.log(1e-3), np.log(1e3), (2, 200)))
    gap = np.logspace(-14, -3, 12)[:, None]
    values, swapped, tie, near = (
        np.asarray(fn(jnp.asarray(x), jnp.asarray(y)), float)
        for x, y in ((a, b), (b, a), (a, a), (np.broadcast_to(a, (12, 200)), a * (1 + gap)))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = {
            "asymmetry": np.max(np.abs(values - swapped) / np.abs(values)),
            "tie": max(np.max(np.abs(near / tie - 1) - 10 * gap), 0.0),
        }
    if depth is not None:
        exact = np.asarray(kernel(jnp.asarray(a), jnp.asarray(b), check_depth(depth, scalar=True)))
        deviations["depth"] = np.max(np.abs(values / exact - 1))
    smallest = min(values.min(), tie.min())
    check = within(
        "kernel",
        deviations,
        tolerance(tol, jnp.asarray(a).dtype, 1e-9),
        "Symmetry, ties and depth of the kernel",
        smallest=smallest,
    )
    if smallest > 0:
        return check
    return Check(
        "kernel", False, check.figures, f"The kernel must be positive, got {smallest:.3g}."
    )


@needs_values
def submersion(
    W: ArrayLike,
    depth: int,
    Z: ArrayLike | None = None,
    *,
    key: RandomKey | None = None,
    factors: Sequence[Array | np.ndarray] | None = None,
    metric: Callable[[Array, Array], Array] | None = None,
    tol: float | None = None,
) -> Check:
    """Whether the metric g^N is that of the factors.

    The product W_N ⋯ W_1 is a Riemannian submersion of balanced factors. With X = A_{N,W}^{−1}(Z),
    the horizontal lift of Z,

        Ẇ_p = (1/N) (W_N ⋯ W_{p+1})ᵀ X (W_{p−1} ⋯ W_1)ᵀ,

    must move the product along Z, be orthogonal to the orbit of O_d^{N−1}, keep the factors
    balanced, and have the length of Z: N Σ_p ‖Ẇ_p‖² = g^N_W(Z, Z).

    **Arguments**: ``W`` of full rank; ``depth`` an integer; ``Z`` and the frames of the factors are
    random by default (``key``).
    ``factors``: take these for W (unbalanced ones fail). ``metric``: (W, Z) ↦ the squared length of
    Z to be checked; `inner` by default.
    ``tol``: of the deviations, 1e−10 by default (float32: 3e−5).

    **Figures**: relative deviations ``product``, ``horizontal``, ``balanced``, ``length``, and
    ``factors`` (their product from W).

    **Normalization**: [CMV]; without the factor N on the left, Σ ‖Ẇ_p‖² is the metric of [MY] and
    of plain gradient descent.
    **Raises** `DepthError`, `InputError`, `SingularOperatorError`. **Source**: Bah et al. 2019;
    Menon 2024 (2411.09004), §5.

    >>> import numpy as np, deeplinear as dl
    >>> bool(dl.verify.submersion(np.array([[2.0, 1.0], [0.0, 1.0]]), depth=3))
    True
    """
    W = check_matrix(W)
    if isinstance(depth, bool) or not float(depth).is_integer():
        raise DepthError(f"depth must be an integer for factors, got {depth!r}.")
    frames, direction = jax.random.split(check_key(0 if key is None else key))
    Z = jax.random.normal(direction, W.shape, W.dtype) if Z is None else check_matrix(Z, "Z")
    W, Z = one_precision((W, Z))
    if Z.shape != W.shape:
        raise InputError(f"Z must have the shape {W.shape} of W, got {Z.shape}.")
    given = balanced_factors(W, depth, frames) if factors is None else check_factors(factors)
    if len(given) != depth:
        raise InputError(f"factors must be as many as the depth {depth}, got {len(given)}.")
    length = inner(W, Z, Z, depth) if metric is None else metric(W, Z)
    deviations = _lift(W, Z, given, Operator(W, depth).inverse(Z), jnp.asarray(length))
    return within(
        "submersion",
        deviations,
        tolerance(tol, W.dtype, 1e-10),
        "The properties of the horizontal lift",
    )


@program
def _lift(
    W: Array, Z: Array, factors: tuple[Array, ...], X: Array, length: Array
) -> dict[str, Array]:
    """The relative deviations of the lift from what it should be."""
    N, size = len(factors), jnp.linalg.norm
    below, above = partial_products(factors)
    left = [X if L is None else L.T @ X for L in above]
    lift = [Y / N if R is None else Y @ R.T / N for Y, R in zip(left, below, strict=True)]
    moved = jax.jvp(lambda *F: FactorCoordinates().matrix(F), factors, tuple(lift))[1]
    # what couples layers p and p + 1: its skew part is motion along the orbit, its symmetric part
    # loss of balance
    pairs = [
        (lift[p] @ factors[p].T, factors[p + 1].T @ lift[p + 1], size(lift[p]) * size(factors[p]))
        for p in range(N - 1)
    ]
    skew = [size((A - B) - (A - B).T) / scale for A, B, scale in pairs]
    symmetric = [size((A - B) + (A - B).T) / scale for A, B, scale in pairs]
    return {
        "factors": size(FactorCoordinates().matrix(factors) - W) / size(W),
        "product": size(moved - Z) / size(Z),
        "horizontal": jnp.max(jnp.stack([*skew, jnp.zeros(())])),
        "balanced": jnp.max(jnp.stack([*symmetric, jnp.zeros(())])),
        "length": jnp.abs(N * sum(size(V) ** 2 for V in lift) / length - 1),
    }


@needs_values
def volume(
    W: ArrayLike,
    depth: ArrayLike,
    *,
    density: Callable[[Array], SupportsFloat] | None = None,
    tol: float | None = None,
) -> Check:
    """Whether a log volume density W ↦ log √det g^N, by default `log_volume`, is right.

    It must be that of the metric, written out as an mn×mn matrix,

        log √det g^N = ½ log det [g^N_W(E_a, E_b)]_ab,   E_a the unit matrices,

    and at integer depth also that of the factors, A_{N,W} = J Jᵀ/N with J the Jacobian of the
    product at balanced factors: −½ log det(J Jᵀ/N).

    **Arguments**: ``density``: W ↦ the log density to be checked. ``tol``: of the deviations, 1e−9
    by default (float32: 1e−4).

    **Figures**: the deviations ``metric`` and ``factors``, relative to 1 + |log √det|; ``value``.

    **Normalization**: [CMV]; density in dW = ∏ dW_ij. **Raises** `DepthError`, `InputError`,
    `SingularOperatorError`.
    **Source**: Cohen, Menon, Veraszto 2023, Theorem 1.1.

    >>> import numpy as np, deeplinear as dl
    >>> bool(dl.verify.volume(np.array([[2.0, 1.0], [0.0, 1.0]]), depth=3))
    True
    """
    W = check_matrix(W)
    value = float(log_volume(W, depth) if density is None else density(W))
    units = np.eye(W.size).reshape(W.size, *W.shape).astype(W.dtype)
    gram = np.asarray(inner(W, units[:, None], units[None], depth))
    expected = {"metric": 0.5 * np.linalg.slogdet(gram)[1]}
    if float(np.asarray(depth)).is_integer():
        factors = balanced_factors(W, int(np.asarray(depth)), jax.random.key(0))
        jacobian = jax.jit(jax.jacfwd(lambda F: FactorCoordinates().matrix(F).ravel()))(factors)
        J = np.concatenate([np.asarray(part).reshape(W.size, -1) for part in jacobian], 1)
        expected["factors"] = -0.5 * np.linalg.slogdet(J @ J.T / len(factors))[1]
    deviations = {key: abs(value - x) / (1 + abs(x)) for key, x in expected.items()}
    return within(
        "volume",
        deviations,
        tolerance(tol, W.dtype, 1e-9),
        "The values of the log volume density",
        value=value,
    )


@needs_values
def flatness(
    W: ArrayLike, depth: ArrayLike, energy: Completion | Sensing, *, tol: float | None = None
) -> Check:
    """Whether the volume at a solution W is flatness times the volume along the solutions.

    With K the tangent kernel and g^N the metric on the directions that E does not see,

        log √det g^N = −½ log det K + ½ log det (g^N along the solutions),

    and at integer depth, where the residual is 0, the nonzero eigenvalues of the Hessian on
    balanced factors are N times those of K.

    **Arguments**: ``energy`` with weights 1, `Sensing` with orthonormal A. ``tol``: of the
    deviations, 1e−9 by default (float32: 1e−4).

    **Figures**: the deviations ``volume``, relative to 1 + |log √det|, and ``hessian``, relative to
    the largest eigenvalue; ``flatness`` and ``induced``. **Normalization**: [CMV]. **Raises**
    `DepthError`, `InputError`, `SingularOperatorError`. **Source**: theory: det K · det(A^{−1})
    of the free block = det A^{−1}.

    >>> import numpy as np, deeplinear as dl
    >>> W = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> energy = dl.Completion.from_dense(np.array([[2.0, np.nan], [np.nan, 1.0]]))
    >>> bool(dl.verify.flatness(W, 3, energy))
    True
    """
    W = check_matrix(W)
    check_depth(depth, scalar=True)
    if not isinstance(energy, Completion | Sensing) or not np.isin(energy.weights, (0, 1)).all():
        raise InputError("energy must be a Completion or a Sensing with weights of 1.")
    if isinstance(energy, Sensing):
        A = np.asarray(energy.A).reshape(len(energy.A), -1)
        if abs(A @ A.T - np.eye(len(A))).max() > 1e-5:
            raise InputError("energy must have orthonormal measurements A here.")
    total = float(log_volume(W, depth))
    across = float(asymptotics.flatness(W, depth, energy))
    along = asymptotics.log_induced_volume(W, depth, energy)
    deviations = {"volume": abs(total - across - along) / (1 + abs(total))}
    N = float(np.asarray(depth))
    if N.is_integer() and N * W.size <= 1000:  # more is left to the volume
        N = int(N)
        H = asymptotics.hessian_spectrum(energy, balanced_factors(W, N, 0))
        K = np.linalg.eigvalsh(asymptotics.tangent_kernel(energy, W, depth).as_matrix())[::-1]
        expected = np.zeros_like(H)
        expected[: K.size] = N * K[: H.size]
        deviations["hessian"] = np.abs(H - expected).max() / H[0]
    return within(
        "flatness",
        deviations,
        tolerance(tol, W.dtype, 1e-9),
        "Volume as flatness times induced volume, and the Hessian as N times the kernel,",
        flatness=across,
        induced=along,
    )
