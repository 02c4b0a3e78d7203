"""The results of flows and diffusions: what they hold, how they are drawn and handed on."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import is_traced
from ..geometry.point import LogSVD
from ..labelled import (
    Labelled,
    Variable,
    about_depth,
    depth_of,
    ending,
    factor_variables,
    number_range,
    spectrum_line,
    status_variable,
    times,
)
from ..run_plots import Entry, Runs, last_reached
from ..status import Status
from ..transforms import needs_values


class Trajectories(Labelled):
    """What flows and diffusions have in common: points W of runs, at saved times or at the end.

    Leading axes are those of ``status``, then there may be one of times.
    """

    ts: Any
    W: Any
    energy: Any
    log_singular_values: Any
    status: Any
    factors: Any
    depth: Any
    _noun = "flow"  # what one run is called,
    _axis = "run"  # and the dimension of several

    @property
    def singular_values(self) -> Float[Array, "*t k"]:
        return jnp.exp(self.log_singular_values)

    @property
    def converged(self) -> Array:
        """Whether it ended as asked: at t1, or at a stop."""
        return Status.succeeded(self.status)

    @property
    def _saved(self) -> bool:
        """Whether there are saved times."""
        return np.ndim(self.ts) > np.ndim(self.status)

    def _pictures(self) -> tuple[str, ...]:
        raise NotImplementedError

    @needs_values
    def plot(self, *names: str, ax: Any = None, plane: tuple[Entry, Entry] | None = None) -> Any:
        """Draw it: by default singular values and energy against time, on new axes.

        **Arguments**

        - ``names``: of "singular_values", "energy", "effective_rank" (of one run against time, of
          several a histogram at the end), "endpoints" and "paths" (in the plane of two entries).
        - ``ax``: Axes of matplotlib to draw on, one for each name; one alone gets the first.
        - ``plane``: two entries ((row, column), (row, column)) from 0; by default those in which
          the ends of several runs spread most.

        Without ``saveat`` there are the ends alone: the singular values of one run, and of several
        chains their place in a plane and their effective ranks. Several runs are drawn as thin
        lines, with their median at the times that all of them reached. Runs that did not end as
        asked are counted in the title or the legend.

        **Returns** the Axes, or an array of them. **Raises** `InputError` for a name that it does
        not have, for axes that do not match, and where there are no saved times to draw.

        >>> import deeplinear as dl, numpy as np
        >>> energy = dl.Completion.from_dense(np.array([[2.0, 1.0], [1.0, np.nan]]))
        >>> start = np.array([[0.03, 0.01], [0.01, 0.02]])
        >>> flow = dl.gradient_flow(energy, start, 2, t1=8.0, saveat=np.linspace(0, 8, 50))
        >>> [axis.get_ylabel() for axis in flow.plot()]
        ['singular values of W', 'energy E(W)']
        >>> flow.plot("paths").get_xlabel()
        '$w_{11}$'
        """
        return self._runs().plot(names, ax, self._pictures(), plane)

    def _runs(self) -> Runs:
        runs = int(np.size(self.status))

        def stacked(x: Any, inner: int) -> np.ndarray:
            x = np.asarray(x)
            length = x.shape[np.ndim(self.status)] if self._saved else 1
            return x.reshape(runs, length, *x.shape[x.ndim - inner :])

        return Runs(
            stacked(self.ts, 0),
            stacked(self.log_singular_values, 1),
            stacked(self.W, 2),
            None if self.energy is None else stacked(self.energy, 0),
            np.asarray(self.status).reshape(runs),
            self._saved,
            noun=self._noun,
        )

    def _dims(self) -> tuple[str, ...]:
        """The names of the leading axes, without that of times."""
        return tuple(f"{self._axis}_{i}" if i else self._axis for i in range(np.ndim(self.status)))

    def _variables(self) -> dict[str, Variable]:
        runs = self._dims()
        dims = (*runs, "time") if self._saved else runs
        log_s = np.asarray(self.log_singular_values)
        found = times(np.asarray(self.ts), dims) | {
            "W": Variable((*dims, "row", "column"), self.W, "the end-to-end matrix"),
            "singular_values": Variable((*dims, "k"), np.exp(log_s), "of W, descending"),
            "log_singular_values": Variable((*dims, "k"), log_s, "of W, descending"),
            "status": status_variable(runs, self.status),
        }
        if self.energy is not None:
            found["energy"] = Variable(dims, self.energy, "E(W), without weight decay")
        return found | factor_variables(runs, self.factors)

    def _attributes(self) -> dict[str, Any]:
        return {"depth": depth_of(self.depth), "status": ending(self.status)}

    def _lines(self) -> list[str]:
        m, n = self.W.shape[-2:]
        if is_traced(self):
            return [f"{m}×{n}, traced: its numbers are known outside jit, vmap and grad"]
        what = f"{m}×{n}{about_depth(self.depth)}"
        if np.ndim(self.status):
            what = f"{np.size(self.status):,} {self._noun}s, {what}"
        runs, numbers = self._runs(), self._numbers()
        if self._saved:
            numbers.append(f"{runs.ts.shape[1]} saved times")
        return [f"{what}: {self._way()}", ending(self.status), ", ".join(numbers)]

    def _way(self) -> str:
        raise NotImplementedError

    def _numbers(self) -> list[str]:
        """Energy and ranks at the last point."""
        runs = self._runs()
        if not runs.W.size:
            return []
        last = last_reached(runs.log_s[..., None])[..., 0]
        numbers = [spectrum_line(last, self.W.shape[-2:])]
        if runs.energy is not None:
            energy = last_reached(runs.energy[..., None, None])
            numbers.insert(0, f"energy {number_range(energy)}")
        return numbers


class FlowResult(Trajectories, eqx.Module):
    """The result of `gradient_flow` and `factor_flow`, which have examples.

    - ``ts``, ``W``, ``energy``, ``singular_values``, ``log_singular_values``: one per saved time
      along the leading axis; the last point alone, without that axis, where no ``saveat`` was
      given. Saved times that were not reached are left out (under jit: infinite). Time as in [CMV];
      the energy is E, without weight decay; singular values descend, and those that a start of low
      rank does not have are 0.
    - ``end``: the last point as a `LogSVD`, and ``t_end`` its time:
      ``gradient_flow(energy, result.end, …)`` goes on from there.
    - ``factors``: the last factors (upstairs only).
    - ``status``: a code of `Status`; ``converged``: whether the flow ended as asked, at t1 or at a
      stop.
    - ``error``: an estimate of ‖δW‖_F/‖W‖_F at each saved time: the difference from the same flow
      with ten times the tolerance (so rather too large), at that time, and at least ``rtol``. NaN
      where there is none: inside ``jit``, ``vmap`` and ``grad``, with a step size controller of
      one's own, and for saved steps. How far the end is from the limit t → ∞ is another question,
      which the stop answers.
    - ``stats``: the numbers of steps, in all and in each chart. ``depth``: N.

    Under ``vmap`` everything has a leading axis, ``run`` in `to_xarray` and `to_frame`.
    """

    ts: Float[Array, "*t"]
    W: Float[Array, "*t m n"]
    energy: Float[Array, "*t"]
    log_singular_values: Float[Array, "*t k"]
    end: LogSVD
    t_end: Float[Array, ""]
    status: Array
    stats: dict[str, Array | int]
    factors: tuple[Array, ...] | None = None
    error: Float[Array, "*t"] | None = None
    depth: ArrayLike | None = None

    def _pictures(self) -> tuple[str, ...]:
        return ("singular_values", "energy") if self._saved else ("singular_values",)

    def _variables(self) -> dict[str, Variable]:
        found, runs = super()._variables(), self._dims()
        if self.error is not None:
            about = "estimate of |δW|/|W| in the Frobenius norm"
            found["error"] = Variable(found["energy"].dims, self.error, about)
        inner = {"U": ("row", "k2"), "log_s": ("k2",), "Vt": ("k2", "column")}
        for name, dims in inner.items():
            about, part = "of the last point, U diag(exp(log_s)) Vt", getattr(self.end, name)
            found[f"end_{name}"] = Variable((*runs, *dims), part, about, framed=False)
        found["t_end"] = Variable(runs, self.t_end, "time of the last point")
        found["steps"] = Variable(runs, self.stats["steps"], "number of steps")
        return found

    def _way(self) -> str:
        steps = number_range(self.stats["steps"], ",g")
        return f"t = {number_range(self.t_end)} after {steps} steps"

    def _numbers(self) -> list[str]:
        numbers = super()._numbers()
        error = np.asarray(np.nan if self.error is None else self.error)
        if np.isfinite(error).any():
            numbers.append(f"relative error {number_range(np.nanmax(error), '.1g')}")
        return numbers


class DiffusionResult(Trajectories, eqx.Module):
    """The result of `brownian`, `langevin` and `factor_langevin`, which have examples.

    - ``ts``, ``W``, ``energy`` (None for Brownian motion), ``log_singular_values`` (descending),
      ``det_sign`` (±1; 1 where W is not square): one per saved time; the last point alone, without
      that axis, where no ``saveat`` was given. Several chains are one leading axis of everything.
      What a chain did not reach is infinite, its ``ts`` too. Time as in [CMV].
    - ``status``: a code of `Status` for each chain; ``converged`` says whether it reached t1.
    - ``factors``: the last factors (upstairs only). ``depth``: N.
    """

    ts: Float[Array, "*t"]
    W: Float[Array, "*t m n"]
    energy: Float[Array, "*t"] | None
    log_singular_values: Float[Array, "*t k"]
    det_sign: Float[Array, "*t"]
    status: Array
    factors: tuple[Array, ...] | None = None
    depth: ArrayLike | None = None

    _noun = "chain"
    _axis = "chain"

    def _pictures(self) -> tuple[str, ...]:
        if not self._saved:
            return ("endpoints", "effective_rank") if np.ndim(self.status) else ("singular_values",)
        return "singular_values", "effective_rank" if self.energy is None else "energy"

    def _variables(self) -> dict[str, Variable]:
        found = super()._variables()
        dims = found["singular_values"].dims[:-1]
        return found | {"det_sign": Variable(dims, self.det_sign, "sign of det W")}

    def _way(self) -> str:
        reached = np.asarray(self.ts)[np.isfinite(self.ts)]
        return f"to t = {reached.max():.3g}" if reached.size else "no time was reached"
