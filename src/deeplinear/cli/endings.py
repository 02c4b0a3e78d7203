"""How a command ends: for all that can go wrong one sentence, one exit code, and no traceback."""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import InputError
from ..interrupts import STOPPING, forget, written
from .console import in_options, point_to, say, terminal
from .streams import ClosedPipe, OutputLost, open_streams

#: Something failed: a check of `doctor`, an experiment, a sweep, or deeplinear itself.
FAILED = 1
#: What was asked for cannot be done; nothing was computed, or it could not be kept.
REFUSED = 2
#: The reader of our output has left: 128 + SIGPIPE, as shells report it.
CLOSED_PIPE = 141
_SIGNALLED = 128  # + the number of the signal, as shells report it

#: Shows where in the code something unexpected happened.
TRACEBACK = "DEEPLINEAR_TRACEBACK"

# typer's own copies of click's classes, or click's
_UsageError, _ClickException = typer.BadParameter.__mro__[1:3]

_FIXES = {
    errno.ENOSPC: "free some room, or give another place",
    errno.EDQUOT: "free some room, or give another place",
    errno.EROFS: "give another place",
    errno.EACCES: "change the permissions, or give another place",
    errno.EPERM: "change the permissions, or give another place",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOENT: "check the name",
    errno.EMFILE: "allow this process to open more files (ulimit -n)",
}


class Interrupted(Exception):
    """Ctrl-C or another signal, with the sentence that says what was saved."""


class Commands(TyperGroup):
    """The commands of the command line, all of whose ends are those of `sentence`."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        if args is None:  # a shell asks what may follow: answered, and ended, here
            self._main_shell_completion(extra, "deeplinear", complete_var)
        forget()
        _signals.arrived.clear()
        _signals.code = None
        text, kind = "", None
        try:
            given = list(sys.argv[1:] if args is None else args)
            with self.make_context("deeplinear", given, **extra) as context:
                self.invoke(context)
            sys.stdout.flush()
            code = 0
        except typer.Exit as ended:
            code = ended.exit_code
        except (Exception, KeyboardInterrupt) as error:
            code, text = sentence(error)
            kind = type(error)
            if code == FAILED and os.environ.get(TRACEBACK):
                traceback.print_exception(error)
        _signals.code = code
        if text:
            label = "Error:" if code < _SIGNALLED else ""
            errors = terminal(stderr=True)
            say(errors, text, label=label, style="bold red")
            if kind is not None:
                point_to(errors, kind)
        raise SystemExit(code)


def sentence(error: BaseException) -> tuple[int, str]:
    """`judge`, and what was written before the end."""
    code, text = judge(error)
    kept = ", ".join(f"'{path}'" for path in written())
    if isinstance(error, Interrupted) or not text:
        return code, text
    if code > _SIGNALLED:
        return code, f"Interrupted: {kept + ' is whole' if kept else 'nothing was written'}."
    return code, f"{text} Before that, {kept} was written, and is whole." if kept else text


def judge(error: BaseException) -> tuple[int, str]:
    """(the exit code, one sentence) for whatever ended a command."""
    if isinstance(error, ClosedPipe):
        return CLOSED_PIPE, ""
    if _signals.arrived or isinstance(error, KeyboardInterrupt | Interrupted):
        # also what a library made of the interruption on its way
        return _SIGNALLED + _signals.number, str(error) or "Interrupted."
    if isinstance(error, _ClickException):
        return REFUSED, _usage(error)
    if isinstance(error, InputError):
        return REFUSED, in_options(str(error))
    if isinstance(error, OutputLost):
        return REFUSED, str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)[:200]:
        reason = f" ({error})" if str(error) else ""
        return REFUSED, f"the memory does not suffice{reason}; give less data, or a lower rank."
    if isinstance(error, OSError):
        return REFUSED, _of_the_system(error)
    return FAILED, (
        f"{type(error).__name__}: {error}; this should not happen: please report it with the "
        f"output that {TRACEBACK}=1 adds."
    )


def _usage(error: Any) -> str:
    """A wrong call, in one sentence with the help to look at."""
    text = " ".join(error.format_message().split()).rstrip(".")
    if not text:  # called without arguments: the help is out already
        return ""
    context = getattr(error, "ctx", None)
    return f"{text}; see {context.command_path if context else 'deeplinear'} --help."


def _of_the_system(error: OSError) -> str:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno is None:  # raised by a library, or by ourselves as a sentence
        return reason if reason.endswith(".") else f"{reason}; try again."
    what = f"'{names[-1]}'" if names else "a file"
    fix = _FIXES.get(error.errno or 0, "try again, or give another place")
    return f"{what} cannot be used ({reason}); {fix}."


class _Signals:
    """What has arrived: a library may swallow a KeyboardInterrupt, or make an error of its own of
    it.
    """

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.code: int | None = None  # with which the process ends, once that is decided
        self.is_waking = False  # whether `again` is at work, where nothing can be raised,
        self.came_early = False  # and whether the signal came meanwhile

    @property
    def number(self) -> int:
        return self.arrived[0] if self.arrived else signal.SIGINT

    def stop(self, number: int, frame: FrameType | None) -> None:
        """The handler: from the end of the command on, there is nothing left to be saved."""
        if self.code is not None:
            os._exit(self.code)
        self.arrived.append(number)
        if self.is_waking:
            self.came_early = True
            return
        raise KeyboardInterrupt

    def again(self, ignored: Any) -> None:
        """Stop after all, where the KeyboardInterrupt came in a destructor and went no further."""
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(ignored)
            return
        seconds, self.came_early = 0.01, True
        while self.came_early:  # on a busy machine a thread may take longer to start
            self.is_waking, self.came_early = True, False
            seconds *= 4
            later = threading.Timer(seconds, signal.raise_signal, (self.number,))
            later.daemon = True
            later.start()
            self.is_waking = False


_signals = _Signals()


def run_as_process(commands: Callable[[], None]) -> None:
    """Run ``commands`` as the whole of this process: its streams and its signals are theirs.

    Ctrl-C, SIGTERM and SIGHUP stop a command as one sentence says, unless they are ignored (as
    nohup has it).
    """
    sys.unraisablehook = _signals.again
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _signals.stop)
    try:
        open_streams()
        commands()
    except KeyboardInterrupt:  # in the moments before and after `Commands.main`
        os._exit(_SIGNALLED + _signals.number)
