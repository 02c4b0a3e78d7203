"""``deeplinear doctor``: whether this installation works, and what to do where it does not."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..labels import printable
from .console import prepare_jax, say, terminal
from .endings import FAILED
from .streams import write_result

if TYPE_CHECKING:
    from ..diagnosis import Diagnosis, Finding

_MARKS = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("–", "dim")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """Check the installation, the machine, the folders and a little of the mathematics.

    ✓ works, ✗ does not and the line says what to do, – is only told. Ends with 1 if something
    fails. Nothing is sent anywhere.
    """
    prepare_jax()
    from ..diagnosis import doctor as examine

    found = examine()
    if as_json:
        text = json.dumps(found.as_dict(), indent=2, ensure_ascii=True)
        write_result((text + "\n").encode())
    else:
        show(terminal(), found)
    if not found:
        raise typer.Exit(FAILED)


def show(out: Console, found: "Diagnosis") -> None:
    """The findings section by section, and one sentence about all."""
    for section in dict.fromkeys(finding.section for finding in found):
        out.print(Text(section.capitalize(), style="bold"))
        out.print(_lines([finding for finding in found if finding.section == section]))
    say(out, found.conclusion, style="bold")


def _lines(findings: "list[Finding]") -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=3, justify="right")
    table.add_column(width=21)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.passed]
        table.add_row(Text(mark, style), finding.name, printable(finding.summary))
    return table
