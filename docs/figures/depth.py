"""The picture of the README: python docs/figures/depth.py writes depth.png (15 s)."""

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np

import deeplinear as dl
from deeplinear.labels import short_depth_label
from deeplinear.plots import house_style, line_style, new_figure
from deeplinear.report import demo


def run():
    """The photograph with 60 % of its pixels removed, and its completions."""
    study = demo.photograph()
    imputers = {
        depth: dl.DeepLinearImputer(depth=depth, random_state=0).fit(study.X)
        for depth in (2.0, 3.0, math.inf)
    }
    return study, imputers


def draw(study, imputers):
    figure = new_figure(11.0, 3.0)
    holes, filled, spectrum = figure.subplots(1, 3, width_ratios=(1.5, 1.5, 1.35))
    grey = mpl.colormaps["gray"].with_extremes(bad="#0072b2")
    best = min(imputers, key=lambda depth: imputers[depth].validation_score_)
    for axis, image, title in (
        (holes, study.X, "60 % of the pixels removed"),
        (filled, imputers[best].transform(study.X), f"completed at depth {short(best)}"),
    ):
        axis.imshow(image, cmap=grey, vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=11)
        axis.set_axis_off()
    for index, (depth, imputer) in enumerate(imputers.items()):
        style = line_style(index) | {"marker": "", "lw": 1.8}
        s = imputer.singular_values_
        spectrum.plot(np.arange(1, len(s) + 1), s, label=short_depth_label(depth), **style)
    spectrum.set_yscale("log")
    spectrum.set_xlabel("index")
    spectrum.set_title("singular values learned", fontsize=11)
    spectrum.legend(frameon=False)
    return figure


def short(depth):
    return "∞" if math.isinf(depth) else f"{depth:g}"


if __name__ == "__main__":
    with house_style():
        draw(*run()).savefig(Path(__file__).with_name("depth.png"), dpi=110)
