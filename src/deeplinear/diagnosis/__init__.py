"""Whether this installation works: versions, machine, folders, and the mathematics."""

from . import folders, installation, machine, mathematics
from .finding import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "doctor"]


def doctor() -> Diagnosis:
    """Look at everything that deeplinear needs from its surroundings, and compute a little.

    Four sections: **installation** (versions against the ranges that the packages declare, extras),
    **machine** (precision, devices, threads, memory; limits of containers count), **folders**
    (caches, temporary and current folder: where, how large, writable, how much room) and
    **mathematics** (kernel, operator, a flow and two small fits against closed forms and oracles).

    **Returns** a `Diagnosis`, true where nothing failed; ``print`` shows a line for each finding.
    Nothing is raised and nothing kept: what goes wrong is a finding that says what to do. It sets
    no JAX flag; in 32 bits the mathematics is judged by what 32 bits can do. About ten seconds.

    >>> import deeplinear as dl
    >>> found = dl.doctor()  # doctest: +SKIP
    >>> bool(found), found["kernel"].passed  # doctest: +SKIP
    (True, True)
    """
    sections = (installation, machine, folders, mathematics)
    return Diagnosis(tuple(found for section in sections for found in section.findings()))
