"""`deeplinear complete`: results, refusals with exit code 2, a clean end after Ctrl-C."""

import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from command_line import one_line, run
from PIL import Image

COMMAND = [sys.executable, "-c", "from deeplinear.cli import main; main()"]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def truth(rng):
    return rng.normal(size=(40, 3)) @ rng.normal(size=(3, 25))


@pytest.fixture
def table(tmp_path, rng, truth):
    """A CSV with header and labels whose gaps are 40 % of a rank-3 matrix; its path and its
    cells.
    """
    cells = [[f"{x:.6f}" if rng.random() > 0.4 else "NA" for x in row] for row in truth]
    lines = ["id," + ",".join(f"c{j}" for j in range(25))]
    lines += [f"r{i}," + ",".join(row) for i, row in enumerate(cells)]
    path = tmp_path / "in.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


class TestComplete:
    def test_csv_at_several_depths_with_report(self, tmp_path, table, truth):
        output, report = tmp_path / "out.csv", tmp_path / "report"
        result = run(
            "complete", table, "-o", output, "--depth", "2,3,inf", "--knn", "--report", report
        )
        assert result.exit_code == 0, result.output
        for name in ("depth 2", "depth 3", "depth ∞", "column means", "KNN"):
            assert name in result.stdout
        assert result.stdout.count("★") == 2  # and what it means

        before = [line.split(",") for line in table.read_text().splitlines()]
        after = [line.split(",") for line in output.read_text().splitlines()]
        holes = [
            (i, j) for i, row in enumerate(before) for j, cell in enumerate(row) if cell == "NA"
        ]
        for i, row in enumerate(before):
            for j, cell in enumerate(row):
                assert cell == "NA" or after[i][j] == cell
        errors = [float(after[i][j]) - truth[i - 1, j - 1] for i, j in holes]
        assert np.sqrt(np.mean(np.square(errors))) < 0.1 * truth.std()

        assert (report / "index.html").exists()
        assert len(list(report.glob("*.png"))) >= 3

    def test_colour_image_with_transparent_pixels(self, tmp_path, rng):
        x, y = np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 1, 24))
        pixels = np.stack([x, y, x * y, np.ones_like(x)], axis=2)
        pixels = (255 * pixels).astype(np.uint8)
        hole = rng.random(x.shape) < 0.3
        Image.fromarray(np.where((hole[:, :, None] & [False, False, False, True]), 0, pixels)).save(
            tmp_path / "a.png"
        )
        result = run(
            "complete", tmp_path / "a.png", "-o", tmp_path / "b.png", "--depth", "3", "--quiet"
        )
        assert result.exit_code == 0, result.output
        assert result.stdout == ""
        with Image.open(tmp_path / "b.png") as image:
            completed = np.array(image)
        np.testing.assert_array_equal(completed[~hole], pixels[~hole])
        assert np.abs(completed[hole].astype(float) - pixels[hole]).mean() < 8

    def test_implicit_regularization(self, tmp_path, table):
        """With a given strength, since choosing one takes the slow flow many times."""
        output = tmp_path / "out.csv"
        options = ["--depth", "3", "--regularization", "implicit", "--strength", "0.1"]
        result = run("complete", table, "-o", output, *options)
        assert result.exit_code == 0, result.output
        assert "NA" not in output.read_text()

    def test_equal_seeds_give_equal_files(self, tmp_path, table):
        for name in ("a.csv", "b.csv"):
            assert (
                run("complete", table, "-o", tmp_path / name, "--depth", "3", "--seed", 5).exit_code
                == 0
            )
        assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()

    def test_rows_and_columns_without_entries_are_counted(self, tmp_path, rng):
        X = rng.normal(size=(12, 9))
        X[rng.random(X.shape) < 0.2] = np.nan
        X[3], X[:, 4] = np.nan, np.nan
        np.save(tmp_path / "a.npy", X)
        result = run("complete", tmp_path / "a.npy", "-o", tmp_path / "b.npy", "--depth", "2,3")
        assert result.exit_code == 0, result.output
        assert result.stderr.count("Warning:") == 2  # not once more for the second depth
        assert "1 row" in one_line(result.stderr)
        assert "1 column" in one_line(result.stderr)
        assert np.isfinite(np.load(tmp_path / "b.npy")).all()


