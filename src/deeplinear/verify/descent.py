"""Whether descent in finite steps is as far from the flow as its theory says."""

import math
import warnings
from collections.abc import Sequence

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..checks import check_integer, check_positive
from ..compilation import program
from ..dynamics.descent import descend
from ..dynamics.descent.loss import FactorLoss, Factors, squared_norm
from ..dynamics.factors import check_factors
from ..dynamics.flow import factor_flow
from ..energies import Energy, check_energy
from ..errors import ImbalanceWarning, PrecisionError
from ..recorded import recorded
from ..transforms import needs_values
from .result import Check

#: Of the flows that descent is compared with.
_RTOL = 1e-12


@needs_values
def step_size(
    energy: Energy,
    factors: Sequence[Array | np.ndarray],
    t1: float,
    *,
    step: float | None = None,
    halvings: int = 5,
    weight_decay: float = 0.0,
    tol: float = 0.05,
) -> Check:
    """Whether gradient descent stays as close to the flow of the factors as its step is small.

    Descent with step η, W_p ← W_p − η ∂_p L, is compared at the time t1 with two flows:

        `factor_flow`, the limit η → 0:    distance O(η),
        Ẇ_p = −∂_p (L + (η/4) ‖∇L‖²):      distance O(η²),

    the second being the modified flow of backward error analysis: descent follows, to the next
    order, the flow of a loss that penalizes steep places.

    **Arguments**: ``factors``, of any widths, balanced or not. ``t1``: in the time of
    `factor_flow`, N times that of descent. ``step``: the largest η, by default that of 64 steps;
    ``halvings``: how often it is halved. ``weight_decay``: λ. ``tol``: of the orders.

    **Figures**: ``order`` and ``modified_order``, of the last halving; ``steps`` η, ``distances``
    and ``modified_distances`` at each, in ‖·‖_F of all factors relative to those of the flow.

    **Normalization**: t1 as in [CMV], η that of plain descent. **Raises** as `descend` and
    `factor_flow`, `PrecisionError` for float32, which resolves no orders. **Source**: Barrett,
    Dherin 2021 (2009.11162) for the modified flow.

    >>> import deeplinear as dl, numpy as np
    >>> energy = dl.Completion.from_dense(np.diag([2.0, 1.0]))
    >>> factors = dl.balanced_factors(np.array([[0.5, 0.1], [0.2, 0.3]]), 3)
    >>> check = dl.verify.step_size(energy, factors, t1=2.0)
    >>> bool(check), round(check.figures["order"], 2), round(check.figures["modified_order"], 2)
    (True, 1.0, 2.0)
    """
    F = check_factors(factors)
    shape = F[-1].shape[0], F[0].shape[1]
    if check_energy(energy, shape, F[0].dtype) != np.float64:
        raise PrecisionError(
            "factors must be float64 here, in which orders show: "
            "jax.config.update('jax_enable_x64', True) before they are made."
        )
    F = tuple(W.astype(np.float64) for W in F)
    tau = check_positive(t1, "t1") / len(F)
    first = 64 if step is None else math.ceil(tau / check_positive(step, "step") - 1e-9)
    counts = first * 2 ** np.arange(check_integer(halvings, "halvings") + 1)
    steps = tau / counts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImbalanceWarning)  # it follows the flow of the factors
        flow = factor_flow(energy, F, t1=t1, weight_decay=weight_decay, rtol=_RTOL)
    loss = FactorLoss(recorded(energy, shape, F[0].dtype), jnp.asarray(weight_decay, float))
    near, nearer = [], []
    for eta, count in zip(steps, counts.tolist(), strict=True):
        end = descend(
            energy, F, optimizer=eta, steps=count, weight_decay=weight_decay, stop=False
        ).factors
        near.append(_distance(end, flow.factors or ()))
        modified = _modified_flow(loss, F, jnp.asarray(eta), jnp.asarray(tau))
        nearer.append(_distance(end, modified))
    with np.errstate(all="ignore"):
        order, modified_order = (
            float(np.log2(d[-2] / d[-1])) for d in map(np.array, (near, nearer))
        )
    passed = abs(order - 1) <= tol and abs(modified_order - 2) <= 2 * tol
    text = (
        f"The distance of descent from the flow falls like η^{order:.3f} (η is right), from the "
        f"modified flow like η^{modified_order:.3f} (η² is right)."
    )
    figures = {
        "order": order,
        "modified_order": modified_order,
        "steps": steps,
        "distances": np.array(near),
        "modified_distances": np.array(nearer),
    }
    return Check("step size", passed, figures, text)


def _distance(factors: Sequence[np.ndarray], others: Sequence[Array]) -> float:
    """‖F − F′‖/‖F′‖ over all factors together; infinite where one is not finite."""
    pairs = [(np.asarray(A), np.asarray(B)) for A, B in zip(factors, others, strict=True)]
    with np.errstate(all="ignore"):
        gap = math.sqrt(sum(float(np.sum((A - B) ** 2)) for A, B in pairs))
        size = math.sqrt(sum(float(np.sum(B**2)) for _, B in pairs))
        return gap / size if math.isfinite(gap) and size > 0 else math.inf


@program
def _modified_flow(loss: FactorLoss, factors: Factors, eta: Array, tau: Array) -> Factors:
    """Ẇ_p = −∂_p (L + (η/4) ‖∇L‖²) from the factors to the time τ of descent."""

    def field(t: ArrayLike, F: Factors, args: tuple[FactorLoss, Array]) -> Factors:
        loss, eta = args
        # ∇(½‖∇L‖²) = ∇²L ∇L, one product with the Hessian
        slopes = lambda X: loss.slopes(X)[2]  # noqa: E731
        G = slopes(F)
        turned = jax.jvp(slopes, (F,), (G,))[1]
        return tuple(-(g + 0.5 * eta * h) for g, h in zip(G, turned, strict=True))

    solution = dfx.diffeqsolve(
        dfx.ODETerm(field),
        dfx.Dopri8(),
        0.0,
        tau,
        None,
        factors,
        (loss, eta),
        stepsize_controller=dfx.PIDController(
            rtol=_RTOL, atol=_RTOL * jnp.sqrt(squared_norm(factors))
        ),
        max_steps=100_000,
        adjoint=dfx.ForwardMode(),
        throw=False,
    )
    return jax.tree.map(lambda x: x[0], solution.ys)
