"""Each run at two tolerances, then finer ones, until its limit no longer depends on them.

The steps' own error estimate says nothing about the limit: every saddle on the way amplifies what
the steps before it left, by its own factor. The distance of two limits at different tolerances
measures all of that at once, and a wrong jump with it.
"""

import dataclasses

import numpy as np
from jaxtyping import Array

from ...checks import as_array
from ...compilation import program
from ...energies import Energy
from ...geometry.leaf import Depth, at_zero
from ...status import Status
from .frames import join, split
from .lanes import Lanes, Outcome, Starts, integrate, width
from .steppers import AbstractStepper, EnsembleProblem

# The tolerance of the steps falls by this from pass to pass; the errors of limits by 4 to 40.
REFINEMENT = 32.0
# The last tolerance that is tried, in units of the rounding error, and the first at most.
FINEST, COARSEST = 200.0, 1e-2
# No error is stated below this fraction of the accuracy asked for: two limits may agree by chance.
LEAST = 0.4

Fields = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """How a batch of starts is integrated, and how exactly.

    ``stages``: steppers; all but the last with the number of steps that is enough for an ordinary
    run at a tolerance of 1e−2. A run that is not at its end then is given to the next stepper, from
    its start, and begins with that one at finer tolerances; so do all below the stepper's finest.
    """

    energy: Energy
    nu: Depth
    stages: tuple[tuple[AbstractStepper, int], ...]
    max_steps: int
    accuracy: float
    ts: np.ndarray
    to_limit: bool
    queue: int

    def __call__(self, W0: np.ndarray) -> Fields:
        """Where each run ends, to the accuracy asked for or with the reason why not."""
        finest = FINEST * float(np.finfo(W0.dtype).eps)
        tol = min(COARSEST, REFINEMENT * self.accuracy)
        stage = np.zeros(len(W0), int)  # that each run begins with
        out = self._pass(W0, tol, stage)
        at_rest = (out["ending"] == Status.limit) & (out["steps"] == 0)
        out["error"] = np.where(at_rest, 0.0, np.inf).astype(W0.dtype)
        open_ = self._unsure(out)
        while open_.size and tol > finest:
            tol = max(tol / REFINEMENT, finest)
            first = stage[open_]
            finer = self._pass(W0[open_], tol, first)
            stage[open_] = first
            finer["error"] = self._distance({k: x[open_] for k, x in out.items()}, finer)
            finer["steps"] = finer["steps"] + out["steps"][open_]
            # Where the finer pass does not arrive, the coarser one's result stands, uncertified.
            arrived = Status.succeeded(finer["ending"]) | ~Status.succeeded(out["ending"][open_])
            for name, values in finer.items():
                kept = name in ("steps", "ending", "error")
                rows = slice(None) if kept else arrived
                out[name][open_[rows]] = values[rows]
            open_ = self._unsure(out)
        reached = Status.succeeded(out["ending"][open_])
        out["ending"][open_[reached]] = Status.undetermined
        saddles = self._at_saddles(W0, out)
        out["ending"][saddles], out["error"][saddles] = Status.undetermined, np.inf
        return out

    def _at_saddles(self, W0: np.ndarray, out: Fields) -> np.ndarray:
        """The runs whose limit may be a saddle: singular values that the start had are so small
        beside the largest that W has none of their digits, and the gradient still moves them.
        """
        runs = np.flatnonzero(out["ending"] == Status.limit)
        have = np.linalg.matrix_rank(out["W"][runs])
        short = have < min(W0.shape[1:])
        runs, have = runs[short], have[short]
        had = np.linalg.matrix_rank(W0[runs])
        runs, had, have = (x[have < had] for x in (runs, had, have))
        if not runs.size:
            return runs
        W = out["W"][runs]
        problem = EnsembleProblem(self.energy, self.nu, as_array(1.0, W0.dtype), cg=1)
        G, scale = (np.moveaxis(np.asarray(x), -1, 0) for x in _slopes(problem, _lanes(W)))
        U, _, Vt = np.linalg.svd(W)
        M = np.swapaxes(U, 1, 2) @ G @ np.swapaxes(Vt, 1, 2)
        lost = np.arange(M.shape[1])[:, None] >= have[:, None, None]
        lost = lost & (np.arange(M.shape[2]) >= have[:, None, None])
        left = np.linalg.norm(np.where(lost, M, 0), axis=(1, 2))
        moved = left > 10 * self.accuracy * np.linalg.norm(scale, axis=(1, 2))
        if W0.shape[1] == W0.shape[2]:  # the sign of det W tells where a single one goes: to 0
            sign = (
                np.linalg.slogdet(W0[runs])[0] * np.linalg.slogdet(U)[0] * np.linalg.slogdet(Vt)[0]
            )
            moved &= ~((had - have == 1) & (had == W0.shape[1]) & (sign * M[:, -1, -1] > 0))
        return runs[moved]

    def _unsure(self, out: Fields) -> np.ndarray:
        """The runs that ended as asked, or may at a finer tolerance, but not to the accuracy."""
        scale = np.linalg.norm(out["W"], axis=(1, 2))
        inexact = ~(out["error"] <= self.accuracy * scale)
        return np.flatnonzero(inexact & (Status.succeeded(out["ending"]) | _crossed(out)))

    def _distance(self, coarse: Fields, fine: Fields) -> np.ndarray:
        """The estimated error of the finer pass, ∞ unless both ended the same way."""
        same = (coarse["ending"] == fine["ending"]) & Status.succeeded(fine["ending"])
        with np.errstate(invalid="ignore"):
            apart = np.linalg.norm(fine["W"] - coarse["W"], axis=(1, 2))
            along = np.linalg.norm(fine["path"] - coarse["path"], axis=(2, 3))
        apart = np.max(np.concatenate([apart[:, None], along], 1), axis=1)
        least = LEAST * self.accuracy * np.linalg.norm(fine["W"], axis=(1, 2))
        return np.where(same & np.isfinite(apart), np.maximum(apart, least), np.inf)

    def _pass(self, W0: np.ndarray, tol: float, stage: np.ndarray) -> Fields:
        """Each run at one tolerance; ``stage`` says with which it begins, then which ended it."""
        out: Fields = {}
        last = len(self.stages) - 1
        for number, (stepper, _) in enumerate(self.stages):
            if number < last and tol < stepper.finest:
                stage[stage == number] += 1
            due = np.flatnonzero(stage == number)
            if not due.size:
                continue
            stepper, cap = self._stepper(number, tol)
            found = self._stage(stepper, cap, W0[due], tol)
            out = out or {k: np.zeros((len(W0), *x.shape[1:]), x.dtype) for k, x in found.items()}
            for name, values in found.items():
                out[name][due] = out[name][due] + values if name == "steps" else values
            if cap < self.max_steps:
                stage[due[found["ending"] == Status.max_steps]] += 1
        if at_zero(self.nu) <= 0.5:  # below N = 2 the sign does change
            flipped = _changed_sign(W0, out["W"], tol) & Status.succeeded(out["ending"])
            out["ending"][flipped] = Status.crossed
        return out

    def _stepper(self, number: int, tol: float) -> tuple[AbstractStepper, int]:
        """The stepper of a stage, and how many steps it may try at this tolerance."""
        stepper, enough = self.stages[number]
        if number == len(self.stages) - 1:
            return stepper, self.max_steps
        return stepper, min(self.max_steps, round(enough * (COARSEST / tol) ** (1 / 5)))

    def _stage(self, stepper: AbstractStepper, cap: int, W0: np.ndarray, tol: float) -> Fields:
        dtype = W0.dtype
        m, n = W0.shape[1:]
        problem = EnsembleProblem(
            self.energy,
            self.nu,
            as_array(tol, dtype),
            cg=min(m * n + 2, 200),
        )
        padded = np.zeros((m, n, self.queue), dtype)
        padded[..., : len(W0)] = np.moveaxis(W0, 0, -1)
        count, stride = width(stepper, m, n)
        lanes = Lanes(
            problem,
            stepper,
            as_array(self.ts, dtype),
            as_array(cap, int),
            to_limit=self.to_limit,
            lanes=count,
            stride=stride,
        )
        out: Outcome = integrate(lanes, Starts(as_array(padded, dtype), as_array(len(W0), int)))
        return {
            field.name: np.moveaxis(np.asarray(getattr(out, field.name)), -1, 0)[: len(W0)].copy()
            for field in dataclasses.fields(out)
        } | {"path": np.moveaxis(np.asarray(out.path), (2, 3), (1, 0))[: len(W0)].copy()}


def _lanes(W: np.ndarray) -> Array:
    return as_array(np.moveaxis(W, 0, -1), W.dtype)


@program
def _slopes(problem: EnsembleProblem, W: Array) -> tuple[Array, Array]:
    """E′(W), and E″(W)W, which says what is large."""
    at = split(W)
    return join(problem.gradient(at)), join(problem.hessian(at)(at))


def _crossed(out: Fields) -> np.ndarray:
    return out["ending"] == Status.crossed


def _changed_sign(start: np.ndarray, end: np.ndarray, least: float) -> np.ndarray:
    """Which runs changed the sign of det W, with σ_k > least · σ_1 at the end, so not a zero."""
    if start.shape[1] != start.shape[2]:
        return np.zeros(len(start), bool)
    with np.errstate(invalid="ignore"):  # runs that are not finite
        flipped = np.linalg.slogdet(start)[0] * np.linalg.slogdet(end)[0] == -1
    s = np.linalg.svd(end[flipped], compute_uv=False)
    flipped[flipped] = s[:, -1] > least * s[:, 0]
    return flipped
