"""Memory and time of a fit to a long Parquet file of up to 10⁸ entries, written and read in pieces.

    python benchmarks/parquet_streaming.py [entries, default 1e8] [rank, default 10]
    [sweeps, default 4] [folder for the file]

Float32, depth 3, biases, one thread; a matrix of this rank plus noise 1, uniformly sampled, ids
that are no positions. A fit starts with three sweeps at depth 2. The file is written by a process
of its own, so that the peak memory shown is that of reading and fitting alone. CPU seconds count
here; wall seconds stand beside them.
"""

import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PIECE = 1 << 21


def write(path: str, entries: int, rank: int) -> None:
    """(user, item, rating) in row groups of `PIECE`; no pair comes twice: each piece has rows of
    its own.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    m = round(10.5 * entries**0.5)
    n = m // 2
    rng = np.random.default_rng(0)
    sides = [rng.normal(size=(side, rank)).astype(np.float32) for side in (m, n)]
    schema = pa.schema([("user", pa.int64()), ("item", pa.int64()), ("rating", pa.float32())])
    with pq.ParquetWriter(path, schema) as file:
        pieces = -(-entries // PIECE)
        edges = np.linspace(0, m, pieces + 1).astype(int)
        counts = np.diff(np.linspace(0, entries, pieces + 1).astype(int))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
            places = np.unique(rng.integers(0, (high - low) * n, count + count // 50))
            places = rng.permutation(places)[:count]
            rows, cols = low + places // n, places % n
            values = np.einsum("tk,tk->t", sides[0][rows], sides[1][cols])
            values += rng.standard_normal(len(values), dtype=np.float32)
            file.write_table(pa.table([13 * rows + 5, 1_000_000 + 3 * cols, values], schema))


def gibibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Clock:
    """Prints what the time since the last line went into, and the peak memory so far."""

    def __init__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def tell(self, what: str) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        print(
            f"{what:<44} {cpu - self.cpu:>8.1f} CPU s {wall - self.wall:>8.1f} s   peak "
            f"{gibibytes():5.2f} GiB",
            flush=True,
        )
        self.cpu, self.wall = cpu, wall


def measure(path: Path, rank: int, sweeps: int) -> None:
    from deeplinear.completion.solver.fit import fit
    from deeplinear.files.long import read_long

    clock = Clock()
    seen = read_long(path, "user", "item", "rating", dtype=np.float32).observations()
    clock.tell(f"read {seen.nnz:,} entries, {seen.shape[0]:,} × {seen.shape[1]:,}")

    def report(state) -> bool:
        clock.tell(f"sweep {state.n_sweeps}, rank {state.rank}")
        return state.n_sweeps >= sweeps

    model = fit(seen, depth=3, strength=0.3, max_rank=rank, threads=1, callback=report)
    clock.tell(f"after {model.n_sweeps} sweeps, rank {model.rank}")
    lines = int(np.searchsorted(seen.by_row.indptr[:-1], 1_000_000))
    some = slice(int(seen.by_row.indptr[lines]))
    rows = np.repeat(np.arange(lines), seen.by_row.counts[:lines])
    residual = model.predict(rows, seen.by_row.indices[some]) - seen.by_row.values[some]
    print(
        f"RMSE on the first {len(rows):,} entries: "
        f"{np.sqrt(np.mean(residual.astype(float) ** 2)):.3f} (the noise is 1)"
    )
    size = 16 * seen.nnz / 2**30
    print(f"entries, sorted both ways, {size:.2f} GiB; peak is {gibibytes() / size:.2f} × that")


def main(
    entries: float = 1e8, rank: float = 10, sweeps: float = 4, folder: str | None = None
) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "long.parquet"
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, __file__, "write", str(path), str(int(entries)), str(int(rank))],
            check=True,
        )
        print(
            f"{platform.machine()}, numpy {np.__version__}; file of "
            f"{path.stat().st_size / 2**30:.2f} GiB",
            end="",
        )
        print(f" written in {time.perf_counter() - begin:.0f} s")
        measure(path, int(rank), int(sweeps))


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(*(float(x) for x in sys.argv[1:4]), *sys.argv[4:5])
