"""The built-in task ``completion``: statistics of an ensemble of flows on one random problem."""

import math

import numpy as np

from ..depths import check_depth
from ..errors import InputError
from ..results.parameters import derive_seed
from .task import Output, task

STATISTICS = ("mean", "std", "min", "median", "max")


def _statistic(description: str, units: str = "1") -> Output:
    return Output(
        ("statistic",),
        (len(STATISTICS),),
        units=units,
        description=description,
        labels=(STATISTICS,),
    )


def _refuse(
    size: float,
    observed: float,
    depth: float,
    rank: float = 1,
    runs: float = 10,
    scale: float = 1e-3,
    accuracy: float | None = None,
    **_: object,
) -> None:
    """`InputError` for parameters that make no problem."""
    for name, value in (("size", size), ("observed", observed), ("rank", rank), ("runs", runs)):
        _whole(name, value)
    check_depth(depth, scalar=True)
    if observed > size * size:
        raise InputError(
            f"observed must be at most size² = {size * size}, got {observed}: observe fewer "
            "entries."
        )
    if rank > size:
        raise InputError(f"rank must be at most size = {size}, got {rank}: take a smaller rank.")
    for name, number in (("scale", scale), ("accuracy", accuracy)):
        if number is not None and not 0 < number < math.inf:
            raise InputError(f"{name} must be positive and finite, got {number!r}.")


@task(
    _refuse,
    relative_error=_statistic("‖W − truth‖ / ‖truth‖ (Frobenius) at the endpoint"),
    effective_rank=_statistic("effective rank of the endpoint"),
    nuclear_norm=_statistic(
        "sum of the singular values of the endpoint, divided by that of the truth"
    ),
    energy=_statistic("½ Σ over observed entries of (w_ij − truth_ij)² at the endpoint"),
    endpoint_error=_statistic("estimated distance of the computed endpoint to the limit t = ∞"),
    steps=_statistic("steps of the flow"),
    runs_ok=Output(
        dtype="int64",
        units="runs",
        description="runs that reached their limit: the statistics are theirs",
    ),
    runs_excluded=Output(
        dtype="int64", units="runs", description="runs left out (not converged, or not a number)"
    ),
)
def completion(
    size: int,
    observed: int,
    depth: float,
    rank: int = 1,
    scale: float = 1e-3,
    runs: int = 10,
    seed: int = 0,
    accuracy: float | None = None,
    method: str = "auto",
) -> dict[str, np.ndarray | int]:
    """Complete a random ``size`` × ``size`` matrix of rank ``rank`` from ``observed`` of its
    entries by ``runs`` flows of this depth.

    The truth is a product of Gaussian factors, scaled to Frobenius norm ``size`` (so its entries
    are of order 1). Starts have entries N(0, ``scale``²). Truth and order of the observed entries
    depend on (seed, size, rank), starts before scaling on (seed, size) alone: tasks that differ in
    depth, scale or ``observed`` see the same problem, and more entries include fewer. ``accuracy``
    and ``method`` as in `ensemble`.
    """
    from ..asymptotics import effective_rank
    from ..dynamics.ensembles import ensemble
    from ..energies import Completion

    _refuse(size, observed, depth, rank, runs, scale, accuracy)
    size, observed, rank, runs = map(int, (size, observed, rank, runs))
    truth, order = problem(size, rank, seed)
    rows, cols = np.unravel_index(np.sort(order[:observed]), truth.shape)
    energy = Completion(rows=rows, cols=cols, values=truth[rows, cols], shape=truth.shape)
    starts = scale * np.random.default_rng(derive_seed("start", size, seed)).normal(
        size=(runs, size, size)
    )
    result = ensemble(energy, starts, depth, accuracy=accuracy, method=method)
    ok = np.asarray(result.ok) & np.isfinite(result.W).all(axis=(1, 2))
    W = result.W[ok]
    singular = np.linalg.svd(W, compute_uv=False) if ok.any() else np.empty((0, size))
    return {
        "relative_error": _describe(np.linalg.norm(W - truth, axis=(1, 2)) / np.linalg.norm(truth)),
        "effective_rank": _describe(np.asarray(effective_rank(W)) if ok.any() else np.empty(0)),
        "nuclear_norm": _describe(singular.sum(axis=1) / np.linalg.norm(truth, "nuc")),
        "energy": _describe(np.asarray(result.energy)[ok]),
        "endpoint_error": _describe(np.asarray(result.error)[ok]),
        "steps": _describe(np.asarray(result.steps)[ok]),
        "runs_ok": int(ok.sum()),
        "runs_excluded": int((~ok).sum()),
    }


def problem(size: int, rank: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The truth, and an order of its entries (flat indices): the first n are observed."""
    rng = np.random.default_rng(derive_seed("problem", size, rank, seed))
    truth = rng.normal(size=(size, rank)) @ rng.normal(size=(rank, size))
    return truth * (size / np.linalg.norm(truth)), rng.permutation(size * size)


def _whole(name: str, value: float) -> None:
    if not (isinstance(value, int | float | np.number) and value >= 1 and value % 1 == 0):
        raise InputError(f"{name} must be a whole number ≥ 1, got {value!r}.")


def _describe(values: np.ndarray) -> np.ndarray:
    """mean, std, min, median, max; NaN where there is no run to speak of."""
    if len(values) == 0:
        return np.full(len(STATISTICS), np.nan)
    values = values.astype(float)
    return np.array([values.mean(), values.std(), values.min(), np.median(values), values.max()])
