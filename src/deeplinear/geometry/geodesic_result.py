"""What geodesics return, how it is drawn and handed on."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ..checks import is_traced
from ..labelled import Labelled, Variable, ending, number_range, status_variable
from ..run_plots import Entry, Runs
from ..status import Status
from ..transforms import needs_values


class Geodesic(Labelled, eqx.Module):
    """Points of a geodesic: what `exp` and `path` of `geodesic` return.

    - ``W``, ``velocity``: m×n each, with the leading axis of ``t`` where several times were asked
      for.
    - ``length``: the g^N-length from t = 0 to each t (times that were not reached: infinite, as W).
      ``error``: by how much the speed ‖Ẇ‖_g, which a geodesic keeps, has drifted there, relatively.
    - ``status``: a code of `Status`; ``converged``: whether it is as asked.
    """

    t: Float[Array, "*t"]
    W: Float[Array, "*t m n"]
    velocity: Float[Array, "*t m n"]
    length: Float[Array, "*t"]
    status: Array
    error: Float[Array, "*t"]

    @property
    def converged(self) -> Array:
        return Status.succeeded(self.status)

    @needs_values
    def plot(self, *names: str, ax: Any = None, plane: tuple[Entry, Entry] | None = None) -> Any:
        """Draw the geodesic: by default its singular values against t, where t has several times.

        **Arguments**: ``names``: of "singular_values", "effective_rank", "paths" (in a plane) and
        "endpoints". ``ax``, ``plane``, the result and errors: as for `FlowResult.plot`.

        >>> import deeplinear as dl, numpy as np
        >>> path = dl.geodesic.exp(np.diag([2.0, 1.0]), np.eye(2), 2, np.linspace(0, 1, 5))
        >>> [len(line.get_xdata()) for line in path.plot().lines]
        [5, 5]
        """
        W = np.asarray(self.W)
        W = W.reshape(1, -1, *W.shape[-2:])
        finite = np.isfinite(W).all((-2, -1), keepdims=True)
        with np.errstate(divide="ignore"):
            log_s = np.log(np.linalg.svd(np.where(finite, W, 0.0), compute_uv=False))
        runs = Runs(
            np.reshape(np.asarray(self.t), (1, -1)),
            np.where(finite[..., 0], log_s, np.nan),
            W,
            None,
            np.reshape(np.asarray(self.status), -1)[:1],
            np.ndim(self.t) > 0,
            how="give several times t to geodesic.exp",
            xlabel="time t along the geodesic",
        )
        return runs.plot(names, ax, ("singular_values",), plane)

    def _variables(self) -> dict[str, Variable]:
        dims = ("time",) * np.ndim(self.t)
        found = {"time" if dims else "t": Variable(dims, self.t, "along the geodesic", "1")}
        return found | {
            "W": Variable((*dims, "row", "column"), self.W, "points of the geodesic"),
            "velocity": Variable((*dims, "row", "column"), self.velocity, "dW/dt"),
            "length": Variable(dims, self.length, "length in the metric, from t = 0"),
            "error": Variable(dims, self.error, "relative drift of the speed"),
            "status": status_variable((), self.status),
        }

    def _attributes(self) -> dict[str, Any]:
        return {"status": ending(self.status)}

    def _lines(self) -> list[str]:
        m, n = self.W.shape[-2:]
        if is_traced(self):
            return [f"{m}×{n}, traced: its numbers are known outside jit, vmap and grad"]
        head = f"{m}×{n}, {np.size(self.t):,} points to t = {number_range(np.max(self.t))}"
        errors = f"drift of the speed {number_range(np.max(self.error), '.1g')}"
        return [head, ending(self.status), f"length {number_range(np.max(self.length))}, {errors}"]


class Logarithm(Labelled, eqx.Module):
    """The initial velocity of a geodesic from W_0 to W_1 in unit time: what `geodesic.log` returns.

    - ``Z``: the velocity at W_0, m×n. ``distance``: its length ‖Z‖_g. ``momenta``: A^{−1}(Ẇ) at
      both ends; the derivative of the distance along a motion of the end points is (⟨P_1, δW_1⟩ −
      ⟨P_0, δW_0⟩)/distance.
    - ``error``: by how much exp(Z) misses W_1, as a g^N-length at W_1. ``status``, ``converged``.
    """

    Z: Float[Array, "m n"]
    distance: Float[Array, ""]
    momenta: tuple[Float[Array, "m n"], Float[Array, "m n"]]
    error: Float[Array, ""]
    status: Array

    @property
    def converged(self) -> Array:
        return Status.succeeded(self.status)

    def _variables(self) -> dict[str, Variable]:
        at_start, at_end = self.momenta
        return {
            "Z": Variable(("row", "column"), self.Z, "the velocity at W_0"),
            "momentum_0": Variable(("row", "column"), at_start, "the momentum at W_0"),
            "momentum_1": Variable(("row", "column"), at_end, "the momentum at W_1"),
            "distance": Variable((), self.distance, "length in the metric"),
            "error": Variable((), self.error, "by how much exp(Z) misses W_1"),
            "status": status_variable((), self.status),
        }

    def _attributes(self) -> dict[str, Any]:
        return {"status": ending(self.status)}

    def _lines(self) -> list[str]:
        m, n = self.Z.shape[-2:]
        if is_traced(self):
            return [f"{m}×{n}, traced: its numbers are known outside jit, vmap and grad"]
        head = f"{m}×{n}: distance {number_range(self.distance, '.6g')}"
        return [head, ending(self.status), f"misses the end by {number_range(self.error, '.1g')}"]
