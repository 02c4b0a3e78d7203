"""`deeplinear complete` on tables of several kinds of columns, and how text is told to be read."""

import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from command_line import one_line, run

COMMAND = [sys.executable, "-c", "from deeplinear.cli import main; main()"]
QUICK = ("--depth", "3", "--strength", "0.2")


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.fixture
def frame(rng):
    """Two factors drive numbers, a count, a yes or no and a city; a name and a date do not."""
    m = 160
    u = rng.normal(size=(m, 2))
    X = u @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(m, 4))
    return pd.DataFrame(
        {
            "name": [f"p{i:03d}" for i in range(m)],
            "when": pd.date_range("2024-01-01", periods=m).strftime("%Y-%m-%d"),
            "ok": np.where(u[:, 0] > 0, "yes", "no"),
            "city": np.select([u[:, 1] > 0.4, u[:, 1] < -0.4], ["Oslo", "Bern, CH"], "Rome"),
            "dose": np.exp(X[:, 0]).round(3),
            "n": np.rint(5 * X[:, 1]).astype(int),
            "a": X[:, 2].round(4),
            "revenue": (1e6 * X[:, 3]).round(1),
        }
    )


@pytest.fixture
def holes(frame, rng):
    holes = rng.random(frame.shape) < 0.15
    holes[:, :2] = False
    return holes


@pytest.fixture
def path(tmp_path, frame, holes):
    path = tmp_path / "in.csv"
    frame.astype(object).mask(holes, None).to_csv(path, index=False)
    return path


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


class TestMixed:
    def test_every_kind_is_completed_as_what_it_is(self, path, frame, holes, tmp_path):
        result = run("complete", path, "-o", tmp_path / "out.csv", "--depth", "2,3")
        assert result.exit_code == 0, result.output
        shown = one_line(result.stdout)
        assert "carried through: 'name' (labels), 'when' (dates)" in shown
        assert "categories: 'ok' (2), 'city' (3)" in shown
        before, after = read(path), read(tmp_path / "out.csv")
        assert (after.to_numpy() != "").all()
        assert (before.to_numpy() == after.to_numpy())[~holes].all()
        assert set(after["ok"]) == {"yes", "no"}
        assert set(after["city"]) == {"Oslo", "Bern, CH", "Rome"}
        assert all(re.fullmatch(r"-?\d+", text) for text in after["n"])
        assert after["dose"].astype(float).min() >= 0
        guess = frame["ok"].value_counts(normalize=True).max()
        hidden = holes[:, 2]
        assert (after["ok"] == frame["ok"])[hidden].mean() > max(0.8, guess)

    def test_the_numbers_that_are_shown_are_those_of_the_held_out_cells(self, path, tmp_path):
        """The error of column means, by hand: 1 up to the chance of which cells are held out."""
        result = run("complete", path, "-o", tmp_path / "out.csv", *QUICK, "--knn")
        rows = {
            line.split("  ")[0].strip(): re.findall(r"\d+\.?\d*%?", line)
            for line in result.stdout.splitlines()
        }
        network = float(rows["depth 3 ★"][1])  # after the depth in its name
        means = float(rows["column means"][0])
        assert network < 0.7 * means
        assert 0.8 < means < 1.2
        assert "in standard deviations of each column" in one_line(result.stdout)
        worst = result.stdout.split("Predicted worst, of 6 columns")[1]
        assert sum(name in worst for name in ("ok", "city", "dose", "n ", "a ", "revenue")) == 5

    def test_no_unit_of_a_column_changes_a_choice(self, path, frame, holes, tmp_path):
        table = frame.astype(object).mask(holes, None)
        stars, outputs = [], []
        for power in (-6, 0, 6):
            table["revenue"] = [
                None if x is None or x != x else x * 10.0**power
                for x in frame["revenue"].where(~holes[:, -1])
            ]
            table.to_csv(tmp_path / "u.csv", index=False)
            out = tmp_path / f"out{power}.csv"
            result = run("complete", tmp_path / "u.csv", "-o", out)
            assert result.exit_code == 0, result.output
            stars.append(re.search(r"depth \S+ ★ +(\S+)", result.stdout).groups())
            outputs.append(read(out)["a"].astype(float).to_numpy())
        assert len(set(stars)) == 1
        np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(outputs[2], outputs[1], rtol=1e-4, atol=1e-6)

    def test_columns_are_chosen_by_name_and_number(self, path, tmp_path):
        out = tmp_path / "out.csv"
        options = ["--drop", "2", "--keep", "city", "--keep", "revenue", "--categorical", "n"]
        result = run("complete", path, "-o", out, *QUICK, *options)
        assert result.exit_code == 0, result.output
        before, after = read(path), read(out)
        assert list(after.columns) == [name for name in before.columns if name != "when"]
        for kept in ("name", "city", "revenue"):
            assert after[kept].tolist() == before[kept].tolist()
        assert set(after["n"]) == set(before["n"]) - {""}

    def test_bounds_and_integers(self, path, tmp_path):
        out = tmp_path / "out.csv"
        options = ["--min-value", "n=2", "--max-value", "a=-0.5", "--integers", "keep"]
        result = run("complete", path, "-o", out, *QUICK, *options)
        assert result.exit_code == 0, result.output
        before, after = read(path), read(out)
        filled = after[before["n"] == ""]["n"].astype(float)
        assert filled.min() >= 2
        assert (filled % 1 != 0).any()
        assert after[before["a"] == ""]["a"].astype(float).max() <= -0.5

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--min-value", "low"], "--min-value: 'low' is no number"),
            (["--max-value", "age=3"], "--max-value: 'age' is no column of numbers"),
            (["--min-value", "ok=0"], "--min-value: 'ok' is no column of numbers"),
            (["--min-value", "1", "--min-value", "2"], "--min-value: it is given twice"),
            (["--min-value", "inf"], "--min-value: 'inf' is no number"),
            (["--integers", "floor"], "--integers: 'floor' is none of round, keep"),
            (["--keep", "age"], "--keep: .* has no column 'age'"),
            (["--min-value", "a=3", "--max-value", "a=1"], "--min-value must be at most"),
            (["--sheet", "1"], "--sheet: it chooses in files of the types .xlsx"),
            (["--variable", "x"], "--variable: it chooses in files of the types .npz"),
            (["--separator", "ab"], "--separator: 'ab' is no separator"),
            (["--decimal", ";"], "--decimal: ';' is no decimal mark"),
            (["--encoding", "klingon"], "--encoding: 'klingon' is no known encoding"),
        ],
    )
    def test_refusals(self, path, tmp_path, options, message):
        result = run("complete", path, "-o", tmp_path / "out.csv", *options)
        assert result.exit_code == 2, result.output
        assert re.search(message, one_line(result.stderr))
        assert not (tmp_path / "out.csv").exists()

    def test_ids_are_named_once_and_cost_little(self, tmp_path, rng):
        X = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 9)) + 0.1 * rng.normal(size=(120, 9))
        holes = rng.random(X.shape) < 0.2
        errors = []
        for name, first in (("plain", []), ("numbered", ["nr"])):
            table = pd.DataFrame(np.where(holes, np.nan, X), columns=[f"c{j}" for j in range(9)])
            if first:
                table.insert(0, "nr", np.arange(1, 121))
            table.to_csv(tmp_path / f"{name}.csv", index=False)
            out = tmp_path / f"{name}.out.csv"
            result = run("complete", tmp_path / f"{name}.csv", "-o", out)
            assert result.exit_code == 0, result.output
            assert one_line(result.stderr).count("look like ids") == len(first)
            filled = pd.read_csv(out)[table.columns[len(first) :]].to_numpy()
            errors.append(np.sqrt(np.mean((filled - X)[holes] ** 2)))
        assert "'nr' (" in one_line(result.stderr)
        assert errors[1] < 1.4 * errors[0]  # it was fourteen times

    def test_a_report_names_columns_and_what_was_understood(self, path, tmp_path):
        result = run("complete", path, "-o", tmp_path / "o.csv", *QUICK, "--report", tmp_path / "r")
        assert result.exit_code == 0, result.output
        page = (tmp_path / "r" / "index.html").read_text()
        assert "Column by column" in page
        assert "carried through" in page
        assert re.search(r"<td>city</td><td>\d+</td><td>–</td><td>–</td><td>\d+\.\d%", page)


