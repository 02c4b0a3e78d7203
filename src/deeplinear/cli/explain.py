"""``deeplinear explain``: what an error or a warning means, and what to do."""

from typing import Annotated

import typer

from ..errors import InputError
from ..results.suggest import nearest
from .console import terminal
from .topics import topics


def explain(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The name of an error or a warning, as DepthError; without one, all are listed."
        ),
    ] = None,
) -> None:
    """Say what an error or a warning means, and what to do.

    In a terminal, messages name the section that is theirs.
    """
    from rich.markdown import Markdown

    found = topics()
    if name is None:
        # the sentence between asterisks that each section begins with
        shown = "\n".join(f"- **{each}**: {text.split('*')[1]}" for each, text in found.items())
    else:
        key = {each.lower(): each for each in found}.get(name.lower())
        if key is None:
            raise InputError(f"NAME: there is no {name!r}; {nearest(name, found)}.")
        shown = f"## {key}\n{found[key]}"
    terminal().print(Markdown(shown))
