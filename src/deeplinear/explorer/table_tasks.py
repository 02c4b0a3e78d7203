"""What is computed of a table: what was understood of it, and its completions. In a process of its
own (`jobs`); what is sent back is only shown.
"""

import shlex
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import Selection, Table, TextOptions, read_table
from ..files.long_output import write_long
from ..files.opening import file_type
from ..labels import depth_label
from ..progress import Progress
from ..report.compare import Candidate, Verdict
from ..report.lists import COVERAGE, interval_columns
from ..report.report import (
    Study,
    columns_table,
    results_table,
    study_figures,
    study_of_file,
    write_report,
)
from ..report.table_fits import complete_table
from ..report.text import explain, headline
from .bundled import write_bundled
from .jobs import Report
from .sheets import Frame, Sheet, frame_of, head, sheet

MOST_CELLS = 2_000_000
_EVERY = 0.15  # seconds between two reports


@dataclass(frozen=True)
class Request:
    """What to read and how to fit: ``data`` is a bundled name, or "" for the file ``path``; results
    go into ``folder``, which is the visitor's.
    """

    data: str
    path: Path
    folder: Path
    missing: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    depths: tuple[float, ...] = ()
    method: str = "explicit"
    seed: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """As the command line has them: parameters of `deeplinear.DeepLinearImputer`."""
        return {"regularization": self.method, "random_state": self.seed, "row_order": True}

    @property
    def words(self) -> list[str]:
        """The options that differ from the command line's own, as it has them."""
        words = [] if self.method == "explicit" else ["--regularization", self.method]
        if self.seed:
            words += ["--seed", str(self.seed)]
        for marker in self.missing:
            words += ["--missing", marker]
        return words

    def source(self) -> tuple[Path, np.ndarray | None]:
        """(the file, the truth where it is known)."""
        if self.data:
            return write_bundled(self.data, self.folder)
        return self.path, None


@dataclass(frozen=True)
class Preview:
    """What was understood of a file: ``lines``, the first cells as HTML, the sheet as given."""

    name: str
    lines: list[str]
    head: str
    frame: Frame
    given: Sheet
    source: Path
    bundled: bool


@dataclass(frozen=True)
class Completed:
    """What came of a fit: sentences and tables as HTML, sheets, curves, files, and how to do it
    again.
    """

    frame: Frame
    sheets: list[Sheet]
    texts: dict[str, str]
    spectra: dict[str, np.ndarray]
    trials: dict[str, tuple[np.ndarray, np.ndarray]]
    coverage: tuple[np.ndarray, np.ndarray] | None
    files: dict[str, Path]
    command: str
    python: str
    warnings: list[str]


def understand(report: Report, asked: Request) -> Preview:
    """Read a file, and say what was understood."""
    report(0.0, "Reading")
    source, _ = asked.source()
    table = _read(source, asked)
    study = _study(table, (), None, asked, source.name)
    given = sheet(
        f"given ({np.isnan(table.values).mean():.0%} missing)", table, study, table.values
    )
    return Preview(
        source.name,
        table.understood(),
        head(table),
        frame_of(table, study),
        given,
        source,
        bool(asked.data),
    )


def complete(report: Report, asked: Request) -> Completed:
    """Complete a table at every depth, and write what can be downloaded."""
    source, truth = asked.source()
    table = _read(source, asked)
    follow = _Follow(report, len(asked.depths))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        candidates, verdict = complete_table(
            table,
            asked.depths,
            asked.options,
            truth=truth,
            progress=follow.progress,
            on_done=follow.done,
        )
    report(0.95, "Drawing")
    study = _study(table, candidates, verdict, asked, source.name)
    study = replace(study, truth=truth)
    networks = study.networks
    sheets = [sheet("given", table, study, table.values)]
    sheets += [sheet(_title(c), table, study, c.filled, _ends(table, c)) for c in networks]
    if truth is not None:
        sheets.append(sheet("truth", table, study, truth))
    output = _output(source, table)
    command = _command(source.name, output, asked)
    files = _files(table, study, verdict, asked.folder, output, command)
    texts = {
        "headline": headline(candidates, verdict, study.unit),
        "results": results_table(study),
        "columns": columns_table(study),
        "explained": explain(networks, asked.method),
    }
    return Completed(
        frame_of(table, study),
        sheets,
        texts,
        {c.name: c.singular_values for c in networks if c.singular_values is not None},
        {c.name: _curve(c) for c in networks},
        _coverage(verdict),
        files,
        command,
        _python(source.name, output, asked, verdict),
        list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))),
    )


class _Follow:
    """From the progress of fits to that of the whole, now and then."""

    def __init__(self, report: Report, depths: int) -> None:
        self._report, self._depths = report, depths
        self._finished, self._said = 0, 0.0

    def progress(self, depth: float, state: Progress) -> None:
        if time.monotonic() - self._said > _EVERY:
            part = (self._finished + min(state.done or 0.0, 1.0)) / self._depths
            self._report(0.9 * part, f"{depth_label(depth)}: {state}")
            self._said = time.monotonic()

    def done(self, candidate: Candidate) -> None:
        self._finished += 1
        self._report(0.9 * self._finished / self._depths, f"{candidate.name}: done")


