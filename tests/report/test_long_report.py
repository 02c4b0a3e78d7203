"""The report for long data: what its figures show."""

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.report.long_report import calibration_figure, write_long_report


@pytest.fixture(scope="module")
def fitted():
    ratings = dl.datasets.make_ratings(60, 40, 900, seed=5)
    return dl.DeepMatrixCompletion(depth=(2, 3), max_rank=4, random_state=0).fit(ratings.triples)


def test_calibration_is_the_distribution_of_the_scores(rng):
    scores = np.abs(rng.standard_normal(500))
    line = calibration_figure(scores).axes[0].lines[0]
    x, y = line.get_data()
    np.testing.assert_allclose(y, [(scores <= t).mean() for t in x])


def test_without_held_out_entries_there_is_a_page(tmp_path):
    ratings = dl.datasets.make_ratings(30, 20, 200, seed=5)
    model = dl.DeepMatrixCompletion(strength=0.3, validation_fraction=0, max_rank=3, random_state=0)
    page, pictures = write_long_report(
        tmp_path / "r", model.fit(ratings.triples), name="<a>", about="200 entries", command="c"
    )
    assert [path.name for path in pictures] == ["spectrum.png"]
    text = page.read_text()
    assert "none was held out" in text
    assert "&lt;a&gt;" in text
