"""Long data on the command line: `deeplinear complete` with --rows, --cols, --values, and
`deeplinear recommend`.
"""

import math
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .. import files
from ..atomic import write_atomically
from ..completion._training import FitProgress
from ..completion.data.observations import RepeatedEntriesError
from ..completion.matrix_completion import DeepMatrixCompletion
from ..completion.matrix_completion_cv import DeepMatrixCompletionCV
from ..completion.model import file_format
from ..errors import InputError
from ..files.long import Long, read_long, write_long
from .console import gathered_warnings, progress_bar

_COVERAGE = 0.9  # of the intervals that are listed
_ALL_MISSING = 5_000_000  # entries that are listed without --at


@dataclass(frozen=True)
class LongJob:
    """The files of one call of `deeplinear complete` on long data."""

    source: Path
    columns: tuple[str | None, str | None, str | None]
    output: Path | None
    at: Path | None
    model: Path | None
    checkpoint: Path | None
    force: bool

    def check(self) -> None:
        """Refuse before any computing what could not be written afterwards."""
        if self.output is None and self.model is None:
            raise InputError(
                "--output: nothing would be kept; give --output for predictions, --model for the "
                "model, or both."
            )
        for name, path in (("--output", self.output), ("--model", self.model)):
            if path is not None:
                files.check_free(path, force=self.force, argument=name)
        if self.output is not None and self.output.suffix.lower() not in (
            ".csv",
            ".tsv",
            ".parquet",
            ".pq",
        ):
            raise InputError(
                f"--output: '{self.output}' must end in .csv, .tsv or .parquet for a list of "
                "predictions."
            )
        if self.at is not None and self.output is None:
            raise InputError("--at: the predictions need a file; give --output.")


def complete_long(
    job: LongJob, parameters: dict[str, Any], out: Console, errors: Console, *, quiet: bool
) -> None:
    """Read, choose depth and strength, fit, and write predictions and model."""
    job.check()
    if min(parameters["depths"]) < 2:
        raise InputError(
            "--depth: long data need depths ≥ 2 (below, the rank is full); give 2,3,inf, say."
        )
    if parameters["max_sweeps"] is not None and parameters["max_sweeps"] < 1:
        raise InputError(
            f"--max-iter: {parameters['max_sweeps']} sweeps fit nothing; give at least 1."
        )
    for name, choices in (
        ("regularization", ("explicit", "implicit")),
        ("duplicates", ("error", "mean", "last")),
        ("device", ("cpu", "gpu", "jax")),
    ):
        if parameters[name] not in choices:
            raise InputError(
                f"--{name}: '{parameters[name]}' is none of {', '.join(choices)}; give one of them."
            )
    implicit = parameters["regularization"] == "implicit"
    if implicit and job.checkpoint is not None:
        raise InputError(
            "--checkpoint: the implicit flow has none; leave it out, or take --regularization "
            "explicit."
        )
    if implicit and parameters["strengths"] is not None and not 0 < parameters["strengths"][0] < 1:
        raise InputError(
            "--strength: of the implicit flow the part of the energy where it stops, between 0 and "
            "1."
        )
    data = read_long(job.source, *job.columns)
    out.print(f"{job.source.name}: {data.describe()}", highlight=False, soft_wrap=True)
    wanted = None if job.output is None else _wanted(job, data)
    begin = time.perf_counter()
    bar_console = Console(stderr=True, quiet=True) if quiet else errors
    with gathered_warnings(errors), progress_bar(bar_console) as bar:
        watch = _Watch(bar)
        estimator = DeepMatrixCompletionCV(
            **parameters,
            callback=watch.report,
            checkpoint=None if job.checkpoint is None else str(job.checkpoint),
        )
        try:
            estimator.fit(data.training())
        except RepeatedEntriesError as error:
            shift = int(data.row_ids is None)  # matrices on file count from 1
            raise InputError(
                f"INPUT: '{job.source}' must name every entry once, got {error.count} "
                "repetition(s), the first of row "
                f"{error.row + shift if shift else error.row}, column "
                f"{error.col + shift if shift else error.col}: add "
                "--duplicates mean or --duplicates last."
            ) from None
        seconds = time.perf_counter() - begin
        if job.model is not None:  # first: whatever happens to the predictions, the fit is kept
            estimator.save(job.model)
        if job.output is not None and wanted is not None:
            write_atomically(
                job.output, write_long(job.output, _predictions(estimator, wanted, data.names))
            )
    for depth in dict.fromkeys(trial.depth for trial in estimator.trials_):
        best = min(
            (t for t in estimator.trials_ if t.depth == depth),
            key=lambda trial: trial.validation_rmse,
        )
        star = " ★" if depth == estimator.depth_ else ""
        out.print(
            f"  depth {depth:g}: held-out RMSE {best.validation_rmse:.4f} (strength "
            f"{best.strength:.3g}, rank {best.rank}){star}",
            highlight=False,
        )
    rank = (
        f"effective rank {estimator.effective_rank_:.1f}" if implicit else f"rank {estimator.rank_}"
    )
    out.print(
        f"Fitted at depth {estimator.depth_:g}: {rank}, train RMSE {estimator.train_score_:.4f}, "
        f"{seconds:.1f} s",
        highlight=False,
    )
    if job.output is not None:
        out.print(f"Wrote {job.output}", highlight=False, soft_wrap=True)
    if job.model is not None:
        out.print(f"Wrote {job.model}", highlight=False, soft_wrap=True)


