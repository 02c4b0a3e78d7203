"""Tables written in random dialects, with what a reader should find in them."""

from dataclasses import dataclass, field

import numpy as np

MARKERS = ("", "NA", "N/A", "nan", "NaN", "null", "None", "?", "-", "..", "\\N", "<NA>", "#N/A")
NAMED = ("-999", "99.9", "unknown", "n.d.")
WORDS = ("ann", "bob", "Zoë", "o'neil", "x y", "a-1", "B2", "Éva", "d_d", "eel", "fox", "gnu")


@dataclass
class Written:
    """A file's text with the truth about it."""

    text: str
    values: np.ndarray  # rows × numeric columns, NaN where missing
    names: list[str]  # of the numeric columns; "" without a heading
    cells: list[list[str]]  # raw, records only, the heading included
    numeric: list[int]  # positions of the numeric columns in the file
    header: bool
    separator: str
    missing: tuple[str, ...] = ()  # to be named as an option
    traits: list[str] = field(default_factory=list)


def random_table(rng: np.random.Generator) -> Written:
    """A table of numbers in a random dialect, layout and with random markers."""
    m, n = int(rng.integers(4, 14)), int(rng.integers(2, 7))
    separator = str(rng.choice([",", ";", "\t", "|", " "], p=[0.35, 0.2, 0.2, 0.1, 0.15]))
    decimal = str(rng.choice([".", ","], p=[0.65, 0.35]))
    group = str(rng.choice(["", ".", ",", " ", "'"], p=[0.6, 0.1, 0.1, 0.1, 0.1]))
    group = "" if group == decimal else group
    quote_all = bool(rng.random() < 0.2)
    marker = str(rng.choice(MARKERS)) if rng.random() < 0.8 else str(rng.choice(NAMED))
    if separator == " " and not marker and not quote_all:
        marker = "NA"
    values, texts = _numbers(rng, m, n, decimal, group)
    hidden = rng.random((m, n)) < 0.25
    for j in range(n):  # two entries of each column stay
        hidden[rng.permutation(m)[:2], j] = False
    if not hidden.any():
        hidden[0, 0] = True
    values[hidden] = np.nan
    cells = [[marker if hidden[i, j] else texts[i][j] for j in range(n)] for i in range(m)]
    names, header = _headings(rng, n)
    corner, labels = _labels(rng, m, header)
    numeric = list(range(n))
    if labels is not None and (header or corner is not None):
        cells = [[label, *row] for label, row in zip(labels, cells, strict=True)]
        names = [corner or "", *names]
        numeric = list(range(1, n + 1))
    if rng.random() < 0.2:
        days = [f"2024-03-{day:02d}" for day in range(1, m + 1)]
        cells = [[*row, day] for row, day in zip(cells, days, strict=True)]
        names = [*names, "day"]
    rows = [names, *cells] if header else cells
    quoted = [[_quoted(cell, separator, quote_all) for cell in row] for row in rows]
    traits = [
        f"sep {separator!r}",
        f"decimal {decimal}",
        f"thousands {group!r}",
        f"marker {marker}",
    ]
    named = (marker,) if marker in NAMED else ()
    return Written(
        _assemble(rng, quoted, separator, traits),
        values,
        [names[k] for k in numeric],
        rows,
        numeric,
        header,
        separator,
        named,
        traits,
    )


def _numbers(
    rng: np.random.Generator, m: int, n: int, decimal: str, group: str
) -> tuple[np.ndarray, list[list[str]]]:
    values = np.zeros((m, n))
    texts = [[""] * n for _ in range(m)]
    for j in range(n):
        kind = rng.choice(["float", "integer", "large", "scientific"], p=[0.5, 0.25, 0.2, 0.05])
        for i in range(m):
            x = float(rng.normal())
            text = {
                "float": f"{x:.{2 if j % 2 else 4}f}",
                "integer": f"{rng.integers(-20, 60)}",
                "large": f"{1e5 * x:.1f}",
                "scientific": f"{x:.3e}",
            }[str(kind)]
            values[i, j] = float(text)
            whole, _, rest = text.partition(".")
            if group and kind == "large":
                whole = f"{int(whole):,}".replace(",", group) if whole != "-0" else whole
            texts[i][j] = whole + (decimal + rest if rest else "")
    return values, texts


def _headings(rng: np.random.Generator, n: int) -> tuple[list[str], bool]:
    kind = str(rng.choice(["none", "names", "years", "run 0", "run 1", "samples", "units"]))
    if kind == "none":
        return [""] * n, False
    names = {
        "names": [f"x{j}" for j in range(n)],
        "years": [str(2001 + j) for j in range(n)],
        "run 0": [str(j) for j in range(n)],
        "run 1": [str(j + 1) for j in range(n)],
        "samples": [str(x) for x in rng.choice(np.arange(100_000, 999_999), n, replace=False)],
        "units": [f"c{j} [m/s, mean]" for j in range(n)],
    }[kind]
    return names, True


def _labels(rng: np.random.Generator, m: int, header: bool) -> tuple[str | None, list[str] | None]:
    """(corner, labels); a corner None is that of a table that may have no header."""
    kind = str(rng.choice(["none", "words", "index", "codes"]))
    if kind == "none" or (kind == "index" and not header):  # that would be one more column
        return None, None
    if kind == "index":
        return "", [str(i) for i in range(m)]
    words = [f"{WORDS[i % len(WORDS)]}{i}" for i in range(m)]
    if kind == "codes":
        words = [f"g{i:03d}" for i in range(m)]
    return str(rng.choice(["", "name", "gene", "station"])), words


def _quoted(cell: str, separator: str, quote_all: bool) -> str:
    marks = {separator, '"', "\n"} | ({" ", ""} if separator == " " else set())
    if quote_all or any(mark and mark in cell for mark in marks) or (separator == " " and not cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _assemble(
    rng: np.random.Generator, rows: list[list[str]], separator: str, traits: list[str]
) -> str:
    end = "\r\n" if rng.random() < 0.3 else "\n"
    glue = separator
    if separator == " ":
        glue = " " * int(rng.integers(1, 4))
    elif rng.random() < 0.2:
        glue = separator + " "
    text = end.join(glue.join(row) for row in rows)
    if rng.random() < 0.8:
        text += end * int(rng.integers(1, 3))
    if rng.random() < 0.15:
        text = f"# measured in March{end}# by hand{end}" + text
        traits.append("comments")
    if rng.random() < 0.15 and separator != " ":
        text = f"sep={separator}{end}" + text
        traits.append("sep=")
    if rng.random() < 0.2:
        text = "\ufeff" + text
        traits.append("byte-order mark")
    return text
