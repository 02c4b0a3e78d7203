"""Linearly implicit steps of one flow in the SVD chart, by its exact Jacobian."""

from typing import Any, ClassVar

import diffrax as dfx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .coordinates import Frames
from .ensembles.rosenbrock import GAMMA_5, jacobian_solver, rodas5p
from .ensembles.singular import SingularPoint
from .motion import FlowProblem


class LinearlyImplicit(dfx.AbstractAdaptiveSolver):
    """Rodas5P in the coordinates (U, log σ, V) of a square W of full rank.

    A step costs one LU factorization of size n², where the implicit Runge–Kutta methods of diffrax
    need several, of size 2n² + n.
    """

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar = dfx.ThirdOrderHermitePolynomialInterpolation

    @staticmethod
    def suits(y: PyTree[Array], most: int) -> bool:
        """Whether y is a state of such a W, of at most so many entries."""
        square = all(x.shape == (y[1].size,) * x.ndim for x in y)
        return square and y[1].size ** 2 <= most

    def order(self, terms: Any) -> int:
        return 5

    def init(self, terms: Any, t0: Any, t1: Any, y0: Frames, args: FlowProblem) -> None:
        return None

    def func(self, terms: Any, t0: Any, y0: Frames, args: FlowProblem) -> Frames:
        return terms.vf(t0, y0, args)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Frames,
        args: FlowProblem,
        solver_state: None,
        made_jump: Any,
    ) -> tuple[Frames, Frames, dict[str, Frames], None, Any]:
        h = t1 - t0

        def rate(point: SingularPoint) -> SingularPoint:
            return _in_one_lane(terms.vf(t0, _alone(point), args))

        start = _in_one_lane(y0)
        solved = jacobian_solver(rate, start, jnp.reshape(h * GAMMA_5, 1))
        end, _, error = rodas5p(rate, solved, start, h)
        y1 = _alone(end)
        k0, k1 = (jax.tree.map(lambda x: h * x, terms.vf(t0, y, args)) for y in (y0, y1))
        dense = {"y0": y0, "y1": y1, "k0": k0, "k1": k1}
        return y1, _alone(error), dense, None, dfx.RESULTS.successful


def _in_one_lane(y: Frames) -> SingularPoint:
    U, log_s, V = y
    return SingularPoint(U[..., None], log_s[..., None], V[..., None])


def _alone(point: SingularPoint) -> Frames:
    U, log_s, V = (x[..., 0] for x in point)
    return U, log_s, V
