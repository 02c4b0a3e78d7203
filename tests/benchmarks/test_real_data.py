"""The benchmark over real data: what is hidden, how errors are measured, what is run and told."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from benchmarks.real_data import __main__ as command
from benchmarks.real_data import loaders, report
from benchmarks.real_data.hiding import errors, hidden_cells
from benchmarks.real_data.jobs import Processes, Round, measure
from benchmarks.real_data.methods import METHODS
from benchmarks.real_data.sets import SETS, RealSet
from benchmarks.real_files import listed_files
from deeplinear.completion.data.features import CodedTable, Feature, FeatureKind

RNG = np.random.default_rng(5)


def small_table(m=60, n=5):
    """A walk in each column, one column of labels, some cells missing."""
    values = np.cumsum(RNG.normal(size=(m, n)), axis=0)
    values[:, -1] = RNG.integers(3, size=m)
    values[RNG.random(values.shape) < 0.1] = np.nan
    features = [Feature(f"x{j}") for j in range(n - 1)]
    return CodedTable(values, (*features, Feature("label", FeatureKind.category, tuple("abc"))))


def tiny(table, **options):
    return RealSet("tiny", "tests", lambda files: table, **options)


class TestHiding:
    def test_cells_are_a_tenth_of_the_observed(self):
        observed = RNG.random((40, 30)) < 0.7
        hidden = hidden_cells(observed, "cells", 0)
        assert hidden.sum() == round(0.1 * observed.sum())
        assert not (hidden & ~observed).any()
        assert (hidden != hidden_cells(observed, "cells", 1)).any()

    def test_rows_lose_most_of_a_fifth(self):
        observed = RNG.random((50, 40)) < 0.9
        hidden = hidden_cells(observed, "rows", 3)
        touched = hidden.any(axis=1)
        assert touched.sum() == 10
        assert hidden.sum() == round(0.8 * observed[touched].sum())
        assert not (hidden & ~observed).any()

    @pytest.mark.parametrize(("m", "run"), [(400, 24), (40, 5)])
    def test_blocks_are_runs_of_rows(self, m, run):
        observed = np.ones((m, 12), bool)
        hidden = hidden_cells(observed, "blocks", 0)
        assert abs(hidden.mean() - 0.1) <= run / hidden.size
        assert hidden.mean(axis=0).max() <= 0.5
        for column in hidden.T:
            edges = np.flatnonzero(np.diff(np.concatenate([[0], column, [0]])))
            assert all(edges[1::2] - edges[::2] >= run)


class TestErrors:
    def test_of_columns_of_like_errors_are_the_plain_mean(self):
        table = small_table()
        hidden = ~np.isnan(table.values)
        size = np.nanstd(table.values, axis=0)
        filled = table.values + np.where(np.arange(5) < 4, 0.3 * size, 0)
        wrong = np.flatnonzero(hidden[:, 4])[::7]
        filled[wrong, 4] += 1
        shares = np.bincount(table.values[hidden[:, 4], 4].astype(int)) / hidden[:, 4].sum()
        squares = [0.3**2] * int(hidden[:, :4].sum())
        squares += [1 / (1 - shares @ shares)] * len(wrong)
        expected = np.sqrt(np.sum(squares) / hidden.sum())
        typical, plain = errors(table, filled, hidden, ratings=False)
        assert plain == pytest.approx(expected)
        assert 0 < typical <= plain * (1 + 1e-9)

    def test_one_lost_column_does_not_decide(self):
        values = RNG.normal(size=(50, 10))
        table = loaders.numbers(values)
        filled = values + 0.1 * RNG.normal(size=values.shape)
        filled[:, 0] = values[:, 0] + 100
        typical, plain = errors(table, filled, np.ones(values.shape, bool), ratings=False)
        assert plain > 30
        assert typical < 1

    def test_columns_that_differ_by_rounding_do_not_count(self):
        values = np.column_stack([np.full(20, 0.1), RNG.normal(size=20)])
        values[::2, 0] = 0.1 * (1 + 1e-15)
        found = errors(loaders.numbers(values), values + 1, np.ones((20, 2), bool), ratings=False)
        assert found[1] == pytest.approx(1 / values[:, 1].std())

    def test_ratings_have_one_unit(self):
        values = RNG.integers(1, 6, size=(8, 9)).astype(float)
        hidden = np.eye(8, 9, dtype=bool)
        found = errors(loaders.numbers(values), values + 0.5, hidden, ratings=True)
        assert found == pytest.approx((0.5 / values.std(),) * 2)


class TestRound:
    @pytest.mark.parametrize("coded", [True, False])
    def test_the_truth_has_no_error(self, coded):
        table = small_table()
        test = Round.of(tiny(table), table, 0)
        task = test.task(coded=coded)
        whole = Round(test.what, table, np.zeros_like(test.hidden), 0)
        truth = table.values if coded else test.matrix.copy()
        if not coded:
            scale = test.back.scale[:4]
            truth[:, :4] = (table.values[:, :4] - test.back.center[:4]) / scale
            truth[:, 4:] = whole.matrix[:, 4:]
        found = test.errors(truth[task.rows, task.cols], task, coded=coded)
        assert found == pytest.approx((0, 0), abs=1e-12)

    def test_nothing_hidden_is_shown(self):
        table = small_table()
        test = Round.of(tiny(table), table, 0)
        for coded in (True, False):
            task = test.task(coded=coded)
            assert np.isnan(task.values[test.hidden]).all()
            assert np.isnan(task.matrix[np.repeat(test.hidden, [1, 1, 1, 1, 3], axis=1)]).all()
        trial = test.trial()
        assert not (trial.hidden & test.hidden).any()
        assert np.isnan(trial.table.values[test.hidden]).all()

    def test_ratings_are_cut_to_their_range(self):
        values = RNG.integers(1, 6, size=(20, 15)).astype(float)
        table = loaders.numbers(values)
        test = Round.of(tiny(table, ratings=True), table, 0)
        task = test.task(coded=True)
        far = test.errors(np.full(len(task.rows), 1e9), task, coded=True)
        top = test.errors(np.full(len(task.rows), 5.0), task, coded=True)
        assert far == top


def test_the_tensor_method_finds_a_tensor_of_low_rank():
    places, days, times = (RNG.normal(size=(size, 2)) for size in (12, 10, 14))
    values = np.einsum("ir,jr,kr->ijk", places, days, times).reshape(12, -1).T
    table = loaders.numbers(values)
    test = Round(tiny(table, period=14), table, RNG.random(values.shape) < 0.3, 0)
    task = test.task(coded=False)
    found = METHODS["truncated tensor"].run(task, part=0.1, kept=0.1)
    assert test.errors(found, task, coded=False)[1] < 0.02


class TestMeasure:
    def test_interpolation_in_its_own_process(self):
        table = CodedTable(
            np.cumsum(RNG.normal(size=(80, 3)), axis=0), small_table(1, 4).features[:3]
        )
        test = Round.of(tiny(table, ordered=True), table, 0)
        found = measure("interpolation", test, Processes())
        filled = pd.DataFrame(test.given).interpolate(limit_direction="both").to_numpy()
        assert found["rmse"] == pytest.approx(errors(table, filled, test.hidden, ratings=False)[1])
        assert found["memory"] > 1
        assert found["settings"] == {}

    def test_settings_are_chosen_on_cells_that_were_left(self):
        table = small_table()
        test = Round.of(tiny(table), table, 0)
        found = measure("KNN", test, Processes())
        assert found["settings"] in METHODS["KNN"].settings()
        assert found["tuning"] > 0

    def test_what_cannot_be_run_says_why(self, tmp_path):
        table = small_table()
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\necho 'ModuleNotFoundError: No module' >&2; exit 1\n")
        python.chmod(0o755)
        found = measure("column means", Round.of(tiny(table), table, 0), Processes(str(python)))
        assert found == {"why": "ModuleNotFoundError: No module"}

    @pytest.mark.slow
    @pytest.mark.parametrize("options", [{}, {"ratings": True}])
    def test_ours(self, options):
        values = RNG.normal(size=(60, 2)) @ RNG.normal(size=(2, 20))
        table = loaders.numbers(values)
        test = Round.of(tiny(table, **options), table, 0)
        assert measure("deeplinear", test, Processes())["error"] < 0.3


class TestSets:
    def test_there_are_enough_of_each_kind(self):
        names = [what.name for what in SETS]
        assert len(set(names)) == len(names)
        seen = [what for what in SETS if not what.kept_back]
        assert len(seen) >= 14
        assert len({what.domain for what in seen}) >= 5
        assert sum(what.ordered and what.hide == "cells" for what in seen) >= 2
        for hide in ("blocks", "rows"):
            assert sum(what.hide == hide for what in seen) >= 2
        assert sum(what.ratings for what in seen) == 3
        assert len(SETS) - len(seen) >= 5

    def test_days_are_whole(self):
        found = next(what for what in SETS if what.period and what.hide == "blocks")
        assert loaders.parks(np.zeros((30, 77, 18))).shape[0] % found.period == 0

    def test_files_are_fixed(self):
        for file in listed_files(loaders.LISTED):
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert re.fullmatch("[0-9a-f]{40}", file.commit)

    def test_those_of_scikit_learn_are_read(self):
        found = next(what for what in SETS if what.name == "wine").load(loaders.Files())
        assert found.values.shape == (178, 13)

    def test_a_mixed_table(self):
        frame = pd.DataFrame({"a": [1.5, None, 2], "b": ["x", None, "w"], "c": [3, 1, 3]})
        table = loaders.mixed(frame, labels=["c"])
        assert [feature.categories for feature in table.features] == [(), ("w", "x"), (1, 3)]
        np.testing.assert_array_equal(table.values, [[1.5, 1, 1], [np.nan, np.nan, 0], [2, 0, 1]])

    def test_weeks_run_forward(self):
        frame = pd.DataFrame(
            {"geo": ["F"], "2020W99 ": ["7 "], "2020W02 ": ["9 p"], "2020W01 ": [": "]}
        )
        found = loaders.deaths_by_week(frame)
        np.testing.assert_array_equal(found, [[np.nan], [np.log1p(9)]])


def line(method, error, name="s", **more):
    about = {"set": name, "seed": 0, "kind": "k", "seen": "design", "rows": 3, "cols": 4}
    measured = {"rmse": 2 * error, "seconds": 1.0, "tuning": 2.0, "memory": 5.0, "missing": 0.5}
    return about | measured | {"method": method, "error": error, "settings": {}, "tried": 8} | more


class TestReport:
    def test_ours_beside_the_best_peer(self):
        lines = [line("deeplinear", 0.9), line("KNN", 1.0)]
        lines += [line("deeplinear", 0.7, seed=1), line("KNN", 1.0, seed=1)]
        lines += [line("deeplinear, network alone", 0.1, seed=seed) for seed in (0, 1)]
        found = report.averaged(lines)["s"]
        assert found["deeplinear"]["error"] == pytest.approx(0.8)
        assert report.first_of(found) == "deeplinear"  # variants of ours are not ranked
        text = report.markdown(lines)
        assert (
            "| s | k | design | 3 × 4 | 50% | 2 | 0.8000 | KNN | 1.0000 | 0.800 | 0.800 |" in text
        )
        assert "1 sets: ours is first on 1" in text

    def test_only_seeds_that_all_have_count(self):
        lines = [line("deeplinear", 0.9), line("deeplinear", 0.1, seed=1), line("KNN", 1.0)]
        found = report.averaged(lines)["s"]
        assert (found["deeplinear"]["error"], found["deeplinear"]["seeds"]) == (0.9, 1)

    def test_what_failed_is_told(self):
        text = report.markdown(
            [line("deeplinear", 0.9), line("KNN", 1.0), line("cmfrec", 0, why="no")]
        )
        assert "- s, cmfrec: no" in text
        assert "KNN: 3 of" not in text
        assert "- s, KNN: 3 of 8 settings in time" in report.markdown([line("KNN", 1.0, tried=3)])


class TestCommand:
    @pytest.fixture
    def tiny_sets(self, monkeypatch):
        table = small_table()
        monkeypatch.setattr(command, "SETS", (tiny(table), tiny(table, kept_back=True)))

    def test_goes_on_where_it_stopped(self, tiny_sets, tmp_path, capsys, monkeypatch):
        words = ["--only", "column means", "--seeds", "0", "--results", str(tmp_path / "r.jsonl")]
        command.main(words)
        (kept,) = (tmp_path / "r.jsonl").read_text().splitlines()
        assert json.loads(kept)["method"] == "column means"
        monkeypatch.setattr(command, "measure", None)
        command.main(words)
        assert "| tiny |" in capsys.readouterr().out

    def test_kept_back_sets_run_alone(self, tiny_sets, tmp_path):
        path = tmp_path / "r.jsonl"
        command.main(
            ["--only", "column means", "--seeds", "0", "--results", str(path), "--kept-back"]
        )
        (kept,) = path.read_text().splitlines()
        assert json.loads(kept)["seen"] == "kept back"

    def test_an_unknown_name(self, tiny_sets):
        with pytest.raises(SystemExit, match="set 'titanic' is not known; known are: tiny"):
            command.main(["titanic"])
