"""What is computed of a list of entries: what was understood, a fit, and the best for one user. In
a process of its own (`jobs`).
"""

import html
import math
import shlex
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..completion.data.observations import RepeatedEntriesError
from ..completion.matrix_completion import DeepMatrixCompletion
from ..errors import InputError
from ..files.long import Triples, read_long
from ..files.long_output import write_long
from ..files.text_options import TextOptions
from ..labels import depth_label
from ..progress import Progress
from ..report.lists import all_missing, prediction_columns
from ..report.long_report import lead, trials_table, write_long_report
from ..report.page import scrolled
from .jobs import Report
from .table_tasks import Request

MOST_ENTRIES, _LISTED = 1_000_000, 200_000
_EVERY = 0.15  # seconds between two reports
_USERS = 200  # that are offered by name
MODEL = "model.npz"


@dataclass(frozen=True)
class LongPreview:
    """What was understood: ``lines``, and the first entries as HTML."""

    name: str
    lines: list[str]
    head: str
    source: Path
    bundled: bool


@dataclass(frozen=True)
class Rated:
    """What came of a fit: sentences as HTML, curves, the users that are offered, files, and how to
    do it again. ``scores``: |error| / deviation of the held-out entries.
    """

    texts: dict[str, str]
    spectra: dict[str, np.ndarray]
    trials: dict[str, tuple[np.ndarray, np.ndarray]]
    scores: np.ndarray
    coverage: tuple[np.ndarray, np.ndarray] | None
    users: list[str]
    files: dict[str, Path]
    command: str
    python: str


def understand_list(report: Report, asked: Request) -> LongPreview:
    """Read a list of entries, and say what was understood."""
    report(0.0, "Reading")
    source, _ = asked.source()
    data = _read(source, asked.missing)
    return LongPreview(source.name, [data.describe()], _head(data), source, bool(asked.data))


def fit_list(report: Report, asked: Request) -> Rated:
    """Learn from the entries at every depth, and write what can be downloaded."""
    source, _ = asked.source()
    data = _read(source, asked.missing)
    said = [0.0]

    def follow(state: Progress) -> None:
        if time.monotonic() - said[0] > _EVERY:
            report(0.95 * min(state.done or 0.0, 1.0), str(state))
            said[0] = time.monotonic()

    estimator = DeepMatrixCompletion(
        asked.depths[0] if len(asked.depths) == 1 else asked.depths,
        regularization=asked.method,
        columns=data.names,
        random_state=asked.seed,
        callback=follow,
    )
    try:
        estimator.fit(data)
    except RepeatedEntriesError as error:
        raise InputError(
            f"{source.name} names {error.count:,} entries more than once: give each pair of ids "
            "once, or run deeplinear ratings --duplicates mean."
        ) from None
    report(0.95, "Drawing")
    command = _command(source.name, asked)
    model, calibration = estimator.model_, estimator.model_.calibration
    curves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for depth in dict.fromkeys(t.depth for t in estimator.trials_):
        tried = sorted(
            (t.strength, t.validation_rmse)
            for t in estimator.trials_
            if t.depth == depth and t.strength
        )
        strength, errors = np.array(tried).reshape(-1, 2).T
        curves[depth_label(depth)] = strength, errors
    return Rated(
        {"headline": lead(estimator), "results": trials_table(estimator)},
        {depth_label(estimator.depth_): np.asarray(estimator.singular_values_)},
        curves,
        np.sort(calibration.scores),
        _coverage(estimator),
        [str(x) for x in _plus(model.row_ids.labels[:_USERS], data.positional)],
        _files(estimator, data, asked, source, command),
        command,
        _python(source.name, asked, data),
    )


