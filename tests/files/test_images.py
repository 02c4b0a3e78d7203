"""Images. What is observed stays as it is, the same kind comes back."""

import numpy as np
import pytest
from PIL import Image
from table_files import file, write_back

from deeplinear.errors import InputError
from deeplinear.files import check_output, read_table


@pytest.fixture
def rng():
    return np.random.default_rng(7)


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
