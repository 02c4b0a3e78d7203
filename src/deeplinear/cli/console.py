"""What the command line shows: one-sentence errors, progress, warnings and the summary table."""

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ..labels import depth_label, printable
from ..progress import Progress
from ..status import Status
from .topics import topic_of

if TYPE_CHECKING:
    import numpy as np
    from rich.progress import Progress as RichProgress

    from ..completion.matrix_completion import DeepMatrixCompletion
    from ..report.compare import Candidate, Verdict


def terminal(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is: brackets and colons in names are no markup."""
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def say(out: Console, line: str, *, label: str = "", style: str = "") -> None:
    """One line, whatever names it holds, after a ``label`` in this style."""
    text = Text.assemble((label, style), " " if label else "", printable(line))
    out.print(text, soft_wrap=True)


# What warnings of the estimators advise, as options; there is none for the tolerance.
_WORDS = {
    "increase max_iter or tol": "raise --max-iter",
    "increase max_iter": "raise --max-iter",
    "after max_iter = ": "after --max-iter ",
    "larger strength, or float64": "larger --strength",
    "needs n_draws=0": "needs --average 0",
    'needs regularization="explicit"': "needs --regularization explicit",
    "needs validation_fraction > 0": "needs --validation-fraction above 0",
}


def in_options(message: str) -> str:
    """A message about a parameter of the estimators in the words of the command line."""
    options = {"random_state": "--seed", "n_draws": "--average", "strength": "--strength"}
    names = ("max_rank", "max_iter", "validation_fraction", "min_value", "max_value", "device")
    options |= {name: "--" + name.replace("_", "-") for name in names}
    for word, option in _WORDS.items():
        message = message.replace(word, option)
    for name in ("row_features", "col_features"):
        message = message.replace(name, "--" + name.replace("_", "-"))
    found = re.match(r"(?:The ')?(\w+)(?:' parameter of \w+)?(?= must)", message)
    if found is None or found.group(1) not in options:
        return message
    return options[found.group(1)] + message[found.end() :].replace(" an instance of 'float'", "")


@contextmanager
def gathered_warnings(errors: Console) -> Iterator[None]:
    """Collect warnings and show each of them once, as a sentence instead of a source line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        finally:
            kinds = {
                str(w.message): w.category for w in caught if issubclass(w.category, UserWarning)
            }
            for message in kinds:
                warn(errors, in_options(message))
            for kind in dict.fromkeys(kinds.values()):
                point_to(errors, kind)


def warn(errors: Console, message: str) -> None:
    """A warning, in one line."""
    say(errors, message, label="Warning:", style="yellow")


def point_to(errors: Console, kind: type[BaseException]) -> None:
    """In a terminal, where more is said about this kind of error or warning."""
    topic = topic_of(kind) if errors.is_terminal and not errors.quiet else None
    if topic is not None:
        errors.print(f"What to do: deeplinear explain {topic}", style="dim", soft_wrap=True)


class BarFollower:
    """Shows the progress of one computation on a bar: a callback of every long computation here.

    ``prefix`` precedes the stages. ``last`` is the last state, for a message about an interruption.
    """

    def __init__(self, bar: "RichProgress", prefix: str = "") -> None:
        self._bar, self._prefix = bar, prefix
        self._task = bar.add_task(prefix.removesuffix(": ") or "starting", total=1.0)
        self.last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        self.last = progress
        # a state that does not know how much is done leaves the bar where it is
        done = None if progress.done is None else min(max(progress.done, 0.0), 1.0)
        self._bar.update(
            self._task, completed=done, description=printable(f"{self._prefix}{progress}")
        )


class Watch:
    """Follows the fits of several depths: moves the bar, remembers the best completion so far."""

    def __init__(
        self,
        bar: "RichProgress",
        depths: Sequence[float],
        names: Callable[[float], str] = depth_label,
    ) -> None:
        self._follow = BarFollower(bar)
        self._depths, self._names = len(depths), names
        self._finished = 0
        self.rmse = float("inf")
        self.complete: Callable[[], np.ndarray] | None = None

    def report(self, depth: float, progress: Progress) -> None:
        """One step of the fit of this depth."""
        rmse = progress.validation_rmse
        self._show(f"{self._names(depth)}: {progress.stage}", progress.done, rmse)
        if progress.complete is not None:
            self._remember(float("inf") if rmse is None else rmse, progress.complete)

    def done(self, candidate: "Candidate") -> None:
        """One depth is complete."""
        self._show(candidate.name, 1.0, candidate.held_out_error)
        self._finished += 1
        self._remember(candidate.held_out_error, lambda: candidate.filled)

    def _show(self, stage: str, done: float | None, rmse: float | None) -> None:
        """Move the bar to this part of the fit in hand, where all depths take equal shares."""
        within = 0.0 if done is None else min(max(done, 0.0), 1.0)
        whole = (self._finished + within) / self._depths
        self._follow(Progress(stage, whole, validation_rmse=rmse))

    def _remember(self, rmse: float, complete: "Callable[[], np.ndarray]") -> None:
        if self.complete is None or rmse <= self.rmse:
            self.rmse, self.complete = rmse, complete


def progress_bar(
    errors: Console, *, quiet: bool = False, remaining: bool = False
) -> "RichProgress":
    """A bar on standard error, for standard output holds results only; it vanishes at the end.

    ``remaining`` adds an estimate of the time left, for work in steps of about equal length.
    """
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        BarColumn(bar_width=24),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if remaining else []),
        console=terminal(stderr=True, quiet=True) if quiet else errors,
        transient=True,
    )


