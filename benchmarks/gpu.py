"""What a GPU does with the large computations of this library, beside the CPU and its own limits.

    python -m benchmarks.gpu [--small] [--seconds 480] [--cpu-seconds 120] [--only text]

First the CPU's seconds, from a process of its own that does a part of the work ("of" says which).
Then a table with the device's name: seconds of a warm call (of a sweep, for completions), of the
first call (compiling included), of the same work on the CPU, scaled up from its part, and the least
that the device could take: bytes over its measured bandwidth or operations over its measured speed,
whichever is longer. Bytes and operations are counted from below, as `Work` says at each case: the
bound is one of the formulas, not of this implementation. Every case runs at a tenth of its count;
the slowest ones are profiled there, kernel by kernel; and the full counts follow, the short ones
first, as far as the time goes. ``--small`` is for machines without a GPU: the same cases at sizes
that take two minutes.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

jax.config.update("jax_enable_x64", True)
import deeplinear as dl  # noqa: E402

# Where the work is done: on JAX's default device, or by what the library has for processors.
DEVICE, CPU = "device", "cpu"


class Work(NamedTuple):
    """What a call has to do at least: bytes moved and operations, in a type of number."""

    bytes: float
    operations: float
    dtype: str


class Case(NamedTuple):
    """``make(count, device)`` → a call that does the work and returns what it was, `Work`."""

    name: str
    count: int
    small: int
    on_cpu: int  # part of the work that the CPU does
    make: Callable[[int, str], Callable[[], Work]]


class Found(NamedTuple):
    """What was measured of a case: the call, seconds of a first and of a warm one, all of them."""

    case: Case
    count: int
    call: Callable[[], Work]
    first: float
    warm: float
    whole: float
    work: Work


def flows(d: int, depth: float) -> Callable[[int, str], Callable[[], Work]]:
    """Flows to their limits; a step moves U, log σ, V twice, and has 8 stages of 6 products."""
    energy = dl.Completion(list(range(d)), list(range(d)), [0.92] * d, (d, d))

    def make(count: int, device: str) -> Callable[[], Work]:
        def call() -> Work:
            found = dl.ensemble(energy, dl.normal_start((d, d), 1e-3), depth, runs=count)
            steps = float(found.steps.sum())
            return Work(steps * 16 * (2 * d * d + d), steps * 8 * 6 * 2 * d**3, "float64")

        return call

    return make


def chains(count: int, device: str) -> Callable[[], Work]:
    """Langevin chains of 100 steps; a step reads and writes the frames, and has 6 products."""
    energy = dl.Completion([0, 1], [0, 1], [1.0, 1.0], (2, 2))

    def call() -> Work:
        run = dl.langevin(energy, np.eye(2), 3, 4.0, t1=1.0, dt=0.01, key=0, chains=count)
        jax.block_until_ready(run.W)
        return Work(100 * count * 160, 100 * count * (6 * 16 + 4 * 30), "float64")

    return call


def volumes(count: int, device: str) -> Callable[[], Work]:
    """log_volume of 10×10 matrices: each is read, and its singular values take 8/3 d³ · 2."""
    W = jnp.asarray(np.random.default_rng(0).normal(size=(count, 10, 10)))

    def call() -> Work:
        jax.block_until_ready(dl.log_volume(W, 3))
        return Work(count * 808, count * 16 / 3 * 1000, "float64")

    return call


def distances(count: int, device: str) -> Callable[[], Work]:
    """Geodesic distances of 2×2 matrices: one geodesic of 16 steps of 4 stages and 6 products."""
    rng = np.random.default_rng(0)
    A, B = (jnp.asarray(np.eye(2) + 0.2 * rng.normal(size=(count, 2, 2))) for _ in range(2))
    function = jax.jit(jax.vmap(lambda a, b: dl.geodesic.distance(a, b, 3)))

    def call() -> Work:
        jax.block_until_ready(function(A, B))
        return Work(count * 72, count * 16 * 4 * 6 * 16, "float64")

    return call


@lru_cache(maxsize=1)
def entries(count: int) -> Any:
    from .completion_scaling import make_entries

    return make_entries(count)


def completion(rank: int) -> Callable[[int, str], Callable[[], Work]]:
    """A sweep: two sides, each looked at once and then multiplied twice (6 passes over entries).

    A pass reads index, value and the other side's row of every entry, once from memory, and takes
    4 operations per number of the row.
    """

    def make(count: int, device: str) -> Callable[[], Work]:
        from deeplinear.completion.backends.base import width
        from deeplinear.completion.backends.devices import Devices
        from deeplinear.completion.backends.threads import Loops
        from deeplinear.completion.penalty import Penalty
        from deeplinear.completion.solver.fit import make_problem
        from deeplinear.completion.solver.options import FitOptions
        from deeplinear.completion.solver.sweep import sweep

        from .completion_scaling import start

        seen = entries(count)
        backend = Loops() if device == CPU else Devices("jax", Loops())
        problem = make_problem(seen, FitOptions(max_rank=rank).for_data(seen), backend)
        state, penalty = start(problem, rank), Penalty(3, 1e-3, 1.0)
        w = width(rank)

        def call() -> Work:
            with threadpool_limits(1, user_api="blas"):
                sweep(problem, penalty, state.copy())
            return Work(6 * seen.nnz * (8 + 4 * w), 6 * seen.nnz * 4 * w, "float32")

        return call

    return make


# The short ones first.
CASES = [
    Case("10×10 log-volumes", 10**5, 1000, 20_000, volumes),
    Case("2×2 Langevin chains, 100 steps", 10**6, 2000, 4000, chains),
    *(
        Case(f"2×2 flows to their limits, N = {N:g}", 10**6, 3000, 10_000, flows(2, N))
        for N in (5, 10, 20, math.inf)
    ),
    Case("10×10 flows to their limits, N = 3", 10**4, 20, 100, flows(10, 3)),
    *(
        Case(f"completion sweep, rank {rank}", 10**8, 10**5, 10**7, completion(rank))
        for rank in (10, 40)
    ),
    # last: lanes wait for the slowest geodesic among them, for how long is not known
    Case("2×2 geodesic distances", 10**5, 10, 20, distances),
]


def limits() -> tuple[float, dict[str, float]]:
    """(bytes per second of a copy, operations per second of a product by type) of the device.

    The copy is of 1 GiB, ten times in a row: shorter ones are measured with their launch.
    """
    large = jax.default_backend() != CPU
    line, times = jnp.ones(2**28 if large else 2**24, jnp.float32), 10
    copy = jax.jit(lambda x: x + 1)

    def copies(x: jax.Array) -> jax.Array:
        for _ in range(times):
            x = copy(x)
        return x

    speeds, size = {}, 8192 if large else 1024
    for dtype, precision in (("float32", "highest"), ("float64", "highest"), ("float32", None)):
        A = jnp.ones((size, size), dtype)
        product = jax.jit(lambda A, how=precision: jnp.matmul(A, A, precision=how))
        name = dtype if precision else f"{dtype} by JAX's default precision"
        speeds[name] = 2 * size**3 / _best(product, A)
    return times * 2 * line.nbytes / _best(copies, line), speeds


def _best(function: Callable, *arguments: object) -> float:
    jax.block_until_ready(function(*arguments))
    return min(_seconds(lambda: jax.block_until_ready(function(*arguments))) for _ in range(3))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def measure(case: Case, count: int, device: str) -> Found | str:
    """The seconds of a first and of a warm call, and the work; or why there are none."""
    begin = time.perf_counter()
    try:
        call = case.make(count, device)
        first = _seconds(call)
        second = time.perf_counter()
        work = call()
        end = time.perf_counter()
        return Found(case, count, call, first, end - second, end - begin, work)
    except Exception as error:  # a table with a hole says more than none
        return f"{type(error).__name__}: {error}".splitlines()[0][:90]


def part(case: Case, small: bool) -> int:
    """The count that the CPU does."""
    return min(case.on_cpu, case.small if small else case.count)


def on_cpu(options: argparse.Namespace) -> dict[str, float]:
    """Warm seconds of the CPU's parts, from a process without accelerators, as its time allows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cpu.json"
        given = [f"--cpu-rows={file}", f"--only={options.only}"] + ["--small"] * options.small
        environment = os.environ | {"JAX_PLATFORMS": CPU}
        command = [sys.executable, "-m", "benchmarks.gpu", *given]
        try:
            subprocess.run(command, env=environment, timeout=options.cpu_seconds, check=False)
        except subprocess.TimeoutExpired:
            print(f"(the CPU's process was ended after {options.cpu_seconds:g} s)")
        return json.loads(file.read_text()) if file.exists() else {}


