"""A path over strengths, from strong to weak, for several depths at once."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...errors import InputError
from ..backends.open import Device, open_backend
from ..data.observations import Observations
from .checkpoint import Checkpoint, PathLike, fingerprint
from .descent import Callback, Watch, begin, run
from .fit import make_problem
from .fit_state import FitState, Validation, ValidationSplit
from .growth import enlarge, grow
from .options import EXACT, FitOptions, for_depth
from .problem import FitProblem
from .result import LowRankFit
from .schedule import penalty_at, schedule
from .start import additive
from .sweep import sweep

# From strong to weak: finely where ratings have their best, then in factors of 4 for data that are
# nearly exact.
STRENGTHS = (0.7, 0.5, 0.4, 0.32, 0.25, 0.18, *(0.1 * 4.0**-k for k in range(9)))
# Half-octaves, for tables: where much is observed, the best strength is sharper.
TABLE_STRENGTHS = (*(2.0 ** (-k / 2) for k in range(15)), *(2.0**-8 * 4.0**-k for k in range(7)))
BACKBONE_SWEEPS = 2
# A held-out error this much above the best after three sweeps ends the fit, and with it the depth.
WORSE = 1.005
# Relative gains of the held-out error: of one strength over another, of W over the biases alone.
_BETTER, _SOMETHING = 1e-4, 1e-3


@dataclass(frozen=True)
class PathResult:
    """All fits of a path in the order they were made, and their held-out errors."""

    fits: tuple[LowRankFit, ...]
    scores: tuple[float, ...]

    @property
    def best(self) -> LowRankFit:
        """The fit with the smallest held-out error."""
        return self.fits[self.scores.index(min(self.scores))]

    def of_depth(self, depth: float) -> "PathResult":
        """The part of one depth."""
        chosen = [k for k, fit in enumerate(self.fits) if fit.depth == depth]
        return PathResult(
            tuple(self.fits[k] for k in chosen), tuple(self.scores[k] for k in chosen)
        )


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
    callback: Callback | None = None,
    **options: Any,
) -> PathResult:
    """`fit` at every depth and strength with early stopping on held-out entries; the best of all.

    One depth-2 iterate walks down the strengths, two sweeps at each, growing components as they
    become possible; every depth departs from it. (Depth N > 2 only loses rank, so that its own fit
    at a stronger penalty is a poor start, except for nearly exact data, below strength 0.01. Below
    depth 2 the penalty is convex, and each fit starts at the one before.) A depth ends after
    ``patience`` strengths without a better held-out error. A fit is given up when its error is
    0.5 % above the best after three sweeps, unless the path is ``thorough``. Without
    ``early_stopping`` every fit goes on to its ``tol``, and is scored there. Biases, τ and the
    first singular triples are computed once; the fits come without certificate, and the best one
    alone with its implied ridge. ``callback`` gets
    every fit and ends the path by returning True; ``options`` are the fields of `FitOptions`.

    **Raises** `InputError` without ``validation`` = (rows, cols, values).
    """
    if validation is None:
        raise InputError(
            "validation must be given as (rows, cols, values): a path needs entries to choose by."
        )
    order, open_depths = sorted(strengths, reverse=True), list(dict.fromkeys(depths))
    if not order or not open_depths:
        raise InputError("depths and strengths must hold at least one number each.")
    options = {"patience": 2 if early_stopping else math.inf, **options}
    records = {
        depth: [_record(observations, depth, c, options) for c in order]
        for depth in (2.0, *open_depths)
    }
    with open_backend(observations, threads, device) as backend:
        problem = make_problem(observations, records[2.0][0], backend)
        noise = records[2.0][0].column_noise
        held_out = ValidationSplit.check(validation, observations, noise)
        walk = _Walk(problem, held_out, records, patience, thorough)
        return walk.down(open_depths, callback)


def retrace(
    observations: Observations,
    depth: float,
    sweeps: Mapping[float, int],
    *,
    thorough: bool = False,
    threads: int | None = None,
    device: Device = "cpu",
    checkpoint: PathLike | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> LowRankFit:
    """The last fit of a `path` on other entries: the same way down, with as many sweeps at each.

    ``sweeps`` {strength: sweeps} holds all strengths of the path down to the one that was best; the
    result is the fit there. ``checkpoint`` and ``callback`` are those of `fit`, for this last fit.
    """
    order = sorted(sweeps, reverse=True)
    flat = [_record(observations, 2.0, c, options) for c in order]
    records = [_record(observations, depth, c, options | {"max_sweeps": sweeps[c]}) for c in order]
    file = None
    if checkpoint is not None:
        marks = {str(c): asdict(record) for c, record in zip(order, records, strict=True)}
        file = Checkpoint(checkpoint, fingerprint(observations, marks))
    with open_backend(observations, threads, device) as backend:
        problem = make_problem(observations, flat[0], backend)
        at = FitState.load(file) if file else None
        if at is None:
            at = _way_down(problem, flat, records, thorough)
        stages = schedule(problem, records[-1], at.tau, warm=True)
        return run(problem, records[-1], at, stages, Watch(file=file, callback=callback))


def _record(
    observations: Observations, depth: float, strength: float, options: dict[str, Any]
) -> FitOptions:
    given = {"patience": 2} | for_depth(options, depth) | {"depth": depth, "strength": strength}
    return FitOptions(**given).for_data(observations)


def _way_down(
    problem: FitProblem, flat: list[FitOptions], records: list[FitOptions], thorough: bool
) -> FitState:
    """Where the last fit of a path departs from, after the fits that it needs."""
    last: LowRankFit | None = None
    base = begin(problem, flat[0], None)
    at = base
    for step, (flat_options, options) in enumerate(zip(flat, records, strict=True)):
        base = _backbone(problem, flat_options, base, grown=step > 0)
        at = _departure(problem, options, base, last if _chained(options, thorough) else None)
        if step + 1 < len(records) and _chained(records[step + 1], thorough):
            stages = schedule(problem, options, base.tau, warm=True)
            last = run(problem, options, at, stages, Watch(certified=False))
    return at


def _chained(options: FitOptions, thorough: bool) -> bool:
    """Whether each fit departs from the one before.

    As in `schedule` where data are nearly exact, for the noise that depth 2 lets in would stay (on
    a ``thorough`` path the fits have the time to remove it, and may gain rank instead); and below
    depth 2, where the penalty is convex and the way down is short from there.
    """
    return options.convex or (not thorough and options.strength < EXACT and options.depth > 2)


def _departure(
    problem: FitProblem, options: FitOptions, base: FitState, last: LowRankFit | None
) -> FitState:
    """The state at which a fit begins: that of ``last``, if it is given, or of the backbone."""
    if last is not None:
        return replace(base, state=enlarge(last, problem))
    if options.convex:
        return FitState(additive(problem), base.tau)
    return replace(base, state=base.state.copy())


@dataclass
class _Walk:
    """A path on its way down: the best score of each depth, and how long there was none better."""

    problem: FitProblem
    held_out: ValidationSplit
    records: dict[float, list[FitOptions]]
    patience: int
    thorough: bool
    fits: list[LowRankFit] = field(default_factory=list)
    last: dict[float, LowRankFit] = field(default_factory=dict)
    best: dict[float, float] = field(default_factory=dict)
    stale: dict[float, int] = field(default_factory=dict)
    bias_only: float = math.inf  # the held-out error of the biases alone

    def down(self, depths: list[float], callback: Callback | None) -> PathResult:
        flat = self.records[2.0]
        bias_only = additive(self.problem)
        self.bias_only = self.held_out.error(self.problem, bias_only)
        base = begin(self.problem, flat[0], None, bias_only)
        for step, flat_options in enumerate(flat):
            base = _backbone(self.problem, flat_options, base, grown=step > 0)
            for depth in [d for d in depths if self.stale.get(d, 0) < self.patience]:
                result = self._fit(depth, step, base)
                if callback is not None and callback(result):
                    return self._result()
            if min(self.stale.values()) >= self.patience:
                break
        return self._result()

    def _fit(self, depth: float, step: int, base: FitState) -> LowRankFit:
        options, best = self.records[depth][step], self.best.get(depth, math.inf)
        judge = self.held_out
        # with early stopping a hopeless fit is given up; proximal gradient steps begin slowly
        hasty = not (self.thorough or options.convex)
        if options.patience < math.inf and hasty:
            judge = replace(judge, limit=WORSE * best)
        stages = schedule(self.problem, options, base.tau, warm=True)
        last = self.last.get(depth) if _chained(options, self.thorough) else None
        at = _departure(self.problem, options, base, last)
        watch = Watch(judge, certified=False)
        self.last[depth] = result = run(self.problem, options, at, stages, watch)
        self.fits.append(result)
        score = held_out_error(result)
        if score < best * (1 - _BETTER):
            self.best[depth], self.stale[depth] = score, 0
        else:  # counted once something is there to lose: weak signals need weak penalties
            something = best < (1 - _SOMETHING) * self.bias_only
            self.stale[depth] = self.stale.get(depth, 0) + something
        return result

    def _result(self) -> PathResult:
        result = PathResult(tuple(self.fits), tuple(map(held_out_error, self.fits)))
        best = result.scores.index(min(result.scores))
        self.fits[best] = result.best.with_implied_ridge(self.problem)  # new rows will need it
        return replace(result, fits=tuple(self.fits))


def held_out_error(fit: LowRankFit) -> float:
    """The held-out error of the iterate that ``fit`` is: of the best one, or of the last."""
    return min(fit.validation) if fit.flowed else fit.validation[fit.sweep - 1]


def _backbone(problem: FitProblem, options: FitOptions, base: FitState, *, grown: bool) -> FitState:
    """A few sweeps at depth 2 with the components that the strength of ``options`` allows."""
    penalty, state = penalty_at(problem, options, base.tau, 2.0), base.state
    if grown:
        state = grow(problem, penalty, state, options.rank_cap, slack=0.0, steps=3)
    for _ in range(BACKBONE_SWEEPS):
        state = sweep(problem, penalty, state)[1]
    return replace(base, state=state)
