"""Exact recovery at 500×500, rank 5, over the number of observed entries: depths 3, 4 and ∞ beside
the nuclear norm (depth 2).

    python benchmarks/phase_transition.py [seeds, default 3] [multiples, default
    1.2,1.35,1.5,2,3,3.5,4,5] [depths, default 2,3,4,inf]

Entries without noise, drawn uniformly without repetition, as multiples of the degrees of freedom 5
(500 + 500 − 5). The rank is not given: depth N > 2 is capped at 25 components, the nuclear norm at
150 (it passes through more). Depth N goes to strength 1e−8; the nuclear norm goes down to 1e−5 in
factors of √10, each from the one before, and the smallest error on the way counts, in its favour.
Recovered: relative Frobenius error below 1e−3 on the rows and columns with at least 5 entries: the
others nobody can know, and they are counted aside ("short lines"). The same problems for every
depth. In parentheses the median error.
"""

import math
import sys
import time
from collections.abc import Iterator

import numpy as np

from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit
from deeplinear.datasets import make_low_rank

SIDE, RANK = 500, 5
DEPTHS = (2, 3, 4, math.inf)
MULTIPLES = (1.2, 1.35, 1.5, 2, 3, 3.5, 4, 5)
RECOVERED = 1e-3


def solutions(seen: Observations, depth: float) -> Iterator[np.ndarray]:
    """Minimizers of the depth's penalty for weight decay → 0: one, or, at depth 2, one for each
    strength on the way.
    """
    # no line scales: the penalty as it is defined; sampling is uniform, the counts of the lines say
    # nothing
    options = {"depth": depth, "bias_ridge": None, "weighted_trace_norm": 0, "threads": 1}
    if depth > 2:
        found = fit(seen, strength=1e-8, max_rank=25, max_sweeps=1000, tol=1e-7, **options)
        yield found.left @ found.right.T
        return
    found = None
    for strength in 10 ** np.arange(-0.5, -5.1, -0.5):
        found = fit(
            seen,
            strength=strength,
            max_rank=150,
            max_sweeps=500,
            tol=1e-9,
            steps=5,
            start=found,
            **options,
        )
        yield found.left @ found.right.T


def trial(multiple: float, seed: int, depths: tuple[float, ...]) -> tuple[list[float], int]:
    """Relative errors of the depths on one problem, and the number of lines with fewer than `RANK`
    entries.
    """
    data = make_low_rank((SIDE, SIDE), RANK, observed=None, oversampling=multiple, seed=seed)
    seen = Observations.from_triples(*data.triples, data.shape)
    rows, cols = seen.by_row.counts >= RANK, seen.by_col.counts >= RANK
    truth = data.matrix()[np.ix_(rows, cols)]
    errors = [
        min(
            float(np.linalg.norm(W[np.ix_(rows, cols)] - truth) / np.linalg.norm(truth))
            for W in solutions(seen, N)
        )
        for N in depths
    ]
    return errors, int((~rows).sum() + (~cols).sum())


def main(
    seeds: int = 3, multiples: tuple[float, ...] = MULTIPLES, depths: tuple[float, ...] = DEPTHS
) -> None:
    print(
        "| entries / degrees of freedom | short lines | "
        + " | ".join(f"N = {N:g}" for N in depths)
        + " |"
    )
    print("|---" * (2 + len(depths)) + "|")
    for multiple in multiples:
        begin = time.process_time()
        errors, short = zip(*(trial(multiple, seed, depths) for seed in range(seeds)), strict=True)
        cells = [
            f"{sum(error < RECOVERED for error in column)} of {seeds} ({np.median(column):.0e})"
            for column in zip(*errors, strict=True)
        ]
        line = f"| {multiple:g} | {np.mean(short):.1f} | " + " | ".join(cells) + " |"
        print(line, f"  {time.process_time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    lists = [tuple(float(x) for x in argument.split(",")) for argument in sys.argv[2:4]]
    main(*(int(x) for x in sys.argv[1:2]), *lists)
