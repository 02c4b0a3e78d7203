"""The learning coefficient of a deep linear network: how fast the volume of low loss shrinks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from ..checks import check_integer, check_tolerance, check_widths
from ..errors import InputError
from ..labelled import Numbers
from ..reals import as_floats
from ..transforms import needs_values


class _LearningCoefficient(NamedTuple):
    value: float
    multiplicity: int


class LearningCoefficient(Numbers, _LearningCoefficient):
    """What `learning_coefficient` returns: ``value`` λ and ``multiplicity`` m ≥ 1."""


def learning_coefficient(widths: Sequence[int], rank: int) -> LearningCoefficient:
    """The learning coefficient λ (real log canonical threshold) and its multiplicity m, at a true
    matrix of rank r, of the network W_N ⋯ W_1 of ``widths`` (d_0, …, d_N):

        vol{(W_1, …, W_N): ‖W_N ⋯ W_1 − W*‖² < ε} ~ C ε^λ (log 1/ε)^{m−1}    as ε → 0,

    near the set of solutions, for a prior that is smooth and positive there. A regular model of D
    parameters has λ = D/2; the smaller λ is, the flatter, in volume, are the solutions.

    With the excess widths M_s = d_s − r, a set of ℓ + 1 smallest ones with Σ M ≥ ℓ M_s in it and
    Σ M < ℓ M_s outside, and a = Σ M − (⌈Σ M/ℓ⌉ − 1) ℓ,

        λ = ½ r (d_0 + d_N − r) + ½ Σ_{i<j} M_i M_j − (ℓ − 1)/(4ℓ) (Σ M)² + a(ℓ − a)/(4ℓ),
        m = a(ℓ − a) + 1.

    **Arguments**: at least two widths, d_0 of the input first; 0 ≤ ``rank`` ≤ the smallest width.
    **Raises** `InputError`. **Source**: Aoyagi, *Consideration on the learning efficiency of
    multiple-layered neural networks with linear units* (Neural Networks 172, 2024); Aoyagi,
    Watanabe 2005 for N = 2; Lehalleur, Rimányi (2411.19920) for the geometry.

    >>> import deeplinear as dl
    >>> dl.learning_coefficient((5, 5, 5), rank=1)
    LearningCoefficient(value 10.5, multiplicity 1)
    >>> [dl.learning_coefficient((5, 5, 5, 5), rank=r).value for r in (0, 1, 5)]
    [8.5, 10.0, 12.5]
    """
    d = check_widths(widths)
    r = check_integer(rank, "rank", least=0)
    if r > min(d):
        raise InputError(f"rank must be at most the smallest width, {min(d)}, got {rank}.")
    M = np.sort(np.subtract(d, r))
    # The smallest widths bind; one more belongs to them as long as it is below their mean over ℓ.
    size = 2
    while size < M.size and M[:size].sum() >= (size - 1) * M[size]:
        size += 1
    M, pieces = M[:size], size - 1
    total = int(M.sum())
    a = total - (-(-total // pieces) - 1) * pieces
    pairs = (total**2 - int((M**2).sum())) // 2
    regular = r * (d[0] + d[-1] - r)
    # 4ℓλ, in whole numbers
    numerator = 2 * pieces * (regular + pairs) - (pieces - 1) * total**2 + a * (pieces - a)
    return LearningCoefficient(numerator / (4 * pieces), a * (pieces - a) + 1)


class _Staircase(NamedTuple):
    rank: Int[np.ndarray, "*b t"]
    coefficient: Float[np.ndarray, "*b t"]
    multiplicity: Int[np.ndarray, "*b t"]


class Staircase(Numbers, _Staircase):
    """What `learning_staircase` returns: along a run, one value for each time (other axes first).

    ``rank``: the rank reached; ``coefficient``: λ at a true matrix of that rank, and
    ``multiplicity`` its m.
    """

    _axis = "step"


@needs_values
def learning_staircase(
    singular_values: ArrayLike, widths: Sequence[int], *, rtol: float = 1e-2
) -> Staircase:
    """The learning coefficient along a run that learns one singular value after the other.

    Such a run rests near the best matrices of rank 0, 1, 2, … in turn. Where W rests at rank r, the
    networks that compute nearly the same as it have the volume of `learning_coefficient` (widths,
    r). With every entry observed λ rises as the loss falls: what is learned first is simple.
    Singular value k counts as reached where

        σ_k(t) ≥ ½ σ_k(t_end)   and   σ_k(t_end) > rtol · σ_1(t_end),

    and the rank reached is the number of those.

    **Arguments**: ``singular_values``: (…, times, k), descending along the last axis, as
    ``FlowResult.singular_values`` has them. ``widths``: (d_0, …, d_N) of the network.

    **Raises** `InputError`, also where fewer widths than singular values say otherwise.

    **Source**: Aoyagi 2024 for λ; Chen et al. 2023 (2310.06301) for the two opposing staircases.

    >>> import deeplinear as dl
    >>> path = [[0.01, 0.001], [0.99, 0.01], [1.0, 0.5]]  # three times
    >>> dl.asymptotics.learning_staircase(path, (2, 2, 2)).coefficient.tolist()
    [1.5, 2.0, 2.0]
    """
    d = check_widths(widths)
    rtol = check_tolerance(rtol, float, "rtol")
    s = as_floats(singular_values, "singular_values")
    if s.ndim < 2 or 0 in s.shape or not (np.isfinite(s) & (s >= 0)).all():
        raise InputError(
            "singular_values must be finite numbers ≥ 0 of shape (…, times, k), got shape "
            f"{s.shape}."
        )
    if s.shape[-1] > min(d[0], d[-1]):
        raise InputError(
            f"singular_values must be at most {min(d[0], d[-1])} for widths {d}, got {s.shape[-1]}."
        )
    end = s[..., -1:, :]
    rank = np.sum((s >= end / 2) & (end > rtol * end[..., :1]), -1)
    if rank.max() > min(d):
        raise InputError(
            f"widths must hold the rank reached, {rank.max()}, got a smallest one of {min(d)}."
        )
    steps = [learning_coefficient(d, r) for r in range(int(rank.max()) + 1)]
    values, multiplicities = (np.array(column)[rank] for column in zip(*steps, strict=True))
    return Staircase(rank, values, multiplicities)
