"""Options that several commands share, and a help that loads nothing."""

import os
import subprocess
import sys

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.cli.bounds import parse_clip
from deeplinear.cli.options import parse_depths
from deeplinear.errors import DepthError, InputError


def test_depths():
    assert parse_depths("2, 3,inf,∞,2.5,3") == [2, 3, np.inf, 2.5]
    with pytest.raises(DepthError):
        parse_depths("2,,3")


def test_help_loads_nothing_that_only_the_commands_need():
    code = (
        "import sys; from typer.testing import CliRunner; from deeplinear.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "heavy = {'sklearn', 'matplotlib', 'pandas', 'PIL'} & set(sys.modules); assert not heavy, "
        "heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version_by_both_names():
    for command in (["-m", "deeplinear"], ["-c", "from deeplinear.cli import main; main()"]):
        done = subprocess.run(
            [sys.executable, *command, "--version"], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"deeplinear {dl.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("deeplinear rec", "recommend"), ("deeplinear experiment run cmv_s", "cmv_start_size")],
)
def test_a_shell_completes_commands_and_experiments(words, expected):
    asked = {
        "_DEEPLINEAR_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "deeplinear"],
        capture_output=True,
        text=True,
        env={**os.environ, **asked},
    )
    assert done.stdout.split() == [expected]


@pytest.mark.parametrize("text", ["4,1", "1", "1,2,3", "a,b", "none,3", "nan,3", "1,inf", ""])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(InputError, match="--clip"):
        parse_clip(text)


def test_ranges():
    assert parse_clip(None) is None
    assert parse_clip("range") == "range"
    assert parse_clip("-1, 2.5") == (-1, 2.5)