def best_for(report: Report, path: Path, user: str, top: int) -> str:
    """The entries that a model predicts highest for one row, as an HTML table."""
    estimator = DeepMatrixCompletion.load(path)
    ids = estimator.model_.row_ids
    positional = ids.positional
    labels = ids.labels.tolist()
    known = dict(zip(map(str, _plus(ids.labels, positional)), labels, strict=True))
    if user not in known:
        raise InputError("There is no such row in the data: give one of its ids, as it is written.")
    row = known[user]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found, values = (x[0] for x in estimator.recommend([row], top))
    kept = [k for k, item in enumerate(found) if item is not None]
    if not kept:
        return "<p>Nothing is left: every column has an entry of this row.</p>"
    items, rows = found[kept], np.full(len(kept), row, dtype=ids.labels.dtype)
    low = high = np.full(len(kept), math.nan)
    if estimator.model_.calibration.reaches(0.9):
        low, high = estimator.interval(rows, items, coverage=0.9)
    cells = zip(_plus(items, positional), values[kept], low, high, strict=True)
    body = "".join(
        f"<tr><td>{html.escape(str(item)[:80])}</td><td>{value:.3g}</td>"
        f"<td>{_range(lo, hi)}</td></tr>"
        for item, value, lo, hi in cells
    )
    head = "<th>not rated yet</th><th>prediction</th><th>90 % interval</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _range(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"{low:.3g} to {high:.3g}"


def _plus(ids: np.ndarray, positional: bool) -> list[object]:
    """Ids as files have them: matrices count from 1 there."""
    return [x + 1 for x in ids.tolist()] if positional else ids.tolist()


def _read(path: Path, missing: tuple[str, ...]) -> Triples:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            data = read_long(path, text=TextOptions(missing=missing) if missing else None)
        except InputError as error:
            raise InputError(str(error).replace(str(path), path.name)) from None
    if len(data) > MOST_ENTRIES:
        raise InputError(
            f"{path.name} has {len(data):,} entries, and this page takes at most "
            f"{MOST_ENTRIES:,}: run deeplinear ratings in a terminal."
        )
    return data


def _head(data: Triples) -> str:
    names = "".join(f"<th>{html.escape(str(name)[:40])}</th>" for name in data.names)
    rows = _plus(data.row_ids.labels[data.rows[:6]], data.positional)
    cols = _plus(data.col_ids.labels[data.cols[:6]], data.positional)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(x)[:40])}</td>" for x in (i, j, f"{value:.5g}"))
        for i, j, value in zip(rows, cols, data.values[:6], strict=True)
    )
    return scrolled(
        f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>", "first entries"
    )


def _coverage(estimator: DeepMatrixCompletion) -> tuple[np.ndarray, np.ndarray] | None:
    from ..completion.posterior.coverage import ENOUGH, cross_fitted

    if len(estimator.model_.calibration.scores) < ENOUGH:
        return None
    reached = cross_fitted(estimator.model_.calibration)
    return reached.levels, reached.mean


def _files(
    estimator: DeepMatrixCompletion, data: Triples, asked: Request, source: Path, command: str
) -> dict[str, Path]:
    folder, files = asked.folder, {}
    files["model"] = folder / MODEL
    estimator.save(files["model"])
    m, n = data.shape
    if m * n - len(data) <= _LISTED:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            columns = prediction_columns(estimator, all_missing(data), data.names[:2])
        files["predictions"] = folder / "predictions.csv"
        files["predictions"].write_bytes(write_long(files["predictions"], columns))
    page, pictures = write_long_report(
        folder / "report", estimator, name=source.name, about=data.describe(), command=command
    )
    files["report"] = page
    if pictures:
        files["PNG"] = pictures[0]
    return files


def _command(name: str, asked: Request) -> str:
    depths = ",".join(f"{depth:g}" for depth in asked.depths)
    words = ["deeplinear", "ratings", name, "-o", "predictions.csv", "--model", MODEL]
    return shlex.join([*words, "--depth", depths, *asked.words])


def _python(name: str, asked: Request, data: Triples) -> str:
    shown = ", ".join("math.inf" if math.isinf(d) else f"{d:g}" for d in asked.depths)
    depth = shown if len(asked.depths) == 1 else f"({shown})"
    method = "" if asked.method == "explicit" else f', regularization="{asked.method}"'
    reading, imports = "", []
    if asked.missing:
        imports = ["from deeplinear.files import TextOptions"]
        reading = f", text=TextOptions(missing={asked.missing!r})"
    lines = [*["import math", ""] * ("math" in depth), "import deeplinear as dl", *imports]
    lines += [
        "from deeplinear.files.long import read_long",
        "",
        f"data = read_long({name!r}{reading})",
        f"model = dl.DeepMatrixCompletion({depth}{method}, random_state={asked.seed})",
        "items, values = model.fit(data).recommend([data.row_ids.labels[0]], 5)",
    ]
    return "\n".join(lines)
