"""The compiled loop of large completions (residual, R V and Rᵀ U) against the same loop in C++.

    python benchmarks/kernels.py [largest number of entries, default 1e7]

One thread, float32; both sides in turns (A B A B …), the smallest CPU time of each. The C++ version
(kernels.cpp) is compiled here with ``g++ -O3 -march=native -ffast-math`` and works on unpadded
factors. The last columns are the share of this core's arithmetic limit (one large BLAS product) and
of its bandwidth limit (a long copy) that ours reaches, when every factor row counts as read from
memory.
"""

import ctypes
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from deeplinear.completion.backends import loops
from deeplinear.completion.backends.lanes import LANES
from deeplinear.completion.data.observations import Observations

FLAGS = ("-O3", "-march=native", "-ffast-math")
SIZES = {10**6: (20_000, 5_000), 10**7: (100_000, 20_000)}
ROUNDS = 5


def in_turns(*calls: Callable[[], object]) -> list[float]:
    """Smallest CPU seconds of each call, taken in turns."""
    best = [np.inf] * len(calls)
    for call in calls:
        call()
    for _ in range(ROUNDS):
        for k, call in enumerate(calls):
            begin = time.thread_time()
            call()
            best[k] = min(best[k], time.thread_time() - begin)
    return best


def limits() -> tuple[float, float]:
    """(float32 operations per second of a BLAS product, bytes per second of a copy), one thread."""
    A = np.ones((1500, 1500), np.float32)
    line = np.ones(2**26, np.float32)
    other = np.empty_like(line)
    with threadpool_limits(1):
        product, copy = in_turns(lambda: A @ A, lambda: np.copyto(other, line))
    return 2 * 1500**3 / product, 2 * line.nbytes / copy


def cpp() -> Callable[..., None]:
    """The loop of kernels.cpp, compiled."""
    source = Path(__file__).with_name("kernels.cpp")
    library = Path(tempfile.mkdtemp()) / "kernels.so"
    subprocess.run(["g++", *FLAGS, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).residual_matmul

    def call(lines, Z, Y, out):
        arrays = (lines.indptr, lines.indices, lines.values, Z, Y)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
        function(
            ctypes.c_int64(len(Z)),
            *pointers,
            ctypes.c_int64(Z.shape[1]),
            out.ctypes.data_as(ctypes.c_void_p),
        )

    return call


def compare(
    seen: Observations, rank: int, theirs: Callable[..., None], flops: float, bandwidth: float
) -> float:
    """Print one row; returns the ratio of the times."""
    rng = np.random.default_rng(rank)
    padded = -(-rank // LANES) * LANES
    Z, Y = (np.zeros((side, padded), np.float32) for side in seen.shape)
    Z[:, :rank], Y[:, :rank] = (rng.normal(size=(side, rank)) for side in seen.shape)
    plain = [np.ascontiguousarray(side[:, :rank]) for side in (Z, Y)]
    ours_out, theirs_out = (
        [np.empty_like(Z), np.empty_like(Y)],
        [np.empty_like(side) for side in plain],
    )

    def ours() -> None:
        for lines, z, y, out in (
            (seen.by_row, Z, Y, ours_out[0]),
            (seen.by_col, Y, Z, ours_out[1]),
        ):
            loops.residual_matmul(0, len(z), lines.arrays, np.float32(0), z, y, y, out, 0)

    def reference() -> None:
        theirs(seen.by_row, *plain, theirs_out[0])
        theirs(seen.by_col, *plain[::-1], theirs_out[1])

    mine, other = in_turns(ours, reference)
    gap = max(
        float(abs(a[:, :rank] - b).max() / abs(b).max())
        for a, b in zip(ours_out, theirs_out, strict=True)
    )
    assert gap < 1e-5, f"the two disagree by {gap:.1e}"
    work, traffic = 8 * seen.nnz * rank, 2 * seen.nnz * (8 + 4 * rank)
    print(
        f"{seen.nnz:>10,} {rank:>5} {mine * 1e3:>9.1f} {other * 1e3:>9.1f} {mine / other:>7.2f}"
        f" {work / mine / flops:>12.1%} {traffic / mine / bandwidth:>10.1%}",
        flush=True,
    )
    return mine / other


def main(largest: float = 1e7) -> None:
    flops, bandwidth = limits()
    print(
        f"{platform.machine()}, numba {numba.__version__}, numpy {np.__version__}, g++ "
        f"{' '.join(FLAGS)}"
    )
    print(
        f"limits of one core: {flops / 1e9:.0f} GFlop/s (float32 BLAS), {bandwidth / 1e9:.1f} GB/s "
        "(copy)\n"
    )
    print(
        f"{'entries':>10} {'rank':>5} {'numba ms':>9} {'C++ ms':>9} {'ratio':>7} "
        f"{'arithmetic':>12} {'bandwidth':>10}"
    )
    theirs = cpp()
    for entries, shape in SIZES.items():
        if entries > largest:
            break
        rng = np.random.default_rng(0)
        places = (rng.integers(0, side, entries, dtype=np.uint32) for side in shape)
        values = rng.normal(size=entries).astype(np.float32)
        seen = Observations.from_triples(*places, values, shape, duplicates="last")
        for rank in (10, 20, 50):
            compare(seen, rank, theirs, flops, bandwidth)


if __name__ == "__main__":
    main(*(float(argument) for argument in sys.argv[1:]))
