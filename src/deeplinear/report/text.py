"""The report's sentences: what depth did, said with the numbers of the run."""

import html
import math
from collections.abc import Sequence

import numpy as np

from ..completion.data.holdout import likeness
from ..completion.field.refinement import Refinement
from ..completion.model.cold_lines import SideInformation
from .compare import Candidate, Verdict


def headline(candidates: Sequence[Candidate], verdict: Verdict, unit: str) -> str:
    """The result in two sentences: the best depth, and how the others and the baselines stand
    beside it.
    """
    others = [c for c in candidates if c.depth is None]
    winner = verdict.network
    known = winner.truth_rmse is not None
    name = html.escape(winner.name.capitalize())
    if math.isnan(winner.held_out_error):
        text = f"<b>{name}</b> was fitted, and no entry was held out to tell how well it predicts"
    else:
        level = [html.escape(c.name) for c in verdict.ties if c.depth is not None]
        shared = f", level with {' and '.join(level)}" if level and verdict.used is winner else ""
        text = (
            f"<b>{name}</b> predicts the held-out entries best of all depths{shared}: error "
            f"{winner.held_out_error:.4g} ({html.escape(unit)})"
        )
    if winner.status is not None:
        text += "; its fit did not converge"
    if known:
        text += f", and {winner.truth_rmse:.4g} over all the entries that were missing"
    text += "."
    ours = winner.truth_rmse if winner.truth_rmse is not None else winner.held_out_error
    for other in others:
        theirs = other.truth_rmse if other.truth_rmse is not None else other.held_out_error
        text += (
            f" {html.escape(_sentence_case(other.name))}: {theirs:.4g} ({_against(ours, theirs)})."
        )
    if verdict.used is not winner:
        text += f" The values of <b>{html.escape(verdict.used.name)}</b> were filled in."
    return text


def features_sentence(found: SideInformation | None) -> str:
    """What features of rows and columns gave; nothing without any."""
    if found is None:
        return ""
    known = (
        f"known ids gain by features: held-out RMSE {found.before:.4g} → {found.after:.4g} "
        f"(± {found.standard_error:.2g})"
        if found.sweeps
        else f"known ids gain nothing by features (held-out RMSE {found.before:.4g})"
    )
    cold = ", ".join(
        f"{name} go {share:.0%} of the way from the average to where theirs point"
        for name, share, side in zip(("rows", "columns"), found.shares, found.sides, strict=True)
        if side is not None
    )
    return f"Features: {known}; without entries, {cold}."


def used_sentence(used: str, share: float, draws: int) -> str:
    """What predictions are made of, where it is not the fit alone as it was asked for."""
    if used == "biases":
        return (
            "The biases alone predict: no matrix of low rank bettered them on the held-out entries "
            "by more than the standard error."
        )
    if used == "fit and average":
        return (
            f"Predictions are {share:.0%} the average of {draws} posterior draws and "
            f"{1 - share:.0%} the fit itself."
        )
    if used == "average":
        return f"Predictions are the average of {draws} posterior draws."
    if draws:
        return (
            "Predictions are those of the fit itself: on the held-out entries the average of "
            "posterior draws was not better."
        )
    return ""


_GRAPHS = {
    "none": "in which each row is predicted from its own cells alone",
    "neighbours": "over the nearest neighbours of each row",
    "order": "over the rows in their order",
    "order and neighbours": "over the rows in their order and the nearest neighbours of each",
}


def refinement_sentence(found: Refinement | None) -> str:
    """What the second stage did, where it was tried."""
    if found is None or not found.count:
        return ""
    if not found.share:
        return (
            "A Gaussian field around the network was tried on the held-out cells, gained nothing "
            "clear, and is not used."
        )
    lines = (
        f", and lines between the cells before and behind it (share {found.lines:.0%}, up to "
        f"{found.reach:g} steps from the nearer)"
        if found.lines
        else ""
    )
    return (
        f"A Gaussian field {_GRAPHS[found.graph]} refines the network (average share "
        f"{found.share:.0%}){lines}: in scaled columns the error of {found.count:,} held-out "
        f"cells falls from {found.before:.4g} to {found.after:.4g}, by {found.gain:.1f} standard "
        "errors."
    )


def holdout_sentence(observed: np.ndarray, holdout: str, *, in_order: bool) -> str:
    """That other cells than entries at random are missing, and what is held out then."""
    found = likeness(observed, in_order=in_order)
    if found in ("entries", holdout):
        return ""
    where = {
        "rows": "rows of which most is missing",
        "blocks": "long gaps down the columns",
    }[found]
    if holdout == "auto":
        return f"Most missing cells lie in {where}: such cells are held out."
    return (
        f"Most missing cells lie in {where}, and other cells are held out: --holdout {found} "
        "chooses and calibrates on cells like them."
    )


def explain(networks: Sequence[Candidate], regularization: str) -> str:
    """What each depth did to the singular values in this run."""
    items = "".join(f"<li>{_one_depth(c, regularization)}</li>" for c in networks)
    text = f"<ul>{items}</ul>"
    ranked = [c for c in networks if c.effective_rank is not None]
    if len(ranked) > 1:
        low = min(ranked, key=lambda c: c.effective_rank or 0)
        high = max(ranked, key=lambda c: c.effective_rank or 0)
        text += (
            f"<p>{_shrinkage(networks)}The effective rank (how many singular values carry the "
            "matrix) runs "
            f"from {low.effective_rank:.1f} at "
            f"{low.name} to {high.effective_rank:.1f} at {high.name}. "
            "The held-out entries decide which is right for this matrix: "
            f"{_names_in_order(networks)}.</p>"
        )
    return text


