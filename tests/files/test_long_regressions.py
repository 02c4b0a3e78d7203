"""Long data at the edges: few entries, short lines, strange ids, options that do not apply; each
once went wrong.
"""

import datetime
import io
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import deeplinear as dl
from deeplinear.cli import app
from deeplinear.errors import InputError
from deeplinear.files.long import read_long

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


COLUMNS = ["--rows", "user", "--cols", "item", "--values", "rating"]


@pytest.fixture
def source(ratings, tmp_path):
    path = tmp_path / "ratings.csv"
    pd.DataFrame({"user": ratings.users, "item": ratings.items, "rating": ratings.values}).to_csv(
        path, index=False
    )
    return path


class TestPairs:
    @pytest.mark.parametrize("suffix", ["csv", "parquet"])
    def test_one_strange_id_leaves_the_others_known(self, source, ratings, tmp_path, suffix):
        users, items = ratings.users[:3], ratings.items[:3]
        (tmp_path / "pairs.csv").write_text(
            "user,item\n"
            + "".join(f"{u},{i}\n" for u, i in zip(users, items, strict=True))
            + f"eve,{items[0]}\n"
        )
        output, model = tmp_path / f"o.{suffix}", tmp_path / "m.dln"
        result = run(
            "complete",
            source,
            *COLUMNS,
            "-o",
            output,
            "--at",
            tmp_path / "pairs.csv",
            "--model",
            model,
            *QUICK,
        )
        assert result.exit_code == 0, result.output
        assert (
            "1 of 4 entries have ids without any entry in the fit (1 rows, 0 columns)"
            in one_line(result.stderr)
        )
        found = pd.read_csv(output) if suffix == "csv" else pd.read_parquet(output)
        expected = dl.DeepMatrixCompletionCV.load(model).predict(users, items)
        np.testing.assert_allclose(found.prediction[:3], expected, rtol=1e-12)
        assert found.user.astype(str).tolist() == [*map(str, users), "eve"]

    @pytest.mark.parametrize(
        ("heading", "columns"), [(False, ["--rows", "1", "--cols", "2"]), (True, COLUMNS[:0])]
    )
    def test_pairs_of_texts_without_a_heading(self, ratings, tmp_path, heading, columns):
        names = [f"u{u}" for u in ratings.users], [f"i{i}" for i in ratings.items]
        frame = pd.DataFrame(dict(zip(("who", "what", "r"), (*names, ratings.values), strict=True)))
        frame.to_csv(tmp_path / "r.csv", index=False, header=heading)
        frame.iloc[:4, :2].to_csv(tmp_path / "p.csv", index=False, header=False)
        columns = columns or ["--values", "3"]
        result = run(
            "complete",
            tmp_path / "r.csv",
            *columns,
            "-o",
            tmp_path / "o.csv",
            "--at",
            tmp_path / "p.csv",
            *QUICK,
        )
        assert result.exit_code == 0, result.output
        assert pd.read_csv(tmp_path / "o.csv").iloc[:, 0].tolist() == names[0][:4]

    def test_a_heading_of_other_names_is_no_pair(self, source, tmp_path):
        (tmp_path / "p.csv").write_text("a,b\n1,2\n")
        result = run("complete", source, "--rows", "1", "--cols", "2", "--values", "3", "-o", tmp_path / "o.csv",
                     "--at", tmp_path / "p.csv", *QUICK)  # fmt: skip
        assert result.exit_code == 0, result.output
        assert len(pd.read_csv(tmp_path / "o.csv")) == 1

    def test_pairs_for_a_matrix_are_numbers(self, ratings, tmp_path):
        sp.save_npz(
            tmp_path / "a.npz",
            sp.coo_array((ratings.values, (ratings.users, ratings.items))).tocsr(),
        )
        (tmp_path / "p.csv").write_text("x,y\na,b\n")
        result = run(
            "complete",
            tmp_path / "a.npz",
            "-o",
            tmp_path / "o.csv",
            "--at",
            tmp_path / "p.csv",
            *QUICK,
        )
        assert result.exit_code == 2
        assert "must hold row and column numbers from 1" in one_line(result.stderr)


