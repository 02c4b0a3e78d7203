"""Matrix completion with weight decay at depth N on thin factors, for 10⁵ … 10⁸ observed
entries.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ...errors import InputError, PrecisionError
from ..backends.threads import Workers, workers
from ..data.observations import Observations
from .checkpoint import Checkpoint, fingerprint
from .descent import Callback, Held, Progress, Validation, add_significant_components, begin, enlarge, finish, run, update_lines
from .result import LowRankFit, fold_in
from .schedule import DEFAULT_RANK, EXACT_STEPS, FIRST, STEPS, Options, Stage, penalty_at, plan
from .start import additive, line_scale, noise_scale
from .sweep import FitProblem

# The least spread of float32 values relative to their size: below, residuals would have 3 digits or
# fewer.
BLUR = 1.2e-4

__all__ = ["LowRankFit", "fit", "fold_in", "update"]


def fit(
    observations: Observations,
    *,
    depth: float = 3,
    strength: float = 0.5,
    decay: float | None = None,
    max_rank: int | None = None,
    biases: bool = True,
    bias_ridge: float = 2.0,
    smoothing: float | None = None,
    scaling: float = 0.5,
    tol: float = 1e-6,
    max_sweeps: int = 200,
    steps: int | None = None,
    validation: Validation | None = None,
    patience: int = 3,
    start: LowRankFit | None = None,
    checkpoint: Any = None,
    threads: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    callback: Callback | None = None,
) -> LowRankFit:
    """Complete a matrix: minimize, over W of any rank up to ``max_rank``, over a mean μ and biases
    a, b,

        ½ Σ w_ij (W_ij + μ + a_i + b_j − x_ij)² + ½ β (|a|² + |b|²) + (λN/2) Σ_k σ_k(W̃)^{2/N}, W̃ =
        diag(ρ) W diag(κ).

    ``depth`` N is real, ≥ 2, or ``math.inf`` (where the penalty is λ Σ log σ_k). The rank is found:
    components die by themselves. ``strength`` is λ/τ at depth 2 and, at any depth, the slope of the
    penalty at the noise scale σ = τ/density in units of τ, with τ the spectral norm of the residual
    of the biases alone under random signs; multiplying the data by a constant changes nothing.
    ``decay`` gives λ itself instead. ``scaling`` = α sets ρ_i², κ_j² to (count / mean count)^α, so
    that lines with many entries are shrunk more (0: off). ``smoothing`` is the floor ε of the
    penalty's slope λ(σ + ε)^{2/N−1} in units of the noise scale; by default 0.3 · ``strength``, at
    most 0.1: it lets weak components live long enough to prove themselves. ``bias_ridge`` β is in
    units of weights; ``biases=False`` fits W alone.

    With ``validation`` = (rows, cols, values) the fit stops when the held-out error has not
    improved for ``patience`` sweeps, and returns the best iterate. Otherwise it ends where a sweep
    gains less than ``tol`` (relative) or after ``max_sweeps``. ``steps`` conjugate-gradient steps
    are made per line and sweep (2, or 5 below strength 0.01). ``start``: a fit to begin with; it
    may have fewer rows and columns (the new ones begin at 0). ``checkpoint``: a file; a fit that
    was killed resumes there and ends with the same numbers. ``threads`` changes the time, not the
    result. ``device``: ``"cpu"`` (compiled loops), ``"gpu"``, or ``"jax"`` (all devices of JAX's
    default platform; lines are dealt out to them): the same up to rounding. ``callback`` gets the
    iterate after every sweep and ends the fit by returning True.

    **Method**: reweighted alternating ridge regression, one or two conjugate-gradient steps per
    line, rebalanced by a small SVD after every sweep (`sweeps`); it begins with the leading
    singular triples of the residual and a few sweeps at depth 2. The objective never rises.

    **Raises** `InputError` for arguments out of range, and for a checkpoint of other data or
    options.

    **Source**: Arora, Cohen, Hazan (1802.06509) for weight decay on factors; Shang et al. (2016)
    for the Schatten-2/N identity.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 30))
    >>> rows, cols = np.nonzero(rng.random(truth.shape) < 0.6)
    >>> seen = Observations.from_triples(rows, cols, truth[rows, cols], truth.shape)
    >>> found = fit(seen, depth=3, strength=0.01, biases=False, max_rank=10)
    >>> found.rank, bool(abs(found.predict([0], [0])[0] - truth[0, 0]) < 0.05)
    (2, True)
    """
    options = make_options(
        observations,
        depth=depth,
        strength=strength,
        decay=decay,
        max_rank=max_rank,
        bias_ridge=bias_ridge if biases else None,
        smoothing=smoothing,
        scaling=scaling,
        tol=tol,
        max_sweeps=max_sweeps,
        patience=patience,
        steps=steps,
        seed=seed,
    )
    file = None
    if checkpoint is not None:
        options = {
            **asdict(options),
            "start": None if start is None else (start.rank, float(start.left.sum())),
        }
        file = Checkpoint(checkpoint, fingerprint(observations, options, *(validation or ())))
    with workers(threads, device) as backend:
        problem = make_problem(observations, options, backend)
        held = (
            None
            if validation is None
            else Held.check(validation, observations.shape, observations.dtype)
        )
        at = (Progress.load(file) if file else None) or begin(problem, options, start)
        stages = plan(problem, options, at.tau, start is not None)
        return run(problem, options, at, stages, held=held, file=file, callback=callback)


def update(
    observations: Observations,
    start: LowRankFit,
    rows: Any,
    cols: Any,
    *,
    rounds: int = 3,
    sweeps: int = 0,
    threads: int | None = None,
    device: str = "cpu",
    callback: Callback | None = None,
    **options: Any,
) -> LowRankFit:
    """``start`` with the entries that ``observations`` now holds at (``rows``, ``cols``); its depth
    and strength stay.

    Lines with a new entry move once, given the others; lines that had none before move ``rounds``
    times, as they would in a fit of so many sweeps. Everything else stays as it is, so that a few
    entries change little, wherever the fit was stopped. Then come ``sweeps`` sweeps over all
    entries, for many entries, with the components that stand out of the noise. The other
    ``options`` are those of `fit`. ``sweep`` and ``n_sweeps`` remain those of ``start``.

    **Raises** `InputError` as `fit` does.
    """
    given: dict[str, Any] = {
        "decay": None,
        "smoothing": None,
        "max_rank": None,
        "steps": None,
        "seed": 0,
    }
    given |= options | {
        "depth": start.depth,
        "strength": start.strength,
        "scaling": start.scaling,
        "tol": 0.0,
    }
    given |= {"bias_ridge": start.bias_ridge, "patience": 1, "max_sweeps": max(sweeps, 1)}
    options = make_options(observations, **given)
    lines = tuple(np.unique(np.asarray(x)) for x in (rows, cols))
    with workers(threads, device) as backend:
        problem = make_problem(observations, options, backend)
        at = Progress(enlarge(start, problem), noise_scale(problem, additive(problem), options.seed))
        penalty = penalty_at(problem, options, at.tau, options.depth)
        fresh = _unknown(start, lines)
        for k in range(rounds):
            mine = lines if k == 0 else fresh
            if not any(len(side) for side in mine):
                break
            at = replace(at, state=update_lines(problem, penalty, at.state, *mine))
        if sweeps:
            at = replace(at, state=add_significant_components(problem, options, at.tau, at.state))
            found = run(problem, options, at, [Stage(penalty, sweeps, 0.0)], callback=callback)
        else:
            found = finish(problem, options, penalty, at, start.status)
    return replace(found, sweep=start.sweep, n_sweeps=start.n_sweeps)


def _unknown(start: LowRankFit, lines: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Those of ``lines`` that ``start`` has nothing on: they lie behind its own, or their factors
    and biases are 0.
    """

    def empty(side: np.ndarray, bias: np.ndarray, line: np.ndarray) -> np.ndarray:
        known = np.zeros(max(int(line.max(initial=0)) + 1, len(side)), bool)
        known[: len(side)] = side.any(axis=1) | (bias != 0)
        return line[~known[line]]

    return empty(start.left, start.row_bias, lines[0]), empty(start.right, start.col_bias, lines[1])