class _Watch:
    """A progress bar with the stage, the objective and the held-out error."""

    def __init__(self, bar: Any) -> None:
        self._bar, self._task = bar, bar.add_task("starting", total=1.0)

    def report(self, state: FitProgress) -> None:
        parts = [state.stage]
        parts += [] if state.objective is None else [f"objective {state.objective:.5g}"]
        parts += (
            [] if state.validation_rmse is None else [f"held-out RMSE {state.validation_rmse:.4f}"]
        )
        done = {} if math.isnan(state.done) else {"completed": state.done}
        self._bar.update(self._task, description=", ".join(parts), **done)


def _wanted(job: LongJob, data: Long) -> tuple[np.ndarray, np.ndarray]:
    """The pairs to predict: those of --at, or all missing ones."""
    labels = [
        np.arange(side) if ids is None else ids
        for ids, side in zip((data.row_ids, data.col_ids), data.shape, strict=True)
    ]
    if job.at is not None:
        rows, cols = _pairs(job, data)
        if data.row_ids is None:
            if rows.dtype == object or cols.dtype == object:
                raise InputError(
                    f"--at: '{job.at}' must hold row and column numbers from 1, for INPUT is a "
                    "matrix."
                )
            return rows - 1, cols - 1  # matrices on file count from 1
        return _like(rows, labels[0]), _like(cols, labels[1])
    m, n = data.shape
    if m * n - len(data) > _ALL_MISSING:
        raise InputError(
            f"--at: {m * n - len(data):,} entries are missing, more than the {_ALL_MISSING:,} that "
            "are listed without it; "
            "give a file with the pairs that you want."
        )
    hidden = np.ones((m, n), dtype=bool)
    hidden[data.rows, data.cols] = False
    rows, cols = np.nonzero(hidden)
    return labels[0][rows], labels[1][cols]


