"""Programs for JAX's compiler: compiled once, kept on disk, found there by the next process."""

from .folder import cache_compilations, cache_folder
from .program import forget_programs, program

__all__ = ["cache_compilations", "cache_folder", "forget_programs", "program"]