def _shrinkage(networks: Sequence[Candidate]) -> str:
    """How much less of the largest singular value the shallowest network keeps, where it does."""
    learned = [c for c in networks if c.singular_values is not None and len(c.singular_values)]
    if len(learned) < 2:
        return ""
    shallow = min(learned, key=lambda c: c.depth or 0)
    deep = max(learned, key=lambda c: c.depth or 0)
    low, high = float(shallow.singular_values[0]), float(deep.singular_values[0])  # type: ignore[index]
    if low >= high:
        return ""
    return (
        f"The largest singular value is {low:.4g} at {html.escape(shallow.name)} and {high:.4g} at "
        f"{html.escape(deep.name)}: the shallower network has shrunk it {1 - low / high:.1%} more. "
    )


def _one_depth(c: Candidate, regularization: str) -> str:
    sigma = np.zeros(0) if c.singular_values is None else c.singular_values
    sigma = sigma[sigma > 0]
    text = f"<b>{html.escape(c.name.capitalize())}</b>"
    kept = _kept(c, sigma, text, regularization)
    used = used_sentence(c.used, c.average_share, c.draws)
    return " ".join(part for part in (kept, used, refinement_sentence(c.refinement)) if part)


def _kept(c: Candidate, sigma: np.ndarray, text: str, regularization: str) -> str:
    """What the network kept of the singular values ``sigma``."""
    if len(sigma) == 0:
        return f"{text} kept no singular value: it predicts from the marginals alone."
    count = f"{len(sigma)} singular values" if len(sigma) > 1 else "1 singular value"
    kept = f"keeps {count}, from {sigma[0]:.3g} to {sigma[-1]:.3g}"
    if regularization != "explicit" or c.depth is None or c.depth < 2 or len(sigma) == 1:
        return f"{text} {kept}, effective rank {c.effective_rank:.1f}."
    if c.depth == 2:
        return f"{text} pulls equally on all singular values, small and large; it {kept}."
    exponent = 1 - (0.0 if math.isinf(c.depth) else 2 / c.depth)
    ratio = (sigma[0] / sigma[-1]) ** exponent
    return (
        f"{text} pulls {ratio:.3g} times less on the largest singular value than on the smallest "
        f"kept; it {kept}."
    )


def _names_in_order(networks: Sequence[Candidate]) -> str:
    ordered = sorted(networks, key=lambda c: c.held_out_error)
    return ", then ".join(f"{html.escape(c.name)} ({c.held_out_error:.4g})" for c in ordered)


def _against(ours: float, theirs: float) -> str:
    change = ours / theirs - 1
    if abs(change) < 0.005:
        return "level with the network"
    return f"the network's error is {abs(change):.1%} {'smaller' if change < 0 else 'larger'}"


def _sentence_case(name: str) -> str:
    return name[:1].upper() + name[1:]


def methods(regularization: str) -> str:
    """The part of the page that holds for every run: how the network, its penalty and the numbers
    are defined.
    """
    network = (
        "<p>A deep linear network writes the matrix as a product W = W<sub>N</sub>⋯W<sub>1</sub> "
        "of N factors and "
        "trains the factors on the observed entries. The product is an ordinary matrix; what depth "
        "changes is "
        "<i>which</i> of the many matrices that fit the observed entries the training finds.</p>"
    )
    if regularization == "explicit":
        depth = (
            "<p>Weight decay of strength λ on the factors is, for the product, the penalty (λN/2) "
            "Σ σ<sup>2/N</sup> on "
            "its singular values σ. It pulls each singular value down by λσ<sup>2/N−1</sup>. At "
            "depth 2 that is the "
            "nuclear norm: the same amount λ off every singular value, the large ones included, so "
            "the matrix is "
            "shrunk as a whole. Larger depth leaves the large singular values nearly alone and "
            "removes the small ones; "
            "at infinite depth the pull is λ/σ. So deeper networks give fewer singular values, "
            "less distorted.</p>"
        )
    else:
        depth = (
            "<p>Nothing is penalized: the training starts from a small matrix and stops when the "
            "held-out error does "
            "not improve. Along the way a singular value grows at the rate σ<sup>2−2/N</sup> times "
            "the force of the "
            "data on it: the deeper the network, the more the large values outrun the small ones, "
            "and the lower is "
            "the rank at which the training stops.</p>"
        )
    terms = (
        "<ul><li><b>Held-out error</b>: root mean squared error on observed entries that were "
        "hidden from training; of a table the typical error of a cell in standard deviations of "
        "its column, in which units do not matter and a column that nothing predicts decides "
        "nothing (of categories the share of wrong cells, relative to guessing by frequency). "
        "The same entries for every depth and baseline; they choose the strength, when to stop "
        "training, and the best depth.</li>"
        "<li><b>R²</b> of a column: 1 − mean squared error / mean squared distance from the "
        "column's mean. 0 is what the mean does, below 0 is worse.</li>"
        "<li><b>RMSE of all missing</b>: where the truth is known, the error over every entry that "
        "was missing. It "
        "chooses nothing.</li>"
        "<li><b>Train RMSE</b>: error on the observed entries, which the output keeps as they are "
        "in any case.</li>"
        "<li><b>Singular values</b>: of the learned matrix, after the columns were centred and "
        "brought to one scale.</li>"
        "<li><b>Effective rank</b>: exp of the entropy of the singular values divided by their "
        "sum; r equal singular "
        "values give r.</li></ul>"
    )
    return network + depth + terms
