"""Completion on several machines, over JAX's distributed runtime."""

from .complete import SharedModel, fit_shards
from .group import join

__all__ = ["SharedModel", "fit_shards", "join"]
