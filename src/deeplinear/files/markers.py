"""What marks a missing cell in a text file."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .numbers import PLAIN, NumberFormat

#: Cells that are read as missing, compared in lower case without surrounding blanks.
MISSING = frozenset(
    {
        *("", "na", "n/a", "n.a.", "nan", "-nan", "+nan", "<na>", "nat", "null", "none", "nil"),
        *("missing", "?", ".", "..", "...", "…", "-", "--", "–", "—", ":", "\\n"),
        *("*", "**", "***", "****", "*****"),
        *("#n/a", "#na", "#n/a n/a", "#div/0!", "#num!", "#value!", "#ref!", "#name?", "#null!"),
        *("1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind", "-nan(ind)"),
    }
)

#: Those that are no ids: "-" may be one, among names.
NO_ID = frozenset(text for text in MISSING if text in ("", "\\n") or text.strip("-+.?:–—…"))


class Markers:
    """The ``known`` markers, in any case of letters, and some more, as they are written.

    Those that are numbers compare as numbers.

    >>> markers = Markers(["-999"])
    >>> [markers.mean_missing(cell) for cell in ("-9.99e2", "n/a", "-99")]
    [True, True, False]
    """

    def __init__(
        self,
        more: Iterable[str] = (),
        numbers: NumberFormat = PLAIN,
        known: frozenset[str] = MISSING,
    ) -> None:
        self.given = more = list(more)
        self.known, self.exact = known, frozenset(text.strip() for text in more)
        read = (next((f for f in (numbers, PLAIN) if f.reads(text)), None) for text in more)
        self.numbers = frozenset(
            f.parse(text) for text, f in zip(more, read, strict=True) if f is not None
        )
        self._format = numbers

    def mean_missing(self, cell: str) -> bool:
        """Whether a cell, without its quotation marks, stands for a missing entry."""
        if self.are_words(cell):
            return True
        return bool(self.numbers) and self.number(cell) in self.numbers

    def number(self, cell: str) -> float | None:
        """A cell as a number of the file, None if it is none."""
        return self._format.parse(cell) if self._format.reads(cell) else None

    def are_words(self, cell: str) -> bool:
        """Whether a cell is one of the markers as a text."""
        cell = cell.strip()
        return cell in self.exact or cell.lower() in self.known

    def forms(self) -> set[str]:
        """The markers in all usual spellings, for a quick look."""
        known = {form for text in self.known for form in (text, text.upper(), text.title())}
        return known | self.exact

    def hide(self, values: np.ndarray) -> np.ndarray:
        """``values`` with NaN where a number marks a missing entry."""
        if not self.numbers:
            return values
        return np.where(np.isin(values, list(self.numbers)), np.nan, values)

    def kept(self, values: np.ndarray) -> np.ndarray:
        """Which of the numbers mark no missing entry, NaN being one by the markers of texts."""
        gone = np.isin(values, list(self.numbers))
        return ~(gone | np.isnan(values)) if self.are_words("nan") else ~gone

    def tell(self, path: Path, count: int) -> None:
        """A `UserWarning` that ``count`` entries of a file were left out, if any."""
        if count:
            warnings.warn(
                f"INPUT: {count:,} entr{'y' if count == 1 else 'ies'} of '{path}' left out, whose "
                f"value is missing (--missing {', '.join(map(repr, self.given))}).",
                UserWarning,
                stacklevel=3,
            )
