"""Time and memory of reading files, each in a process of its own.

    python benchmarks/reading.py [--lines 1000000] [--against OTHER/src] [--rounds 3]

With ``--against`` another source tree reads the same files in turn (A B A B …).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

_READ = """
import json, sys, time
from pathlib import Path
from deeplinear.files import read_table
from deeplinear.files.long import read_long
path, kind = Path(sys.argv[1]), sys.argv[2]
start = time.process_time()
found = read_long(path) if kind == "long" else read_table(path)
seconds = time.process_time() - start
status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent, too
print(json.dumps([seconds, int(status.split("VmHWM:")[1].split()[0]) / 1024]))
"""


def write_files(folder: Path, lines: int) -> Iterator[tuple[str, Path, str]]:
    """(name, path, kind) of the files to read: three tables of 10⁶ cells, three long lists."""
    import pandas as pd

    rng = np.random.default_rng(0)
    X = rng.normal(size=(10_000, 100)).round(4)
    X[rng.random(X.shape) < 0.1] = np.nan
    table = pd.DataFrame(X, columns=[f"c{j}" for j in range(100)])
    table.to_csv(folder / "table.csv", index=False)
    table.insert(0, "name", [f"row {i}" for i in range(len(X))])
    table.to_csv(folder / "labels.csv", index=False)
    table.to_parquet(folder / "table.parquet")
    yield "table, 10⁶ cells, CSV", folder / "table.csv", "table"
    yield "the same with labels", folder / "labels.csv", "table"
    yield "the same, Parquet", folder / "table.parquet", "table"
    users = rng.integers(1, lines // 50 + 2, size=lines)
    items = rng.integers(1, lines // 100 + 2, size=lines)
    ratings = pd.DataFrame({"user": users, "item": items, "rating": rng.integers(1, 6, lines)})
    ratings.to_csv(folder / "ratings.csv", index=False)
    ratings.to_parquet(folder / "ratings.parquet")
    ratings["user"] = "u" + ratings["user"].astype(str)
    ratings.to_csv(folder / "words.csv", index=False)
    yield f"list, {lines:,} lines, CSV", folder / "ratings.csv", "long"
    yield "the same with text ids", folder / "words.csv", "long"
    yield "the same, Parquet", folder / "ratings.parquet", "long"


def read(path: Path, kind: str, source: str | None) -> tuple[float, float]:
    """CPU seconds and peak MB of one process that reads a file."""
    env = os.environ | ({"PYTHONPATH": source} if source else {})
    command = [sys.executable, "-c", _READ, str(path), kind]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout)
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against")
    options = parser.parse_args()
    trees = [None] if options.against is None else [options.against, None]
    print("| file | " + " | ".join(["before", "now"][-len(trees) :]) + " |")
    print("|---" * (1 + len(trees)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name, path, kind in write_files(Path(folder), options.lines):
            runs = [[read(path, kind, tree) for tree in trees] for _ in range(options.rounds)]
            cells = []
            for k in range(len(trees)):
                seconds, memory = zip(*(row[k] for row in runs), strict=True)
                cells.append(f"{median(seconds):.2f} s, {max(memory):.0f} MB")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
