"""Fault injection: kills, full disks, changed bytes and files cut short, counted in one table.

    python -m reliability.faults [--trials 20] [--only kill,full,readonly,flip,cut] [NAME …]

- **kill**: a process that writes without end is killed (SIGKILL) at a random moment; what lies
  there must be a whole version. Computations with a checkpoint are resumed, and must end with the
  numbers of one that was left alone.
- **full**, **readonly**: the file system has room for a part of the file, or none is permitted
  (tmpfs, which needs the right to mount). One sentence, the file of before, and no temporary.
- **flip**: one byte of a file is changed; **cut**: a file is cut off at places spread over it, as a
  power cut leaves it. A result or one sentence; where the format has check sums, no other result.

NAME: components and formats; default: all. Exit code 1 if anything was found.
"""

import argparse
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .fault_formats import SUMMED, Format, formats
from .fault_trials import outcomes, quiet
from .fault_writers import WRITERS, Writer

FAULTS = ("kill", "full", "readonly", "flip", "cut")
COLUMNS = ("trials", "refused", "tracebacks", "signals", "hangs", "silent", "lost", "left")
# By the first word of an outcome; what is as before has none.
KINDS = {"refused": "refused", "hang": "hangs", "signal": "signals", "lost:": "lost"}
KINDS |= {"traceback:": "tracebacks", "other": "silent"}
_NO_ROOM = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT}
_ROOM = "64m"  # of a file system that is filled up


