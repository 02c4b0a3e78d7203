"""`deeplinear demo`, and how to go on from it."""

from command_line import one_line, run

from deeplinear.cli.demo import next_steps


class TestDemo:
    def test_quick_demo_makes_one_report(self, tmp_path):
        result = run("demo", "--quick", "--report", tmp_path / "report")
        assert result.exit_code == 0, result.output
        text = one_line(result.stdout)
        for name in (
            "depth 2",
            "depth 3",
            "depth 4",
            "depth ∞",
            "column means",
            "KNN",
            "index.html",
            "RMSE all",
        ):
            assert name in text
        assert result.stdout.count("★") == 4  # and what it means
        assert "complete table.csv -o filled.csv" in text
        again = run("demo", "--quick", "--report", tmp_path / "report")
        assert again.exit_code == 2
        assert "--force" in again.stderr


class TestNextSteps:
    def test_by_name_where_the_shell_finds_it(self, tmp_path):
        program = tmp_path / "deeplinear"
        program.touch()
        assert next_steps(program, str(program)) == [
            "Next, with your own data: deeplinear complete table.csv -o filled.csv"
        ]

    def test_by_path_and_with_activation_elsewhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / ".venv" / "bin"
        folder.mkdir(parents=True)
        (folder / "activate").touch()
        for found in (None, "/usr/bin/deeplinear"):
            first, second = next_steps(folder / "deeplinear", found)
            assert ".venv/bin/deeplinear complete table.csv -o filled.csv" in first
            assert str(tmp_path) not in first
            assert second.endswith("source .venv/bin/activate")
