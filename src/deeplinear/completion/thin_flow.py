"""The flow of the network itself at the size of `thin`: no weight decay, a small start, early stopping.

For N < ∞ the rank of W is invariant, so that Ẇ = −A_{N,W}(E′(W)) lives on W = U diag(s) Vᵀ of fixed rank r and needs of the
residual R = −E′ only R V and Rᵀ U:

    Ẇ = U (λ(s_i, s_j) ∘ UᵀRV) Vᵀ + (1 − UUᵀ) R V diag(λ(s, 0)) Vᵀ + U diag(λ(s, 0)) Uᵀ R (1 − VVᵀ).

It is integrated by Heun's method, every stage truncated to rank r (a projected Runge–Kutta method, Kieri and
Vandereycken 2019): small singular values do no harm, and ties are nothing special.
Cost per step: four passes over the entries and O((m + n) r²).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .descent import Callback, Held, Validation
from .engine import balance as thin_svd
from .observations import Observations
from .plan import Options
from .result import ThinFit
from .start import additive, leading, residual_times, residual_transposed_times
from .sweeps import Setting, assemble, energy
from .thin import make_options, make_setting
from .threads import workers

# The singular values of the start lie within this factor of each other.
SPREAD = math.e
# Less than this part of the energy of the biases alone is nothing.
NO_ENERGY = 1e-6
MAX_STEPS = 5000
# The held-out error has turned if meanwhile the energy fell to this part, for at a saddle, before the next singular value is
# learned, both stand still; or else after so many times more steps, for the energy may have no further to fall.
_TURN = 0.5
_REST = 50
# The weight decay that an end at E = 0 is taken for: so many times that of a fit shrunk by 1.
_LEAST_DECAY = 1e-6


@dataclass(frozen=True)
class Point:
    """W = U diag(s) Vᵀ at time t with energy E."""

    U: np.ndarray
    s: np.ndarray
    V: np.ndarray
    t: float
    energy: float


class _Flow:
    """The vector field on one data set, and the step."""

    def __init__(self, setting: Setting, depth: float, bulk: float) -> None:
        import jax

        from ..spectral import kernel

        self.setting, self.bare = setting, additive(setting)
        self._kernels = jax.jit(lambda s: (kernel(s[:, None], s, depth), kernel(s, bulk, depth)))

    def state(self, U: np.ndarray, s: np.ndarray, V: np.ndarray) -> Any:
        root, b = np.sqrt(s), self.bare
        return assemble(U * root, V * root, s, b.row_bias, b.col_bias, b.mean, b.Z.dtype)

    def velocity(self, U: np.ndarray, s: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(A, B) with Ẇ = A Bᵀ, 2r columns each."""
        import jax

        state = self.state(U, s, V)
        RV, RU = (
            x.astype(float)
            for x in (residual_times(self.setting, state, V), residual_transposed_times(self.setting, state, U))
        )
        with jax.enable_x64(True):
            inner, edge = (np.asarray(x) for x in self._kernels(s))
        C = U.T @ RV
        return np.hstack([U, (RV - U @ C) * edge]), np.hstack([V @ (inner * C).T + (RU - V @ C.T) * edge, V])

    def step(self, at: Point, h: float, first: tuple[np.ndarray, np.ndarray]) -> tuple[tuple[np.ndarray, ...], float]:
        """Heun's step from ``at`` with the velocity ``first`` there: (U, s, V) and the relative distance to Euler's."""
        A, B = first
        r = len(at.s)
        euler = _truncated([at.U * at.s, h * A], [at.V, B], r)
        C, D = self.velocity(*euler)
        heun = _truncated([at.U * at.s, h / 2 * A, h / 2 * C], [at.V, B, D], r)
        (U, s, V), (X, t, Y) = euler, heun
        gap = s @ s + t @ t - 2 * float(np.sum((U.T @ X) * (V.T @ Y) * np.outer(s, t)))
        return heun, math.sqrt(max(gap, 0.0) / float(t @ t))


