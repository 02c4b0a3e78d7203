"""A path over strengths, from strong to weak, for several depths at once."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import InputError
from ..backends.open import Device, open_backend
from ..data.observations import Observations
from ..file_format import Arrays, Meta, named
from ..schema import (
    REAL,
    TRUTH,
    Field,
    take,
    take_part,
)
from .backbone import Backbone
from .checkpoint import Checkpoint, PathLike, Place, fingerprint
from .descent import Callback
from .fit import make_problem
from .fit_state import FitState, Validation, ValidationSplit
from .options import FitOptions, for_depth
from .result import LowRankFit
from .start import additive
from .trial import Trial, dump_trials, held_out_error, restore_trials

# From strong to weak: finely where ratings have their best, then in factors of 4 for data that are
# nearly exact.
STRENGTHS = (0.7, 0.5, 0.4, 0.32, 0.25, 0.18, *(0.1 * 4.0**-k for k in range(9)))
# Half-octaves, for tables: where much is observed, the best strength is sharper.
TABLE_STRENGTHS = (*(2.0 ** (-k / 2) for k in range(15)), *(2.0**-8 * 4.0**-k for k in range(7)))
# A held-out error this much above the best after three sweeps ends the fit, and with it the depth.
WORSE = 1.005
# Relative gains of the held-out error: of one strength over another, of W over the biases alone.
_BETTER, _SOMETHING = 1e-4, 1e-3
# What a strength whose error is above the best by less than a standard error counts against the
# patience: held-out errors are noisy, and behind a bump there may be a valley.
_UNCLEAR = 0.5
# What one counts that is worse by more than this part of the best, and this many standard errors:
# weaker penalties cost the more time, and lead further away.
_FAR, _FAR_ERRORS, _HOPELESS = 0.02, 4.0, 2.0
# By what the default cap on the rank grows where it binds, and the sweeps of a fit that tell: after
# one it still has the components of depth 2, most of which its own penalty would remove.
_WIDER, _SETTLED = 2, 2


@dataclass(frozen=True)
class PathResult:
    """The fit with the smallest held-out error, and what became of all, in the order of fitting.

    ``beats_biases``: whether it betters the biases alone by more than a standard error.
    """

    best: LowRankFit
    trials: tuple[Trial, ...]
    beats_biases: bool

    @property
    def best_trial(self) -> Trial:
        """That of the best fit."""
        return min(self.trials, key=lambda trial: trial.validation_rmse)


def path(
    observations: Observations,
    depths: Iterable[float] = (3.0,),
    strengths: Iterable[float] = STRENGTHS,
    validation: Validation | None = None,
    *,
    patience: int = 2,
    thorough: bool = False,
    early_stopping: bool = True,
    threads: int | None = None,
    device: Device = "cpu",
    checkpoint: PathLike | Place | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> PathResult:
    """`fit` at every depth and strength with early stopping on held-out entries; the best of all.

    One depth-2 iterate walks down the strengths, two sweeps at each, growing components as they
    become possible; every depth departs from it. (Depth N > 2 only loses rank, so that its own fit
    at a stronger penalty is a poor start, except for nearly exact data, below strength 0.01. Below
    depth 2 the penalty is convex, and each fit starts at the one before.) A depth ends after
    ``patience`` strengths without a better held-out error, where one that is worse by less than the
    standard error of the difference counts half, and one that is far worse twice. A fit is given up
    when its error is 0.5 % above the best after three sweeps, unless the path is ``thorough``.
    Without ``early_stopping`` every fit goes on to its ``tol``, and is scored there. Without
    ``max_rank`` the cap on the rank doubles, up to min(m, n), after a strength where the held-out
    error falls and the cap still binds after two sweeps or more. Biases, τ and the first singular
    triples are computed once; the fits come without certificate, and the best one, which alone is
    kept, with its implied ridge. ``callback`` gets every fit and ends the path by returning True;
    ``options`` are the fields of `FitOptions`. ``checkpoint``: a file; a path that was killed goes
    on there, in the middle of a fit, and ends with the same numbers (``callback`` gets the fits
    from there on).

    **Raises** `InputError` without ``validation`` = (rows, cols, values), and for a checkpoint of
    another path.
    """
    if validation is None:
        raise InputError(
            "validation must be given as (rows, cols, values): a path needs entries to choose by."
        )
    order, open_depths = sorted(set(strengths), reverse=True), list(dict.fromkeys(depths))
    if not order or not open_depths:
        raise InputError("depths and strengths must hold at least one number each.")
    options = {"patience": 2 if early_stopping else math.inf, **options}
    records = {
        depth: [_record(observations, depth, c, options) for c in order]
        for depth in (2.0, *open_depths)
    }
    file = None
    growing = options.get("max_rank") is None
    if checkpoint is not None:
        how = {"patience": patience, "thorough": thorough, "depths": open_depths}
        how |= {"growing": growing}
        marks = {f"{depth}": [asdict(x) for x in record] for depth, record in records.items()}
        file = Checkpoint(checkpoint, fingerprint(observations, marks | how, *validation))
    with open_backend(observations, threads, device) as backend:
        problem = make_problem(observations, records[2.0][0], backend)
        noise = records[2.0][0].column_noise
        held_out = ValidationSplit.check(validation, observations, noise)
        walk = _Walk(
            problem,
            records[2.0],
            {depth: records[depth] for depth in open_depths},
            thorough,
            file,
            held_out=held_out,
            patience=patience,
            growing=growing,
            biases=held_out.errors(problem, additive(problem)),
        )
        if file is not None:
            file.load(walk.restore)
        return walk.down(callback)


def retrace(
    observations: Observations,
    depth: float,
    sweeps: Mapping[float, int],
    *,
    max_ranks: Mapping[float, int] | None = None,
    thorough: bool = False,
    threads: int | None = None,
    device: Device = "cpu",
    checkpoint: PathLike | Place | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> LowRankFit:
    """The last fit of a `path` on other entries: the same way down, with as many sweeps at each.

    ``sweeps`` {strength: sweeps} holds all strengths of the path down to the one that was best; the
    result is the fit there. ``max_ranks`` {strength: cap} are those of the path, where the cap on
    the rank grew. ``checkpoint`` is that of `fit`, and covers the way down; ``callback``
    is called in this last fit.
    """
    order = sorted(sweeps, reverse=True)
    caps = {c: {} if max_ranks is None else {"max_rank": max_ranks[c]} for c in order}
    flat = [_record(observations, 2.0, c, options | caps[c]) for c in order]
    records = [
        _record(observations, depth, c, options | caps[c] | {"max_sweeps": sweeps[c]})
        for c in order
    ]
    file = None
    if checkpoint is not None:
        marks = {str(c): asdict(record) for c, record in zip(order, records, strict=True)}
        file = Checkpoint(checkpoint, fingerprint(observations, marks | {"thorough": thorough}))
    with open_backend(observations, threads, device) as backend:
        problem = make_problem(observations, flat[0], backend)
        way = Backbone(problem, flat, {depth: records}, thorough, file)
        if file is not None:
            file.load(way.restore)
        for step in range(max(way.step, 0), len(records) - 1):
            way.down_to(step)
            if way.is_chained(records[step + 1]):
                way.fit(records[step], records[step + 1])
        way.down_to(len(records) - 1)
        return way.fit(records[-1], None, callback=callback, certified=True)


def _record(
    observations: Observations, depth: float, strength: float, options: dict[str, Any]
) -> FitOptions:
    given = {"patience": 2} | for_depth(options, depth) | {"depth": depth, "strength": strength}
    return FitOptions(**given).for_data(observations)


@dataclass(kw_only=True)
class _Walk(Backbone):
    """A path on its way down: the best fit so far, and what became of all of them.

    ``least`` is the best held-out error of each depth, ``stale`` how many strengths have not
    bettered it since; both follow from the trials, and so do the caps on the rank if they are
    ``growing``. ``errors`` holds, by depth, the errors of the best on the held-out entries.
    """

    held_out: ValidationSplit
    patience: int
    growing: bool
    biases: np.ndarray  # the errors of the biases alone on the held-out entries
    trials: list[Trial] = field(default_factory=list)
    best: LowRankFit | None = None
    least: dict[float, float] = field(default_factory=dict)
    stale: dict[float, float] = field(default_factory=dict)
    errors: dict[float, np.ndarray] = field(default_factory=dict)
    ended: bool = False

    @cached_property
    def bias_only(self) -> float:
        """The held-out error of the biases alone."""
        return self.held_out.size(self.biases)

    def down(self, callback: Callback | None) -> PathResult:
        step = max(self.step, 0)
        while not self.ended:
            self.down_to(step)
            for depth in self._open(step):
                result = self._fit(depth, step)
                if callback is not None and callback(result):
                    self.ended = True
                    break
            self._widen(step)
            step += 1
            self.ended |= step == len(self.flat) or min(self.stale.values()) >= self.patience
        self.step, self.base, self.last = -1, None, {}
        self.save(now=True)
        assert self.best is not None, "every depth has a fit"
        best = self.best.with_implied_ridge(self.problem)  # new rows will need it
        errors = best.judged(*self.held_out.triples)
        return PathResult(best, tuple(self.trials), self.held_out.is_clear(errors, self.biases))

    def _open(self, step: int) -> list[float]:
        """The depths with something to fit at this strength."""
        strength = self.flat[step].strength
        done = {trial.depth for trial in self.trials if trial.strength == strength}
        return [
            depth
            for depth in self.records
            if depth not in done and self.stale.get(depth, 0) < self.patience
        ]

    def _fit(self, depth: float, step: int) -> LowRankFit:
        options, *later = self.records[depth][step : step + 2]
        judge = self.held_out
        # with early stopping a hopeless fit is given up; proximal gradient steps begin slowly
        hasty = not (self.thorough or options.convex)
        if options.patience < math.inf and hasty:
            judge = replace(judge, limit=WORSE * self.least.get(depth, math.inf))
        result = self.fit(options, later[0] if later else None, judge=judge)
        if self.best is None or held_out_error(result) < held_out_error(self.best):
            self.best = result
        errors = result.judged(*judge.triples)
        spread = judge.standard_error(errors, self.errors.get(depth, errors))
        if self._count(Trial.of(result, spread, options.rank_cap)):
            self.errors[depth] = errors
        self.save()
        return result

    def _count(self, trial: Trial) -> bool:
        """Take note of one fit; whether it is the best of its depth."""
        self.trials.append(trial)
        best = self.least.get(trial.depth, math.inf)
        gained = trial.validation_rmse < best * (1 - _BETTER)
        if gained:
            self.least[trial.depth], self.stale[trial.depth] = trial.validation_rmse, 0
        else:  # counted once something is there to lose: weak signals need weak penalties
            something = best < (1 - _SOMETHING) * self.bias_only
            count = _counted(trial.validation_rmse - best, trial.standard_error, best)
            self.stale[trial.depth] = self.stale.get(trial.depth, 0) + count * something
        return gained

    def _widen(self, step: int) -> None:
        """A larger cap on the rank from here on, if it binds and held-out entries have gained."""
        cap, limit = self.flat[step].rank_cap, min(self.problem.observations.shape)
        binds = any(
            trial.rank == trial.max_rank == cap
            and trial.sweeps >= _SETTLED
            and trial.validation_rmse == self.least.get(trial.depth)
            for trial in self.trials
            if trial.strength == self.flat[step].strength
        )
        if self.growing and binds and cap < limit:
            wider, rest = min(_WIDER * cap, limit), slice(step + 1, None)
            deep = (records for depth, records in self.records.items() if depth >= 2)
            for records in (self.flat, *deep):
                records[rest] = [replace(options, max_rank=wider) for options in records[rest]]

    @property
    def judged(self) -> bool:
        return True

    def dump(self, hand: tuple[float, FitState] | None) -> tuple[Meta, Arrays]:
        meta, arrays = super().dump(hand)
        meta |= {"ended": self.ended, "trials": dump_trials(self.trials)}
        if self.best is not None:
            meta["best"], own = self.best.dump()
            arrays |= named(own, "best.")
        arrays |= {f"errors {depth}": errors for depth, errors in self.errors.items()}
        return meta, arrays

    def restore(self, meta: Meta, arrays: Arrays) -> None:
        super().restore(meta, arrays)
        self.ended = take({"ended": Field(TRUTH)}, meta)["ended"]
        trials = restore_trials(take_part(meta, "trials"))
        for trial in trials:
            strengths = [options.strength for options in self.records.get(trial.depth, ())]
            if trial.strength not in strengths or trial.sweeps < 1:
                raise InputError("a trial is none of this path.")
        for step, options in enumerate(self.flat):
            for trial in trials:
                if trial.strength == options.strength:
                    self._count(trial)
            if step < self.step:
                self._widen(step)
        self._restore_errors(arrays)
        if len({(t.depth, t.strength) for t in self.trials}) < len(self.trials):
            raise InputError("a trial comes twice.")
        begun = self.step >= 0 or self.ended
        wrong = bool(self.trials) != ("best" in meta), self.trials and not begun
        if any(wrong) or (self.ended and not self.trials):
            raise InputError("trials, best and step contradict each other.")
        if self.trials:
            best = self.best = self._restored("best", meta, arrays)
            if not 1 <= best.sweep <= len(best.validation):
                raise InputError("best has no held-out error.")
            if not any(trial.is_of(best) for trial in self.trials):
                raise InputError("best is none of the trials.")

    def _restore_errors(self, arrays: Arrays) -> None:
        judge = self.held_out
        for depth, least in self.least.items():
            schema = {f"errors {depth}": Field(REAL, ("held out",))}
            (errors,) = take(schema, arrays, {"held out": len(judge.values)}).values()
            if not np.isclose(judge.size(errors), least, rtol=1e-3):
                raise InputError("the errors of the best fit are not those of its trial.")
            self.errors[depth] = errors


def _counted(rise: float, standard_error: float, best: float) -> float:
    """What a strength that is worse by ``rise`` than the ``best`` counts against the patience."""
    if rise <= standard_error:
        return _UNCLEAR
    return _HOPELESS if rise > max(_FAR * best, _FAR_ERRORS * standard_error) else 1.0
