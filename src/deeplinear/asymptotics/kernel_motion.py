"""How the tangent kernel moves along a run: lazy training leaves it, rich training turns it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from numpy.typing import NDArray

from ..dynamics.results import FlowResult
from ..energies import Completion, Sensing
from ..errors import InputError
from ..exact.riccati import TwoLayer
from ..geometry.kernel import kernel
from ..geometry.leaf import DepthLike, Imbalance, on_leaf
from ..labelled import Numbers
from ..transforms import needs_values

Floats = NDArray[np.float64]


class _KernelMotion(NamedTuple):
    distance: Float[np.ndarray, " t"]
    growth: Float[np.ndarray, " t"]


class KernelMotion(Numbers, _KernelMotion):
    """The tangent kernel K at the times of a run, beside the first of them.

    ``distance``: 1 − ⟨K(t), K(0)⟩/(‖K(t)‖ ‖K(0)‖), in [0, 1]: how far it turned. ``growth``:
    ‖K(t)‖/‖K(0)‖, in the Frobenius norm of operators.
    """

    _axis = "step"


@needs_values
def kernel_motion(
    run: FlowResult | TwoLayer | ArrayLike,
    depth: DepthLike | None = None,
    energy: Completion | Sensing | ArrayLike | None = None,
    *,
    imbalance: Imbalance = 0.0,
) -> KernelMotion:
    """How far the tangent kernel is from where it was at the first time of a run.

    The kernel is A_{N,W} on m×n matrices, by which E′ moves W, or with an ``energy`` the K of
    `tangent_kernel` on its residuals. Where it stays training is that of a linear model (lazy);
    where it turns features are learned (rich).

    **Arguments**: ``run``: a `FlowResult` with saved times, matrices W (times, m, n), or what
    `exact.two_layer` returns (which knows its kernel: no ``depth``, any leaf and shape).
    ``depth``, ``imbalance``: those of the run. ``energy``: a `Completion`, a `Sensing`, or a mask
    of observed entries; None for all entries.

    **Raises** `DepthError`, `InputError`, also where the kernel of the first time vanishes.
    **Normalization**: none is left. **Source**: Fort et al. 2020 (the distance); Jacot, Gabriel,
    Hongler 2018; the kernel of deep linear networks: Arora, Cohen, Hazan 2018.

    >>> import deeplinear as dl, numpy as np
    >>> W = np.stack([np.diag([1.0, 1.0]), np.diag([4.0, 1.0]), np.diag([4.0, 0.0])])
    >>> dl.asymptotics.kernel_motion(W, 2).distance.round(4).tolist()
    [0.0, 0.0794, 0.1835]
    """
    frames = _of_two_layers(run) if isinstance(run, TwoLayer) else _frames(run, depth, imbalance)
    if energy is not None:
        U, values, V = frames
        return _motion(*_residual_kernels(U, values, V, energy))
    U, values, V = frames
    # ⟨A, A′⟩ of operators that are diagonal in u_i v_jᵀ and u′_k v′_lᵀ
    left, right = (np.square(np.swapaxes(X[:1], 1, 2) @ X) for X in (U, V))
    products = np.sum(values[:1] * (left @ values @ np.swapaxes(right, 1, 2)), (1, 2))
    return _motion(products, np.sqrt(np.sum(values**2, (1, 2))))


def _motion(products: Floats, sizes: Floats) -> KernelMotion:
    if not sizes[0] > 0:
        raise InputError("run must not start where the tangent kernel vanishes, as at W = 0.")
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = products / (sizes * sizes[0])
    return KernelMotion(np.clip(1 - cosine, 0.0, 1.0), sizes / sizes[0])


def _frames(
    run: FlowResult | ArrayLike, depth: DepthLike | None, imbalance: Imbalance
) -> tuple[Floats, Floats, Floats]:
    """U (t, m, m), eigenvalues (t, m, n), V (t, n, n): A(u_i v_jᵀ) = λ_ij u_i v_jᵀ."""
    W = np.asarray(run.W if isinstance(run, FlowResult) else run, float)
    if W.ndim != 3 or 0 in W.shape or not np.isfinite(W).all():
        raise InputError(
            "run must hold finite matrices at several times, (times, m, n): give the flow saveat; "
            f"got shape {W.shape}."
        )
    if depth is None:
        raise InputError("depth must be given: the kernel depends on it.")
    on_leaf(depth, imbalance, shape=W.shape[1:], scalar=True)
    U, s, Vt = np.linalg.svd(W)
    if isinstance(run, FlowResult):
        s = np.asarray(run.singular_values, float)  # small ones keep their digits in the flow
    missing = [(0, 0), (0, max(W.shape[1:]) - s.shape[1])]
    s = np.pad(s, missing)
    m, n = W.shape[1:]
    values = np.asarray(kernel(s[:, :m, None], s[:, None, :n], depth, imbalance), float)
    return U, values, np.swapaxes(Vt, 1, 2)


def _of_two_layers(run: TwoLayer) -> tuple[Floats, Floats, Floats]:
    """The same for Z ↦ ½ (W_2W_2ᵀ Z + Z W_1ᵀW_1)."""
    if run.W.ndim != 3:
        raise InputError("run must hold several times, got one: give two_layer a vector t.")
    (a, U), (b, V) = np.linalg.eigh(run.gram2), np.linalg.eigh(run.gram1)
    return U, (a[:, :, None] + b[:, None, :]) / 2, V


def _residual_kernels(
    U: Floats, values: Floats, V: Floats, energy: Completion | Sensing | ArrayLike
) -> tuple[Floats, Floats]:
    """⟨K(t), K(0)⟩ and ‖K(t)‖ of K_lq = √w_l ⟨A_l, A(A_q)⟩ √w_q on residuals."""
    if isinstance(energy, Sensing):
        A, weights = np.asarray(energy.A, float), np.asarray(energy.weights, float)
    else:
        mask = np.asarray(energy.weights if isinstance(energy, Completion) else energy, float)
        if mask.shape != values.shape[1:] or not mask.any():
            raise InputError(
                f"energy must observe entries of the {values.shape[1]}×{values.shape[2]} matrices "
                f"of run, got shape {mask.shape}."
            )
        rows, columns = np.nonzero(mask)
        A, weights = np.zeros((rows.size, *mask.shape)), mask[rows, columns]
        A[np.arange(rows.size), rows, columns] = 1
    if A.shape[1:] != values.shape[1:]:
        raise InputError(
            f"energy must measure matrices of the shape {values.shape[1:]} of run, got "
            f"{A.shape[1:]}."
        )
    A = A * np.sqrt(weights)[:, None, None]
    products, sizes, first = [], [], None
    for u, x, v in zip(U, values, V, strict=True):
        seen = (u.T @ A @ v).reshape(len(A), -1)
        K = (seen * x.ravel()) @ seen.T
        first = K if first is None else first
        products.append(np.sum(K * first))
        sizes.append(np.linalg.norm(K))
    return np.array(products), np.array(sizes)
