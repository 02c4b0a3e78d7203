"""Mutation testing of one module: which small changes of it do its tests not notice?

    python -m reliability.mutation geometry/kernel [--lines 40-80] [--sample 150] [--again] [--list]

or ``make mutation MODULE=geometry/kernel``. Every mutant is written into a copy of the source tree
and tested by the tests that `TESTS` names, in a process forked from one that has loaded the
packages, so that a mutant takes seconds. It is killed by a failing test, by an error at import, or
by taking five times the processor time that the tests take. The survivors are printed, those judged
in ``survivors.tsv`` (module, change, judgement) with the judgement; those judged "equivalent",
which compute the same, do not count. The command fails if a survivor is not judged, or fewer than
92 % are killed.

Nothing that was compiled before can stand in for a mutant: a mutant has no bytecode file, numba is
off (its cache does not see changed constants), and JAX's cache, which is kept from one mutant to
the next, names a program by its operations.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reliability.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parent.parent
JUDGED = Path(__file__).with_name("survivors.tsv")
ENOUGH = 0.92
MEMORY = 12 << 30  # of address space; JAX reserves 2 GB or so
# What takes long to load, starts no threads, and is loaded once.
PACKAGES = "jax equinox lineax optimistix diffrax scipy.optimize scipy.linalg scipy.stats numba"
PACKAGES += " hypothesis mpmath beartype pytest"

_DENSE = "not backend and not loops"  # without numba loops take minutes
# The tests of a module, fast ones first: a mutant stops at the first that fails.
TESTS = {
    "geometry/kernel": ["tests/geometry/test_kernel.py", "-k", "not finite_where"],
    "geometry/operator": ["tests/geometry/test_operator.py"],
    "geometry/metric": ["tests/geometry/test_metric.py", "-k", "not flow and not random_tangents"],
    "geometry/volume": ["tests/geometry/test_volume.py", "tests/geometry/test_entropy.py"],
    "completion/penalty": ["tests/completion/test_penalty.py"],
    "completion/solver/sweep": ["tests/completion/solver/test_sweep.py", "-k", _DENSE],
    "completion/solver/descent": ["tests/completion/solver/test_descent.py"],
    "completion/solver/schedule": ["tests/completion/solver/test_schedule.py"],
    "completion/solver/start": ["tests/completion/solver/test_start.py"],
    "completion/solver/certificate": ["tests/completion/solver/test_certificate.py", "-k", _DENSE],
    "completion/field/covariance": ["tests/completion/field/test_covariance.py"],
    "completion/loss": ["tests/completion/test_loss.py"],
    "completion/file_format": ["tests/completion/test_file_format.py"],
    "files/numbers": ["tests/files/test_numbers.py"],
    "files/layout": ["tests/files/test_layout_limits.py", "tests/files/test_layout.py"],
}


def main() -> int:
    options = arguments()
    source = ROOT / "src" / "deeplinear" / f"{options.module}.py"
    found = [m for m in mutants(source.read_text()) if chosen(m, options)]
    if options.sample and options.sample < len(found):
        found = sorted(random.Random(0).sample(found, options.sample))
    if options.list:
        print(*(f"{m.line}: {m.change}" for m in found), sep="\n")
        return 0
    os.environ |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # those of zarr and dask take seconds
    with workspace() as place:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(place / "jax")
        for name in PACKAGES.split():
            importlib.import_module(name)
        results = run(options.module, place, found)
    record(options.module, results)
    return report(options.module, results, whole=not (options.lines or options.again))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", choices=TESTS, help="one of %(choices)s", metavar="MODULE")
    parser.add_argument("--lines", help="only mutants of these lines, as 40-80")
    parser.add_argument("--sample", type=int, help="only so many, always the same ones")
    parser.add_argument("--again", action="store_true", help="only what survived the last run")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    return parser.parse_args()


def chosen(mutant: Mutant, options: argparse.Namespace) -> bool:
    if options.lines:
        first, last = map(int, options.lines.split("-"))
        return first <= mutant.line <= last
    return not options.again or last_outcomes(options.module).get(mutant.change) == "survived"


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A copy of what the tests need, as the current directory and in front of the import path."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        place = Path(folder)
        for name in ("src", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, place / name, ignore=ignored)
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, place / name)
        os.chdir(place)
        sys.path.insert(0, str(place / "src"))
        os.environ["PYTHONPATH"] = str(place / "src")
        yield place


def run(module: str, place: Path, found: list[Mutant]) -> list[tuple[Mutant, str]]:
    """Each mutant with its outcome."""
    file = place / "src" / "deeplinear" / f"{module}.py"
    original = file.read_text()
    for _ in range(2):  # the second time as fast as the mutants: what is compiled is kept
        outcome, seconds = test(module, 3600)
        if outcome != "survived":
            sys.exit(f"the tests of {module} fail on the module as it is")
    sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
        compiled.unlink()
    print(f"{module}: {len(found)} mutants, {seconds:.1f} s each at most", flush=True)
    results = []
    for mutant in found:
        file.write_text(mutant.code)
        results.append((mutant, test(module, 5 * int(seconds) + 10)[0]))
        print({"killed": ".", "survived": "s", "slow": "t"}[results[-1][1]], end="", flush=True)
    file.write_text(original)
    print()
    return results


def test(module: str, seconds: int) -> tuple[str, float]:
    """("killed", "survived" or "slow", the processor time), in a process of its own."""
    child = os.fork()
    if child == 0:
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        signal.alarm(100 * seconds)  # where a mutant waits for nothing
        code = 1
        try:
            code = importlib.import_module("pytest").main(
                ["-x", "-q", "-p", "no:cacheprovider", *TESTS[module]]
            )
        finally:
            os._exit(int(code))
    _, status, usage = os.wait4(child, 0)
    slow = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM)
    outcome = "slow" if slow else "killed" if status else "survived"
    return outcome, usage.ru_utime + usage.ru_stime


def last_outcomes(module: str) -> dict[str, str]:
    file = ROOT / ".mutation" / f"{module.replace('/', '.')}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def record(module: str, results: list[tuple[Mutant, str]]) -> None:
    """Keep the outcomes for ``--again``."""
    folder = ROOT / ".mutation"
    folder.mkdir(exist_ok=True)
    outcomes = last_outcomes(module) | {m.change: outcome for m, outcome in results}
    (folder / f"{module.replace('/', '.')}.json").write_text(json.dumps(outcomes, indent=1))


def judgements(module: str) -> dict[str, str]:
    """What the survivors of a module were judged to be, by their changes."""
    rows = [line.split("\t") for line in JUDGED.read_text().splitlines()[1:]]
    return {change: why for name, change, why in rows if name == module}


def report(module: str, results: list[tuple[Mutant, str]], *, whole: bool) -> int:
    """Print the survivors and the score; 1 where something has to be done."""
    judged = judgements(module)
    survivors = [mutant for mutant, outcome in results if outcome == "survived"]
    reasons = [judged.get(mutant.change, "NOT JUDGED") for mutant in survivors]
    for mutant, why in zip(survivors, reasons, strict=True):
        print(f"{mutant.line}: {mutant.change}\n    {why}")
    open_ones = reasons.count("NOT JUDGED")
    equivalent = sum(why.startswith("equivalent") for why in reasons)
    slow = sum(outcome == "slow" for _, outcome in results)
    part = 1 - (len(survivors) - equivalent) / max(len(results) - equivalent, 1)
    print(
        f"{module}: {len(results)} mutants, {equivalent} of them equivalent, {part:.1%} of the "
        f"others killed ({slow} by time), {len(survivors) - equivalent} survived, {open_ones} of "
        "the survivors not judged"
    )
    return int(open_ones > 0 or (whole and part < ENOUGH))


if __name__ == "__main__":
    sys.exit(main())
