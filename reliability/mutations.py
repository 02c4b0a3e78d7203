"""Random changes of a call of the command line: its words, its files, its streams."""

import random
from collections.abc import Callable
from pathlib import Path

from .calls import Case

#: Values that options get.
VALUES = [
    *("", " ", "-1", "0", "1", "2.5", "1e400", "-inf", "nan", "inf", "99999999999999999999", "1e9"),
    *("é", "数", "\u202e", "a\nb", "\x1b[31m", "[/x]", "[bold]", ":cat:", "caf\udce9", "x" * 300),
    *("auto", "none", "NA", "true", ",", "2,,3", "a=b=c", "=", "-", "--", "--help", "/", ".", ".."),
    *("a", "1", "user", "d", "9999999", "0x10", "1_000", "½", "'", '"', "\\", "%s", "{}", "*"),
]
#: Names of files to write, and of files to read in place of the right one.
NAMES = [
    *("", ".", "..", "/", "missing/out.csv", "folder", "folder/out.csv", "/dev/full", "/dev/null"),
    *(
        "x" * 300 + ".csv",
        "[/x].csv",
        "[red].csv",
        ":cat:.csv",
        "a\nb.csv",
        "\x1b[31m.csv",
        "é.csv",
    ),
    *("caf\udce9.csv", "é.csv", "\u202e.csv", "out", "out.xyz", "out.csv.gz", "out.csv.zip", "-"),
    *("out.tsv", "out.parquet", "out.xlsx", "out.npy", "out.png", "input.csv/x.csv", "~/x/y.csv"),
    *("link.csv", "loop.csv", "closed/out.csv", "input.csv", "a" * 250 + ".csv", "/proc/x.csv"),
]
#: Options that take such names.
PATHS = {"--output", "--out", "--mask", "--checkpoint", "--report", "--at", "--model"}
STREAMS = ["full", "closed", "pipe", "ascii", "latin-1", "no stderr", "no stdin", "file"]


def options() -> dict[str, list[tuple[str, str]]]:
    """command → (option, kind) of all its options; kind is flag, path or value."""
    import typer

    from deeplinear.cli import app

    found = {}

    def walk(command: typer.core.TyperCommand, name: str) -> None:
        if hasattr(command, "commands"):
            for key, inner in command.commands.items():
                walk(inner, f"{name} {key}".strip())
            return
        mine = []
        for parameter in command.params:
            if not parameter.opts[0].startswith("-"):
                continue
            words = [*parameter.opts, *parameter.secondary_opts]
            flag = getattr(parameter, "is_flag", False)
            kind = "flag" if flag else "path" if PATHS & set(words) else "value"
            mine += [(word, kind) for word in words]
        found[name] = mine

    walk(typer.main.get_command(app), "")
    return found


def damages(draw: random.Random) -> dict[str, Callable[[bytes], bytes]]:
    """Ways to spoil the bytes of an input."""

    def flip(data: bytes) -> bytes:
        spoiled = bytearray(data)
        for _ in range(draw.randint(1, 8)):
            if spoiled:
                spoiled[draw.randrange(len(spoiled))] = draw.randrange(256)
        return bytes(spoiled)

    def replaced(data: bytes) -> bytes:
        word = draw.choice(VALUES).encode("utf-8", "surrogateescape")
        words = data.split(b",")
        words[draw.randrange(len(words))] = word
        return b",".join(words)

    return {
        "flipped": flip,
        "cut": lambda data: data[: draw.randrange(len(data) + 1)],
        "empty": lambda data: b"",
        "doubled": lambda data: data + data,
        "replaced": replaced,
        "zeros": lambda data: bytes(len(data)),
        "random": lambda data: draw.randbytes(200),
        "old line ends": lambda data: data.replace(b"\n", b"\r"),
        "UTF-16": lambda data: data.decode("latin-1").encode("utf-16"),
        "Parquet head": lambda data: b"PAR1" + data,
        "zip head": lambda data: b"PK\x03\x04" + data,
    }


KINDS = ("value", "value", "path", "file", "stream", "other", "word", "positional")


def mutate(
    name: str, base: list[str], draw: random.Random, known: dict[str, list[tuple[str, str]]]
) -> tuple[Case, dict[str, bytes | None]]:
    """(the call with one to three changes, new contents of files: None removes one)."""
    case, files = Case(list(base)), {}
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind = draw.choice(
            ("value", "value", "path", "file", "stream", "other", "word", "positional")
        )
        mine = known[name]
        if kind in ("value", "path"):
            some = [pair for pair in mine if pair[1] == kind] or [("--nothing", kind)]
            option = draw.choice(some)[0]
            value = draw.choice(VALUES if kind == "value" else NAMES)
            case.words += [option, value]
            case.changes.append(f"{option} {value!r}")
        elif kind == "other":
            option, what = draw.choice([pair for every in known.values() for pair in every])
            case.words += [option] if what == "flag" else [option, draw.choice(VALUES)]
            case.changes.append(f"option {case.words[-1]!r}")
        elif kind == "stream":
            stream = draw.choice(STREAMS)
            case.streams.add(stream)
            case.changes.append(stream)
        elif kind == "word":
            k = draw.randrange(len(case.words))
            case.words[k] = draw.choice([*VALUES, *NAMES])
            case.changes.append(f"word {k} {case.words[k]!r}")
        elif kind == "positional":
            case.words.insert(draw.randrange(len(case.words) + 1), draw.choice([*VALUES, *NAMES]))
            case.changes.append("one word more")
        else:
            file = draw.choice([w for w in base if (Path("inputs") / w).is_file()] or ["input.csv"])
            how, change = draw.choice(list(damages(draw).items()))
            files[file] = change((Path("inputs") / file).read_bytes())
            case.changes.append(f"{file} {how}")
    return case, files
