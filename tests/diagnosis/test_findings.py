"""The doctor finds what is wrong, says what to do, and never breaks off."""

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from deeplinear.diagnosis import Diagnosis, Finding, folders, installation, machine, mathematics
from deeplinear.diagnosis.finding import look
from deeplinear.diagnosis.folders import _is_writable, _place
from deeplinear.diagnosis.installation import satisfied
from deeplinear.diagnosis.machine import memory_limit
from deeplinear.diagnosis.mathematics import _close


def test_a_diagnosis_is_true_where_nothing_failed():
    fine = Finding("a", "x", True, "It works.", {"n": 1})
    told, bad = Finding("a", "y", None, "Not there."), Finding("b", "z", False, "Mend it.")
    found = Diagnosis((fine, told))
    assert found
    assert str(found) == "a:\n  ✓ x: It works.\n  – y: Not there.\nAll 1 checks passed."
    worse = Diagnosis((fine, told, bad))
    assert not worse
    assert not worse["z"]
    assert worse.conclusion == "1 of 2 checks failed: see what to do at each ✗."
    assert json.loads(json.dumps(worse.as_dict()))["findings"][2]["passed"] is False
    assert [finding.name for finding in worse] == ["x", "y", "z"]
    assert len(worse) == 3


def test_what_raises_is_a_finding():
    found = look("a", "x", "mend it", lambda: 1 / 0)
    assert not found
    assert found.summary == "it failed (ZeroDivisionError: division by zero); mend it."


class TestInstallation:
    def test_this_one_is_whole(self):
        found = {finding.name: finding for finding in installation.findings()}
        assert all(found.values())
        assert found["needed packages"].figures["versions"]["numpy"] == np.__version__

    def test_versions_out_of_range_and_missing_packages_are_named(self, monkeypatch):
        there = {"one": "2.0", "two": "1.0"}
        needs = {"one": ["two>=3", "absent"], "two": []}

        def version(name):
            if name not in there:
                raise metadata.PackageNotFoundError(name)
            return there[name]

        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(metadata, "requires", needs.get)
        versions, faults = satisfied([Requirement("one<2")])
        assert versions == there
        assert faults == [
            "deeplinear needs one<2, and 2.0 is installed",
            "one needs two>=3, and 1.0 is installed",
            "absent (needed by one) is not installed",
        ]

    def test_a_metadata_that_is_not_there_is_told(self, monkeypatch):
        def missing(name):
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "version", missing)
        found = {finding.name: finding for finding in installation.findings()}
        assert found["deeplinear"].passed is None
        assert "without being installed" in found["deeplinear"].summary
        assert not found["needed packages"]


class TestMachine:
    def test_this_one_works(self):
        found = {finding.name: finding for finding in machine.findings()}
        assert found["compiled loops"]
        assert found["precision"].figures == {"bits": 64, "subnormal": True}
        assert found["processors"].figures["usable"] >= 1

    @pytest.mark.parametrize(("text", "limit"), [("max\n", None), ("1073741824\n", 1 << 30)])
    def test_the_limit_of_a_container(self, tmp_path, monkeypatch, text, limit):
        (tmp_path / "memory.max").write_text(text)
        limits = (tmp_path / "absent", tmp_path / "memory.max")
        monkeypatch.setattr(machine, "_LIMITS", limits)
        assert memory_limit() == limit

    def test_loops_that_are_not_compiled_fail(self, monkeypatch):
        from numba.core import config

        monkeypatch.setattr(config, "DISABLE_JIT", 1)
        found = {finding.name: finding for finding in machine.findings()}["compiled loops"]
        assert not found
        assert "unset it" in found.summary


class TestFolders:
    def test_these_are_there(self):
        assert {finding.section for finding in folders.findings()} == {"folders"}

    def test_sizes_and_places(self, tmp_path):
        (tmp_path / "skipped").mkdir()
        (tmp_path / "skipped" / "b").write_bytes(bytes(50))
        (tmp_path / "a").write_bytes(bytes(1000))
        found = _place("x", tmp_path, "mend it", ("skipped",))
        assert found.passed
        assert found.figures["bytes"] == 1000
        assert _place("x", tmp_path / "new" / "er", "mend it").figures["bytes"] == 0
        assert not (tmp_path / "new").exists()

    def test_where_nothing_can_be_written(self):
        assert not _is_writable(Path("/proc"))
        found = _place("x", Path("/proc/deeplinear"), "mend it")
        assert found.summary == "/proc/deeplinear lets us not write; mend it."

    def test_no_room(self, tmp_path, monkeypatch):
        monkeypatch.setattr(folders, "_ROOM", 1 << 62)
        found = _place("x", tmp_path, "mend it")
        assert not found
        assert "free some room" in found.summary


class TestMathematics:
    def test_it_is_right_here(self):
        found = mathematics.findings()
        assert [finding.name for finding in found if not finding] == []
        assert len(found) == 5

    def test_wrong_numbers_and_nan_fail(self):
        right = np.eye(2)
        for wrong in (right * 1.1, right * np.nan):
            found = _close("x", wrong, right, 1e-8, "an oracle")
            assert not found
            assert "reinstall" in found.summary

    def test_a_wrong_operator_is_found(self, monkeypatch):
        from deeplinear.geometry.operator import Operator

        real = Operator.__call__
        monkeypatch.setattr(Operator, "__call__", lambda self, Z: 1.001 * real(self, Z))
        found = {finding.name: finding for finding in mathematics.findings()}
        assert not found["operator"]
        assert found["fit of a table"]
