"""Second half of `volume_law`: endpoints as choices among random completions of the same rank,
where volume and norms disagree.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import deeplinear as dl

from ...labels import short_depth_label
from ...progress import ProgressCallback, report
from ..statistics import bootstrap_interval, cross_validated_gain, percentile_rank
from ._minimizers import (
    PREDICTORS,
    FixedRankProblem,
    climb,
    predictors,
    project,
    random_minimizers,
    random_problem,
)

Floats = NDArray[np.float64]

CLIMBED = ("volume", "-nuclear norm", "-Frobenius norm", "-Schatten 2/N")
NORMS = ("-nuclear norm", "-Frobenius norm", "-Schatten 2/N")
MODELS = {
    **{name: (name,) for name in PREDICTORS},
    "norms": NORMS,
    "norms and volume": (*NORMS, "volume"),
    "norms and effective rank": (*NORMS, "-effective rank"),
    "flatness and induced volume": ("flatness", "induced volume"),
    # the factors of the volume apart: what they add to it is a choice of two powers
    "all": tuple(name for name in PREDICTORS if name not in ("flatness", "induced volume")),
}


class Case(NamedTuple):
    """Size d, rank r of the completions, number of observed entries, depth, start size."""

    size: int
    rank: int
    observed: int
    depth: float
    scale: float

    def label(self) -> str:
        return (
            f"{self.size}×{self.size}, rank {self.rank}, |Ω| = {self.observed}, "
            f"{short_depth_label(self.depth)}, ε = {self.scale:g}"
        )


class _ProblemResult(NamedTuple):
    """One problem: predictors (run or alternative, predictor), and where the endpoints lie."""

    chosen: Floats
    others: Floats
    ok: float
    off: float
    spread: float
    climb: Floats


def among_minimizers(
    cases: Sequence[tuple],
    instances: int,
    runs: int,
    alternatives: int,
    climbs: int,
    seed: int,
    progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Each case: ``instances`` random problems, ``runs`` starts each, every endpoint against
    ``alternatives`` random minimizers; the nearest maximum of each of `CLIMBED` in the first
    ``climbs`` problems.
    """
    tables = []
    for c, case in enumerate(Case(*x) for x in cases):
        found = []
        for i in range(instances):
            report(progress, case.label(), (c + i / instances) / len(cases))
            # depths and scales share their problems
            rng = np.random.default_rng([seed, case.size, case.rank, case.observed, i])
            one = _one_problem(case, runs, alternatives, i < climbs, rng)
            if one is not None:
                found.append(one)
        tables.append(_table(case, found, instances))
    return xr.concat(tables, "case", coords="different", compat="equals", join="outer")


def _one_problem(
    case: Case, runs: int, alternatives: int, climbing: bool, rng: np.random.Generator
) -> _ProblemResult | None:
    problem = random_problem(case.size, case.rank, case.observed, rng)
    others = random_minimizers(problem, alternatives, 1.0, rng)
    rows, cols = np.nonzero(problem.mask)
    energy = dl.Completion(rows, cols, problem.data[rows, cols], problem.mask.shape)
    start = case.scale * rng.normal(size=(runs, case.size, case.size))
    result = dl.ensemble(energy, start, case.depth)
    there = result.ok & np.isfinite(result.W).all((1, 2))
    if not there.any():
        return None
    W, reached = project(result.W[there], problem)
    off = np.linalg.norm(W - result.W[there], axis=(1, 2)) / np.linalg.norm(W, axis=(1, 2))
    near = reached & (off < 0.1)
    if not near.any():
        return None
    W = W[near]
    distance = np.linalg.norm(W - np.median(W, 0), axis=(1, 2))
    middle = W[[distance.argmin()]]
    typical = float(np.median(np.linalg.norm(others - middle, axis=(1, 2))))
    return _ProblemResult(
        _stack(W, case, problem),
        _stack(others, case, problem),
        near.sum() / runs,
        float(np.median(off[near])),
        float(np.median(distance)) / typical,
        _climbs(middle, typical, case, problem) if climbing else np.full(len(CLIMBED), np.nan),
    )


