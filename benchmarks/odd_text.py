"""How the time of reading grows with the size of odd text files.

    python benchmarks/odd_text.py [--size 100000] [--all] [beginning of a name ...]

Each kind of text is read at two sizes, one four times the other, as a table and as a list of
entries; ``--all`` shows all times, else those that grow by more than linearly (the exponent of the
size is above 1.3), or that take more than 5 s. Times are of the processor.
"""

import argparse
import contextlib
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deeplinear.errors import InputError
from deeplinear.files import TextOptions, read_table
from deeplinear.files.long import read_long

STRAY = ['"x,y,z', 'x,"y,z', 'x,y"q,z', 'x,y,z"', '"x"y,"b","c"', '"x","y,"z"', ' "x,1,2']
LINES = {"plain": "1,2,3.5\n", "quoted": '"1","2","3"\n', "odd": '1,"2,3\n', "inches": '5",6,7\n'}


def kinds(n: int) -> dict[str, Callable[[], str]]:
    """About n characters of every kind of text."""

    def many(piece: str) -> str:
        return piece * (n // len(piece))

    columns = n // 12
    found: dict[str, Callable[[], str]] = {
        "one long line": lambda: "1," * (n // 2),
        "one long cell": lambda: "a,b\n1," + "x" * n,
        "one long number": lambda: "a,b\n1," + "1" * n + "\n2,\n",
        "groups of digits": lambda: "a;b\n1;1,234" + ",567" * (n // 4) + "x\n2;\n",
        "blanks in a cell": lambda: "a,b\n1,5" + " " * n + "x\n2,3\n",
        "digits and blanks": lambda: "a,b\n1," + "1 " * (n // 2) + "x\n2,3\n",
        "many columns": lambda: "\n".join(
            [",".join(f"c{k}" for k in range(columns)), "1" + ",1" * (columns - 1), "," * columns]
        ),
        "many columns, one name": lambda: "a" + ",a" * columns + "\n" + "1" + ",1" * columns,
        "many columns of text": lambda: "a" + ",a" * columns + "\nx" + ",y" * columns,
        "mixed ends": lambda: "a,b,c\n" + many("1,2,3\r\n4,,6\n7,8,9\r"),
        "a zero byte at the end": lambda: many("1,2,3\n") + "\0",
        "headings and empty lines": lambda: "a,b,c\n" + "\n" * n,
        "gaps at the end of a column": lambda: "a\n1\n2\n" + "\n" * n,
        "blocks": lambda: many("1:\n7,3\n"),
        "distinct texts": lambda: "a,b\n" + "".join(f"1,t{k}\n" for k in range(n // 10)),
        "odd cells": lambda: "a,b\n" + "".join(f"1,{k}\n2,{k}mg\n" for k in range(n // 20)),
        "notes": lambda: "a,b\n" + "".join(f"{k},{k}*\n" for k in range(n // 14)),
        "percentages": lambda: "a,b\n" + many("1,5%\n2,6\n"),
        "random bytes": lambda: random_text(n, list(range(1, 256)), None),
        "random marks": lambda: random_text(n, [10, 44, 34, 49, 32, 13, 35], None),
        "random quotes": lambda: random_text(n, [10, 44, 34, 49], [0.2, 0.3, 0.02, 0.48]),
        "open lines": lambda: "a,b,c\n" + ('1,"2,3\n' + "4,5\n" * 990) * (n // 4000),
        "open lines with marks": lambda: "a,b,c\n" + ('1,"2,3\n' + '4,5"x\n' * 990) * (n // 6000),
    }
    for piece in ('"', '",', '"",', '"\n', '"""\n', '",\n', ",", ";", "\t", " ", "\n", "\r", "\r\n",
                  "\0", "::", ",,,\n", "# x\n", "% x\n", "1:\n", "a b\n", '1::"2\n'):  # fmt: skip
        found[f"only {piece!r}"] = lambda piece=piece: many(piece)
    for name, line in LINES.items():
        found[f"{name} lines"] = lambda line=line: "a,b,c\n" + many(line)
        long = (line.strip() + ",") * 30 + "1\n"
        for stray in STRAY:
            for where in (0.0, 0.5, 1.0):
                key = f"{name} lines, {stray} at {where}"
                found[key] = lambda x=line, s=stray, w=where: with_stray(x, s, w, n)
                key = f"{name} long lines, {stray} at {where}"
                found[key] = lambda x=long, s=stray, w=where: with_stray(x, s, w, n)
                key = f"{name} in one line, {stray} at {where}"
                found[key] = lambda x=line, s=stray, w=where: with_stray(
                    x.strip() + ",", s + ",", w, n
                )
    return found


def with_stray(line: str, stray: str, where: float, n: int) -> str:
    count = n // len(line)
    before = int(where * count)
    end = "" if line.endswith(",") else "\n"
    return "a,b,c\n" + line * before + stray + end + line * (count - before)


def random_text(n: int, letters: list[int], shares: list[float] | None) -> str:
    return bytes(np.random.default_rng(0).choice(letters, n, p=shares).tolist()).decode("latin-1")


def seconds(way: Callable[[Path], object], path: Path) -> float:
    start = time.process_time()
    with contextlib.suppress(InputError):
        way(path)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ways = {
        "table": read_table,
        "list": read_long,
        "blanks": lambda path: read_table(path, text=TextOptions(separator="blank")),
    }
    small, large = kinds(options.size), kinds(4 * options.size)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.csv"
        for name in small:
            if options.names and not name.startswith(tuple(options.names)):
                continue
            for kind, way in ways.items():
                times = []
                for text in (small, large):
                    path.write_text(text[name](), encoding="latin-1", newline="")
                    times.append(seconds(way, path))
                grows = math.log(max(times[1], 0.1) / max(times[0], 0.025)) / math.log(4)
                worst = max(worst, grows)
                if options.all or grows > 1.3 or times[1] > 5:
                    print(f"{name:<50} {kind:<7} {times[0]:6.2f} {times[1]:6.2f} s  n^{grows:.1f}")
    print(f"{len(small)} kinds of text, the steepest n^{worst:.1f}")


if __name__ == "__main__":
    main()
