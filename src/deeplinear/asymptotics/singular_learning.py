"""The learning coefficient of a deep linear network: how fast the volume of low loss shrinks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..checks import check_integer, check_widths
from ..errors import InputError


class LearningCoefficient(NamedTuple):
    """``value``: λ. ``multiplicity``: m ≥ 1."""

    value: float
    multiplicity: int


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
    LearningCoefficient(value=10.5, multiplicity=1)
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
