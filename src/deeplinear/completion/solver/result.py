"""What a fit returns: `LowRankFit`, its predictions, and `fold_in` for lines it has not seen."""

import math
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from ...status import Status
from ..backends.base import Look
from ..backends.open import Device, open_backend
from ..backends.pairs import at
from ..backends.reweighted import with_losses
from ..data.observations import Observations, check_indices
from ..file_format import Arrays, Meta, named, take_group
from ..linalg import thin_svd
from ..loss import LOSSES, Losses
from ..penalty import Certificate, Penalty
from ..schema import NUMBER, REAL, WHOLE, Field, Schema, check_arrays, check_nothing_left, take
from .fit_state import judged
from .problem import FitProblem, State, assemble, look, solve_lines

#: The arrays of a fit of m rows, n columns and rank r.
ARRAYS: Schema = {
    "left": Field(REAL, ("m", "r")),
    "right": Field(REAL, ("n", "r")),
    "spectrum": Field(REAL, ("r",), least=0),
    "ridge": Field(REAL, ("r",), least=0, infinite=True),
    "row_bias": Field(REAL, ("m",)),
    "col_bias": Field(REAL, ("n",)),
    "row_scale": Field(REAL, ("m",), above=0),
    "col_scale": Field(REAL, ("n",), above=0),
}
#: Its numbers.
NUMBERS: Schema = {
    "mean": Field(NUMBER),
    "depth": Field(NUMBER, least=1, infinite=True),
    "strength": Field(NUMBER, least=0),
    "decay": Field(NUMBER, least=0, infinite=True),
    "floor": Field(NUMBER, least=0, infinite=True),
    "tau": Field(NUMBER, least=0, infinite=True, nan=True),
    "bias_ridge": Field(NUMBER, least=0, optional=True),
    "weighted_trace_norm": Field(NUMBER, least=0, most=1),
    "mean_counts": Field(NUMBER, (2,), least=1),
    "objective": Field(NUMBER, (None,), infinite=True, nan=True),
    "validation": Field(NUMBER, (None,), infinite=True, nan=True),
    "sweep": Field(WHOLE, least=0),
    "n_sweeps": Field(WHOLE, least=0),
    "status": Field(WHOLE, least=0, most=max(Status)),
    "certificate": Field(NUMBER, (3,), infinite=True, nan=True),
}
# The least implied ridge, in units of density times the singular value.
LEAST_RIDGE = 1e-6
# New rows of other losses than squared errors: reweightings at most, the relative change of factors
# that ends them, and the conjugate-gradient steps of each.
_REWEIGHTINGS, _STILL, _FEW_STEPS = 200, 1e-6, 8


