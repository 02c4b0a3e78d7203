"""How many processors this process may use."""


def processor_count() -> int:
    """The number of processors that this process may use: affinity and container limits count.

    >>> from deeplinear.processors import processor_count
    >>> processor_count() >= 1
    True
    """
    import joblib

    return joblib.cpu_count()
