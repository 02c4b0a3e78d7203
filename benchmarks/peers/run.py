"""Our completion beside other packages: the same split, threads and machine, each tuned on the same
validation entries.

    python benchmarks/peers/run.py --peers PYTHON [--ratings FILE] [--count 1000000] [--threads 1]
    [--markdown FILE]

PYTHON is the interpreter of an environment with the peers (pip install cmfrec libmf scikit-surprise
smurff cornac lenskit fancyimpute pandas); what it lacks, or what fails, is skipped and named. With
--times a second table has the CPU seconds that each peer needs, and those that we need for at most
its error on the validation entries. FILE holds ratings (user, item, value in its first columns, any
format of `deeplinear complete`); without it a synthetic set of --count ratings is made. 80 % of the
entries train, 10 % validate, 10 % test; the final fit of every method is to train + validation.
Every method runs alone in its own process.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from methods import METHODS

HERE = Path(__file__).parent


def load(ratings, columns, count):
    if ratings is None:
        from deeplinear.datasets import make_ratings

        users, items = (
            max(50, round(6040 * (count / 1e6) ** 0.5)),
            max(50, round(3706 * (count / 1e6) ** 0.5)),
        )
        made = make_ratings(users, items, count)
        rows, cols = (
            np.unique(made.users, return_inverse=True)[1],
            np.unique(made.items, return_inverse=True)[1],
        )
        return rows, cols, made.values
    from deeplinear.files.long import read_long

    found = read_long(ratings, *columns)
    return found.rows.astype(np.int64), found.cols.astype(np.int64), found.values


def split(rows, cols, values, seed, path):
    order = np.random.default_rng(seed).permutation(len(values))
    tenth = len(values) // 10
    parts = {"test": order[:tenth], "valid": order[tenth : 2 * tenth], "train": order[2 * tenth :]}
    arrays = {}
    for name, where in parts.items():
        arrays |= {
            f"{name}_rows": rows[where],
            f"{name}_cols": cols[where],
            f"{name}_values": values[where],
        }
    np.savez(
        path, shape=(rows.max() + 1, cols.max() + 1), limits=(values.min(), values.max()), **arrays
    )


def run(name, data, threads, python, limit):
    """What `worker` measures of one method (of our error over time, if ``name`` is None), or why it
    did not.
    """
    script = ["curve.py"] if name is None else ["worker.py", name]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
        }
        command = [python, str(HERE / script[0]), *script[1:], str(data), str(threads), str(result)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return {"error": f"more than {limit} s"}
        if done.returncode or not result.exists():
            lines = done.stderr.strip().splitlines() or ["no message"]
            return {"error": lines[-1][:160]}
        return json.loads(result.read_text())


def table(results):
    lines = [
        "| method | test RMSE | fit, CPU s | tuning, s | peak memory, MB | settings |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        if "error" in found:
            lines.append(f"| {name} | – | – | – | – | skipped: {found['error']} |")
            continue
        told = ", ".join(
            f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in found["settings"].items()
        )
        lines.append(
            f"| {name} | {found['rmse']:.4f} | {found['cpu']:.2f} | {found['tuning']:.0f} | "
            f"{found['memory']:.0f} | {told} |"
        )
    return "\n".join(lines)


def times(results, curve):
    """For every peer its error and time, and the cheapest point of ours whose *validation* error is
    at most the peer's.
    """
    lines = [
        "| peer | its test RMSE | its CPU s | our test RMSE | our CPU s | ratio | by |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        if name.startswith("deeplinear") or "error" in found or found["validation"] is None:
            continue
        reached = [
            (seconds, error, told)
            for told, valid, seconds, error in curve["points"]
            if valid <= found["validation"]
        ]
        seconds, error, told = min(reached, default=(float("nan"), float("nan"), "not reached"))
        lines.append(
            f"| {name} | {found['rmse']:.4f} | {found['cpu']:.2f} | {error:.4f} | {seconds:.3f} | "
            f"{found['cpu'] / seconds:.1f} | {told} |"
        )
    pays, least = [], float("inf")  # our points that are better than all cheaper ones
    for told, _, seconds, error in sorted(curve["points"], key=lambda point: point[2]):
        if error < least:
            least = error
            pays.append(f"{error:.4f} at {seconds:.3f} s ({told})")
    return "\n".join([*lines, "", f"Ours: {'; '.join(pays)}."])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default=sys.executable, help="interpreter with the peers")
    parser.add_argument("--ratings", type=Path)
    parser.add_argument(
        "--columns", default=None, help="names of user, item, value, comma-separated"
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one method")
    parser.add_argument(
        "--only", default=None, help="methods whose name contains this text (several: a|b)"
    )
    parser.add_argument("--times", action="store_true", help="also the time to each peer's error")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    columns = options.columns.split(",") if options.columns else (None, None, None)
    rows, cols, values = load(options.ratings, columns, options.count)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "split.npz"
        split(rows, cols, values, options.seed, data)
        for name in METHODS:
            if options.only and not any(text in name for text in options.only.split("|")):
                continue
            python = sys.executable if name.startswith("deeplinear") else options.peers
            results[name] = run(name, data, options.threads, python, options.limit)
            print(name, json.dumps(results[name]), flush=True)
        curve = (
            run(None, data, options.threads, sys.executable, options.limit)
            if options.times
            else None
        )
    head = (
        f"{'synthetic ratings' if options.ratings is None else options.ratings.stem}: "
        f"{len(values):,} entries, {rows.max() + 1:,} × "
        f"{cols.max() + 1:,}; split {options.seed}, {options.threads} thread(s); "
        f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, NumPy {np.__version__}."
    )
    text = f"{head}\n\n{table(results)}\n"
    if curve is not None:
        text += "\n" + (curve["error"] if "error" in curve else times(results, curve)) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
