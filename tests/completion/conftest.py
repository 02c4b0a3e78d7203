"""What tests of fits share: a chosen backend, and silence about what they do not test."""

import warnings

import pytest
from completion_data import choose_backend

import deeplinear as dl


@pytest.fixture
def quiet_fits():
    """Without the warnings of fits that are stopped early, to save time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.NotConvergedWarning)
        yield


@pytest.fixture
def quiet_empty_lines():
    """Without the warnings of rows and columns that hold no entry."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.EmptyLineWarning)
        yield


@pytest.fixture(params=["dense", "loops"])
def where(request, monkeypatch):
    """One of the backends on this machine's processor."""
    return choose_backend(monkeypatch, request.param)


@pytest.fixture(params=["dense", "loops", "devices"])
def anywhere(request, monkeypatch):
    """Any backend; JAX compiles for every width, so for few and short fits."""
    return choose_backend(monkeypatch, request.param)