def _pairs(job: LongJob, data: Long) -> tuple[np.ndarray, np.ndarray]:
    """The ids in the file --at; it has a heading unless INPUT has none, or its first line holds ids
    of INPUT.
    """
    assert job.at is not None
    columns = job.columns[:2] if data.row_ids is not None else (None, None)
    pairs = read_long(job.at, *columns, pairs=True, headless=True if data.headless else None)
    if (
        not pairs.headless
        and pairs.names != data.names[:2]
        and job.at.suffix.lower() not in (".parquet", ".pq")
    ):
        sides = zip(pairs.names, (data.row_ids, data.col_ids), strict=True)
        if all(ids is not None and name in set(map(str, ids.tolist())) for name, ids in sides):
            pairs = read_long(job.at, *columns, pairs=True, headless=True)
    if pairs.row_ids is None or pairs.col_ids is None:
        raise InputError(
            f"--at: '{job.at}' must list pairs of ids, not a matrix; give a CSV or Parquet file."
        )
    return pairs.row_ids[pairs.rows], pairs.col_ids[pairs.cols]


def _like(ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Ids in the type of the model's, each by itself: among texts integers are texts, among
    integers texts may be some.
    """
    if labels.dtype == object:
        return np.array([str(i) for i in ids.tolist()], dtype=object)
    return (
        np.array([_integer(i) for i in ids.tolist()], dtype=object) if ids.dtype == object else ids
    )


def _integer(text: str) -> int | str:
    try:
        number = int(text)
    except ValueError:
        return text
    return number if str(number) == text else text


def _predictions(
    estimator: DeepMatrixCompletion, wanted: tuple[np.ndarray, np.ndarray], names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    rows, cols = wanted
    shift = int(estimator.model_.row_ids.positional)  # matrices on file count from 1
    found = estimator.predict(rows, cols)
    if estimator.model_.calibration.reaches(_COVERAGE):
        low, high = estimator.interval(rows, cols, coverage=_COVERAGE)
    else:
        low = high = np.full(len(found), np.nan)
        warnings.warn(
            f"The {len(estimator.model_.calibration.scores)} held-out entries are too few for "
            f"{_COVERAGE:.0%} intervals: low and "
            "high are left empty.",
            UserWarning,
            stacklevel=2,
        )
    shown = (rows + 1, cols + 1) if shift else (rows, cols)
    return {names[0]: shown[0], names[1]: shown[1], "prediction": found, "low": low, "high": high}


def recommend_long(
    source: Path, ids: str | None, k: int, output: Path | None, *, include_seen: bool, force: bool
) -> None:
    """Recommendations of a saved model as a list: row id, place, column id, prediction."""
    if output is not None:
        files.check_free(output, force=force, argument="--output")
    one = file_format.kind_of(source) == DeepMatrixCompletion._kind
    estimator = (DeepMatrixCompletion if one else DeepMatrixCompletionCV).load(source)
    model = estimator.model_
    shift = int(model.row_ids.positional)
    rows: Any = estimator.row_ids_
    if ids is not None:
        words = [word.strip() for word in ids.split(",")]
        if estimator.row_ids_.dtype == object:
            rows = np.array(words, dtype=object)
        else:
            try:
                rows = np.array([int(word) for word in words]) - shift
            except ValueError:
                raise InputError(
                    f"--ids: '{ids}' holds what is no number, and the ids of this model are "
                    "integers."
                ) from None
    unknown = model.row_ids.codes(rows, "--ids") < 0
    if unknown.any():
        raise InputError(
            f"--ids: the model does not know {str(rows[np.argmax(unknown)])!r}; check the id."
        )
    k = min(k, model.col_ids.size)
    found, scores = estimator.recommend(rows, k, exclude_seen=not include_seen)
    there = ~np.isnan(scores)
    place = np.broadcast_to(np.arange(1, k + 1), found.shape)[there]
    columns = {
        "row": (
            np.repeat(rows, there.sum(axis=1)) + shift
            if shift
            else np.repeat(rows, there.sum(axis=1))
        ),
        "place": place,
        "column": np.asarray([x + shift for x in found[there]]) if shift else found[there],
        "prediction": scores[there],
    }
    if output is None:
        sys.stdout.write(write_long(Path("list.csv"), columns).decode())
    else:
        write_atomically(output, write_long(output, columns))
