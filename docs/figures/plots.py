"""The pictures of docs/plots.md: runs the page's own code and writes plots_*.png beside itself (a
minute).
"""

import re
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np

FOLDER = Path(__file__).parent


def blocks():
    """The page's code blocks, each with the name of the picture that follows it, if one does."""
    page = (FOLDER.parent / "plots.md").read_text(encoding="utf-8")
    pattern = r"```python\n(.*?)```(?:\n\n!\[[^\]]*\]\(figures/(\w+)\.png\))?"
    return re.findall(pattern, page, re.DOTALL)


def run():
    """By name, the figures that the page draws."""
    space, figures = {}, {}
    for code, name in blocks():
        exec(code, space)
        if name:
            figures[name] = np.ravel(space["axes"])[0].figure
    return figures


if __name__ == "__main__":
    mpl.use("Agg")
    jax.config.update("jax_enable_x64", True)
    for name, figure in run().items():
        figure.savefig(FOLDER / f"{name}.png", dpi=90)
