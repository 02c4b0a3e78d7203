"""Where label noise takes two layers in the end: the flattest of the solutions."""

import dataclasses

import numpy as np

from ..checks import check_integer
from ..energies import Completion
from ..errors import InputError
from ..labelled import Numbers
from ..status import Status
from ..transforms import needs_values


@dataclasses.dataclass(frozen=True, repr=False)
class LabelNoiseLimit(Numbers):
    """The result of `label_noise_limit`.

    ``W``: the limit. ``trace``: the trace of the Hessian there, at the flattest factors.
    ``gap``: how far ``trace`` may be above its minimum, relative to it, by a dual bound.
    ``status``: `Status.converged` where the gap is ≤ 1e−8.
    """

    W: np.ndarray
    trace: float
    gap: float
    status: Status


@needs_values
def label_noise_limit(energy: Completion, *, max_steps: int = 100_000) -> LabelNoiseLimit:
    """Where two layers come to rest under label noise, as the step η → 0: of all W that fit the
    data, the one at whose factors the trace of the Hessian is least,

        min tr ∇²L = min 2 ‖D^{1/2} W C^{1/2}‖_*    over W_ij = M_ij on Ω,

    with D and C the numbers of observed entries in each row and column: the minimum of the nuclear
    norm where these are all alike, of the weighted one elsewhere. (tr ∇²L = Σ_Ω ‖row i of W_2‖² +
    ‖column j of W_1‖², least at fixed W by the inequality of the two means.)

    Descent that sees labels with fresh noise of deviation ν in each step drifts along the solutions
    against the gradient of (ην²/4) tr ∇²L, so it takes about 1/(ην)² steps; what is left is a bias
    of order ην². ``W`` need not be unique: (0.9, ·; ·, 0.9) has a whole segment of minima.

    **Arguments**: ``energy`` with weights 1, some entry observed in every row and column.
    ``max_steps`` of the splitting by Douglas and Rachford that solves the convex problem. Hidden
    width: at least the rank of the limit. **Raises** `InputError`. **Source**: Blanc et al. 2020,
    Damian, Ma, Lee 2021, Li, Wang, Arora 2022 for the drift; Varre et al. 2024 for rank.

    >>> import deeplinear as dl, numpy as np
    >>> energy = dl.Completion.from_dense(np.array([[0.3, 1.0], [1.2, np.nan]]))
    >>> dl.asymptotics.label_noise_limit(energy).W.round(4).tolist()  # the nuclear norm: 0.3
    [[0.3, 1.0], [1.2, 0.6]]
    """
    if not isinstance(energy, Completion):
        raise InputError(f"energy must be a Completion, got {type(energy).__name__}.")
    steps = check_integer(max_steps, "max_steps")
    weights = np.asarray(energy.weights, float)
    if not np.isin(weights, (0.0, 1.0)).all():
        raise InputError("energy must have weights of 1: with others noise is not ∝ the Hessian.")
    seen = weights > 0
    rows, cols = seen.sum(1, keepdims=True), seen.sum(0, keepdims=True)
    if not (rows.all() and cols.all()):
        raise InputError("energy must observe some entry in every row and column.")
    scale = np.sqrt(rows * cols)
    B = np.where(seen, scale * np.asarray(energy.target, float), 0.0)
    # 2 ‖X‖_* for X = D^{1/2} W C^{1/2}, whose entries on Ω are known
    rho = 0.5 * np.linalg.norm(B, 2) or 1.0
    Z, X, value, gap = B.copy(), B, 0.0, np.inf
    for k in range(steps):
        X = np.where(seen, B, Z)
        if k % 20 == 0:
            value, gap = _gap(X, (X - Z) / rho, B)
            if gap <= 1e-8:
                break
        U, s, Vt = np.linalg.svd(2 * X - Z, full_matrices=False)
        Z = Z + (U * np.maximum(s - rho, 0.0)) @ Vt - X
    status = Status.converged if gap <= 1e-8 else Status.not_converged
    return LabelNoiseLimit(X / scale, 2 * value, gap, status)


def _gap(X: np.ndarray, Y: np.ndarray, B: np.ndarray) -> tuple[float, float]:
    """‖X‖_*, and how far above its minimum it may be: any Y on Ω with ‖Y‖_2 ≤ 1 bounds that from
    below by ⟨Y, B⟩.
    """
    value = float(np.linalg.norm(X, "nuc"))
    bound = float(np.sum(Y * B)) / max(1.0, float(np.linalg.norm(Y, 2)))
    return value, (value - bound) / value if value > 0 else 0.0
