"""What ``complete`` fits to a table, and what it prints about the fits."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..atomic import write_atomically
from ..places import writing
from .console import Watch, column_summary, endings, gathered_warnings, progress_bar, say, summary
from .endings import Interrupted

if TYPE_CHECKING:
    from ..files import Table
    from ..report.compare import Candidate, Verdict


@dataclass(frozen=True)
class Fits:
    """What is fitted to one table."""

    table: "Table"
    depths: list[float]
    options: dict[str, Any]
    checkpoint: Path | None
    knn: bool

    def run(self, errors: Console, *, quiet: bool) -> tuple[list["Candidate"], "Verdict"]:
        """Every depth and the baselines, and what the held-out cells say of them.

        On Ctrl-C the best iterate so far is saved, and `Interrupted` raised.
        """
        from ..report.table_fits import complete_table

        with gathered_warnings(errors), progress_bar(errors, quiet=quiet) as bar:
            watch = Watch(bar, self.depths)
            try:
                return complete_table(
                    self.table,
                    self.depths,
                    self.options,
                    knn=self.knn,
                    progress=watch.report,
                    on_done=watch.done,
                )
            except KeyboardInterrupt:
                if self.checkpoint is None:
                    raise
                raise self._saved(watch, self.checkpoint) from None

    def _saved(self, watch: Watch, checkpoint: Path) -> Interrupted:
        if watch.complete is None:
            return Interrupted("Interrupted before the first iterate: nothing was written.")
        from ..files import file_type

        data = self.table.encode(watch.complete(), file_type(checkpoint))
        packed = self.table.pack(data, checkpoint)
        with writing(checkpoint):
            write_atomically(checkpoint, packed)
        return Interrupted(
            f"Interrupted: the best iterate so far (held-out RMSE {watch.rmse:.4g}) is in "
            f"{checkpoint}."
        )


def print_scores(
    out: Console, candidates: list["Candidate"], verdict: "Verdict", *, by_column: bool
) -> None:
    from ..report.text import refinement_sentence

    out.print(summary(candidates, verdict, by_column=by_column))
    for line in [refinement_sentence(verdict.used.refinement), *endings(candidates, verdict)]:
        if line:
            say(out, line)
    worst = column_summary(verdict.used)
    if worst is not None:
        out.print(worst)


def say_what_is_unlike(out: Console, table: "Table", holdout: str, verdict: "Verdict") -> None:
    import numpy as np

    from ..report.text import holdout_sentence

    found, network = verdict.network.refinement, verdict.network.imputer
    in_order = found is not None and "order" in found.graph and found.share > 0
    if holdout == "auto" and network is not None:  # blocks are held out wherever an order is tried
        in_order = network.row_order is not None
    line = holdout_sentence(~np.isnan(table.values), holdout, in_order=in_order)
    if line and table.kind == "table":
        say(out, line)
