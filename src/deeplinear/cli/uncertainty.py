"""``--intervals`` and ``--draws`` of ``complete``: how sure the cells are that it fills in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from ..atomic import write_atomically
from ..errors import InputError
from ..places import check_file, writing
from .options import STANDARD, check_range
from .streams import check_standard_output

if TYPE_CHECKING:
    from ..completion.imputer import DeepLinearImputer
    from ..files import Table

Intervals = Annotated[
    Path | None,
    typer.Option(help="CSV, TSV, Parquet: a line per missing number with its interval; or -."),
]
Coverage = Annotated[
    float | None,
    typer.Option(help="Part of the missing numbers that the intervals hold; default: 0.9."),
]
Draws = Annotated[
    int,
    typer.Option(help="Also write this many draws: for OUTPUT a.csv a.01.csv, a.02.csv, …."),
]
_MOST = 999


@dataclass(frozen=True)
class Uncertainty:
    """What was asked for, and where it goes: the ``output`` is that of the completed table."""

    intervals: Path | None
    coverage: float | None
    draws: int
    output: Path

    @property
    def results(self) -> dict[str, Path | None]:
        """The files to write, by what names them in messages."""
        each = {f"--draws, table {k}": path for k, path in enumerate(self._tables(), 1)}
        return {"--intervals": self.intervals, **each}

    def _tables(self) -> Iterator[Path]:
        """``filled.01.csv`` … beside ``filled.csv``; as many digits as the last number has."""
        from ..files.opening import COMPRESSED

        digits, name = max(2, len(str(self.draws))), self.output
        packed = name.suffix if name.suffix.lower() in COMPRESSED else ""
        bare = name.with_suffix("") if packed else name
        for k in range(1, self.draws + 1):
            yield bare.with_name(f"{bare.stem}.{k:0{digits}}{bare.suffix}{packed}")

    def check(self, *, force: bool, escape_formulas: bool) -> None:
        """Refuse before any computing what cannot be meant or written."""
        check_range("--draws", self.draws, 0, _MOST)
        if self.draws and self.output == STANDARD:
            raise InputError(
                "--draws: its tables go beside the output; give --output the name of a file."
            )
        if self.coverage is not None and self.intervals is None:
            raise InputError("--coverage: it is that of intervals; add --intervals FILE.")
        if self.coverage is not None and not 0 < self.coverage < 1:  # also refuses NaN
            raise InputError(
                f"--coverage: {self.coverage:g} is no part of the cells; give a number between 0 "
                "and 1."
            )
        if self.intervals is None:
            return
        if self.intervals != STANDARD:
            from ..files.long_output import check_list

            check_list(self.intervals, "--intervals", escape_formulas=escape_formulas)
            check_file(self.intervals, force=force, argument="--intervals")
            return
        if self.output == STANDARD:
            raise InputError("--intervals: standard output is that of the table; give a file.")
        check_standard_output()

    def check_kinds(self, table: "Table", *, force: bool) -> None:
        """Refuse what cannot be done for a table of this kind."""
        from ..files import check_output

        for path in self._tables():
            check_output(path, table, force=force, argument="--draws")
        if self.intervals is not None and table.kind == "image":
            raise InputError("--intervals: it lists cells of tables; leave it out for an image.")

    def write(
        self, table: "Table", filled: np.ndarray, imputer: "DeepLinearImputer", *, escape: bool
    ) -> list[str]:
        """Write what was asked for; what was written, in sentences."""
        from ..files import file_type
        from ..report.lists import COVERAGE, interval_columns
        from .pairs import write_list

        said = []
        if self.intervals is not None:
            coverage = COVERAGE if self.coverage is None else self.coverage
            columns = interval_columns(table, filled, imputer, coverage)
            write_list(self.intervals, columns, escape_formulas=escape)
            if self.intervals != STANDARD:
                count = len(columns["row"])
                what = f"intervals of {count:,} cells, coverage {coverage:.4g}"
                said.append(f"Wrote {self.intervals} ({what}).")
        if self.draws:
            paths = list(self._tables())
            tables = imputer.draws(self.draws, table.coded)
            for path, drawn in zip(paths, tables, strict=True):
                data = table.pack(table.encode(drawn, file_type(path)), path)
                with writing(path):
                    write_atomically(path, data)
            last = f" … {paths[-1]}" if self.draws > 1 else ""
            said.append(f"Wrote {paths[0]}{last} ({self.draws} draws from the posterior).")
        return said
