"""Options that several commands share, and a help that loads nothing."""

import subprocess
import sys

import numpy as np
import pytest

from deeplinear.cli.options import parse_depths
from deeplinear.errors import DepthError


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
