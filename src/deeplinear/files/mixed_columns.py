"""From the cells of a table to the columns that are fitted and those that are carried through."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..completion.data.features import Feature, FeatureKind
from ..errors import InputError
from .cells import Cells, ColumnView
from .dates import are_dates
from .kinds import OddCell, Reading, read_column
from .layout import find_layout, measured
from .markers import MISSING, Markers
from .numbers import PLAIN, NumberFormat, advice, shape_of
from .refusals import SHOWN, shown
from .selection import Positions, Selection
from .sentinels import doubtful_numbers
from .text_options import TextOptions

_CODE = re.compile(r"[A-Z]{2}")  # as countries and continents have, Namibia and North America too
_WIDTH = re.compile(r"\d+[sdn]")  # of USGS: 15s for text, 20d for dates, 14n for numbers


@dataclass(frozen=True)
class MixedColumns:
    """What was found in the cells of a table."""

    start: int  # the first row of data: those above name the columns
    notes: list[str]  # what was guessed
    values: np.ndarray  # rows × fitted columns: numbers, codes of categories, NaN
    features: tuple[Feature, ...]
    fitted: list[int]  # positions of the columns of `values`
    carried: tuple[str, ...]
    dropped: frozenset[int]
    unfitted: list[int]  # positions of the others among all columns but labels


@dataclass(frozen=True)
class CellSource:
    """A file's cells, how its numbers are written, and where a cell lies.

    ``place`` maps (row, column) of the cells to words such as "line 5"; ``names`` are those of the
    columns where no heading names them.
    """

    path: Path
    cells: Cells
    numbers: NumberFormat
    options: TextOptions
    place: Callable[[int, int], str]
    names: Sequence[str]

    def read(self, selection: Selection, header: bool | None = None) -> MixedColumns:
        """The columns; ``header`` where the file itself tells, else what the options say or looks.

        **Raises** `InputError` for a cell that is neither number nor text, with the options that
        would read it.
        """
        cells = self.cells
        given = self.options.header
        layout = find_layout(cells, header if given is None else given, self.options.labels)
        start, width = int(layout.header), len(cells.first)
        notes, named = [layout.note] * bool(layout.note), 0
        if start and self._is_second_heading():
            start, second = 2, cells.rows[1]
            # a title above the headings has cells for some columns only
            named = int(sum(map(bool, second)) > sum(map(bool, cells.first)))
            texts = ", ".join(x for x in cells.rows[1 - named] if x)
            notes.append(f"a second line of text above the data ({shown(texts)}) is left as it is")
        count = len(cells.rows) - start
        names_only = count == 1 and not start and bool(cells.is_text.all())
        if not count or width <= int(layout.labels) or names_only:
            raise InputError(
                f"INPUT: '{self.path}' has no rows of numbers below its header; give a table with "
                "data."
            )
        headings = [x.strip() if layout.header else "" for x in cells.rows[named]]
        chosen = selection.positions(headings, self.path)
        columns = _Columns(self, headings, _unique(headings, self.names), start)
        readings = columns.readings(chosen, labels=layout.labels)
        fitted = [k for k, reading in enumerate(readings) if reading.kind is not None]
        carried = tuple(columns.carried(readings))
        notes += columns.words_for_missing(readings)
        if all(reading.what in ("empty", "labels") for reading in readings):
            raise InputError(
                f"INPUT: '{self.path}' has no observed entry; there is nothing to learn from, give "
                "some numbers."
            )
        if not fitted:
            chosen_away = bool(chosen.drop or chosen.keep)
            way = "keep fewer of them out" if chosen_away else "name columns with --categorical"
            if width == 1:
                way += ", or the --separator of its cells"
            raise InputError(
                f"INPUT: '{self.path}' has no column of numbers or categories to fit; it has "
                f"{', '.join(carried[:5]) or 'none that is left'}: {way}."
            )
        features = tuple(
            Feature(
                columns.names[k], readings[k].kind or FeatureKind.number, readings[k].categories
            )
            for k in fitted
        )
        values = columns.values(fitted, readings)
        first = int(layout.labels and 0 not in fitted)
        unfitted = [k - first for k in sorted({*range(first, width)} - {*fitted})]
        notes += columns.numbers_for_missing(fitted)
        return MixedColumns(start, notes, values, features, fitted, carried, chosen.drop, unfitted)

    def _is_second_heading(self) -> bool:
        """Whether the line below the headings is text over at least two columns of numbers, and
        all of them: units, or the headings themselves below a title.
        """
        cells = self.cells
        if len(cells.rows) < 4:
            return False
        numeric = [k for k in range(len(cells.first)) if cells.column(k, 2).is_number.any()]
        numeric = [k for k in numeric if cells.column(k, 2).is_numeric]
        second = cells.rows[1]
        widths = all(map(_WIDTH.fullmatch, filter(None, second)))
        words = [k for k in numeric if widths or not measured(second[k])]
        texts = [k for k in words if cells.is_text[1, k]]
        empty = [k for k in numeric if not second[k].strip()]
        return len(texts) > 1 and len(texts) + len(empty) == len(numeric)


@dataclass(frozen=True)
class _Columns:
    source: CellSource
    headings: list[str]  # "" where there is none
    names: list[str]  # one for each, all different
    start: int  # the first row of data

    @property
    def markers(self) -> Markers:
        return self.source.options.markers(self.source.numbers)

    def readings(self, chosen: Positions, *, labels: bool) -> list[Reading]:
        """What becomes of each column; `InputError` that names the first odd cell."""
        readings = []
        for k in range(len(self.names)):
            view = self.source.cells.column(k, self.start)
            if k in chosen.drop:
                readings.append(Reading(None, "dropped"))
            elif chosen.carries(k):
                readings.append(Reading(None, "kept"))
            elif k == 0 and labels and k not in chosen.columns | chosen.categorical:
                dates = view.is_text.any() and are_dates(view.labels)
                readings.append(Reading(None, "dates" if dates else "labels"))
            else:
                labelled = k in chosen.categorical
                found = read_column(view, self.source.numbers, categorical=labelled)
                if isinstance(found, OddCell):
                    raise self._odd(k, found)
                if found.kind is FeatureKind.category and self._takes_answers(view):
                    fresh = self.source.cells.column(k, self.start)
                    found = read_column(fresh, self.source.numbers, categorical=True)
                    assert isinstance(found, Reading)
                if k in chosen.columns and found.kind is None:
                    if found.what != "empty":
                        raise self._odd(k, OddCell(int(np.argmax(view.is_text))))
                    found = Reading(FeatureKind.number)  # from the marginals
                readings.append(found)
        return readings

    def numbers_for_missing(self, fitted: Sequence[int]) -> list[str]:
        """A line for each marker of the user's that lies among the other numbers of a column."""
        return [
            f"{number:g} was read as missing in {self._named(k)}, too ({count:,} cells), where "
            f"other numbers are like it: --keep {self._word(k)} if it is one of them"
            for k in fitted
            for number, count in doubtful_numbers(
                self.source.cells.column(k, self.start), self.markers
            )
        ]

    def values(self, fitted: Sequence[int], readings: Sequence[Reading]) -> np.ndarray:
        values = self.source.cells.values[self.start :, fitted]
        for j, k in enumerate(fitted):
            if readings[k].kind is FeatureKind.category:
                view = self.source.cells.column(k, self.start)
                codes = {label: float(code) for code, label in enumerate(readings[k].categories)}
                values[:, j] = np.nan
                values[view.is_text | view.is_number, j] = [codes[text] for text in view.observed]
        return values

    def carried(self, readings: Sequence[Reading]) -> list[str]:
        """One phrase per column that is carried through, with what stays missing there."""
        phrases = []
        for k, reading in enumerate(readings):
            view = self.source.cells.column(k, self.start)
            unnamed = reading.what == "empty" and not self.headings[k] and not any(view.texts)
            if reading.kind is not None or reading.what == "dropped" or unnamed:
                continue
            gaps = int((~view.is_text & ~view.is_number).sum())
            more = f", {gaps:,} missing stay" if gaps and reading.what != "empty" else ""
            phrases.append(f"{self._named(k)} ({reading.what}{more})")
        return phrases

    def _takes_answers(self, view: ColumnView) -> bool:
        """Make words that may be missing or labels labels, where other cells are missing.

        ``None`` beside empty cells is an answer, and ``NA`` among codes of two letters is one.
        """
        gaps, words = np.flatnonzero(~view.is_text & ~view.is_number).tolist(), self._answers(view)
        answers = [i for i in gaps if words(view.texts[i].strip())]
        if not answers or len(answers) == len(gaps):
            return False
        view.is_text[answers] = True  # of the cells, which others look at, too
        return True

    def _answers(self, view: ColumnView) -> Callable[[str], bool]:
        """Which words that often mark missing cells may be labels of a column."""
        given = {text.lower() for text in self.source.options.missing}
        words = {"none", "nil"} - given
        codes = {"NA"} if all(map(_CODE.fullmatch, view.labels)) and "na" not in given else set()
        return lambda word: word.lower() in words or word in codes

    def words_for_missing(self, readings: Sequence[Reading]) -> list[str]:
        """A line for each column of text with words that are read as missing, and may be labels."""
        lines = []
        for k, reading in enumerate(readings):
            if reading.kind is not FeatureKind.category and reading.what not in ("text", "labels"):
                continue
            view = self.source.cells.column(k, self.start)
            gaps = np.flatnonzero(~view.is_text & ~view.is_number).tolist()
            may_be = self._answers(view)
            words = Counter(view.texts[i] for i in gaps if may_be(view.texts[i].strip()))
            lines += [
                f"{shown(word)} ({count:,}) in {self._named(k)} is read as missing: --present "
                f"{word} if it is a value"
                for word, count in words.most_common(3)
            ]
            lines += [
                f"{shown(word)} in {self._named(k)} is read as a label: --missing {word} if it "
                "marks missing cells"
                for word in reading.categories
                if word.lower() in MISSING and word not in self.source.options.present
            ]
        return lines

    def _named(self, k: int) -> str:
        return shown(self.names[k]) if self.headings[k] else f"column {self.names[k]}"

    def _word(self, k: int) -> str:
        """What names the column in an option."""
        heading = self.headings[k]
        plain = heading.isidentifier() and len(heading) <= SHOWN
        return heading if plain and self.names[k] == heading else str(k + 1)

    def _odd(self, k: int, cell: OddCell) -> InputError:
        """The message about a cell that is no number, with the options that would read it."""
        source = self.source
        view = source.cells.column(k, self.start)
        row, word = cell.row, self._word(k)
        text = view.texts[row]
        more = max(int(view.is_text.sum()) - 1, 0)
        others = f" and {more:,} more cell{'s' if more > 1 else ''} like it" if more else ""
        like = [x for x, odd in zip(view.texts, view.is_text, strict=True) if odd and shape_of(x)]
        some = like[:1000] + number_like(source.cells, self.markers, 100)
        way = advice(text, source.numbers, some)
        if source.options.numbers is not None and PLAIN.reads(text):
            way = "--decimal and --thousands left out"
        word_of_shell = "'" + text.replace("'", "'\\''") + "'"
        ways = [f"mark it as missing with --missing {word_of_shell}"] * (len(text) <= SHOWN)
        ways.append(f"carry the column through with --keep {word}")
        if 20 * more > len(view.texts):  # too many to be typing errors
            ways.reverse()
        ways = [f"read it with {way}"] * bool(way) + ways
        if row + self.start == 0:
            ways.insert(0, "take the first line for headings with --header")
        return InputError(
            f"INPUT: '{source.path}', {source.place(row + self.start, k)}: {shown(text)}{others} "
            f"in {self._named(k)} {cell.fault}; {', '.join(ways)}, or make it labels with "
            f"--categorical {word}."
        )


def number_like(cells: Cells, markers: Markers, most: int = 1000) -> list[str]:
    """Cells of columns where most look like numbers, for the guess of their format."""
    found: list[str] = []
    for j in range(len(cells.first)):
        sample = cells.texts(j, step=max(1, len(cells.rows) // most))
        observed = [text for text in sample if not markers.mean_missing(text)]
        shaped = [text for text in observed if shape_of(text)]
        if 2 * len(shaped) >= len(observed) - 1:  # a heading is none
            found += shaped
    return found


def _unique(headings: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """A name for each column: repeated headings get their number, empty ones are numbers."""
    counts = Counter(headings)
    return [
        (heading if counts[heading] == 1 else f"{heading} [{number}]") if heading else number
        for heading, number in zip(headings, numbers, strict=True)
    ]
