"""The command line: one command, one file. Heavy modules load inside the commands."""

import typer

from .complete import complete
from .demo import demo
from .doctor import doctor
from .endings import Commands, run_as_process
from .experiment import experiment_app
from .explore import explore
from .predict import predict, recommend
from .ratings import ratings
from .sweep import sweep

app = typer.Typer(
    cls=Commands,
    help="Matrix completion with deep linear networks, with depth as the knob.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",  # so that lines of a docstring flow together
)
# as the help lists them
for command in (complete, ratings, predict, recommend, demo, explore, sweep, doctor):
    app.command()(command)
app.add_typer(experiment_app, name="experiment")


def main() -> None:
    """Entry point of the ``deeplinear`` command."""
    run_as_process(app)
