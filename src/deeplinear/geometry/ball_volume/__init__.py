"""Riemannian volumes of balls inside a solution set, by random chords or points of a null block.

√det g^N diverges like σ_k^{−(1−1/N)} where W loses rank, so that the mean of plain samples has no
variance for N ≥ 2. Integrals along chords resolve a loss by one, the root of the null block (flat
coordinates for what vanishes together) a loss by more.

NumPy on the host: a result is a few numbers, and the samples are many small matrices.
"""

from .ball import BallVolume, Trace, ball_volume

__all__ = ["BallVolume", "Trace", "ball_volume"]