def _truncated(left: list[np.ndarray], right: list[np.ndarray], r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    U, s, Vt = thin_svd(np.hstack(left), np.hstack(right))
    return U[:, :r], s[:r], Vt[:r].T


def flow(
    observations: Observations,
    *,
    depth: float = 3,
    max_rank: int | None = None,
    start_scale: float = 1e-3,
    stop: float = NO_ENERGY,
    t1: float = math.inf,
    rtol: float = 1e-3,
    max_steps: int = MAX_STEPS,
    validation: Validation | None = None,
    patience: int = 20,
    biases: bool = True,
    bias_ridge: float = 2.0,
    start: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    threads: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    callback: Callback | None = None,
) -> ThinFit:
    """Train the network: Ẇ = −A_{N,W}(E′(W)) from a small start of rank ``max_rank``, on the residual of the biases alone.

    E = ½ Σ w_ij (W_ij + μ + a_i + b_j − x_ij)² with μ, a, b fixed at the additive fit. The start has random frames and
    singular values of about ``start_scale`` times the largest of the residual R over the density (or is ``start`` = (U, s, V)). It ends at
    E ≤ ``stop`` · E(W = 0), at time ``t1``, after ``max_steps``, or, with ``validation``, after ``patience`` steps without a better
    held-out error in which E halved, or after 50 times as many (then the best is returned; at great depth the saddles between
    singular values may outlast that: give more ``patience``, or a larger start). ``max_rank``: at most min(m, n), by default 50
    or that. ``callback`` gets the iterate after every step and ends the flow by returning True.

    The result's ``objective`` holds E after every step, ``strength`` is E/E(0) at the iterate returned, and ``decay`` the weight decay
    that the stop amounts to along W, ⟨R, W⟩ = λ Σ σ^{2/N}: it is what `fold_in` and deviations need.

    At depth ∞ rank-deficient W would have frozen column and row spaces; there the singular values that are not stored form a
    bulk of the size ε of the smallest one at the start, seen by the edges alone, λ_∞(s, ε) (this agrees with the full flow
    to a few percent at ε = 1e−3 σ_1, and better below).

    **Normalization**: [CMV], with the factor 1/N. ``rtol`` is the error per step relative to ‖W‖. Singular values below 1e−13 of
    the largest are lost to rounding; `deeplinear.gradient_flow` follows them, on small matrices.

    **Raises** `InputError` for arguments out of range.

    **Source**: Arora, Cohen, Hu, Luo 2019 (1905.13655) for the experiment; Cohen, Menon, Veraszto 2023 for the flow at depth ∞.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
    >>> rows, cols = np.nonzero(rng.random(truth.shape) < 0.7)
    >>> seen = Observations.from_triples(rows, cols, truth[rows, cols], truth.shape)
    >>> found = flow(seen, depth=3, max_rank=5, biases=False)
    >>> found.status, bool(abs(found.predict(rows, cols) - truth[rows, cols]).max() < 0.1)
    ('converged', True)
    """
    for name, value in (("start_scale", start_scale), ("rtol", rtol), ("t1", t1), ("stop", stop)):
        if not value > 0:
            raise InputError(f"{name} must be positive, got {value!r}.")
    options = make_options(
        observations, depth=depth, strength=0.0, decay=0.0, max_rank=max_rank,
        bias_ridge=bias_ridge if biases else None, smoothing=0.0, scaling=0.0, tol=0.0,
        max_sweeps=max_steps, patience=patience, steps=1, seed=seed,
    )  # fmt: skip
    with workers(threads, device) as crew:
        setting = make_setting(observations, options, crew)
        held = None if validation is None else Held.check(validation, observations.shape, observations.dtype)
        U, s, V = _small(setting, options, start_scale) if start is None else start
        field = _Flow(setting, options.depth, float(s[-1]) if math.isinf(depth) else 0.0)
        at = Point(U, s, V, 0.0, energy(setting, field.state(U, s, V)))
        return _integrate(field, options, held, at, (stop, t1, rtol), callback)


def resume(observations: Observations, fit: ThinFit, **options: Any) -> ThinFit:
    """The flow from where ``fit`` ended, on entries that may have more rows and columns, down to the same part of E(W = 0)."""
    U, V = (
        np.pad(side, ((0, size - len(side)), (0, 0)))
        for side, size in zip((fit.U, fit.V), observations.shape, strict=True)
    )
    return flow(observations, depth=fit.depth, stop=fit.strength, start=(U, fit.s, V), **options)


def _small(setting: Setting, options: Options, start_scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(options.seed)
    U, V = (np.linalg.qr(rng.normal(size=(side, options.max_rank)))[0] for side in setting.observations.shape)
    size = start_scale * float(leading(setting, additive(setting), 1, seed=options.seed)[1][0]) / setting.density
    return U, (size or 1.0) * SPREAD ** -np.linspace(0, 1, options.max_rank), V


def _integrate(
    field: _Flow,
    options: Options,
    held: Held | None,
    at: Point,
    ends: tuple[float, float, float],
    callback: Callback | None,
) -> ThinFit:
    (stop, t1, rtol), bare = ends, energy(field.setting, field.bare)
    stop = max(stop, _rounding(field.setting) / bare if bare else 1.0)
    first = field.velocity(at.U, at.s, at.V)
    h = min(t1, math.sqrt(rtol) * float(np.linalg.norm(at.s)) / max(_norm(*first), 1e-300))
    trace, best = [at.energy], at
    scores = [] if held is None else [held.rmse(field.state(at.U, at.s, at.V))]
    status = "converged" if at.energy <= stop * bare else ""
    for _ in range(options.max_sweeps):
        if status:
            break
        (U, s, V), error = field.step(at, h, first)
        value = energy(field.setting, field.state(U, s, V)) if error < rtol else math.inf
        if not (error < rtol and value <= at.energy):
            h *= max(0.2, 0.9 * math.sqrt(rtol / max(error, rtol)) if error >= rtol else 0.5)
            continue
        at = Point(U, s, V, at.t + h, value)
        trace.append(value)
        if held is not None:
            scores.append(held.rmse(field.state(U, s, V)))
            best = at if scores[-1] == min(scores) else best
            stale = len(scores) - 1 - scores.index(min(scores))
            if stale >= options.patience * (1 if value <= _TURN * best.energy else _REST):
                status = "stopped early"
        if value <= stop * bare or at.t >= t1:
            status = "converged"
        elif callback is not None and callback(_result(field, options, at, bare, trace, scores, "max_sweeps")):
            status = "callback"
        h = min(h * min(3.0, 0.9 * math.sqrt(rtol / max(error, 1e-300))), t1 - at.t)
        first = field.velocity(at.U, at.s, at.V)
    return _result(field, options, at if held is None else best, bare, trace, scores, status or "max_sweeps")


def _rounding(setting: Setting) -> float:
    """E of residuals that are nothing but the rounding of the values."""
    seen = setting.observations
    return 0.5 * seen.weight * (16 * float(np.finfo(seen.dtype).eps) * float(np.abs(seen.by_row.values).max())) ** 2


def _norm(A: np.ndarray, B: np.ndarray) -> float:
    return math.sqrt(max(float(np.sum((A.T @ A) * (B.T @ B))), 0.0))


def _implied_decay(field: _Flow, at: Point, depth: float) -> float:
    """λ with ⟨R, W⟩ = λ Σ σ^{2/N}: the decay under which W is stationary as to its length."""
    RV = residual_times(field.setting, field.state(at.U, at.s, at.V), at.V).astype(float)
    pull = float(np.sum(at.U * RV * at.s))
    least = _LEAST_DECAY * field.setting.density * float(at.s @ at.s)
    return max(pull, least) / float(np.sum(at.s ** (2 / depth)))


def _result(
    field: _Flow, options: Options, at: Point, bare: float, trace: list[float], scores: list[float], status: str
) -> ThinFit:
    state, setting = field.state(at.U, at.s, at.V), field.setting
    rows, cols = (
        float(np.maximum(x.counts, 1).mean()) for x in (setting.observations.by_row, setting.observations.by_col)
    )
    taken = scores.index(min(scores)) if scores else len(trace) - 1
    r = state.rank
    return ThinFit(
        left=state.Z[:, :r].copy(), right=state.Y[:, :r].copy(), spectrum=at.s, mean=state.mean, row_bias=state.row_bias.copy(),
        col_bias=state.col_bias.copy(), row_scale=setting.row_scale, col_scale=setting.col_scale, depth=options.depth,
        strength=at.energy / bare if bare else 1.0, decay=_implied_decay(field, at, options.depth), floor=1e-12 * float(at.s[0]),
        tau=math.nan, bias_ridge=options.bias_ridge, scaling=0.0, mean_counts=(rows, cols), objective=tuple(trace),
        validation=tuple(scores), sweep=taken, n_sweeps=len(trace) - 1, status=status,
    )  # fmt: skip
