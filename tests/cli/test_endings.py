"""How commands end: one sentence and an exit code for all that can go wrong, whatever the terminal.

Processes of their own where streams matter, this one elsewhere.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from deeplinear import DownloadError, InputError
from deeplinear.cli import endings
from deeplinear.cli.console import ENDINGS
from deeplinear.cli.console import endings as endings_of
from deeplinear.cli.endings import FAILED, TRACEBACK, Interrupted
from deeplinear.labels import printable
from deeplinear.report.compare import Candidate, Verdict
from deeplinear.status import Status

complete_module = sys.modules["deeplinear.cli.complete"]  # the package has the function
TABLE = "a,b,c\n1,2,\n2,,6\n,6,9\n4,8,12\n5,10,15\n6,12,18\n"
FIT = ["--depth", "3", "--strength", "0.2", "--validation-fraction", "0"]
NASTY = [
    "d[/x].csv",
    "[bold red].csv",
    "a\\[/].csv",
    ":cat:.csv",
    "a\nb.csv",
    "\x1b[31m\x07.csv",
    "‮gpj.csv",
    "naïve 数.csv",
    os.fsdecode(b"caf\xe9.csv"),
    "%s {} $HOME.csv",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def process(words, shell="", **environment):
    """The command in a process, with redirections of a shell."""
    program = f'exec "{sys.executable}" -m deeplinear "$@" {shell}'
    return subprocess.run(
        ["bash", "-c", program, "deeplinear", *words],
        capture_output=True,
        env=os.environ | {"TERM": "dumb"} | environment,
    )


COMPLETE = ["complete", "t.csv", "-o", "out.csv", *FIT]


class TestStreams:
    @pytest.mark.parametrize(
        ("words", "shell", "code", "said"),
        [
            (COMPLETE, "> /dev/full", 2, b"standard output cannot be written (No space left"),
            (COMPLETE, ">&-", 0, b""),
            (COMPLETE, "2>&-", 0, b""),
            ([*COMPLETE, "--nothing"], "2>&-", 2, b""),
            ([*COMPLETE[:2], "-o", "-", *FIT], "> /dev/full", 2, b"cannot be written (No space"),
            ([*COMPLETE[:2], "-o", "-", *FIT], ">&-", 2, b"standard output is closed"),
            (["complete", "-", *COMPLETE[2:]], "<&-", 2, b"INPUT: standard input is closed"),
            (["--help"], "> /dev/full", 2, b"cannot be written (No space"),
        ],
    )
    def test_closed_and_full(self, folder, words, shell, code, said):
        done = process(words, shell)
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False)
        assert said in done.stderr
        # the sentence, what was read, and where a progress bar was
        assert done.stderr.count(b"\n") <= 3

    @pytest.mark.parametrize("words", [COMPLETE, ["--help"], ["complete", "--help"]])
    def test_a_reader_that_leaves(self, folder, words):
        done = process(words, "| true; exit ${PIPESTATUS[0]}")
        assert (done.returncode, done.stderr) == (141, b"") or done.stderr == b"\n"

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
    def test_terminals_without_unicode(self, folder, encoding):
        done = process(COMPLETE, PYTHONIOENCODING=encoding)
        assert done.returncode == 0
        assert "depth 3 *" in done.stdout.decode(encoding)
        times = "x" if encoding == "ascii" else "×"
        assert f"6 {times} 3 matrix" in done.stdout.decode(encoding)

    def test_results_are_bytes_whatever_the_terminal(self, folder):
        Path("t.csv").write_text(TABLE.replace("a,b", "á,数"))
        done = process([*COMPLETE[:2], "-o", "-", *FIT], PYTHONIOENCODING="ascii")
        assert done.stdout.decode("utf-8").startswith("á,数,c\n")


class TestNames:
    @pytest.mark.parametrize("name", NASTY)
    def test_every_name_is_read_written_and_shown(self, folder, name):
        for path in (name, f"out {name}"):
            Path(path).parent.mkdir(exist_ok=True)
        Path("t.csv").rename(name)
        done = run("complete", name, "-o", f"out {name}", *FIT, "--report", f"report {name}")
        assert done.exit_code == 0, done.output
        assert f"Wrote {printable(f'out {name}')} " in done.output
        assert Path(f"out {name}").exists()
        assert printable(Path(name).name) in (Path(f"report {name}") / "index.html").read_text(
            "utf-8"
        ).replace("&#x27;", "'")
        assert "\x1b[31m" not in done.output

    @pytest.mark.parametrize("name", NASTY)
    @pytest.mark.parametrize(
        "words",
        [
            ["complete", "{}", "-o", "out.csv"],
            ["complete", "t.csv", "-o", "missing/{}/x.csv"],
            ["complete", "t.csv", "-o", "out.csv", "--keep", "{}"],
            ["complete", "t.csv", "-o", "out.csv", "--mask", "{}"],
            ["ratings", "{}", "-o", "out.csv"],
            ["predict", "{}", "--at", "t.csv"],
            ["recommend", "{}"],
            ["sweep", "{}"],
            ["experiment", "run", "{}"],
            ["experiment", "draw", "{}"],
            ["demo", "--report", "t.csv/{}"],
            ["{}"],
        ],
    )
    def test_refusals_are_one_line(self, folder, words, name):
        done = run(*(word.replace("{}", name) for word in words))
        assert done.exit_code == 2
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
        shown = done.stderr.replace("\\\\", "\\").replace(r"\udce9", r"\xe9")
        assert printable(name).removesuffix(".csv") in shown
        assert sorted(os.listdir()) == ["t.csv"]


class TestSentences:
    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (InputError("x: it is wrong; mend it."), 2, "Error: x: it is wrong; mend it.\n"),
            (MemoryError(), 2, "the memory does not suffice; give less"),
            (OSError(28, "No space left on device", "a"), 2, "'a' cannot be used (No space left"),
            (DownloadError("url: it broke off; call again."), 2, "Error: url: it broke off; call"),
            (ConnectionError("reset"), 2, "Error: reset; try again."),
            (OSError(36, "File name too long", "a"), 2, "give a shorter name"),
            (ValueError("odd"), FAILED, "ValueError: odd; this should not happen: please report"),
            (KeyboardInterrupt(), 130, "Interrupted: nothing was written.\n"),
            (Interrupted("Interrupted: all is kept."), 130, "Interrupted: all is kept.\n"),
        ],
    )
    def test_whatever_is_raised(self, folder, monkeypatch, error, code, said):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(complete_module.Fits, "run", fail)
        done = run(*COMPLETE)
        assert done.exit_code == code
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not Path("out.csv").exists()

    def test_where_it_happened_is_shown_if_asked_for(self, folder, monkeypatch):
        monkeypatch.setenv(TRACEBACK, "1")
        monkeypatch.setattr(complete_module.Fits, "run", lambda *_, **__: 1 / 0)
        assert "ZeroDivisionError" in run(*COMPLETE).stderr

    def test_a_wrong_call_names_its_help(self):
        for words, command in ((["complete"], "complete"), (["experiment", "x"], "experiment")):
            done = run(*words)
            assert done.exit_code == 2
            assert done.stderr.endswith(f"; see deeplinear {command} --help.\n")

    def test_what_was_written_before_a_failure_is_said(self, folder, monkeypatch):
        monkeypatch.setattr(complete_module, "print_scores", lambda *_, **__: 1 / 0)
        done = run(*COMPLETE)
        assert "Before that, 'out.csv' was written, and is whole." in done.stderr


class TestSignals:
    """What is said about files is true, wherever the signal comes."""

    def interrupted(self, folder, monkeypatch, where, name, number=signal.SIGINT):
        """The command, with a signal at the call of ``where.name``, and one after its end."""
        real = getattr(where, name)

        def signalled(*args, **kwargs):
            signal.raise_signal(number)
            return real(*args, **kwargs)

        monkeypatch.setattr(where, name, signalled)
        before = {sign: signal.getsignal(sign) for sign in endings.STOPPING}
        try:
            for sign in endings.STOPPING:
                signal.signal(sign, endings._signals.stop)
            return run(*COMPLETE)
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    @pytest.mark.parametrize("number", endings.STOPPING)
    @pytest.mark.parametrize("name", ["_options", "_write", "write_atomically", "print_scores"])
    def test_every_moment_of_complete(self, folder, monkeypatch, name, number):
        done = self.interrupted(folder, monkeypatch, complete_module, name, number)
        assert done.exit_code == 128 + number
        there = sorted(os.listdir())
        if name in ("_options", "_write"):
            assert done.stderr.endswith("Interrupted: nothing was written.\n")
            assert there == ["t.csv"]
        else:
            assert done.stderr.endswith("Interrupted: 'out.csv' is whole.\n")
            assert there == ["out.csv", "t.csv"]

    def test_an_error_that_a_library_made_of_it_is_an_interruption(self, folder, monkeypatch):
        def translated(*_, **__):
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise RuntimeError("the compiler was interrupted") from None

        monkeypatch.setattr(complete_module, "_translated", translated, raising=False)
        monkeypatch.setattr(complete_module.Fits, "run", translated)
        signal_before = signal.signal(signal.SIGINT, endings._signals.stop)
        try:
            done = run(*COMPLETE)
        finally:
            signal.signal(signal.SIGINT, signal_before)
        assert (done.exit_code, done.stderr.splitlines()[-1]) == (
            130,
            "Interrupted: nothing was written.",
        )


class TestVerdicts:
    """What is printed about a fit is no kinder than its numbers."""

    def test_every_end_of_a_fit_advises_an_option(self):
        for status in (Status.converged, Status.stopped_early, Status.max_steps, Status.diverged):
            words = ENDINGS[status]
            assert Status.succeeded(status) == ("not converged" not in words)
            assert Status.succeeded(status) == ("--" not in words)

    @pytest.mark.parametrize("depth", ["3", "2,inf"])
    def test_a_fit_without_enough_sweeps_says_so(self, folder, depth):
        done = run(*COMPLETE[:4], "--depth", depth, "--strength", "1e-3", "--max-iter", "1")
        assert done.exit_code == 0
        assert done.stdout.count("not converged within --max-iter; raise it.") == len(
            depth.split(",")
        )
        assert "raise --max-iter" in done.stderr
        assert "increase" not in done.stderr + done.stdout

    def test_baselines_that_do_better_are_told(self):
        network = Candidate("depth 2", np.zeros((1, 1)), 0.0, 2.0, depth=2.0)
        means = Candidate("column means", np.zeros((1, 1)), 0.0, 1.0)
        assert endings_of([network, means], Verdict(means, network)) == [
            "No depth predicts the held-out cells as well as column means (error 1, depth 2 2): "
            "its values are filled in."
        ]
        better = replace(network, held_out_error=0.5, status=Status.diverged)
        assert endings_of([better, means], Verdict(better, better)) == [
            "depth 2: not converged, for the objective rose; give a larger --strength."
        ]


IN_A_DESTRUCTOR = """
import os, signal, sys, threading, time
from deeplinear.cli.endings import run_as_process

start = threading.Thread.start

def slow(self):  # as on a busy machine: the timer has run before its start returns
    start(self)
    time.sleep(0.2)

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

def commands():
    threading.Thread.start = slow
    last = Last()
    del last
    threading.Thread.start = start
    time.sleep(20)

run_as_process(commands)
"""


@pytest.mark.slow
def test_a_signal_in_a_destructor_stops_without_a_traceback():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in done.stderr
