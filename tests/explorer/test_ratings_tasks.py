"""What the page shows and saves of ratings is what the command and the estimator give."""

import math
import shlex

import numpy as np
import pytest
from command_line import run

import deeplinear as dl
from deeplinear.errors import InputError
from deeplinear.explorer.ratings_tasks import best_for, fit_list, understand_list
from deeplinear.explorer.table_tasks import Request

QUIET = lambda part, said: None  # noqa: E731


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("visitor")
    asked = Request("ratings", folder, folder, depths=(2.0, math.inf))
    return folder, fit_list(QUIET, asked)


def test_the_command_that_is_printed_writes_what_is_saved(found, tmp_path, monkeypatch):
    folder, rated = found
    (tmp_path / "ratings.csv").write_bytes((folder / "ratings.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    _, *words = shlex.split(rated.command)
    assert run(*words).exit_code == 0
    assert (tmp_path / "predictions.csv").read_bytes() == rated.files["predictions"].read_bytes()


def test_the_lines_of_python_do_the_same(found, monkeypatch):
    folder, rated = found
    monkeypatch.chdir(folder)
    names = {}
    exec(rated.python, names)
    model = dl.DeepMatrixCompletion.load(rated.files["model"])
    users = names["data"].row_ids.labels[:5]
    np.testing.assert_array_equal(
        names["model"].recommend(users, 4)[1], model.recommend(users, 4)[1]
    )


def test_the_best_for_one_user_are_those_of_the_model(found):
    _, rated = found
    model = dl.DeepMatrixCompletion.load(rated.files["model"])
    user = rated.users[2]
    items, values = (x[0] for x in model.recommend([user], 3))
    shown = best_for(QUIET, rated.files["model"], user, 3)
    places = [shown.index(f"<td>{item}</td><td>{value:.3g}</td>") for item, value in
              zip(items, values, strict=True)]  # fmt: skip
    assert places == sorted(places)
    with pytest.raises(InputError, match="no such row"):
        best_for(QUIET, rated.files["model"], "<script>", 3)


def test_ids_are_escaped(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"u{i},<script>alert({j})</script>,{rng.integers(1, 6)}" for i in range(12)
            for j in range(9) if (i + j) % 3]  # fmt: skip
    path = tmp_path / "list.csv"
    path.write_text("\n".join(["who,what,stars", *rows]) + "\n")
    asked = Request("", path, tmp_path, depths=(2.0,))
    assert "<script>" not in understand_list(QUIET, asked).head
    rated = fit_list(QUIET, asked)
    assert "<script>" not in best_for(QUIET, rated.files["model"], "u1", 3)


@pytest.mark.parametrize(
    "text",
    ["who,what,stars\na,b,nan\n", "a,b\n1,2\n", "who,what,stars\na,b,1\na,b,2\n", "\x00\x01\x02"],
)
def test_a_bad_list_gets_one_sentence(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        fit_list(QUIET, Request("", path, tmp_path, depths=(2.0,)))
    assert str(tmp_path) not in str(caught.value)
