"""Trials in forked processes, so that a signal or a hang is an outcome and not the end."""

import os
import select
import signal
from collections.abc import Callable, Sequence
from typing import BinaryIO

SECONDS = 180.0  # without an outcome: a hang, also on a busy machine
Trial = Callable[[], str]


def judged(trial: Trial) -> str:
    """What a trial returns, "refused" for one sentence, or "traceback" and what was raised."""
    from deeplinear.errors import DownloadError, InputError, SweepError

    try:
        return trial()
    except (InputError, DownloadError, SweepError) as error:
        return "refused" if "\n" not in str(error) else f"traceback: many lines: {error!r}"
    except BaseException as error:  # whatever a library raises
        return f"traceback: {type(error).__name__}: {error}"


def outcomes(trials: Sequence[Trial], seconds: float = SECONDS) -> list[str]:
    """The outcome of every trial; a process makes them one after the other until it is stopped."""
    found: list[str] = []
    while len(found) < len(trials):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            work(writer, trials[len(found) :])
        os.close(writer)
        with open(reader, "rb", buffering=0) as lines:
            found += followed(child, lines, seconds)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if len(found) < len(trials) and found[-1:] != ["hang"]:
            found.append(f"signal {code}" if code < 0 else f"traceback: it ended with {code}")
    return found


def work(pipe: int, trials: Sequence[Trial]) -> None:
    """Make the trials, and end the process."""
    quiet()
    for trial in trials:
        line = " ".join(judged(trial).split())[:300]
        os.write(pipe, line.encode(errors="replace") + b"\n")
    os._exit(0)


def quiet() -> None:
    """No output and no warnings of the libraries."""
    import warnings

    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)


def followed(child: int, lines: BinaryIO, seconds: float) -> list[str]:
    """Lines of a pipe until it ends; "hang", and the end of the child, where none comes."""
    found, rest = [], b""
    while True:
        if not select.select([lines], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
            return [*found, "hang"]
        data = lines.read(1 << 16)
        if not data:
            return found
        *whole, rest = (rest + data).split(b"\n")
        found += [line.decode() for line in whole]
