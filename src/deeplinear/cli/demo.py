"""``deeplinear demo``: two matrices completed at several depths, and how to go on from there."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from .console import Watch, endings, gathered_warnings, progress_bar, say, summary, terminal
from .options import check_report, command_line


def demo(
    report: Annotated[Path, typer.Option(help="Folder for the HTML + PNG report.")] = Path(
        "demo-report"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier report.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller data: a few seconds instead of a minute.")
    ] = False,
) -> None:
    """Complete a photograph and a table of digits at several depths, beside two baselines."""
    out, errors = terminal(), terminal(stderr=True)
    check_report(report, force)
    from ..report import demo as demonstration
    from ..report.report import write_report

    studies = []
    for start in (demonstration.photograph(quick), demonstration.digits(quick)):
        with gathered_warnings(errors), progress_bar(errors) as bar:
            watch = Watch(bar, demonstration.DEPTHS)
            study = demonstration.complete(start, progress=watch.report, on_done=watch.done)
        studies.append(study)
        out.print(summary(study.candidates, study.said, study.title))
        for line in endings(study.candidates, study.said):
            say(out, line)
    title = "What depth does: two matrices completed"
    page, pictures = write_report(report, studies, title=title, command=command_line())
    listed = ", ".join(map(str, pictures))
    for line in (f"Report: {page}", f"Pictures: {listed}", *next_steps()):
        say(out, line)


def next_steps(executable: Path | None = None, on_path: str | None = None) -> list[str]:
    """How to run the command next: by name if the shell finds it, else by its path.

    The arguments are those of this process by default.
    """
    program = executable or Path(sys.executable).with_name("deeplinear")
    found = on_path if executable is not None else shutil.which("deeplinear")
    if found is not None and Path(found).resolve() == program.resolve():
        return ["Next, with your own data: deeplinear complete table.csv -o filled.csv"]
    shown = _from_here(program)
    lines = [f"Next, with your own data: {shown} complete table.csv -o filled.csv"]
    activate = program.with_name("activate")
    if activate.is_file():
        lines.append(f"To type just deeplinear instead: source {_from_here(activate)}")
    return lines


def _from_here(path: Path) -> Path:
    """``path`` relative to the current folder where it lies below."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
