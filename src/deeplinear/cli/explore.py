"""``deeplinear explore``: depth at work, in a web page."""

from pathlib import Path
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
    results: Annotated[
        Path, typer.Option(help="Folder of stored experiments to look at; it is only read.")
    ] = Path("experiments"),
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """See depth at work: a page on this machine alone.

    A 2×2 laboratory, your own table or image completed at several depths, and the experiments.
    Ctrl-C stops it.
    """
    out = terminal()
    from ..extras import needed_by

    with needed_by("explorer pages"):
        import panel  # noqa: F401, I001  # first: its extra brings JAX too
        import jax

    # without JAX's own cache: programs that come from there cannot be kept in ours
    jax.config.update("jax_enable_x64", True)
    from ..explorer.server import serve

    serve(
        port,
        host,
        results=results,
        open_browser=browser,
        on_start=lambda address: say(out, address),
    )
