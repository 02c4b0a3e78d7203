"""The way down a path: the depth-2 iterate from which fits depart, and the fit in hand.

All of it can be saved, so that a computation that was killed goes on where it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ...errors import InputError
from ..file_format import Arrays, Meta, named, take_group
from ..schema import NUMBER, WHOLE, Field, Schema, take, take_part
from .checkpoint import Checkpoint
from .descent import Callback, Watch, begin, run
from .fit_state import FitState, ValidationSplit
from .growth import enlarge, grow
from .options import EXACT, FitOptions
from .problem import FitProblem
from .result import LowRankFit
from .resumed import dump_state, restore_state
from .schedule import Stage, penalty_at, schedule
from .start import additive
from .sweep import sweep

SWEEPS = 2
_NUMBERS: Schema = {
    "step": Field(WHOLE, least=-1),
    "hand": Field(NUMBER, (), least=1, infinite=True, optional=True),
    "last": Field(NUMBER, (None,), least=1, infinite=True),
}


@dataclass
class Backbone:
    """One depth-2 iterate that walks down the strengths of ``flat``, two sweeps at each.

    ``records`` holds, by depth, the options of the fits that depart from it at each strength.
    ``step`` is the strength where it stands (−1: not yet begun), ``base`` the iterate; ``hand`` is
    the depth and state of a fit that was interrupted; ``last`` holds, by depth, the fits at which
    the next ones begin.
    """

    problem: FitProblem
    flat: list[FitOptions]
    records: Mapping[float, list[FitOptions]]
    thorough: bool
    file: Checkpoint | None = None
    step: int = -1
    base: FitState | None = None
    hand: tuple[float, FitState] | None = None
    last: dict[float, LowRankFit] = field(default_factory=dict)

    def down_to(self, step: int) -> None:
        """Go on to the strength of this number, with the components that it allows."""
        while self.step < step:
            base = begin(self.problem, self.flat[0], None) if self.base is None else self.base
            self.step += 1
            options = self.flat[self.step]
            penalty, state = penalty_at(self.problem, options, base.tau, 2.0), base.state
            if self.step > 0:
                state = grow(self.problem, penalty, state, options.rank_cap, slack=0.0, steps=3)
            for _ in range(SWEEPS):
                state = sweep(self.problem, penalty, state)[1]
            self.base = replace(base, state=state)
            self.save()

    def fit(
        self,
        options: FitOptions,
        following: FitOptions | None,
        *,
        judge: ValidationSplit | None = None,
        callback: Callback | None = None,
        certified: bool = False,
    ) -> LowRankFit:
        """The fit of these ``options`` at this strength; ``following``: those at the next one."""
        depth, base = options.depth, self.base
        assert base is not None, "call down_to first"
        at = self._departure(options, base)
        if self.hand is not None and self.hand[0] == depth:
            at = self.hand[1]
        self.hand = None
        self.last.pop(depth, None)
        stages = schedule(self.problem, options, base.tau, warm=True)
        save = None if self.file is None else lambda at: self.save((depth, at))
        result = run(self.problem, options, at, stages, Watch(judge, save, callback, certified))
        if following is not None and self.is_chained(following):
            self.last[depth] = result
        return result

    def _departure(self, options: FitOptions, base: FitState) -> FitState:
        """The state at which a fit begins: that of the fit before, or of the backbone."""
        if self.is_chained(options) and options.depth in self.last:
            return replace(base, state=enlarge(self.last[options.depth], self.problem))
        if options.convex:
            return FitState(additive(self.problem), base.tau)
        return replace(base, state=base.state.copy())

    def is_chained(self, options: FitOptions) -> bool:
        """Whether each fit departs from the one before.

        As in `schedule` where data are nearly exact, for the noise that depth 2 lets in would stay
        (on a ``thorough`` path the fits have the time to remove it, and may gain rank instead); and
        below depth 2, where the penalty is convex and the way down is short from there.
        """
        nearly_exact = options.strength < EXACT and options.depth > 2
        return options.convex or (not self.thorough and nearly_exact)

    # On disk

    def save(self, hand: tuple[float, FitState] | None = None, *, now: bool = False) -> None:
        """Write everything, with the fit in ``hand``, to the checkpoint if there is one."""
        if self.file is not None:
            self.file.save(*self.dump(hand), now=now)

    def dump(self, hand: tuple[float, FitState] | None) -> tuple[Meta, Arrays]:
        """(numbers, arrays) for a file."""
        meta: Meta = {"step": self.step, "last": list(self.last), "hand": None}
        arrays: Arrays = {}
        parts = {f"last {depth}": fit.dump() for depth, fit in self.last.items()}
        if self.base is not None:
            parts["base"] = dump_state(self.base)
        if hand is not None:
            meta["hand"], parts["at"] = hand[0], dump_state(hand[1])
        for name, (numbers, own) in parts.items():
            meta[name] = numbers
            arrays |= named(own, f"{name}.")
        return meta, arrays

    @property
    def judged(self) -> bool:
        """Whether held-out entries score the fits."""
        return False

    def restore(self, meta: Meta, arrays: Arrays) -> None:
        """Take up what `dump` gave, out of both. **Raises** `InputError` for anything else."""
        own = take(_NUMBERS, meta)
        step, hand, last = own["step"], own["hand"], own["last"]
        if step >= len(self.flat):
            raise InputError(f"step must be one of {len(self.flat)}, got {step}.")
        depths = last if hand is None else [hand, *last]
        if not self.records.keys() >= {*depths} or len({*last}) < len(last):
            raise InputError("a depth comes twice, or is none that is fitted.")
        if step < 0:
            if depths:
                raise InputError("there is a fit before the first step.")
            return
        self.step = step
        penalty = penalty_at(self.problem, self.flat[step], 0.0, 2.0)
        self.base = self._state("base", [Stage(penalty, SWEEPS, 0.0)], meta, arrays)
        if self.base.total:
            raise InputError("base must have no sweeps of its own.")
        if hand is not None:
            options = self.records[hand][step]
            stages = schedule(self.problem, options, self.base.tau, warm=True)
            self.hand = hand, self._state("at", stages, meta, arrays, judged=self.judged)
        for depth in last:
            self.last[depth] = self._restored(f"last {depth}", meta, arrays)
            if self.last[depth].depth != depth:
                raise InputError(f"the fit last {depth} must be of this depth.")

    def _state(
        self,
        name: str,
        stages: list[Stage],
        meta: Meta,
        arrays: Arrays,
        *,
        judged: bool = False,
    ) -> FitState:
        own = take_part(meta, name), take_group(arrays, f"{name}.")
        return restore_state(self.problem, stages, *own, judged=judged)

    def _restored(self, name: str, meta: Meta, arrays: Arrays) -> LowRankFit:
        """A fit that was saved, if it is one to the problem with the options of its depth."""
        fit = LowRankFit.restore(take_part(meta, name), take_group(arrays, f"{name}."))
        problem = self.problem
        same = (
            fit.shape == problem.observations.shape
            and fit.left.dtype == fit.right.dtype == problem.observations.dtype
            and fit.bias_ridge == problem.bias_ridge
            and np.allclose(fit.row_scale, problem.row_scale, rtol=1e-5, atol=0)
            and np.allclose(fit.col_scale, problem.col_scale, rtol=1e-5, atol=0)
        )
        known = [options.strength for options in self.records.get(fit.depth, ())]
        if not same or fit.strength not in known:
            raise InputError(f"the fit {name} is one to other entries or options.")
        return fit
