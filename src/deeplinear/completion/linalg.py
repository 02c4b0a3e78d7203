"""Small dense linear algebra on thin factors."""

import numpy as np

from .penalty import Array


def thin_svd(P: Array, Q: Array) -> tuple[Array, Array, Array]:
    """The thin SVD (U, s, Vt) of P Qᵀ: by two QR factorizations and an r×r SVD where r is small."""
    if P.shape[1] >= min(len(P), len(Q)):
        U, s, Vt = np.linalg.svd(P @ Q.T, full_matrices=False)
        keep = s > np.finfo(float).eps * s.max(initial=0.0)
        return U[:, keep], s[keep], Vt[keep]
    left, R = np.linalg.qr(P)
    right, S = np.linalg.qr(Q)
    U, s, Vt = np.linalg.svd(R @ S.T, full_matrices=False)
    keep = s > np.finfo(float).eps * s.max(initial=0.0)
    return left @ U[:, keep], s[keep], Vt[keep] @ right.T


def effective_rank(s: Array) -> float:
    """exp(entropy of σ/Σσ) (Roy and Vetterli 2007); 0 for W = 0."""
    share = s[s > 0] / max(float(s.sum()), 1e-300)
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0
