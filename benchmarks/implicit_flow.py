"""The flow of the network (regularization="implicit") beside weight decay: CPU seconds of one fit.

    python benchmarks/implicit_flow.py [cases, default all] [depths, default 2,3,inf]

Cases: ``small`` (table 60×40, rank 4, noise .1), ``table`` (200×100, rank 5, noise .3), both with
half of the cells hidden; ``ratings`` (20,000 of 600×400) and ``many`` (100,000 of 2,000×1,500),
synthetic, with a tenth held out. One thread (set OMP_NUM_THREADS=1 too), fits of every kind once
before the clock runs. The error is that on the hidden cells, of tables against the truth without
noise.
"""

import math
import sys
import time
import warnings

import numpy as np

import deeplinear as dl

TABLES = {"small": (60, 40, 4, 0.1), "table": (200, 100, 5, 0.3)}
RATINGS = {"ratings": (600, 400, 20_000), "many": (2_000, 1_500, 100_000)}
KINDS = {"weight decay": "explicit", "implicit": "implicit"}


def table(m: int, n: int, rank: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A table with half of its cells missing, and the truth."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n)) / math.sqrt(rank)
    cells = truth + noise * rng.normal(size=(m, n))
    return np.where(rng.random((m, n)) < 0.5, cells, np.nan), truth


def ratings(m: int, n: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half stars from .5 to 5, of uneven rows and columns, rank 8 and noise .8."""
    rng = np.random.default_rng(0)
    P, Q = rng.normal(size=(m, 8)), rng.normal(size=(n, 8))
    often = [rng.lognormal(0, 1, size) for size in (m, n)]
    rows, cols = (rng.choice(len(p), 2 * count, p=p / p.sum()) for p in often)
    rows, cols = np.divmod(rng.permutation(np.unique(rows * n + cols))[:count], n)
    values = 3.5 + 0.4 * rng.normal(size=m)[rows] + 0.4 * rng.normal(size=n)[cols]
    values += 0.45 * np.sum(P[rows] * 0.7 ** np.arange(8) * Q[cols], axis=1)
    values += 0.8 * rng.normal(size=len(rows))
    return rows, cols, np.clip(np.round(2 * values) / 2, 0.5, 5)


def one(case: str, depth: float, kind: str) -> tuple[float, float]:
    """CPU seconds and the error of one fit."""
    how = {"regularization": kind, "random_state": 0, "threads": 1}
    if case in TABLES:
        cells, truth = table(*TABLES[case])
        begin = time.process_time()
        filled = dl.DeepLinearImputer(depth, **how).fit_transform(cells)
        seconds = time.process_time() - begin
        gaps = (filled - truth)[np.isnan(cells)]
    else:
        rows, cols, values = ratings(*RATINGS[case])
        out = np.random.default_rng(1).random(len(values)) < 0.1
        model = dl.DeepMatrixCompletion(depth=depth, **how)
        begin = time.process_time()
        model.fit((rows[~out], cols[~out], values[~out]))
        seconds = time.process_time() - begin
        gaps = model.predict(rows[out], cols[out]) - values[out]
    return seconds, float(np.sqrt(np.mean(gaps**2)))


def main() -> None:
    warnings.simplefilter("ignore")
    cases = sys.argv[1].split(",") if len(sys.argv) > 1 else [*TABLES, *RATINGS]
    depths = [float(x) for x in (sys.argv[2] if len(sys.argv) > 2 else "2,3,inf").split(",")]
    for kind in KINDS.values():  # whatever is compiled
        for depth in depths:
            one("small", depth, kind)
        if set(cases) & set(RATINGS):
            rows, cols, values = (x[:5_000] for x in ratings(*RATINGS["many"]))
            for depth in depths:
                how = {"regularization": kind, "random_state": 0, "threads": 1}
                dl.DeepMatrixCompletion(depth=depth, **how).fit((rows, cols, values))
    for case in cases:
        for depth in depths:
            found = {name: one(case, depth, kind) for name, kind in KINDS.items()}
            told = ", ".join(f"{name} {t:.2f} s ({e:.4f})" for name, (t, e) in found.items())
            ratio = found["implicit"][0] / found["weight decay"][0]
            print(f"{case}, depth {depth:g}: {told}, {ratio:.1f} times", flush=True)


if __name__ == "__main__":
    main()
