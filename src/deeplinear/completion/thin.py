"""Matrix completion with weight decay at depth N on thin factors, for 10⁵ … 10⁸ observed entries."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..checks import check_depth
from ..errors import InputError
from . import kernels
from .certify import certify, frames, missing
from .checkpoint import Checkpoint, fingerprint
from .engine import Penalty
from .observations import Observations, check_indices
from .result import ThinFit, fold_in
from .start import additive, line_scale, noise_scale, spectral
from .sweeps import Setting, State, assemble, balance, objective, sweep
from .threads import Workers, workers

__all__ = ["ThinFit", "fit", "fold_in"]

DEFAULT_RANK = 50
WARM_SWEEPS = 3
# Weaker penalties than this (nearly exact data) are reached in stages, each `RATIO` times weaker, of at most `STAGE_SWEEPS`
# sweeps or until a sweep gains less than `STAGE_TOL`: started at once, all components would stay and fit nothing in particular.
FIRST = 1e-2
RATIO = 0.1
STAGE_SWEEPS = 60
STAGE_TOL = 1e-3
# Conjugate-gradient steps per line and sweep, and for nearly exact data, where lines with few entries are badly conditioned.
STEPS = 2
EXACT_STEPS = 5
# The smoothing floor ε of the penalty, relative to the size τ/density of what noise alone would make.
FLOOR = 1e-12

Validation = tuple[Any, Any, Any]


@dataclass(frozen=True)
class Options:
    """The arguments of `fit` that its result depends on, checked."""

    depth: float
    strength: float
    decay: float | None
    max_rank: int
    bias_ridge: float | None
    scaling: float
    tol: float
    max_sweeps: int
    patience: int
    steps: int
    seed: int

    def __post_init__(self) -> None:
        check_depth(self.depth, scalar=True)
        if self.depth < 2:
            raise InputError(
                f"depth must be ≥ 2 for a thin fit, got {self.depth:g} (below 2 the minimizer has full rank): use DeepLinearImputer."
            )
        for name in ("strength", "decay", "bias_ridge"):
            value = getattr(self, name)
            if value is not None and not (0 <= value < math.inf):
                raise InputError(f"{name} must be a finite number ≥ 0, got {value!r}.")
        for name, least in (("max_rank", 0), ("max_sweeps", 1), ("patience", 1), ("steps", 1)):
            value = getattr(self, name)
            if value != math.inf and (value != int(value) or value < least):
                raise InputError(f"{name} must be an integer ≥ {least}, got {value!r}.")
        if not self.tol >= 0:
            raise InputError(f"tol must be ≥ 0, got {self.tol!r}.")
        if not 0 <= self.scaling <= 1:
            raise InputError(f"scaling must lie between 0 (off) and 1, got {self.scaling!r}.")


@dataclass(frozen=True)
class Progress:
    """A fit on its way: the current state, where it is in the plan, and the best held-out state so far."""

    state: State
    tau: float
    phase: int = 0
    sweeps: int = 0  # in this phase
    total: int = 0
    trace: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    best: State | None = None
    best_sweep: int = 0
    best_score: float = math.inf

    def save(self, checkpoint: Checkpoint) -> None:
        arrays = {f"state_{k}": getattr(self.state, k) for k in ("Z", "Y", "s")}
        scalars = {
            k: getattr(self, k)
            for k in ("tau", "phase", "sweeps", "total", "trace", "scores", "best_sweep", "best_score")
        }
        scalars["mean"] = self.state.mean
        if self.best is not None:
            arrays |= {f"best_{k}": getattr(self.best, k) for k in ("Z", "Y", "s")}
            scalars["best_mean"] = self.best.mean
        checkpoint.save(arrays, scalars)

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> "Progress | None":
        found = checkpoint.load()
        if found is None:
            return None
        arrays, scalars = found
        state = State(arrays["state_Z"], arrays["state_Y"], arrays["state_s"], scalars.pop("mean"))
        best_mean = scalars.pop("best_mean", None)
        best = None if best_mean is None else State(arrays["best_Z"], arrays["best_Y"], arrays["best_s"], best_mean)
        scalars = {k: tuple(v) if isinstance(v, list) else v for k, v in scalars.items()}
        return cls(state, best=best, **scalars)


def fit(
    observations: Observations,
    *,
    depth: float = 3,
    strength: float = 0.5,
    decay: float | None = None,
    max_rank: int | None = None,
    biases: bool = True,
    bias_ridge: float = 1.0,
    scaling: float = 0.0,
    tol: float = 1e-6,
    max_sweeps: int = 200,
    steps: int | None = None,
    validation: Validation | None = None,
    patience: int = 3,
    start: ThinFit | None = None,
    checkpoint: Any = None,
    threads: int | None = None,
    seed: int = 0,
    callback: Callable[[ThinFit], bool | None] | None = None,
) -> ThinFit:
    """Complete a matrix: minimize, over W of any rank up to ``max_rank``, over a mean μ and biases a, b,

        ½ Σ w_ij (W_ij + μ + a_i + b_j − x_ij)² + ½ β (|a|² + |b|²) + (λN/2) Σ_k σ_k(W̃)^{2/N},     W̃ = diag(ρ) W diag(κ).

    ``depth`` N is real, ≥ 2, or ``math.inf`` (where the penalty is λ Σ log σ_k). The rank is found: components die by themselves.
    ``strength`` is λ/τ at depth 2 and, at any depth, the slope of the penalty at the noise scale σ = τ/density in units of τ, with
    τ the spectral norm of the residual of the biases alone under random signs; multiplying the data by a constant changes
    nothing. ``decay`` gives λ itself instead. ``scaling`` = α sets ρ_i, κ_j to (count / mean count)^α (0: off; ½ is usual for
    ratings).
    ``bias_ridge`` β is in units of weights; ``biases=False`` fits W alone.

    With ``validation`` = (rows, cols, values) the fit stops when the held-out error has not improved for ``patience``
    sweeps, and returns the best iterate. Otherwise it ends where a sweep gains less than ``tol`` (relative) or after
    ``max_sweeps``. ``steps`` conjugate-gradient steps are made per line and sweep (2, or 5 below strength 0.01). ``start``: a fit to begin with; it may have
    fewer rows and columns (the new ones begin at 0). ``checkpoint``: a file; a fit that was killed resumes there and ends
    with the same numbers. ``threads`` changes the time, not the result. ``callback`` gets the iterate after every sweep
    and ends the fit by returning True.

    **Method**: reweighted alternating ridge regression, one or two conjugate-gradient steps per line, rebalanced by a small SVD
    after every sweep (`sweeps`); it begins with the leading singular triples of the residual and a few sweeps at
    depth 2. The objective never rises.

    **Raises** `InputError` for arguments out of range, and for a checkpoint of other data or options.

    **Source**: Arora, Cohen, Hazan (1802.06509) for weight decay on factors; Shang et al. (2016) for the Schatten-2/N identity.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 30))
    >>> rows, cols = np.nonzero(rng.random(truth.shape) < 0.6)
    >>> seen = Observations.from_triples(rows, cols, truth[rows, cols], truth.shape)
    >>> found = fit(seen, depth=3, strength=0.01, biases=False, max_rank=10)
    >>> found.rank, bool(abs(found.predict([0], [0])[0] - truth[0, 0]) < 0.05)
    (2, True)
    """
    m, n = observations.shape
    if max_rank is not None and max_rank > min(m, n):
        raise InputError(f"max_rank must be at most min(m, n) = {min(m, n)}, got {max_rank}.")
    if observations.nnz == 0:
        raise InputError("observations must hold at least one entry, got none.")
    options = Options(
        float(depth), strength, decay, min(m, n, DEFAULT_RANK) if max_rank is None else max_rank,
        bias_ridge if biases else None, scaling, tol, max_sweeps, patience,
        (EXACT_STEPS if decay is None and strength < FIRST else STEPS) if steps is None else steps, seed,
    )  # fmt: skip
    file = None
    if checkpoint is not None:
        told = {**asdict(options), "start": None if start is None else (start.rank, float(start.left.sum()))}
        file = Checkpoint(checkpoint, fingerprint(observations, told))
    with workers(threads) as crew:
        setting = make_setting(observations, options, crew)
        held = None if validation is None else Held.check(validation, observations.shape, observations.dtype)
        return _run(setting, options, held, start, file, callback)


def make_setting(observations: Observations, options: Options, crew: Workers) -> Setting:
    rows, cols = (line_scale(lines, options.scaling) for lines in (observations.by_row, observations.by_col))
    return Setting(observations, rows, cols, options.bias_ridge, crew, options.steps)


@dataclass(frozen=True)
class Held:
    """Held-out entries."""

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray

    @classmethod
    def check(cls, validation: Validation, shape: tuple[int, int], dtype: Any) -> "Held":
        rows, cols, values = (np.asarray(x) for x in validation)
        if not len(rows) == len(cols) == len(values) or not len(values):
            raise InputError(
                f"validation must hold three vectors of one length ≥ 1, got lengths {len(rows)}, {len(cols)}, {len(values)}."
            )
        if not np.isfinite(values).all():
            raise InputError("validation must hold finite values, got NaN or infinity: leave these entries out.")
        return cls(
            check_indices(rows, shape[0], "validation rows"),
            check_indices(cols, shape[1], "validation cols"),
            values.astype(dtype),
        )

    def rmse(self, state: State) -> float:
        """Root-mean-square error of ``state``."""
        out = np.empty(len(self.rows), state.Z.dtype)
        kernels.at(0, len(out), self.rows, self.cols, state.Z.dtype.type(state.mean), state.Z, state.Y, out)
        return float(np.sqrt(np.mean(np.square(out - self.values, dtype=float))))


def penalty_at(setting: Setting, options: Options, tau: float, depth: float, factor: float = 1.0) -> Penalty:
    """The penalty whose slope at the noise scale τ/density is strength · τ (times ``factor``), at any depth."""
    size = tau / setting.density if tau > 0 else 1.0
    if options.decay is not None:  # the same slope at the noise scale as λ has at the depth asked for
        decay = factor * options.decay * size ** (2 / options.depth - 2 / depth)
    else:
        decay = factor * options.strength * tau * size ** (1 - 2 / depth)
    return Penalty(depth, decay, FLOOR * size)


@dataclass(frozen=True)
class Stage:
    """One penalty on the way, for at most ``sweeps`` sweeps or until a sweep gains less than ``tol``."""

    penalty: Penalty
    sweeps: float
    tol: float


def plan(setting: Setting, options: Options, tau: float, warm: bool) -> list[Stage]:
    """Depth 2 finds the directions, depth N the rank, ever weaker penalties the last digits."""
    last = Stage(penalty_at(setting, options, tau, options.depth), options.max_sweeps, options.tol)
    if warm or options.depth == 2:
        return [last]
    strength = relative_strength(setting, options, tau)
    factor = max(FIRST / strength, 1.0) if strength > 0 else 1.0
    stages = [Stage(penalty_at(setting, options, tau, 2.0, factor), WARM_SWEEPS, 0.0)]
    while factor > 1:
        stages.append(Stage(penalty_at(setting, options, tau, options.depth, factor), STAGE_SWEEPS, STAGE_TOL))
        factor *= RATIO
    return [*stages, last]


def relative_strength(setting: Setting, options: Options, tau: float) -> float:
    """``strength``, or what an absolute ``decay`` amounts to."""
    if options.decay is None:
        return options.strength
    return options.decay / (tau * (tau / setting.density) ** (1 - 2 / options.depth)) if tau > 0 else 1.0


def enlarge(start: ThinFit, setting: Setting) -> State:
    """The iterate of ``start`` on a matrix that may have more rows and columns, balanced."""
    (m, n), old = setting.observations.shape, start.shape
    if old[0] > m or old[1] > n:
        raise InputError(f"start must not be larger than the observations {(m, n)}, got {old}.")
    rows, cols = (0, m - old[0]), (0, n - old[1])
    state = assemble(
        np.pad(start.left, (rows, (0, 0))), np.pad(start.right, (cols, (0, 0))), start.spectrum,
        np.pad(start.row_bias, rows), np.pad(start.col_bias, cols), start.mean, setting.observations.dtype,
    )  # fmt: skip
    return balance(setting, state)


def begin(setting: Setting, options: Options, start: ThinFit | None) -> Progress:
    bare = additive(setting)
    tau = noise_scale(setting, bare, options.seed)
    if start is not None:
        return Progress(enlarge(start, setting), tau)
    first = plan(setting, options, tau, warm=False)[0].penalty
    return Progress(spectral(setting, bare, first, options.max_rank, options.seed), tau)


def grow(setting: Setting, penalty: Penalty, state: State, max_rank: int, slack: float) -> State:
    """At depth 2: add the triples of R̃_⊥ above f'(0) = λ, if that lowers the objective. Deeper, W never gains rank."""
    room, limit = max_rank - state.rank, float(penalty.slope(0.0))
    if room <= 0 or penalty.depth != 2:
        return state
    A, g, B = missing(setting, state)
    new = np.flatnonzero(g > limit * (1 + slack))[:room]
    if not len(new):
        return state
    before, (U, V) = objective(setting, penalty, state), frames(setting, state)
    for share in (1.0, 0.1, 0.01):
        s = np.r_[state.s, share * (g[new] - limit) / setting.density]
        P = np.c_[U, A[:, new]] * np.sqrt(s) / setting.row_scale[:, None]
        Q = np.c_[V, B[:, new]] * np.sqrt(s) / setting.col_scale[:, None]
        larger = assemble(P, Q, s, state.row_bias, state.col_bias, state.mean, state.Z.dtype)
        larger = balance(setting, larger)
        if objective(setting, penalty, larger) < before:
            return larger
    return state


