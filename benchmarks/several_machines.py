"""Completion on several processes of this machine: seconds, bytes sent and memory of each.

    python benchmarks/several_machines.py [entries, default 1e7] [rank, default 10]
    [processes, default 1,2]

Shards of a matrix of this rank plus noise, float32, depth 3, one thread per process. The seconds of
a sweep are the processor's of one process, which other work on the machine disturbs little; the
bytes are those that one process has handed over. The last lines say what a sweep would take on more
machines: t = a/P + b + bytes · (1 − 1/P) / (10 Gbit/s), with a, which the processes share, and b,
which all of them do, from one and two processes.
"""

import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SWEEPS = 8
NETWORK = 1.25e9  # bytes per second


def write(file: Path, entries: int, rank: int, side: int, seed: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, factors = np.random.default_rng(seed + 1), np.random.default_rng(0)
    P, Q = (factors.normal(size=(n, rank)).astype(np.float32) for n in (side, side // 2))
    rows, cols = rng.integers(0, side, entries), rng.integers(0, side // 2, entries)
    values = rng.standard_normal(entries, dtype=np.float32)
    for k in range(rank):
        values += P[rows, k] * Q[cols, k]
    pq.write_table(pa.table({"row": 13 * rows, "col": 3 * cols + 10**9, "value": values}), file)


def work(file: str, rank: int, count: int, index: int, port: int) -> dict[str, float]:
    from deeplinear.completion.backends.threads import Loops
    from deeplinear.completion.several import join
    from deeplinear.completion.several.backend import Processes
    from deeplinear.completion.several.group import Group
    from deeplinear.completion.several.numbering import Numbering
    from deeplinear.completion.several.shards import read_entries
    from deeplinear.completion.several.shared import distribute
    from deeplinear.completion.solver.fit import fit

    if count > 1:
        join(f"127.0.0.1:{port}", count, index, silence=100)
    group = Group()
    clock = [time.process_time()]
    *ids, values = read_entries([file], ("row", "col", "value"), np.float32)
    rows, row_codes = Numbering.applied(group, ids.pop(0))
    cols, col_codes = Numbering.applied(group, ids.pop(0))
    seen = distribute((rows, cols), (row_codes, col_codes), values, "last")
    del row_codes, col_codes, values
    clock.append(time.process_time())
    read, sweeps = group.sent, []

    def report(_) -> None:
        sweeps.append((time.process_time(), group.sent))

    given = {"device": Processes(Loops(), group), "max_rank": rank, "tol": 0, "callback": report}
    fit(seen, depth=3, strength=0.3, max_sweeps=SWEEPS, **given)
    sweeps.append((time.process_time(), group.sent))
    times, sent = np.diff(np.array(sweeps[2:-1]), axis=0).T
    return {
        "entries": float(len(seen.by_row.values)),
        "sides": float(sum(seen.shape)),
        "read": clock[1] - clock[0],
        "read bytes": read,
        "start": sweeps[0][0] - clock[1],
        "sweep": float(np.median(times)),
        "sweep bytes": float(np.median(sent)),
        "GiB after": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def run(entries: int, rank: int, count: int) -> dict[str, float]:
    """The largest of each number that the processes have found."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        files = [Path(folder) / f"{k}.parquet" for k in range(count)]
        for k, file in enumerate(files):
            write(file, entries // count, rank, round(10.5 * entries**0.5), k)
        running = [
            subprocess.Popen(
                [sys.executable, __file__, "work", file, *map(str, (rank, count, k, port))],
                stdout=subprocess.PIPE,
                text=True,
            )
            for k, file in enumerate(files)
        ]
        found = [json.loads(p.communicate()[0].splitlines()[-1]) for p in running]
    return {name: max(part[name] for part in found) for name in found[0]}


def main(entries: float = 1e7, rank: float = 10, processes: str = "1,2") -> None:
    names = ("processes", "entries each", "read CPU s", "sent MB", "start CPU s", "sweep CPU s")
    print("| " + " | ".join((*names, "sent per sweep MB", "peak GiB")) + " |\n" + "|---" * 8 + "|")
    seconds, sent = {}, 0.0
    for count in map(int, processes.split(",")):
        most = run(int(entries), int(rank), count)
        print(
            f"| {count} | {most['entries']:,.0f} | {most['read']:.1f} | "
            f"{most['read bytes'] / 1e6:.0f} | {most['start']:.2f} | {most['sweep']:.3f} | "
            f"{most['sweep bytes'] / 1e6:.1f} | {most['GiB after']:.2f} |",
            flush=True,
        )
        seconds[count], sent = most["sweep"], most["sweep bytes"]
    if {1, 2} <= set(seconds):
        # what all do (messages, matrices of the size of the rank) and what they share
        all_do = max(2 * seconds[2] - seconds[1], 0.0)
        share = seconds[1] - all_do
        both = sent * count / (count - 1)
        for count in (4, 16, 64):
            time_of = share / count + all_do + both * (count - 1) / count / NETWORK
            print(f"{count} machines: {time_of:.3f} s per sweep, gain {seconds[1] / time_of:.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        print(json.dumps(work(sys.argv[2], *(int(x) for x in sys.argv[3:]))))
    else:
        main(*(float(x) for x in sys.argv[1:3]), *sys.argv[3:4])
