"""``--loss`` of ``complete`` and ``ratings``."""

import numpy as np
import pandas as pd
import pytest
from command_line import one_line, run

import deeplinear as dl
from deeplinear.cli.options import parse_loss


@pytest.mark.parametrize(
    ("words", "loss"),
    [
        (None, "squared"),
        (["huber"], "huber"),
        (["a=huber", "b=c=poisson"], {"a": "huber", "b=c": "poisson"}),
    ],
)
def test_one_name_or_pairs(words, loss):
    assert parse_loss(words, by_column=True) == loss


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    T = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 5))
    frame = pd.DataFrame(T + 0.2 * rng.normal(size=T.shape), columns=list("abcde"))
    frame["yes"] = (rng.logistic(size=80) < 3 * T[:, 0]) * 1.0
    frame = frame.mask(rng.random(frame.shape) < 0.15)
    frame.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_tables(table, tmp_path):
    columns = ["--loss", "yes=logistic", "--loss", "a=huber"]
    how = ["--depth", "3", "--integers", "keep", "--report", tmp_path / "report"]
    result = run("complete", table, "-o", tmp_path / "out.csv", *columns, *how)
    assert result.exit_code == 0, result.output
    assert pd.read_csv(tmp_path / "out.csv").notna().all().all()
    assert (tmp_path / "report" / "index.html").exists()


def test_ratings(tmp_path):
    ratings = dl.datasets.make_ratings(60, 40, 900)
    users, items, values = ratings.triples
    liked = pd.DataFrame({"user": users, "item": items, "liked": (values > 3) * 1})
    liked.to_csv(tmp_path / "liked.csv", index=False)
    how = ["--loss", "logistic", "--depth", "3", "--model", tmp_path / "model.dln"]
    where = ["-o", tmp_path / "out.csv", "--report", tmp_path / "report"]
    result = run("ratings", tmp_path / "liked.csv", *how, *where)
    assert result.exit_code == 0, result.output
    assert "held-out root deviance" in one_line(result.output)
    found = pd.read_csv(tmp_path / "out.csv")
    assert found.prediction.between(0, 1).all()
    assert found.low.min() >= 0
    assert dl.DeepMatrixCompletion.load(tmp_path / "model.dln").loss == "logistic"


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("complete", ["cauchy"], "--loss: 'cauchy' is none of squared"),
        ("complete", ["huber", "a=huber"], "--loss: one name for all columns comes alone"),
        ("complete", ["zzz=huber"], "loss must name fitted columns of X, got 'zzz'"),
        ("complete", ["a=logistic"], 'loss "logistic" needs two different values'),
        ("ratings", ["a=huber"], "--loss: 'a=huber' names a column"),
    ],
)
def test_what_cannot_be_meant(command, words, message, table, tmp_path):
    pairs = [part for word in words for part in ("--loss", word)]
    result = run(command, table, "-o", tmp_path / "out.csv", *pairs)
    assert result.exit_code == 2
    assert message in one_line(result.stderr)
