"""A little of `python -m reliability.commands` and `python -m reliability.interrupts`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(name, *words):
    return subprocess.run(
        [sys.executable, "-m", f"reliability.{name}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_a_few_random_faults():
    done = command("commands", "--trials", "5", "--only", "complete", "--only", "predict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| predict | 5 |" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["complete", "ratings", "predict", "recommend", "sweep"])
def test_random_faults_end_in_one_sentence(name):
    done = command("commands", "--trials", "8", "--only", name, "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| {name} | 8 |" in done.stdout


@pytest.mark.slow
def test_signals_at_random_moments():
    done = command("interrupts", "--trials", "8", "--only", "complete", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