def write_cpu_rows(options: argparse.Namespace) -> None:
    """In the CPU's process: a row for each case, in a file that is whole after each of them."""
    rows: dict[str, float] = {}
    for case in chosen(options):
        found = measure(case, part(case, options.small), CPU)
        if isinstance(found, str):
            print(f"(CPU: {case.name}: {found})", flush=True)
            continue
        print(f"CPU: {case.name}, {found.count:,}: {found.warm:.3g} s", flush=True)
        rows[case.name] = found.warm
        options.cpu_rows.write_text(json.dumps(rows))


def chosen(options: argparse.Namespace) -> list[Case]:
    return [case for case in CASES if options.only in case.name]


class Table:
    """Prints rows as they are found, each beside the CPU and the limits of the device."""

    def __init__(self, beside: dict[str, float], small: bool) -> None:
        self.beside, self.small = beside, small
        self.bandwidth, self.speeds = limits()
        speeds = (f"{speed / 1e12:.2f} T/s in {name}" for name, speed in self.speeds.items())
        device = jax.devices()[0].device_kind
        print(f"{device} ({jax.default_backend()}), JAX {jax.__version__}: ", end="")
        print(f"{self.bandwidth / 1e9:.0f} GB/s, {', '.join(speeds)};")
        print(f"beside {os.cpu_count()} CPU cores\n")
        print("| computation | count | first s | warm s | CPU s | of | gain | bound s | by |")
        print("|---|---|---|---|---|---|---|---|---|", flush=True)

    def row(self, case: Case, count: int, found: Found | str) -> None:
        share = part(case, self.small)
        cpu = self.beside.get(case.name, math.nan) * count / share
        if isinstance(found, str):
            print(f"| {case.name} | {count:,} | {found} | | {cpu:.3g} | {share:,} | | | |")
            return
        work = found.work
        moved, done = work.bytes / self.bandwidth, work.operations / self.speeds[work.dtype]
        print(
            f"| {case.name} | {count:,} | {found.first:.3g} | {found.warm:.3g} | {cpu:.3g} | "
            f"{share:,} | {cpu / found.warm:.2g} | {max(moved, done):.2g} | "
            f"{'bandwidth' if moved > done else 'operations'} |",
            flush=True,
        )


