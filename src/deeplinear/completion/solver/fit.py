"""Matrix completion with weight decay at depth N, for tables and for 10⁵ … 10⁸ entries."""

from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...errors import PrecisionError
from ..backends.base import AbstractBackend
from ..backends.open import Device, open_backend
from ..backends.reweighted import with_losses
from ..data.observations import Observations
from ..file_format import Arrays, Meta
from ..schema import NUMBER, Field, check_arrays
from .checkpoint import Checkpoint, PathLike, Place, fingerprint
from .descent import Callback, Watch, begin, finish, run
from .fit_state import FitState, Validation, ValidationSplit
from .growth import add_significant_components, enlarge, update_lines
from .options import FitOptions
from .problem import FitProblem
from .result import LowRankFit, fold_in
from .resumed import dump_state, restore_state
from .schedule import Stage, penalty_at, schedule
from .start import additive, line_scale, noise_scale

# The least spread of float32 values relative to their size: below, residuals would have 3 digits or
# fewer.
BLUR = 1.2e-4

__all__ = ["LowRankFit", "fit", "fold_in", "update"]


def fit(
    observations: Observations,
    *,
    validation: Validation | None = None,
    start: LowRankFit | None = None,
    checkpoint: PathLike | Place | None = None,
    threads: int | None = None,
    device: Device = "cpu",
    callback: Callback | None = None,
    **options: Any,
) -> LowRankFit:
    """Complete a matrix: minimize, over W of any rank up to ``max_rank``, a mean μ and biases a, b,

        ½ Σ w_ij (W_ij + μ + a_i + b_j − x_ij)² + ½ β (|a|² + |b|²) + (λN/2) Σ_k σ_k(W̃)^{2/N},
        W̃ = diag(ρ) W diag(κ).

    ``options`` are the fields of `FitOptions`: depth, strength, max_rank, …. The penalty makes
    the rank: components vanish by themselves.

    With ``validation`` = (rows, cols, values) the fit stops when the held-out error has not
    improved for ``patience`` sweeps, and returns the best iterate. Otherwise it ends where a sweep
    gains less than ``tol`` (relative) or after ``max_sweeps``. ``start``: a fit to begin with; it
    may have fewer rows and columns (the new ones begin at 0). ``checkpoint``: a file; a fit that
    was killed resumes there and ends with the same numbers. ``threads`` changes the time, not the
    result. ``device``: ``"cpu"`` (dense products for tables, compiled loops for sparse data),
    ``"gpu"``, or ``"jax"`` (all devices of JAX's default platform): the same up to rounding.
    ``callback`` gets the iterate after every sweep and ends the fit by returning True.

    **Method**: reweighted alternating ridge regression, a few conjugate-gradient steps per line,
    rebalanced by a small SVD after every sweep (`sweep`); it begins with the leading singular
    triples of the residual and a few sweeps at depth 2. Below depth 2, where the penalty is convex,
    proximal gradient steps from W = 0 (`convex`). The objective never rises.

    **Raises** `InputError` for arguments out of range, and for a checkpoint of other data or
    options.

    **Source**: Arora, Cohen, Hazan (1802.06509) for weight decay on factors; Shang et al. (2016)
    for the Schatten-2/N identity.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 30))
    >>> rows, cols = np.nonzero(rng.random(truth.shape) < 0.6)
    >>> seen = Observations.from_triples(rows, cols, truth[rows, cols], truth.shape)
    >>> result = fit(seen, depth=3, strength=0.01, bias_ridge=None, max_rank=10)
    >>> result.rank, bool(abs(result.predict([0], [0])[0] - truth[0, 0]) < 0.05)
    (2, True)
    """
    record = FitOptions(**options).for_data(observations)
    if start is not None:
        start.check("start")
    file = None
    if checkpoint is not None:
        begun = () if start is None else tuple(start.dump()[1].values())
        mark = fingerprint(observations, asdict(record), *(validation or ()), *begun)
        file = Checkpoint(checkpoint, mark)
    with open_backend(observations, threads, device) as backend:
        problem = make_problem(observations, record, backend)
        held_out = held_out_entries(validation, observations, record)
        resumed = partial(_resumed, problem, record, start, held_out is not None)
        at = file.load(resumed) if file else None
        at = at or begin(problem, record, start)
        stages = schedule(problem, record, at.tau, start is not None)
        save = None if file is None else lambda at: file.save(*dump_state(at))
        return run(problem, record, at, stages, Watch(held_out, save, callback))


