"""`deeplinear ratings --row-features --col-features`, and predictions from the model."""

import numpy as np
import pandas as pd
import pytest
from command_line import one_line, run

import deeplinear as dl

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def files(tmp_path):
    """Ratings by one feature of users and the kind of films; user 99 and film z have none."""
    rng = np.random.default_rng(0)
    users, films = [*range(60), 99], [f"f{j}" for j in range(40)] + ["z"]
    age, kind = rng.normal(size=61), rng.integers(0, 3, 41)
    entries = [
        (users[i], films[j], 3 + age[i] * (kind[j] - 1) + 0.2 * rng.normal())
        for i in range(60)
        for j in range(40)
        if rng.random() < 0.3
    ]
    pd.DataFrame(entries, columns=["user", "film", "rating"]).to_csv(
        tmp_path / "r.csv", index=False
    )
    pd.DataFrame({"id": users, "age": age}).to_csv(tmp_path / "u.csv", index=False)
    kinds = ["drama" if k == 0 else "both|drama" if k == 1 else "comedy" for k in kind]
    pd.DataFrame({"film": films, "kind": kinds}).to_csv(tmp_path / "f.csv", index=False)
    pd.DataFrame({"user": [99, 99, 0], "film": ["f0", "z", "z"]}).to_csv(
        tmp_path / "at.csv", index=False
    )
    return tmp_path, 3 + np.array([age[60], age[60], age[0]]) * (kind[[0, 40, 40]] - 1)


def test_cold_ids_are_predicted_from_their_features(files):
    folder, truth = files
    options = ["--row-features", folder / "u.csv", "--col-features", folder / "f.csv"]
    written = ["--at", folder / "at.csv", "-o", folder / "o.csv", "--model", folder / "m.dln"]
    result = run("ratings", folder / "r.csv", *options, *written, "--depth", "3")
    assert result.exit_code == 0, result.output
    assert "Features: known ids" in one_line(result.output)
    assert "without entries, rows go" in one_line(result.output)
    found = pd.read_csv(folder / "o.csv")
    assert np.abs(found.prediction - truth).max() < 0.5
    assert (found.low < found.prediction).all()
    model = dl.DeepMatrixCompletion.load(folder / "m.dln")
    np.testing.assert_allclose(model.predict(found.user, found.film), found.prediction)
    later = run("predict", folder / "m.dln", "--at", folder / "at.csv", "-o", folder / "p.csv")
    assert later.exit_code == 0, later.output
    pd.testing.assert_frame_equal(pd.read_csv(folder / "p.csv"), found)


def test_what_cannot_be_used_is_refused(files):
    folder, _ = files
    given = ["ratings", folder / "r.csv", "--model", folder / "m.dln", "--depth", "3"]
    for options, message in (
        (["--row-features", folder / "no.csv"], "--row-features: "),
        (["--row-features", folder / "f.csv"], "--row-features names no id that has entries"),
        (
            ["--row-features", folder / "u.csv", "--average", "5"],
            "--row-features needs --average 0",
        ),
        (["--col-features", folder / "m.dln"], "--model: "),
    ):
        result = run(*given, *options)
        assert result.exit_code == 2, result.output
        assert message in one_line(result.stderr)
