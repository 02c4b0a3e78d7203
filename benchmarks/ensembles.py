"""Ensembles of small gradient flows against what one would write without them, in one run, on one
core.

    python benchmarks/ensembles.py [--runs 3000] [--sizes 3 10 30 100] [--peer-seconds 60]

First the 2×2 diagonal completion (entries 0.92, starts N(0, 1e−3²)) at depth 5, 10, 20, ∞, then
random rank-2 completions of the given sizes at depth 2, 3, 4, 10, ∞. The peers:

- scipy: `solve_ivp` (RK45, rtol 1e−6), one run after the other, NumPy's SVD in the right-hand side,
  until E < 1e−10;
- diffrax, diffrax closed form: Tsit5 (rtol 1e−6) vmapped over all runs, until E < 1e−10, with
  `deeplinear.Operator` (jnp SVD) or the formula of the ensembles inside;
- descent: batched gradient descent on the factors in JAX (integer depths) at two learning rates,
  until E < 1e−10;
- C: the ensemble's own arithmetic run by run (ensembles.c; gcc -O3 -march=native).

Each is set beside the fastest of the ensembles at accuracy 1e−3, 1e−4, 1e−5, 1e−6 whose median
error is no larger.

Seconds are processor seconds of this process, which is bound to one core; the fastest of three for
everything below ten seconds. Peers that take longer than ``--peer-seconds`` run over fewer runs and
are scaled up ("of" says how many they did). Errors are distances of endpoints to the ensemble at
accuracy 1e−9 (2×2) or 1e−4 (larger), itself checked on some runs against SciPy's DOP853 at rtol
1e−11.
"""

import argparse
import ctypes
import functools
import math
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])

import diffrax as dfx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from scipy.integrate import solve_ivp  # noqa: E402

jax.config.update("jax_enable_x64", True)
import deeplinear as dl  # noqa: E402
from deeplinear.dynamics.ensembles.frames import PlanarFrame  # noqa: E402

TARGET, STOP = 0.92, 1e-10


def timed(f, repeats=3):
    """(result, processor seconds): the fastest of three, or the only one if it is long."""
    best = math.inf
    for _ in range(repeats):
        start = time.process_time()
        result = jax.block_until_ready(f())
        best = min(best, time.process_time() - start)
        if best > 10:
            break
    return result, best


