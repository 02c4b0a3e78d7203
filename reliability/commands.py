"""Every command of the command line under random faults of options, files and streams.

    python -m reliability.commands [--trials 300] [--only complete] [--seed 0] [--verbose]

Each trial takes a call that works, changes one to three things of it (a value of the wrong type, an
option twice or of another command, a name that no file can have, a damaged input, a full or closed
standard output, an ASCII terminal …) and runs it in a process of its own. It counts what must never
be: tracebacks and faults of ours, ends by a signal, hangs, files left by a call that was refused,
refusals without a word, and control characters of names on the terminal. Exit code 1 if there is
any. What takes long to compute (experiments, the demonstration, the doctor's mathematics) is
computed once before.
"""

import argparse
import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from .calls import LIMIT, Case, Outcome, calls, preload, prepare, run
from .mutations import mutate, options

CODES = {0, 1, 2, 130, 141}
FAULT = "this should not happen"


def faults(case: Case, outcome: Outcome) -> list[str]:
    """What of an end must never be."""
    found = []
    if "Traceback (most recent" in outcome.text or FAULT in outcome.text:
        found.append("traceback")
    if outcome.code < 0:
        found.append("hang" if outcome.seconds >= LIMIT else "signal")
    elif outcome.code not in CODES:
        found.append("other code")
    if outcome.code == 2 and outcome.new and "Before that" not in outcome.text:
        found.append("left files")
    if outcome.code == 2 and not outcome.text.strip() and "no stderr" not in case.streams:
        found.append("silent")
    if "\x1b[31m" in outcome.text:
        found.append("control characters")
    return found


def trial(
    name: str, number: int, seed: int, known: dict[str, list[tuple[str, str]]]
) -> tuple[Case, Outcome]:
    """Trial ``number`` of a command, in a fresh copy of the folder ``inputs``."""
    draw = random.Random(f"{seed} {name} {number}")
    case, files = mutate(name, calls()[name], draw, known)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "work"
        shutil.copytree("inputs", folder, symlinks=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        (folder / "closed").chmod(0o500)
        outcome = run(case, folder)
        (folder / "closed").chmod(0o700)
    return case, outcome


def attack(
    names: list[str], trials: int, seed: int, *, verbose: bool = False
) -> dict[str, Counter[str]]:
    """command → how often each end and each fault came."""
    known = options()
    preload(names)
    table: dict[str, Counter[str]] = {}
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            Path("inputs").mkdir()
            prepare(Path("inputs"), names)
            for name in names:
                table[name] = Counter()
                for number in range(trials):
                    case, outcome = trial(name, number, seed, known)
                    wrong = faults(case, outcome)
                    table[name].update([f"code {outcome.code}", *wrong])
                    if wrong or verbose:
                        print(f"{name} {number} {wrong} {case.changes} → {outcome.code}")
                    if wrong:
                        print(f"    deeplinear {case.words!r}\n    {outcome.text[-600:]!r}")
        finally:
            os.chdir(here)
    return table


_FAULTS = (
    "traceback",
    "signal",
    "hang",
    "other code",
    "left files",
    "silent",
    "control characters",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(calls()))
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    table = attack(given.only or list(calls()), given.trials, given.seed, verbose=given.verbose)
    print("| command | trials | done | refused | failed | " + " | ".join(_FAULTS) + " |")
    print("|---" * (5 + len(_FAULTS)) + "|")
    for name, found in table.items():
        ends = [found[f"code {code}"] for code in (0, 2, 1)]
        cells = [name, given.trials, *ends, *(found[fault] for fault in _FAULTS)]
        print("| " + " | ".join(map(str, cells)) + " |")
    raise SystemExit(any(found[fault] for found in table.values() for fault in _FAULTS))


if __name__ == "__main__":
    main()