class TestRefusals:
    """Exit code 2, one sentence on standard error, and no output file."""

    @pytest.mark.parametrize(
        ("content", "options", "message"),
        [
            ("a,b\n1,\n,2\n", ["--depth", "0.5"], "--depth: 0.5 is not a depth"),
            ("a,b\n1,\n,2\n", ["--depth", "3,nan"], "--depth: nan is not a depth"),
            ("a,b\n1,\n,2\n", ["--depth", "deep"], "--depth: 'deep' is not a number"),
            ("a,b\n1,\n,2\n", ["--depth", ""], "--depth: '' is not a number"),
            ("a,b\n1,\n,2\n", ["--strength", "much"], "--strength: 'much' is not a number"),
            ("a,b\n1,\n,2\n", ["--strength", "-1"], "--strength: -1 is no strength"),
            ("a,b\n1,\n,2\n", ["--regularization", "none"], "--regularization: 'none' is none of"),
            ("a,b\n1,\n,2\n", ["--validation-fraction", "1.5"], "--validation-fraction must be"),
            ("a,b\n1,\n,2\n", ["--device", "tpu"], "--device: 'tpu' is none of cpu, gpu, jax"),
            ("a,b\n1,\n,2\n", ["--average", "-1"], "--average: -1 is too small; give 0 or more"),
            ("a,b\n1,\n,2\n", ["--max-iter", "0"], "--max-iter: 0 is too small"),
            ("a,b\n1,\n,2\n", ["--max-rank", "0"], "--max-rank: 0 is too small"),
            ("", [], "is empty"),
            ("a,b\nNA,\nNA,\n", [], "no observed entry"),
            ("a,b\n,\n,\n", [], "no rows of numbers"),
            ("a,b\n1,inf\n,2\n", [], "infinite entry, the first at line 2, column 'b'"),
            ("x,a,b\n1,u,\n2,3,2\n", [], "line 2: 'u' in 'a' is no number"),
            ("a,b\n1,\n2\n", [], "line 3 of"),
            ("a,b\n1,2\n3,4\n", [], "no missing entry"),
        ],
    )
    def test_bad_tables_and_options(self, tmp_path, content, options, message):
        (tmp_path / "in.csv").write_text(content)
        result = run("complete", tmp_path / "in.csv", "-o", tmp_path / "out.csv", *options)
        assert result.exit_code == 2, result.output
        assert message in one_line(result.stderr)
        assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["absent.csv", "-o", "out.csv"], "INPUT: 'absent.csv' does not exist"),
            (["in.doc", "-o", "out.doc"], "unknown type '.doc'"),
            (["in.csv", "-o", "taken.csv"], "--output: 'taken.csv' exists; add --force"),
            (["in.csv", "-o", "no/out.csv"], "--output: the folder 'no' does not exist"),
            (["in.csv", "-o", "out.npy"], "the output is of the same kind"),
            (
                ["in.csv", "-o", "out.csv", "--mask", "mask.csv"],
                "--mask: 'mask.csv' is 1 × 3 where the input is 2 × 2",
            ),
            (
                ["in.csv", "-o", "out.csv", "--checkpoint", "out.csv"],
                "--checkpoint: 'out.csv' is --output itself",
            ),
            (
                ["in.csv", "-o", "out.csv", "--checkpoint", "in.csv"],
                "--checkpoint: 'in.csv' is INPUT itself",
            ),
            (
                ["in.csv", "-o", "out.csv", "--report", "taken.csv"],
                "--report: 'taken.csv' is a file",
            ),
        ],
    )
    def test_bad_paths(self, tmp_path, monkeypatch, arguments, message):
        monkeypatch.chdir(tmp_path)
        for name, content in {
            "in.csv": "1,\n3,4\n",
            "taken.csv": "mine",
            "mask.csv": "0,1,1\n",
            "in.doc": "",
        }.items():
            (tmp_path / name).write_text(content)
        before = {path.name for path in tmp_path.iterdir()}
        result = run("complete", *arguments)
        assert result.exit_code == 2, result.output
        assert message in one_line(result.stderr)
        assert {path.name for path in tmp_path.iterdir()} == before
        assert (tmp_path / "taken.csv").read_text() == "mine"

    def test_true_process(self, tmp_path):
        result = subprocess.run(
            [*COMMAND, "complete", "absent.csv", "-o", "out.csv"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 2
        assert result.stdout == ""
        assert "does not exist" in result.stderr
        assert "Traceback" not in result.stderr


INTERRUPTED = """
import os, signal, sys
from deeplinear.cli import main
from deeplinear.completion.solver import descent
left, plain = int(sys.argv.pop(1)), descent.sweep

def sweep(*arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGINT)
    return plain(*arguments)

descent.sweep = sweep
main()
"""


class TestInterruption:
    """A real process, a real signal, at a sweep of its own."""

    def interrupt(self, folder, rng, sweep, *options):
        truth = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))
        X = np.where(rng.random(truth.shape) < 0.5, np.nan, truth)
        np.save(folder / "in.npy", X)
        command = ["complete", "in.npy", "-o", "out.npy", "--depth", "2,3,4", *options]
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(sweep), *command],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        return X, done.returncode, done.stderr

    def test_the_checkpoint_holds_the_best_iterate(self, tmp_path, rng):
        X, code, errors = self.interrupt(tmp_path, rng, 40, "--checkpoint", "best.npy")
        assert code == 130
        assert "Interrupted: the best iterate so far" in one_line(errors)
        assert "Traceback" not in errors
        saved = np.load(tmp_path / "best.npy")
        seen = ~np.isnan(X)
        np.testing.assert_array_equal(saved[seen], X[seen])
        assert np.isfinite(saved).all()
        assert not (tmp_path / "out.npy").exists()

    @pytest.mark.parametrize("sweep", [1, 40])
    def test_without_a_checkpoint_nothing_is_written(self, tmp_path, rng, sweep):
        _, code, errors = self.interrupt(tmp_path, rng, sweep)
        assert code == 130
        assert "nothing was written" in errors
        assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


class TestLists:
    """Lists of entries are for another command."""

    @pytest.mark.parametrize("options", [["--rows", "user"], ["--cols", "2"], ["--values", "x"]])
    def test_columns_are_named(self, tmp_path, table, options):
        result = run("complete", table, "-o", tmp_path / "out.csv", *options)
        assert result.exit_code == 2
        assert "run deeplinear ratings instead" in one_line(result.stderr)

    def test_sparse_matrices(self, tmp_path):
        scipy.sparse.save_npz(tmp_path / "a.npz", scipy.sparse.eye_array(3, format="csr"))
        result = run("complete", tmp_path / "a.npz", "-o", tmp_path / "out.npz")
        assert result.exit_code == 2
        assert "a.npz' is a list of entries" in one_line(result.stderr)
        assert "run deeplinear ratings instead" in one_line(result.stderr)

    @pytest.mark.parametrize("option", ["--model", "--at", "--duplicates", "--ensemble"])
    def test_options_of_the_other_command(self, tmp_path, table, option):
        result = run("complete", table, "-o", tmp_path / "out.csv", option, "1")
        assert result.exit_code == 2
        assert re.search(f"No such option:? '?{option}", one_line(result.stderr))
        assert not (tmp_path / "out.csv").exists()
