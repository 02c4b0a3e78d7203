"""Features of any frame as numbers: standardized, missing, labels, lists of labels."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from deeplinear.completion.data.side_features import Encoder, keyed
from deeplinear.errors import InputError

FRAME = pd.DataFrame(
    {
        "user": ["a", "b", "c", "d"],
        "age": [20.0, np.nan, 40.0, 60.0],
        "job": ["x", "y", "x", None],
        "likes": ["Action|Comedy", "Comedy", None, "Action"],
        "name": ["p", "q", "r", "s"],
    }
)


def encoded(given, key="user"):
    ids, table = keyed(given, key, "row_features")
    encoder = Encoder.of(table, "row_features")
    return ids, encoder, encoder.encode(table, "row_features").toarray()


class TestEncoder:
    @pytest.mark.parametrize("given", [FRAME, pl.from_pandas(FRAME), FRAME.set_index("user")])
    def test_numbers_labels_and_lists(self, given):
        with pytest.warns(UserWarning, match=r"1 column\(s\) tell nothing .* 'name'"):
            ids, _, X = encoded(given)
        assert ids.tolist() == ["a", "b", "c", "d"]
        age = (np.array([20, 40, 60]) - 40) / np.std([20, 40, 60])
        np.testing.assert_allclose(X[:, 0], [age[0], 0, age[1], age[2]])
        np.testing.assert_array_equal(X[:, 1], [0, 1, 0, 0])  # more than a few are missing
        np.testing.assert_array_equal(X[:, 2], [1, 0, 1, 0])  # x; y never comes again
        np.testing.assert_array_equal(X[:, 3:], [[1, 1], [0, 1], [0, 0], [1, 0]])

    def test_later_ids_are_encoded_alike_and_unknown_labels_count_as_missing(self):
        _, encoder, _ = encoded(FRAME.drop(columns="name"))
        later = pd.DataFrame({"likes": ["Comedy|Drama"], "job": ["z"], "age": [40.0]})
        np.testing.assert_allclose(encoder.encode(later, "f").toarray()[0], [0, 0, 0, 0, 1])
        again = Encoder.from_bytes(encoder.to_bytes(), "encoder")
        assert again == encoder
        with pytest.raises(InputError, match="must have one column 'job', as in the fit, got 0"):
            encoder.encode(later.drop(columns="job"), "f")

    def test_sparse_matrices_are_taken_as_they_are(self):
        X = csr_matrix([[0.0, 2.0], [3.0, 0.0]])
        ids, encoder, found = encoded(X)
        assert ids.tolist() == [0, 1]
        np.testing.assert_array_equal(found, X.toarray())
        assert Encoder.from_bytes(encoder.to_bytes(), "encoder") == encoder

    def test_what_cannot_be_meant_is_refused(self):
        with pytest.raises(InputError, match="no column that tells the lines apart"):
            encoded(np.ones((3, 1)))
        with pytest.raises(InputError, match="must name every id once"):
            encoded((["a", "a"], np.eye(2)))
        with pytest.raises(InputError, match="must be a frame, a matrix"):
            encoded(np.arange(3))
        with pytest.raises(InputError, match="must have an id for each line, got 2 for 3"):
            encoded((["a", "b"], np.eye(3)))
        with pytest.raises(InputError, match="must have an id for each line, got 2 for 3"):
            encoded((["a", "b"], csr_matrix(np.eye(3))))
        for damaged in (b'{"width": 2}', b'{"width": 1, "codes": [["a"]]}', b"[]"):
            with pytest.raises(InputError, match="holds no features"):
                Encoder.from_bytes(damaged, "encoder")


def test_a_sparse_matrix_whose_indices_lead_outside():
    """SciPy would follow them."""
    X = csr_matrix(np.eye(3))
    X.indices[1] = 10**6
    with pytest.raises(InputError, match="row_features is not a valid sparse matrix"):
        keyed(X, "id", "row_features")