def _read(path: Path, asked: Request) -> Table:
    """The table; messages have the file's name alone."""
    try:
        table = read_table(
            path,
            text=TextOptions(missing=asked.missing) if asked.missing else None,
            selection=Selection(keep=asked.keep) if asked.keep else None,
        )
    except InputError as error:
        raise InputError(str(error).replace(str(path), path.name)) from None
    if table.values.size > MOST_CELLS:
        raise InputError(
            f"{path.name} has {table.values.size:,} cells, and this page completes at most "
            f"{MOST_CELLS:,}: run deeplinear complete in a terminal."
        )
    return table


def _study(
    table: Table,
    candidates: Sequence[Candidate],
    verdict: Verdict | None,
    asked: Request,
    name: str,
) -> Study:
    return study_of_file(table, candidates, verdict, asked.method, name)  # type: ignore[arg-type]


def _title(candidate: Candidate) -> str:
    return f"{candidate.name}: held-out error {candidate.held_out_error:.3g}"


def _ends(table: Table, candidate: Candidate) -> tuple[np.ndarray, np.ndarray] | None:
    """The ends of intervals, as `Table.values` has its columns; none in colours."""
    imputer = candidate.imputer
    assert imputer is not None
    colours = table.kind == "image" and table.picture(table.values).ndim == 3
    if colours or not imputer.model_.calibration.reaches(COVERAGE):
        return None
    return imputer.interval(table.coded, coverage=COVERAGE)


def _curve(candidate: Candidate) -> tuple[np.ndarray, np.ndarray]:
    """Held-out error against strength, of all that was tried."""
    assert candidate.imputer is not None
    tried = sorted((t.strength, t.validation_rmse) for t in candidate.imputer.trials_ if t.strength)
    strength, error = np.array(tried).reshape(-1, 2).T
    return strength, error


def _coverage(verdict: Verdict) -> tuple[np.ndarray, np.ndarray] | None:
    """(coverage that is asked for, coverage that is reached), on cells that made no interval."""
    from ..completion.posterior.coverage import ENOUGH, cross_fitted

    imputer = verdict.network.imputer
    assert imputer is not None
    if len(imputer.model_.calibration.scores) < ENOUGH:
        return None
    reached = cross_fitted(imputer.model_.calibration)
    return reached.levels, reached.mean


def _output(source: Path, table: Table) -> str:
    """The name of the completed file: of the input's kind, as the command wants it."""
    if file_type(source) in table.suffixes:
        return f"completed-{source.name}"
    return f"completed-{source.name.partition('.')[0]}{table.suffixes[0]}"


def _files(
    table: Table, study: Study, verdict: Verdict, folder: Path, output: str, command: str
) -> dict[str, Path]:
    """Write what can be downloaded, by its label."""
    path = folder / output
    path.write_bytes(table.pack(table.encode(verdict.used.filled, file_type(path)), path))
    files = {"completed data": path}
    network = verdict.network
    assert network.imputer is not None
    reaches = network.imputer.model_.calibration.reaches(COVERAGE)
    if table.kind == "table" and reaches:
        columns = interval_columns(table, network.filled, network.imputer, COVERAGE)
        files["intervals"] = folder / "intervals.csv"
        files["intervals"].write_bytes(write_long(files["intervals"], columns))
    page, pictures = write_report(
        folder / "report", [study], title=f"Completion of {study.title}", command=command
    )
    files["report"], files["PNG"] = page, pictures[0]
    files["SVG"] = folder / "completed.svg"
    study_figures(study)[0][1].savefig(files["SVG"], format="svg")
    return files


def _command(name: str, output: str, asked: Request) -> str:
    words = ["deeplinear", "complete", name, "-o", output, "--depth", _depths(asked.depths)]
    words += asked.words
    for column in asked.keep:
        words += ["--keep", column]
    return shlex.join(words)


def _depths(depths: tuple[float, ...]) -> str:
    return ",".join(f"{depth:g}" for depth in depths)


def _python(name: str, output: str, asked: Request, verdict: Verdict) -> str:
    """The lines of Python that fill in what the best depth does."""
    depth = verdict.network.depth
    assert depth is not None
    shown = "math.inf" if np.isinf(depth) else f"{depth:g}"
    reading, imports = "", ""
    if asked.keep:
        imports, reading = ", Selection", f", selection=Selection(keep={asked.keep!r})"
    if asked.missing:
        imports += ", TextOptions"
        reading += f", text=TextOptions(missing={asked.missing!r})"
    options = "".join(f", {key}={value!r}" for key, value in asked.options.items())
    lines = [*["import math"] * bool(np.isinf(depth)), "from pathlib import Path", ""]
    lines += ["import deeplinear as dl", f"from deeplinear.files import read_table{imports}", ""]
    if verdict.used is not verdict.network:
        lines.append(
            f"# the best depth; the command fills in {verdict.used.name}, which are better"
        )
    lines += [
        f"table = read_table(Path({name!r}){reading})",
        f"imputer = dl.DeepLinearImputer(depth={shown}{options})",
        "filled = imputer.fit_transform(table.coded)",
        f"output = Path({output!r})",
        f"data = table.encode(filled, {file_type(Path(output))!r})",
        "output.write_bytes(table.pack(data, output))",
    ]
    return "\n".join(lines)
