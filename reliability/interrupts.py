"""Signals at many moments of every command: is what it says about them true?

    python -m reliability.interrupts [--trials 60] [--only complete]

A command that works is stopped by SIGINT, SIGTERM or SIGHUP after a random part of the time that
it takes. It may have ended by then; else its exit code must be 128 + the number of the signal,
without a traceback; where it says that nothing was written there must be no new file, and never a
temporary one. Exit code 1 if there is any fault.
"""

import argparse
import os
import random
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

from .calls import STOPPING, Case, Outcome, calls, preload, prepare, run

FAULTS = ("traceback", "code", "untrue", "temporary files", "hang")


def faults(number: int, outcome: Outcome) -> list[str]:
    """What of an end must never be."""
    found = []
    if "Traceback" in outcome.text or "this should not happen" in outcome.text:
        found.append("traceback")
    if outcome.code == -signal.SIGKILL:
        found.append("hang")
    elif outcome.code not in (0, 128 + number, -number):
        found.append("code")
    if "nothing was written" in outcome.text and outcome.new:
        found.append("untrue")
    if any(name.startswith(".") for path in outcome.new for name in Path(path).parts[-1:]):
        found.append("temporary files")
    return found


def attack(names: list[str], trials: int, seed: int) -> dict[str, Counter[str]]:
    """command → how often each end and each fault came."""
    draw = random.Random(seed)
    table: dict[str, Counter[str]] = {}
    here = Path.cwd()
    preload(names)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            Path("inputs").mkdir()
            prepare(Path("inputs"), names)
            for name in names:
                table[name] = Counter()
                whole = _trial(name, 0, None)
                for _ in range(trials):
                    number = draw.choice(STOPPING)
                    outcome = _trial(name, number, draw.uniform(0, 1.1 * whole.seconds))
                    wrong = faults(number, outcome)
                    ended = "done" if outcome.code == 0 else "stopped"
                    told = ["nothing written"] * ("nothing was written" in outcome.text)
                    table[name].update([ended, *told, *wrong])
                    if wrong:
                        new = sorted(os.path.basename(path) for path in outcome.new)
                        print(
                            f"{name} {number} {wrong} {outcome.code} {new} {outcome.text[-500:]!r}"
                        )
        finally:
            os.chdir(here)
    return table


def _trial(name: str, number: int, after: float | None) -> Outcome:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "work"
        shutil.copytree("inputs", folder, symlinks=True)
        return run(Case(calls()[name]), folder, stop=None if after is None else (number, after))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(calls()))
    given = parser.parse_args()
    table = attack(given.only or list(calls()), given.trials, given.seed)
    ends = ("done", "stopped", "nothing written")
    print("| command | trials | " + " | ".join([*ends, *FAULTS]) + " |")
    print("|---" * (2 + len(ends) + len(FAULTS)) + "|")
    for name, found in table.items():
        cells = [name, given.trials, *(found[key] for key in (*ends, *FAULTS))]
        print("| " + " | ".join(map(str, cells)) + " |")
    raise SystemExit(any(found[fault] for found in table.values() for fault in FAULTS))


if __name__ == "__main__":
    main()
