"""Random long files in many dialects, with the entries that are in them."""

import gzip
from dataclasses import dataclass, field

from deeplinear.completion.data.id_encoder import integer_of
from deeplinear.files.text_options import TextOptions

WORDS = ("ann", "bob", "éva", "Łukasz", "名前", "x-1", "O'Neil", "a.b")
SPACED = ("ann lee", "von der Au", "toy story (1995)")
PARTED = ("Lee, Ann", "a;b", "x|y", 'the "best"')
HEADINGS = ("user", "item", "rating", "when", "note", "weight")


@dataclass
class Case:
    """A file, how it is to be read, and what is right."""

    name: str
    content: bytes
    wanted: tuple
    options: TextOptions
    entries: list  # of (row id, column id, value)
    bad_lines: set = field(default_factory=set)  # one of them must be named


def random_case(rng):
    """One file; about every third has one fault."""
    return _Maker(rng).case()


class _Maker:
    def __init__(self, rng):
        self.rng = rng
        self.mark = self.pick([",", ";", "\t", "|", "::", " "])
        self.options = {}

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, p):
        return bool(self.rng.random() < p)

    def case(self):
        count = int(self.pick([1, 2, 5, 12, 40]))
        ids = [self.ids(count), self.ids(count)]
        numbers, texts = self.numbers(count)
        before, after = int(self.rng.integers(3)), int(self.rng.integers(3))
        columns = [self.extra(count) for _ in range(before)]
        columns += [*ids, texts] + [self.extra(count) for _ in range(after)]
        places = [before, before + 1, before + 2]
        if self.chance(0.3):  # another order
            order = self.rng.permutation(len(columns)).tolist()
            columns = [columns[k] for k in order]
            places = [order.index(p) for p in places]
        header = self.header(len(columns), places)
        wanted = self.wanted(places, header)
        lines, where = self.lines(columns, header)
        fault, bad = self.fault(lines, where, places)
        kept = [k for k in range(count) if numbers[k] is not None]
        if fault is None and len(kept) < count and "missing" not in self.options:
            bad = {where[k] for k in range(count) if numbers[k] is None}
        labels = [self.canonical([side[k] for k in kept]) for side in ids]
        entries = list(zip(*labels, [numbers[k] for k in kept], strict=True))
        name, content = self.encoded(lines)
        return Case(name, content, wanted, TextOptions(**self.options), entries, bad)

    def ids(self, count):
        kind = self.pick(["small", "large", "word", "u9", "zero", "float", "spaced", "parted"])
        if kind in ("spaced", "parted") and self.mark in (" ", "::"):
            kind = "word"
        make = {
            "small": lambda: str(self.rng.integers(1, 8)),
            "large": lambda: str(self.rng.integers(10**6)),
            "word": lambda: self.pick(WORDS),
            "u9": lambda: f"u{self.rng.integers(40)}",
            "zero": lambda: f"{self.rng.integers(200):03d}",
            "float": lambda: f"{self.rng.integers(50)}.0",
            "spaced": lambda: self.pick(SPACED),
            "parted": lambda: self.pick(PARTED),
        }[kind]
        return [make() for _ in range(count)]

    def canonical(self, texts):
        numbers = [integer_of(text) for text in texts]
        return texts if None in numbers else numbers

    def numbers(self, count):
        """(values, None where missing, and their texts)"""
        decimal = self.pick([".", ".", ","])
        kind = self.pick(["stars", "halves", "normal", "thousands", "percent", "big"])
        marker = self.pick([None, None, "NA", "-999", "n/a"])
        if marker is not None and self.chance(0.7):
            self.options["missing"] = (marker,)
        values, texts = [], []
        for k in range(count):
            x = {
                "stars": float(self.rng.integers(1, 6)),
                "halves": int(self.rng.integers(1, 11)) / 2,
                "normal": round(float(self.rng.normal()), 4),
                "thousands": 1_234_567.25 if k == 0 else round(float(self.rng.random() * 1e6), 2),
                "percent": round(float(self.rng.random() * 100), 1),
                "big": float(self.rng.integers(10**7)),
            }[kind]
            text = f"{x:,}" if kind == "thousands" else f"{x:g}" if kind == "stars" else repr(x)
            if kind == "thousands":
                text = text.replace(",", "_")
            text = text.replace(".", decimal).replace("_", "." if decimal == "," else ",")
            text += "%" if kind == "percent" else ""
            if marker is not None and k and self.chance(0.2):
                x, text = None, "-999" + decimal + "0" if marker == "-999" else marker
            values.append(x)
            texts.append(text)
        if marker == "-999" and "missing" not in self.options:  # then it is a number
            values = [-999.0 if x is None else x for x in values]
            if kind == "percent":
                values, texts = [1.0] * count, ["1"] * count
        return values, texts

    def extra(self, count):
        kind = self.pick(["date", "stamp", "text", "empty", "number"])
        make = {
            "date": lambda: f"{self.rng.integers(2000, 2024)}-{self.rng.integers(10, 13)}-17",
            "stamp": lambda: str(978300000 + self.rng.integers(10**6)),
            "text": lambda: self.pick(WORDS),
            "empty": lambda: "" if self.mark != " " else "-",
            "number": lambda: str(self.rng.integers(100)),
        }[kind]
        return [make() for _ in range(count)]

    def header(self, width, places):
        if self.chance(0.45):
            return None
        names = [f"{self.pick(HEADINGS)}{k}" for k in range(width)]
        if self.chance(0.2):
            names[places[2]] = "2019"
        if self.chance(0.2):
            names[places[1]] = str(self.rng.integers(30, 60))
        if width > 3 and self.chance(0.3):  # the same heading twice, of others
            others = [k for k in range(width) if k not in places]
            for k in others:
                names[k] = "x"
        return names

    def wanted(self, places, header):
        if header is None or self.chance(0.5):
            return tuple(str(p + 1) for p in places)
        return tuple(header[p] for p in places)

    def lines(self, columns, header):
        """(lines without ends, the line numbers of the entries)"""
        quoted = self.mark != "::" and self.chance(0.2)
        lines, where = [], []
        if self.chance(0.15):
            lines.append("# made by a program, 2024")
        if self.mark in ",;|" and self.chance(0.1):
            lines.insert(0, f"sep={self.mark}")
        if header is not None:
            lines.append(self.joined(header, quoted=False))
        blank = " " if self.mark == "," and self.chance(0.2) else ""
        tail = self.mark if self.mark in ",;\t" and self.chance(0.1) else ""
        for row in zip(*columns, strict=True):
            if self.chance(0.03):
                lines.append("")
            if self.chance(0.03):
                lines.append("# a comment")
            lines.append(self.joined(row, quoted=quoted, blank=blank) + tail)
            where.append(len(lines))
        return lines + [""] * int(self.rng.integers(3)), where

    def joined(self, cells, *, quoted, blank=""):
        return (self.mark + blank).join(
            '"' + cell.replace('"', '""') + '"'
            if quoted or self.mark in cell or '"' in cell or (self.mark == " " and not cell)
            else cell
            for cell in cells
        )

    def fault(self, lines, where, places):
        """Spoil one entry in a third of all files: (what, the lines of which one must be named)."""
        k = int(self.rng.integers(len(where)))
        line = lines[where[k] - 1]
        kind = self.pick(["short", "long", "quote", None, None, None, None, None, None])
        if kind is None or len(where) < 5 or k == 0 or '"' in line:
            return None, set()
        spoiled = {
            "short": line.rsplit(self.mark, 1)[0],
            "long": line + self.mark + "more",
            "quote": '"' + line,
        }[kind]
        if kind == "short" and line.endswith(self.mark):
            return None, set()
        lines[where[k] - 1] = spoiled
        return kind, {where[k]}

    def encoded(self, lines):
        end = self.pick(["\n", "\n", "\r\n"])
        text = end.join(lines) + end * self.chance(0.8)
        encoding = self.pick(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])
        suffix = self.pick([".csv", ".txt", ".dat", ".data"])
        data = text.encode(encoding)
        if self.chance(0.1):
            return f"a{suffix}.gz", gzip.compress(data)
        return f"a{suffix}", data
