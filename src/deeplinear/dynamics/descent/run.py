"""`descend`: training a deep linear network in finite steps, by any optimizer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from ...checks import RandomKey, check_integer, check_key, check_not_negative, check_tolerance
from ...compilation import accelerated
from ...energies import Energy, check_energy
from ...errors import CriticalPointError, InputError
from ...reals import one_real
from ...recorded import recorded
from ...status import Status
from ...transforms import needs_values
from ..factors import check_factors
from .batches import make_draw
from .endings import STRIDE
from .lanes import Queue, Run, Training, begin, finish, train
from .loss import Factors
from .optimizers import make_optimizer
from .records import Observer, make_recorder
from .result import DescentResult

# Numbers in the factors of all lanes together: what a cache holds, and what fills an accelerator.
_FILLED = 2**13, 2**24


@needs_values
def descend(
    energy: Energy,
    start: Sequence[ArrayLike] | DescentResult,
    *,
    optimizer: Any,
    steps: int,
    weight_decay: float = 0.0,
    batch: int | None = None,
    label_noise: float = 0.0,
    key: RandomKey | None = None,
    records: Sequence[str | Mapping[str, Observer]] = (),
    record_at: ArrayLike | None = None,
    stop: bool = True,
    stop_energy: float | None = None,
    rtol: float | None = None,
) -> DescentResult:
    """Training the factors in finite steps, of one network or of thousands at once:

        L = E(W_N ⋯ W_1) + (λ/2) Σ_p ‖W_p‖_F²,    W_p ← W_p − η ∂L/∂W_p,

    or what an optimizer of optax makes of the gradient.

    **Arguments**

    - ``energy``: any differentiable function of W; see `Completion`.
    - ``start``: factors (W_1, …, W_N), of any widths, each d_p×d_{p−1}, or runs×d_p×d_{p−1} for
      several runs; or the result of an earlier call, which goes on: the optimizer's state, the
      count of steps and the random key too, so that two halves are one run, bit for bit. What had
      ended stays so, unless E, L or η are others now, or ``stop_energy`` is.
    - ``optimizer``: η > 0 (plain gradient descent; an array for one in each run), or an
      `optax.GradientTransformation`: momentum, Adam, schedules, clipping, … One that was made anew
      is compiled anew.
    - ``steps``: at most so many (of a result: more).
    - ``weight_decay``: λ ≥ 0, in the loss, as in `factor_flow`. Decoupled decay is the optimizer's:
      `optax.adamw`, or `optax.add_decayed_weights` in a chain.
    - ``batch``: observations in each step, distinct ones drawn anew, of a `Completion`, a
      `Sensing`, or a `Regression` made with ``keep_samples=True``; their sum is scaled up, so that
      the gradient is the whole one in the mean. ``label_noise``: the standard deviation of noise
      that is added to their values, anew in each step.
    - ``key``: a JAX random key or an integer seed (0 by default); run i gets ``fold_in(key, i)``.
    - ``records``: what to write down: "loss", "energy", "gradient", "W", "factors",
      "singular_values", "sharpness" (the largest eigenvalue of the Hessian of L), "imbalance",
      "ntk" (`asymptotics.tangent_kernel`, of any factors: on the observed entries of a Completion,
      on all entries for other energies), or mappings {name: function of (W_1, …, W_N)}.
      ``record_at``: after which steps, counted from the start of training: a list, or every so
      many; about a hundred by default.
    - ``stop``: end a run where it has converged or cycles. False: take all steps (a schedule may
      change what comes); ``status`` then says how it stood at its end.
    - ``stop_energy``: end where E falls to this.
    - ``rtol``: converged is where what of the gradient moves W is 10 ``rtol`` of its terms, as for
      `gradient_flow`, and W stays in its place; 1e−9 by default (float32: 1e−5).

    **Endings**: judged every 128 steps and at the last. *cycling*: two turns at least, of 2 … 64
    steps, with W back in its place to the square root of the precision. *diverged*: the energy
    exceeds 1e15 times that of the start and of W = 0, or is infinite. Where steps see part of the
    data nothing cycles, and with label noise nothing converges.

    **Returns** a `DescentResult`. **Normalization**: plain gradient descent on the factors, as in
    the literature: k steps of η are the time kη of the factors, and N kη of `factor_flow`.

    **Raises** `InputError`, `PrecisionError`; `CriticalPointError` where two or more factors of a
    run vanish. **Source**: Cohen et al. 2021 for the edge of
    stability; DeepMind 2020, optax.

    >>> import deeplinear as dl, numpy as np
    >>> energy = dl.Completion.from_dense(np.diag([2.0, 1.0]))
    >>> factors = dl.normal_factors((2, 2, 2), 0.1, key=0)
    >>> found = dl.descend(energy, factors, optimizer=0.1, steps=2000)
    >>> dl.Status(int(found.status)).name, np.round(found.W, 3).tolist()
    ('converged', [[2.0, 0.0], [0.0, 1.0]])
    >>> edge = dl.asymptotics.critical_step(np.diag([2.0, 1.0]), 2)  # 2/(2·2) = .5
    >>> dl.descend(energy, factors, optimizer=1.02 * edge, steps=20_000).period.tolist()
    2
    """
    more = check_integer(steps, "steps", 0)
    known = start.state if isinstance(start, DescentResult) else None
    if isinstance(start, DescentResult):
        batched = start.is_batch
        factors = tuple(map(jnp.asarray, start.factors if batched else _one_run(start.factors)))
    else:
        factors, batched = _checked_start(start)
        _check_critical(factors)
    one = tuple(W[0] for W in factors)
    shape = one[-1].shape[0], one[0].shape[1]
    dtype = check_energy(energy, shape, one[0].dtype)
    energy = recorded(energy, shape, dtype)
    factors = tuple(W.astype(dtype) for W in factors)
    runs = len(factors[0])
    method, state = make_optimizer(optimizer, factors, runs)
    first = 0 if known is None else int(np.max(known.step))
    if first + more > np.iinfo(np.int32).max:
        raise InputError(f"steps must be below 2³¹ in all, got {first + more}.")
    decay, noise = check_not_negative(weight_decay=weight_decay, label_noise=label_noise)
    seed = check_key(0 if key is None else key)
    training = Training(
        draw=make_draw(energy, batch, noise, dtype),
        decay=jax.device_put(np.asarray(decay, dtype)),
        optimizer=method,
        recorder=make_recorder(records, record_at, first, first + more, energy, one),
        stop_energy=_stop_energy(stop_energy, dtype),
        rtol=_tolerance(rtol, dtype),
        stops=bool(stop),
        lanes=_lanes(one, runs),
        keys=str(jax.random.key_impl(seed)),
    )
    earlier = start if isinstance(start, DescentResult) else None
    begun = _begun(training, factors, state, earlier, seed, key is not None, more)
    if not batched and int(begun.status[0]) == Status.not_finite and known is None:
        raise InputError(
            "energy must have a finite value and gradient at the start, got NaN or infinity there."
        )
    queue = _queue(training, begun, factors)
    done = train(training, queue)
    return _result(training, done, runs, batched)


def _one_run(factors: Sequence[Any]) -> list[Any]:
    return [W[None] for W in factors]


def _checked_start(start: Sequence[ArrayLike]) -> tuple[Factors, bool]:
    """The factors with a leading axis of runs, and whether they were given with it."""
    if isinstance(start, np.ndarray | Array | str) or not isinstance(start, Sequence):
        raise InputError(
            "start must be a sequence (W_1, …, W_N) of factors, such as dl.normal_factors(…), got "
            f"{type(start).__name__}."
        )
    if not start or np.ndim(start[0]) != 3:
        return tuple(_one_run(check_factors(tuple(map(np.asarray, start))))), False
    stacked = [np.asarray(W) for W in start]
    shapes = ", ".join(str(W.shape) for W in stacked)
    if any(W.ndim != 3 or len(W) != len(stacked[0]) or 0 in W.shape for W in stacked):
        raise InputError(
            f"start must hold factors runs×d_p×d_(p−1), all for as many runs, got shapes {shapes}."
        )
    # a run that is not finite says so in its status, and hurts no other
    usable = [np.where(np.isfinite(W[0]), W[0], 0) for W in stacked if W.dtype.kind in "fiub"]
    if len(usable) < len(stacked):
        raise InputError("start must hold real numbers.")
    one = check_factors(usable)
    return tuple(jax.device_put(W.astype(one[0].dtype)) for W in stacked), True


def _check_critical(factors: Factors) -> None:
    vanish = sum(~np.any(W, (1, 2)) for W in map(np.asarray, factors))
    if np.any(vanish > 1):
        run = int(np.argmax(vanish > 1))
        raise CriticalPointError(
            f"start must not vanish: two or more factors of run {run} are zero, a critical point "
            "that training never leaves."
        )


def _stop_energy(value: float | None, dtype: np.dtype) -> Array:
    if value is None:
        return jax.device_put(np.asarray(-math.inf, dtype))
    if not one_real(value) > -math.inf:
        raise InputError(f"stop_energy must be one number, got {value!r}.")
    return jax.device_put(np.asarray(value, dtype))


def _tolerance(rtol: float | None, dtype: np.dtype) -> Array:
    if rtol is None:
        rtol = 1e-9 if dtype == np.float64 else 1e-5
    return jax.device_put(np.asarray(check_tolerance(rtol, dtype, "rtol"), dtype))


def _lanes(one: Factors, runs: int) -> int:
    """How many runs there are side by side: a power of two, or one."""
    room = _FILLED[1] if accelerated() else _FILLED[0]
    fit = max(1, room // sum(W.size for W in one))
    return 1 if runs == 1 else 1 << min(fit.bit_length() - 1, (runs - 1).bit_length())


def _begun(
    training: Training,
    factors: Factors,
    state: PyTree,
    start: DescentResult | None,
    key: Array,
    is_new: bool,
    more: int,
) -> Run:
    """The runs, at their starts or where they were left."""
    runs = len(factors[0])
    known = None if start is None else start.state
    data = jax.random.key_data(key)
    first = np.zeros(runs, np.int32) if known is None else np.asarray(known.step)
    limit = jax.device_put((first + more).astype(np.int32))
    begun = begin(training, factors, state, data, limit)
    if start is None or known is None:
        return begun
    old, new = (str(jax.tree.structure(run.optimizer)) for run in (known, begun))
    if old != new:
        raise InputError("optimizer must be of the kind that made the result: its state goes on.")
    # plain descent goes on with the η of this call
    kept = begun.optimizer if isinstance(begun.optimizer, Array) else known.optimizer
    changed, there = _compared(training, begun, start)
    before = np.asarray(known.status)
    final = np.isin(before, (Status.diverged, Status.not_finite))
    final |= (before == Status.energy) & there
    if training.stops:
        judged = first % STRIDE == 0
        ended = np.isin(before, (Status.converged, Status.cycling))
        final |= judged & ended & ~changed
    # what was seen of another problem says nothing of this one
    status = np.where(final, before, Status.running).astype(np.int32)
    scale = np.where(changed, begun.scale, known.scale)
    period, found = (np.where(changed & ~final, 0, x) for x in (known.period, known.found))
    return eqx.tree_at(
        lambda r: (r.optimizer, r.limit, r.key, r.status, r.scale, r.period, r.found),
        known,
        (
            *(kept, limit, begun.key if is_new else known.key),
            *map(jax.device_put, (status, scale, period, found)),
        ),
    )


def _compared(training: Training, begun: Run, start: DescentResult) -> tuple[np.ndarray, ...]:
    """Whether E, L, ‖∇L‖ or η are others than those under which each run ended, to rounding.

    And whether it is at the energy that is asked for.
    """
    found = [np.asarray(x) for x in finish(training, begun)[1:4]]
    known = [np.atleast_1d(x) for x in (start.energy, start.loss, start.gradient)]
    fine = np.sqrt(np.finfo(found[0].dtype).eps)
    slack = fine * np.asarray(start.state.scale)
    changed = np.zeros(len(slack), bool)
    for x, y in zip(found, known, strict=True):
        with np.errstate(invalid="ignore", over="ignore"):
            changed |= ~(np.abs(x - y) <= slack + fine * np.abs(y))
    if isinstance(begun.optimizer, Array):
        changed |= np.asarray(begun.optimizer) != np.asarray(start.state.optimizer)
    return changed, found[0] <= np.asarray(training.stop_energy)


def _queue(training: Training, runs: Run, factors: Factors) -> Queue:
    """The runs, and room for their records; padded to a power of two, for few compilations."""
    count = runs.step.size
    size = 1 if count == 1 else 1 << (count - 1).bit_length()
    if size > count:
        runs = _taken(runs, np.minimum(np.arange(size), count - 1))
    steps = training.recorder.steps.size
    one = tuple(jax.ShapeDtypeStruct(W.shape[1:], W.dtype) for W in factors)
    shapes = jax.eval_shape(lambda F: training.recorder(training.loss, F), one)

    def room(x: jax.ShapeDtypeStruct) -> Array:
        fill = np.nan if jnp.issubdtype(x.dtype, jnp.floating) else 0
        return jax.device_put(np.full((size, steps, *x.shape), fill, x.dtype))

    records = jax.tree.map(room, shapes) if steps else {}
    return Queue(runs, records, jax.device_put(np.asarray(count, np.int32)))


def _taken(runs: Run, index: np.ndarray) -> Run:
    # in NumPy: eager JAX would compile one program for each array
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x)[index]), runs)


def _result(training: Training, queue: Queue, runs: int, batched: bool) -> DescentResult:
    W, E, L, slope, status = finish(training, queue.runs)
    here = slice(runs) if batched else 0

    def rows(x: Array) -> np.ndarray:
        return np.asarray(x)[here]

    kept = _taken(queue.runs, np.arange(runs))
    kept = eqx.tree_at(lambda r: r.status, kept, jax.device_put(np.asarray(status)[:runs]))
    return DescentResult(
        factors=tuple(rows(F) for F in queue.runs.factors),
        W=rows(W),
        energy=rows(E),
        loss=rows(L),
        gradient=rows(slope),
        status=rows(status),
        period=rows(queue.runs.period),
        steps=rows(queue.runs.step),
        record_steps=np.asarray(training.recorder.steps),
        records=jax.tree.map(lambda x: np.asarray(x)[here], dict(queue.records)),
        state=kept,
    )
