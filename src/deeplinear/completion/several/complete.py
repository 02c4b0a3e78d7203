"""Completion on several machines: choice, fit and intervals from Parquet shards, and predictions.

Every process calls the same functions with shards of its own. Ids are numbered by the processes to
which they belong (`numbering`), entries lie with the process of their row and with that of their
column (`shared`), and the fit is that of one process on another backend (`backend`): what all have
is the factors, the counts of the lines and the held-out entries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from ...errors import InputError
from ..backends.open import workers
from ..backends.threads import Loops
from ..posterior.conformal import Calibration
from ..posterior.laplace import leverage_of
from ..solver.checkpoint import Place
from ..solver.path import STRENGTHS
from ..solver.result import LowRankFit
from ..solver.selection import Explicit, HoldOut
from ..solver.trial import Trial
from .backend import Processes
from .group import Group
from .numbering import Numbering
from .shards import PathLike, Writer, batches, read_entries
from .shared import SharedObservations, distribute

# Held-out entries at most: every process has them all.
MOST_HELD_OUT = 1_000_000
_COLUMNS = ("row", "col", "value")


@dataclass(frozen=True)
class SharedModel:
    """A completed matrix whose factors every process has, and whose ids none has all.

    ``fit`` is that of all entries, ``trials`` are those of the choice; ``noise`` is σ² and
    ``calibration`` the law of the held-out errors in units of their deviations.
    """

    fit: LowRankFit
    trials: tuple[Trial, ...]
    calibration: Calibration
    noise: float
    rows: Numbering
    cols: Numbering
    entries: SharedObservations
    threads: int | None = None

    def predict(
        self, row_ids: np.ndarray, col_ids: np.ndarray, coverage: float = 0.9
    ) -> dict[str, np.ndarray]:
        """``prediction``, ``low`` and ``high`` at this process's pairs of ids.

        To be called by all processes, with any number of pairs each. An id without entries has
        factor and bias 0, and nothing bounds the error: low and high are infinite. The interval is
        prediction ± q · deviation with q the calibrated quantile of ``coverage``.
        """
        rows, cols = self.rows.codes(row_ids), self.cols.codes(col_ids)
        known = (rows >= 0) & (cols >= 0)
        width = np.full(len(rows), np.inf)
        asked = rows[known].astype(np.uint32), cols[known].astype(np.uint32)
        deviations = _deviations(self.fit, self.entries, self.noise, *asked, self.threads)
        width[known] = self.calibration.factor(coverage) * deviations
        found = _predicted(self.fit, rows, cols)
        return {"prediction": found, "low": found - width, "high": found + width}

    def write_predictions(
        self,
        pairs: Sequence[PathLike],
        outputs: Sequence[PathLike],
        columns: Sequence[str] = _COLUMNS[:2],
        *,
        coverage: float = 0.9,
    ) -> None:
        """`predict` for the Parquet shards ``pairs`` of this process, into its ``outputs``.

        Each has the columns of ids as they were and ``prediction``, ``low``, ``high``. To be called
        by all processes; a process may have no shards. **Raises** `InputError` for other numbers of
        outputs than of shards, and as `fit_shards` does.
        """
        if len(pairs) != len(outputs):
            raise InputError(
                f"outputs must name one file for each of {len(pairs)} shards, got {len(outputs)}."
            )
        group, nothing = self.rows.group, [np.zeros(0, np.int64)] * 2
        work = ((k, piece) for k, path in enumerate(pairs) for piece in batches(path, columns))
        writers = [Writer(path) for path in outputs]
        while True:  # as long as any process has pairs left: all of them answer
            k, piece = next(work, (None, nothing))
            if not group.total(float(k is not None)):
                break
            found = self.predict(piece[0], piece[1], coverage)
            if k is not None:
                names = dict(zip(columns, piece, strict=True))
                writers[k].add(names | found)
        for writer in writers:
            writer.close()


def fit_shards(
    shards: Sequence[PathLike],
    columns: Sequence[str] = _COLUMNS,
    *,
    depth: float | Sequence[float] = 3.0,
    strengths: float | Sequence[float] = STRENGTHS,
    validation_fraction: float = 0.1,
    seed: int = 0,
    duplicates: Literal["error", "mean", "last"] = "error",
    dtype: DTypeLike = np.float32,
    checkpoint: PathLike | None = None,
    threads: int | None = None,
    callback: Callable[[LowRankFit], bool | None] | None = None,
    **options: Any,
) -> SharedModel:
    """Complete the matrix whose entries lie in the Parquet shards of all processes.

    To be called by every process of a run (see `join`; one process needs none), with ``shards`` of
    its own and the same options. Depth and strength are chosen on held-out entries, then all
    entries are fitted, as `DeepMatrixCompletion` does; ``options`` are the fields of `FitOptions`.
    What is held out, a ``validation_fraction`` but at most a million entries, depends on ids and
    ``seed`` alone; results are those of one process up to rounding. ``columns``: of row ids, column
    ids (integers) and values. ``checkpoint``: a file that all processes can read and the first one
    writes; a run of as many processes with the same shards goes on there.

    **Memory** of a process: about 130 bytes per entry of its shards at the peak, while ids are
    numbered and entries sent (float32), besides the factors and the held-out entries.

    **Raises** `InputError` for shards and options that do not fit, `RepeatedEntriesError`, and
    `LostProcessError` where another process has ended.
    """
    group = Group()
    row_ids, col_ids, values = read_entries(shards, columns, dtype)
    if not group.total(len(values)):
        raise InputError("shards must hold at least one entry, all of them are empty.")
    rows, row_codes = Numbering.applied(group, row_ids)
    del row_ids  # nothing of the size of the shards stays longer than it is needed
    cols, col_codes = Numbering.applied(group, col_ids)
    del col_ids
    seen = distribute((rows, cols), (row_codes, col_codes), values, duplicates)
    del row_codes, col_codes, values
    place = None if checkpoint is None else Place(checkpoint, writes=group.index == 0)
    depths, path = np.atleast_1d(depth).tolist(), np.atleast_1d(strengths).tolist()
    training, held = seen.split(min(validation_fraction, MOST_HELD_OUT / seen.nnz), seed)
    with workers(threads) as pool:
        device = Processes(Loops(pool), group)
        given: dict[str, Any] = {
            "device": device,
            "checkpoint": place,
            "seed": seed,
            "callback": callback,
        }
        method = Explicit()
        choice = method.choose(HoldOut(training, *held), depths, path, **given, **options)
        noise = training.mean_square(choice.fit.residuals(training))
        calibration = _calibrated(choice.fit, training, noise, held, threads)
        fit = method.repeat(seen, choice, **given, **options)
    if checkpoint is not None and group.index == 0:  # it has done its work
        Path(checkpoint).unlink(missing_ok=True)
    noise = seen.mean_square(fit.residuals(seen))
    return SharedModel(fit, choice.trials, calibration, noise, rows, cols, seen, threads)


def _calibrated(
    fit: LowRankFit,
    training: SharedObservations,
    noise: float,
    held: tuple[np.ndarray, np.ndarray, np.ndarray],
    threads: int | None,
) -> Calibration:
    """From the held-out entries, of which each process works on a part."""
    rows, cols, values = held
    group = training.group
    mine = np.array_split(np.arange(len(rows)), group.size)[group.index]
    part = _deviations(fit, training, noise, rows[mine], cols[mine], threads)
    return Calibration.of(values - fit.predict(rows, cols), group.concatenate(part))


def _deviations(
    fit: LowRankFit,
    seen: SharedObservations,
    noise: float,
    rows: np.ndarray,
    cols: np.ndarray,
    threads: int | None,
) -> np.ndarray:
    """√v of `LocalPosterior` at this process's pairs; each line is asked of its process."""
    of_rows = _asked(fit, seen, rows, cols, threads)
    turned = SharedObservations(seen.by_col, seen.by_row, seen.shape[::-1], seen.group)
    of_cols = _asked(fit.T, turned, cols, rows, threads)
    return np.sqrt(noise * (1 + of_rows + of_cols))