def _run(
    setting: Setting,
    options: Options,
    held: Held | None,
    start: ThinFit | None,
    file: Checkpoint | None,
    callback: Callable[[ThinFit], bool | None] | None,
) -> ThinFit:
    at = (Progress.load(file) if file else None) or begin(setting, options, start)
    stages = plan(setting, options, at.tau, start is not None)
    status = ""
    while not status:
        stage = stages[at.phase]
        value, state = sweep(setting, stage.penalty, at.state)
        at = replace(at, state=state, sweeps=at.sweeps + 1, total=at.total + 1, trace=(*at.trace, value))
        if stage is stages[-1]:
            at, status = _judge(setting, stage, options, held, at)
        elif at.sweeps >= stage.sweeps or settled(stage, at):
            at = replace(at, phase=at.phase + 1, sweeps=0, trace=())
        if file:
            at.save(file)
        if callback is not None and not status and callback(_result(setting, options, stage.penalty, at)):
            status = "callback"
    return _finish(setting, options, stages[-1].penalty, at, status)


def settled(stage: Stage, at: Progress) -> bool:
    """Whether the sweep before the last gained less than ``tol`` of E + Σ f'(s) s, which no constant in f changes."""
    if len(at.trace) < 2:
        return False
    (last, value), s = at.trace[-2:], at.state.s
    return last - value <= stage.tol * (value + float((stage.penalty.slope(s) * s - stage.penalty.value(s)).sum()))


