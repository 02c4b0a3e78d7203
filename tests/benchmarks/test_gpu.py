"""The table of a device: a tenth of the work, then all of it, or why not."""

import argparse

import numpy as np

from benchmarks import gpu

OPTIONS = argparse.Namespace(small=False, seconds=60.0, cpu_seconds=1.0, only="")


def test_a_tenth_then_all_of_it_and_errors_leave_a_hole(monkeypatch, capsys):
    done = []

    def work(count, device):
        def call():
            done.append(count)
            return gpu.Work(1e6, 1e3, "float64")

        return call

    def broken(count, device):
        raise ValueError("it is broken")

    cases = [gpu.Case("sums", 1000, 10, 50, work), gpu.Case("broken", 1000, 10, 50, broken)]
    monkeypatch.setattr(gpu, "CASES", cases)
    monkeypatch.setattr(gpu, "on_cpu", lambda options: {"sums": 0.5})
    monkeypatch.setattr(gpu, "profile", lambda found: done.append("profile"))
    monkeypatch.setattr(gpu, "limits", lambda: (1e9, {"float64": 1e9, "float32": 1e9}))
    gpu.run(OPTIONS)
    assert done == [100, 100, "profile", 1000, 1000]
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    names, counts = [row[0].strip() for row in rows[2:]], [row[1].strip() for row in rows[2:]]
    assert (names, counts) == (["sums", "broken", "sums"], ["100", "100", "1,000"])
    assert float(rows[2][4]) == 1.0  # 0.5 s for 50
    assert rows[3][2].strip() == "ValueError: it is broken"
    # no time: the processor's seconds are there all the same
    gpu.run(argparse.Namespace(**{**vars(OPTIONS), "seconds": 0.0}))
    assert "| sums | 100 | no time left | | 1 | 50 |" in capsys.readouterr().out


def test_limits_are_positive():
    bandwidth, speeds = gpu.limits()
    assert bandwidth > 1e8
    assert all(speed > 1e8 for speed in speeds.values())
    assert np.isfinite(bandwidth)
