"""``deeplinear explore``: depth at work, in a web page."""

from typing import Annotated

import typer

from .console import say, terminal


def explore(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any free one.")
    ] = 5017,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; beyond this machine, visitors need a token."),
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """See depth at work: a page with a 2×2 laboratory, on this machine alone.

    Move the depth from 1 to ∞ and watch where training ends. Ctrl-C stops it.
    """
    out = terminal()
    from ..extras import needed_by

    with needed_by("explorer pages"):
        import panel  # noqa: F401
    import jax

    # without JAX's own cache: programs that come from there cannot be kept in ours
    jax.config.update("jax_enable_x64", True)
    from ..explorer.server import serve

    serve(port, host, open_browser=browser, on_start=lambda address: say(out, address))
