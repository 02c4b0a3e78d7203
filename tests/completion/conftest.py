"""Fits on a chosen backend, whatever the data."""

import pytest
from completion_data import choose_backend


@pytest.fixture(params=["dense", "loops"])
def where(request, monkeypatch):
    """One of the backends on this machine's processor."""
    return choose_backend(monkeypatch, request.param)


@pytest.fixture(params=["dense", "loops", "devices"])
def anywhere(request, monkeypatch):
    """Any backend; JAX compiles for every width, so for few and short fits."""
    return choose_backend(monkeypatch, request.param)
