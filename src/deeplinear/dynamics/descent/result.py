"""The result of a training: what it holds, how it is drawn and handed on."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ...labelled import (
    Labelled,
    Variable,
    ending,
    factor_variables,
    number_range,
    spectrum_line,
    status_variable,
)
from ...run_plots import Entry, Runs, draw_courses
from ...status import Status, counts
from .lanes import Run


@dataclasses.dataclass(frozen=True, repr=False)
class DescentResult(Labelled):
    """What `descend` returns; NumPy arrays, the run first where there are several.

    - ``factors``: (W_1, …, W_N) after the last step; ``W``: their product.
    - ``energy``: E(W), without weight decay; ``loss``: L = E + (λ/2) Σ ‖W_p‖²; ``gradient``:
      ‖∇L‖_F on the factors. Of the whole energy, also where steps saw a part of it.
    - ``status``: a code of `Status`: ``converged``, ``cycling`` (with its ``period``, otherwise 0),
      ``steps`` (all were taken), ``energy``, ``diverged``, ``not_finite``. ``steps``: how many were
      taken in all.
    - ``records``: by name, at the steps ``record_steps``, along the first axis (the second where
      there are several runs); NaN at steps that a run did not get to.
    - ``state``: what `descend` needs to go on.
    """

    factors: tuple[np.ndarray, ...]
    W: np.ndarray
    energy: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    status: np.ndarray
    period: np.ndarray
    steps: np.ndarray
    record_steps: np.ndarray
    records: Mapping[str, Any]
    state: Run = dataclasses.field(repr=False)

    @property
    def is_batch(self) -> bool:
        """Whether there are several runs."""
        return self.W.ndim == 3

    @property
    def depth(self) -> int:
        """N."""
        return len(self.factors)

    @property
    def singular_values(self) -> np.ndarray:
        """Those of W, descending; NaN where W is not finite."""
        finite = np.isfinite(self.W).all((-2, -1))
        s = np.linalg.svd(np.where(finite[..., None, None], self.W, 0.0), compute_uv=False)
        return np.where(finite[..., None], s, np.nan)

    @property
    def converged(self) -> np.ndarray:
        """Which runs converged, or came to the energy asked for."""
        return (self.status == Status.converged) | (self.status == Status.energy)

    @property
    def counts(self) -> dict[str, int]:
        """How many runs ended for which reason."""
        return counts(self.status)

    def plot(self, *names: str, ax: Any = None, plane: tuple[Entry, Entry] | None = None) -> Any:
        """Draw the training: by default each record that is a number or a vector, against the step;
        without records the last singular values, of several runs their ends in a plane too.

        **Arguments**: ``names``: those of ``records``, "endpoints", "effective_rank", and
        "spectrum" (the last singular values). ``ax``, ``plane``, the result and errors: as for
        `FlowResult.plot`.

        >>> import deeplinear as dl, numpy as np
        >>> energy = dl.Completion.from_dense(np.diag([2.0, 1.0]))
        >>> factors, records = dl.normal_factors((2, 2, 2), 0.1, key=0), ("energy", "sharpness")
        >>> found = dl.descend(energy, factors, optimizer=0.1, steps=200, records=records)
        >>> [axis.get_ylabel() for axis in found.plot()]
        ['energy', 'sharpness']
        """
        from ...plots import draw_panels

        runs = self._runs()
        own = {
            name: partial(self._record, runs, name, x)
            for name, x in self.records.items()
            if isinstance(x, np.ndarray) and x.ndim - self.is_batch in (1, 2)
        }
        ends = runs.drawers(plane)
        drawers = own | {name: ends[name] for name in ("endpoints", "effective_rank")}
        drawers["spectrum"] = ends["singular_values"]
        default = tuple(own) or (("endpoints",) if self.is_batch else ()) + ("spectrum",)
        return draw_panels(names, ax, drawers, default)

    def _runs(self) -> Runs:
        status = np.atleast_1d(self.status)
        W = self.W.reshape(len(status), 1, *self.W.shape[-2:])
        with np.errstate(divide="ignore"):
            log_s = np.log(self.singular_values).reshape(len(status), 1, -1)
        how = "give records= to descend, such as 'singular_values'"
        steps = np.atleast_1d(self.steps)[:, None].astype(float)
        return Runs(steps, log_s, W, None, status, False, how, xlabel="step")

    def _record(self, runs: Runs, name: str, x: np.ndarray, axis: Any) -> None:
        x = x if self.is_batch else x[None]
        y = x.reshape(*x.shape[:2], -1)
        steps = np.broadcast_to(self.record_steps, y.shape[:2]).astype(float)
        labels = [f"{name}[{i}]" for i in range(y.shape[2])]
        if name == "singular_values":
            labels = [rf"$\sigma_{{{i + 1}}}$" for i in range(y.shape[2])]
        draw_courses(axis, steps, y, labels, runs.xlabel, name.replace("_", " "))
        runs.say_endings(axis)

    def _variables(self) -> dict[str, Variable]:
        runs = ("run",) if self.is_batch else ()
        found = {
            "W": Variable((*runs, "row", "column"), self.W, "the product of the last factors"),
            "energy": Variable(runs, self.energy, "E(W), without weight decay"),
            "loss": Variable(runs, self.loss, "E + (λ/2) Σ |W_p|²"),
            "gradient": Variable(runs, self.gradient, "norm of the gradient of the loss"),
            "singular_values": Variable((*runs, "k"), self.singular_values, "of W, descending"),
            "status": status_variable(runs, self.status),
            "period": Variable(runs, self.period, "of a cycle, else 0"),
            "steps": Variable(runs, self.steps, "steps taken"),
        }
        if self.records:
            found["step"] = Variable(("step",), self.record_steps, "after which steps", "step")
        for name, values in self.records.items():
            for at, x in enumerate(values if isinstance(values, tuple) else (values,), start=1):
                key = f"record_{name}_{at}" if isinstance(values, tuple) else f"record_{name}"
                inner = [f"{key}_{i}" for i in range(1, x.ndim - len(runs))]
                dims = {"W": ["row", "column"], "singular_values": ["k"]}.get(name, inner)
                about = f"{name}, at the steps of ``step``"
                framed = len(dims) == 0 or dims[0] in ("row", "k")
                found[key] = Variable((*runs, "step", *dims), x, about, framed=framed)
        return found | factor_variables(runs, self.factors)

    def _attributes(self) -> dict[str, Any]:
        return {"depth": self.depth, "status": ending(self.status)}

    def _lines(self) -> list[str]:
        m, n = self.W.shape[-2:]
        what = f"{m}×{n}, depth {self.depth}"
        with np.errstate(divide="ignore"):
            ranks = spectrum_line(np.log(self.singular_values), (m, n))
        numbers = f"energy {number_range(self.energy)}, {ranks}"
        if self.is_batch:
            return [f"{len(self.W):,} runs, {what}; {ending(self.status)}", numbers]
        after = f"{what}: {int(self.steps):,} steps"
        after += f", cycling with period {int(self.period)}" if self.period else ""
        return [after, ending(self.status), numbers]
