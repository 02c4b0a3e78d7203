"""Ensembles: thousands of small gradient flows from random starts, in one call."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import equinox as eqx
import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike

from ...checks import check_tolerance
from ...compilation import accelerated
from ...energies import Energy
from ...errors import InputError
from ...geometry.kernel import inverse_depth
from ...geometry.leaf import DepthLike, Imbalance, Leaf, on_leaf
from ...labelled import (
    Labelled,
    Variable,
    ending,
    number_range,
    spectrum_line,
    status_variable,
    times,
)
from ...reals import as_reals
from ...recorded import recorded
from ...run_plots import Entry, Runs
from ...status import Status, counts
from ...transforms import needs_values
from .agreement import BatchPlan
from .dense_rosenbrock import DenseRosenbrockStepper
from .frames import SMALL
from .rosenbrock import ImplicitStepper, RosenbrockStepper
from .sampler import Sampler, checked_starts, draw_starts, sampled_shape
from .steppers import (
    AbstractStepper,
    DenseStepper,
    ExplicitStepper,
    FactorStepper,
    PlanarStepper,
)

# Where explicit steps at 2×2, and implicit ones with a frozen kernel, go on for longer (at a
# tolerance of 1e−2), the run is stiff, or so curved that the frozen kernel is of no use.
PLANAR_STEPS, FROZEN_STEPS = 160, 160
# The same for explicit steps on two factors, which cost two products each.
FACTOR_STEPS = 384
# Up to this many entries a dense Jacobian is worth its cost where the frozen kernel is not enough.
DENSE = 144
METHODS = ("auto", "explicit", "rosenbrock", "implicit", "factors")


@dataclasses.dataclass(frozen=True, repr=False)
class EnsembleResult(Labelled):
    """The result of `ensemble`, which has an example; NumPy arrays, the run first.

    - ``W`` (runs, m, n): where each run ended: the limit t → ∞, or the point at the last time.
    - ``start`` (runs, m, n), ``depth``, ``imbalance`` (c_1, …, c_N), empty where balanced.
    - ``energy`` (runs,): E at ``W``.
    - ``error`` (runs,): the estimated distance of ``W`` (and of ``path``, whichever is larger) from
      the exact flow's, in ‖·‖_F: the distance of two results whose steps had tolerances that differ
      by a factor of 32, of which ``W`` is the finer, and at least .4 of the accuracy asked for; 0
      where the start is the limit, ∞ where there is nothing to compare.
    - ``time`` (runs,): the time at which the steps ended, [CMV]'s. ``steps`` (runs,): how many were
      tried, at all tolerances together.
    - ``ending`` (runs,): why, a code of `Status`; ``ok``: whether the run came to what was asked
      for; ``counts`` of each.
    - ``ts`` (T,), ``path`` (runs, T, m, n): the trajectory at the times asked for; NaN where a run
      did not get there.
    """

    W: np.ndarray
    start: np.ndarray
    depth: float
    imbalance: np.ndarray
    energy: np.ndarray
    error: np.ndarray
    time: np.ndarray
    steps: np.ndarray
    ending: np.ndarray
    ts: np.ndarray
    path: np.ndarray

    @property
    def ok(self) -> np.ndarray:
        """Which runs came to their end: statistics are taken over these."""
        return Status.succeeded(self.ending)

    @property
    def counts(self) -> dict[str, int]:
        """How many runs ended for which reason."""
        return counts(self.ending)

    def plot(self, *names: str, ax: Any = None, plane: tuple[Entry, Entry] | None = None) -> Any:
        """Draw the runs: by default where they ended, in a plane, and their effective ranks there.

        **Arguments**: ``names``: of "endpoints", "effective_rank", and where ``times`` were given
        "paths" and "singular_values". ``ax``, ``plane``, the result and errors: as for
        `FlowResult.plot`. Runs that did not end as asked are crosses, and counted in the legend.

        >>> import deeplinear as dl, numpy as np
        >>> energy = dl.Completion.from_dense(np.array([[0.9, np.nan], [np.nan, 0.9]]))
        >>> found = dl.ensemble(energy, dl.normal_start((2, 2), 0.1), 3, runs=20, seed=1)
        >>> ends, ranks = found.plot()
        >>> ends.get_xlabel(), ranks.get_xlabel()
        ('$w_{12}$', 'effective rank of W at the end')
        """
        return self._runs().plot(names, ax, ("endpoints", "effective_rank"), plane)

    def _runs(self) -> Runs:
        saved = self.path.shape[1] > 0
        W = self.path if saved else self.W[:, None]
        finite = np.isfinite(W).all((-2, -1), keepdims=True)
        with np.errstate(divide="ignore"):
            log_s = np.log(np.linalg.svd(np.where(finite, W, 0.0), compute_uv=False))
        ts = self.ts if saved else self.time[:, None]
        return Runs(
            np.broadcast_to(ts, W.shape[:2]),
            np.where(finite[..., 0], log_s, np.nan),
            W,
            None,
            self.ending,
            saved,
            how="give times=, the times to keep",
        )

    def _variables(self) -> dict[str, Variable]:
        found = {
            "W": Variable(("run", "row", "column"), self.W, "where each run ended"),
            "start": Variable(("run", "row", "column"), self.start, "where it began"),
            "energy": Variable(("run",), self.energy, "E(W)"),
            "error": Variable(("run",), self.error, "estimated distance in the Frobenius norm"),
            "t_end": Variable(("run",), self.time, "the time at which the steps ended"),
            "steps": Variable(("run",), self.steps, "steps tried, at all tolerances"),
            "ending": status_variable(("run",), self.ending),
        }
        if len(self.ts):
            dims = ("run", "time", "row", "column")
            found |= times(self.ts, ("time",))
            found["path"] = Variable(dims, self.path, "W at the times asked for")
        return found

    def _attributes(self) -> dict[str, Any]:
        leaf = self.imbalance if self.imbalance.size else None
        return {"depth": self.depth, "imbalance": leaf, "status": ending(self.ending)}

    def _lines(self) -> list[str]:
        runs, m, n = self.W.shape
        leaf = f" on the leaf ({', '.join(f'{c:g}' for c in self.imbalance)})"
        where = f"depth {self.depth:g}{leaf if self.imbalance.size else ''}"
        ends = dataclasses.replace(self, path=self.path[:, :0])._runs().log_s[:, 0]
        numbers = [f"energy {number_range(self.energy)}", spectrum_line(ends, (m, n))]
        numbers.append(f"distance from the exact end {number_range(self.error, '.1g')}")
        if len(self.ts):
            numbers.append(f"{len(self.ts)} saved times")
        return [f"{runs:,} runs, {m}×{n}, {where}; {ending(self.ending)}", ", ".join(numbers)]


@needs_values
def ensemble(
    energy: Energy,
    start: ArrayLike | Callable[[Array], Array],
    depth: float,
    runs: int | None = None,
    seed: int = 0,
    times: ArrayLike | None = None,
    accuracy: float | None = None,
    method: str | AbstractStepper = "auto",
    max_steps: int = 5_000,
    batch_size: int | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    imbalance: Imbalance = 0.0,
) -> EnsembleResult:
    """Many Riemannian gradient flows Ẇ = −A_{N,W}(E′(W)) at once, each to its limit t → ∞.

    The steps are taken in the coordinates (U, log σ, V), in which small singular values keep their
    relative digits: saddles on the way amplify just these. Near its end a flow is finished by a
    jump: the kernel A is frozen, and the linear problem that is left is solved. Each run is
    integrated at two tolerances, and at finer ones until two results agree to the accuracy asked
    for; so ``error`` covers the steps, the saddles and the jump. A run has its own step size, and
    does not wait for others. The result of a run depends on its start alone: on one kind of device
    it is the same, bit for bit, for any ``batch_size`` and ``workers``.

    **Arguments**

    - ``energy``: a differentiable convex function W ↦ scalar, such as `Completion` or `Sensing`.
    - ``start``: the starts (runs, m, n), or a sampler key ↦ W0 (`normal_start`, or any function of
      a JAX key) with ``runs`` and ``seed``: run i gets the key ``fold_in(key(seed), i)``.
    - ``depth``: real N ≥ 1 or ``math.inf``.
    - ``times``: increasing times at which to keep W (``path``). The run ends at the last one; add
      ``math.inf`` for the limit.
    - ``accuracy``: of the results, relative to ‖W‖_F. By default 1e−6 (float32: 1e−4) up to 6×6,
      and 3e−3 for larger W.
    - ``method``: "explicit" (orders 5 and 4), "rosenbrock" (order 5, linearly implicit with the
      exact Jacobian, of size mn: for stiff problems up to about 10×10), "implicit" (order 3,
      linearly implicit with conjugate gradients on the frozen kernel: for larger ones), "factors"
      (explicit on W_1 … W_N, N = 2, 3, 4), or "auto": explicit at 2×2 and at N < 2 (there on W
      itself: singular values do reach zero; on leaves that are smooth there, rosenbrock on W up
      to 12×12), rosenbrock up to 6×6, implicit for larger W, after
      factors at N = 2. Others are instances of `AbstractStepper`.
    - ``max_steps``: tried per run and tolerance. ``batch_size``: starts handed over at a time,
      which bounds the memory. ``workers``: threads.
    - ``imbalance``: the isotropic leaf of networks of that depth, as in `gradient_flow`.
    - ``progress``: called with (runs done, runs).

    **Returns** an `EnsembleResult`: a run without an end says why, in ``ending``.

    **Raises** `DepthError`, `PrecisionError` (``accuracy`` beyond the dtype), `InputError`.

    **Normalization**: time as in [CMV].

    **Accuracy**: a run that is ``ok`` meets the accuracy, as far as two tolerances can tell; one
    whose limit depends on the rounding errors themselves (saddles amplify them by the inverse of
    the start's size, each) ends as ``undetermined``, with ``error`` as what was reached. Rank and
    the sign of det W are kept exactly from N = 2 on. A flow without a limit ends as ``unbounded``
    where W or t leave the floating-point numbers, or by ``max_steps``.

    **Source**: Cohen, Menon, Veraszto 2023, §5 (the ensembles); the jump and the steps are our own.

    >>> import deeplinear as dl, numpy as np
    >>> energy = dl.Completion.from_dense(np.array([[0.9, np.nan], [np.nan, 0.9]]))
    >>> found = dl.ensemble(energy, dl.normal_start((2, 2), 1e-2), depth=3, runs=20, accuracy=1e-3)
    >>> found.counts
    {'limit': 20}
    """
    starts = None if callable(start) else checked_starts(start)
    runs = _runs(starts, runs)
    if starts is None:
        shape, dtype = sampled_shape(cast(Sampler, start))
    else:
        shape, dtype = starts.shape[1:], starts.dtype
    metric = on_leaf(depth, imbalance, shape=shape, scalar=True)
    _check_energy(energy, shape, dtype)
    energy = recorded(energy, shape, dtype)
    ts, to_limit = _times(times, dtype)
    stages = _stages(method, metric, shape, max_steps)
    _positive(
        max_steps=max_steps,
        workers=workers,
        **({} if batch_size is None else {"batch_size": batch_size}),
    )
    queue = _queue(runs, shape, ts.size, batch_size)
    accuracy = check_tolerance(
        _usual(shape, dtype) if accuracy is None else accuracy, dtype, "accuracy"
    )
    if not isinstance(seed, int | np.integer):
        raise InputError(f"seed must be an integer, got {seed!r}.")
    key = jax.random.key_data(jax.random.key(seed))
    nu = inverse_depth(metric, dtype)
    plan = BatchPlan(energy, nu, stages, max_steps, accuracy, ts, to_limit, queue)
    found = {
        "W": np.empty((runs, *shape), dtype),
        "start": np.empty((runs, *shape), dtype),
        "path": np.empty((runs, ts.size, *shape), dtype),
        **{name: np.empty(runs, dtype) for name in ("energy", "error", "time")},
        **{name: np.empty(runs, np.int32) for name in ("steps", "ending")},
    }

    def draw(first: int) -> np.ndarray:
        return np.asarray(draw_starts(cast(Sampler, start), key, first + np.arange(queue)))

    def work(first: int) -> int:
        rows = slice(first, min(first + queue, runs))
        W0 = draw(first)[: rows.stop - first] if starts is None else starts[rows]
        for name, value in plan(W0).items():
            found[name][rows] = value
        found["start"][rows] = W0
        return rows.stop - first

    done = 0
    for number in _spread(work, range(0, runs, queue), workers):
        done += number
        if progress is not None:
            progress(done, runs)
    c = np.asarray(metric.c) if isinstance(metric, Leaf) else np.zeros(0)
    return EnsembleResult(depth=float(depth), imbalance=c, ts=np.asarray(ts), **found)


def _spread(work: Callable[[int], int], jobs: range, workers: int) -> Iterator[int]:
    if workers == 1 or len(jobs) == 1:
        yield from map(work, jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, jobs)


def _usual(shape: tuple[int, int], dtype: DTypeLike) -> float:
    """The accuracy where none is asked for."""
    return 3e-3 if max(shape) > SMALL else 1e-6 if dtype == np.float64 else 1e-4


def _queue(runs: int, shape: tuple[int, int], times: int, batch_size: int | None) -> int:
    """Starts handed over at a time: a power of two, for few compilations, within about 64 MiB.

    On an accelerator within 1 GiB: its many lanes need as many starts, and each queue that runs
    empty leaves most of them idle for a while. Ensembles of up to 128 runs share one program: room
    for starts costs next to nothing.
    """
    if batch_size is not None:
        return batch_size
    room, most = (2**27, 20) if accelerated() else (2**23, 14)
    fit = max(1, room // (shape[0] * shape[1] * (2 + times)))
    return 1 << min(most, max(7, (runs - 1).bit_length()), fit.bit_length() - 1)


def _stages(
    method: str | AbstractStepper,
    metric: DepthLike,
    shape: tuple[int, int],
    max_steps: int,
) -> tuple[tuple[AbstractStepper, int], ...]:
    if isinstance(method, AbstractStepper):
        return ((method, max_steps),)
    if method not in METHODS:
        raise InputError(
            f"method must be one of {', '.join(METHODS)}, or an AbstractStepper, got {method!r}."
        )
    leaf = isinstance(metric, Leaf)
    if method == "factors" and (leaf or metric not in (2, 3, 4)):
        raise InputError(
            f'depth must be 2, 3 or 4 for method="factors", balanced, got {metric!r}: use "auto".'
        )
    # as small singular values move on a leaf
    depth = float(metric.zeros if isinstance(metric, Leaf) else np.asarray(metric))
    if method in ("rosenbrock", "implicit") and depth < 2:
        raise InputError(
            f'depth must be ≥ 2 for method="{method}", got {metric!r}, where singular values cross '
            'zero: use method="explicit".'
        )
    planar = shape == (2, 2)
    explicit: AbstractStepper = PlanarStepper() if planar and not leaf else ExplicitStepper()
    if depth < 2:
        explicit = DenseStepper()
    small = shape[0] * shape[1] <= DENSE
    if method == "auto" and leaf and depth < 2 and small:
        # near a limit of low rank the kernel is small where it vanished: stiff
        dense: tuple[AbstractStepper, int] = DenseRosenbrockStepper(), max_steps
        return ((explicit, PLANAR_STEPS), dense) if planar else (dense,)
    if method == "explicit" or (method == "auto" and depth < 2):
        return ((explicit, max_steps),)
    if method == "factors":
        return ((FactorStepper(depth=int(depth)), max_steps),)
    last = (RosenbrockStepper(), max_steps)
    if method == "auto" and planar:
        return (explicit, PLANAR_STEPS), last
    stages: tuple[tuple[AbstractStepper, int], ...] = ((ImplicitStepper(), max_steps),)
    if (method == "auto" and max(shape) <= SMALL) or method == "rosenbrock":
        return (last,)
    if method == "auto" and small:
        stages = (ImplicitStepper(), FROZEN_STEPS), (DenseRosenbrockStepper(), max_steps)
    if method == "auto" and depth == 2 and not leaf:
        stages = (FactorStepper(depth=2), FACTOR_STEPS), *stages
    return stages


def _runs(starts: np.ndarray | None, runs: int | None) -> int:
    if starts is None:
        if runs is None:
            raise InputError("runs must be given where start is a sampler, such as runs=1000.")
        _positive(runs=runs)
        return int(runs)
    if runs is not None and runs != len(starts):
        raise InputError(
            f"runs = {runs} does not match the {len(starts)} starts given: leave it out."
        )
    return len(starts)


def _positive(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"{name} must be an integer ≥ 1, got {value!r}.")


def _check_energy(energy: Energy, shape: tuple[int, int], dtype: DTypeLike) -> None:
    value = eqx.filter_eval_shape(energy, jax.ShapeDtypeStruct(shape, dtype))
    if getattr(value, "shape", None) != ():
        raise InputError(f"energy must map a matrix to a scalar, got {value}.")


def _times(times: ArrayLike | None, dtype: DTypeLike) -> tuple[np.ndarray, bool]:
    if times is None:
        return np.zeros(0, dtype), True
    times = np.atleast_1d(as_reals(times, "times"))
    with np.errstate(over="ignore"):
        wide, ts = np.asarray(times, float), np.asarray(times, dtype)
    if not np.array_equal(np.isfinite(wide), np.isfinite(ts)):
        raise InputError(
            f"times must be within the range of {np.dtype(dtype).name}, got {wide.max():g}: use "
            "float64."
        )
    if ts.ndim != 1 or ts.size == 0 or not (ts > 0).all() or not (np.diff(ts) > 0).all():
        raise InputError("times must be positive and increasing (the start itself is kept anyway).")
    finite = ts[np.isfinite(ts)]
    return finite, bool(finite.size < ts.size)
