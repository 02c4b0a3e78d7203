"""Progress of a long computation: one record, one callback and one printer, used by every part."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeAlias

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Progress:
    """The state of a computation at one moment. None stands for what is not known, or does not
    exist.

    **Fields** ``stage``: what is being computed, as people read it. ``done``: the part of the whole
    that is complete, in [0, 1]. ``objective``: the energy, or what else is minimized.
    ``validation_rmse``: the best root mean squared error on held-out entries so far. ``complete``:
    returns the best result so far (for a completion: the matrix); it is costly, so call it only if
    you need the result.
    """

    stage: str
    done: float | None = None
    objective: float | None = None
    validation_rmse: float | None = None
    complete: "Callable[[], np.ndarray] | None" = None

    def __str__(self) -> str:
        """Stage, objective and held-out error in one line.

        >>> from deeplinear.progress import Progress
        >>> str(Progress("depth 3, sweep 12", objective=0.51, validation_rmse=0.25))
        'depth 3, sweep 12, objective 0.51, held-out RMSE 0.25'
        """
        parts = [self.stage]
        if self.objective is not None:
            parts.append(f"objective {self.objective:.5g}")
        if self.validation_rmse is not None:
            parts.append(f"held-out RMSE {self.validation_rmse:.4g}")
        return ", ".join(parts)


# Called now and then by the computation. True asks it to end with what it has so far.
ProgressCallback: TypeAlias = Callable[[Progress], bool | None]


class Stopped(Exception):
    """The callback asked for an end, and the computation has nothing to return yet."""


def report(
    callback: ProgressCallback | None,
    stage: str,
    done: float | None = None,
    *,
    objective: float | None = None,
    validation_rmse: float | None = None,
    complete: "Callable[[], np.ndarray] | None" = None,
) -> bool:
    """Call ``callback``, if there is one, with a `Progress`; True if it asks for an end."""
    if callback is None:
        return False
    return bool(callback(Progress(stage, done, objective, validation_rmse, complete)))


def part(
    callback: ProgressCallback | None, start: float, stop: float, prefix: str = ""
) -> ProgressCallback | None:
    """The callback of a part of a computation, which runs from ``start`` to ``stop`` of the whole.

    A part maps its own ``done`` into that interval, and ``prefix`` precedes its stages. None stays
    None.
    """
    if callback is None:
        return None

    def of_the_part(progress: Progress) -> bool | None:
        within = 0.0 if progress.done is None else min(max(progress.done, 0.0), 1.0)
        return callback(
            Progress(
                prefix + progress.stage,
                start + (stop - start) * within,
                progress.objective,
                progress.validation_rmse,
                progress.complete,
            )
        )

    return of_the_part


class ProgressPrinter:
    """A callback that prints plain lines, at most one each ``seconds``: what ``verbose=True`` does.

    Lines go to ``stream``, by default standard error as it is when a line is printed. Each shows
    the seconds since the printer was made, the part done, stage, objective and held-out error.
    `finish` prints the last state if it was held back.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._seconds, self._clock = stream, seconds, clock
        self._begin = clock()
        self._printed: float | None = None  # when the last line was printed
        self._held_back: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        if self._printed is not None and now - self._printed < self._seconds:
            self._held_back = progress
            return
        self._print(progress, now)

    def finish(self) -> None:
        """Print the last state, unless it has been printed."""
        if self._held_back is not None:
            self._print(self._held_back, self._clock())

    def _print(self, progress: Progress, now: float) -> None:
        done = "" if progress.done is None else f"{progress.done:4.0%}  "
        stream = sys.stderr if self._stream is None else self._stream
        print(f"[{now - self._begin:7.1f} s] {done}{progress}", file=stream, flush=True)
        self._printed, self._held_back = now, None


def with_verbose(callback: ProgressCallback | None, verbose: bool) -> ProgressCallback | None:
    """``callback``, after a `ProgressPrinter` if ``verbose``; None if there is neither."""
    if not verbose:
        return callback
    printer = ProgressPrinter()

    def both(progress: Progress) -> bool | None:
        printer(progress)
        return None if callback is None else callback(progress)

    return both