@dataclass(frozen=True)
class LowRankFit:
    """W + mean + row_bias 1ᵀ + 1 col_biasᵀ with W = left · rightᵀ of rank r.

    And how it was reached.

    **Shapes**: ``left`` (m, r), ``right`` (n, r), ``row_bias`` (m,), ``col_bias`` (n,). The penalty
    saw W̃ = diag(``row_scale``) W diag(``col_scale``), whose singular values are ``spectrum`` (r,);
    ``left`` and ``right`` are its balanced factors (P̃ = ρ ∘ left = U√Σ). ``objective`` has a value
    per sweep, never rising; ``validation`` the held-out root-mean-square error after every sweep
    (of a flow: also before the first step); ``sweep`` is the number of sweeps after which this
    iterate was taken.

    ``ridge`` (r,) is the weight decay of each component that this iterate amounts to: f'(s) at a
    stationary one, the pull u_kᵀ R̃ v_k of the residual on an iterate that was stopped early. It is
    what `fold_in` and deviations need. ``status`` is converged, stopped_early (the held-out error
    rose), callback, max_steps, or diverged: the objective rose by more than rounding.

    With ``losses`` this matrix is η of `Losses`, on the link scale, and predictions are means.
    """

    left: np.ndarray
    right: np.ndarray
    spectrum: np.ndarray
    ridge: np.ndarray
    mean: float
    row_bias: np.ndarray
    col_bias: np.ndarray
    row_scale: np.ndarray
    col_scale: np.ndarray
    depth: float
    strength: float
    decay: float
    floor: float
    tau: float
    bias_ridge: float | None
    weighted_trace_norm: float
    mean_counts: tuple[float, float]
    objective: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    sweep: int = 0
    n_sweeps: int = 0
    status: Status = Status.max_steps
    certificate: Certificate = field(
        default_factory=lambda: Certificate(math.nan, math.nan, math.nan)
    )
    losses: Losses | None = None

    def __post_init__(self) -> None:
        check_arrays(ARRAYS, vars(self), entries=False)

    @classmethod
    def of(cls, problem: FitProblem, state: State, ridge: np.ndarray, **rest: Any) -> "LowRankFit":
        """From the iterate ``state``, whose arrays are copied; ``rest``: the other fields."""
        seen, r = problem.observations, state.rank
        rows, cols = (
            float(np.maximum(lines.counts, 1).mean()) for lines in (seen.by_row, seen.by_col)
        )
        return cls(
            left=state.Z[:, :r].copy(),
            right=state.Y[:, :r].copy(),
            spectrum=state.s,
            ridge=ridge,
            mean=state.mean,
            row_bias=state.row_bias.copy(),
            col_bias=state.col_bias.copy(),
            row_scale=problem.row_scale,
            col_scale=problem.col_scale,
            bias_ridge=problem.bias_ridge,
            mean_counts=(rows, cols),
            losses=problem.losses,
            **rest,
        )

    def check(self, name: str) -> None:
        """`InputError` unless the arrays of the fit that the argument ``name`` is are finite."""
        try:
            check_arrays(ARRAYS, vars(self))
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    def dump(self) -> tuple[Meta, Arrays]:
        """(numbers, arrays) for a file. **Raises** `InputError` if they are not finite."""
        meta = {name: getattr(self, name) for name in NUMBERS}
        meta |= {"status": int(self.status), "certificate": astuple(self.certificate)}
        arrays = {name: getattr(self, name) for name in ARRAYS}
        check_arrays(ARRAYS, arrays)
        check_arrays(NUMBERS, meta)
        if self.losses is not None:
            arrays |= named({name: getattr(self.losses, name) for name in LOSSES}, "losses.")
        return meta, arrays

    @classmethod
    def restore(cls, meta: Meta, arrays: Arrays) -> "LowRankFit":
        """What `dump` gave, taken out of both. **Raises** `InputError` for anything else."""
        own = take(ARRAYS, arrays) | take(NUMBERS, meta)
        stored = take_group(arrays, "losses.")
        if stored:
            own["losses"] = Losses.restore(stored, own["right"].shape[0])
        check_nothing_left(arrays, meta)
        own |= {"status": Status(own["status"]), "certificate": Certificate(*own["certificate"])}
        return cls(**own)

    @property
    def converged(self) -> bool:
        """Whether the fit ended where it was meant to, and not at ``max_sweeps`` or by force."""
        return bool(Status.succeeded(self.status))

    @property
    def flowed(self) -> bool:
        """Whether this is the end of a `low_rank_flow`, and not a fit with a noise scale τ."""
        return math.isnan(self.tau)

    @property
    def rank(self) -> int:
        return len(self.spectrum)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.left), len(self.right)

    @property
    def penalty(self) -> Penalty:
        return Penalty(self.depth, self.decay, self.floor)

    @cached_property
    def _svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        U, s, Vt = thin_svd(self.left.astype(float), self.right.astype(float))
        return U, s, Vt.T

    @property
    def U(self) -> np.ndarray:
        """Left singular vectors of W (m, r)."""
        return self._svd[0]

    @property
    def s(self) -> np.ndarray:
        """Singular values of W (r,), decreasing."""
        return self._svd[1]

    @property
    def V(self) -> np.ndarray:
        """Right singular vectors of W (n, r)."""
        return self._svd[2]

    @cached_property
    def _sides(self) -> tuple[np.ndarray, np.ndarray]:
        state = self.state()
        return state.Z, state.Y

    def state(self) -> State:
        """The iterate in the layout of the compiled loops."""
        return assemble(
            self.left,
            self.right,
            self.spectrum,
            self.row_bias,
            self.col_bias,
            self.mean,
            self.left.dtype,
        )

    @property
    def T(self) -> "LowRankFit":
        """The fit of the transposed matrix; nothing is copied."""
        return replace(
            self,
            left=self.right,
            right=self.left,
            row_bias=self.col_bias,
            col_bias=self.row_bias,
            row_scale=self.col_scale,
            col_scale=self.row_scale,
            mean_counts=self.mean_counts[::-1],
        )

    def with_implied_ridge(self, problem: FitProblem) -> "LowRankFit":
        """The same fit to ``problem``, with the `implied_ridge` measured by one pass."""
        state = self.state()
        return replace(self, ridge=implied_ridge(problem, state, look(problem, state), self.depth))

    def matrix(self) -> np.ndarray:
        """W + mean + row_bias 1ᵀ + 1 col_biasᵀ, (m, n); of other losses the means."""
        W = self.left.astype(float) @ self.right.T
        W += self.mean + self.row_bias[:, None] + self.col_bias
        return W if self.losses is None else self.losses.mean(W, slice(None))

    def residuals(self, seen: Observations) -> np.ndarray:
        """x − x̂ at the entries of ``seen``, row by row."""
        rows, cols, values = seen.triples()
        return values - self._means(self.eta(rows, cols), cols)

    def _means(self, eta: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return eta if self.losses is None else self.losses.mean(eta, cols).astype(eta.dtype)

    def judged(self, rows: np.ndarray, cols: np.ndarray, values: np.ndarray) -> np.ndarray:
        """What held-out ``values`` judge this fit by: see `fit_state.judged`."""
        return judged(self.losses, self.eta(rows, cols), values, cols)

    def eta(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """W + mean + biases at codes: what predictions are on the link scale of the losses."""
        return at(rows, cols, *self._sides, self.mean)

    def predict(self, rows: ArrayLike, cols: ArrayLike) -> np.ndarray:
        """The entries (rows[t], cols[t]) of the completed matrix, in the dtype of the fit."""
        m, n = self.shape
        rows, cols = (np.atleast_1d(np.asarray(x)) for x in (rows, cols))
        rows, cols = check_indices(rows, m, "rows"), check_indices(cols, n, "cols")
        return self._means(self.eta(rows, cols), cols)


def implied_ridge(problem: FitProblem, state: State, seen: Look, depth: float) -> np.ndarray:
    """The weights d_k = u_kᵀ R̃ v_k under which ``state`` is stationary along each component (r,).

    ``seen`` is what a pass over its rows saw. From depth 2 on the slope of the penalty does not
    fall from a component to a weaker one; nor may the weights of an iterate that was stopped early:
    a row of few entries would be explained by the weakest components, which are mostly noise.
    """
    pull = seen.pull[: state.rank] / state.s
    ridge = np.maximum(pull, LEAST_RIDGE * problem.density * state.s)
    if depth < 2:
        return ridge
    order = np.argsort(-state.s)
    ridge[order] = np.maximum.accumulate(ridge[order])
    return ridge


def fold_in(
    fit: LowRankFit,
    observations: Observations,
    *,
    steps: int | None = None,
    threads: int | None = None,
    device: Device = "cpu",
) -> LowRankFit:
    """Rows that the fit has not seen, given its columns.

    The result is a `LowRankFit` of the same columns and of the rows of ``observations``. Row i
    minimizes ½ Σ_j w_ij (W_ij + μ + a_i + b_j − x_ij)² + ½ ρ_i² Σ_k ridge_k p_ik² + ½ β a_i² over
    p_i, a_i: at a stationary fit the rows it was fitted on come out as they are. ``steps``
    conjugate-gradient steps (default: 2 r + 10, to rounding). For new columns fold into ``fit.T``
    with ``observations.T``.

    **Shapes**: ``observations`` (m_new, n) with the fit's n.
    """
    m, n = observations.shape
    if n != len(fit.right):
        raise InputError(
            f"observations must have the {len(fit.right)} columns of the fit, got {n}."
        )
    counts = np.maximum(observations.by_row.counts, 1)
    scale = (counts / fit.mean_counts[0]) ** (fit.weighted_trace_norm / 2)
    state = assemble(
        np.zeros((m, fit.rank)),
        fit.right,
        fit.spectrum,
        np.zeros(m),
        fit.col_bias,
        fit.mean,
        fit.right.dtype,
    )
    bias, steps = (fit.rank, fit.bias_ridge), 2 * fit.rank + 10 if steps is None else steps
    with open_backend(observations, threads, device) as backend:
        backend = with_losses(backend, fit.losses, observations)
        lines, sides = observations.by_row, (state.Z, state.Y)
        if fit.losses is not None:
            steps = min(steps, _FEW_STEPS)
        how = fit.mean, fit.ridge, scale, bias, steps
        for _ in range(1 if fit.losses is None else _REWEIGHTINGS):
            before = state.Z.copy()
            solve_lines(backend, lines, sides, *how)
            moved = np.abs(state.Z - before).max(initial=0.0)
            if moved <= _STILL * np.abs(state.Z).max(initial=0.0):
                break
    return replace(
        fit,
        left=state.Z[:, : fit.rank].copy(),
        row_bias=state.row_bias.copy(),
        row_scale=scale,
        objective=(),
        validation=(),
        certificate=Certificate(math.nan, math.nan, math.nan),
    )
