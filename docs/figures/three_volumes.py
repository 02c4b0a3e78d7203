"""The picture of docs/three_volumes.md: python docs/figures/three_volumes.py writes
three_volumes.png beside itself (ten seconds).
"""

import math
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import matplotlib  # noqa: E402
import numpy as np  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

import deeplinear as dl  # noqa: E402

W11 = W22 = 0.92
DEPTHS = (2, 5, math.inf)
COLOURS = plt.get_cmap("viridis")([0.0, 0.45, 0.8])
STYLES = ("-", "--", ":")


def name(depth):
    return "N = ∞" if math.isinf(depth) else f"N = {depth}"


def completions(w12, w21):
    W = np.empty((*np.shape(w12), 2, 2))
    W[..., 0, 0], W[..., 1, 1], W[..., 0, 1], W[..., 1, 0] = W11, W22, w12, w21
    return W


def maps(fig, axes, function, label):
    grid = np.linspace(-2, 2, 400)  # an even number: no point of the diagonal is exactly of rank 1
    w12, w21 = np.meshgrid(grid, grid)
    for ax, depth in zip(axes, DEPTHS, strict=True):
        values = np.asarray(function(completions(w12, w21), depth))
        low, high = np.quantile(values, [0.01, 0.99])
        image = ax.pcolormesh(
            grid,
            grid,
            values,
            cmap="viridis",
            vmin=low,
            vmax=high,
            shading="nearest",
            rasterized=True,
        )
        for sign in (-1, 1):
            curve = np.geomspace(W11 * W22 / 2, 2, 100)
            ax.plot(sign * curve, sign * W11 * W22 / curve, color="white", lw=0.8, ls=(0, (4, 4)))
            ax.plot(sign * W11, sign * W11, "o", ms=6, mfc="white", mec="black")
        ax.set(
            title=f"{label}, {name(depth)}", xlabel="$w_{12}$", ylabel="$w_{21}$", aspect="equal"
        )
        fig.colorbar(image, ax=ax, extend="both", shrink=0.85)


def along_the_hyperbola(ax, neighbourhood):
    log_x = np.linspace(-1.2, 1.2, 9 if neighbourhood else 121)
    W = completions(W11 * np.exp(log_x), W11 * np.exp(-log_x))
    for depth, colour, style in zip((2, 5, 20), COLOURS, STYLES, strict=True):
        if neighbourhood:
            balls = [
                dl.ball_volume(X, depth, 0.1, constraint=np.eye(2, dtype=bool), samples=4000)
                for X in W
            ]
            values, errors = np.array([(b.log_volume, 2 * b.standard_error) for b in balls]).T
            ax.errorbar(
                log_x,
                values,
                errors,
                color=colour,
                ls=style,
                marker="o",
                ms=3,
                capsize=2,
                label=name(depth),
            )
        else:
            ax.plot(
                log_x,
                dl.log_stratum_volume(W, depth, rank=1),
                color=colour,
                ls=style,
                label=name(depth),
            )
    what = "Volume of the ball of radius 0.1" if neighbourhood else "Volume on the rank-1 stratum"
    ax.set(
        title=f"{what}\nalong the hyperbola",
        xlabel="log($w_{12}$ / 0.92), corner at 0",
        ylabel="log volume",
    )
    if neighbourhood:
        ax.set_ylim(bottom=-5.2)
    ax.legend(frameon=False, loc="lower center", fontsize=8)


def towards_rank_one(ax):
    log_s2 = -np.geomspace(9.5, 3e-3, 200)
    frame = np.broadcast_to(np.eye(2), (len(log_s2), 2, 2))
    W = dl.LogSVD(frame, np.stack([np.zeros_like(log_s2), log_s2], -1), frame)
    curves = (
        ("density in dW", dl.log_volume(W, 5)),
        ("density in dΣ dU dV", dl.log_volume(W, 5, coordinates="svd")),
        ("on the rank-1 stratum", dl.log_stratum_volume(W, 5, rank=1)),
        ("orbit entropy, no constant", dl.entropy(W, 5, constant=False)),
    )
    colours = plt.get_cmap("viridis")([0.0, 0.35, 0.65, 0.85])
    for (label, values), colour, style in zip(curves, colours, ("-", "--", "-.", ":"), strict=True):
        ax.plot(log_s2 / math.log(10), values, color=colour, ls=style, lw=2, label=label)
    ax.set(
        title="As $\\sigma_2 \\to 0$ with $\\sigma_1 = 1$\nN = 5",
        xlabel="$\\log_{10}\\,\\sigma_2$",
        ylabel="log of each",
    )
    ax.legend(frameon=False, fontsize=8)


def main():
    fig, axes = plt.subplots(3, 3, figsize=(13, 12), layout="constrained")
    maps(fig, axes[0], dl.log_volume, "log √det g")
    maps(
        fig, axes[1], lambda W, depth: dl.entropy(W, depth, constant=False), "Entropy (no constant)"
    )
    towards_rank_one(axes[2, 0])
    along_the_hyperbola(axes[2, 1], neighbourhood=False)
    along_the_hyperbola(axes[2, 2], neighbourhood=True)
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
