"""Compiled programs kept on disk, so that a second process starts at once."""

import os
from pathlib import Path

import jax


def cache_compilations(folder: str | os.PathLike[str] | None = None) -> Path:
    """Keep what JAX compiles from now on in ``folder``, for this process and later ones.

    **Returns** the folder, by default ``deeplinear/compiled`` in the user's cache folder
    (``$XDG_CACHE_HOME``, or ``~/.cache``). The setting is JAX's own and holds for the whole
    process: the command line makes it, the library only when this is called. Old entries can be
    deleted freely.

    >>> import deeplinear as dl, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     _ = dl.cache_compilations(folder)
    """
    folder = Path(folder) if folder is not None else cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return folder


def cache_folder() -> Path:
    """Where `cache_compilations` keeps programs by default; it need not exist yet."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "deeplinear" / "compiled"
