"""Log volumes, metric norms and Langevin steps by the thousand, against a plain NumPy loop.

    python benchmarks/geometry.py [--points 10000] [--repeats 3] [--threads 1]

For each size d and depth N: the seconds for all points by the library in one batched call (warm;
what compiling the first call adds stands apart) and by a loop in NumPy that factors one matrix at a
time, and their ratio. Both sides are run in turn, A B A B, and the fastest repeat of each counts.
Where the loop would take longer than ``--loop-seconds``, or the library longer than
``--library-seconds``, it runs over the first points only and is scaled up; the columns "points" say
how many each did. The results are compared before anything is timed: log volumes and norms at the
first points; a Langevin step with its noise turned off (κ = 0) to the first order in dt.

A Langevin step is one Euler–Maruyama step of W in the loop. The library steps a root of W, turns
its frames exactly, counts what hits zero, and checks the result: more work for a step that may be
longer.
"""

import argparse
import functools
import math
import os
import platform
import sys
import time

THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"


def limit_threads(count):
    """Before NumPy and JAX are loaded; also by the processors that this process may use, which both
    sides respect.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    for name in THREADS:
        os.environ[name] = str(count)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="processors for either side")
    parser.add_argument("--steps", type=int, default=4, help="Langevin steps in one call")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 10, 50])
    parser.add_argument(
        "--loop-seconds", type=float, default=2.0, help="scale the loop up from what fits into this"
    )
    parser.add_argument(
        "--library-seconds", type=float, default=4.0, help="the same for the library"
    )
    return parser.parse_args()


def main(options):
    import jax
    import numpy as np

    jax.config.update("jax_enable_x64", True)
    import deeplinear as dl

    np_kernel = functools.partial(kernel, np)
    beta, dt = 4.0, 1e-4

    def energy(W):
        return 0.5 * (W**2).sum()

    def loop_volume(W, Z, N, rng):
        return [-0.5 * np.log(np_kernel(np.linalg.svd(w, compute_uv=False), N)).sum() for w in W]

    def loop_norm(W, Z, N, rng):
        out = []
        for w, z in zip(W, Z, strict=True):
            U, s, Vt = np.linalg.svd(w)
            out.append(math.sqrt(((U.T @ z @ Vt.T) ** 2 / np_kernel(s, N)).sum()))
        return out

    def step(w, N, noise, kappa=1.0):
        U, s, Vt = np.linalg.svd(w)
        values, nu = np_kernel(s, N), 1 / N
        inside = (
            -dt * values * (U.T @ w @ Vt.T)
            + math.sqrt(2 * kappa * dt / beta) * np.sqrt(values) * noise
        )
        inside[np.diag_indices_from(inside)] += kappa * dt / beta * (1 - nu) * s ** (1 - 2 * nu)
        return w + U @ inside @ Vt

    def loop_langevin(W, Z, N, rng):
        return [step(w, N, rng.normal(size=w.shape)) for w in W]

    def library_langevin(W, Z, N, kappa=1.0, steps=options.steps):
        run = dl.langevin(
            energy, W, N, beta, t1=steps * dt, dt=dt, key=jax.random.key(0), kappa=kappa
        )
        return np.asarray(run.W)

    def check(name, W, Z, N, count):
        if name == "Langevin step":
            ahead = np.array([step(w, N, 0.0, 0.0) for w in W[:count]])
            found = library_langevin(W[:count], Z, N, 0.0, 1)
            moved = np.abs(ahead - W[:count]).max()
            return np.allclose(found, ahead, rtol=0, atol=1e-2 * moved)
        library, loop, _ = tasks[name]
        return np.allclose(
            library(W[:count], Z[:count], N),
            loop(W[:count], Z[:count], N, None),
            rtol=1e-7,
            atol=1e-9,
        )

    tasks = {
        "log volume": (lambda W, Z, N: np.asarray(dl.log_volume(W, N)), loop_volume, 1),
        "norm": (lambda W, Z, N: np.asarray(dl.norm(W, Z, N)), loop_norm, 1),
        "Langevin step": (library_langevin, loop_langevin, options.steps),
    }

    def seconds(f, *args):
        start = time.perf_counter()
        f(*args)
        return time.perf_counter() - start

    def row(name, d, N):
        library, loop, steps = tasks[name]
        rng = np.random.default_rng(d)
        W, Z = rng.normal(size=(2, options.points, d, d))
        few = max(1, min(50, options.points))
        agree = check(name, W, Z, N, few)
        library(W[:few], Z[:few], N)
        mine = affordable(seconds(library, W[:few], Z[:few], N) / few, options.library_seconds)
        count = affordable(seconds(loop, W[:few], Z[:few], N, rng) / few, options.loop_seconds)
        jax.clear_caches()  # a first call that compiles everything it needs
        first = seconds(library, W[:mine], Z[:mine], N)
        ours, theirs = [], []
        for _ in range(options.repeats):
            ours.append(seconds(library, W[:mine], Z[:mine], N))
            theirs.append(seconds(loop, W[:count], Z[:count], N, rng))
        warm, plain = (
            min(ours) / steps * options.points / mine,
            min(theirs) * options.points / count,
        )
        print(
            f"{name:>14} {d:>3} {'∞' if math.isinf(N) else N:>3} {warm:11.4f} "
            f"{mine:>7}{star(mine)} {first - min(ours):9.2f} "
            f"{plain:11.3f} {count:>7}{star(count)} {plain / warm:8.1f}  "
            f"{'equal' if agree else 'DIFFERENT'}",
            flush=True,
        )

    def affordable(each, limit):
        return max(50, min(options.points, int(limit / each)))

    def star(count):
        return " " if count == options.points else "*"

    describe(options, np, jax, dl)
    for name in tasks:
        for d in options.sizes:
            for N in (3, math.inf):
                row(name, d, N)
    print("* over that many points only, the seconds scaled up to all of them")


def kernel(np, s, N):
    """λ_N(σ_i, σ_j) in the stable form, for distinct or tied singular values."""
    a, nu = np.log(s), 1 / N
    x = a[:, None] - a
    tied = x == 0
    x[tied] = 1.0
    ratio = np.sinh(x) / (np.sinh(nu * x) / nu if nu else x)
    ratio[tied] = 1.0
    return np.exp((a[:, None] + a) * (1 - nu)) * ratio


def describe(options, np, jax, dl):
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as info:
            model = next(
                (line.split(":", 1)[1].strip() for line in info if line.startswith("model name")),
                model,
            )
    print("command: python " + " ".join(sys.argv))
    print(
        f"machine: {os.cpu_count()} processors, {model}; {options.threads} of them for the "
        "library, the same for NumPy"
    )
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, jax {jax.__version__} "
        f"({jax.default_backend()}), "
        f"deeplinear {dl.__version__}; 64 bits, {options.points} matrices with standard normal "
        "entries"
    )
    print(
        f"{'':>14} {'d':>3} {'N':>3} {'library s':>11} {'points':>7}  {'compile s':>9} "
        f"{'NumPy s':>11} {'points':>7}  {'ratio':>8}  results"
    )


if __name__ == "__main__":
    options = arguments()
    limit_threads(options.threads)
    main(options)
