"""The sign of life: after a while, in a terminal, once, and no thread left behind."""

import sys
import threading

import pytest

from deeplinear.compilation import notice


class Terminal:
    def __init__(self, is_one=True):
        self.text, self.written, self.is_one = "", threading.Event(), is_one

    def isatty(self):
        return self.is_one

    def write(self, text):
        self.text += text
        self.written.set()

    def flush(self):
        pass


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(notice._Notice, "given", False)


def test_one_line_once(monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    for _ in range(2):
        with notice.notice(0.0):
            out.written.wait(10)
    assert out.text.count("\n") == 1
    assert "compiling" in out.text
    assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]


def test_silent_where_it_is_quick_or_nobody_looks(monkeypatch):
    quick, file = Terminal(), Terminal(is_one=False)
    for out, seconds in ((quick, 60.0), (file, 0.0)):
        monkeypatch.setattr(sys, "stderr", out)
        with notice.notice(seconds):
            pass
    assert quick.text == file.text == ""
    assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
