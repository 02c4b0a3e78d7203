"""The report: one self-contained folder with a page that explains a run and the pictures that it
refers to.
"""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..completion.displays import CalibrationDisplay
from ..completion.posterior.coverage import ENOUGH
from ..files import Table
from ..labels import depth_label, printable
from .compare import Candidate, Verdict, best, worst_columns
from .coverage import coverage_sentence
from .folder import figure_tag, png, write_pages
from .page import report_page, table
from .text import explain, headline, methods

_WORST = 30  # columns whose scores are listed
_ROWS, _COLUMNS = 150, 100  # how much of a table is drawn: more would not be legible


@dataclass(frozen=True)
class Study:
    """One matrix, what was done with it, and how to look at it."""

    title: str
    slug: str  # the pictures' file names start with it
    introduction: str
    X: np.ndarray  # NaN where an entry was missing
    candidates: Sequence[Candidate]
    regularization: str
    unit: str  # of the errors, in words
    picture: Callable[[np.ndarray], np.ndarray]  # a matrix arranged for the eye
    caption: str  # what the arrangement shows
    limits: tuple[float, float] = (0.0, 1.0)
    cmap: str = "gray"
    bar_label: str = ""
    columns: int = 3
    truth: np.ndarray | None = None
    is_image: bool = False
    names: Sequence[str] = ()  # of the picture's columns
    verdict: Verdict | None = None

    @property
    def networks(self) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.depth is not None]

    @property
    def said(self) -> Verdict:
        """What the held-out entries say; without a verdict the best network is used."""
        network = best(self.networks)
        return self.verdict or Verdict(network, network)


def study_of_file(
    table: Table,
    candidates: Sequence[Candidate],
    verdict: Verdict,
    regularization: str,
    name: str,
) -> Study:
    """The study of a file that the user gave: images as they are, tables on the scale of each
    column.
    """
    words: dict[str, Any] = {
        "title": name,
        "slug": "completion",
        "introduction": "; ".join(line.strip() for line in table.understood()) + ".",
        "X": table.values,
        "candidates": candidates,
        "verdict": verdict,
        "regularization": regularization,
    }
    if table.kind == "image":
        shown = table.picture(table.values)
        low, high = min(0.0, float(np.nanmin(shown))), max(1.0, float(np.nanmax(shown)))
        return Study(
            **words,
            unit="pixel values",
            picture=table.picture,
            caption="The image as given, and completed by each method.",
            limits=(low, high),
            is_image=True,
        )

    X = table.values[:_ROWS, :_COLUMNS]
    seen = ~np.isnan(table.values)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, table.values, 0).sum(axis=0) / count
    scale = np.abs(np.where(seen, table.values - mean, 0)).sum(axis=0) / count
    scale[scale == 0] = 1.0

    def standardized(matrix: np.ndarray) -> np.ndarray:
        return ((matrix - mean) / scale)[:_ROWS, :_COLUMNS]

    part = (
        ""
        if X.shape == table.values.shape
        else f" (first {X.shape[0]} rows and {X.shape[1]} columns)"
    )
    return Study(
        **words,
        unit="standard deviations of each column",
        picture=standardized,
        caption=(
            f"The table{part} as given (missing entries in white), and completed by each method."
        ),
        limits=(-2.5, 2.5),
        cmap="cividis",
        bar_label="distance from the column's mean, in its mean deviations",
        columns=3 if len(candidates) < 6 else 4,
        names=[feature.name for feature in table.features[:_COLUMNS]],
    )


def write_report(
    folder: Path, studies: Sequence[Study], *, title: str, command: str
) -> tuple[Path, list[Path]]:
    """Write ``index.html``, which has its pictures inside, and PNG files of them into ``folder``;
    returns the page and the files.
    """
    sections: list[str] = []
    pictures: dict[str, bytes] = {}
    for study in studies:
        shown = []
        for name, figure, caption in study_figures(study):
            pictures[f"{study.slug}-{name}.png"] = picture = png(figure)
            shown.append(figure_tag(picture, caption))
        sections.append(_section(study, shown))

    depths = sorted(
        {
            c.depth
            for study in studies
            for c in study.networks
            if c.depth is not None and c.depth >= 2
        }
    )
    theory = ""
    if depths and any(study.regularization == "explicit" for study in studies):
        pictures["shrinkage.png"] = picture = png(shrinkage_figure(depths))
        theory = figure_tag(
            picture,
            "What the penalty of each depth makes of one singular value of fully observed data. "
            "Each penalty is "
            "scaled so that values below 1 are removed; the dashed line would leave them as they "
            "are.",
        )
    text = report_page(title, command, sections, methods(studies[0].regularization) + theory)
    return write_pages(folder, text, pictures)