class TestRecommend:
    def test_more_than_there_are_columns(self, fitted):
        n = fitted.col_ids_.size
        row = fitted.row_ids_[:2]
        found, scores = fitted.recommend(row, n + 5, exclude_seen=False)
        assert found.shape == scores.shape == (2, n + 5)
        assert np.isnan(scores[:, n:]).all()
        assert all(x is None for x in found[:, n:].ravel())
        whole, all_scores = fitted.recommend(row, n, exclude_seen=False)
        np.testing.assert_array_equal(found[:, :n], whole)
        np.testing.assert_array_equal(scores[:, :n], all_scores)
        assert sorted(whole[0]) == sorted(fitted.col_ids_)

    @pytest.mark.parametrize("k", [0, 2.0, True, "3", None])
    def test_k_is_an_integer(self, fitted, k):
        with pytest.raises(InputError, match="k must be an integer ≥ 1"):
            fitted.recommend(fitted.row_ids_[:1], k)

    def test_models_of_both_estimators_and_few_columns(self, tmp_path):
        rows, cols = np.divmod(np.arange(30), 5)
        keep = np.arange(30) % 3 > 0
        model = dl.DeepMatrixCompletion(**FIXED).fit(
            (rows[keep], cols[keep], np.sin(rows + 2.0 * cols)[keep])
        )
        model.save(tmp_path / "m.dln")
        result = run("recommend", tmp_path / "m.dln")
        assert result.exit_code == 0, result.output
        found = pd.read_csv(io.StringIO(result.stdout))
        assert len(found) == (~keep).sum()
        np.testing.assert_allclose(
            found.prediction, model.predict(found.row, found.column), rtol=1e-12
        )


class TestRepetitions:
    def test_they_are_told_by_their_ids(self):
        entries = ["ann", "bob", "ann"], [17, 90, 17], [1.0, 2.0, 3.0]
        with pytest.raises(
            InputError,
            match=r"got 1 repetition\(s\), the first of row 'ann', column 17: set duplicates=",
        ):
            dl.DeepMatrixCompletion(**FIXED).fit(entries)

    def test_on_the_command_line(self, source, ratings, tmp_path):
        user, item, value = ratings.users[0], ratings.items[0], ratings.values[0]
        source.write_text(source.read_text() + f"{user},{item},{value + 3}\n")
        options = [*COLUMNS, "--model", tmp_path / "m.dln", *QUICK]
        result = run("complete", source, *options)
        assert result.exit_code == 2
        told = one_line(result.stderr)
        assert (
            f"the first of row {user}, column {item}: add --duplicates mean or --duplicates last."
            in told
        )
        for choice, expected in (("mean", value + 1.5), ("last", value + 3)):
            result = run("complete", source, *options, "--duplicates", choice, "--force")
            assert result.exit_code == 0, result.output
            model = dl.DeepMatrixCompletionCV.load(tmp_path / "m.dln")
            place = list(model.row_ids_).index(user), list(model.col_ids_).index(item)
            assert model.complete()[place] == pytest.approx(expected)
        assert "none of error, mean, last" in one_line(
            run("complete", source, *options, "--force", "--duplicates", "no").stderr
        )


class TestIds:
    @pytest.mark.parametrize(
        "labels",
        [[2**63, -5, 2**63 + 1], ["a\udc80", "b", "é"], [("x", 1), 2.5, True]],
        ids=["huge", "half", "mixed"],
    )
    def test_unusual_ones_are_saved_and_loaded(self, labels, tmp_path):
        rows = [labels[t] for t in (0, 1, 2, 0)]
        model = dl.DeepMatrixCompletion(**FIXED).fit((rows, [0, 1, 0, 1], [1.0, 2.0, 3.0, 5.0]))
        model.save(tmp_path / "m.dln")
        loaded = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
        assert loaded.row_ids_.tolist() == labels
        np.testing.assert_array_equal(
            loaded.predict(labels, [0, 1, 0]), model.predict(labels, [0, 1, 0])
        )

    @pytest.mark.parametrize(
        ("dtype", "first"), [("string", ["a", None, "b"]), ("Int64", [4, None, 5])]
    )
    def test_missing_ones_of_pandas(self, dtype, first):
        frame = pd.DataFrame(
            {"user": pd.array(first, dtype=dtype), "item": [1, 2, 3], "rating": [1.0, 2.0, 3.0]}
        )
        with pytest.raises(
            InputError, match=r"column 'user' has 1 missing id\(s\), the first at position 1"
        ):
            dl.DeepMatrixCompletion(**FIXED).fit(frame)


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"depths": 3}, "depths must be a sequence of numbers"),
            ({"depths": "23"}, "depths must be a sequence of numbers"),
            ({"depths": ()}, "depths must hold at least one depth"),
            ({"strengths": ("a",)}, "strengths must be a sequence of numbers"),
            ({"strengths": 0.3}, "strengths must be a sequence of numbers"),
            ({"strengths": (-1.0,)}, "strengths must hold finite numbers"),
        ],
    )
    def test_of_the_choice(self, ratings, options, message):
        with pytest.raises(InputError, match=message):
            dl.DeepMatrixCompletionCV(**options).fit(ratings.triples)

    def test_a_checkpoint_needs_its_folder(self, ratings, tmp_path):
        def never(state):
            raise AssertionError("it must be refused before any work")

        model = dl.DeepMatrixCompletion(
            **FIXED, checkpoint=tmp_path / "none" / "ck", callback=never
        )
        with pytest.raises(InputError, match=r"checkpoint: the folder of '.*ck' does not exist"):
            model.fit(ratings.triples)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--knn"], "--knn: for tables and images, not for long"),
            (["--mask", "x.csv"], "--mask: for tables and images"),
            (["--report", "folder"], "--report: for tables and images"),
            (["--missing", "-1"], "--missing: for tables and images"),
            (["--no-header"], "--header: for tables and images"),
            (["--labels"], "--labels: for tables and images"),
            (["--max-iter", "0"], "--max-iter: 0 sweeps fit nothing"),
            (
                ["--validation-fraction", "0", "--depth", "2,3"],
                "must be positive for a choice of depth or strength",
            ),
        ],
    )
    def test_what_does_not_apply_is_refused(self, source, tmp_path, options, message):
        result = run("complete", source, *COLUMNS, "--model", tmp_path / "m.dln", *QUICK, *options)
        assert result.exit_code == 2, result.output
        assert message in one_line(result.stderr)
        assert [path.name for path in tmp_path.iterdir()] == ["ratings.csv"]

    def test_one_depth_and_strength_need_no_held_out_entries(self, source, ratings, tmp_path):
        options = ["--validation-fraction", "0", "--max-iter", "7"]
        result = run("complete", source, *COLUMNS, "--model", tmp_path / "m.dln", *QUICK, *options)
        assert result.exit_code == 0, result.output
        loaded = dl.DeepMatrixCompletionCV.load(tmp_path / "m.dln")
        expected = dl.DeepMatrixCompletion(
            depth=3, strength=0.2, max_rank=4, validation_fraction=0, random_state=0, max_sweeps=7
        ).fit(ratings.triples)
        assert loaded.strength_ == 0.2
        assert loaded.n_sweeps_ <= 7
        pairs = ratings.users[:9], ratings.items[:9]
        np.testing.assert_allclose(loaded.predict(*pairs), expected.predict(*pairs), rtol=1e-10)