# Events of a profile that contain others.
_OUTER = ("$", "ThunkExecutor", "while.", "cond.", "call.")


def profile(found: Found, most: int = 8) -> None:
    """Prints what a warm call spends most on, by JAX's profiler, and for how long kernels run."""
    spent: dict[str, float] = defaultdict(float)
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            wall = _seconds(found.call)
        for line in _lines(folder):
            for event in line.events:
                if not event.name.startswith(_OUTER):
                    spent[event.name] += event.duration_ns / 1e6
                    number += 1
    print(f"\n{found.case.name} ({found.count:,}), {1e3 * wall:.0f} ms under the profiler,")
    print(f"of which {sum(spent.values()):.0f} ms in {number:,} kernels and copies; most in")
    for time_, name in sorted(((t, n) for n, t in spent.items()), reverse=True)[:most]:
        print(f"{time_:>10.1f}  {name[:80]}", flush=True)


def _lines(folder: str) -> Iterator[Any]:
    """The lines of a profile that hold what the device did."""
    for file in Path(folder).rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            lines = list(plane.lines)
            if "GPU" in plane.name or "TPU" in plane.name:  # its other lines repeat the streams'
                yield from [line for line in lines if "Stream" in line.name] or lines
            elif jax.default_backend() == CPU and any("tf_" in line.name for line in lines):
                yield from lines


def run(options: argparse.Namespace) -> None:
    begin = time.perf_counter()

    def left() -> float:
        return options.seconds - (time.perf_counter() - begin)

    table = Table(on_cpu(options), options.small)
    tenths: list[Found] = []
    for case in chosen(options):
        count = case.small if options.small else case.count // 10
        enough = left() > 0.1 * options.seconds
        found = measure(case, count, DEVICE) if enough else "no time left"
        table.row(case, count, found)
        if isinstance(found, Found):
            tenths.append(found)
    for found in sorted(tenths, key=lambda found: -found.warm)[:3]:
        if left() > 0.1 * options.seconds + 10 * found.warm:
            profile(found)
    if not options.small:
        full_counts(tenths, table, left)
    print(f"\n{time.perf_counter() - begin:.0f} s in all")


def full_counts(tenths: list[Found], table: Table, left: Callable[[], float]) -> None:
    """The rows of ten times the work, the short ones first, as far as the time goes."""
    print("\nthe full counts, as far as the time goes")

    def expected(found: Found) -> float:
        """Compiled once more, and all the rest ten times."""
        compiling = max(found.first - found.warm, 0.0)
        return compiling + 10 * (found.whole - compiling)

    for found in sorted(tenths, key=expected):
        case = found.case
        if expected(found) > left():
            why = f"no time left: about {expected(found):.0f} s"
            table.row(case, case.count, why)
        else:
            table.row(case, case.count, measure(case, case.count, DEVICE))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--cpu-seconds", type=float, default=120)
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--cpu-rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cpu_rows is None:
        run(options)
    else:
        write_cpu_rows(options)


if __name__ == "__main__":
    main()