def summary(
    candidates: "Sequence[Candidate]",
    verdict: "Verdict",
    title: str | None = None,
    *,
    by_column: bool = False,
) -> RichTable:
    """The numbers of every candidate; a star marks the one that is used, ≈ those that are level."""
    winner = verdict.used
    with_truth = any(c.truth_rmse is not None for c in candidates)
    with_labels = any(c.accuracy is not None for c in candidates)
    table = _table(title)
    table.add_column("\nmethod", no_wrap=True)
    names = ["error¹\nheld-out"] if by_column else ["RMSE\ntrain", "RMSE\nheld-out"]
    names += ["right\nlabels"] * with_labels + ["RMSE all\nmissing"] * with_truth
    for name in [*names, "effective\nrank", "singular\nvalues"]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("\ntime", justify="right", no_wrap=True, min_width=7)
    marks = {id(winner): " ★"} | {id(c): " ≈" for c in verdict.ties}
    for c in candidates:
        numbers = [] if by_column else [c.train_rmse]
        numbers += [c.held_out_error] + [c.truth_rmse] * with_truth
        cells = [_number(number) for number in numbers]
        if with_labels:
            cells.insert(1, "–" if c.accuracy is None else f"{c.accuracy:.1%}")
        sigma = (
            []
            if c.singular_values is None
            else [f"{s:.3g}" for s in c.singular_values[:2] if s > 0]
        )
        table.add_row(
            f"{c.name}{marks.get(id(c), '')}",
            *cells,
            "–" if c.effective_rank is None else f"{c.effective_rank:.1f}",
            ", ".join([*sigma, "…"] if c.rank and c.rank > 2 else sigma) or "–",
            f"{c.seconds:.1f} s",
            style="bold" if c is winner else None,
        )
    notes = [f"★ used; on {verdict.count:,} held-out cells"] * bool(verdict.count)
    notes += ["≈ level with it within the standard error of the difference"] * bool(verdict.ties)
    if by_column:
        labels = "; wrong labels relative to guessing by frequency" * with_labels
        notes.append(f"¹ in standard deviations of each column{labels}")
    table.caption = "\n".join(notes)
    return table


