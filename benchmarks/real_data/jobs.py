"""A method on a set: settings chosen on a tenth of the training cells, then measured once."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplinear.completion.data.features import CodedTable
from deeplinear.report.expand import collapse, expand

from .hiding import errors, hidden_cells
from .methods import METHODS, Task
from .sets import RealSet

VALIDATION = 1_000_003  # added to the seed where validation cells are drawn


@dataclass(frozen=True)
class Processes:
    """The interpreter with the peers, and the seconds of CPU time for all settings of a method."""

    peers: str = sys.executable
    limit: int = 600

    def run(self, name: str, task: Task, settings: list[dict]) -> dict:
        """``found`` (settings, cells asked for), ``seconds`` of each, ``memory`` in MB; only of the
        settings that were done in time; or why there are none, as ``why``.
        """
        python = sys.executable if METHODS[name].is_ours else self.peers
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / part for part in ("task.npz", "settings.json", "result.npz")]
            np.savez(paths[0], **vars(task))
            paths[1].write_text(json.dumps(settings))
            command = [python, str(Path(__file__).with_name("worker.py")), name, *map(str, paths)]
            done = subprocess.run(
                [*command, str(self.limit)], env=_one_thread(), capture_output=True, text=True
            )
            why = (done.stderr.strip().splitlines() or ["no message"])[-1][:160]
            if done.returncode == -signal.SIGXCPU:
                why = f"more than {self.limit} s"
            if not paths[2].exists():
                return {"why": why}
            with np.load(paths[2]) as result:
                return {key: result[key] for key in ("found", "seconds", "memory")}


def _one_thread() -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1")}


class Round:
    """A table of which ``hidden`` cells are to be filled in by methods.

    ``given`` is what they see of it, ``matrix`` the same for those that know numbers only.
    """

    def __init__(self, what: RealSet, table: CodedTable, hidden: np.ndarray, seed: int) -> None:
        self.what, self.table, self.hidden, self.seed = what, table, hidden, seed
        self.given = np.where(hidden, np.nan, table.values)
        seen = CodedTable(self.given, table.features)
        self.matrix, self.back = expand(seen, scaled=not what.ratings)
        self.center, self.unit = 0.0, 1.0
        if what.ratings:
            self.center, self.unit = float(np.nanmean(self.given)), float(np.nanstd(self.given))
            self.matrix = (self.matrix - self.center) / self.unit

    @classmethod
    def of(cls, what: RealSet, table: CodedTable, seed: int) -> "Round":
        """The test cells of a set."""
        return cls(what, table, hidden_cells(~np.isnan(table.values), what.hide, seed), seed)

    def trial(self) -> "Round":
        """A tenth of the cells that are left, in blocks where the hidden ones are."""
        how = "blocks" if self.what.hide == "blocks" else "cells"
        hidden = hidden_cells(~np.isnan(self.given), how, self.seed + VALIDATION)
        return Round(self.what, CodedTable(self.given, self.table.features), hidden, self.seed)

    def task(self, *, coded: bool) -> Task:
        """For methods that know labels (``coded``), or numbers only."""
        spans = [width for _, width in self.back.spans]
        asked = self.hidden if coded else np.repeat(self.hidden, spans, axis=1)
        labels = np.array([len(feature.categories) for feature in self.table.features])
        rows, cols = np.nonzero(asked)
        return Task(
            self.given,
            labels,
            self.matrix,
            rows,
            cols,
            ordered=self.what.ordered,
            period=self.what.period,
            ratings=self.what.ratings,
            seed=self.seed,
        )

    def errors(self, found: np.ndarray, task: Task, *, coded: bool) -> tuple[float, float]:
        """Those of the values ``found`` for the cells asked for; ratings cut to their range."""
        if coded:
            filled = self.given.copy()
            filled[task.rows, task.cols] = found
        else:
            matrix = self.matrix.copy()
            matrix[task.rows, task.cols] = found
            filled = collapse(matrix * self.unit + self.center, self.back, self.table.features)
        if self.what.ratings:
            filled = np.clip(filled, np.nanmin(self.given), np.nanmax(self.given))
        return errors(self.table, filled, self.hidden, ratings=self.what.ratings)


def measure(name: str, test: Round, processes: Processes) -> dict:
    """The line of results of a method: errors, CPU seconds, memory and settings, or ``why`` not."""
    method = METHODS[name]
    coded, settings, tuning, tried = method.is_ours, method.settings(), 0.0, 1
    if len(settings) > 1:
        trial = test.trial()
        task = trial.task(coded=coded)
        trials = processes.run(name, task, settings)
        if "why" in trials:
            return trials
        scores = [trial.errors(found, task, coded=coded)[0] for found in trials["found"]]
        settings = [settings[int(np.nanargmin(scores))]]
        tuning, tried = float(np.sum(trials["seconds"])), len(scores)
    task = test.task(coded=coded)
    done = processes.run(name, task, settings)
    if "why" in done:
        return done
    error, rmse = test.errors(done["found"][0], task, coded=coded)
    return {
        "error": error,
        "rmse": rmse,
        "seconds": float(done["seconds"][0]),
        "tuning": tuning,
        "memory": float(done["memory"]),
        "settings": {} if coded else settings[0],
        "tried": tried,
    }
