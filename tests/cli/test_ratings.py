"""`deeplinear ratings`: files in, files out, refusals; a killed fit resumes."""

import base64
import csv
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from command_line import COLUMNS, QUICK, one_line, run

import deeplinear as dl

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(scope="module")
def frame():
    ratings = dl.datasets.make_ratings(60, 40, 900, seed=5)
    users = [f"u{u}" for u in ratings.users]
    return pd.DataFrame({"when": 0, "user": users, "item": ratings.items, "rating": ratings.values})


@pytest.fixture
def source(frame, tmp_path):
    path = tmp_path / "ratings.csv"
    frame.to_csv(path, index=False)
    return path


def test_no_depth_has_a_star_where_the_biases_alone_are_used(tmp_path):
    """Noise: no depth betters them."""
    rng = np.random.default_rng(1)
    path = tmp_path / "noise.csv"
    rows = [f"u{u},i{i},{rng.normal():.3f}" for u in range(30) for i in range(20)]
    path.write_text("\n".join(["user,item,rating", *rows]))
    result = run("ratings", path, *COLUMNS, "-o", tmp_path / "out.csv", "--depth", "2,3")
    assert result.exit_code == 0, result.output
    assert "biases" in result.stdout
    assert "★" not in result.stdout


def test_predictions_and_recommendations(source, frame, tmp_path):
    output, model = tmp_path / "out.csv", tmp_path / "model.dln"
    result = run(
        "ratings",
        source,
        *COLUMNS,
        "-o",
        output,
        "--model",
        model,
        "--depth",
        "2,3",
        "--strength",
        "0.3",
    )
    assert result.exit_code == 0, result.output
    assert "held-out RMSE" in result.stdout
    assert result.stdout.count("★") == 1
    found = pd.read_csv(output)
    assert list(found.columns) == ["user", "item", "prediction", "low", "high"]
    m, n = frame.user.nunique(), frame.item.nunique()
    assert len(found) == m * n - len(frame)
    assert not set(zip(found.user, found.item, strict=True)) & set(
        zip(frame.user, frame.item, strict=True)
    )
    assert (found.low < found.prediction).all()
    assert (found.prediction < found.high).all()

    loaded = dl.DeepMatrixCompletion.load(model)
    np.testing.assert_allclose(
        found.prediction[:50], loaded.predict(found.user[:50], found.item[:50]), rtol=1e-12
    )
    result = run("recommend", model, "--ids", "u3,u5", "-k", "4")
    assert result.exit_code == 0, result.output
    listed = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["user"] for row in listed] == ["u3"] * 4 + ["u5"] * 4
    best = found[found.user == "u3"].sort_values("prediction", ascending=False)
    assert [int(row["item"]) for row in listed[:4]] == best.item[:4].tolist()
    whole = run("recommend", model, "-k", "2", "-o", tmp_path / "all.parquet")
    assert whole.exit_code == 0, whole.output
    assert len(pd.read_parquet(tmp_path / "all.parquet")) == 2 * m


def test_pairs_that_were_asked_for(source, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("item,user\n3,u7\n5,u9\n3,stranger\n")
    output = tmp_path / "out.tsv"
    result = run("ratings", source, *COLUMNS, "-o", output, "--at", pairs, *QUICK)
    assert result.exit_code == 0, result.output
    found = pd.read_csv(output, sep="\t")
    assert found.user.tolist() == ["u7", "u9", "stranger"]
    assert found.item.tolist() == [3, 5, 3]
    assert np.isfinite(found.prediction).all()
    assert "1 of 3 entries have ids without any entry" in one_line(result.stderr)


def test_matrices_count_from_one(frame, tmp_path):
    rows, cols = (np.unique(frame[name], return_inverse=True)[1] for name in ("user", "item"))
    sp.save_npz(tmp_path / "a.npz", sp.coo_array((frame.rating, (rows, cols))).tocsr())
    (tmp_path / "pairs.csv").write_text("1,1\n2,1\n")
    written = ["-o", tmp_path / "o.csv", "--model", tmp_path / "m.dln"]
    result = run("ratings", tmp_path / "a.npz", *written, "--at", tmp_path / "pairs.csv", *QUICK)
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "o.csv")
    assert found.row.tolist() == [1, 2]
    loaded = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
    np.testing.assert_allclose(found.prediction, loaded.predict([0, 1], [0, 0]), rtol=1e-12)
    listed = run("recommend", tmp_path / "m.dln", "--ids", "1", "-k", "1")
    expected = loaded.recommend([0], 1)[0][0, 0] + 1
    assert listed.stdout.splitlines()[1].startswith(f"1,1,{expected},")