class TestText:
    def test_what_was_guessed_and_how_to_say_otherwise(self, tmp_path):
        (tmp_path / "in.csv").write_text("0,1,2\n-3.0,3.00,0.00\n,2.0,1.5\n4.5,5.0,\n1.5,2.5,3.5\n")
        result = run("complete", tmp_path / "in.csv", "-o", tmp_path / "out.csv", *QUICK)
        assert "was taken for headings: --no-header reads it as data" in one_line(result.stdout)
        result = run(
            "complete", tmp_path / "in.csv", "-o", tmp_path / "b.csv", *QUICK, "--no-header"
        )
        assert "5 × 3 matrix" in one_line(result.stdout)

    def test_a_file_that_needs_every_option(self, tmp_path, rng):
        rows = [f"{x:.2f}~{y:.1f}".replace(".", ",") for x, y in rng.normal(size=(30, 2)) * 1e4]
        rows[3], rows[7], rows[9] = "k.A.~1,5", "1.234,5 p~2,5", "3,5~-99,0"
        text = "Bericht Zürich\n% Bemerkung\nx~y\n" + "\n".join(rows) + "\n"
        (tmp_path / "in.txt").write_bytes(text.encode("cp1252"))
        options = ["--separator", "~", "--decimal", ",", "--thousands", ".", "--notes"]
        options += ["--encoding", "cp1252", "--comment", "%", "--skip-lines", "1"]
        options += ["--missing", "k.A.", "--missing=-99", "--header"]
        out = tmp_path / "out.txt"
        result = run("complete", tmp_path / "in.txt", "-o", out, *QUICK, *options)
        assert result.exit_code == 0, result.output
        before, after = text.splitlines(), out.read_bytes().decode("cp1252").splitlines()
        changed = [k for k, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        assert changed == [6, 12]
        assert re.fullmatch(r"-?\d+(,\d+)?~1,5", after[6])
        assert re.fullmatch(r"3,5~-?\d+(,\d+)?", after[12])

    def test_standard_input_and_output(self, path):
        arguments = [*COMMAND, "complete", "-", "-o", "-", *QUICK]
        done = subprocess.run(arguments, input=path.read_bytes(), capture_output=True, check=True)
        after = pd.read_csv(io.BytesIO(done.stdout), dtype=str, keep_default_na=False)
        assert (after.to_numpy() != "").all()
        assert b"160 \xc3\x97 6 matrix" in done.stderr

    def test_compressed_files(self, path, tmp_path):
        import gzip

        packed = tmp_path / "in.csv.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        for name in ("out.csv.gz", "out.csv"):
            assert run("complete", packed, "-o", tmp_path / name, *QUICK).exit_code == 0
        assert (
            gzip.decompress((tmp_path / "out.csv.gz").read_bytes())
            == (tmp_path / "out.csv").read_bytes()
        )
        result = run("complete", path, "-o", tmp_path / "out.npy", *QUICK)
        assert "the output is of the same kind" in one_line(result.stderr)
