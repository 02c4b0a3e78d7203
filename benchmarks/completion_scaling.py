"""Time per sweep and memory of a fit on compiled loops, over the number of observed entries.

    python benchmarks/completion_scaling.py [largest number of entries, default 1e7]
    python benchmarks/completion_scaling.py threads [number of entries, default 1e7]

Rank 40, float32, depth 3, on a random matrix whose sides grow with the square root of the number of
entries (the factors stay a fixed part of the data). CPU seconds of one thread for one sweep, the
exponent of their power law, and the wall-clock gain of two threads (in turns). The second form has
one and two threads six times in turns, with the load of the machine: of the wall-clock gains the
one at the lowest load says most, and the CPU seconds of both, which other work disturbs less, bound
what a quiet machine can give. "offered" is the gain of two threads at that time for hashing, which
shares nothing: more the machine does not give.
"""

import hashlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from deeplinear.completion.backends.threads import Loops
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.penalty import Penalty
from deeplinear.completion.solver.balance import balance
from deeplinear.completion.solver.fit import make_problem
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.problem import FitProblem, State, assemble
from deeplinear.completion.solver.sweep import sweep

RANK = 40
ROUNDS = 3


def make_entries(entries: int) -> Observations:
    """Low rank plus noise, uniformly sampled, about 300 entries per row and 600 per column at
    10⁷.
    """
    rng = np.random.default_rng(entries)
    m = round(10.5 * entries**0.5)
    shape = (m, m // 2)
    places = [rng.integers(0, side, entries, dtype=np.uint32) for side in shape]
    sides = [rng.normal(size=(side, 5)).astype(np.float32) for side in shape]
    values = np.zeros(entries, np.float32)
    for k in range(5):
        values += sides[0][places[0], k] * sides[1][places[1], k]
    values += rng.standard_normal(entries, dtype=np.float32)
    return Observations.from_triples(*places, values, shape, duplicates="last")


@contextmanager
def on_threads(seen: Observations, threads: int) -> Iterator[FitProblem]:
    """The problem on the compiled loops, whatever its size, with one BLAS thread."""
    options = FitOptions(max_rank=RANK).for_data(seen)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        yield make_problem(seen, options, Loops(pool if threads > 1 else None))


def start(problem: FitProblem, rank: int = RANK) -> State:
    """Random factors of a rank, balanced."""
    rng = np.random.default_rng(1)
    m, n = problem.observations.shape
    P, Q = rng.normal(size=(m, rank)), rng.normal(size=(n, rank))
    return balance(
        problem, assemble(P, Q, np.ones(rank), np.zeros(m), np.zeros(n), 0.0, np.float32)
    )


def seconds(problem: FitProblem, state: State) -> tuple[float, float]:
    """(CPU, wall) seconds of one sweep that keeps all components."""
    penalty = Penalty(3, 1e-3, 1.0)
    cpu, wall = time.process_time(), time.perf_counter()
    _, after = sweep(problem, penalty, state.copy())
    assert after.rank == state.rank
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(entries: int) -> float:
    seen = make_entries(entries)
    cpu, wall = np.inf, [np.inf, np.inf]
    for _ in range(ROUNDS):
        for k, threads in enumerate((1, 2)):
            with on_threads(seen, threads) as problem:
                state = start(problem)
                seconds(problem, state)
                used, passed = seconds(problem, state)
            wall[k] = min(wall[k], passed)
            cpu = min(cpu, used) if threads == 1 else cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{seen.nnz:>12,} {cpu:>14.3f} {wall[0]:>12.3f} {wall[1]:>13.3f} {wall[0] / wall[1]:>8.2f} "
        f"{peak:>9.2f}",
        flush=True,
    )
    return cpu


def serial(problem: FitProblem) -> float:
    """The part of a sweep's CPU seconds, on one thread, that is outside the loops over the
    blocks.
    """
    run, inside = problem.backend.run, 0.0

    def timed(ranges: list, call: Callable) -> list:
        nonlocal inside
        begin = time.process_time()
        out = run(ranges, call)
        inside += time.process_time() - begin
        return out

    problem.backend.run = timed
    state = start(problem)
    inside = 0.0
    whole = seconds(problem, state)[0]
    return 1 - inside / whole


def offered() -> float:
    """The wall-clock gain of two threads now for work that shares nothing: what other load leaves
    of the second core.
    """
    data, passed = bytes(1 << 27), []
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            begin = time.perf_counter()
            list(pool.map(lambda _: hashlib.sha256(data).digest(), range(4)))
            passed.append(time.perf_counter() - begin)
    return passed[0] / passed[1]


def turns(entries: float = 1e7, rounds: int = 6) -> None:
    """One thread, two threads, one, two … on the same state."""
    seen = make_entries(int(entries))
    print(f"{seen.nnz:,} entries, rank {RANK}; {os.cpu_count()} cores, numba {numba.__version__}\n")
    print(
        f"{'1 thread s':>11} {'CPU s':>7} {'2 threads s':>12} {'CPU s':>7} {'gain':>6} "
        f"{'offered':>8} {'load':>6}"
    )
    found, alone = [], []
    for turn in range(rounds + 1):
        line = []
        for threads in (1, 2):
            with on_threads(seen, threads) as problem:
                line += seconds(problem, start(problem))[::-1]
                alone += [serial(problem)] if turn and threads == 1 else []
        if turn:  # the first compiles
            found.append(line)
            times = f"{line[0]:>11.2f} {line[1]:>7.2f} {line[2]:>12.2f} {line[3]:>7.2f}"
            print(
                f"{times} {line[0] / line[2]:>6.2f} {offered():>8.2f} {os.getloadavg()[0]:>6.1f}",
                flush=True,
            )
    wall1, cpu1, wall2, cpu2 = np.median(found, axis=0)
    best = np.min(found, axis=0)
    part = float(np.median(alone))
    bound = 2 * min(cpu1 / cpu2, 1) / (1 + part)  # Amdahl
    print(f"\ngain: best of both {best[0] / best[2]:.2f}, medians {wall1 / wall2:.2f}")
    print(
        f"CPU seconds, two threads / one: {cpu2 / cpu1:.2f}; outside the loops {part:.1%}; a quiet "
        f"machine: at most {bound:.2f}"
    )


def main(largest: float = 1e7) -> None:
    print(
        f"{platform.machine()}, numba {numba.__version__}, numpy {np.__version__}; rank {RANK}, 2 "
        "steps per line\n"
    )
    print(
        f"{'entries':>12} {'CPU s / sweep':>14} {'1 thread s':>12} {'2 threads s':>13} {'gain':>8} "
        f"{'peak GiB':>9}"
    )
    sizes = [int(10**power) for power in (5, 5.5, 6, 6.5, 7, 7.5, 8) if 10**power <= 1.01 * largest]
    times = [measure(entries) for entries in sizes]
    if len(times) > 1:
        print(f"\ntime ∝ entries^{np.polyfit(np.log(sizes), np.log(times), 1)[0]:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["threads"]:
        turns(*(float(argument) for argument in sys.argv[2:]))
    else:
        main(*(float(argument) for argument in sys.argv[1:]))
