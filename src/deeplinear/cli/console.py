"""What the command line shows: one-sentence errors, progress, warnings and the summary table."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from ..report.compare import Candidate

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Interrupted(Exception):
    """Ctrl-C, with the sentence that says what was saved."""


@contextmanager
def tidy_exit(errors: Console) -> Iterator[None]:
    """Turn what users cause into one sentence and an exit code: 2 for bad input, 130 for Ctrl-C."""
    try:
        yield
    except InputError as error:
        errors.print(f"[bold red]Error:[/] {_escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    except Interrupted as stop:
        errors.print(_escape(str(stop)), soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except KeyboardInterrupt:
        errors.print("Interrupted: nothing was written.", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def gathered_warnings(errors: Console) -> Iterator[None]:
    """Collect warnings and show each of them once, as a sentence instead of a source line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        finally:
            for message in dict.fromkeys(
                str(w.message) for w in caught if issubclass(w.category, UserWarning)
            ):
                errors.print(f"[yellow]Warning:[/] {_escape(message)}", soft_wrap=True)


class Watch:
    """Follows the fits: moves the progress bar, and remembers the best completion for an
    interruption.
    """

    def __init__(
        self, progress: Any, depths: Sequence[float], names: Callable[[float], str]
    ) -> None:
        self._progress = progress
        self._names = names
        self._task = progress.add_task("starting", total=len(depths))
        self._finished = 0
        self.rmse = float("inf")
        self.complete: Callable[[], np.ndarray] | None = None

    def report(self, depth: float, state: Any) -> None:
        """One step of a fit; ``state`` is the estimator's progress report."""
        rmse = state.validation_rmse
        shown = "" if rmse is None else f", held-out RMSE {rmse:.4g}"
        self._progress.update(
            self._task,
            description=f"{self._names(depth)}: {state.stage}{shown}",
            completed=self._finished + min(max(state.done, 0.0), 1.0),
        )
        self._remember(float("inf") if rmse is None else rmse, state.complete)

    def done(self, candidate: "Candidate") -> None:
        """One depth is complete."""
        self._finished += 1
        self._progress.update(self._task, completed=self._finished)
        self._remember(candidate.validation_rmse, lambda: candidate.filled)

    def _remember(self, rmse: float, complete: "Callable[[], np.ndarray]") -> None:
        if self.complete is None or rmse <= self.rmse:
            self.rmse, self.complete = rmse, complete


def progress_bar(errors: Console) -> Any:
    """A bar on standard error, so that standard output holds results only; it vanishes when
    done.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
    )


def summary(
    candidates: "Sequence[Candidate]", winner: "Candidate", title: str | None = None
) -> RichTable:
    """The numbers of every candidate; a star marks the depth that is best on the held-out
    entries.
    """
    with_truth = any(c.truth_rmse is not None for c in candidates)
    table = RichTable(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("\nmethod", no_wrap=True)
    names = ["RMSE\ntrain", "RMSE\nheld-out"] + (["RMSE all\nmissing"] if with_truth else [])
    for name in [*names, "effective\nrank", "singular\nvalues"]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("\ntime", justify="right", no_wrap=True, min_width=7)
    for c in candidates:
        numbers = [c.train_rmse, c.validation_rmse] + ([c.truth_rmse] if with_truth else [])
        sigma = (
            []
            if c.singular_values is None
            else [f"{s:.3g}" for s in c.singular_values[:2] if s > 0]
        )
        table.add_row(
            f"{c.name} ★" if c is winner else c.name,
            *("–" if number is None or number != number else f"{number:.4g}" for number in numbers),
            "–" if c.effective_rank is None else f"{c.effective_rank:.1f}",
            ", ".join([*sigma, "…"] if c.rank and c.rank > 2 else sigma) or "–",
            f"{c.seconds:.1f} s",
            style="bold" if c is winner else None,
        )
    return table


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