def _asked(
    fit: LowRankFit,
    seen: SharedObservations,
    mine: np.ndarray,
    theirs: np.ndarray,
    threads: int | None,
) -> np.ndarray:
    """The leverages of `posterior.laplace`, from the processes that have the lines ``mine``."""
    group, lines = seen.group, seen.by_row
    owners = np.searchsorted(np.cumsum(lines.lengths), mine, side="right")
    order = np.argsort(owners, kind="stable")
    ends = np.cumsum(np.bincount(owners, minlength=group.size))[:-1]
    kind = np.dtype([("mine", np.uint32), ("theirs", np.uint32)])
    asked = np.empty(len(mine), kind)
    asked["mine"], asked["theirs"] = mine, theirs
    questions = group.exchange(np.split(asked[order], ends))
    every = np.concatenate(questions)
    call = every["mine"].astype(np.int64), every["theirs"].astype(np.int64)
    with workers(threads) as pool:
        found = Loops(pool).leverage(lines, *call, *leverage_of(fit, fit.right))
    cuts = np.cumsum([len(part) for part in questions])[:-1]
    out = np.empty(len(mine))
    out[order] = np.concatenate(group.exchange(np.split(found, cuts)))
    return out


def _predicted(fit: LowRankFit, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """mean + p·q + a + b, where what belongs to an unknown id (−1) is 0."""
    both = (rows >= 0) & (cols >= 0)
    out = np.full(len(rows), fit.mean, fit.left.dtype)
    for codes, bias in ((rows, fit.row_bias), (cols, fit.col_bias)):
        out[codes >= 0] += bias[codes[codes >= 0]]
    out[both] = fit.predict(rows[both], cols[both])
    return out