class TestIntervals:
    def test_nothing_tells_the_noise_of_one_entry(self):
        model = dl.DeepMatrixCompletion(**FIXED).fit(([1], [2], [3.0]))
        with pytest.warns(UserWarning, match="none was held out: nothing tells how far off"):
            low, high = model.interval([1], [2])
        assert np.isnan([low, high]).all()

    def test_some_residual_does(self, fitted, ratings):
        low, high = fitted.interval(ratings.users[:5], ratings.items[:5])
        assert (low < high).all()


class TestForms:
    def test_what_is_masked_is_missing(self):
        rng = np.random.default_rng(2)
        X = np.arange(6.0)[:, None] + np.arange(5.0) + rng.normal(size=(6, 5))
        mask = rng.random(X.shape) < 0.3
        hidden = np.where(mask, 1e6, X)
        for dtype in (float, np.float32):
            masked = dl.DeepMatrixCompletion(**FIXED).fit(
                np.ma.array(hidden.astype(dtype), mask=mask)
            )
            other = dl.DeepMatrixCompletion(**FIXED).fit(np.where(mask, np.nan, X).astype(dtype))
            np.testing.assert_array_equal(masked.complete(), other.complete())
            assert masked.complete().dtype == other.complete().dtype
        whole = np.ma.array(np.where(mask, 99, 3), mask=mask)
        assert dl.DeepMatrixCompletion(**FIXED).fit(whole).train_score_ == pytest.approx(
            0, abs=1e-9
        )

    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_masked_vectors_are_refused(self, which):
        entries = [np.array([1, 2, 3]), np.array([4, 5, 6]), np.array([1.0, 2.0, 3.0])]
        entries[which] = np.ma.array(entries[which], mask=[False, True, False])
        with pytest.raises(InputError, match=r"has 1 masked element\(s\), the first at position 1"):
            dl.DeepMatrixCompletion(**FIXED).fit(tuple(entries))

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([3, "4", 5], r"values must hold real numbers, got '4' \(str\) at position 1"),
            (
                np.array([3, "4", 5], dtype=object),
                r"values must hold real numbers, got '4' \(str\) at position 1",
            ),
            (["1.5", "2", "3"], r"values must hold real numbers, got '1.5' \(str\) at position 0"),
            ([1.0, None, 2.0], "values must be finite, got 1 NaN"),
            ([1.0, object(), 2.0], r"\(object\) at position 1"),
            (pd.array([1, None, 3], dtype="Int64"), "values must be finite, got 1 NaN"),
        ],
        ids=["list", "objects", "texts", "none", "thing", "na"],
    )
    def test_values_that_are_no_numbers(self, values, message):
        with pytest.raises(InputError, match=message):
            dl.DeepMatrixCompletion(**FIXED).fit(([1, 2, 3], [1, 2, 3], values))

    @pytest.mark.parametrize(
        "table",
        [
            [["1", "2"], ["3", "4"]],
            np.array([[1, "2"], [3, 4]], dtype=object),
            pd.DataFrame({"a": [1, 2], "b": ["3", "4"]}),
        ],
        ids=["texts", "objects", "frame"],
    )
    def test_tables_of_texts(self, table):
        with pytest.raises(InputError, match="X must hold numbers where it is a table"):
            dl.DeepMatrixCompletion(**FIXED).fit(table)


