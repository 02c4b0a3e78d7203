"""Completion of shards by one process and by several that talk over the loopback interface."""

import json
import os

import numpy as np
import pytest
from talking_processes import run_together

from deeplinear.completion.data.observations import Observations, RepeatedEntriesError
from deeplinear.completion.several import fit_shards, join
from deeplinear.completion.several.group import Group
from deeplinear.completion.several.numbering import Numbering
from deeplinear.completion.several.shared import distribute
from deeplinear.completion.solver.path import path
from deeplinear.errors import InputError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

M, N, SHARDS = 120, 70, 4
OPTIONS = {"depth": (2, 3), "strengths": (0.5, 0.3, 0.2), "max_rank": 5, "tol": 1e-4, "threads": 1}


def table(seed=0):
    """(row ids, column ids, values) in any order; ids are no positions."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(M, 3)) @ rng.normal(size=(3, N)) + rng.normal(size=N)
    rows, cols = np.nonzero(rng.random((M, N)) < 0.7 * rng.random(M)[:, None])
    order = rng.permutation(len(rows))
    rows, cols = rows[order], cols[order]
    values = truth[rows, cols] + 0.3 * rng.normal(size=len(rows))
    return 7 * rows - 900, 3 * cols + 10**12, values


def write(file, **columns):
    pq.write_table(pa.table(columns), file)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards of unequal lengths and shards of pairs, one of which has ids without entries."""
    place = tmp_path_factory.mktemp("shards")
    rows, cols, values = table()
    edges = np.r_[0, np.cumsum([0.1, 0.4, 0.2]) * len(rows), len(rows)].astype(int)
    for k in range(SHARDS):
        part = slice(edges[k], edges[k + 1])
        write(place / f"s{k}.parquet", row=rows[part], col=cols[part], value=values[part])
        some = part.start + np.arange(20 + 7 * k)
        new = np.where(some % 11 == 0, 5, rows[some]) if k == 3 else rows[some]
        write(place / f"q{k}.parquet", row=new, col=cols[some[::-1]])
    return place


def files(folder, kind, count=1, index=0):
    return [folder / f"{kind}{k}.parquet" for k in range(SHARDS) if k % count == index]


@pytest.fixture(scope="module")
def alone(folder):
    model = fit_shards(files(folder, "s"), dtype=np.float64, **OPTIONS)
    model.write_predictions(files(folder, "q"), files(folder, "alone"))
    return model


def summary(model):
    trials = [x for t in model.trials for x in (t.depth, t.strength, t.validation_rmse, t.sweeps)]
    fit = model.fit
    numbers = [fit.depth, fit.strength, fit.rank, fit.tau, *fit.objective, *trials, model.noise]
    return [float(x) for x in (*numbers, model.calibration.factor(0.9), fit.certificate.tangent)]


