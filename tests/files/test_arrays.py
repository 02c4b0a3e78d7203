"""NumPy files. What is observed stays as it is, the same kind comes back."""

import numpy as np
import pytest
from table_files import write_back

from deeplinear.errors import InputError
from deeplinear.files import read_table


@pytest.fixture
def rng():
    return np.random.default_rng(7)


class TestArrays:
    @pytest.mark.parametrize("dtype", ["f4", "f8", ">f8"])
    def test_npy_keeps_type_and_bits(self, tmp_path, rng, dtype):
        array = rng.normal(size=(6, 5)).astype(dtype)
        array[rng.random(array.shape) < 0.4] = np.nan
        np.save(tmp_path / "a.npy", array)
        completed = np.load(write_back(read_table(tmp_path / "a.npy"), tmp_path / "b.npy"))
        np.testing.assert_array_equal(completed, np.where(np.isnan(array), 0.25, array))
        assert completed.dtype == array.dtype

    def test_npz_keeps_the_other_arrays(self, tmp_path):
        np.savez(tmp_path / "a.npz", X=[[1, np.nan], [3, 4]], names=np.array(["p", "q"]))
        with np.load(write_back(read_table(tmp_path / "a.npz"), tmp_path / "b.npz")) as archive:
            np.testing.assert_array_equal(archive["X"], [[1, 0.25], [3, 4]])
            assert list(archive["names"]) == ["p", "q"]

    def test_integers_with_a_mask_become_floats(self, tmp_path):
        np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
        np.save(tmp_path / "mask.npy", [[True, False, False], [False, False, True]])
        table = read_table(tmp_path / "a.npy", mask=tmp_path / "mask.npy")
        np.testing.assert_array_equal(
            np.load(write_back(table, tmp_path / "b.npy")), [[0.25, 1, 2], [3, 4, 0.25]]
        )

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((0, 3)), "is empty"),
            (np.ones(3), "1-d array"),
            (np.ones((2, 2), complex), "complex128"),
            (np.array([["a", "b"]]), "convert them to real numbers"),
            (
                np.array([[1, np.nan], [np.inf, np.inf]]),
                "2 infinite entries, the first at row 2, column 1",
            ),
        ],
    )
    def test_bad_arrays(self, tmp_path, array, message):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / "a.npy")

    def test_several_matrices_in_an_archive(self, tmp_path):
        np.savez(tmp_path / "a.npz", X=np.eye(2), Y=np.eye(3))
        with pytest.raises(InputError, match=r"2 two-dimensional arrays \('X', 'Y'\).*--variable"):
            read_table(tmp_path / "a.npz")

    def test_one_of_several_matrices(self, tmp_path):
        matrix = np.array([[1, np.nan], [3, 4]], "f4")
        np.savez(tmp_path / "a.npz", X=np.eye(2), Y=matrix, names=np.array(["p", None], object))
        table = read_table(tmp_path / "a.npz", variable="Y")
        out = write_back(table, tmp_path / "b.npz")
        with np.load(out, allow_pickle=True) as archive:
            np.testing.assert_array_equal(archive["Y"], [[1, 0.25], [3, 4]])
            assert archive["Y"].dtype == "f4"
            np.testing.assert_array_equal(archive["X"], np.eye(2))
            assert list(archive["names"]) == ["p", None]  # copied, never unpickled
        with pytest.raises(InputError, match=r"--variable: .* called 'Z'; it has 'X', 'Y'"):
            read_table(tmp_path / "a.npz", variable="Z")

    def test_two_arrays_in_one_file_are_not_one(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([[1, np.nan]]))
        (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes() * 2)
        with pytest.raises(InputError, match="goes on behind the array"):
            read_table(tmp_path / "a.npy")

    def test_the_other_kind_of_file(self, tmp_path):
        np.savez(tmp_path / "a.npz", np.array([[1, np.nan]]))
        (tmp_path / "a.npz").rename(tmp_path / "a.npy")
        with pytest.raises(InputError, match=r"holds what \.npz files hold; rename it"):
            read_table(tmp_path / "a.npy")

    def test_completed_values_beyond_the_type_stay_finite(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([[1, np.nan]], "f2"))
        out = write_back(read_table(tmp_path / "a.npy"), tmp_path / "b.npy", 1e9)
        assert np.load(out)[0, 1] == np.finfo("f2").max

    def test_features_of_a_matrix_have_numbers(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([[1, np.nan]]))
        coded = read_table(tmp_path / "a.npy").coded
        assert [(feature.name, feature.kind) for feature in coded.features] == [
            ("1", "number"),
            ("2", "number"),
        ]