def test_a_report(source, tmp_path):
    result = run("ratings", source, *COLUMNS, "--report", tmp_path / "report", "--depth", "2,3")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report" / "index.html").read_text()
    for name in ("validation", "spectrum", "calibration", "coverage"):
        picture = (tmp_path / "report" / f"{name}.png").read_bytes()
        assert base64.b64encode(picture).decode() in page
    assert "900 entries of a" in page
    again = run("ratings", source, *COLUMNS, "--report", tmp_path / "report")
    assert again.exit_code == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([*COLUMNS], "--output: nothing would be kept"),
        ([*COLUMNS, "-o", "OUT.xlsx"], "must end in .csv, .tsv or .parquet"),
        ([*COLUMNS, "--model", "OUT.dln", "--at", "x.csv"], "--at: the predictions need a file"),
        ([*COLUMNS, "-o", "OUT.csv", "--depth", "0.5"], "--depth: 0.5 is not a depth"),
        ([*COLUMNS, "-o", "OUT.csv", "--implicit-feedback"], "--implicit-feedback: it informs"),
        ([*COLUMNS, "-o", "OUT.csv", "--max-rank", "99"], "--max-rank must be at most"),
        ([*COLUMNS, "-o", "OUT.csv", "--strength", "-1"], "--strength: -1 is no strength"),
        (["--rows", "who", "-o", "OUT.csv"], "--rows: .* has no column 'who'"),
    ],
)
def test_refusals(source, tmp_path, options, message):
    options = [option.replace("OUT", str(tmp_path / "out")) for option in options]
    result = run("ratings", source, *options)
    assert result.exit_code == 2, result.output
    import re

    assert re.search(message, one_line(result.stderr)), result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ratings.csv"]


def test_bad_lines_and_duplicates_are_told(source, tmp_path):
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines, lines[1]]) + "\n")
    result = run("ratings", source, *COLUMNS, "-o", tmp_path / "o.csv", *QUICK)
    assert result.exit_code == 2
    assert "every entry once, got 1 repetition" in one_line(result.stderr)
    source.write_text("\n".join([*lines, "0,u1,999,inf"]) + "\n")
    result = run("ratings", source, *COLUMNS, "-o", tmp_path / "o.csv", *QUICK)
    assert f"line {len(lines) + 1}: the value is 'inf'" in one_line(result.stderr)


CHILD = """
import os, signal, sys
import deeplinear as dl
from deeplinear.completion.solver import checkpoint
checkpoint.SHARE = float("inf")  # every state is written, however fast
ratings = dl.datasets.make_ratings(300, 200, 12000, seed=6)
sweeps = 0
def watch(state):
    global sweeps
    print(state.stage, flush=True)
    sweeps += "sweep" in state.stage
    if sys.argv[2] == "die" and sweeps == 8:
        os.kill(os.getpid(), signal.SIGKILL)
model = dl.DeepMatrixCompletion(
    strength=0.2, validation_fraction=0, max_rank=10, max_iter=40, tol=0.0,
    random_state=0, threads=1, checkpoint=sys.argv[1], callback=watch,
)
model.fit(ratings.triples)
model.save(sys.argv[3])
"""


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_result(tmp_path):
    def start(checkpoint, end, result):
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            CHILD,
            str(tmp_path / checkpoint),
            end,
            str(tmp_path / result),
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    child = start("check", "die", "killed.dln")
    child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / "check").exists()
    assert not (tmp_path / "killed.dln").exists()
    resumed = start("check", "live", "resumed.dln")
    told = resumed.communicate(timeout=120)[0].splitlines()
    assert resumed.returncode == 0
    whole = start("other", "live", "whole.dln")
    all_told = whole.communicate(timeout=120)[0].splitlines()
    assert 0 < len(told) < len(all_told)  # it did not begin again
    assert not (tmp_path / "check").exists()
    one, other = (
        dl.DeepMatrixCompletion.load(tmp_path / name) for name in ("resumed.dln", "whole.dln")
    )
    ratings = dl.datasets.make_ratings(300, 200, 12000, seed=6)
    np.testing.assert_array_equal(one.predict(ratings.pairs), other.predict(ratings.pairs))