def _stack(W: Floats, case: Case, problem: FixedRankProblem) -> Floats:
    values = predictors(W, case.depth, problem)
    return np.stack([values[name] for name in PREDICTORS], -1)


def _value(name: str, depth: float, problem: FixedRankProblem, W: Floats) -> Floats:
    return predictors(W, depth, problem)[name]


def _climbs(middle: Floats, typical: float, case: Case, problem: FixedRankProblem) -> Floats:
    """How far the nearest local maximum of each predictor is, over the median distance of a random
    minimizer; ∞ where there is none.
    """
    out = []
    for name in CLIMBED:
        top, done = climb(middle, partial(_value, name, case.depth, problem), problem)
        out.append(float(np.linalg.norm(top - middle)) / typical if done[0] else math.inf)
    return np.array(out)


def _table(case: Case, found: list[_ProblemResult], instances: int) -> xr.Dataset:
    """The statistics of one case: means over problems, which are what is independent."""
    climbs = np.array([x.climb for x in found if not np.isnan(x.climb).any()]).reshape(
        -1, len(CLIMBED)
    )
    gains, ranks = _gains(found), _ranks(found)
    ds = xr.Dataset(
        coords={"predictor": list(PREDICTORS), "model": list(MODELS), "climbed": list(CLIMBED)}
    )
    for k, end in enumerate(("", "_low", "_high")):
        ds[f"below{end}"] = (
            "predictor",
            ranks[:, k],
            {"long_name": "share of random minimizers that the predictor puts below an endpoint"},
        )
        ds[f"choice{end}"] = (
            "model",
            gains[:, k],
            {"units": "nats per run above a blind choice, on unseen problems"},
        )
    ds["climb"] = (
        "climbed",
        np.median(climbs, 0) if len(climbs) else np.full(len(CLIMBED), np.nan),
        {"long_name": "distance to the nearest local maximum / to a random minimizer, median"},
    )
    ds["ok"] = (
        (),
        float(np.sum([x.ok for x in found]) / instances),
        {"long_name": "share of runs that end near rank r"},
    )
    ds["off"] = (
        (),
        float(np.median([x.off for x in found])),
        {"long_name": "relative distance from rank r"},
    )
    ds["spread"] = (
        (),
        float(np.median([x.spread for x in found])),
        {"long_name": "spread of endpoints / distance to a random minimizer"},
    )
    about: dict[str, Any] = {f"case_{name}": float(value) for name, value in case._asdict().items()}
    return ds.assign_coords({"case": case.label(), **about}).expand_dims("case")


def _ranks(found: list[_ProblemResult]) -> Floats:
    """(predictor, 3): mean percentile rank of the endpoints among random minimizers, with its
    interval. NaN where no problem of the case gave a run that can be used.
    """
    if not found:
        return np.full((len(PREDICTORS), 3), np.nan)
    rank = np.array(
        [
            [percentile_rank(x.chosen[:, f], x.others[:, f]).mean() for f in range(len(PREDICTORS))]
            for x in found
        ]
    )
    return np.array([(column.mean(), *bootstrap_interval(column)) for column in rank.T])


def _gains(found: list[_ProblemResult]) -> Floats:
    """(model, 3): mean gain of each model of the choice on unseen problems, with its interval. NaN
    for fewer than four problems.
    """
    gains = np.full((len(MODELS), 3), np.nan)
    if len(found) < 4:
        return gains
    # each endpoint first, then the alternatives that it was chosen among
    sets = [
        np.concatenate(
            [x.chosen[:, None], np.broadcast_to(x.others, (len(x.chosen), *x.others.shape))], 1
        )
        for x in found
    ]
    for m, names in enumerate(MODELS.values()):
        columns = [PREDICTORS.index(name) for name in names]
        per_problem = cross_validated_gain([x[..., columns] for x in sets], min(5, len(found)))
        gains[m] = per_problem.mean(), *bootstrap_interval(per_problem)
    return gains
