"""The command line in this process."""

from typer.testing import CliRunner

from deeplinear.cli import app

QUICK = ["--depth", "3", "--strength", "0.2", "--max-rank", "4"]
FIXED = {"strength": 0.3, "validation_fraction": 0, "random_state": 0, "threads": 1}
COLUMNS = ["--rows", "user", "--cols", "item", "--values", "rating"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_line(text):
    return " ".join(text.split())
