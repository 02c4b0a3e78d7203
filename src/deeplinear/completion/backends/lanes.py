"""How many numbers the compiled loops take at a time."""

# The width of the sides is a multiple of this many numbers: compiled inner loops have no remainder.
LANES = 8
# Entries whose residuals compiled loops take together: four dot products end in one vector.
FOUR = 4


def filled(columns: int) -> int:
    """``columns``, and as many more as fill the last vector."""
    return -(-columns // LANES) * LANES
