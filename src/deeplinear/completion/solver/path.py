"""A path over strengths, from strong to weak, for several depths at once."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...errors import InputError
from ..backends.threads import workers
from ..data.observations import Observations
from .checkpoint import Checkpoint, fingerprint
from .descent import Callback, Held, Progress, Validation, begin, enlarge, grow, run
from .fit import make_options, make_setting
from .result import ThinFit
from .schedule import FIRST, Options, penalty_at, plan
from .sweep import Setting, sweep

# From strong to weak: finely where ratings have their best, then in factors of 4 for data that are
# nearly exact.
STRENGTHS = (0.7, 0.5, 0.4, 0.32, 0.25, 0.18, *(0.1 * 4.0**-k for k in range(9)))
BACKBONE_SWEEPS = 2
# A held-out error this much above the best after three sweeps ends the fit, and with it the depth.
WORSE = 1.005


@dataclass(frozen=True)
class PathResult:
    """All fits of a path in the order they were made, their held-out errors, and the fit with the
    smallest.
    """

    fits: tuple[ThinFit, ...]
    scores: tuple[float, ...]

    @property
    def best(self) -> ThinFit:
        return self.fits[self.scores.index(min(self.scores))]

    def of_depth(self, depth: float) -> "PathResult":
        """The part of one depth."""
        chosen = [k for k, found in enumerate(self.fits) if found.depth == depth]
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
    threads: int | None = None,
    device: str = "cpu",
    callback: Callable[[ThinFit], None] | None = None,
    biases: bool = True,
    bias_ridge: float = 2.0,
    **options: Any,
) -> PathResult:
    """`thin.fit` at every depth and strength with early stopping on held-out entries; the best of
    all.

    One depth-2 iterate walks down the strengths, two sweeps at each, growing components as they
    become possible; every depth departs from it. (Depth N > 2 only loses rank, so that its own fit
    at a stronger penalty is a poor start, except for nearly exact data, below strength 0.01.) A
    depth ends after ``patience`` strengths without a better held-out error, or with one that is
    worse by 0.5 %. Biases, τ and the first singular triples are computed once; the fits come
    without certificate. ``callback`` gets every fit; the other ``options`` are those of `thin.fit`.

    **Raises** `InputError` without ``validation`` = (rows, cols, values).
    """
    if validation is None:
        raise InputError(
            "validation must be given as (rows, cols, values): a path needs entries to choose by."
        )
    order, open_depths = sorted(strengths, reverse=True), list(dict.fromkeys(depths))
    if not order or not open_depths:
        raise InputError("depths and strengths must hold at least one number each.")
    options["bias_ridge"] = bias_ridge if biases else None
    runs = {k: [_told(observations, k, c, options) for c in order] for k in (2.0, *open_depths)}
    with workers(threads, device) as crew:
        setting = make_setting(observations, runs[2.0][0], crew)
        held = Held.check(validation, observations.shape, observations.dtype)
        return _walk(setting, held, runs, open_depths, patience, callback)


def retrace(
    observations: Observations,
    depth: float,
    sweeps: Mapping[float, int],
    *,
    threads: int | None = None,
    device: str = "cpu",
    checkpoint: Any = None,
    callback: Callback | None = None,
    biases: bool = True,
    bias_ridge: float = 2.0,
    **options: Any,
) -> ThinFit:
    """The last fit of a `path` on other entries: the same way down the strengths ``sweeps``, with
    so many sweeps of each fit.

    ``sweeps`` {strength: sweeps} holds all strengths of the path down to the one that was best; the
    result is the fit there. ``checkpoint`` and ``callback`` are those of `thin.fit`, for this last
    fit.
    """
    options["bias_ridge"] = bias_ridge if biases else None
    order = sorted(sweeps, reverse=True)
    flat = [_told(observations, 2.0, c, options) for c in order]
    told = [_told(observations, depth, c, options | {"max_sweeps": sweeps[c]}) for c in order]
    file = None
    if checkpoint is not None:
        file = Checkpoint(
            checkpoint,
            fingerprint(
                observations, {str(c): asdict(each) for c, each in zip(order, told, strict=True)}
            ),
        )
    with workers(threads, device) as crew:
        setting = make_setting(observations, flat[0], crew)
        at = Progress.load(file) if file else None
        if at is None:
            at = _way_down(setting, flat, told)
        return run(
            setting,
            told[-1],
            at,
            plan(setting, told[-1], at.tau, warm=True),
            file=file,
            callback=callback,
        )


def _way_down(setting: Setting, flat: list[Options], told: list[Options]) -> Progress:
    """Where the last fit of a path departs from, after the fits that it needs."""
    last: ThinFit | None = None
    base = begin(setting, flat[0], None)
    for step, (bare, options) in enumerate(zip(flat, told, strict=True)):
        base = _descend(setting, bare, base, grown=step > 0)
        at = _departure(setting, options, base, last)
        if step + 1 < len(told) and _chained(told[step + 1]):
            last = run(
                setting, options, at, plan(setting, options, base.tau, warm=True), certified=False
            )
    return at


def _told(
    observations: Observations, depth: float, strength: float, options: dict[str, Any]
) -> Options:
    given: dict[str, Any] = {
        "decay": None,
        "max_rank": None,
        "smoothing": None,
        "scaling": 0.5,
        "tol": 1e-6,
    }
    given |= {"max_sweeps": 200, "steps": None, "seed": 0, "patience": 2} | options
    return make_options(observations, depth=depth, strength=strength, **given)


def _chained(options: Options) -> bool:
    """Data this exact: the noise that depth 2 lets in would stay, so each fit departs from the one
    before (as in `plan`).
    """
    return options.strength < FIRST and options.depth > 2


def _departure(
    setting: Setting, options: Options, base: Progress, last: ThinFit | None
) -> Progress:
    if last is None or not _chained(options):
        return replace(base, state=base.state.copy())
    return replace(base, state=enlarge(last, setting))


def _walk(
    setting: Setting,
    held: Held,
    runs: dict[float, list[Options]],
    depths: list[float],
    patience: int,
    callback: Callable[[ThinFit], None] | None,
) -> PathResult:
    fits: list[ThinFit] = []
    last: dict[float, ThinFit] = {}
    best, stale = dict.fromkeys(depths, math.inf), dict.fromkeys(depths, 0)
    base = begin(setting, runs[2.0][0], None)
    for step, flat in enumerate(runs[2.0]):
        base = _descend(setting, flat, base, grown=step > 0)
        for depth in [depth for depth in depths if stale[depth] < patience]:
            options, judge = runs[depth][step], replace(held, limit=WORSE * best[depth])
            stages = plan(setting, options, base.tau, warm=True)
            at = _departure(setting, options, base, last.get(depth))
            last[depth] = found = run(setting, options, at, stages, held=judge, certified=False)
            fits.append(found)
            if callback is not None:
                callback(found)
            score = min(found.validation)
            best[depth], stale[depth] = (
                (score, 0) if score < best[depth] * (1 - 1e-4) else (best[depth], stale[depth] + 1)
            )
        if min(stale.values()) >= patience:
            break
    return PathResult(tuple(fits), tuple(min(found.validation) for found in fits))


def _descend(setting: Setting, options: Options, base: Progress, *, grown: bool) -> Progress:
    """A few sweeps at depth 2 and the strength of ``options``, with the components that this
    strength allows.
    """
    penalty, state = penalty_at(setting, options, base.tau, 2.0), base.state
    if grown:
        state = grow(setting, penalty, state, options.max_rank, slack=0.0, steps=3)
    for _ in range(BACKBONE_SWEEPS):
        state = sweep(setting, penalty, state)[1]
    return replace(base, state=state)
