"""The report says what the run measured, and its pictures show the arrays they were given."""

import base64
import math
import re
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deeplinear import plots
from deeplinear.completion.data.features import CodedTable, Feature, FeatureKind
from deeplinear.completion.imputer import DeepLinearImputer
from deeplinear.report.compare import (
    Candidate,
    Comparison,
    Verdict,
    best,
    column_means,
    interpolation,
    nearest_neighbours,
)
from deeplinear.report.report import Study, results_table, shrinkage_figure, write_report
from deeplinear.report.text import explain, headline, methods


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def numbers(X):
    return CodedTable(X, tuple(Feature(str(j + 1)) for j in range(X.shape[1])))


def candidate(name, validation, depth=None, sigma=(), strength=None, truth=None, filled=None):
    filled = np.zeros((6, 5)) if filled is None else filled
    sigma = np.array(sigma, float) if depth is not None else None
    rank = None if depth is None else len(sigma)
    return Candidate(name, filled, 0.1, validation, truth, depth, 0.01, 2.0, rank, strength, sigma)


@pytest.fixture
def candidates(rng):
    filled = rng.random((3, 6, 5))
    return [
        candidate("depth 2", 0.30, 2.0, [8, 4, 1], 0.5, 0.31, filled[0]),
        candidate("depth ∞", 0.20, math.inf, [9, 5], 0.5, 0.22, filled[1]),
        candidate("column means", 0.40, truth=0.44, filled=filled[2]),
    ]


class TestPage:
    def study(self, rng, candidates, truth):
        X = np.where(rng.random((6, 5)) < 0.4, np.nan, 0.5)
        return Study(
            title="A <small> table",
            slug="small",
            introduction="Six rows.",
            X=X,
            candidates=candidates,
            regularization="explicit",
            unit="metres",
            picture=lambda matrix: matrix,
            caption="As given.",
            truth=truth,
        )

    @pytest.mark.parametrize("known", [True, False])
    def test_every_picture_exists_and_is_an_image(self, tmp_path, rng, candidates, known):
        study = self.study(rng, candidates, np.full((6, 5), 0.5) if known else None)
        page, pictures = write_report(
            tmp_path / "new" / "report", [study], title="Test", command="deeplinear …"
        )
        text = page.read_text(encoding="utf-8")
        shown = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
        assert sorted(map(base64.b64decode, shown)) == sorted(p.read_bytes() for p in pictures)
        names = [path.name for path in pictures]
        for path in pictures:
            with Image.open(path) as image:
                assert image.format == "PNG"
                assert np.ptp(np.array(image.convert("L"))) > 100
        assert ("small-errors.png" in names) == known
        assert ("small-disagreement.png" in names) != known
        assert "A &lt;small&gt; table" in text
        assert not re.search('(src|href)="(?!data:)', text)  # one file, and works offline

    def test_the_table_holds_the_numbers_and_marks_the_best(self, tmp_path, rng, candidates):
        study = self.study(rng, candidates, np.full((6, 5), 0.5))
        page, _ = write_report(tmp_path, [study], title="Test", command="deeplinear …")
        rows = re.findall(r"<tr( class=\"best\")?><td>(.*?)</tr>", page.read_text(encoding="utf-8"))
        assert [bool(mark) for mark, _ in rows] == [False, True, False]
        assert "0.22" in rows[1][1]
        assert "9, 5" in rows[1][1]
        assert ["<td>0.5</td>" in row for _, row in rows] == [True, True, False]  # the strength

    def test_the_note_tells_how_many_were_held_out_and_by_which_seed(self, rng, candidates):
        network = replace(candidates[1], imputer=DeepLinearImputer(random_state=17))
        study = self.study(rng, [candidates[0], network], None)
        study = replace(study, verdict=Verdict(network, network, count=3))
        observed = np.sum(~np.isnan(study.X))
        assert (
            f"3 of {observed} observed entries were held out, drawn by the seed 17."
        ) in results_table(study)

    def test_too_few_held_out_cells_are_said_where_the_picture_is_missing(
        self, tmp_path, rng, candidates
    ):
        X = np.where(rng.random((12, 5)) < 0.2, np.nan, rng.normal(size=(12, 5)))
        imputer = DeepLinearImputer(2, strength=1.0, random_state=0).fit(X)
        network = replace(candidates[1], imputer=imputer)
        study = self.study(rng, [candidates[0], network], None)
        page, pictures = write_report(tmp_path, [study], title="Test", command="deeplinear …")
        count = len(imputer.model_.calibration.scores)
        assert count < 40
        assert (
            f"How often intervals hold is not shown: {count} held-out cells are too few to tell "
            "(40 are needed)."
        ) in page.read_text(encoding="utf-8")
        assert not any("calibration" in path.name for path in pictures)


