"""One method on one task in a process of its own: every setting that is asked for, measured.

    python worker.py METHOD TASK.npz SETTINGS.json RESULT.npz LIMIT

The result is written anew after each setting, so that what was done before LIMIT, in seconds of CPU
time, is kept: a busy machine changes nothing.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from methods import METHODS, Task, quiet


def read_task(path: str) -> Task:
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    plain = {name: arrays.pop(name).item() for name in ("ordered", "period", "ratings", "seed")}
    return Task(**arrays, **plain)


def peak_memory() -> float:
    """Of this process so far, in MB; rusage on Linux knows also the one that began it."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name: str, task_file: str, settings_file: str, result_file: str, limit: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
    task, method = read_task(task_file), METHODS[name]
    found, seconds = [], []
    for settings in json.loads(Path(settings_file).read_text()):
        begin = time.process_time()
        found.append(quiet(method, task, settings))
        seconds.append(time.process_time() - begin)
        part = Path(result_file).with_suffix(".part.npz")
        np.savez(part, found=np.array(found), seconds=seconds, memory=peak_memory())
        os.replace(part, result_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
