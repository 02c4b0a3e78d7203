"""Are the errors that `dl.ensemble` states true? Random completions against another integration.

    python -m reliability.limits [--problems 40] [--runs 12] [--references 6] [--seconds 20]

Each problem is a completion of a random d×d matrix of rank 1 or 2, d = 3 … 10, from as many entries
as it has degrees of freedom up to twice as many, at depth 3, 4, 10 or ∞, from starts N(0, ε²) with
ε = 1e−1 … 1e−4. The reference of a run is made by nothing of the library: U, log σ and V in NumPy,
SciPy's LSODA at a tolerance of 1e−12, until the way that is left, about t |dW/dt|, is below a
fiftieth of the stated error. Where it does not get there within ``--seconds`` of the processor the
run is not judged, and counted as such. Exit code 1 if 1 % of the runs that are judged or more are
off by over three times the stated error, or any by more than the accuracy that was asked for.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from scipy.integrate import solve_ivp

DEPTHS = (3.0, 4.0, 10.0, math.inf)
FRACTION = 0.02  # of the stated error that a reference may still have to go
FLOOR = 1e-11  # relative accuracy of a reference


class NotArrived(Exception):
    """A reference that takes too long, or whose solver gave up."""


@dataclass
class Problem:
    """``values`` at (``rows``, ``columns``) of a d×d matrix; ``starts`` (runs, d, d)."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    starts: np.ndarray
    depth: float

    @classmethod
    def random(cls, seed: int, runs: int) -> "Problem":
        rng = np.random.default_rng(seed)
        d, rank = 3 + seed % 8, int(rng.integers(1, 3))
        freedom = rank * (2 * d - rank)
        entries = min(int(rng.uniform(1, 2) * freedom), d * d - 1)
        truth = rng.normal(size=(d, rank)) @ rng.normal(size=(rank, d))
        rows, columns = np.divmod(rng.permutation(d * d)[:entries], d)
        scale = 10.0 ** -int(rng.integers(1, 5))
        starts = scale * rng.normal(size=(runs, d, d))
        depth = float(rng.choice(DEPTHS))
        return cls(rows, columns, truth[rows, columns], starts, depth)

    def __str__(self) -> str:
        d, scale = self.starts.shape[1], 10.0 ** round(math.log10(self.starts.std()))
        return f"{d}x{d} of {self.rows.size} entries, N = {self.depth:g}, starts {scale:.0e}"


