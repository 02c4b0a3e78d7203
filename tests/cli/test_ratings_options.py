"""`deeplinear ratings`: few entries, options that do not apply, entries that come again."""

import re

import numpy as np
import pandas as pd
import pytest
from command_line import COLUMNS, FIXED, QUICK, one_line, run

import deeplinear as dl
from deeplinear.errors import InputError

pytestmark = pytest.mark.usefixtures("quiet")


class TestFew:
    def test_intervals_of_few_entries_stay_empty_and_the_model_is_kept(self, tmp_path):
        rng = np.random.default_rng(0)
        where = rng.permutation(20)[:13]
        frame = pd.DataFrame({"u": where // 4, "i": where % 4, "r": rng.normal(size=13)})
        frame.to_csv(tmp_path / "small.csv", index=False)
        columns = ["--rows", "u", "--cols", "i", "--values", "r"]
        written = ["-o", tmp_path / "o.csv", "--model", tmp_path / "m.dln"]
        quick = ["--depth", "3", "--strength", "0.3"]
        result = run("ratings", tmp_path / "small.csv", *columns, *written, *quick)
        assert result.exit_code == 0, result.output
        assert "held-out entries are too few for 90% intervals" in one_line(result.stderr)
        found = pd.read_csv(tmp_path / "o.csv")
        assert found.prediction.notna().all()
        assert found.low.isna().all()
        assert found.high.isna().all()
        assert "nan" not in (tmp_path / "o.csv").read_text()
        assert dl.DeepMatrixCompletion.load(tmp_path / "m.dln").predict([0], [0]).shape == (1,)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--knn"], r"No such option:? '?--knn"),
            (["--mask", "x.csv"], r"No such option:? '?--mask"),
            (["--decimal", ";"], "--decimal: ';' is no decimal mark"),
            (["--separator", "ab"], "--separator: 'ab' is no separator"),
            (["--encoding", "klingon"], "--encoding: 'klingon' is no known encoding"),
            (["--no-header"], "has no headings, and 'user' was asked for"),
            (["--labels"], r"No such option:? '?--labels"),
            (["--average", "-1"], "--average: -1 is too small; give 0 or more"),
            (["--report", "ratings.csv"], "--report: 'ratings.csv' is a file"),
            (["--checkpoint", "ratings.csv"], "--checkpoint: 'ratings.csv' is INPUT itself"),
            (["--max-iter", "0"], "--max-iter: 0 is too small; give 1 or more"),
            (
                ["--validation-fraction", "0", "--depth", "2,3"],
                "must be positive for a choice of depth or strength",
            ),
        ],
    )
    def test_what_does_not_apply_is_refused(self, source, tmp_path, monkeypatch, options, message):
        monkeypatch.chdir(tmp_path)
        result = run("ratings", source, *COLUMNS, "--model", tmp_path / "m.dln", *QUICK, *options)
        assert result.exit_code == 2, result.output
        assert re.search(message, one_line(result.stderr))
        assert [path.name for path in tmp_path.iterdir()] == ["ratings.csv"]

    def test_one_depth_and_strength_need_no_held_out_entries(self, source, ratings, tmp_path):
        options = ["--validation-fraction", "0", "--max-iter", "7"]
        result = run("ratings", source, *COLUMNS, "--model", tmp_path / "m.dln", *QUICK, *options)
        assert result.exit_code == 0, result.output
        loaded = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
        expected = dl.DeepMatrixCompletion(
            depth=3, strength=0.2, max_rank=4, validation_fraction=0, random_state=0, max_iter=7
        ).fit(ratings.triples)
        assert loaded.strength_ == 0.2
        assert loaded.n_iter_ <= 7
        pairs = ratings.users[:9], ratings.items[:9]
        np.testing.assert_allclose(loaded.predict(*pairs), expected.predict(*pairs), rtol=1e-10)


class TestRepetitions:
    def test_on_the_command_line(self, source, ratings, tmp_path):
        user, item, value = ratings.users[0], ratings.items[0], ratings.values[0]
        source.write_text(source.read_text() + f"{user},{item},{value + 3}\n")
        options = [*COLUMNS, "--model", tmp_path / "m.dln", *QUICK]
        result = run("ratings", source, *options)
        assert result.exit_code == 2
        told = one_line(result.stderr)
        assert (
            f"the first of row {user}, column {item}: add --duplicates mean or --duplicates last."
            in told
        )
        for choice, expected in (("mean", value + 1.5), ("last", value + 3)):
            result = run("ratings", source, *options, "--duplicates", choice, "--force")
            assert result.exit_code == 0, result.output
            model = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
            place = list(model.row_ids_).index(user), list(model.col_ids_).index(item)
            assert model.complete()[place] == pytest.approx(expected)
        assert "none of error, mean, last" in one_line(
            run("ratings", source, *options, "--force", "--duplicates", "no").stderr
        )


class TestDevice:
    def test_the_default_devices_of_jax_give_the_same(self, ratings, source, tmp_path):
        few = ["--max-iter", "4", "--validation-fraction", "0", "--device", "jax"]
        result = run("ratings", source, *COLUMNS, "--model", tmp_path / "m.dln", *QUICK, *few)
        assert result.exit_code == 0, result.output
        model = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
        options = {**FIXED, "depth": 3, "strength": 0.2, "max_rank": 4, "max_iter": 4}
        cpu = dl.DeepMatrixCompletion(**options).fit(ratings.triples)
        np.testing.assert_allclose(
            model.predict(ratings.pairs), cpu.predict(ratings.pairs), rtol=1e-8
        )
        assert not np.array_equal(
            model.predict(ratings.pairs), cpu.predict(ratings.pairs)
        )  # other loops, other rounding
        assert dl.DeepMatrixCompletion(device="jax")._options((3, 3))["device"] == "jax"

    def test_refusals(self, ratings, source, tmp_path):
        with pytest.raises(InputError, match="device"):
            dl.DeepMatrixCompletion(device="tpu").fit(ratings.triples)
        result = run("ratings", source, *COLUMNS, "--model", tmp_path / "m", "--device", "tpu")
        assert result.exit_code == 2
        assert "--device: 'tpu' is none of cpu, gpu, jax" in one_line(result.stderr)
