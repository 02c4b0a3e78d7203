"""``deeplinear doctor``: what it prints, in how many columns, and its exit codes."""

import json

from command_line import run

import deeplinear as dl
from deeplinear.diagnosis import Diagnosis, Finding

FINE = Finding("machine", "precision", True, "64 bits.", {"bits": 64})
TOLD = Finding("installation", "[excel]", None, "not installed; pip install 'deeplinear[excel]'.")
LONG = Finding("folders", "a name", False, "x" * 90 + " is [/too] long; mend it.")


def test_lines_of_eighty_columns_and_a_conclusion(monkeypatch):
    monkeypatch.setattr("deeplinear.diagnosis.doctor", lambda: Diagnosis((TOLD, FINE, LONG)))
    monkeypatch.setenv("COLUMNS", "80")
    done = run("doctor")
    assert done.exit_code == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    for text in ("Installation", "– [excel]", "✓ precision", "✗ a name", "[/too]"):
        assert text in done.stdout
    assert done.stdout.endswith("1 of 2 checks failed: see what to do at each ✗.\n")


def test_json_and_the_code_of_success(monkeypatch):
    monkeypatch.setattr("deeplinear.diagnosis.doctor", lambda: Diagnosis((TOLD, FINE)))
    done = run("doctor", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert found["findings"][1]["figures"] == {"bits": 64}


def test_it_is_a_function_too():
    assert dl.doctor.__module__ == "deeplinear.diagnosis"
