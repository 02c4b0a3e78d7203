"""How a computation ended: one vocabulary for flows, diffusions, ensembles, geodesics, rates,
volumes and fits.

Needs neither JAX nor NumPy. Inside compiled code a status is an int32 array of codes.
"""

import enum
import re
from collections import Counter
from typing import TYPE_CHECKING, SupportsInt, overload

if TYPE_CHECKING:
    import numpy as np
    from jax import Array


class _Sentences(enum.EnumMeta):
    """``Status[code]`` is a sentence, ``Status["name"]`` the member, as for every enum."""

    @overload  # type: ignore[override]
    def __getitem__(cls, key: str) -> "Status": ...
    @overload
    def __getitem__(cls, key: SupportsInt) -> str: ...
    def __getitem__(cls, key: str | SupportsInt) -> "Status | str":
        if isinstance(key, str):
            return super().__getitem__(key)
        shape = getattr(key, "shape", ())
        if shape:
            raise TypeError(
                f"Status[…] takes one code, got codes of shape {shape}: index the array first."
            )
        return cls(int(key)).sentence


class Status(enum.IntEnum, metaclass=_Sentences):
    """How a computation ended; ``Status[result.status]`` is the sentence.

    Codes and arrays of codes compare with the members: ``result.status == Status.reached_t1``. The
    codes are sorted: 0 is still running, up to `stopped_early` it ended as asked.

    >>> import deeplinear as dl
    >>> dl.Status[2], dl.Status.reached_t1.sentence == dl.Status[2]
    ('The last of the times asked for was reached.', True)
    >>> dl.Status.succeeded(np.array([dl.Status.limit, dl.Status.crossed])).tolist()
    [True, False]
    """

    sentence: str

    def __new__(cls, code: int, sentence: str = "") -> "Status":
        self = int.__new__(cls, code)
        self._value_ = code
        self.sentence = sentence
        return self

    running = 0, "It has not ended."

    # As asked.
    converged = 1, "The result is as accurate as it says, or as was asked for."
    reached_t1 = 2, "The last of the times asked for was reached."
    limit = 3, "The limit t → ∞ was reached, to the accuracy asked for."
    energy = 4, "The energy fell to stop_energy."
    gradient = 5, "The gradient fell to stop_gradient."
    stopped_early = 6, "The held-out error rose: this is the best iterate before it did."

    # Before its end.
    callback = 7, "A callback ended it."
    max_steps = (
        8,
        "The largest number of steps was reached first (max_steps; of a fit max_iter): raise it, "
        "loosen the tolerance, or take another solver.",
    )
    chart = 9, "The dense chart was left."  # internal: `gradient_flow` goes on in the SVD chart

    # Not as asked.
    failed = (
        10,
        "The solver failed (values that are not finite, balance lost, or vanishing steps): this is "
        "its last good point. A smaller dt, or another solver, may help.",
    )
    not_finite = 11, "The start, or the energy on the way, was not finite."
    step_too_small = (
        12,
        "The steps became too small to change the time: E or its gradient jumps, or is no number.",
    )
    diverged = (
        13,
        "The objective rose by more than rounding, of descent without bound: take smaller steps.",
    )
    crossed = (
        14,
        "det W changed its sign, which the exact motion cannot do: a singular value fell below "
        "what the steps or the arithmetic resolve. Take a smaller dt, or a higher accuracy.",
    )
    critical = 15, "The start is a critical point, which the flow never leaves."
    not_converged = (
        16,
        "The iteration did not converge: this is its best attempt. Loosen the tolerance (for a "
        "rate, or raise dense_limit).",
    )

    # Flows.
    at_rest = (
        27,
        "It came to rest before the stop asked for, which lies below the limit, or below what the "
        "arithmetic or the tolerance resolve: ask for a larger one.",
    )

    # Fits of a law.
    misfit = (
        28,
        "The law does not follow the data to 2 per cent of their fall: give another part of them.",
    )

    # Geodesics.
    left_full_rank = (
        17,
        "The geodesic left the matrices of full rank, or max_steps was reached: this is as far as "
        "it was followed.",
    )
    not_shortest = 18, "A geodesic was found, but another path between the points is shorter."

    between_bounds = (
        34,
        "Where the geodesic ceases to be a shortest path is known between two times only "
        "(shortest_to, shorter_from).",
    )

    # Rates.
    singular_kernel = (
        19,
        "The tangent kernel is singular to rounding: some residual modes stay, and the rate is "
        "that of the slowest one that does not.",
    )
    indefinite = (
        20,
        "The Hessian of the energy has a negative direction: W is no minimizer, and the rate is "
        "one of growth.",
    )
    no_tail = (
        21,
        "log E has no part with a constant slope: go further, save more times, or subtract the "
        "limit of E.",
    )

    # Volumes of balls.
    unresolved = (
        22,
        "An integral along a chord was not resolved to 1e−3: take a smaller radius.",
    )
    few_samples = (
        23,
        "Too few chords to judge their tail, and so the standard error: take at least 400 samples.",
    )
    no_mean = (
        24,
        "The chord integrals have the tail of a mean that does not exist (see tail): the volume "
        "may diverge.",
    )
    heavy_tail = (
        25,
        "The chord integrals have a heavy tail (see tail), so that the standard error is too "
        "small: rank is lost by more than one inside the ball, or by one in a rectangular matrix; "
        "take a smaller radius.",
    )
    large_error = (
        26,
        "The standard error is too large for its own estimate: take more samples.",
    )

    # Chains of samples.
    not_mixed = (
        31,
        "The chains do not agree with each other and with their own halves (see r_hat), or are "
        "worth too few independent draws (see effective_samples): take more samples, a longer "
        "warm-up, or a law that has a finite total.",
    )

    # Descent.
    cycling = (
        32,
        "It goes round in a cycle (see period): the step is too large for it to come to rest.",
    )
    steps = (
        33,
        "All the steps asked for were taken, and it has neither converged nor begun to cycle: go "
        "on from the result.",
    )

    # Ensembles.
    unbounded = (
        29,
        "W or the time left the range of floating-point numbers: the energy has no minimizer on "
        "this way, or one at infinity.",
    )
    undetermined = (
        30,
        "The limit still depends on the tolerance of the steps, at the finest that the arithmetic "
        "allows: saddles on the way amplify rounding errors, or are not told from it (see error).",
    )

    def __str__(self) -> str:
        return self.sentence

    @overload
    @staticmethod
    def succeeded(status: int) -> bool: ...

    @overload
    @staticmethod
    def succeeded(status: "np.ndarray") -> "np.ndarray": ...

    @overload
    @staticmethod
    def succeeded(status: "Array") -> "Array": ...

    @staticmethod
    def succeeded(status: "int | np.ndarray | Array") -> "bool | np.ndarray | Array":
        """Whether it ended as asked; elementwise for arrays of codes (NumPy or JAX)."""
        return (status > Status.running) & (status < Status.callback)


def headline(status: SupportsInt) -> str:
    """The sentence of a status as far as its first clause, without the remedy: for titles.

    >>> headline(Status.max_steps)
    'The largest number of steps was reached first.'
    """
    sentence = Status(int(status)).sentence
    return re.split(r"[:(]|, (?:and|so|or|which) |\. ", sentence)[0].strip(" .") + "."


def counts(status: "np.ndarray") -> dict[str, int]:
    """How many runs ended for which reason, by the names of `Status`.

    >>> import numpy as np
    >>> counts(np.array([1, 8, 1]))
    {'converged': 2, 'max_steps': 1}
    """
    found = Counter(int(code) for code in status.ravel())
    return {Status(code).name: number for code, number in sorted(found.items())}


def counted(status: "np.ndarray") -> str:
    """`counts` as text.

    >>> import numpy as np
    >>> counted(np.array([1, 8, 1]))
    'converged: 2, max_steps: 1'
    """
    return ", ".join(f"{name}: {number:,}" for name, number in counts(status).items())


#: `Status`, under the name that ensembles used first.
Ending = Status

#: `Status`, under the name that diffusions used first.
DiffusionStatus = Status
