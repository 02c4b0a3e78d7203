"""Riemannian volumes of balls inside a solution set, by integrals along random chords.

√det g^N diverges like σ_k^{−(1−1/N)} where W loses rank, so that the mean of plain samples has no
variance for N ≥ 2.

NumPy on the host: a result is a few numbers, and the samples are many small matrices.
"""

from .ball import BallVolume, Trace, ball_volume

__all__ = ["BallVolume", "Trace", "ball_volume"]
