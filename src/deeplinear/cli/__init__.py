"""The command line: one command, one file. Heavy modules load inside the commands."""

from typing import Annotated

import typer

from .complete import complete
from .demo import demo
from .doctor import doctor
from .endings import Commands, run_as_process
from .experiment import experiment_app
from .explain import explain
from .explore import explore
from .predict import predict, recommend
from .ratings import ratings
from .sweep import sweep

app = typer.Typer(
    cls=Commands,
    help="Matrix completion with deep linear networks, with depth as the knob.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # so that lines of a docstring flow together
)
# as the help lists them
for command in (complete, ratings, predict, recommend, demo, explore, sweep, doctor, explain):
    app.command()(command)
app.add_typer(experiment_app, name="experiment")


def print_version(wanted: bool) -> None:
    """Answer ``--version``, and end."""
    if wanted:
        from .. import __version__

        print(f"deeplinear {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=print_version
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Entry point of the ``deeplinear`` command."""
    run_as_process(app)
