"""A little of `python -m reliability.faults`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "names"),
    [
        ("kill,full,readonly", ["model save", "table output", "report", "checkpoint"]),
        ("flip,cut", ["model", "table model", "checkpoint", "npz sparse", "npz", "mat", "csv.gz"]),
    ],
)
def test_nothing_is_found(faults, names):
    command = [sys.executable, "-m", "reliability.faults", "--trials", "5", "--only", faults]
    done = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        for fault in faults.split(","):
            assert f"| {name} | {fault} | " in done.stdout
