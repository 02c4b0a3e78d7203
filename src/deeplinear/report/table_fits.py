"""One table completed at several depths and by the baselines, all measured on the same cells."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..progress import Progress
from .compare import (
    Candidate,
    Comparison,
    Verdict,
    column_means,
    compare_depths,
    interpolation,
    nearest_neighbours,
)

if TYPE_CHECKING:
    from ..files import Table

# Numbers that nearest neighbours compare in about a second.
_ALL_PAIRS = 1e8


def complete_table(
    table: "Table",
    depths: Sequence[float],
    options: dict[str, Any],
    *,
    knn: bool = False,
    truth: np.ndarray | None = None,
    progress: Callable[[float, Progress], bool | None] | None = None,
    on_done: Callable[[Candidate], None] | None = None,
) -> tuple[list[Candidate], Verdict]:
    """Every depth and the baselines, and what the held-out cells say of them.

    ``options`` are those of `deeplinear.DeepLinearImputer`; ``knn``: nearest neighbours also where
    they take long; ``truth``: the whole table, where it is known, which chooses nothing.
    """
    comparison = Comparison(table.coded, by_column=table.kind == "table", truth=truth)
    networks, held_out = compare_depths(
        comparison, depths, progress=progress, on_done=on_done, **options
    )
    methods = [column_means]
    methods += [interpolation] * (options.get("row_order") is True)
    m, n = table.values.shape
    methods += [nearest_neighbours] * (knn or m * m * n <= _ALL_PAIRS)
    possible = networks[0].imputer.within_bounds  # type: ignore[union-attr]
    baselines = [method(comparison, held_out) for method in methods]
    candidates = [*networks, *(replace(c, filled=possible(c.filled)) for c in baselines)]
    return candidates, Verdict.of(comparison, candidates, held_out)
