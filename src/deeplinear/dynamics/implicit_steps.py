"""Linearly implicit steps of one flow in the SVD chart, by its exact Jacobian."""

import math
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from .ensembles.rosenbrock import BENDS_5, GAMMA_5, jacobian_solver, rodas5p
from .ensembles.singular import SingularPoint
from .motion import FlowProblem

# What counts as the error of a step, in units of the difference between its orders 5 and 4. By this
# much saved times err no more (a third in the median) than by Tsit5 and Kvaerno3 at the same
# tolerance, limits a tenth in the median (random completions of 2×2 … 5×5, N = 2, 3, 10, ∞).
ERROR = 3.0


class RodasInterpolation(dfx.AbstractLocalInterpolation):
    """The dense output of Rodas5P, of order 4: with θ from 0 to 1 along a step from y_0 to y_1,

        y(θ) = (1 − θ) y_0 + θ (y_1 + (1 − θ)(b_1 + θ (b_2 + θ b_3))),

    ``bends`` = (b_1, b_2, b_3) along a leading axis, sums of the stages. It needs no evaluation of
    the field, and no derivative at the ends: where the problem is stiff those say nothing about
    what lies between.

    **Source**: Steinebach, BIT 63:27, 2023.
    """

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
    y0: PyTree[Array]
    y1: PyTree[Array]
    bends: PyTree[Array]

    def evaluate(self, t0: Any, t1: Any | None = None, left: bool = True) -> PyTree[Array]:
        """y at t0; with t1, y(t1) − y(t0)."""
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        length = self.t1 - self.t0
        theta = jnp.where(length == 0, 0.0, (t0 - self.t0) / jnp.where(length == 0, 1.0, length))

        def between(y0: Array, y1: Array, b: Array) -> Array:
            bent = (1 - theta) * (b[0] + theta * (b[1] + theta * b[2]))
            return (1 - theta) * y0 + theta * (y1 + bent)

        return jax.tree.map(between, self.y0, self.y1, self.bends)


class LinearlyImplicit(dfx.AbstractAdaptiveSolver):
    """Rodas5P in the coordinates (U, log σ, V) of a square W of full rank.

    A step costs one LU factorization of size n², where the implicit Runge–Kutta methods of diffrax
    need several, of size 2n² + n.
    """

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar = RodasInterpolation

    @staticmethod
    def suits(y: PyTree[Array], most: int) -> bool:
        """Whether y is a state of such a W, of at most so many entries."""
        square = all(x.shape == (y[1].size,) * x.ndim for x in y)
        return square and y[1].size ** 2 <= most

    def order(self, terms: Any) -> int:
        return 5

    def init(self, terms: Any, t0: Any, t1: Any, y0: PyTree[Array], args: FlowProblem) -> None:
        return None

    def func(self, terms: Any, t0: Any, y0: PyTree[Array], args: FlowProblem) -> PyTree[Array]:
        return terms.vf(t0, y0, args)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: PyTree[Array],
        args: FlowProblem,
        solver_state: None,
        made_jump: Any,
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, PyTree[Array]], None, Any]:
        y1, error, bends = _step(terms, t0, t1 - t0, y0, args)
        return y1, error, {"y0": y0, "y1": y1, "bends": bends}, None, dfx.RESULTS.successful


@eqx.filter_jit  # within a program: diffrax asks for four traces of it
def _step(
    terms: Any, t: Any, h: Any, y0: PyTree[Array], problem: FlowProblem
) -> tuple[PyTree[Array], PyTree[Array], PyTree[Array]]:
    """The end of a step, its error, and what bends its path.

    A state is one vector, or (U, log σ, V).
    """
    start, whole = ravel_pytree(y0)

    def flow(y: Array) -> Array:
        return ravel_pytree(terms.vf(t, whole(y), problem))[0]

    def rate(point: SingularPoint) -> SingularPoint:
        return _in_one_lane(flow(_alone(point)))

    solve = jacobian_solver(rate, _in_one_lane(start), jnp.reshape(h * GAMMA_5, 1))
    trial = rodas5p(flow, lambda b: _alone(solve(_in_one_lane(b))), start, h)
    bends = jnp.asarray(BENDS_5, start.dtype) @ trial.stages
    return whole(trial.end), whole(ERROR * trial.error), jax.vmap(whole)(bends)


def _in_one_lane(y: Array) -> SingularPoint:
    """(U, log σ, V) from one vector of 2n² + n numbers."""
    n = math.isqrt(y.size // 2)
    U, log_s, V = jnp.split(y, (n * n, n * n + n))
    return SingularPoint(U.reshape(n, n, 1), log_s[:, None], V.reshape(n, n, 1))


def _alone(point: SingularPoint) -> Array:
    return jnp.concatenate([x.reshape(-1) for x in point])
