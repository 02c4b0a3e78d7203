"""`deeplinear explain`, and the line in a terminal that names the section."""

import io

import pytest
from command_line import one_line, run
from rich.console import Console

import deeplinear as dl
from deeplinear.cli.console import point_to


def test_every_section_is_listed_and_shown():
    names = [line.split(":")[0].split()[-1] for line in run("explain").stdout.split("•")[1:]]
    assert {"InputError", "DepthError", "NotConvergedWarning"} <= set(names)
    for name in names:
        done = run("explain", name.lower())
        assert done.exit_code == 0
        assert done.stdout.strip().startswith(name)  # Rich before 14 centres it
        assert "](" not in done.stdout


def test_a_name_that_is_none():
    done = run("explain", "DeptError")
    assert done.exit_code == 2
    assert "DepthError" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        (dl.DepthError, "DepthError"),
        (dl.EmptyLineWarning, "EmptyLineWarning"),
        (type("Own", (dl.PrecisionError,), {}), "PrecisionError"),
        (dl.InputError, None),  # its sentence has the fix
        (KeyError, None),
    ],
)
def test_a_terminal_is_told_where_to_look(kind, topic):
    for terminal in (True, False):
        out = Console(file=io.StringIO(), force_terminal=terminal)
        point_to(out, kind)
        told = out.file.getvalue()
        assert (f"deeplinear explain {topic}" in told) == (terminal and topic is not None)
