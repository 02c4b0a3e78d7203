"""Signals wait until a block has ended, and are not lost."""

import signal
import threading

import pytest

from deeplinear.interrupts import STOPPING, forget, uninterrupted, written


@pytest.fixture(autouse=True)
def handlers():
    """Every signal raises, and nothing is left of it."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        signal.signal(number, signal.default_int_handler)
    forget()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    forget()


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_comes_after_the_block(tmp_path, number):
    done = []

    def inner():
        with uninterrupted():
            signal.raise_signal(number)
            done.append("inner")

    def outer():
        with uninterrupted(tmp_path):
            inner()
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert done == ["inner", "outer"]
    assert written() == [tmp_path]
    assert all(signal.getsignal(n) is signal.default_int_handler for n in STOPPING)


def test_a_block_that_fails_has_written_nothing(tmp_path):
    with pytest.raises(OSError, match="full"), uninterrupted(tmp_path):
        raise OSError("full")
    assert written() == []


def test_signals_that_python_does_not_handle_are_left_alone():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with uninterrupted():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.raise_signal(signal.SIGTERM)


def test_other_threads_change_no_handlers():
    found = []

    def body():
        with uninterrupted():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