#: How a fit may end, in the words of the command line: what to do is an option of it.
ENDINGS = {
    Status.converged: "converged",
    Status.stopped_early: "stopped where the held-out error was least",
    Status.max_steps: "not converged within --max-iter; raise it",
    Status.diverged: "not converged, for the objective rose; give a larger --strength",
}


def endings(candidates: "Sequence[Candidate]", verdict: "Verdict") -> list[str]:
    """A line for each fit that did not converge, and one if something simpler predicts better."""
    lines = [f"{c.name}: {ENDINGS[c.status]}." for c in candidates if c.status is not None]
    used, network = verdict.used, verdict.network
    if used is not network:
        lines.append(
            f"No depth predicts the held-out cells as well as {used.name} (error "
            f"{used.held_out_error:.4g}, {network.name} {network.held_out_error:.4g}): its values "
            "are filled in."
        )
    return lines


def column_summary(winner: "Candidate") -> RichTable | None:
    """The columns whose held-out cells are predicted worst; None where there is nothing to say."""
    from ..report.compare import worst_columns

    worst = worst_columns(winner)
    count = sum(c.count > 0 for c in winner.columns)
    if count < 2:
        return None
    table = _table(f"Predicted worst, of {count} columns")
    names = ["column", "held-out cells", "RMSE", "R²"]
    if winner.accuracy is not None:
        names.append("right labels")
    for name in names:
        table.add_column(name, justify="left" if name == "column" else "right", no_wrap=True)
    for c in worst:
        cells = [printable(c.name), f"{c.count:,}", _number(c.rmse), _number(c.r2, ".3f")]
        table.add_row(*[*cells, _number(c.accuracy, ".1%")][: len(names)])
    return table


def _table(title: str | None) -> RichTable:
    return RichTable(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def _number(number: float | None, spec: str = ".4g") -> str:
    return "–" if number is None or math.isnan(number) else format(number, spec)


def prepare_jax() -> None:
    """64 bits, and JAX's own cache beside ours: a command's process is its own, and experiments
    compile functions that are no programs of the library.
    """
    from ..extras import installed

    if not installed("jax"):  # what needs it says so itself
        return
    import jax

    from ..compilation import cache_folder, setting

    jax.config.update("jax_enable_x64", True)
    folder = cache_folder()
    if folder is None or setting("jax_compilation_cache_dir") is not None:
        return
    with contextlib.suppress(OSError):  # a home that cannot be written in is no reason to stop
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def fitted_lines(estimator: "DeepMatrixCompletion", seconds: float) -> list[str]:
    """Of ratings: the best trial of each depth, the fit, and what predictions are made of."""
    from ..completion.solver.trial import best_trial, error_name
    from ..report.text import features_sentence, used_sentence

    lines, measure = [], error_name(estimator.loss)
    for depth in dict.fromkeys(trial.depth for trial in estimator.trials_):
        trials = [trial for trial in estimator.trials_ if trial.depth == depth]
        best = best_trial(trials)
        chosen = depth == estimator.depth_ and estimator.used_ != "biases"
        star = " ★" if chosen else ""
        lines.append(
            f"  {depth_label(depth)}: held-out {measure} {best.validation_rmse:.4f} (strength "
            f"{best.strength:.3g}, rank {best.rank}){star}"
        )
    rank = f"rank {estimator.rank_}"
    if estimator.regularization == "implicit":  # of full rank, most of it tiny
        rank = f"effective rank {estimator.effective_rank_:.1f}"
    ended = ""
    if not estimator.converged_:
        status = estimator.status_
        ended = f"; {ENDINGS[Status.max_steps if Status.succeeded(status) else status]}"
    lines.append(
        f"Fitted at {depth_label(estimator.depth_)}: {rank}, train RMSE "
        f"{estimator.train_score_:.4f}, {seconds:.1f} s{ended}"
    )
    used = used_sentence(estimator.used_, estimator.average_share_, estimator.n_draws)
    return [line for line in (*lines, used, features_sentence(estimator.features_)) if line]