class TestFiles:
    def test_other_encodings_are_told_with_the_line(self, tmp_path):
        (tmp_path / "r.csv").write_bytes("who,what,r\nRené,1,2\nRenè,1,3\n".encode("latin-1"))
        with pytest.raises(InputError, match=r"line 2 is not UTF-8 text \(byte 0xe9 at place 4\)"):
            read_long(tmp_path / "r.csv")
        (tmp_path / "r.csv").write_text("who,what,r\nRené,1,2\nRenè,1,3\n", encoding="utf-8-sig")
        assert read_long(tmp_path / "r.csv").row_ids.tolist() == ["René", "Renè"]

    @pytest.mark.parametrize("end", ["\n", "\r\n", "  \n\n"])
    @pytest.mark.parametrize("mark", ["::", ",", "\t"])
    def test_blank_lines(self, tmp_path, mark, end):
        lines = [mark.join(line) for line in (("7", "1", "2.5"), ("8", "1", "3.5"))]
        (tmp_path / "r.dat").write_text(
            "\n".join([*lines[:1], "", *lines[1:]]) + "\n" + end, newline=""
        )
        found = read_long(tmp_path / "r.dat")
        assert found.row_ids[found.rows].tolist() == [7, 8]
        assert found.values.tolist() == [2.5, 3.5]

    @pytest.mark.parametrize(
        "depths",
        [np.array([2.0, 3.0]), range(2, 4), pd.Series([2, 3])],
        ids=["array", "range", "series"],
    )
    def test_array_parameters_are_saved(self, ratings, depths, tmp_path):
        model = dl.DeepMatrixCompletionCV(
            depths=depths, strengths=np.array([0.4]), max_rank=3, random_state=0
        )
        model.fit(ratings.triples).save(tmp_path / "m.dln")
        loaded = dl.DeepMatrixCompletionCV.load(tmp_path / "m.dln")
        assert (loaded.depths, loaded.strengths) == ([2, 3], [0.4])

    def test_dates_are_saved_and_loaded(self, tmp_path):
        days = pd.to_datetime([1, 86_400_000_000_000, 2], unit="ns")
        cols = [
            datetime.date(2026, 1, 1),
            datetime.datetime(2026, 1, 1, 5),
            (datetime.time(3), "x"),
        ]
        frame = pd.DataFrame(
            {"user": days[[0, 1, 2, 0]], "item": [0, 1, 2, 1], "rating": [1.0, 2.0, 4.0, 3.0]}
        )
        for number, (entries, rows) in enumerate(
            ((frame, days.to_numpy()), ((cols, [0, 1, 0], [1.0, 2.0, 3.0]), cols))
        ):
            model = dl.DeepMatrixCompletion(**FIXED).fit(entries)
            model.save(tmp_path / f"{number}.dln")
            loaded = dl.DeepMatrixCompletion.load(tmp_path / f"{number}.dln")
            assert loaded.row_ids_.tolist() == model.row_ids_.tolist()
            assert list(map(type, loaded.row_ids_)) == list(map(type, model.row_ids_))
            np.testing.assert_array_equal(
                loaded.predict(rows, [0, 1, 0]), model.predict(rows, [0, 1, 0])
            )
            assert len(set(loaded.predict(rows, [0, 1, 0]))) == 3


class TestDevice:
    def test_the_default_devices_of_jax_give_the_same(self, ratings, source, tmp_path):
        few = ["--max-iter", "4", "--validation-fraction", "0", "--device", "jax"]
        result = run("complete", source, *COLUMNS, "--model", tmp_path / "m.dln", *QUICK, *few)
        assert result.exit_code == 0, result.output
        model = dl.DeepMatrixCompletionCV.load(tmp_path / "m.dln")
        options = {**FIXED, "depth": 3, "strength": 0.2, "max_rank": 4, "max_sweeps": 4}
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
        result = run("complete", source, *COLUMNS, "--model", tmp_path / "m", "--device", "tpu")
        assert result.exit_code == 2
        assert "--device: 'tpu' is none of cpu, gpu, jax" in one_line(result.stderr)
        result = run("complete", source, "-o", tmp_path / "o.csv", "--device", "gpu")
        assert "--device: gpu is for long data" in one_line(result.stderr)
