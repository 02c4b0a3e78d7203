"""Computations in processes of their own: what they say, how they are ended, and what ends them."""

import os
import threading
import time

import numpy as np
import pytest

from deeplinear.errors import InputError
from deeplinear.explorer.jobs import Job


def square(report, n):
    report(0.5, "half")
    return n * n


def refuse(report):
    raise InputError("INPUT: 'a.csv' is no table; give another.")


def surprise(report):
    raise RuntimeError("of\nany <b>kind</b>")


def vanish(report):
    os._exit(17)


def linger(report):
    report(0.1, "begun")
    time.sleep(600)


def swell(report):
    return np.ones(2**34).sum()


class Told:
    def __init__(self, task, *arguments, seconds=60.0):
        self.ended, self.begun = threading.Event(), threading.Event()
        self.progress, self.value, self.failure = [], None, None
        self.job = Job(
            task,
            *arguments,
            progress=self._progress,
            done=self._done,
            failed=self._failed,
            seconds=seconds,
        )

    def _progress(self, part, said):
        self.progress.append((part, said))
        self.begun.set()

    def _done(self, value):
        self.value = value
        self.ended.set()

    def _failed(self, said):
        self.failure = said
        self.ended.set()

    def wait(self):
        assert self.ended.wait(120)
        return self


def test_a_task_reports_and_returns():
    told = Told(square, 7).wait()
    assert told.value == 49
    assert told.progress == [(0.5, "half")]


def test_errors_come_as_one_sentence():
    assert Told(refuse).wait().failure == "'a.csv' is no table; give another."
    said = Told(surprise).wait().failure
    assert "RuntimeError" in said
    assert "kind" not in said


@pytest.mark.parametrize(("task", "seconds"), [(vanish, 60.0), (linger, 2.0)])
def test_a_process_that_ends_before_its_time_is_told(task, seconds):
    assert "ended before its time" in Told(task, seconds=seconds).wait().failure


def test_more_memory_than_there_may_be_is_refused():
    assert "memory" in Told(swell).wait().failure


def test_what_is_cancelled_ends_at_once_and_says_nothing():
    told = Told(linger)
    assert told.begun.wait(120)
    process = told.job._process
    told.job.cancel()
    process.join(20)
    assert not process.is_alive()
    # the place is free for others
    assert Told(square, 3).wait().value == 9
    assert not told.ended.is_set()