def _resumed(
    problem: FitProblem,
    options: FitOptions,
    start: LowRankFit | None,
    judged: bool,
    meta: Meta,
    arrays: Arrays,
) -> FitState:
    """The state of a fit that was saved."""
    check_arrays({"tau": Field(NUMBER, least=0)}, meta)
    stages = schedule(problem, options, meta["tau"], start is not None)
    return restore_state(problem, stages, meta, arrays, judged=judged)


def update(
    observations: Observations,
    start: LowRankFit,
    rows: ArrayLike,
    cols: ArrayLike,
    *,
    rounds: int = 3,
    sweeps: int = 0,
    threads: int | None = None,
    device: Device = "cpu",
    callback: Callback | None = None,
    **options: Any,
) -> LowRankFit:
    """``start`` with the entries that ``observations`` now holds at (``rows``, ``cols``).

    Its depth and strength stay. Lines with a new entry move once, given the others; lines that had
    none before move ``rounds`` times, as they would in a fit of as many sweeps. Everything else
    stays as it is, so that a few entries change little, wherever the fit was stopped. Then come
    ``sweeps`` sweeps over all entries, for many entries, with the components that stand out of the
    noise. The other ``options`` are those of `fit`. ``sweep`` and ``n_sweeps`` remain those of
    ``start``.

    **Raises** `InputError` as `fit` does.
    """
    kept = {
        "depth": start.depth,
        "strength": start.strength,
        "weighted_trace_norm": start.weighted_trace_norm,
        "bias_ridge": start.bias_ridge,
        "losses": start.losses,
        "tol": 0.0,
        "patience": 1,
        "max_sweeps": max(sweeps, 1),
    }
    record = FitOptions(**options | kept).for_data(observations)
    lines = tuple(np.unique(np.asarray(x)) for x in (rows, cols))
    with open_backend(observations, threads, device) as backend:
        problem = make_problem(observations, record, backend)
        tau = noise_scale(problem, additive(problem), record.seed)
        at = FitState(enlarge(start, problem), tau)
        penalty = penalty_at(problem, record, at.tau, record.depth)
        fresh = _unknown(start, lines)
        for k in range(rounds):
            mine = lines if k == 0 else fresh
            if not any(len(side) for side in mine):
                break
            at = replace(at, state=update_lines(problem, penalty, at.state, *mine))
        if sweeps:
            at = replace(at, state=add_significant_components(problem, record, at.tau, at.state))
            stages = [Stage(penalty, sweeps, 0.0)]
            result = run(problem, record, at, stages, Watch(callback=callback))
        else:
            result = finish(problem, record, penalty, at, start.status)
    return replace(result, sweep=start.sweep, n_sweeps=start.n_sweeps)


def _unknown(start: LowRankFit, lines: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Those of ``lines`` that ``start`` has nothing on.

    They lie behind its own, or their factors and biases are 0.
    """

    def empty(side: np.ndarray, bias: np.ndarray, line: np.ndarray) -> np.ndarray:
        known = np.zeros(max(int(line.max(initial=0)) + 1, len(side)), bool)
        known[: len(side)] = side.any(axis=1) | (bias != 0)
        return line[~known[line]]

    return empty(start.left, start.row_bias, lines[0]), empty(start.right, start.col_bias, lines[1])


def held_out_entries(
    validation: Validation | None, observations: Observations, options: FitOptions
) -> ValidationSplit | None:
    """``validation`` checked, if there is any."""
    if validation is None:
        return None
    return ValidationSplit.check(validation, observations, options.column_noise)


def make_problem(
    observations: Observations, options: FitOptions, backend: AbstractBackend
) -> FitProblem:
    """What stays fixed during a fit; ``options`` are those `FitOptions.for_data` returns."""
    if options.bias_ridge is not None:
        _check_spread(observations)
    rows, cols = (
        line_scale(lines, options.weighted_trace_norm)
        for lines in (observations.by_row, observations.by_col)
    )
    assert options.steps is not None
    losses = options.losses
    backend = with_losses(backend, losses, observations)
    return FitProblem(observations, rows, cols, options.bias_ridge, backend, options.steps, losses)


def _check_spread(observations: Observations) -> None:
    """Refuse float32 values whose residuals would have few digits.

    Residuals are differences of values near μ: they keep eps · size/spread of relative
    precision.
    """
    if observations.dtype != np.float32:
        return
    spread, size = observations.spread, observations.largest
    if 0 < spread < BLUR * size:
        raise PrecisionError(
            f"values must not be all nearly the same in float32, got a spread of {spread:.3g} "
            f"around values up to {size:.3g}: "
            "subtract their mean, or use float64."
        )