class Row(Counter):
    """What was counted for one component and one fault, and the first words of what was found."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: dict[str, str] = {}

    def note(self, outcome: str, *, summed: bool = True) -> None:
        """Count one outcome of a trial."""
        self["trials"] += 1
        kind = KINDS.get(outcome.split(" ")[0])
        if kind is not None and (summed or kind != "silent"):
            self.count(kind, outcome)

    def count(self, kind: str, words: object = "") -> None:
        self[kind] += 1
        if kind != "refused":
            self.notes.setdefault(kind, str(words))

    @property
    def found(self) -> int:
        return sum(self[column] for column in COLUMNS[2:])


# Readers


def damaged_reads(form: Format, name: str, fault: str, trials: int, seed: int) -> Row:
    """Damage the file (of a folder: one of its files) and read it, again and again."""
    row, rng = Row(), random.Random(f"{seed} {name} {fault}")
    with tempfile.TemporaryDirectory() as place:
        path, whole = Path(place) / form.file, Path(place) / "whole"
        made = outcomes([partial(_write_and_read, form, path, Path(place) / "expected")])
        assert made == ["made"], f"{name}: {made[0]}"
        path.rename(whole)
        files = sorted(p for p in [whole, *whole.rglob("*")] if p.is_file() and p.stat().st_size)
        expected = (Path(place) / "expected").read_bytes()
        trial = partial(_read_damaged, form, path, whole, expected)
        changes = []
        for k in range(trials):
            file = files[k % len(files)] if fault == "cut" else rng.choice(files)
            size = file.stat().st_size
            cut = (k * size) // trials if len(files) == 1 else rng.randrange(size)
            change = (cut, 0) if fault == "cut" else (rng.randrange(size), rng.randrange(1, 256))
            changes.append(partial(trial, file.relative_to(whole), *change))
        for outcome in outcomes(changes):
            row.note(outcome, summed=name in SUMMED)
    return row


def _write_and_read(form: Format, path: Path, expected: Path) -> str:
    form.write(path)
    copy = path.with_name(f"copy-{path.name}")
    (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
    expected.write_bytes(form.read(path))
    if path.exists():
        (shutil.rmtree if path.is_dir() else os.unlink)(path)
    copy.rename(path)  # what was read may have been removed, as a checkpoint is
    return "made"


def _read_damaged(
    form: Format, path: Path, whole: Path, expected: bytes, inside: Path, place: int, flip: int
) -> str:
    """Read a copy of ``whole`` with the byte at ``place`` changed, or (flip 0) cut off there."""
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True) if not path.is_dir() else None
    (shutil.copytree if whole.is_dir() else shutil.copy)(whole, path)
    file = path / inside if whole.is_dir() else path
    data = bytearray(file.read_bytes())
    if flip:
        data[place] ^= flip
    else:
        del data[place:]
    file.write_bytes(data)
    return "same" if form.read(path) == expected else f"other result: byte {place} of {inside}"


# Writers


def kills(make: Callable[[Path], Writer], trials: int, seed: int) -> Row:
    """Kill a process that writes, at random moments."""
    row, rng = Row(), random.Random(f"{seed} kill")
    with _places() as (aside, out):
        writer = make(aside)
        target, said = out / writer.file, aside / "said"
        if writer.steps:
            _whole(writer, aside)
        begin = time.perf_counter()
        outcomes([partial(_written, writer, target, 0)])
        seconds = time.perf_counter() - begin
        usual = set(_names(out))
        for k in range(1, trials + 1):
            said.unlink(missing_ok=True)
            child = os.fork()
            if not child:
                _write_without_end(writer, target, k, said)
            time.sleep(rng.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            outcome = said.read_text() if said.exists() else "same"
            if outcome == "same" and not writer.steps:
                (outcome,) = outcomes([partial(_checked, writer, target)])
            row.note(outcome)
        (last,) = outcomes([partial(_written, writer, target, 0)])
        if last != "same":
            row.count(KINDS.get(last.split(" ")[0], "silent"), last)
        for name in sorted(set(_names(out)) - usual):
            row.count("left", name)
    return row


def no_room(make: Callable[[Path], Writer], fault: str, trials: int, seed: int) -> Row | str:
    """Write where there is room for a part, or where nothing may be written."""
    row = Row()
    with _places() as (aside, out):
        writer = make(aside)
        if writer.steps:
            _whole(writer, aside)
        for k in range(trials):
            with _mounted(out) as mounted:
                if not mounted:
                    return "skipped: mounting a tmpfs is not permitted"
                _write_in_need(writer, out, fault, k / trials, row)
    return row


def _write_in_need(writer: Writer, out: Path, fault: str, part: float, row: Row) -> None:
    """One trial: ``part`` of the size of what is there is free, or nothing may be written."""
    target = out / writer.file
    if not writer.steps:
        outcomes([partial(_written, writer, target, 0)])
    usual = set(_names(out))
    if fault == "full":
        _fill(out, part * max(_size(out), 1 << 14))
    else:
        _permit(out, "ro")
    (outcome,) = outcomes([partial(_written, writer, target, 1)])
    row.note(outcome)
    _permit(out, "rw")
    (out / "ballast").unlink(missing_ok=True)
    if writer.steps:
        (kept,) = outcomes([partial(_written, writer, target, 0)])
    else:
        (kept,) = outcomes([partial(_checked, writer, target)])
        for name in sorted(set(_names(out)) - usual):
            row.count("left", name)
    if kept != "same":
        row.count("lost", kept)


@contextmanager
def _places() -> Iterator[tuple[Path, Path]]:
    """A folder for sources, and one for results."""
    with tempfile.TemporaryDirectory() as place:
        aside, out = Path(place) / "aside", Path(place) / "out"
        aside.mkdir()
        out.mkdir()
        yield aside, out


@contextmanager
def _mounted(folder: Path) -> Iterator[bool]:
    """A file system of its own on ``folder``; False where that is not permitted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        done = False
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path, room: float) -> None:
    """Fill a file system up to ``room`` bytes."""
    there = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes(max(int(there.f_bavail * there.f_frsize - room), 0)))