def completion(d, rng):
    """A random rank-2 d×d matrix with ‖M‖_F = d, a third of it observed (but at least 1.5 times
    what determines it).
    """
    M = rng.standard_normal((d, 2)) @ rng.standard_normal((2, d))
    M *= d / np.linalg.norm(M)
    count = min(max(d * d // 3, 6 * (d - 1)), d * d - d)
    rows, cols = np.divmod(rng.permutation(d * d)[:count], d)
    return dl.Completion(rows, cols, M[rows, cols], (d, d))


def scipy_runs(energy, starts, N, seconds, method="RK45", rtol=1e-6, stop=STOP):
    mask, target = np.asarray(energy.weights), np.asarray(energy.target)
    shape = target.shape

    def rhs(t, w):
        if time.process_time() - start > seconds:
            raise TimeoutError
        W = w.reshape(shape)
        U, s, Vt = np.linalg.svd(W)
        a, b = s[:, None], s[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            if math.isinf(N):
                K = np.where(a == b, a * b, (a**2 - b**2) / (2 * np.log(a / b)))
            else:
                K = np.where(
                    a == b, a ** (2 - 2 / N), (a**2 - b**2) / (N * (a ** (2 / N) - b ** (2 / N)))
                )
        return -(U @ (K * (U.T @ (mask * (W - target)) @ Vt.T)) @ Vt).ravel()

    def low(t, w):
        return 0.5 * np.sum(mask * (w.reshape(shape) - target) ** 2) - stop

    low.terminal = True
    ends, start = [], time.process_time()
    for W0 in starts:
        try:
            done = solve_ivp(
                rhs, (0, 1e15), W0.ravel(), method, events=low, rtol=rtol, atol=1e-3 * rtol
            )
        except TimeoutError:
            break
        ends.append(done.y[:, -1].reshape(shape))
    spent = time.process_time() - start
    return np.array(ends).reshape(-1, *shape), spent / max(len(ends), 1)


def diffrax_runs(energy, starts, N, closed_form):
    """All runs at once; None where the steps do not suffice."""
    nu = jnp.asarray(0.0 if math.isinf(N) else 1 / N)

    def field(t, W, _):
        G = jax.grad(energy)(W)
        if not closed_form:
            return -dl.Operator(W, N)(G)
        entries = lambda Z: tuple(x[None] for x in Z.ravel())  # noqa: E731
        return -jnp.stack(PlanarFrame(entries(W), nu).power(entries(G), 1)).reshape(2, 2)

    @jax.jit
    @jax.vmap
    def solve(W0):
        event = dfx.Event(lambda t, y, args, **_: energy(y) < STOP)
        control = dfx.PIDController(rtol=1e-6, atol=1e-9)
        solution = dfx.diffeqsolve(
            dfx.ODETerm(field),
            dfx.Tsit5(),
            0.0,
            1e15,
            0.1,
            W0,
            stepsize_controller=control,
            event=event,
            max_steps=4096,
            throw=False,
        )
        return solution.ys[0], solution.event_mask

    (ends, stopped), spent = timed(lambda: solve(jnp.asarray(starts)))
    return np.asarray(ends), spent / len(starts), float(np.mean(np.asarray(stopped)))


def descent(energy, starts, N, rate, stop=STOP, most=400_000):
    """Gradient descent on N factors of every run at once, until all have E < stop."""
    factors = jnp.stack([jnp.stack(dl.balanced_factors(W, N)) for W in starts])

    def product(F):
        W = F[0]
        for k in range(1, N):
            W = F[k] @ W
        return W

    loss = lambda F: energy(product(F))  # noqa: E731
    both = jax.vmap(jax.value_and_grad(loss))

    @jax.jit
    def train(F):
        def go_on(carry):
            return (carry[1] > stop) & (carry[2] < most)

        def step(carry):
            values, slope = both(carry[0])
            return carry[0] - rate * slope, jnp.max(values), carry[2] + 1

        return jax.lax.while_loop(go_on, step, (F, jnp.inf, 0))

    (F, _, count), spent = timed(lambda: train(factors))
    return np.asarray(jax.vmap(product)(F)), spent / len(starts), int(count)


def c_library():
    here, folder = Path(__file__).with_name("ensembles.c"), Path(tempfile.mkdtemp())
    subprocess.run(
        ["gcc", "-O3", "-march=native", "-shared", "-fPIC", here, "-o", folder / "c.so", "-lm"],
        check=True,
    )
    return ctypes.CDLL(str(folder / "c.so")).ensemble


def c_runs(ensemble, starts, N, accuracy):
    flat = np.ascontiguousarray(starts.reshape(-1, 4))
    ends, steps = np.empty_like(flat), np.empty(len(flat), np.int32)
    pointer = lambda x: x.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
    nu = 0.0 if math.isinf(N) else 1 / N
    numbers = (ctypes.c_double(TARGET), ctypes.c_double(nu), ctypes.c_double(accuracy))
    _, spent = timed(
        lambda: ensemble(len(flat), pointer(flat), *numbers, pointer(ends), pointer(steps))
    )
    return ends.reshape(-1, 2, 2), spent / len(flat)


def errors(ends, reference):
    """Relative distances to the reference; its first runs, where there are fewer."""
    reference = reference[: len(ends)]
    return np.linalg.norm(ends - reference, axis=(1, 2)) / np.linalg.norm(reference, axis=(1, 2))


def told(name, ends, reference, seconds, ours, remark=""):
    """One line: ``ours`` lists (seconds, median error) of the ensemble."""
    error = errors(ends, reference)
    middle, high = (
        (np.median(error), np.quantile(error, 0.99)) if len(ends) else (math.nan, math.nan)
    )
    matched = min((spent for spent, found in ours if found <= middle), default=ours[-1][0])
    print(
        f"  {name:24} {1e6 * seconds:12.1f} µs/run  error {middle:8.1e} (99 %: {high:8.1e})  ratio "
        f"{seconds / matched:9.1f}  {remark}",
        flush=True,
    )


def planar(options):
    energy = dl.Completion([0, 1], [0, 1], [TARGET, TARGET], (2, 2))
    sampler, R = dl.normal_start((2, 2), 1e-3), options.runs
    c = c_library()
    total = 0.0
    for N in (5, 10, 20, math.inf):
        run = functools.partial(dl.ensemble, energy, sampler, N, R)
        _, first = timed(run, repeats=1)
        reference = run(accuracy=1e-9).W
        ours = []
        for accuracy in (1e-3, 1e-4, 1e-5, 1e-6):
            found, seconds = timed(functools.partial(run, accuracy=accuracy))
            ours.append((seconds / R, np.median(errors(found.W, reference))))
        total += seconds
        exact, _ = scipy_runs(energy, found.start[:10], N, 1e9, "DOP853", 1e-11, 1e-18)
        flips = np.sum(np.sign(np.linalg.det(found.W)) != np.sign(np.linalg.det(found.start)))
        print(
            f"2×2, depth {N}: {R} runs in {seconds:.3f} s (first call {first:.1f} s), steps "
            f"{np.median(found.steps):.0f}"
        )
        print(
            f"  {found.counts}, signs of det flipped: {flips}; reference against DOP853: "
            f"{errors(exact, reference).max():.1e}"
        )
        for accuracy, (seconds, _) in zip((1e-3, 1e-4, 1e-5, 1e-6), ours, strict=True):
            told(
                f"ensemble, accuracy {accuracy:g}",
                run(accuracy=accuracy).W,
                reference,
                seconds,
                [(seconds, 0.0)],
            )
        ends, spent = c_runs(c, found.start, N, 1e-6)
        told(
            "C",
            ends,
            reference,
            spent,
            ours[-1:],
            f"(the ensemble takes {ours[-1][0] / spent:.2f} × the time of C)",
        )
        ends, spent = scipy_runs(energy, found.start, N, options.peer_seconds)
        told("scipy", ends, reference, spent, ours, f"of {len(ends)}")
        for closed in (False, True):
            ends, spent, reached = diffrax_runs(energy, found.start, N, closed)
            told(
                "diffrax" + " closed form" * closed,
                ends,
                reference,
                spent,
                ours,
                f"reached E < {STOP:g}: {reached:.3f}",
            )
        for rate in {5: (0.1, 0.01), 10: (0.1,)}.get(N, ()):  # deeper, descent takes minutes
            ends, spent, count = descent(energy, found.start[:200], int(N), rate)
            told(
                f"descent, rate {rate}", ends, reference, spent, ours, f"{count} iterations, of 200"
            )
    print(f"all {4 * R} runs: {total:.3f} s\n")


def larger(options):
    for d in options.sizes:
        energy = completion(d, np.random.default_rng(0))
        sampler, R = dl.normal_start((d, d), 1e-3), {3: 500, 10: 64, 30: 8}.get(d, 1)
        for N in (2, 3, 4, 10, math.inf):
            run = functools.partial(dl.ensemble, energy, sampler, N, R)
            run(max_steps=1)  # compiles
            found, seconds = timed(run)
            print(f"{d}×{d}, depth {N}: {R} runs in {seconds:.3f} s, {found.counts}")
            print(
                f"  steps: median {np.median(found.steps):.0f}, most {found.steps.max()}",
                flush=True,
            )
            stiff = run(method="implicit")
            print(
                f"  linearly implicit steps: median {np.median(stiff.steps):.0f}, most "
                f"{stiff.steps.max()}, {stiff.counts}"
            )
            reference = run(accuracy={3: 1e-7, 10: 1e-5, 30: 1e-4}.get(d, 3e-4)).W
            ours = []
            for accuracy in {
                3: (1e-3, 1e-4, 1e-5, 1e-6),
                10: (3e-3, 3e-4, 3e-5),
                30: (3e-3, 3e-4),
            }.get(d, (3e-3,)):
                run(accuracy=accuracy)
                found, seconds = timed(functools.partial(run, accuracy=accuracy))
                ours.append((seconds / R, np.median(errors(found.W, reference))))
                told(f"ensemble, accuracy {accuracy:g}", found.W, reference, seconds / R, ours[-1:])
            ends, spent = scipy_runs(energy, found.start, N, options.peer_seconds)
            told(
                "scipy",
                ends,
                reference,
                spent,
                ours,
                f"of {len(ends)}" if len(ends) else "or more: not one ended",
            )
            if d <= 30:  # larger ones take hours
                ends, spent, reached = diffrax_runs(energy, found.start, N, False)
                told(
                    "diffrax", ends, reference, spent, ours, f"reached E < {STOP:g}: {reached:.3f}"
                )
            if N in (2, 3, 4) and (d <= 30 or N == 2):
                some = found.start[:8]
                ends, spent, count = descent(energy, some, int(N), rate=0.3 / d)
                told("descent", ends, reference, spent, ours, f"{count} iterations, of {len(some)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs",
        type=int,
        default=3000,
        help="runs of the 2×2 problem at each depth (0: larger sizes only)",
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[3, 10, 30, 100])
    parser.add_argument("--peer-seconds", type=float, default=60.0)
    options = parser.parse_args()
    versions = f"jax {jax.__version__}, diffrax {dfx.__version__}, numpy {np.__version__}"
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    if options.runs:
        planar(options)
    larger(options)
