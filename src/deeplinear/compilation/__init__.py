"""Programs for JAX's compiler: compiled once, kept on disk, found there by the next process."""

from .fingerprint import is_known, setting
from .folder import cache_compilations, cache_folder
from .programs import Effort, accelerated, forget_programs, program

__all__ = [
    "Effort",
    "accelerated",
    "cache_compilations",
    "cache_folder",
    "forget_programs",
    "is_known",
    "setting",
    "program",
]
