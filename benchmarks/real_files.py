"""Public files as people have them: what is understood, and how well hidden cells are completed.

    python benchmarks/real_files.py [--folder DIR] [beginning of a name ...]

``real_files.tsv`` lists them, with the options that a user needs. Each is downloaded once from
GitHub into the cache (``$DEEPLINEAR_DATA``, else ``~/.cache/deeplinear``) and checked by its
SHA-256; with ``--folder`` it is read from there. A tenth of the observed cells is hidden (seed 0),
the rest is completed as by `deeplinear complete` or `ratings`, and measured on the hidden cells. At
the end a table in Markdown.

Columns count that vary and have five hidden cells or more. ``error`` is the root mean squared error
over the standard deviation of the column, in the middle (median) one; ``R² < 0.1`` says in how many
columns next to nothing is learned. Lists of entries count as one column.
"""

import argparse
import csv
import hashlib
import shlex
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplinear import DeepLinearImputer, DeepMatrixCompletion
from deeplinear.completion.data.features import CodedTable, FeatureKind
from deeplinear.datasets.cache import cache_folder, fetch_archive
from deeplinear.files import Selection, Table, TextOptions, read_table
from deeplinear.files.long import Triples, read_long

DEPTHS = (2, 3, float("inf"))
LEAST = 5  # hidden cells of a column that counts


@dataclass(frozen=True)
class RealFile:
    """A file in a public repository, and the options that read it; `name` is that of the copy."""

    name: str
    origin: str
    repository: str
    path: str
    commit: str
    licence: str
    sha256: str
    command: str  # complete or ratings
    options: str

    def local(self, folder: Path | None) -> Path:
        """Where the file lies, downloaded if it must be; its content is what was measured."""
        if folder is None:
            url = f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"
            return fetch_archive(url, cache_folder() / self.name, f"sha256:{self.sha256}")
        path = folder / self.name
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise SystemExit(f"{path} is another file: its SHA-256 is not {self.sha256}")
        return path

    def read(self, folder: Path | None) -> Table | Triples:
        """The table, or the list of entries, as the command line reads it."""
        words = vars(_OPTIONS.parse_args(shlex.split(self.options)))
        text = TextOptions(
            missing=tuple(words["missing"]), notes=words["notes"], skip_lines=words["skip_lines"]
        )
        path = self.local(folder)
        if self.command == "ratings":
            return read_long(path, words["rows"], words["cols"], words["values"], text=text)
        return read_table(path, text=text, selection=Selection(keep=tuple(words["keep"])))


_OPTIONS = argparse.ArgumentParser(allow_abbrev=False)
_OPTIONS.add_argument("--missing", action="append", default=[])
_OPTIONS.add_argument("--keep", action="append", default=[])
_OPTIONS.add_argument("--notes", action="store_true")
_OPTIONS.add_argument("--skip-lines", type=int, default=0)
for _name in ("--rows", "--cols", "--values"):
    _OPTIONS.add_argument(_name)


def listed_files(path: Path | None = None) -> list[RealFile]:
    """Those of a table like ``real_files.tsv``, which is the default."""
    listed = path or Path(__file__).with_suffix(".tsv")
    with listed.open(encoding="utf-8", newline="") as file:
        return [RealFile(**row) for row in csv.DictReader(file, delimiter="\t")]


@dataclass(frozen=True)
class Score:
    """What completion makes of the hidden cells of numbers (``error``, ``means``, ``unlearned`` of
    ``numbers`` columns) and of categories (shares of right labels); NaN where there are none.
    """

    error: float
    means: float
    unlearned: int
    numbers: int
    right: float
    frequent: float


