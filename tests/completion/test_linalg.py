"""The thin singular value decomposition of a product."""

import numpy as np

from deeplinear.completion.linalg import thin_svd


def test_of_factors_with_dependent_columns(rng):
    P, Q = rng.normal(size=(14, 4)), rng.normal(size=(9, 4))
    Q[:, 3] = Q[:, 0]
    P[:, 3] = P[:, 0]
    U, s, Vt = thin_svd(P, Q)
    assert len(s) == 3
    np.testing.assert_allclose((U * s) @ Vt, P @ Q.T, atol=1e-12)
    np.testing.assert_allclose(U.T @ U, np.eye(3), atol=1e-12)