class Chart:
    """The flow in (U, log σ, V): U' = UΩ, V' = VΘ, (log σ_i)' = −σ_i^{1−2/N} M_ii, M = UᵀE′(W)V,

    Ω_ij = c_ij (σ_j M_ij + σ_i M_ji),  Θ_ij = c_ij (σ_i M_ij + σ_j M_ji),
    c_ij = 1/(N (σ_i^{2/N} − σ_j^{2/N})),  N = ∞: 1/(2 log(σ_i/σ_j)).
    """

    def __init__(self, problem: Problem, run: int, seconds: float) -> None:
        self.problem, self.d = problem, problem.starts.shape[1]
        self.nu = 0.0 if math.isinf(problem.depth) else 1 / problem.depth
        self.end = time.process_time() + seconds
        U, s, Vt = np.linalg.svd(problem.starts[run])
        self.state = np.concatenate([U.ravel(), Vt.T.ravel(), np.log(s)])

    def parts(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U and V brought back to orthogonal ones, and log σ."""
        U, V = y[: self.d**2].reshape(self.d, -1), y[self.d**2 : 2 * self.d**2].reshape(self.d, -1)
        return *(1.5 * X - 0.5 * X @ (X.T @ X) for X in (U, V)), y[2 * self.d**2 :]

    def matrix(self, y: np.ndarray) -> np.ndarray:
        U, V, log_s = self.parts(y)
        return (U * np.exp(log_s)) @ V.T

    def velocity(self, _: float, y: np.ndarray) -> np.ndarray:
        if time.process_time() > self.end:
            raise NotArrived
        problem, nu, (U, V, log_s) = self.problem, self.nu, self.parts(y)
        s, G = np.exp(log_s), np.zeros((self.d, self.d))
        W = (U * s) @ V.T
        at = problem.rows, problem.columns
        G[at] = W[at] - problem.values
        M = U.T @ G @ V
        gap = log_s[:, None] - log_s
        np.fill_diagonal(gap, 1.0)
        c = nu / (np.expm1(2 * nu * gap) * np.exp(2 * nu * log_s)) if nu else 0.5 / gap
        np.fill_diagonal(c, 0.0)
        turn_U, turn_V = c * (s * M + s[:, None] * M.T), c * (s[:, None] * M + s * M.T)
        pace = -np.exp((1 - 2 * nu) * log_s) * np.diag(M)
        return np.concatenate([(U @ turn_U).ravel(), (V @ turn_V).ravel(), pace])

    def left(self, t: float, y: np.ndarray) -> float:
        """About how far the limit is: t |dW/dt|, by a difference of W along the velocity."""
        velocity = self.velocity(t, y)
        small = 1e-6 * min(max(t, 1e-12), 1 / max(float(np.abs(velocity).max()), 1e-300))
        ahead = self.matrix(y + small * velocity)
        return t * float(np.linalg.norm(ahead - self.matrix(y))) / small

    def limit(self, after: float, within: float) -> np.ndarray:
        """W at rest: at a time past ``after``, with less than ``within`` to go."""
        t, y = 0.0, self.state
        while (t := max(after, 10 * t)) < 1e14 * after:
            options = {"method": "LSODA", "rtol": 1e-12, "atol": 1e-13}
            begin = 0.0 if y is self.state else t / 10
            found = solve_ivp(self.velocity, (begin, t), y, **options)
            if not found.success:
                break
            y = found.y[:, -1]
            if self.left(t, y) < within:
                return self.matrix(y)
        raise NotArrived


def judged(problem: Problem, references: int, seconds: float) -> Iterator[tuple[float, ...] | None]:
    """(true error, stated error, accuracy · ‖W‖) of the first ``ok`` runs; None without a
    reference."""
    import deeplinear as dl

    energy = dl.Completion(problem.rows, problem.columns, problem.values, problem.starts.shape[1:])
    accuracy = 1e-6 if problem.starts.shape[1] <= 6 else 3e-3  # as by default
    result = dl.ensemble(energy, problem.starts, problem.depth, accuracy=accuracy)
    print(f"{problem}: {result.counts}", flush=True)
    for run in np.flatnonzero(result.ok)[:references]:
        size = float(np.linalg.norm(result.W[run]))
        stated = max(float(result.error[run]), FLOOR * size)
        after = 20 * float(result.time[run])
        try:
            with np.errstate(all="ignore"):
                W = Chart(problem, run, seconds).limit(after, FRACTION * stated)
        except NotArrived:
            yield None
        else:
            yield float(np.linalg.norm(W - result.W[run])), stated, accuracy * size


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="seed of the first problem")
    parser.add_argument("--runs", type=int, default=12, help="of each problem")
    parser.add_argument("--references", type=int, default=6, help="at most, for each problem")
    parser.add_argument("--seconds", type=float, default=20.0, help="at most, for a reference")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows, without = [], 0
    for seed in range(options.first, options.first + options.problems):
        problem = Problem.random(seed, options.runs)
        for row in judged(problem, options.references, options.seconds):
            if row is None:
                without += 1
                continue
            rows.append(row)
            if row[0] > 3 * row[1]:
                print(
                    f"  off by {row[0]:.1e}, stated {row[1]:.1e}, asked for {row[2]:.1e}",
                    flush=True,
                )
    if not rows:
        print(f"no run was judged, {without} without a reference")
        return 1
    return report(*np.array(rows).T, without)


def report(true: np.ndarray, stated: np.ndarray, asked: np.ndarray, without: int) -> int:
    """Print the figures; 1 if they are not good enough."""
    off, beyond = np.mean(true > 3 * stated), np.mean(true > asked)
    print(f"runs judged {true.size}, without a reference {without}")
    print(f"above 3 times the stated error: {off:.1%}; beyond the accuracy: {beyond:.1%}")
    quantiles = np.quantile(true / stated, [0.5, 0.9, 0.99, 1])
    print("true over stated error, 50, 90, 99, 100 %:", *(f"{x:.2g}" for x in quantiles))
    return int(off >= 0.01 or beyond > 0)


if __name__ == "__main__":
    sys.exit(main())
