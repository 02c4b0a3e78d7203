"""Implicit regularization: the gradient flow of a deep linear network from a small start, stopped
early.

Ẇ = −A_{N,W}(E′(W)) is followed from one level of the training energy to the next, so that the
held-out error can be watched along the way. W has rank k and the flow is integrated on two frames
and a k×k core (`gradient_flow`, chart "thin").
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from .convex import Fit, Problem
from .search import additive

# The path of levels E(t)/E(0): every so much, down to the tolerance.
RATIO = 0.85
# Components carried unless `max_rank` says otherwise: a step costs O(mnk + k³).
COMPONENTS = 50
# The singular values of the start lie within this factor of each other.
SPREAD = math.e


def levels(last: float) -> list[float]:
    """E(t)/E(0) = 0.85, 0.85², …, down to ``last`` in (0, 1)."""
    return [RATIO**i for i in range(1, math.ceil(math.log(last) / math.log(RATIO)))] + [last]


def flow(
    problem: Problem,
    depth: float,
    stops: Iterable[float],
    *,
    start_scale: float,
    max_rank: int | None,
    max_steps: int,
    seed: int,
) -> Iterator[Fit]:
    """The flow of ``problem`` at each level E(t)/E(0) of ``stops`` (decreasing), as a `Fit` with
    the steps so far.

    The biases are those of the additive model, fixed; W starts at random frames with singular
    values of about ``start_scale`` σ_1 of the zero-filled data. Singular values that are not
    carried are zero, which the flow keeps for N < ∞; at N = ∞ zeros would also freeze the row and
    column spaces, so there they form a bulk of the size of the start. It ends early, without
    ``converged``, when ``max_steps`` of a level are used up.
    """
    import jax
    import jax.numpy as jnp

    from ...dynamics.flow import gradient_flow
    from ...energies import Completion
    from ...geometry.point import LogSVD

    m, n = problem.X.shape
    seen = problem.weights > 0
    biases = additive(problem) if problem.bias_ridge is not None else Fit.zero(m, n)
    target = np.where(seen, problem.X - biases.matrix(), np.nan)
    total = 0.5 * float(np.sum((problem.weights * target**2)[seen]))
    if total == 0:
        yield replace(biases, converged=True)
        return
    rng = np.random.default_rng(seed)
    k = min(m, n, max_rank or COMPONENTS)
    U, V = (np.linalg.qr(rng.normal(size=(side, k)))[0] for side in (m, n))
    size = start_scale * float(np.linalg.norm(np.where(seen, target, 0.0), 2))
    log_s = np.log(size) - np.linspace(0, np.log(SPREAD), k)
    trace: tuple[float, ...] = (total,)
    steps, t = 0, 0.0
    with jax.enable_x64(True):
        energy = Completion.from_dense(target, problem.weights)
        point = LogSVD(jnp.asarray(U), jnp.asarray(log_s), jnp.asarray(V.T))
    for level in stops:
        with jax.enable_x64(
            True
        ):  # not around the yield: what the caller does meanwhile keeps the caller's precision
            leg = gradient_flow(
                energy,
                point,
                depth,
                t0=t,
                stop_energy=level * total,
                rtol=1e-3,
                bulk=float(np.exp(log_s[-1])) if math.isinf(depth) else 0.0,
                chart="dense" if depth < 2 else "thin",
                max_steps=max_steps,
            )
            point, t = leg.end, float(leg.t_end)
            steps, trace = steps + int(leg.stats["steps"]), (*trace, float(leg.energy))
            factors = {
                "U": np.asarray(point.U),
                "s": np.exp(np.asarray(point.log_s)),
                "Vt": np.asarray(point.Vt),
            }
            converged = bool(leg.converged)
        yield replace(biases, **factors, objective=trace, n_sweeps=steps, converged=converged)
        if not converged:
            return
