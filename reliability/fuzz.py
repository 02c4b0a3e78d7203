"""Coverage-guided fuzzing of every reader of files.

    python -m reliability.fuzz [READER ...] [--seconds 60] [--files N] [--work .fuzz] [--replay]

Each READER (all by default) is given files for so many seconds: those of `corpus/READER`, changed
by libFuzzer towards lines of the reader that no file has reached yet. A file must end with a result
or with one sentence; what does not (another exception, a signal, more than 5 s for less than
100 kB, more than 1 GiB of memory) is saved in WORK/findings/READER with its story, which is
printed too. WORK/corpus keeps what was reached, so that the next call goes on. With ``--files`` a
call from an empty WORK always reads the same files. ``--replay`` only reads the kept corpus,
without libFuzzer, as a test does.

It needs Atheris: ``pip install 'deeplinear[fuzz]'`` (Linux).
"""

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .fuzz_readers import find_fault, readers

CORPUS = Path(__file__).parent / "corpus"
_MEMORY_LIMIT = 4096  # MiB, of the process with all libraries
_HANG = 120  # seconds after which a process is ended; slower than `SLOW` is a fault before that
# One thread, and sets and dictionaries in the same order each time.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


@dataclass
class Outcome:
    """What became of one reader."""

    files: int = 0  # that were read
    deaths: int = 0  # of processes: signals, hangs, want of memory
    stories: tuple[str, ...] = ()  # of other faults, one of each kind


def fuzz(name: str, seconds: float, most: int, work: Path) -> Outcome:
    """Fuzz one reader: a process after the other, each from what the former has reached, until
    the time is over or ``most`` files (0: any number) were read."""
    findings, reached = work / "findings" / name, work / "corpus" / name
    for folder in (findings, reached):
        folder.mkdir(parents=True, exist_ok=True)
    forget_mended(name, findings)
    outcome, end = Outcome(), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 1 and (not most or outcome.files < most):
        runs = most - outcome.files if most else -1
        done, died = _process(name, left, runs, findings, reached)
        outcome.files += done
        outcome.deaths += died
    outcome.stories = tuple(
        f"{path}\n{path.read_text('utf-8', 'replace')}" for path in sorted(findings.glob("*.txt"))
    )
    return outcome


def forget_mended(name: str, findings: Path) -> None:
    """Delete the findings of earlier calls that are none any more."""
    for story in findings.glob("*.txt"):
        data = story.with_suffix("")
        if find_fault(readers()[name], data.read_bytes()) is None:
            data.unlink()
            story.unlink()


def _process(
    name: str, seconds: float, runs: int, findings: Path, reached: Path
) -> tuple[int, bool]:
    """(files read, whether the process came to a bad end)."""
    command = [sys.executable, "-m", "reliability.fuzz_worker", name, str(findings)]
    command += [str(reached), str(CORPUS / name), "-max_len=100000", "-len_control=0"]
    command += [f"-max_total_time={max(1, int(seconds))}", f"-timeout={_HANG}", f"-runs={runs}"]
    command += ["-seed=1"] if runs > 0 else []
    command += [f"-rss_limit_mb={_MEMORY_LIMIT}", f"-artifact_prefix={findings}/"]
    environment = os.environ | _ENVIRONMENT
    with (findings.parent / f"{name}.log").open("w+") as log:
        try:
            code = subprocess.run(
                command, stdout=log, stderr=log, env=environment, timeout=seconds + 3 * _HANG
            ).returncode
        except subprocess.TimeoutExpired:  # a machine with too much other work
            code = 0
        log.seek(0)
        counts = [int(found) for found in re.findall(r"^#(\d+)", log.read(), re.MULTILINE)]
    if code:  # what a process said before it died
        log_path = findings.parent / f"{name}.log"
        log_path.replace(findings / f"death-{len([*findings.glob('death-*')])}.log")
    if code and not counts:
        raise SystemExit(f"the process of {name} does not start; see {findings}/death-*.log")
    return max(counts, default=0), code != 0


def replay(name: str) -> list[str]:
    """The files of the kept corpus that are read wrongly, and how."""
    found = ((path, find_fault(readers()[name], path.read_bytes())) for path in files(name))
    return [f"{path.name}: {fault.story}" for path, fault in found if fault is not None]


def files(name: str) -> list[Path]:
    """The kept corpus of a reader."""
    return sorted((CORPUS / name).iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(readers()))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each reader")
    parser.add_argument("--files", type=int, default=0, help="at most, for each reader")
    parser.add_argument("--work", type=Path, default=Path(".fuzz"))
    parser.add_argument("--replay", action="store_true", help="only read the kept corpus")
    options = parser.parse_args()
    unknown = [name for name in options.readers if name not in readers()]
    if unknown:
        parser.error(f"there is no reader '{unknown[0]}'; give some of {', '.join(readers())}")
    names = options.readers or list(readers())
    if not options.replay and find_spec("atheris") is None:
        print("Nothing was fuzzed: atheris is missing; pip install 'deeplinear[fuzz]' (Linux).")
        return
    bad = 0
    print(f"{'reader':<12}{'files':>10}{'deaths':>8}{'faults':>8}", flush=True)
    for name in names:
        if options.replay:
            outcome = Outcome(len(files(name)), 0, tuple(replay(name)))
        else:
            outcome = fuzz(name, options.seconds, options.files, options.work.absolute())
        bad += outcome.deaths + len(outcome.stories)
        print(
            f"{name:<12}{outcome.files:>10,}{outcome.deaths:>8}{len(outcome.stories):>8}",
            *outcome.stories,
            sep="\n  ",
            flush=True,
        )
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
