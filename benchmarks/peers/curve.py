"""Error of deeplinear over CPU time, set-up and predictions included: in its own process, writes
JSON.

Point estimates: depth 3 at every strength and cap of the rank, after every sweep. Averages: whole
fits with more and more draws. A point is (what it is, RMSE on the validation entries of the fit to
the training entries, then of the fit to both: CPU seconds, test RMSE).
"""

import functools
import itertools
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from methods import ours, single
from worker import parts, rmse

STRENGTHS = (0.25, 0.32, 0.4)
CAPS = (10, 20, 50)
CAPS_OF_AVERAGES = (
    5,
    10,
    20,
)  # few draws of many components are noisy; and they like the weakest strength
SWEEPS = 9
AVERAGES = (
    {"n_draws": 20, "burn_in": 10},
    {"n_draws": 5, "burn_in": 2, "implicit_feedback": True},
    {"n_draws": 5, "burn_in": 5, "implicit_feedback": True},
    {"n_draws": 10, "burn_in": 10, "implicit_feedback": True},
    {"n_draws": 20, "burn_in": 10, "implicit_feedback": True},
)


def sweeps(train, asked, shape, threads, limits, strength, cap):
    """[(CPU seconds, RMSE on ``asked``)] after every sweep; the looks at the sweeps before are
    taken out of the time.
    """
    from deeplinear.completion.data.observations import Observations
    from deeplinear.completion.solver.fit import fit

    points, looks, begin = [], 0.0, time.process_time()

    def look(state):
        nonlocal looks
        now = time.process_time()
        error = rmse(state.predict(*asked[:2]), asked[2], *limits)
        after = time.process_time()
        points.append((after - begin - looks, error))
        looks += after - now

    seen = Observations.from_triples(*single(train), shape)
    fit(
        seen,
        depth=3,
        strength=strength,
        max_rank=cap,
        threads=threads,
        max_sweeps=SWEEPS,
        tol=0,
        callback=look,
    )
    return points


def main(data_file, threads, result_file):
    part, shape, limits = parts(data_file)
    both = tuple(np.concatenate(pair) for pair in zip(part["train"], part["valid"], strict=True))
    small = tuple(side[:2000] for side in both)
    found = []
    for cap, strength in itertools.product(CAPS, STRENGTHS):
        run = functools.partial(
            sweeps, shape=shape, threads=threads, limits=limits, strength=strength, cap=cap
        )
        run(small, part["valid"])  # compiles
        pairs = zip(run(part["train"], part["valid"]), run(both, part["test"]), strict=True)
        for k, ((_, valid), (seconds, error)) in enumerate(pairs):
            found.append(
                (f"sweep {k + 1}, strength {strength:g}, cap {cap}", valid, seconds, error)
            )
    for options, cap in itertools.product(AVERAGES, CAPS_OF_AVERAGES):
        settings = {
            "validation_fraction": 0,
            "max_iter": 4,
            "strength": STRENGTHS[0],
            "max_rank": cap,
            **options,
        }
        run = functools.partial(ours, shape=shape, threads=threads, **settings)
        run(small, tuple(side[:9] for side in both[:2]))
        valid = rmse(run(part["train"], part["valid"][:2]), part["valid"][2], *limits)
        begin = time.process_time()
        error = rmse(run(both, part["test"][:2]), part["test"][2], *limits)
        told = (
            f"average of {options['n_draws']}"
            + (", features" if "implicit_feedback" in options else "")
            + f", cap {cap}"
        )
        found.append((told, valid, time.process_time() - begin, error))
    Path(result_file).write_text(json.dumps({"points": found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