class TestOneProcess:
    def test_it_is_the_path_over_the_same_entries(self, folder, alone):
        """Ids are numbered in their order, and the choice is that of `path`."""
        rows, cols, values = table()
        codes = [np.unique(ids, return_inverse=True)[1] for ids in (rows, cols)]
        seen = Observations.from_triples(*codes, values, alone.fit.shape)
        mine = alone.entries
        for one, other in zip(mine.by_row.arrays, seen.by_row.arrays, strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(mine.by_col.arrays, seen.by_col.arrays, strict=True):
            np.testing.assert_array_equal(one, other)
        for name in ("nnz", "weight", "mean", "largest", "spread"):
            assert getattr(mine, name) == pytest.approx(getattr(seen, name), rel=1e-14), name
        training, held = mine.split(0.1, 0)
        options = dict(OPTIONS)
        depths, strengths = options.pop("depth"), options.pop("strengths")
        found = path(training, depths, strengths, held, **options)
        assert found.best.depth == alone.fit.depth
        pairs = zip(found.trials, alone.trials, strict=True)
        assert all(a.validation_rmse == pytest.approx(b.validation_rmse) for a, b in pairs)

    def test_intervals_cover_what_they_say(self, alone):
        """New entries of the same matrix: 90 % of them, within four standard errors."""
        rng = np.random.default_rng(0)
        truth = rng.normal(size=(M, 3)) @ rng.normal(size=(3, N)) + rng.normal(size=N)
        rows, cols = rng.integers(0, M, 2000), rng.integers(0, N, 2000)
        new = truth[rows, cols] + 0.3 * np.random.default_rng(5).normal(size=2000)
        found = alone.predict(7 * rows - 900, 3 * cols + 10**12)
        finite = np.isfinite(found["low"])
        inside = (found["low"] <= new) & (new <= found["high"])
        assert 0.8 < inside[finite].mean() < 0.97

    def test_unknown_ids_have_no_factors_and_no_bounds(self, alone):
        found = alone.predict(np.array([5, -900, 5]), np.array([10**12, 1, 1]))
        fit = alone.fit
        expected = [fit.mean + fit.col_bias[0], fit.mean + fit.row_bias[0], fit.mean]
        np.testing.assert_allclose(found["prediction"], expected)
        assert np.isinf(found["low"]).all()
        assert np.isinf(found["high"]).all()

    def test_what_is_written_is_what_is_predicted(self, folder, alone):
        for asked, out in zip(files(folder, "q"), files(folder, "alone"), strict=True):
            pairs, found = pq.read_table(asked), pq.read_table(out)
            assert found.column_names == ["row", "col", "prediction", "low", "high"]
            exact = alone.predict(*(pairs[name].to_numpy() for name in ("row", "col")))
            for name in exact:
                np.testing.assert_array_equal(found[name].to_numpy(), exact[name])

    def test_the_rule_for_repeated_entries(self):
        group = Group()
        ids = np.array([3, 1, 3, 3]), np.array([5, 5, 5, 9])
        numberings = tuple(Numbering.of(group, side) for side in ids)
        codes = [n.codes(side) for n, side in zip(numberings, ids, strict=True)]
        values = np.array([1.0, 2.0, 4.0, 8.0])
        with pytest.raises(RepeatedEntriesError, match=r"1 repetition.*row 3, column 5"):
            distribute(numberings, codes, values, "error")
        for rule, first in (("mean", 2.5), ("last", 4.0)):
            seen = distribute(numberings, codes, values, rule)
            assert seen.by_row.values.tolist() == [2.0, first, 8.0]
            assert seen.by_col.values.tolist() == [2.0, first, 8.0]

    @pytest.mark.parametrize(
        ("columns", "change", "message"),
        [
            (("row", "col", "x"), {}, "columns must be those of"),
            (("row", "col"), {}, "columns must name row ids, column ids and values"),
            (("row", "col", "value"), {"row": ["a", "b"]}, "must hold integers"),
            (("row", "col", "value"), {"value": ["a", "b"]}, "must hold numbers"),
            (("row", "col", "value"), {"value": [1.0, np.nan]}, "missing or infinite"),
            (("row", "col", "value"), {"row": [None, 1]}, "missing or infinite"),
        ],
    )
    def test_refused_shards(self, tmp_path, columns, change, message):
        good = {"row": [1, 2], "col": [3, 4], "value": [1.0, 2.0]}
        file = write(tmp_path / "bad.parquet", **(good | change))
        with pytest.raises(InputError, match=message):
            fit_shards([file], columns)

    def test_refused_arguments(self, tmp_path, alone):
        with pytest.raises(InputError, match="cannot be read"):
            fit_shards([tmp_path / "absent.parquet"])
        with pytest.raises(InputError, match="at least one entry"):
            fit_shards([])
        with pytest.raises(InputError, match="index must lie between 0 and 3, got 4"):
            join("127.0.0.1:1", 4, 4)
        with pytest.raises(InputError, match="one file for each of 1 shards, got 0"):
            alone.write_predictions([tmp_path / "a"], [])
        with pytest.raises(InputError, match="validation_fraction must hold out some"):
            alone.entries.split(0.0, 0)


SCRIPT = """
import json, os, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[5])
from deeplinear.completion.several import fit_shards, join
folder, count, index, port = Path(sys.argv[1]), *map(int, sys.argv[2:5])
end_at, checkpoint = int(sys.argv[6]), sys.argv[7] or None
join(f"127.0.0.1:{port}", count, index, silence=20)
from test_several import OPTIONS, files, summary
calls = []

def callback(fit):
    calls.append(fit)
    if index == 1 and len(calls) == end_at:
        os._exit(9)  # as killed

found = fit_shards(files(folder, "s", count, index), dtype=np.float64, checkpoint=checkpoint,
                   callback=callback, **OPTIONS)
outputs = files(folder, f"of{count}_", count, index)
found.write_predictions(files(folder, "q", count, index), outputs)
mine = found.entries.by_row.values.size, found.entries.by_col.values.size, found.rows.own.size
print(json.dumps([summary(found), mine, found.fit.left.tolist(), len(calls)]))
"""


def run(folder, count, end_at=0, checkpoint=""):
    """[(exit code, output, errors)] of all processes."""
    here = os.path.dirname(__file__)

    def arguments(number, port):
        return [folder, count, number, port, here, end_at, checkpoint]

    return run_together(SCRIPT, arguments, count, 400)


def check_same(folder, alone, ended, count):
    assert [code for code, *_ in ended] == [0] * count, ended
    found = [json.loads(out.strip().splitlines()[-1]) for _, out, _ in ended]
    exact = summary(alone)
    for numbers, _, left, _ in found:
        np.testing.assert_allclose(numbers, exact, rtol=1e-7)
        np.testing.assert_allclose(np.abs(left), np.abs(alone.fit.left), atol=1e-7)
    total = alone.entries.nnz
    by_rows, by_cols, ids = zip(*(mine for _, mine, *_ in found), strict=True)
    assert (sum(by_rows), sum(by_cols), sum(ids)) == (total, total, alone.rows.size)
    # nobody has all: about equal parts of what unequal shards held
    assert max(*by_rows, *by_cols) < 1.5 * total / count
    for k in range(SHARDS):
        one = pq.read_table(folder / f"alone{k}.parquet")
        other = pq.read_table(folder / f"of{count}_{k}.parquet")
        for name in one.column_names:
            np.testing.assert_allclose(other[name].to_numpy(), one[name].to_numpy(), rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_find_what_one_does(folder, alone, count):
    """Choice, trials, factors, certificate, intervals, and the predictions that they write."""
    check_same(folder, alone, run(folder, count), count)


@pytest.mark.slow
def test_a_process_that_is_killed_is_missed_and_the_checkpoint_goes_on(folder, alone, tmp_path):
    file = tmp_path / "run.ckpt"
    ended = run(folder, 4, end_at=4, checkpoint=file)
    assert ended[1][0] == 9
    for k in (0, 2, 3):
        assert ended[k][0] not in (0, 9)
    assert any("LostProcessError: process" in errors for *_, errors in ended), ended
    assert file.exists()
    ended = run(folder, 4, checkpoint=file)
    check_same(folder, alone, ended, 4)
    calls = [json.loads(out.strip().splitlines()[-1])[3] for _, out, _ in ended]
    assert calls[0] < len(alone.trials) + alone.fit.n_sweeps  # not from the beginning
    assert not file.exists()
