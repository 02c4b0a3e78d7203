"""Which of the first line and the first column of a table are headings and labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .cells import Cells, ColumnView, sampled
from .dates import are_dates
from .numbers import shape_of

# Headings that announce labels or numbers of rows.
_LABELS = re.compile(
    r"(unnamed: 0|index|ids?|names?|labels?|keys?|genes?|probes?|samples?|subjects?|patients?|"
    r"country|countries|region|codes?|sites?|stations?|species|symbols?|items?|users?|"
    r"\w*[ _.-]?(id|name|code|label|key|index))",
    re.IGNORECASE,
)
_ROW_NUMBERS = ("unnamed: 0", "rownames", "row.names", "rowname", "index", "row")
# Texts that were meant as numbers: below a detection limit, with a note or a unit, errors.
_MEASURED = re.compile(r"[<>≤≥~≈±=*+-]*\s*[\d.,]+\s*[*†‡?!]*|#[A-Z/0!?]+|[\d.,]+\s*[^\W\d]{1,3}\.?")


@dataclass(frozen=True)
class Layout:
    """``note`` is what was guessed and how to say otherwise; empty where nothing is in doubt."""

    header: bool
    labels: bool
    note: str = ""


def find_layout(cells: Cells, header: bool | None = None, labels: bool | None = None) -> Layout:
    """Whether the first line is a header, and the first column holds labels, unless it is given.

    A header has text over numbers; or names that are numbers, where they look different from the
    numbers below them. Labels are distinct texts, or numbers under an empty corner.
    """
    note = ""
    if header is None:
        header, note = _find_header(cells, labels)
    if labels is None:
        labels = len(cells.first) > 1 and _has_labels(cells, header)
    return Layout(header, labels, note)


def measured(text: str) -> bool:
    """Whether a text was probably meant as a number: ``<0.5``, ``12*``, ``#DIV/0!``, ``3 mg``."""
    return bool(_MEASURED.fullmatch(text.strip()))


def _find_header(cells: Cells, labels: bool | None) -> tuple[bool, str]:
    count, width = cells.values.shape
    if count < 2:
        return False, ""
    below = [cells.column(j, 1) for j in range(width)]
    first = cells.first
    numeric = [j for j in range(width) if below[j].is_numeric and not (labels and j == 0)]
    texts = [j for j in numeric if cells.is_text[0, j]]
    numbers = [j for j in numeric if not np.isnan(cells.values[0, j])]
    if texts and not numbers:
        return len(texts) > 1 or not measured(first[texts[0]]), ""
    if numbers and all(map(measured, (first[j] for j in texts))) and texts:
        return False, ""  # odd cells: they are named later
    if texts and not _are_names(cells, numbers) and not _is_rising(cells.values[0, numbers]):
        return sum(not measured(first[j]) for j in texts) > len(numbers), ""
    if any(_is_alike(first[j], below[j]) for j in range(width)):
        return False, ""
    if numbers:
        texts += [j for j in range(width) if _heads_texts(first[j], below[j])]
        return _numbers_name(cells, below, numbers, texts)
    return bool(cells.is_text[0].any()) and not _repeats(first, below), ""


def _is_alike(cell: str, below: ColumnView) -> bool:
    """Whether a cell is one more date over dates, or one more code, like g000 over g001, g002."""
    labels = below.labels
    if not labels or below.is_number.any():
        return False
    if are_dates(labels):
        return are_dates([cell])
    forms = {re.sub(r"\d", "9", re.sub(r"[^\W\d_]+", "a", label)) for label in [cell, *labels]}
    return len(forms) == 1 and "9" in forms.pop()


def _heads_texts(cell: str, below: ColumnView) -> bool:
    """Whether a cell is hardly one of the texts below it, which are dates, or come repeatedly."""
    labels = below.labels
    if not labels or below.is_number.any() or not cell.strip():
        return False
    if are_dates(labels):
        return not are_dates([cell])
    distinct = set(labels)
    return cell not in distinct and len(labels) > 5 and 2 * len(distinct) <= len(labels)


def _numbers_name(
    cells: Cells, below: list[ColumnView], numbers: list[int], texts: list[int]
) -> tuple[bool, str]:
    """Whether a first line of numbers names the columns, and the note where that is a guess."""
    names = cells.values[0, numbers]
    corner = cells.first[0].strip()
    empty = not corner and 0 not in numbers
    over_texts = bool(below[0].is_text.any())
    known = bool(_LABELS.fullmatch(corner)) and 0 not in numbers
    shown = ", ".join(cells.first[j] for j in numbers[:3]) + ", …" * (len(numbers) > 3)
    yes = f"the first line ({shown}) was taken for headings: --no-header reads it as data"
    no = f"the first line ({shown}) was read as data: --header takes it for headings"
    run = _is_run(names)
    if not _are_names(cells, numbers):  # decimals, negative, repeated
        if known or ((empty or texts) and _is_rising(names)):
            return True, yes
        table = np.stack([below[j].values for j in numbers], axis=1)
        strange = _is_alone(names, table) or _is_strange(cells, below, numbers)
        return False, no if empty or texts or strange else ""
    if empty and (_counts(below[0].values) or over_texts or run):
        return True, ""
    spoken = bool(empty or known or texts or over_texts)
    different = _look_different(cells, below, numbers, run=run, spoken=spoken)
    if different and (empty or known or texts or run or len(numbers) > 1):
        return True, "" if empty or known else yes
    if texts or known or (empty and run):
        return True, yes
    doubtful = empty or over_texts or (len(numbers) > 1 and (run or different))
    return False, no if doubtful else ""