def shrinkage_figure(depths: Sequence[float]) -> Figure:
    """Data value y → learned value σ, the large solution of σ + λσ^{2/N − 1} = y, with λ such that
    it ends at y = 1.
    """
    lines = {}
    for depth in depths:
        p = 0.0 if math.isinf(depth) else 2 / depth
        end = (1 - p) / (2 - p)  # where y(σ) = σ + λσ^{p−1} is smallest, if its minimum is 1
        strength = end ** (2 - p) / (1 - p) if p < 1 else 1.0
        sigma = np.linspace(end, 3.0, 400)[1:]
        y = sigma + strength * sigma ** (p - 1)
        keep = y <= 3
        lines[depth_label(depth)] = (np.r_[0, 1, 1, y[keep]], np.r_[0, 0, end, sigma[keep]])
    return plots.curves(
        lines,
        xlabel="singular value of the data",
        ylabel="singular value after training",
        diagonal=True,
    )


def study_figures(study: Study) -> list[tuple[str, Figure, str]]:
    """The figures of a study as (name, figure, caption)."""
    hole = np.isnan(study.X)
    images = {f"given ({hole.mean():.0%} missing)": study.X}
    if study.truth is not None:
        images["truth"] = study.truth
    images |= {_score_title(candidate): candidate.filled for candidate in study.candidates}
    arranged = {title: study.picture(matrix) for title, matrix in images.items()}
    which = "RMSE over all missing entries" if study.truth is not None else "held-out error"
    completed = plots.pictures(
        arranged,
        limits=study.limits,
        cmap=study.cmap,
        bar_label=study.bar_label,
        columns=study.columns,
        names=study.names,
    )
    figures = [("completed", completed, f"{study.caption} Numbers: {which}.")]
    if study.truth is not None:
        figures.append(("errors", *_error_maps(study, study.truth)))
    elif len(study.networks) > 1:
        figures.append(("disagreement", *_disagreement(study)))

    if (calibration := _calibration(study)) is not None:
        figures.append(("calibration", *calibration))
    spectra = {c.name: c.singular_values for c in study.networks if c.singular_values is not None}
    figures.append(
        (
            "spectra",
            plots.spectra(spectra),
            "Singular values that each depth learned (logarithmic scale). A line that ends early "
            "has removed the rest.",
        )
    )
    return figures


def _calibration(study: Study) -> tuple[Figure, str] | None:
    """How often intervals of the best depth cover held-out cells, and the caption."""
    imputer = study.said.network.imputer
    calibration = None if imputer is None else imputer.model_.calibration
    if calibration is None or len(calibration.scores) < ENOUGH:
        return None
    figure = plots.new_figure(6.4, 5.4)
    with plots.house_style():
        display = CalibrationDisplay.from_estimator(imputer, ax=figure.subplots())
    return figure, coverage_sentence(display.reached, calibration)


def _why_no_calibration(study: Study) -> str:
    """That too few cells were held out for the picture of calibration, where it is so, as HTML."""
    imputer = study.said.network.imputer
    calibration = None if imputer is None else imputer.model_.calibration
    if calibration is None or len(calibration.scores) >= ENOUGH:
        return ""
    return (
        f"<p>How often intervals hold is not shown: {len(calibration.scores)} held-out cells are "
        f"too few to tell ({ENOUGH} are needed).</p>"
    )


def _error_maps(study: Study, truth: np.ndarray) -> tuple[Figure, str]:
    """Where each candidate errs, on one scale, and the caption."""
    shown = study.picture(truth)
    errors = {
        _score_title(c): _one_channel(np.abs(study.picture(c.filled) - shown))
        for c in study.candidates
    }
    figure = plots.pictures(
        errors,
        columns=study.columns,
        limits=(0, float(np.quantile(np.stack(list(errors.values())), 0.99))),
        cmap="cividis",
        bar_label=f"absolute error ({study.unit})",
        names=study.names,
    )
    return figure, "Where each method errs: dark is right, observed entries are exact."


