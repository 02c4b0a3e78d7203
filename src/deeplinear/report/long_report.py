"""The report for long data: how depth and strength were chosen, the spectrum, and how far off."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..completion.displays import CalibrationDisplay, SpectrumDisplay, ValidationDisplay
from ..completion.posterior.coverage import ENOUGH, SPLITS
from ..completion.solver.trial import best_trial, error_name
from ..labels import depth_label, printable
from .folder import figure_tag, png, write_pages
from .page import report_page, table
from .text import features_sentence, methods, used_sentence

if TYPE_CHECKING:
    from ..completion.matrix_completion import DeepMatrixCompletion

Picture = tuple[str, Figure, str]  # name, figure, caption


def write_long_report(
    folder: Path, estimator: "DeepMatrixCompletion", *, name: str, about: str, command: str
) -> tuple[Path, list[Path]]:
    """Write ``index.html`` and its PNG pictures into ``folder``; returns the page and the pictures.

    ``about`` describes the data in one sentence.
    """
    pictures: dict[str, bytes] = {}
    tags = []
    for slug, figure, caption in _pictures(estimator):
        pictures[f"{slug}.png"] = picture = png(figure)
        tags.append(figure_tag(picture, caption))
    section = "\n".join(
        [
            f"<h2>{html.escape(printable(name))}</h2>",
            f"<p>{html.escape(printable(about))}.</p>",
            f'<p class="lead">{lead(estimator)}</p>',
            trials_table(estimator),
            *tags,
        ]
    )
    text = report_page(f"Prediction of {name}", command, [section], _theory(estimator))
    return write_pages(folder, text, pictures)


def _pictures(estimator: "DeepMatrixCompletion") -> list[Picture]:
    found: list[Picture] = []
    if estimator.trials_:
        implicit = estimator.regularization == "implicit"
        caption = "Root-mean-square error on the held-out entries of everything that was tried" + (
            "." if implicit else ": a line per depth, from strong to weak regularization."
        )
        found.append(("validation", _figure(ValidationDisplay, estimator), caption))
    sigma = np.asarray(estimator.singular_values_)
    if len(sigma):
        caption = "Singular values of the learned matrix (logarithmic scale), without the biases."
        found.append(("spectrum", _figure(SpectrumDisplay, estimator), caption))
    calibration = estimator.model_.calibration
    scores = calibration.scores
    if len(scores) >= ENOUGH:
        found.append(
            (
                "calibration",
                calibration_figure(scores),
                "Errors of the held-out entries in units of their predicted deviation. Where the "
                "line of the held-out entries lies left of the dashed one, the deviations are "
                "too large (cautious); right of it, too small.",
            )
        )
        found.append(
            (
                "coverage",
                _figure(CalibrationDisplay, estimator, 6.4, 5.4),
                "How often intervals covered held-out entries that had no part in making them: "
                "calibrated on a random half of the held-out entries and measured on the other "
                f"half, the mean of {SPLITS} splits; and intervals of the normal law, from the "
                "deviations as they are. On the dashed line intervals cover as often as they say.",
            )
        )
    return found


def _figure(
    display: Any, estimator: "DeepMatrixCompletion", width: float = 8.5, height: float = 4.6
) -> Figure:
    """A display of the estimator, in a figure of its own."""
    with plots.house_style():
        figure = plots.new_figure(width, height)
        display.from_estimator(estimator, ax=figure.subplots())
    return figure


def calibration_figure(scores: np.ndarray) -> Figure:
    """Distribution of |error| / deviation beside that of a standard normal variable."""
    from scipy.stats import halfnorm

    scores = np.sort(scores)
    x = np.linspace(0.0, max(3.0, float(np.quantile(scores, 0.99))), 300)
    parts = np.searchsorted(scores, x, side="right") / len(scores)
    with plots.house_style():
        figure = plots.new_figure(8.5, 4.6)
        axis = figure.subplots()
        axis.plot(x, parts, color=plots.COLOURS[0], lw=2, label="held-out entries")
        axis.plot(x, halfnorm.cdf(x), color="#555555", lw=1.4, ls="--", label="normal law")
        axis.set_xlabel("|error| / predicted deviation")
        axis.set_ylabel("part of the entries below")
        axis.set_ylim(0, 1.02)
        axis.legend(loc="lower right")
    return figure


def lead(estimator: "DeepMatrixCompletion") -> str:
    """The result in a few sentences, as HTML."""
    best = depth_label(estimator.depth_)
    text = f"<b>{html.escape(best.capitalize())}</b>"
    if not estimator.trials_:
        return f"{text} was fitted to all entries; none was held out."
    spread = estimator.model_.spread
    error = estimator.validation_score_
    text += (
        f" predicts the held-out entries best: RMSE {error:.4g}, where the entries themselves have "
        f"the standard deviation {spread:.4g}"
    )
    if spread > 0 and estimator.loss == "squared":
        text += f" ({max(0.0, 1 - (error / spread) ** 2):.0%} of the variance is explained)"
    rank = f"rank {estimator.rank_}, effective rank {estimator.effective_rank_:.1f}"
    used = used_sentence(estimator.used_, estimator.average_share_, estimator.n_draws)
    used = f"{used} {features_sentence(estimator.features_)}".strip()
    return (
        f"{text}. Fitted again to all entries it has {rank} and train RMSE "
        f"{estimator.train_score_:.4g}. {used}".rstrip()
    )


def trials_table(estimator: "DeepMatrixCompletion") -> str:
    """The best trial of each depth, as an HTML table; nothing where none was held out."""
    if not estimator.trials_:
        return ""
    measure = f"held-out {error_name(estimator.loss)}"
    head = ["", measure, "strength", "rank", "sweeps", "strengths tried"]
    winner = best_trial(estimator.trials_)
    rows = []
    for depth in dict.fromkeys(trial.depth for trial in estimator.trials_):
        own = [trial for trial in estimator.trials_ if trial.depth == depth]
        best = best_trial(own)
        cells = [
            depth_label(depth) + (" ★" if best is winner else ""),
            f"{best.validation_rmse:.4g}",
            f"{best.strength:.3g}",
            f"{best.rank}",
            f"{best.sweeps}",
            f"{len(own)}",
        ]
        rows.append((cells, best is winner))
    note = '<p class="quiet">★ best on the held-out entries; of each depth its best strength.</p>'
    return table(head, rows, "depths") + note


def _theory(estimator: "DeepMatrixCompletion") -> str:
    intervals = (
        "<ul><li><b>Deviation</b>: how far a new entry may lie from its prediction, by the noise "
        "and by what the few entries of its row and column leave open.</li>"
        "<li><b>Calibrated interval</b>: prediction ± q · deviation, where q is such that the "
        "interval covers the wanted part of the held-out entries (split-conformal prediction).</li>"
        "</ul>"
    )
    return methods(estimator.regularization) + intervals
