"""Long computations in processes of their own: they can be cancelled, and take no page with them.

What visitors give is also read there, so that nothing that a file does to a reader (its memory, its
time, its end) reaches the server.
"""

import multiprocessing
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from ..errors import InputError
from ..labels import printable

#: Computations at once, of all visitors together; others wait.
AT_ONCE = 2
#: Bytes of memory, and seconds, of one of them.
MOST_MEMORY, MOST_SECONDS = 6 * 2**30, 1800.0
_PRELOADED = ["deeplinear.completion.imputer", "deeplinear.report.report", "deeplinear.files"]

#: A task is called with ``report(part, sentence)`` before its arguments.
Report = Callable[[float, str], None]

_pool = ThreadPoolExecutor(AT_ONCE, "explorer-jobs")


class Job:
    """A task in a process of its own.

    ``started``, ``progress(part, sentence)``, ``done(value)`` and ``failed(sentence)`` are called
    from another thread, the last two never both, and none of them after `cancel`.
    """

    def __init__(
        self,
        task: Callable[..., Any],
        *arguments: Any,
        progress: Callable[[float, str], None],
        done: Callable[[Any], None],
        failed: Callable[[str], None],
        seconds: float = MOST_SECONDS,
    ) -> None:
        self._task, self._arguments, self._seconds = task, arguments, seconds
        self._progress, self._done, self._failed = progress, done, failed
        self._lock, self._ended = threading.Lock(), False
        self._process: Any = None
        self._future = _pool.submit(self._run)

    def cancel(self) -> None:
        """End it at once; nothing is told any more."""
        with self._lock:
            self._ended = True
            if self._process is not None and self._process.is_alive():
                self._process.kill()
        self._future.cancel()

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # what a thread raises would be lost
            self._tell(self._failed, f"The computation could not be started ({error}): try again.")

    def _follow(self) -> None:
        context = _context()
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_child, args=(theirs, self._task, self._arguments), daemon=True
        )
        with self._lock:
            if self._ended:
                return
            process.start()
            self._process = process
        theirs.close()
        watch = threading.Timer(self._seconds, process.kill)
        watch.daemon = True
        watch.start()
        kind, value = "failed", _gone(self._seconds)
        try:
            while True:
                kind, value = ours.recv()
                if kind != "progress":
                    break
                self._tell(self._progress, *value)
        except (EOFError, OSError):
            kind, value = "failed", _gone(self._seconds)
        finally:
            watch.cancel()
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
            ours.close()
        self._tell(self._done if kind == "done" else self._failed, value)

    def _tell(self, call: Callable[..., None], *values: Any) -> None:
        with self._lock:
            ended = self._ended
        if not ended:
            call(*values)


def _gone(seconds: float) -> str:
    return (
        f"The computation ended before its time: it took more memory than there is, or more than "
        f"{seconds:,.0f} seconds. Give less data, or fewer depths."
    )


def _context() -> Any:
    """Processes that begin with what they need, and nothing of the server's."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _child(out: Connection, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _limit_memory()
    try:
        out.send(("done", task(lambda *state: out.send(("progress", state)), *arguments)))
    except BrokenPipeError:  # nobody waits any more
        pass
    except Exception as error:
        out.send(("failed", sentence(error)))


def sentence(error: Exception) -> str:
    """What a visitor is told of an error, without any name of a folder's."""
    if isinstance(error, InputError):
        return str(error).removeprefix("INPUT: ").removeprefix("NAME: ")
    if isinstance(error, MemoryError):
        return "The memory does not suffice: give less data."
    return printable(f"This cannot be computed ({type(error).__name__}): try other data.")


def _limit_memory() -> None:
    if not sys.platform.startswith("linux"):
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
