"""Long data at the edges: few entries, short lines, strange ids, options that do not apply; each once went wrong."""

import warnings

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import deeplinear as dl
from deeplinear.cli import app
from deeplinear.errors import InputError

QUICK = ["--depth", "3", "--strength", "0.2", "--max-rank", "4"]
FIXED = {"strength": 0.3, "validation_fraction": 0, "random_state": 0, "threads": 1}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_line(text):
    return " ".join(text.split())


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.NotConvergedWarning)
        yield


@pytest.fixture(scope="module")
def ratings():
    return dl.datasets.make_ratings(30, 20, 300, seed=3)


@pytest.fixture(scope="module")
def fitted(ratings):
    return dl.DeepMatrixCompletion(**FIXED, max_rank=5).fit(ratings.triples)


class TestFew:
    def test_intervals_of_few_entries_stay_empty_and_the_model_is_kept(self, tmp_path):
        rng = np.random.default_rng(0)
        where = rng.permutation(20)[:13]
        frame = pd.DataFrame({"u": where // 4, "i": where % 4, "r": rng.normal(size=13)})
        frame.to_csv(tmp_path / "small.csv", index=False)
        result = run("complete", tmp_path / "small.csv", "--rows", "u", "--cols", "i", "--values", "r", "-o", tmp_path / "o.csv",
                     "--model", tmp_path / "m.dln", "--depth", "3", "--strength", "0.3")  # fmt: skip
        assert result.exit_code == 0, result.output
        assert "held-out entries are too few for 90% intervals" in one_line(result.stderr)
        found = pd.read_csv(tmp_path / "o.csv")
        assert found.prediction.notna().all()
        assert found.low.isna().all()
        assert found.high.isna().all()
        assert "nan" not in (tmp_path / "o.csv").read_text()
        assert dl.DeepMatrixCompletionCV.load(tmp_path / "m.dln").predict([0], [0]).shape == (1,)

    def test_fewer_new_rows_than_the_largest_rank(self, fitted, ratings):
        one = np.flatnonzero(ratings.users == ratings.users[0])
        new = (["someone"] * len(one), ratings.items[one], ratings.values[one])
        folded = fitted.fold_in(new)
        assert folded.complete().shape == (1, fitted.col_ids_.size)
        np.testing.assert_array_equal(fitted.transform(new), folded.complete())

    def test_the_largest_rank_is_checked_where_it_is_used(self, ratings):
        with pytest.raises(InputError, match=r"max_rank must be at most min\(m, n\) = 20, got 21"):
            dl.DeepMatrixCompletion(**FIXED, max_rank=21).fit(ratings.triples)