def _judge(setting: Setting, stage: Stage, options: Options, held: Held | None, at: Progress) -> tuple[Progress, str]:
    """Score the iterate, and decide whether the fit ends here ("" if not)."""
    if held is not None:
        score = held.rmse(at.state)
        at = replace(at, scores=(*at.scores, score))
        if score < at.best_score * (1 - 1e-5):
            at = replace(at, best=at.state.copy(), best_sweep=at.sweeps, best_score=score)
        if at.sweeps >= at.best_sweep + options.patience:
            return at, "stopped early"
    if settled(stage, at):
        larger = grow(setting, stage.penalty, at.state, options.max_rank, max(options.tol, 1e-18) ** 0.5)
        if larger is at.state:
            return at, "converged"
        at = replace(at, state=larger)
    return at, "max_sweeps" if at.sweeps >= options.max_sweeps else ""


def _finish(setting: Setting, options: Options, penalty: Penalty, at: Progress, status: str) -> ThinFit:
    chosen = at
    if at.best is not None and at.best_sweep < at.sweeps:
        chosen = replace(at, state=at.best)
    found = _result(setting, options, penalty, chosen)
    trace = (*at.trace, objective(setting, penalty, at.state))
    last = at.best_sweep if at.best is not None else at.sweeps
    return replace(
        found, objective=trace, sweep=last, status=status, certificate=certify(setting, penalty, chosen.state)
    )


def _result(setting: Setting, options: Options, penalty: Penalty, at: Progress) -> ThinFit:
    state, r = at.state, at.state.rank
    rows, cols = (
        float(np.maximum(x.counts, 1).mean()) for x in (setting.observations.by_row, setting.observations.by_col)
    )
    return ThinFit(
        left=state.Z[:, :r].copy(), right=state.Y[:, :r].copy(), spectrum=state.s, mean=state.mean,
        row_bias=state.row_bias.copy(), col_bias=state.col_bias.copy(), row_scale=setting.row_scale,
        col_scale=setting.col_scale, depth=options.depth, strength=options.strength, decay=penalty.decay,
        floor=penalty.floor, tau=at.tau, bias_ridge=options.bias_ridge, scaling=options.scaling,
        mean_counts=(rows, cols), objective=at.trace, validation=at.scores, sweep=at.sweeps, n_sweeps=at.total,
    )  # fmt: skip