def _is_strange(cells: Cells, below: list[ColumnView], columns: list[int]) -> bool:
    """Whether most of a first line of whole numbers, such as codes of channels, lie further from
    those below them than these from one another.
    """
    if len(columns) < 3 or len(cells.values) < 6:
        return False
    if not all(cells.first[j].strip().isdigit() for j in columns):
        return False
    far = 0
    for j in columns:
        seen = below[j].values[below[j].is_number]
        far += len(seen) > 0 and np.abs(seen - cells.values[0, j]).min() > np.ptp(seen)
    return 2 * far > len(columns)


def _are_names(cells: Cells, columns: list[int]) -> bool:
    """Whether the first cells of ``columns`` are distinct whole numbers, written as such."""
    names = cells.values[0, columns]
    return len(set(names.tolist())) == len(names) and all(
        re.fullmatch(r"\d+", cells.first[j].strip()) for j in columns
    )


def _look_different(
    cells: Cells, below: list[ColumnView], columns: list[int], *, run: bool, spoken: bool
) -> bool:
    """Whether the first line is hardly one more line of the numbers below: by size or by form.

    Size counts where the corner names something (``spoken``), or where the names go up in equal
    steps as no line below does: series grow and shrink, too.
    """
    names, count = cells.values[0, columns], len(columns)
    table = np.stack([below[j].values for j in columns], axis=1)
    pooled = table[~np.isnan(table)]
    if not len(pooled):
        return False
    beyond = names.min() > pooled.max() or (count > 1 and names.max() < pooled.min())
    if beyond and (spoken or _is_alone(names, table)):
        return True
    chances = [_chance(name, below[j]) for name, j in zip(names, columns, strict=True)]
    if count > 1 and np.prod(chances) < (0.5 if run else 0.05):
        return True
    rising = _is_rising(names)
    alike = [len(set(row)) == count and (not rising or (np.diff(row) > 0).all()) for row in table]
    return spoken and count > 3 and (sum(alike) + 0.5) / (len(alike) + 1) < 0.05


def _chance(name: float, view: ColumnView) -> float:
    """How probable a whole number of this size is in a column, by the numbers that it has."""
    written = [text.strip() for text in view.observed[:500]]
    whole = sum(text.lstrip("+-\u2212").isdigit() for text in written)
    if name >= 10 and written and name > 10 * np.nanmax(np.abs(view.values), initial=0.0):
        whole = 0
    return (whole + 0.5) / (len(written) + 0.5)


def _is_rising(names: np.ndarray) -> bool:
    """Whether numbers increase from one to the next."""
    return len(names) > 1 and bool((np.diff(names) > 0).all())


def _is_alone(names: np.ndarray, table: np.ndarray) -> bool:
    """Whether the names go up in equal steps, as no line below them does."""
    return _steps(names) and not any(map(_steps, table))


def _steps(row: np.ndarray) -> bool:
    """Whether at least three numbers go up in equal steps."""
    steps = np.diff(row)
    return bool(len(row) > 2 and steps[0] > 0 and (steps == steps[0]).all())


def _is_run(names: np.ndarray) -> bool:
    return bool(
        len(names) > 1 and names[0] in (0, 1) and (names == names[0] + np.arange(len(names))).all()
    )


def _counts(values: np.ndarray) -> bool:
    """Whether a column counts its rows, from 0 or 1."""
    return bool(len(values)) and values[0] in (0, 1) and bool((np.diff(values) == 1).all())


def _repeats(first: Sequence[str], below: list[ColumnView]) -> bool:
    return any(
        cell in set(view.texts) for cell, view in zip(first, below, strict=True) if cell.strip()
    )


def _has_labels(cells: Cells, header: bool) -> bool:
    view = cells.column(0, int(header))
    corner = cells.first[0].strip() if header else None
    if view.is_number.any() and any(map(measured, view.labels)):
        return False
    some = sampled(view.labels)
    if 2 * sum(map(bool, map(shape_of, some))) > len(some) > 0:
        return False  # numbers in a format that is not the file's: they are named later
    if not view.is_numeric:
        return corner == "" or 2 * len(set(view.labels)) > len(view.labels)
    if corner is None:
        return False
    if corner == "" or (corner.lower() in _ROW_NUMBERS and _counts(view.values)):
        return not np.isnan(view.values).any() or bool(view.is_text.any())
    observed = view.observed
    return bool(
        view.is_text.any() and _LABELS.fullmatch(corner) and len(set(observed)) == len(observed)
    )