def hidden_cells(observed: np.ndarray) -> np.ndarray:
    """A tenth of the cells that are ``observed``."""
    rng = np.random.default_rng(0)
    cells = np.flatnonzero(observed)
    hidden = np.zeros(observed.size, bool)
    hidden[rng.permutation(cells)[: len(cells) // 10]] = True
    return hidden.reshape(observed.shape)


def column_errors(
    filled: np.ndarray, means: np.ndarray, truth: np.ndarray, spread: float
) -> tuple[float, float, float]:
    """(relative error, that of the mean, R²) on the hidden cells of a column."""
    square, around = np.mean((filled - truth) ** 2), np.mean((means - truth) ** 2)
    return float(np.sqrt(square) / spread), float(np.sqrt(around) / spread), 1 - square / around


def score_table(table: CodedTable, hidden: np.ndarray, filled: np.ndarray) -> Score:
    errors, right, frequent = [], [], []
    for j, feature in enumerate(table.features):
        x, here = table.values[:, j], hidden[:, j]
        rest = x[~here & ~np.isnan(x)]
        if here.sum() < LEAST or not len(rest) or rest.min() == rest.max():
            continue
        if feature.kind is FeatureKind.category:
            right += (filled[here, j] == x[here]).tolist()
            frequent += (np.bincount(rest.astype(int)).argmax() == x[here]).tolist()
        elif np.ptp(x[here]) > 0:
            means = np.full(here.sum(), rest.mean())
            errors.append(column_errors(filled[here, j], means, x[here], float(rest.std())))
    error, means, r2 = np.array(errors).reshape(-1, 3).T
    middle = (float(np.median(e)) if len(e) else np.nan for e in (error, means))
    shares = (float(np.mean(share)) if share else np.nan for share in (right, frequent))
    return Score(*middle, int((r2 < 0.1).sum()), len(r2), *shares)


def complete_table(table: CodedTable) -> Score:
    hidden = hidden_cells(~np.isnan(table.values))
    given = CodedTable(np.where(hidden, np.nan, table.values), table.features)
    filled = DeepLinearImputer(DEPTHS, random_state=0).fit_transform(given)
    return score_table(table, hidden, np.asarray(filled))


def complete_list(data: Triples) -> Score:
    hidden = hidden_cells(np.ones(len(data), bool))
    rows, cols, values = data.row_ids.labels[data.rows], data.col_ids.labels[data.cols], data.values
    estimator = DeepMatrixCompletion(DEPTHS, random_state=0)
    estimator.fit((rows[~hidden], cols[~hidden], values[~hidden]))
    filled = estimator.predict(rows[hidden], cols[hidden])
    count = np.bincount(data.cols[~hidden], minlength=data.shape[1])
    total = np.bincount(data.cols[~hidden], values[~hidden], data.shape[1])
    overall, spread = values[~hidden].mean(), float(values[~hidden].std())
    means = np.where(count > 0, total / np.maximum(count, 1), overall)[data.cols[hidden]]
    error, of_means, r2 = column_errors(filled, means, values[hidden], spread)
    return Score(error, of_means, int(r2 < 0.1), 1, np.nan, np.nan)


def contents(table: Table) -> str:
    """How many columns are numbers, categories and carried through."""
    labels = sum(feature.kind is FeatureKind.category for feature in table.features)
    counts = {"numbers": len(table.features) - labels, "labels": labels}
    counts["carried"] = len(table.carried)
    return ", ".join(f"{what} {count:,}" for what, count in counts.items() if count)


def measure(file: RealFile, folder: Path | None) -> str:
    """Print what was understood; the file's line of the table."""
    found = file.read(folder)
    print(f"{file.name} ({file.repository}, {file.licence})")
    start = time.perf_counter()
    with warnings.catch_warnings():  # ids and empty rows, which the command line tells
        warnings.simplefilter("ignore", UserWarning)
        if isinstance(found, Triples):
            made = "a list of entries"
            print(f"  {found.describe()}")
            (m, n), observed, score = found.shape, len(found), complete_list(found)
        else:
            made = contents(found)
            print("\n".join(f"  {line}" for line in found.understood()))
            (m, n), observed = found.values.shape, int(np.isfinite(found.values).sum())
            score = complete_table(found.coded)
    cells = [
        f"`{file.name}`",
        file.origin,
        f"{m:,} × {n:,}",
        f"{1 - observed / (m * n):.1%}",
        made,
        f"`{file.options}`" if file.options else "",
        f"{score.error:.3f} / {score.means:.2f}" if score.numbers else "",
        f"{score.unlearned} of {score.numbers}" if score.numbers else "",
        "" if np.isnan(score.right) else f"{score.right:.0%} / {score.frequent:.0%}",
        f"{time.perf_counter() - start:.0f}",
    ]
    line = f"| {' | '.join(cells)} |"
    print(f"  {line}\n", flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of the names of files; default: all")
    parser.add_argument("--folder", type=Path, help="where the files lie already")
    arguments = parser.parse_args()
    names = tuple(arguments.names or [""])
    lines = [
        measure(file, arguments.folder) for file in listed_files() if file.name.startswith(names)
    ]
    heads = ("file", "from", "rows × columns", "missing", "what was made of it", "options")
    heads = (*heads, "error / of column means", "R² < 0.1", "right labels / most frequent", "s")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", *lines, sep="\n")


if __name__ == "__main__":
    main()
