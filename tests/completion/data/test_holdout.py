"""What is held out: entries, most of some rows, runs of rows."""

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.completion.data.holdout import (
    held_out_blocks,
    held_out_mask,
    held_out_rows,
    likeness,
    typical_gap,
)
from deeplinear.errors import InputError


def entries(m=60, n=12, missing=0.3, seed=0):
    observed = np.random.default_rng(seed).random((m, n)) >= missing
    return *np.nonzero(observed), observed


def masked(mask, rows, cols, shape):
    out = np.zeros(shape, bool)
    out[rows[mask], cols[mask]] = True
    return out


def test_most_of_some_rows_is_hidden():
    rows, cols, observed = entries()
    mask = held_out_rows(rows, 0.2, np.random.RandomState(0))
    assert mask.sum() == round(0.2 * len(rows))
    hidden = masked(mask, rows, cols, observed.shape).sum(axis=1) / observed.sum(axis=1)
    touched = np.sort(hidden[hidden > 0])
    assert len(touched) <= 0.3 * len(observed)
    assert (touched[1:] > 0.6).all()  # all but the last, where the number was reached
    assert touched.max() <= 0.8


def test_runs_of_rows_are_hidden_as_long_as_those_that_are_missing():
    rng = np.random.default_rng(0)
    observed = np.ones((400, 6), bool)
    for _ in range(20):
        start, column = rng.integers(380), rng.integers(6)
        observed[start : start + 15, column] = False
    rows, cols = np.nonzero(observed)
    mask = held_out_blocks(rows, cols, observed.shape, 0.1, np.random.RandomState(0))
    assert mask.sum() == round(0.1 * len(rows))
    hidden = masked(mask, rows, cols, observed.shape)
    assert 10 < typical_gap(~hidden) < 40
    assert (hidden.sum(axis=0) <= 0.5 * observed.sum(axis=0)).all()


@pytest.mark.parametrize(
    ("lengths", "expected"), [((), 2), ((1, 1, 1), 2), ((5, 5, 1, 1), 5), ((90,), 10)]
)
def test_the_typical_gap_is_that_of_the_typical_missing_cell(lengths, expected):
    observed = np.ones((100, 5), bool)
    for column, length in enumerate(lengths):
        observed[3 : 3 + length, column] = False
    assert typical_gap(observed) == expected


@pytest.mark.parametrize("m", [1, 2, 3])
def test_something_is_held_out_and_something_left_of_tiny_tables(m):
    rows, cols, observed = entries(m, 2, missing=0.0)
    for mask in (
        held_out_mask(len(rows), 0.1, np.random.RandomState(0)),
        held_out_rows(rows, 0.1, np.random.RandomState(0)),
        held_out_blocks(rows, cols, observed.shape, 0.1, np.random.RandomState(0)),
    ):
        assert 0 < mask.sum() < len(rows)


def test_it_is_seen_what_missing_cells_are_like():
    rng = np.random.default_rng(0)
    apart = rng.random((300, 10)) > 0.3
    rows, blocks = np.ones((300, 10), bool), np.ones((300, 10), bool)
    rows[rng.permutation(300)[:60], :8] = False
    for start in range(0, 280, 40):
        blocks[start : start + 20, rng.integers(10)] = False
    for in_order in (False, True):
        assert likeness(apart, in_order=in_order) == "entries"
        assert likeness(rows, in_order=in_order) == "rows"
        assert likeness(blocks, in_order=in_order) == ("blocks" if in_order else "entries")
    assert likeness(np.ones((3, 3), bool), in_order=True) == "entries"
    assert likeness(np.zeros((3, 3), bool), in_order=True) == "entries"


@pytest.mark.parametrize("holdout", ["entries", "rows", "blocks"])
def test_the_imputer_holds_out_what_it_is_told(holdout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 10)) + 0.1 * rng.normal(size=(200, 10))
    X[rng.random(X.shape) < 0.1] = np.nan
    model = dl.DeepLinearImputer(holdout=holdout, random_state=0).fit(X)
    hidden = model.validation_mask_
    assert hidden.sum() == round(0.1 * np.isfinite(X).sum())
    assert (hidden.sum(axis=1).max() >= 7) == (holdout == "rows")
    assert (hidden[1:] & hidden[:-1]).sum() > 0.4 * hidden.sum() or holdout != "blocks"


def test_labels_of_a_cell_are_hidden_together():
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=200).astype(float)
    X = np.column_stack([rng.normal(size=(200, 3)) + label[:, None], label])
    model = dl.DeepLinearImputer(categorical=[3], holdout="rows", random_state=0).fit(X)
    assert model.column_scores_[3].count == model.validation_mask_[:, 3].sum() > 0


def test_intervals_hold_for_rows_with_few_entries():
    """Calibrated on cells of rows that have the rest they are too narrow there."""
    rng = np.random.default_rng(1)
    whole = rng.normal(size=(600, 4)) @ rng.normal(size=(4, 20)) + 0.3 * rng.normal(size=(600, 20))
    hole = np.zeros(whole.shape, bool)
    for row in rng.permutation(600)[:120]:
        hole[row, rng.permutation(20)[:16]] = True
    X = np.where(hole, np.nan, whole)
    inside = []
    for holdout in ("entries", "rows"):
        low, high = dl.DeepLinearImputer(holdout=holdout, random_state=0).fit(X).interval(X)
        inside.append(np.mean(((low <= whole) & (whole <= high))[hole]))
    assert abs(inside[1] - 0.9) < 0.04
    assert inside[0] < inside[1]


def test_other_structures_are_refused():
    with pytest.raises(InputError, match="holdout"):
        dl.DeepLinearImputer(holdout="columns").fit(np.eye(4))


def test_blocks_of_unsigned_codes_are_those_of_signed_ones():
    rng = np.random.default_rng(0)
    observed = rng.random((60, 5)) < 0.8
    observed[10:30, 2] = False
    rows, cols = np.nonzero(observed)
    masks = [
        held_out_blocks(
            rows.astype(dtype), cols.astype(dtype), (60, 5), 0.3, np.random.RandomState(1)
        )
        for dtype in (np.int64, np.uint32)
    ]
    np.testing.assert_array_equal(*masks)


def test_what_is_missing_decides_what_is_held_out():
    """Blocks are held out where long gaps are missing and rows are in order, rows where most of
    some is missing, and entries otherwise.
    """
    rng = np.random.default_rng(0)
    t = np.linspace(0, 20, 300)[:, None]
    whole = np.sin(t + np.arange(8)) + 0.05 * rng.normal(size=(300, 8))
    gaps, bare = whole.copy(), whole.copy()
    for j in range(8):
        gaps[40 * (j % 5) + 20 : 40 * (j % 5) + 55, j] = np.nan
    for row in rng.permutation(300)[:60]:
        bare[row, rng.permutation(8)[:7]] = np.nan
    few = np.where(rng.random(whole.shape) < 0.1, np.nan, whole)
    cases = (
        (gaps, True, "blocks"),
        (gaps, None, "entries"),
        (bare, None, "rows"),
        (few, True, "entries"),
    )
    for X, order, structure in cases:
        masks = [
            dl.DeepLinearImputer(depth=2, row_order=order, holdout=holdout, random_state=0)
            .fit(X)
            .validation_mask_
            for holdout in ("auto", structure)
        ]
        np.testing.assert_array_equal(*masks)