def _disagreement(study: Study) -> tuple[Figure, str]:
    """Where the depths disagree, and the caption."""
    # observed entries are equal in all completions, so only missing ones show
    completions = np.stack([study.picture(c.filled) for c in study.networks])
    spread = _one_channel(np.ptp(completions, axis=0))
    figure = plots.pictures(
        {"largest minus smallest completion": spread},
        columns=1,
        limits=(0, float(np.quantile(spread, 0.995)) or 1.0),
        cmap="cividis",
        # the picture's own scale: a table is drawn in mean deviations of its columns
        bar_label="largest minus smallest"
        + (", in mean deviations of the column" if study.bar_label else ""),
        width=7.0,
        names=study.names,
    )
    return figure, "Where the depths disagree: trust the bright entries least."


def _one_channel(picture: np.ndarray) -> np.ndarray:
    """The mean over the colours of a colour picture; others as they are."""
    return picture.mean(axis=2) if picture.ndim == 3 else picture


def _score_title(candidate: Candidate) -> str:
    score = candidate.held_out_error if candidate.truth_rmse is None else candidate.truth_rmse
    return f"{candidate.name}: {score:.3g}"


def _section(study: Study, figures: Sequence[str]) -> str:
    return "\n".join(
        [
            f"<h2>{html.escape(printable(study.title))}</h2>",
            f"<p>{html.escape(printable(study.introduction))}</p>",
            f'<p class="lead">{headline(study.candidates, study.said, study.unit)}</p>',
            results_table(study),
            columns_table(study),
            figures[0],
            "<h3>What depth did here</h3>",
            explain(study.networks, study.regularization),
            _why_no_calibration(study),
            *figures[:0:-1],  # the spectra belong to the explanation; maps follow
        ]
    )


def results_table(study: Study) -> str:
    """The numbers of every candidate as an HTML table, the best depth marked."""
    with_truth = study.truth is not None
    with_labels = any(c.accuracy is not None for c in study.candidates)
    with_train = any(c.train_rmse is not None for c in study.candidates)
    head = ["", *["train RMSE"] * with_train, "held-out error", *["right labels"] * with_labels]
    head += ["RMSE of all missing"] * with_truth
    head += ["strength", "effective rank", "rank", "leading singular values", "time"]
    rows, said = [], study.said
    for c in study.candidates:
        mark = " ★" if c is said.used else " ≈" * any(c is tie for tie in said.ties)
        cells = [html.escape(c.name) + mark]
        cells += [_number(c.train_rmse)] * with_train + [_number(c.held_out_error)]
        cells += [_number(c.accuracy, ".1%")] * with_labels + [_number(c.truth_rmse)] * with_truth
        sigma = () if c.singular_values is None else c.singular_values[:3]
        cells += [
            _number(c.strength, ".3g"),
            _number(c.effective_rank, ".1f"),
            _number(c.rank, "d"),
            ", ".join(f"{s:.3g}" for s in sigma) or "–",
        ]
        cells.append(f"{c.seconds:.1f} s")
        rows.append((cells, c is said.used))
    note = "★ used"
    if said.count:
        seen = int(np.sum(~np.isnan(study.X)))
        note += f"; {said.count:,} of {seen:,} observed entries were held out{_seed(said)}"
    note += "; ≈ level with it within the standard error of the difference" * bool(said.ties)
    return table(head, rows, "methods") + f'<p class="quiet">{note}.</p>'


def _seed(said: Verdict) -> str:
    """By which seed entries were drawn, where there is one."""
    seed = getattr(said.network.imputer, "random_state", None)
    return f", drawn by the seed {seed}" if isinstance(seed, int | np.integer) else ""


def columns_table(study: Study) -> str:
    """How well the held-out cells of each column are predicted, the worst first, as HTML."""
    used = study.said.used
    worst = worst_columns(used, _WORST)
    count = sum(c.count > 0 for c in used.columns)
    if study.is_image or count < 2:
        return ""
    head = ["column", "held-out cells", "RMSE", "R²", "right labels"]
    rows = []
    for c in worst:
        cells = [html.escape(c.name), f"{c.count:,}", _number(c.rmse), _number(c.r2, ".3f")]
        cells.append(_number(c.accuracy, ".1%"))
        rows.append((cells, False))
    more = f", the worst {len(worst)} of {count}" if count > len(worst) else ""
    return (
        f"<h3>Column by column</h3><p>What {html.escape(used.name)} predicts{more}: RMSE in the "
        "units of the column. Do not trust what is filled into columns with R² near 0.</p>"
        + table(head, rows, "columns")
    )


def _number(value: float | None, spec: str = ".4g") -> str:
    return "–" if value is None or math.isnan(value) else format(value, spec)