def make_options(
    observations: Observations, *, max_rank: int | None, steps: int | None, **rest: Any
) -> Options:
    """`Options` with the defaults that depend on the data and on each other."""
    limit = min(observations.shape)
    if max_rank is not None and max_rank > limit:
        raise InputError(f"max_rank must be at most min(m, n) = {limit}, got {max_rank}.")
    if observations.nnz == 0:
        raise InputError("observations must hold at least one entry, got none.")
    exact = rest["decay"] is None and rest["strength"] < FIRST
    return Options(
        max_rank=min(limit, DEFAULT_RANK) if max_rank is None else max_rank,
        steps=(EXACT_STEPS if exact else STEPS) if steps is None else steps,
        **rest,
    )


def make_problem(observations: Observations, options: Options, backend: Workers) -> FitProblem:
    if options.bias_ridge is not None:
        _check_spread(observations.by_row.values)
    rows, cols = (
        line_scale(lines, options.scaling) for lines in (observations.by_row, observations.by_col)
    )
    return FitProblem(observations, rows, cols, options.bias_ridge, backend, options.steps)


def _check_spread(values: np.ndarray) -> None:
    """Residuals are differences of values near the mean and μ: they keep eps · size/spread of
    relative precision.
    """
    spread, size = float(values.std(dtype=float)), float(np.abs(values).max(initial=0.0))
    if values.dtype == np.float32 and 0 < spread < BLUR * size:
        raise PrecisionError(
            f"values must not be all nearly the same in float32, got a spread of {spread:.3g} "
            f"around values up to {size:.3g}: "
            "subtract their mean, or use float64."
        )
