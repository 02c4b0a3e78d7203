"""Files in and out: observed entries keep their bytes, the same kind comes back, and bad files are
refused.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplinear.atomic import write_atomically
from deeplinear.errors import InputError
from deeplinear.files import check_output, read_table
from deeplinear.files.table import Table


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_back(table: Table, path: Path, value: float = 0.25) -> Path:
    """The table completed with one value, written as ``path``."""
    filled = np.full(table.values.shape, value)
    if (
        filled.shape[1] == 3 * table.mask_shape[1]
    ):  # a colour image: brightness alone, the other two channels are 0
        filled = np.hstack(
            [
                np.sqrt(3) * filled[:, : table.mask_shape[1]],
                np.zeros((len(filled), 2 * table.mask_shape[1])),
            ]
        )
    write_atomically(path, table.encode(filled, path.suffix))
    return path


# file before, file after every gap was filled with 0.25, and the values read
TEXT = {
    "labels, quotes, blanks, CRLF, byte-order mark": (
        '\ufeff"na ""me",x,"y,z"\r\n"Bob, Jr", 1.50 ,NA\r\nÈve,,2e3\r\n',
        '\ufeff"na ""me",x,"y,z"\r\n"Bob, Jr", 1.50 ,0.25\r\nÈve,0.25,2e3\r\n',
        [[1.5, np.nan], [np.nan, 2000]],
    ),
    "no header, no labels, no final line end": (
        "1,2,\n3,?,4",
        "1,2,0.25\n3,0.25,4",
        [[1, 2, np.nan], [3, np.nan, 4]],
    ),
    "exported index under an empty corner": (
        ",a,b\n0,1,null\n1,NaN,4\n",
        ",a,b\n0,1,0.25\n1,0.25,4\n",
        None,
    ),
    "semicolons and blank lines": (
        "a;b\n\n1;\n;4\n\n",
        "a;b\n\n1;0.25\n0.25;4\n\n",
        [[1, np.nan], [np.nan, 4]],
    ),
    "quoted numbers and quoted gaps": (
        'a,b\n"1",""\n.,"-3"\n',
        'a,b\n"1",0.25\n0.25,"-3"\n',
        [[1, np.nan], [np.nan, -3]],
    ),
    "line break in a label": (
        'a\tb\n"x\ny"\t1\nz\tn/a\n',
        'a\tb\n"x\ny"\t1\nz\t0.25\n',
        [[1], [np.nan]],
    ),
    "one column": ("a\n1\n\n3\n", "a\n1\n0.25\n3\n", [[1], [np.nan], [3]]),
}

BAD_TEXT = {
    "empty": ("", "is empty"),
    "header only": ("a,b\n", "no rows of numbers"),
    "ragged": ("a,b\n1,\n3\n", "line 3 .* has 1 cells where line 1 has 2"),
    "text columns": (
        "id,x,city,y,town\nA,1,Oslo,,Rome\nB,,Bern,3,\n",
        "columns 'city', 'town' .*'Oslo' in line 2",
    ),
    "infinite": ("x,y\n1,2\n,-inf\n", "1 infinite entry, the first at line 3, column 'y'"),
    "nothing observed": ("x,y\n,NA\n?,\n", "no observed entry"),
    "nothing missing": ("x,y\n1,2\n3,4\n", "no missing entry"),
    "open quote": ('x,y\n1,"2\n,3\n', "opened in line 2"),
    "binary": (b"x,y\n\0,1\n", "not a plain text table"),
}


class TestText:
    @pytest.mark.parametrize("case", TEXT)
    def test_only_missing_cells_change(self, tmp_path, case):
        before, after, values = TEXT[case]
        suffix = ".tsv" if "\t" in before else ".csv"
        table = read_table(file(tmp_path, f"in{suffix}", before))
        assert write_back(table, tmp_path / f"out{suffix}").read_bytes().decode() == after
        if values is not None:
            np.testing.assert_array_equal(table.values, values)

    def test_latin1_labels_come_back_byte_for_byte(self, tmp_path):
        table = read_table(file(tmp_path, "a.csv", "x,y\nSão,1\nñ,\n".encode("latin-1")))
        assert write_back(table, tmp_path / "b.csv").read_bytes() == "x,y\nSão,1\nñ,0.25\n".encode(
            "latin-1"
        )

    def test_layout_and_markers_can_be_stated(self, tmp_path):
        path = file(tmp_path, "a.csv", "id,2001,2002\n7,1,-999\n8,2,3\n")
        table = read_table(path, missing=frozenset({"-999"}), header=True, labels=True)
        np.testing.assert_array_equal(table.values, [[1, np.nan], [2, 3]])

    @pytest.mark.parametrize("case", BAD_TEXT)
    def test_bad_input_is_named(self, tmp_path, case):
        content, message = BAD_TEXT[case]
        with pytest.raises(InputError, match=message):
            read_table(file(tmp_path, "a.csv", content))


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
        with pytest.raises(InputError, match="2 two-dimensional arrays"):
            read_table(tmp_path / "a.npz")


class TestFrames:
    def test_index_names_and_types_are_kept(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(
            {
                "whole": [1, 2, 3],
                "gaps": pd.array([1, None, 3], dtype="Int64"),
                "single": np.array([np.nan, 2, 3], "f4"),
                "double": [0.1, np.nan, 0.3],
            },
            index=pd.Index(["p", "q", "r"], name="key"),
        )
        frame.to_parquet(tmp_path / "a.parquet")
        completed = pd.read_parquet(
            write_back(read_table(tmp_path / "a.parquet"), tmp_path / "b.parquet")
        )
        expected = frame.astype({"gaps": float}).fillna(0.25)
        pd.testing.assert_frame_equal(completed, expected)

    def test_leading_text_is_labels_and_other_text_is_named(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"name": ["a", "b"], "x": [1.0, np.nan], "y": [2.0, 3.0]})
        frame.to_parquet(tmp_path / "a.parquet")
        completed = pd.read_parquet(
            write_back(read_table(tmp_path / "a.parquet"), tmp_path / "b.parquet")
        )
        pd.testing.assert_frame_equal(completed, frame.fillna({"x": 0.25}))
        frame.assign(city="Oslo").to_parquet(tmp_path / "c.parquet")
        with pytest.raises(InputError, match="not numbers: 'city'"):
            read_table(tmp_path / "c.parquet")

    def test_without_pandas_the_error_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pandas", None)
        with pytest.raises(InputError, match=r"pip install 'deeplinear\[frames\]'"):
            read_table(file(tmp_path, "a.parquet", b"PAR1"))


PIXELS = {
    "L": ((9, 7), "u1"),
    "RGB": ((9, 7, 3), "u1"),
    "I;16": ((9, 7), "u2"),
    "F": ((9, 7), "f4"),
}


class TestImages:
    @pytest.mark.parametrize(
        ("mode", "suffix", "output"),
        [
            ("L", ".png", ".png"),
            ("L", ".tif", ".png"),
            ("RGB", ".png", ".png"),
            ("RGB", ".webp", ".webp"),
            ("RGB", ".tiff", ".tiff"),
            ("I;16", ".png", ".png"),
            ("F", ".tif", ".tif"),
        ],
    )
    def test_masked_pixels_change_and_no_others(self, tmp_path, rng, mode, suffix, output):
        shape, dtype = PIXELS[mode]
        pixels = (rng.random(shape) * (1 if dtype == "f4" else np.iinfo(dtype).max)).astype(dtype)
        Image.fromarray(pixels).save(
            tmp_path / f"in{suffix}", **({"lossless": True} if suffix == ".webp" else {})
        )
        mask = rng.random(shape[:2]) < 0.4
        Image.fromarray(mask).save(tmp_path / "mask.png")
        table = read_table(tmp_path / f"in{suffix}", mask=tmp_path / "mask.png")
        assert table.values.shape == (9, 7 * (shape[2] if len(shape) == 3 else 1))
        with Image.open(write_back(table, tmp_path / f"out{output}", value=1.0)) as image:
            completed = np.array(image)
        assert completed.dtype == pixels.dtype
        np.testing.assert_array_equal(completed[~mask], pixels[~mask])
        assert (completed[mask] == (1 if dtype == "f4" else np.iinfo(dtype).max)).all()

    def test_transparent_pixels_are_missing_and_become_opaque(self, tmp_path, rng):
        pixels = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
        pixels[..., 3] = rng.choice([0, 90, 255], (6, 5))
        Image.fromarray(pixels).save(tmp_path / "a.png")
        with Image.open(write_back(read_table(tmp_path / "a.png"), tmp_path / "b.png")) as image:
            completed = np.array(image)
        hole = pixels[..., 3] == 0
        np.testing.assert_array_equal(completed[~hole], pixels[~hole])
        assert (completed[hole] == [64, 64, 64, 255]).all()

    def test_the_channels_of_a_colour_image_turn_without_changing_distances(self, tmp_path, rng):
        a, b = rng.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
        np.save(tmp_path / "mask.npy", np.eye(6, 5))
        tables = []
        for pixels in (a, b):
            Image.fromarray(pixels).save(tmp_path / "a.png")
            tables.append(read_table(tmp_path / "a.png", mask=tmp_path / "mask.npy"))
        seen = ~np.eye(6, 5, dtype=bool)
        np.testing.assert_allclose(
            tables[0].picture(tables[0].values)[seen], a[seen] / 255, atol=1e-15
        )
        distance = np.nansum((tables[0].values - tables[1].values) ** 2)
        assert distance == pytest.approx(((a[seen] / 255 - b[seen] / 255) ** 2).sum())

    def test_nan_in_a_float_image_is_missing(self, tmp_path):
        Image.fromarray(np.array([[1.5, np.nan], [np.nan, -2]], "f4")).save(tmp_path / "a.tif")
        with Image.open(write_back(read_table(tmp_path / "a.tif"), tmp_path / "b.tif")) as image:
            np.testing.assert_array_equal(
                np.array(image), np.array([[1.5, 0.25], [0.25, -2]], "f4")
            )

    def test_jpeg_is_read_but_not_written(self, tmp_path, rng):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "a.jpg")
        np.save(tmp_path / "mask.npy", np.eye(8))
        table = read_table(tmp_path / "a.jpg", mask=tmp_path / "mask.npy")
        with pytest.raises(InputError, match="lossy compression changes observed pixels"):
            check_output(tmp_path / "b.jpg", table, force=False, argument="--output")

    def test_mask_of_another_shape(self, tmp_path):
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.png")
        np.save(tmp_path / "mask.npy", np.ones((5, 4)))
        with pytest.raises(InputError, match=r"--mask: .* is 5 × 4 where the input is 4 × 5"):
            read_table(tmp_path / "a.png", mask=tmp_path / "mask.npy")

    def test_not_an_image(self, tmp_path):
        with pytest.raises(InputError, match="cannot be read as an image"):
            read_table(file(tmp_path, "a.png", "plain text"))


class TestOutput:
    @pytest.fixture
    def table(self, tmp_path):
        return read_table(file(tmp_path, "in.csv", "1,2\n3,\n"))

    def test_an_existing_file_needs_force(self, tmp_path, table):
        path = file(tmp_path, "out.csv", "mine")
        with pytest.raises(InputError, match="add --force"):
            check_output(path, table, force=False, argument="--output")
        check_output(path, table, force=True, argument="--output")
        assert path.read_text() == "mine"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("no/out.csv", "does not exist"),
            ("out.parquet", "same kind as the input"),
            (".", "ends in ''"),
        ],
    )
    def test_places_that_cannot_be_written(self, tmp_path, table, name, message):
        with pytest.raises(InputError, match=message):
            check_output(tmp_path / name, table, force=False, argument="--output")

    def test_a_failed_write_leaves_the_old_file_and_no_rest(self, tmp_path):
        path = file(tmp_path, "out.csv", "old")
        with pytest.raises(TypeError):
            write_atomically(path, None)  # type: ignore[arg-type]
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]

    def test_unknown_and_absent_files(self, tmp_path):
        with pytest.raises(InputError, match=r"unknown type '\.xyz'"):
            read_table(file(tmp_path, "a.xyz", "1"))
        with pytest.raises(InputError, match="does not exist"):
            read_table(tmp_path / "absent.csv")


def test_a_header_of_years_is_a_header(tmp_path):
    (tmp_path / "y.csv").write_text(
        "country,2001,2002,2003\nA,1.0,2.0,\nB,2.0,,6.0\nC,3.0,6.1,9.0\n"
    )
    table = read_table(tmp_path / "y.csv")
    assert table.values.shape == (3, 3)
    assert np.nanmax(table.values) == 9.0
