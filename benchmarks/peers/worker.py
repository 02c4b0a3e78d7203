"""One method in its own process: tune on the validation entries, fit train + validation, measure.
Writes JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from methods import METHODS, grid


def rmse(found, values, low, high):
    return float(np.sqrt(np.mean((np.clip(np.asarray(found, float), low, high) - values) ** 2)))


def parts(data_file):
    """({train, valid, test: (rows, cols, values)}, shape of the matrix, range of the values)."""
    data = np.load(data_file)
    part = {
        key: (data[f"{key}_rows"], data[f"{key}_cols"], data[f"{key}_values"])
        for key in ("train", "valid", "test")
    }
    return part, tuple(int(side) for side in data["shape"]), data["limits"]


def main(name, data_file, threads, result_file):
    part, shape, (low, high) = parts(data_file)
    both = tuple(np.concatenate(pair) for pair in zip(part["train"], part["valid"], strict=True))
    method, _ = METHODS[name]
    settings = grid(name)
    begin = time.perf_counter()
    small = tuple(side[:2000] for side in both)
    if name.startswith("deeplinear"):  # compile (or load what was compiled before): told apart
        method(small, tuple(side[:10] for side in both[:2]), shape, threads, **settings[0])
    compiled = time.perf_counter() - begin
    scores = []
    begin = time.perf_counter()
    if len(settings) > 1:
        for setting in settings:
            found = method(part["train"], part["valid"][:2], shape, threads, **setting)
            scores.append(rmse(found, part["valid"][2], low, high))
    tuning = time.perf_counter() - begin
    best = settings[int(np.argmin(scores))] if scores else settings[0]
    begin, cpu = time.perf_counter(), time.process_time()
    found = method(both, part["test"][:2], shape, threads, **best)
    result = {
        "rmse": rmse(found, part["test"][2], low, high),
        "seconds": time.perf_counter() - begin,
        "cpu": time.process_time() - cpu,
        "validation": min(scores, default=None),
        "tuning": tuning,
        "warm_up": compiled,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "settings": best,
    }
    Path(result_file).write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
