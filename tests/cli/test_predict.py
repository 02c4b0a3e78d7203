"""`deeplinear predict` and `deeplinear recommend`: lists from a saved model."""

import io
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
from command_line import FIXED, one_line, run

import deeplinear as dl

pytestmark = pytest.mark.usefixtures("quiet")


class TestRecommend:
    def test_few_columns(self, tmp_path):
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
            found.prediction, model.predict(found.user, found.item), rtol=1e-12
        )


def test_recommend_refuses(tmp_path):
    (tmp_path / "a.dln").write_bytes(b"nothing")
    result = run("recommend", tmp_path / "a.dln")
    assert result.exit_code == 2
    assert "not a deeplinear model file" in one_line(result.stderr)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of text and integer ids in the columns who and what, and where it is."""
    ratings = dl.datasets.make_ratings(30, 20, 300, seed=3)
    users = [f"u{user}" for user in ratings.users]
    model = dl.DeepMatrixCompletion(
        strength=0.2, max_rank=3, random_state=0, columns=("who", "what", "stars")
    ).fit((users, ratings.items, ratings.values))
    path = tmp_path_factory.mktemp("model") / "m.dln"
    model.save(path)
    model.save(path.with_name("small.dln"), entries=False)
    return model, path, (users[:3], ratings.items[:3].tolist())


class TestBytesThatAreNoText:
    """Undecodable bytes of the command line are halves of characters in Python."""

    def test_ids_of_the_command_line(self, saved, tmp_path):
        _, path, _ = saved
        result = run("recommend", path, "--ids", "u1,caf\udce9", "-o", tmp_path / "out.csv")
        assert result.exit_code == 2
        assert r"--ids: 'caf\udce9' holds bytes that are no text" in one_line(result.stderr)
        assert not (tmp_path / "out.csv").exists()

    @pytest.mark.parametrize("name", ["out.csv", "out.tsv.gz", "out.parquet"])
    def test_ids_of_a_model(self, tmp_path, name):
        model = dl.DeepMatrixCompletion(**FIXED).fit(
            (["a", "caf\udce9", "a", "b"], [1, 2, 2, 1], [1.0, 2.0, 3.0, 4.0])
        )
        model.save(tmp_path / "m.dln")
        result = run("recommend", "--include-seen", tmp_path / "m.dln", "-o", tmp_path / name)
        assert result.exit_code == 2, result.output
        assert r"--output: an id or a name holds '\udce9'" in one_line(result.stderr)
        assert not (tmp_path / name).exists()


class TestPredict:
    @pytest.mark.parametrize("heading", ["what,who", "a,b", None], ids=["names", "others", "none"])
    def test_chosen_pairs(self, saved, tmp_path, heading):
        model, path, (users, items) = saved
        columns = (items, users) if heading == "what,who" else (users, items)
        lines = ([heading] if heading else []) + [f"{a},{b}" for a, b in zip(*columns, strict=True)]
        (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
        result = run("predict", path, "--at", tmp_path / "p.csv")
        assert result.exit_code == 0, result.output
        found = pd.read_csv(io.StringIO(result.stdout))
        low, high = model.interval(users, items)
        assert found.iloc[:, 0].tolist() == users
        assert found.iloc[:, 1].tolist() == items
        np.testing.assert_allclose(found.prediction, model.predict(users, items), rtol=1e-12)
        np.testing.assert_allclose(found[["low", "high"]].T, [low, high], rtol=1e-12)
        if heading == "what,who":
            assert list(found.columns[:2]) == ["who", "what"]

    def test_unknown_ids_give_one_warning_in_both_commands(self, saved, tmp_path):
        model, path, (users, items) = saved
        (tmp_path / "p.csv").write_text(f"who,what\n{users[0]},{items[0]}\neve,{items[0]}\n")
        result = run("predict", path, "--at", tmp_path / "p.csv", "-o", tmp_path / "o.parquet")
        assert result.exit_code == 0, result.output
        assert result.stderr.count("Warning") == 1
        assert "1 of 2 entries have ids without any entry" in one_line(result.stderr)
        assert pd.read_parquet(tmp_path / "o.parquet").who.tolist() == [users[0], "eve"]
        result = run("recommend", path, "--ids", f"{users[0]},eve", "-k", "2")
        assert result.exit_code == 0, result.output
        assert "1 of 2 ids have no entry in the fit, the first is 'eve'" in one_line(result.stderr)
        found = pd.read_csv(io.StringIO(result.stdout))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = model.recommend(["eve"], 2)[0][0]
        assert found[found.iloc[:, 0] == "eve"].iloc[:, 2].tolist() == expected.tolist()

    def test_without_entries_there_are_no_intervals(self, saved, tmp_path):
        _, path, (users, items) = saved
        (tmp_path / "p.csv").write_text(f"who,what\n{users[0]},{items[0]}\n")
        result = run("predict", path.with_name("small.dln"), "--at", tmp_path / "p.csv")
        assert result.exit_code == 0, result.output
        assert "saved without its entries" in one_line(result.stderr)
        assert result.stdout.splitlines()[1].endswith(",,")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("who,item\nu1,2\n", "--at: '.*p.csv' has no column 'what'; name both"),
            ("", "--at: '.*p.csv' is empty"),
            ("who\nu1\n", "has no column 'what'"),
            ("u\nu1\n", "--cols: '.*p.csv' has 1 column, and number 2 was asked for"),
            ("who,what\nu1,\n", "--at: '.*p.csv', line 2: an id is missing"),
        ],
    )
    def test_refusals(self, saved, tmp_path, content, message):
        (tmp_path / "p.csv").write_text(content)
        result = run("predict", saved[1], "--at", tmp_path / "p.csv")
        assert result.exit_code == 2
        assert re.search(message, one_line(result.stderr)), result.stderr

    def test_other_files(self, saved, tmp_path):
        result = run("predict", saved[1], "--at", tmp_path / "none.csv")
        assert "--at: '" in one_line(result.stderr)
        assert "does not exist" in one_line(result.stderr)
        (tmp_path / "p.csv").write_text("a,b\nu1,2\n")
        result = run("predict", saved[1], "--at", tmp_path / "p.csv", "-o", tmp_path / "o.xlsx")
        assert "must end in .csv, .tsv or .parquet" in one_line(result.stderr)
        result = run("predict", tmp_path / "p.csv", "--at", tmp_path / "p.csv")
        assert "not a deeplinear model file" in one_line(result.stderr)

    def test_a_matrix_counts_from_one(self, tmp_path):
        rows, cols = np.divmod(np.arange(40), 5)
        matrix = sp.coo_array((np.sin(rows + 2.0 * cols), (rows, cols)))
        model = dl.DeepMatrixCompletion(strength=0.2, max_rank=2, random_state=0).fit(matrix)
        model.save(tmp_path / "m.dln")
        (tmp_path / "p.csv").write_text("1,1\n8,5\n")
        result = run("predict", tmp_path / "m.dln", "--at", tmp_path / "p.csv")
        found = pd.read_csv(io.StringIO(result.stdout))
        assert found.iloc[:, 0].tolist() == [1, 8]
        np.testing.assert_allclose(found.prediction, model.predict([0, 7], [0, 4]), rtol=1e-12)
        (tmp_path / "p.csv").write_text("1,1\n9,5\n")
        result = run("predict", tmp_path / "m.dln", "--at", tmp_path / "p.csv")
        assert result.exit_code == 2
        assert "9 is not between 1 and 8" in one_line(result.stderr)


class TestEmptyLines:
    """A matrix on file with rows and columns that hold nothing, as the estimator has it."""

    @pytest.fixture(params=[".mtx", ".npz"])
    def made(self, request, tmp_path):
        rng = np.random.default_rng(0)
        truth = np.sin(np.add.outer(np.arange(9), 2.0 * np.arange(7)))
        i, j = np.nonzero(rng.random(truth.shape) < 0.8)
        matrix = sp.coo_array((truth[i, j], (4 * i + 1, 3 * j)), shape=(40, 25))
        path = tmp_path / f"matrix{request.param}"
        if request.param == ".mtx":
            scipy.io.mmwrite(path, matrix)
        else:
            sp.save_npz(path, matrix.tocsr())
        model = tmp_path / "m.dln"
        options = "--depth", "3", "--strength", "0.2", "--validation-fraction", "0.3", "--quiet"
        done = run("ratings", path, *options, "--model", model)
        assert done.exit_code == 0, done.output
        options = {"strength": 0.2, "validation_fraction": 0.3, "random_state": 0}
        return dl.DeepMatrixCompletion(depth=3, **options).fit(matrix), model

    def test_predictions_and_one_warning(self, made, tmp_path):
        model, path = made
        (tmp_path / "p.csv").write_text("2,1\n6,4\n1,1\n40,25\n")
        result = run("predict", path, "--at", tmp_path / "p.csv")
        assert result.exit_code == 0, result.output
        assert result.stderr.count("Warning") == 1
        assert "2 of 4 entries have ids without any entry" in one_line(result.stderr)
        with pytest.warns(dl.errors.EmptyLineWarning):
            expected = model.predict([1, 5, 0, 39], [0, 3, 0, 24])
        found = pd.read_csv(io.StringIO(result.stdout))
        np.testing.assert_allclose(found.prediction, expected, rtol=1e-6)

    def test_recommendations_and_one_warning(self, made):
        model, path = made
        result = run("recommend", path, "--ids", "2,1", "-k", "3", "--include-seen")
        assert result.stderr.count("Warning") == 1
        assert "1 of 2 ids have no entry in the fit: they get" in one_line(result.stderr)
        with pytest.warns(dl.errors.EmptyLineWarning):
            expected = model.recommend([1, 0], 3, exclude_seen=False)[0]
        found = pd.read_csv(io.StringIO(result.stdout))
        assert found.row.tolist() == [2, 2, 2, 1, 1, 1]
        assert found.column.tolist() == (expected.ravel() + 1).tolist()
        assert set(found.column) <= set(range(1, 26, 3))  # nothing is known about the others
        assert run("recommend", path, "--ids", "41").exit_code == 2


def test_a_model_of_tables_is_refused(tmp_path):
    table = np.where(np.eye(6) > 0, np.nan, np.arange(36.0).reshape(6, 6))
    dl.DeepLinearImputer(strength=0.2, random_state=0).fit(table).save(tmp_path / "t.dln")
    result = run("recommend", tmp_path / "t.dln")
    assert result.exit_code == 2
    assert "is a model of tables, which have no pairs of ids" in one_line(result.stderr)


@pytest.mark.parametrize("command", ["predict", "recommend"])
def test_a_model_that_is_not_there_is_named_by_its_argument(command, tmp_path):
    more = ["--at", tmp_path / "p.csv"] if command == "predict" else []
    (tmp_path / "p.csv").write_text("1,1\n")
    result = run(command, tmp_path / "none.dln", *more)
    assert result.exit_code == 2
    assert "MODEL: '" in one_line(result.stderr)
    (tmp_path / "none.dln").write_bytes(b"no model")
    assert "Error: MODEL" in one_line(run(command, tmp_path / "none.dln", *more).stderr)


def test_names_with_blanks_are_ids_and_where_none_is_known_the_first_is_shown(tmp_path):
    pairs = [(f"u{i}", f"film {j}") for i in range(6) for j in range(5) if (i + j) % 3]
    values = [float(np.sin(k)) for k in range(len(pairs))]
    users, films = zip(*pairs, strict=True)
    model = dl.DeepMatrixCompletion(**FIXED).fit((list(users), list(films), values))
    model.save(tmp_path / "m.dln")
    (tmp_path / "at.csv").write_text("user,item\n" + "\n".join(",".join(p) for p in pairs) + "\n")
    result = run("predict", tmp_path / "m.dln", "--at", tmp_path / "at.csv")
    assert result.exit_code == 0, result.output
    found = pd.read_csv(io.StringIO(result.stdout))
    np.testing.assert_allclose(found.prediction, model.predict(users, films), rtol=1e-12)
    (tmp_path / "at.csv").write_text("nobody,film nowhere\nnobody else,film nowhere\n")
    result = run("predict", tmp_path / "m.dln", "--at", tmp_path / "at.csv")
    assert "the first is 'nobody', 'film nowhere'." in one_line(result.stderr)
