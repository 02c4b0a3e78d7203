"""Whether a run has converged or goes round in a cycle: judged after every `STRIDE` steps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...geometry.kernel import inverse_depth
from ..coordinates import FactorCoordinates
from ..motion import FlowProblem
from ..stops import sizes
from .loss import FactorLoss, Factors, multiplied, squared_norm

#: Runs are judged after this many steps, counted from the start of training.
STRIDE = 128
#: The longest cycle that is looked for: two turns of it fit between two judgements.
LONGEST = STRIDE // 2
#: How much farther away the other points of a cycle are, at least, than what counts as back.
CLEAR = 1000.0
#: Of the energies at the start and at 0: the size beyond which training has diverged.
BOUND = 1e15


def look(
    factors: Factors, anchor: Array, returns: Array, v: Array, size: Array
) -> tuple[Array, Array, Array]:
    """(W, the period of a cycle or 0, the diameter of the way since the anchor).

    ``returns``: ‖W_j − W_0‖ for the j-th step since the anchor, valid below ``v``.
    """
    W = multiplied(factors)
    j = jnp.arange(STRIDE + 1)
    d = jnp.append(returns, 0.0)
    d = jnp.where(j == v, jnp.sqrt(jnp.sum((W - anchor) ** 2)), d)
    valid = (j <= v) & (j > 0)
    diameter = jnp.max(jnp.where(valid, d, 0.0))
    return W, period_of(d, valid, v, diameter, size), diameter


def period_of(d: Array, valid: Array, v: Array, diameter: Array, size: Array) -> Array:
    """The period of the cycle in which a run has gone round twice at least, or 0.

    It is back at the anchor, to √ε of the diameter, after every p-th step, and `CLEAR` times as far
    away after every other: while a cycle of two still settles, its 16th step may be the first that
    is back. What only converges while it oscillates, by a factor μ a step, is not back
    as long as 1 − |μ| > √ε.
    """
    fine = jnp.sqrt(jnp.finfo(d.dtype).eps)
    j = jnp.arange(d.size)
    back = (d <= fine * diameter) & valid
    p = jnp.where(jnp.any(back), jnp.argmax(back), 1)
    elsewhere = valid & (j % p != 0)
    regular = jnp.all(jnp.where(valid, back | elsewhere, True))
    clear = jnp.all(jnp.where(elsewhere, d > CLEAR * fine * diameter, True))
    seen = (p >= 2) & (p <= LONGEST) & (2 * p <= v)
    return jnp.where(seen & regular & clear & (diameter > fine * size), p, 0)


def is_near(loss: FactorLoss, factors: Factors, diameter: Array, size: Array, rtol: Array) -> Array:
    """Whether the gradient is small enough, and the way so short, that `is_still` is worth asking.

    The gradient on the factors is compared with its terms, ‖E′‖ ∏_{q≠p} ‖W_q‖ and λ ‖W_p‖: near
    W = 0 both are small, and no limit.
    """
    W, _, slopes = loss.slopes(factors)
    W_norms = jnp.stack([jnp.sqrt(jnp.sum(F**2)) for F in factors])
    G = jnp.sqrt(jnp.sum(jax.grad(loss.energy_of)(0 * W) ** 2))
    G = jnp.fmax(G, jnp.sqrt(jnp.sum(jax.grad(loss.energy_of)(W) ** 2)))
    others = [jnp.prod(jnp.delete(W_norms, p)) for p in range(len(factors))]
    terms = G * jnp.sqrt(sum(x**2 for x in others)) + loss.decay * jnp.sqrt(jnp.sum(W_norms**2))
    short = diameter <= 30 * jnp.sqrt(jnp.finfo(W.dtype).eps) * size
    return short & (jnp.sqrt(squared_norm(slopes)) <= 100 * rtol * terms)


def is_still(loss: FactorLoss, factors: Factors, rtol: Array) -> Array:
    """Whether what of the gradient moves W, or would let it grow, is 10 ``rtol`` of its terms.

    The same question as `gradient_flow` stops by, so that a saddle is no limit, however slowly it
    is left.
    """
    N = len(factors)
    dtype = factors[0].dtype
    nothing = jnp.asarray(-jnp.inf, dtype)
    nu = inverse_depth(N, dtype)
    problem = FlowProblem(loss.energy, nu, loss.decay, nothing, rtol)
    W = multiplied(factors)
    here = sizes(W, problem)
    origin = jnp.sqrt(jnp.sum(problem.gradient(0 * W) ** 2))
    origin = jnp.where(jnp.isfinite(origin), origin, 0.0)
    moving = FactorCoordinates(N).motion(factors, problem, here.curvature).gradient
    return moving <= 10 * rtol * jnp.fmax(here.terms, origin)