def verdict(candidates):
    network = best([c for c in candidates if c.depth is not None])
    return Verdict(network, network)


def test_a_report_that_is_killed_leaves_the_older_one_as_it_was(tmp_path):
    """At each of its files: a page never shows the pictures of another."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from deeplinear.report import folder\n"
        "name, which, kill = sys.argv[1], sys.argv[2], int(sys.argv[3])\n"
        "plain, written = folder.write_atomically, []\n"
        "def write(path, data):\n"
        "    if len(written) == kill: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    written.append(path)\n"
        "    plain(path, data)\n"
        "folder.write_atomically = write\n"
        "pictures = {f'{k}.png': f'{which} {k}'.encode() for k in range(2)}\n"
        "page = ''.join(folder.figure_tag(data, which) for data in pictures.values())\n"
        "folder.write_pages(Path(name), page, pictures)\n"
    )
    for kill in range(4):
        command = [sys.executable, "-c", code, str(tmp_path / "r")]
        subprocess.run([*command, "old", "-1"], check=True)
        ended = subprocess.run([*command, "new", str(kill)]).returncode
        text = (tmp_path / "r" / "index.html").read_text()
        which = "new" if kill == 3 else "old"  # of three files
        assert ended == (0 if kill == 3 else -signal.SIGKILL)
        shown = re.findall(r'base64,([^"]+)" alt="(\w+)"', text)
        assert [(base64.b64decode(data).decode(), alt) for data, alt in shown] == [
            (f"{which} {k}", which) for k in range(2)
        ]


class TestSentences:
    def test_the_headline_compares_on_all_missing_entries(self, candidates):
        text = headline(candidates, verdict(candidates), "metres")
        assert (
            "Depth ∞</b> predicts the held-out entries best of all depths: error 0.2 (metres), and "
            "0.22 over all" in text
        )
        assert "Column means: 0.44 (the network's error is 50.0% smaller)" in text

    def test_a_better_baseline_is_called_better(self, candidates):
        more = [*candidates, candidate("KNN", 0.1, truth=0.2)]
        text = headline(more, verdict(more), "metres")
        assert "KNN: 0.2 (the network's error is 10.0% larger)" in text

    def test_each_depth_is_explained_by_its_pull(self, candidates):
        text = explain(candidates[:2], "explicit")
        assert (
            "pulls equally on all singular values, small and large; it keeps 3 singular values, "
            "from 8 to 1" in text
        )
        assert "pulls 1.8 times less on the largest singular value" in text  # λ/σ on 9 and on 5
        assert (
            "8 at depth 2 and 9 at depth ∞: the shallower network has shrunk it 11.1% more" in text
        )

    def test_nothing_learned_is_said(self):
        assert "kept no singular value" in explain(
            [candidate("depth 3", 0.3, 3.0, [], 9.0)], "explicit"
        )

    def test_the_two_ways_to_regularize_are_explained_differently(self):
        assert "nuclear norm" in methods("explicit")
        assert "starts from a small matrix" in methods("implicit")


class TestShrinkage:
    @pytest.mark.parametrize("depth", [2, 3, 4.5, 10, math.inf])
    def test_curves_solve_the_penalized_problem(self, depth):
        """σ minimizes ½(σ − y)² + (λN/2) σ^{2/N} on the branch of large σ: its derivative vanishes
        there.
        """
        (line,) = [
            line
            for line in shrinkage_figure([depth]).axes[0].lines
            if line.get_label() != "unchanged"
        ]
        y, sigma = (values[3:] for values in line.get_data())
        exponent = 0 if math.isinf(depth) else 2 / depth
        strength = (y - sigma) * sigma ** (1 - exponent)
        np.testing.assert_allclose(strength, strength[0], rtol=1e-9)
        assert np.all(np.diff(y) >= -1e-12)  # no larger solution below the end of the branch
        assert y[0] == pytest.approx(1, abs=0.01)


class TestBaselines:
    def test_column_means_by_hand(self):
        X = np.array([[1.0, 4.0, np.nan], [3.0, np.nan, np.nan], [5.0, 8.0, np.nan]])
        held_out = np.zeros((3, 3), bool)
        held_out[2, 0] = True
        plain = Comparison(numbers(X), by_column=False, truth=np.full((3, 3), 6.0))
        result = column_means(plain, held_out)
        np.testing.assert_allclose(result.filled, [[1, 4, 4.2], [3, 6, 4.2], [5, 8, 4.2]])
        assert result.held_out_error == pytest.approx(3)  # the mean of 1 and 3 stands for 5
        assert result.truth_rmse == pytest.approx(np.sqrt(3 * 1.8**2 / 4))
        by_column = column_means(Comparison(numbers(X)), held_out)
        assert by_column.held_out_error == pytest.approx(3 / np.std([1, 3, 5]))

    def test_the_most_frequent_label_by_hand(self):
        kinds = (Feature("a", FeatureKind.category, ("x", "y")), Feature("b"))
        X = np.array([[0, 1.0], [0, 2], [1, 3], [1, np.nan], [np.nan, 5], [0, 4], [1, 6]])
        held_out = np.zeros(X.shape, bool)
        held_out[[2, 3], 0] = True
        result = column_means(Comparison(CodedTable(X, kinds)), held_out)
        assert result.filled[4, 0] == 0  # of three x and three y the first
        assert result.accuracy == 0  # three x and one y are left: x is guessed for two y
        assert result.held_out_error == pytest.approx(np.sqrt(1 / 0.5))  # 1 − Σ p² = ½

    def test_neighbours_find_repeated_rows(self, rng):
        truth = np.repeat(rng.normal(size=(5, 20)), 8, axis=0)
        X = np.where(rng.random(truth.shape) < 0.3, np.nan, truth)
        held_out = ~np.isnan(X) & (rng.random(truth.shape) < 0.1)
        comparison = Comparison(numbers(X), by_column=False, truth=truth)
        assert nearest_neighbours(comparison, held_out).truth_rmse < 0.05
        assert column_means(comparison, held_out).truth_rmse > 0.3

    def test_neighbours_do_not_depend_on_units(self, rng):
        X = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 6))
        X[rng.random(X.shape) < 0.2] = np.nan
        held_out = ~np.isnan(X) & (rng.random(X.shape) < 0.1)
        units = 10.0 ** np.arange(-3, 3)
        one, other = (
            nearest_neighbours(Comparison(numbers(table)), held_out) for table in (X, X * units)
        )
        np.testing.assert_allclose(one.filled * units, other.filled, rtol=1e-9)
        assert one.held_out_error == pytest.approx(other.held_out_error)

    def test_the_truth_does_not_choose(self):
        cheat = candidate("depth 2", 0.3, 2.0, truth=0.0)
        assert best([cheat, candidate("depth 3", 0.2, 3.0, truth=0.9)]).depth == 3


class TestPlots:
    def test_missing_entries_have_a_colour_of_their_own(self):
        figure = plots.pictures({"a": np.array([[0.0, np.nan], [0.5, 1.0]])}, columns=1)
        (image,) = figure.axes[0].images
        assert image.get_array().mask.tolist() == [[False, True], [False, False]]

    def test_names_of_columns_stand_below_the_lowest_pictures(self, rng):
        images = {str(k): rng.random((3, 50)) for k in range(3)}
        names = [f"$price_{j}" for j in range(49)] + ["a name of more than twenty-four characters"]
        figure = plots.pictures(images, columns=2, names=names)
        named = [
            [t.get_text() for t in a.get_xticklabels()] if a.axison else [] for a in figure.axes
        ]
        assert named == [[], names[::2], names[::2], []]  # every other one: 50 are not legible
        figure.draw_without_rendering()  # nothing in them is read as mathematics
        (axis,) = plots.pictures({"a": images["0"][:, -2:]}, columns=1, names=names[-2:]).axes
        assert axis.get_xticklabels()[1].get_text() == "a name of more than twen…"

    def test_spectra_are_logarithmic_and_labelled(self):
        axis = plots.spectra({"depth 2": np.array([3.0, 1.0])}).axes[0]
        assert axis.get_yscale() == "log"
        assert axis.get_xlabel()
        assert axis.get_ylabel()
        assert [text.get_text() for text in axis.get_legend().get_texts()] == ["depth 2"]


class TestVerdict:
    """What held-out cells say, on a column of 400 of them."""

    def measured(self, name, error, rng, depth=None, like=None):
        gaps = error * rng.normal(size=400) if like is None else like
        size = float(np.sqrt(np.mean(gaps**2)))
        return Candidate(name, np.zeros((400, 1)), 0.0, size, depth=depth, gaps=gaps)

    def verdict(self, candidates):
        table = CodedTable(np.zeros((400, 1)), (Feature("1"),))
        return Verdict.of(Comparison(table, by_column=False), candidates, np.ones((400, 1), bool))

    def test_a_baseline_that_is_clearly_better_is_used(self, rng):
        network, means = self.measured("depth 3", 1.0, rng, 3.0), self.measured("KNN", 0.5, rng)
        found = self.verdict([network, means])
        assert (found.used, found.network, found.ties) == (means, network, ())
        assert found.count == 400

    def test_a_baseline_within_the_standard_error_is_not(self, rng):
        network = self.measured("depth 3", 1.0, rng, 3.0)
        close = self.measured("KNN", 0, rng, like=network.gaps * rng.normal(1, 0.2, size=400))
        close = replace(close, held_out_error=network.held_out_error * 0.9999)
        found = self.verdict([network, close])
        assert found.used is network
        assert found.ties == (close,)

    def test_depths_that_are_level_are_ties(self, rng):
        one = self.measured("depth 3", 1.0, rng, 3.0)
        other = self.measured("depth 4", 0, rng, 4.0, like=rng.permutation(one.gaps) * 1.001)
        worse = self.measured("depth 2", 2.0, rng, 2.0)
        found = self.verdict([one, other, worse])
        assert found.used in (one, other)
        assert len(found.ties) == 1
        assert worse not in found.ties


def test_interpolation_runs_down_the_columns():
    X = np.array([[1.0, 0], [np.nan, np.nan], [np.nan, 1], [4.0, np.nan], [np.nan, 0]])
    features = (Feature("x"), Feature("label", FeatureKind.category, ("a", "b")))
    held = np.zeros(X.shape, bool)
    held[3] = [True, False]
    found = interpolation(Comparison(CodedTable(X, features)), held)
    np.testing.assert_allclose(found.filled[:, 0], [1, 2, 3, 4, 4])
    np.testing.assert_array_equal(found.filled[:, 1], [0, 0, 1, 1, 0])
    assert found.gaps.shape == (1,)
    assert found.gaps[0] == pytest.approx(-3 / np.std([1, 4]))  # held at the last that is left


def test_errors_of_labels_are_relative_to_guessing():
    X = np.array([[0.0], [0], [1], [1], [0], [1]])
    table = CodedTable(X, (Feature("l", FeatureKind.category, ("a", "b")),))
    held = np.zeros((6, 1), bool)
    held[:4] = True
    comparison = Comparison(table)
    gaps = comparison.gaps(np.array([[0.0], [1], [1], [0], [0], [1]]), held)
    np.testing.assert_allclose(gaps, np.array([0, 1, 0, 1]) / np.sqrt(0.5))
    assert comparison.error(gaps, held) == pytest.approx(1)