def _permit(folder: Path, mode: str) -> None:
    """Make a file system read-only ("ro"), or not ("rw")."""
    command = ["mount", "-o", f"remount,{mode},size={_ROOM}", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _names(folder: Path) -> list[str]:
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return [name for name in found if name != "ballast"]


def _whole(writer: Writer, aside: Path) -> None:
    """Learn what a computation that is left alone comes to."""

    def compute() -> str:
        result = writer.write(aside / f"whole-{writer.file}", 0)
        assert isinstance(result, bytes)
        (aside / "known").write_bytes(result)
        return "made"

    (made,) = outcomes([compute], seconds=600)
    assert made == "made", made
    writer.versions = {(aside / "known").read_bytes()}


def _written(writer: Writer, target: Path, k: int) -> str:
    """Write once: "same" unless the result is another one; what has no room is refused."""
    try:
        result = writer.write(target, k)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return "refused"
        raise
    return "same" if not writer.steps or result in writer.versions else "other result"


def _write_without_end(writer: Writer, target: Path, k: int, said: Path) -> None:
    """In a child: write version after version until it is killed; what goes wrong is ``said``."""
    from .fault_trials import judged

    quiet()
    while True:
        outcome = judged(partial(_written, writer, target, k))
        if outcome != "same":
            said.write_text("lost: " + outcome)
            os._exit(1)
        if target.is_dir() and writer.steps:  # it has ended: from the beginning
            done = said.with_name("done")
            shutil.rmtree(done, ignore_errors=True)
            target.rename(done)
        k += 1


def _checked(writer: Writer, target: Path) -> str:
    try:
        return "same" if writer.check(target) in writer.versions else "lost: another content"
    except Exception as error:
        return f"lost: {error!r}"


# The table


def rows(
    only: list[str], names: list[str], trials: int, seed: int
) -> Iterator[tuple[str, str, Row | str]]:
    """(component, fault, row) of everything that is asked for."""
    for name, make in WRITERS.items():
        for fault in [fault for fault in FAULTS[:3] if fault in only and chosen(name, names)]:
            if fault == "kill":
                yield name, fault, apart(partial(kills, make, trials, seed))
            else:
                yield name, fault, apart(partial(no_room, make, fault, min(trials, 20), seed))
    for name, form in formats().items():
        for fault in [fault for fault in FAULTS[3:] if fault in only and chosen(name, names)]:
            yield name, fault, damaged_reads(form, name, fault, trials, seed)


def chosen(name: str, names: list[str]) -> bool:
    return not names or name in names


def apart(call: Callable[[], Row | str]) -> Row | str:
    """``call`` in a process of its own, whose libraries and threads stay there."""
    import pickle

    with tempfile.NamedTemporaryFile() as file:
        child = os.fork()
        if not child:
            quiet()
            try:
                found = call()
            except BaseException as error:
                found = Row()
                found.count("tracebacks", f"{error!r}")
            said = found if isinstance(found, str) else (dict(found), found.notes)
            Path(file.name).write_bytes(pickle.dumps(said))
            os._exit(0)
        os.waitpid(child, 0)
        said = pickle.loads(Path(file.name).read_bytes())
    if isinstance(said, str):
        return said
    row = Row()
    row.update(said[0])
    row.notes = said[1]
    return row


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--only", default=",".join(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = set(options.names) - {*WRITERS, *formats()} | set(options.only.split(",")) - {*FAULTS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    print("| component | fault | " + " | ".join(COLUMNS) + " |")
    print("|---" * (2 + len(COLUMNS)) + "|", flush=True)
    found, notes = 0, []
    for name, fault, row in rows(
        options.only.split(","), options.names, options.trials, options.seed
    ):
        if isinstance(row, str):
            print(f"| {name} | {fault} | {row} |", flush=True)
            continue
        found += row.found
        notes += [f"{name}, {fault}, {kind}: {words}" for kind, words in row.notes.items()]
        print(
            f"| {name} | {fault} | " + " | ".join(str(row[c]) for c in COLUMNS) + " |", flush=True
        )
    for note in notes:
        print(note)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
