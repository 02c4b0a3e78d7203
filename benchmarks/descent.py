"""`descend` against the loops that one would write without it, in one run, on one core.

    python benchmarks/descent.py [--torch FOLDER] [--repeats 3] [--sizes 2 10 100 1000]

Plain gradient descent of a random completion (rank 5, 30 % of the entries seen; 2×2: all of them),
three layers of d×d, one run and many, in 64 bits:

- ours: the whole call, judgements after every 128 steps included (``stop=False``: all steps);
- loop: `jax.grad` of the product in a jitted `lax.fori_loop`, vmapped over the runs;
- optax: the same with `optax.sgd` and its state;
- torch: autograd and an update in place, `torch.matmul` on batches; with ``--torch`` from a folder
  that has it.

They take turns, and the fastest of ``--repeats`` turns counts, in processor seconds of this
process. The last column is how far our factors are from the loop's at the end.
"""

import argparse
import os
import platform
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

jax.config.update("jax_enable_x64", True)
import deeplinear as dl  # noqa: E402

STEP = 1e-3
CASES = [  # d, runs, steps
    (2, 10_000, 1024),
    (10, 1, 20_000),
    (10, 1000, 512),
    (100, 1, 1024),
    (100, 16, 128),
    (1000, 1, 24),
]


def problem(d, runs):
    """(targets with zeros where nothing is seen, the mask, the factors of all runs)."""
    rng = np.random.default_rng(0)
    mask = np.ones((d, d), bool) if d == 2 else rng.random((d, d)) < 0.3
    rank = min(d, 5)
    M = rng.normal(size=(d, rank)) @ rng.normal(size=(rank, d)) / np.sqrt(rank)
    factors = [0.5 * rng.normal(size=(runs, d, d)) / np.sqrt(d) for _ in range(3)]
    return np.where(mask, M, 0.0), mask, factors


def slopes_of(M, mask):
    M, mask = jnp.asarray(M), jnp.asarray(mask, float)
    return jax.grad(lambda F: 0.5 * jnp.sum(mask * (F[2] @ F[1] @ F[0] - M) ** 2))


def loop(M, mask, factors, steps, runs):
    slopes = slopes_of(M, mask)
    slopes = jax.vmap(slopes) if runs > 1 else slopes
    start = tuple(jnp.asarray(W if runs > 1 else W[0]) for W in factors)

    @jax.jit
    def run(F):
        step = lambda _, F: tuple(W - STEP * G for W, G in zip(F, slopes(F), strict=True))  # noqa: E731
        return jax.lax.fori_loop(0, steps, step, F)

    return lambda: [np.asarray(W) for W in jax.block_until_ready(run(start))]


def with_optax(M, mask, factors, steps, runs):
    optimizer = optax.sgd(STEP)
    slopes = slopes_of(M, mask)
    start = tuple(jnp.asarray(W if runs > 1 else W[0]) for W in factors)

    def one(F):
        def step(_, carry):
            F, state = carry
            updates, state = optimizer.update(slopes(F), state, F)
            return optax.apply_updates(F, updates), state

        return jax.lax.fori_loop(0, steps, step, (F, optimizer.init(F)))[0]

    run = jax.jit(jax.vmap(one) if runs > 1 else one)
    return lambda: [np.asarray(W) for W in jax.block_until_ready(run(start))]


def with_torch(M, mask, factors, steps, runs):
    import torch

    torch.set_num_threads(1)
    # by lists: a torch of another numpy takes no arrays
    tensor = lambda x: torch.tensor(x.tolist(), dtype=torch.float64)  # noqa: E731
    M, mask = tensor(M), tensor(mask.astype(float))
    start = [tensor(W if runs > 1 else W[0]) for W in factors]

    def run():
        F = [W.clone().requires_grad_(True) for W in start]
        for _ in range(steps):
            W = torch.matmul(F[2], torch.matmul(F[1], F[0]))
            slopes = torch.autograd.grad(0.5 * (mask * (W - M) ** 2).sum(), F)
            with torch.no_grad():
                for X, G in zip(F, slopes, strict=True):
                    X.sub_(G, alpha=STEP)
        return [np.array(X.detach().tolist()) for X in F[:1]]

    return run


def ours(M, mask, factors, steps, runs):
    energy = dl.Completion.from_dense(np.where(mask, M, np.nan))
    start = factors if runs > 1 else [W[0] for W in factors]
    return lambda: dl.descend(energy, start, optimizer=STEP, steps=steps, stop=False).factors


def timed(run):
    start = time.process_time()
    out = run()
    return time.process_time() - start, out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch", help="a folder in which torch is installed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 10, 100, 1000])
    options = parser.parse_args()
    contestants = {"ours": ours, "loop": loop, "optax": with_optax}
    versions = f"jax {jax.__version__}, optax {optax.__version__}, numpy {np.__version__}"
    if options.torch:
        sys.path.append(options.torch)
        import torch

        contestants["torch"] = with_torch
        versions += f", torch {torch.__version__}"
    print(f"{platform.machine()}, one core, Python {platform.python_version()}, {versions}")
    names = list(contestants)
    print("| d, runs, steps | " + " | ".join(f"{x}: µs a step" for x in names), end=" | ")
    print(" | ".join(f"ours / {x}" for x in names[1:]) + " | ours: runs × steps a second | off |")
    for d, runs, steps in (case for case in CASES if case[0] in options.sizes):
        M, mask, factors = problem(d, runs)
        made = {name: make(M, mask, factors, steps, runs) for name, make in contestants.items()}
        ends = {name: run() for name, run in made.items()}  # compiles
        best = dict.fromkeys(names, np.inf)
        for _ in range(options.repeats):
            for name, run in made.items():
                best[name] = min(best[name], timed(run)[0])
        off = max(abs(ends["ours"][0] - ends[name][0]).max() for name in names[1:])
        cells = [f"{best[name] / steps * 1e6:,.1f}" for name in names]
        ratios = [f"{best['ours'] / best[name]:.2f}" for name in names[1:]]
        rate = f"{runs * steps / best['ours']:,.0f}"
        print(
            "| " + " | ".join([f"{d}, {runs:,}, {steps:,}", *cells, *ratios, rate, f"{off:.0e}"]),
            "|",
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
