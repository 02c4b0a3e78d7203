"""The command line: one command, one file. Heavy modules load inside the commands."""

import typer

from .complete import complete
from .demo import demo
from .experiment import experiment_app
from .predict import predict, recommend
from .ratings import ratings
from .sweep import sweep

app = typer.Typer(
    help="Matrix completion with deep linear networks, with depth as the knob.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",  # so that lines of a docstring flow together
    pretty_exceptions_show_locals=False,
)
for command in (complete, ratings, predict, recommend, demo, sweep):  # as the help lists them
    app.command()(command)
app.add_typer(experiment_app, name="experiment")


def main() -> None:
    """Entry point of the ``deeplinear`` command."""
    app()
