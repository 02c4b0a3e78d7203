"""The explorer: depth at work in a web page, and in a notebook. Needs the extra ``explorer``."""

from .state import State

__all__ = ["State", "phase_portrait"]


def phase_portrait(state: State | None = None, *, theme: str = "light") -> object:
    """The 2×2 laboratory as a Panel object: a notebook shows it, ``.servable()`` serves it.

    **Arguments**: ``state``: the `State` to begin with; by default small random starts at depth 3
    with the diagonal observed. ``theme``: "light" or "dark".

    **Raises** `InputError` where panel is missing, or for another theme. It needs 64 bits:
    ``jax.config.update("jax_enable_x64", True)`` before the first use of JAX.

    >>> import deeplinear as dl
    >>> start = dl.explorer.State.from_query("?depth=inf&runs=300")[0]
    >>> start.depth, start.runs
    (inf, 300)
    >>> page = dl.explorer.phase_portrait(start)  # doctest: +SKIP
    """
    from ..extras import needed_by

    with needed_by("explorer pages"):
        from .laboratory import phase_portrait as build

    return build(state, theme=theme)
