"""Programs for JAX's compiler: compiled once, kept on disk, found there by the next process."""

from .fingerprint import is_known, setting
from .folder import cache_compilations, cache_folder
from .programs import Effort, forget_programs, program

__all__ = [
    "Effort",
    "cache_compilations",
    "cache_folder",
    "forget_programs",
    "is_known",
    "setting",
    "program",
]
