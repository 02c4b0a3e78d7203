"""Test error of deeplinear over CPU time, set-up and predictions included: in its own process, writes JSON.

Point estimates: depth 3 after every sweep, at the strength with the best validation error (as the peers are tuned). Averages:
whole fits with more and more draws. A point is (CPU seconds, test RMSE, what it is).
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from methods import METHODS, ours
from worker import parts, rmse

STRENGTHS = (0.25, 0.32, 0.4)
SWEEPS = 9
AVERAGES = (
    {"ensemble": 5, "burn_in": 5},
    {"ensemble": 10, "burn_in": 10},
    {"ensemble": 20, "burn_in": 10},
    {"ensemble": 50, "burn_in": 20},
    {"ensemble": 5, "burn_in": 5, "features": True},
    {"ensemble": 10, "burn_in": 10, "features": True},
    {"ensemble": 20, "burn_in": 20, "features": True},
)


def sweeps(train, asked, shape, threads, limits, strength):
    """[(CPU seconds, RMSE on ``asked``)] after every sweep; the looks at the sweeps before are taken out of the time."""
    from deeplinear.completion.observations import Observations
    from deeplinear.completion.thin import fit

    points, looks, begin = [], 0.0, time.process_time()

    def look(state):
        nonlocal looks
        now = time.process_time()
        error = rmse(state.predict(*asked[:2]), asked[2], *limits)
        after = time.process_time()
        points.append((after - begin - looks, error))
        looks += after - now

    seen = Observations.from_triples(*train, shape)
    fit(seen, depth=3, strength=strength, threads=threads, max_sweeps=SWEEPS, tol=0, callback=look)
    return points


def main(data_file, threads, result_file):
    part, shape, limits = parts(data_file)
    both = tuple(np.concatenate(pair) for pair in zip(part["train"], part["valid"], strict=True))
    sweeps(tuple(side[:2000] for side in both), part["valid"], shape, threads, limits, 0.3)  # compiles
    best = min(
        STRENGTHS,
        key=lambda c: min(error for _, error in sweeps(part["train"], part["valid"], shape, threads, limits, c)),
    )
    points = sweeps(both, part["test"], shape, threads, limits, best)
    found = [(seconds, error, f"sweep {k + 1}") for k, (seconds, error) in enumerate(points)]
    bare = METHODS["deeplinear, depth 3, tuned outside"][1]
    for options in AVERAGES:
        settings = {"validation_fraction": 0, "max_sweeps": bare["max_sweeps"][0], "strength": best, **options}
        ours(tuple(side[:2000] for side in both), tuple(side[:9] for side in both[:2]), shape, threads, **settings)
        begin = time.process_time()
        error = rmse(ours(both, part["test"][:2], shape, threads, **settings), part["test"][2], *limits)
        told = f"average of {options['ensemble']}" + (", features" if "features" in options else "")
        found.append((time.process_time() - begin, error, told))
    Path(result_file).write_text(json.dumps({"strength": best, "points": found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
