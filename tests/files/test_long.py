"""From a long file to the estimator: ids are numbered once, and the fit is that of the triples."""

import numpy as np
import pandas as pd
import pytest

import deeplinear as dl
from deeplinear.completion.data.ids import Ids
from deeplinear.errors import InputError
from deeplinear.files.long import column_names, read_long

FIXED = {"strength": 0.3, "validation_fraction": 0, "random_state": 0, "max_rank": 3}


@pytest.fixture(scope="module")
def frame():
    ratings = dl.datasets.make_ratings(30, 20, 300, seed=3)
    users = [f"u{user}" for user in ratings.users]
    return pd.DataFrame({"user": users, "item": ratings.items, "rating": ratings.values})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_fit_is_that_of_the_triples(frame, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    found = dl.DeepMatrixCompletion(**FIXED).fit(read_long(path))
    expected = dl.DeepMatrixCompletion(**FIXED).fit(frame)
    assert found.row_ids_.tolist() == expected.row_ids_.tolist()
    assert found.col_ids_.tolist() == expected.col_ids_.tolist()
    np.testing.assert_array_equal(found.complete(), expected.complete())


def test_no_id_is_looked_up_again(frame, tmp_path, monkeypatch):
    frame.to_csv(tmp_path / "a.csv", index=False)
    entries = read_long(tmp_path / "a.csv")

    def never(*arguments):
        raise AssertionError("ids are numbered already")

    monkeypatch.setattr(Ids, "extended", never)
    monkeypatch.setattr(Ids, "codes", never)
    dl.DeepMatrixCompletion(**FIXED).fit(entries)


def test_new_entries_of_a_second_file(frame, tmp_path):
    """As the same entries in triples, also of new ids."""
    frame[:250].to_csv(tmp_path / "old.csv", index=False)
    frame[250:].assign(item=frame.item + 5).to_csv(tmp_path / "new.csv", index=False)
    old, new = read_long(tmp_path / "old.csv"), read_long(tmp_path / "new.csv")
    triples = new.row_ids.labels[new.rows], new.col_ids.labels[new.cols], new.values
    models = [
        dl.DeepMatrixCompletion(**FIXED, duplicates="last").fit(old).partial_fit(more)
        for more in (new, triples)
    ]
    assert models[0].col_ids_.tolist() == models[1].col_ids_.tolist()
    np.testing.assert_array_equal(models[0].complete(), models[1].complete())


def test_values_beyond_single_precision(tmp_path):
    (tmp_path / "a.csv").write_text("1,1,2\n1,2,1e300\n")
    assert read_long(tmp_path / "a.csv").values.tolist() == [2.0, 1e300]
    assert read_long(tmp_path / "a.csv", values="2", cols="3", dtype=np.float32).values.size == 2
    with pytest.raises(InputError, match="has values beyond float32; read it in float64"):
        read_long(tmp_path / "a.csv", dtype=np.float32)
    with pytest.raises(InputError, match="dtype must be float32 or float64, got int64"):
        read_long(tmp_path / "a.csv", dtype=int)


def test_unused_categories_are_no_ids(tmp_path):
    users = pd.Categorical(["b", "a", "b"], categories=["x", "a", "b"])
    frame = pd.DataFrame({"u": users, "i": [1, 1, 2], "x": [1.0, 2.0, 3.0]})
    frame.to_parquet(tmp_path / "a.parquet")
    found = read_long(tmp_path / "a.parquet")
    assert found.row_ids.labels.tolist() == ["b", "a"]
    assert found.rows.tolist() == [0, 1, 0]


def test_large_integers_become_text(tmp_path):
    large = np.array([2**63, 5], np.uint64)
    pd.DataFrame({"u": large, "i": [1, 1], "x": [1.0, 2.0]}).to_parquet(tmp_path / "a.parquet")
    assert read_long(tmp_path / "a.parquet").row_ids.labels.tolist() == [str(2**63), "5"]


def test_the_names_of_columns(frame, tmp_path):
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        assert column_names(tmp_path / name) == ["user", "item", "rating"]
