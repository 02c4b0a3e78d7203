"""What a GPU does with the large computations of this library, beside the CPU and its own limits.

    python -m benchmarks.gpu [--small] [--seconds 480] [--cpu-seconds 120] [--only text]

One table, with the device's name: seconds of a warm call (of a sweep, for completions), of the
first call (compiling included), of the same work on the CPU, and the least that the device could
take: bytes over its measured bandwidth or operations over its measured speed, whichever is longer.
Bytes and operations are counted from below, as `Work` says at each case: the bound is one of the
formulas, not of this implementation. The CPU's seconds come from a process of its own, of a part of
the work ("of" says which), scaled up. Then the kernels of the slowest line, by a profile.
``--small`` is for machines without a GPU: the same cases at sizes that take two minutes.
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
from collections.abc import Callable
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


CASES = [
    *(
        Case(f"2×2 flows to their limits, N = {N:g}", 10**6, 3000, 10_000, flows(2, N))
        for N in (5, 10, 20, math.inf)
    ),
    Case("10×10 flows to their limits, N = 3", 10**4, 20, 100, flows(10, 3)),
    Case("2×2 Langevin chains, 100 steps", 10**6, 2000, 20_000, chains),
    Case("10×10 log-volumes", 10**5, 1000, 10**5, volumes),
    *(
        Case(f"completion sweep, rank {rank}", count, 10**5, min(count, 10**7), completion(rank))
        for count in (10**7, 10**8)
        for rank in (10, 40)
    ),
    # last: lanes wait for the slowest geodesic among them, for how long is not known
    Case("2×2 geodesic distances", 10**5, 10, 20, distances),
]


def limits() -> tuple[float, dict[str, float]]:
    """(bytes per second of a copy, operations per second of a product by type) of the device."""
    line = jnp.ones(2**26 if jax.default_backend() != CPU else 2**24, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    speeds = {}
    for dtype in ("float32", "float64"):
        size = 8192 if jax.default_backend() != CPU else 1024
        A = jnp.ones((size, size), dtype)
        speeds[dtype] = 2 * size**3 / _best(jax.jit(lambda A: A @ A), A)
    return 2 * line.nbytes / _best(copy, line), speeds


def _best(function: Callable, *arguments: object) -> float:
    jax.block_until_ready(function(*arguments))
    return min(_seconds(lambda: jax.block_until_ready(function(*arguments))) for _ in range(3))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def measure(case: Case, count: int, device: str) -> dict[str, object]:
    """Seconds of the first and of a warm call, and the work; or why there are none."""
    try:
        call = case.make(count, device)
        first = _seconds(call)
        begin = time.perf_counter()
        work = call()
        return {"first": first, "warm": time.perf_counter() - begin, "work": tuple(work)}
    except Exception as error:  # a table with a hole says more than none
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:90]}


def on_cpu(options: argparse.Namespace) -> dict[str, dict]:
    """What `measure` finds in a process without accelerators, as far as its time goes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cpu.json"
        given = [f"--cpu-rows={file}", f"--only={options.only}"] + ["--small"] * options.small
        environment = os.environ | {"JAX_PLATFORMS": CPU}
        command = [sys.executable, "-m", "benchmarks.gpu", *given]
        try:
            subprocess.run(command, env=environment, timeout=options.cpu_seconds, check=False)
        except subprocess.TimeoutExpired:
            print(f"(the CPU's process was ended after {options.cpu_seconds} s)")
        return json.loads(file.read_text()) if file.exists() else {}


def chosen(options: argparse.Namespace) -> list[Case]:
    cases = [case for case in CASES if options.only in case.name]
    if not options.small:
        return cases
    return list({case.name: case for case in cases}.values())  # both sizes are one there


def key(case: Case) -> str:
    return f"{case.name} {case.count}"


def kernels(case: Case, count: int, most: int = 8) -> list[tuple[float, str]]:
    """(milliseconds, name) of what a warm call spends most on, by JAX's profiler."""
    call = case.make(count, DEVICE)
    call()
    spent: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            call()
        for file in Path(folder).rglob("*.xplane.pb"):
            for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
                lines = list(plane.lines)
                device = "GPU" in plane.name or "TPU" in plane.name
                host = any("XLA" in line.name or "tf_" in line.name for line in lines)
                for line in lines if device or (host and jax.default_backend() == CPU) else []:
                    for event in (e for e in line.events if not e.name.startswith("$")):
                        spent[event.name] += event.duration_ns / 1e6
    return sorted(((time, name) for name, time in spent.items()), reverse=True)[:most]


def table(options: argparse.Namespace) -> None:
    begin = time.perf_counter()
    beside = on_cpu(options)
    bandwidth, speeds = limits()
    device = jax.devices()[0].device_kind
    print(
        f"{device} ({jax.default_backend()}), JAX {jax.__version__}: {bandwidth / 1e9:.0f} GB/s, "
        + ", ".join(f"{speed / 1e12:.2f} T/s in {dtype}" for dtype, speed in speeds.items())
    )
    print(f"beside {os.cpu_count()} CPU cores\n")
    print("| computation | count | first s | warm s | CPU s | of | gain | bound s | by |")
    print("|---|---|---|---|---|---|---|---|---|")
    slowest: tuple[float, Case, int] | None = None
    for case in chosen(options):
        count = case.small if options.small else case.count
        if time.perf_counter() - begin > options.seconds * 0.8:
            print(f"| {case.name} | {count:,} | no time left | | | | | | |")
            continue
        found = measure(case, count, DEVICE)
        if "error" in found:
            print(f"| {case.name} | {count:,} | {found['error']} | | | | | | |", flush=True)
            continue
        work = Work(*found["work"])
        moved, done = work.bytes / bandwidth, work.operations / speeds[work.dtype]
        there = beside.get(key(case), {})
        part = min(case.on_cpu, count)
        cpu = there["warm"] * count / part if "warm" in there else math.nan
        print(
            f"| {case.name} | {count:,} | {found['first']:.3g} | {found['warm']:.3g} | {cpu:.3g} | "
            f"{part:,} | {cpu / found['warm']:.2g} | {max(moved, done):.2g} | "
            f"{'bandwidth' if moved > done else 'operations'} |",
            flush=True,
        )
        if slowest is None or found["warm"] > slowest[0]:
            slowest = found["warm"], case, count
    if slowest is not None and time.perf_counter() - begin < options.seconds * 0.9:
        print(f"\nThe slowest, {slowest[1].name} ({slowest[2]:,}), spends ms on")
        for spent, name in kernels(*slowest[1:]):
            print(f"{spent:>10.1f}  {name[:80]}")
    print(f"\n{time.perf_counter() - begin:.0f} s in all")


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
        table(options)
        return
    found = {}
    for case in chosen(options):
        count = min(case.on_cpu, case.small if options.small else case.count)
        done = f"{case.name} of {count}"  # the same part for two sizes is done once
        if done not in found:
            found[done] = measure(case, count, CPU)
        found[key(case)] = found[done]
        options.cpu_rows.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
