"""What a file announces, of rows, cells, entries and bytes, is compared with what is there before
memory is taken for it.
"""

import io
import re
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from damaged_files import MATRIX, anndata
from PIL import Image
from table_files import file

from deeplinear import DeepMatrixCompletion
from deeplinear.completion.data.sparse import stored_entries
from deeplinear.errors import InputError
from deeplinear.files import limits, read_mask, read_table
from deeplinear.files.arrays import ArrayTable
from deeplinear.files.dialect import SEPARATORS, guess_separator
from deeplinear.files.long import read_long

FORMS = ("csr", "csc", "bsr", "dia", "coo")
DENSE = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 4.0], [0.0, 0.0, 5.0], [6.0, 0.0, 0.0]])


@pytest.fixture(autouse=True)
def little_memory():
    """No test takes more than a file of its size may."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e8


def header(shape, dtype="<f8"):
    buffer = io.BytesIO()
    content = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def repacked(path, changes):
    """An archive with other members."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()} | changes
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, data)
    return path


class TestSparse:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("shape", [(10**16, 3), (4, 10**16), (10**9, 10**9), (-4, 3)])
    def test_shapes_of_an_archive(self, tmp_path, form, shape):
        """Refused, or read without memory for the lines that have no entry."""
        path = tmp_path / "a.npz"
        sp.save_npz(path, sp.coo_array(DENSE).asformat(form))
        repacked(path, {"shape.npy": header((2,), "<i8") + np.array(shape).tobytes()})
        try:
            found = read_long(path)
        except InputError as error:
            assert "cannot be read as a sparse matrix" in str(error)  # noqa: PT017
        else:
            assert found.shape == shape
            assert sorted(found.values) == [2, 3, 4, 5, 6]

    @pytest.mark.parametrize("form", FORMS)
    def test_members_of_an_archive(self, tmp_path, form):
        path = tmp_path / "a.npz"
        sp.save_npz(path, sp.coo_array(DENSE).asformat(form))
        with np.load(path) as archive:
            names = archive.files
        for name in names:
            sp.save_npz(path, sp.coo_array(DENSE).asformat(form))
            repacked(path, {f"{name}.npy": header((10**12,), "|S8")})
            with pytest.raises(InputError, match=r"speaks of 8,000,000,000,000 bytes, and there"):
                read_long(path)

    def test_diagonals_are_read_as_scipy_reads_them(self):
        rng = np.random.default_rng(0)
        for m, n in ((4, 7), (7, 4), (5, 5)):
            dense = rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.6)
            matrix = sp.dia_array(dense)
            rows, cols, values, shape = stored_entries(matrix, "X")
            slow = sp.csr_array(dense).tocoo()
            assert shape == (m, n)
            np.testing.assert_array_equal(rows, slow.row)
            np.testing.assert_array_equal(cols, slow.col)
            np.testing.assert_array_equal(values, slow.data)

    def test_diagonals_far_from_the_ends(self):
        """SciPy would take memory for all rows."""
        matrix = sp.dia_array((np.ones((1, 5)), [0]), shape=(2**32 - 1, 2**32 - 1))
        assert stored_entries(matrix, "X")[2].tolist() == [1.0] * 5
        with pytest.raises(InputError, match="shape must have two sides"):
            DeepMatrixCompletion(2).fit(sp.dia_array((np.ones((1, 5)), [0]), shape=(2**40, 2**40)))

    @pytest.mark.parametrize(
        "sizes", ["1000000 1000000 1", "-3 -3", "3 3 -1", "1000000000000 1000000000000 5"]
    )
    @pytest.mark.parametrize("form", ["array", "coordinate"])
    def test_market(self, tmp_path, form, sizes):
        text = f"%%MatrixMarket matrix {form} real general\n{sizes}\n1\n"
        with pytest.raises(InputError, match=r"^[^\n]*$"):
            read_long(file(tmp_path, "a.mtx", text))


class TestTables:
    def test_rows_of_parquet(self, tmp_path):
        """Kept from fuzzing: the number of rows is negative."""
        from reliability.fuzz import CORPUS

        path = file(tmp_path, "a.parquet", (CORPUS / "parquet/negative-rows").read_bytes())
        for read in (read_table, read_long):
            with pytest.raises(InputError, match=r"cannot be read as Parquet \(it announces"):
                read(path)

    @pytest.mark.parametrize("rows", [-3, 0, 2, 5, 2**40])
    def test_other_rows_of_parquet(self, tmp_path, rows):
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(
            pa.table({"a": [1, 2, 3], "b": [1, 2, 1], "c": [1.0, None, 2]}), tmp_path / "a.parquet"
        )
        found = parquet.read_metadata(tmp_path / "a.parquet")

        class Changed:
            num_rows, num_row_groups = rows, found.num_row_groups
            num_columns, row_group = found.num_columns, found.row_group

        with pytest.raises((ValueError, InputError), match=r"announces|describes"):
            limits.check_rows(tmp_path / "a.parquet", Changed)
        limits.check_rows(tmp_path / "a.parquet", found)

    def test_columns_of_nothing(self, tmp_path):
        """A column of nulls needs no byte, however long it is."""
        pa = pytest.importorskip("pyarrow")
        nothing = pa.NullArray.from_buffers(pa.null(), 2**31 - 1, [None])
        long = pa.table({"a": nothing, "b": nothing})
        with pa.ipc.new_file(tmp_path / "a.arrow", long.schema) as writer:
            writer.write_table(long)
        with pytest.raises(InputError, match="describes 2,147,483,647 entries"):
            read_table(tmp_path / "a.arrow")

    @pytest.mark.parametrize("shape", [(0, 10**12), (10**12, 0), (4, 0)])
    def test_masks_and_arrays_of_nothing(self, tmp_path, shape):
        path = file(tmp_path, "a.npy", header(shape))
        with pytest.raises(InputError, match="is empty"):
            read_table(path)
        with pytest.raises(InputError, match=r"--mask: .* is .* where the input is 4 × 3"):
            read_mask(path, ArrayTable(MATRIX, (".npy",)))

    def test_pixels_of_a_mask(self, tmp_path, monkeypatch):
        Image.new("1", (900, 900)).save(tmp_path / "m.png")
        monkeypatch.setattr(limits, "_FREE_ENTRIES", 100)
        monkeypatch.setattr(limits, "_FACTOR", 1)
        with pytest.raises(InputError, match=r"--mask: .* describes 810,000 entries"):
            read_mask(tmp_path / "m.png", ArrayTable(MATRIX, (".npy",)))

    @pytest.mark.parametrize("name", ["a.npz", "a.xlsx", "a.mat", "s.npz"])
    def test_bytes_of_members(self, tmp_path, monkeypatch, name):
        path, zeros = tmp_path / name, np.zeros((1000, 1000))
        if name == "a.npz":
            np.savez_compressed(path, X=zeros)
        elif name == "s.npz":
            sp.save_npz(path, sp.coo_array(np.ones((300, 300))))
        elif name == "a.mat":
            scipy.io.savemat(path, {"X": zeros}, do_compression=True)
        else:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("xl/worksheets/sheet1.xml", b" " * 10**7)
        monkeypatch.setattr(limits, "_FREE_MEMBERS", 10_000)
        monkeypatch.setattr(limits, "_FACTOR", 5)
        with pytest.raises(InputError, match="unpacks to "):
            (read_long if name == "s.npz" else read_table)(path)

    def test_a_variable_that_goes_on_without_end(self, tmp_path):
        scipy.io.savemat(tmp_path / "a.mat", {"X": MATRIX}, do_compression=True)
        data = (tmp_path / "a.mat").read_bytes()
        element = zlib.decompress(data[136:])
        for packed in (zlib.compress(element)[:-9], zlib.compress(element[:-1])):
            head = data[128:132] + len(packed).to_bytes(4, "little")
            path = file(tmp_path, "b.mat", data[:128] + head + packed)
            with pytest.raises(InputError, match="a variable is cut off"):
                read_table(path)


SHEET = "xl/worksheets/sheet1.xml"


class TestExcel:
    @pytest.fixture
    def parts(self, tmp_path):
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in (["x", "y", "z"], [1, 2, 3], [4, None, 6], [7, 8, 9]):
            book.active.append(row)
        book.save(tmp_path / "a.xlsx")
        with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
            return archive.read(SHEET).decode()

    def read(self, tmp_path, sheet):
        return read_table(repacked(tmp_path / "a.xlsx", {SHEET: sheet.encode()}))

    def test_the_sheet_as_it_is(self, tmp_path, parts):
        assert self.read(tmp_path, parts).values.shape == (3, 3)
        bare = re.sub(r' r="\w+"', "", parts)  # no references, which some programs write
        gap = bare.replace("</c><c><v /></c>", "</c><c/>")
        assert self.read(tmp_path, gap).values.shape == (3, 3)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('r="A3"', 'r="A9"', r"its cell A9 lies in row 3"),
            ('r="C3"', 'r="C2"', r"its cell C2 lies in row 3"),
            ('row r="3"', 'row r="2"', r"its row 2 comes twice"),
            ('r="B2"', 'r="D2"', r"its cell C2 does not follow the one before"),
            ('r="B2"', 'r="A2"', r"its cell A2 does not follow the one before"),
        ],
    )
    def test_cells_at_other_places(self, tmp_path, parts, old, new, message):
        assert old in parts
        with pytest.raises(InputError, match=rf"cannot be read as Excel \({message}\)"):
            self.read(tmp_path, parts.replace(old, new, 1))

    def test_cells_that_only_one_reader_sees(self, tmp_path, parts):
        inside = parts.replace('<row r="3"', '<x><row r="3"', 1)
        row_end = inside.index("</row>", inside.index("<x>")) + len("</row>")
        with pytest.raises(InputError, match=r"cannot be read as Excel \(its cell A3 is not"):
            self.read(tmp_path, inside[:row_end] + "</x>" + inside[row_end:])

    def test_a_cell_of_another_row(self, tmp_path):
        """Kept from fuzzing."""
        pytest.importorskip("openpyxl")
        from reliability.fuzz import CORPUS

        data = (CORPUS / "excel/cell-of-another-row").read_bytes()
        with pytest.raises(InputError, match=r"cannot be read as Excel \(its "):
            read_table(file(tmp_path, "a.xlsx", data))

    @pytest.mark.parametrize("reference", ["H1:XFD1048576", "A:XFD", "1:1048576"])
    @pytest.mark.parametrize("kind", ["merge", "link"])
    def test_ranges_without_end(self, tmp_path, parts, reference, kind):
        """openpyxl makes each cell of a merged or linked range."""
        words = {
            "merge": f'<mergeCells count="1"><mergeCell ref="{reference}"/></mergeCells>',
            "link": f'<hyperlinks><hyperlink ref="{reference}" location="A1"/></hyperlinks>',
        }
        sheet = parts.replace("</sheetData>", "</sheetData>" + words[kind])
        with pytest.raises(InputError, match=r"describes [\d,]* entries"):
            self.read(tmp_path, sheet)

    def test_small_ranges_are_no_harm(self, tmp_path, parts):
        words = '<mergeCells count="1"><mergeCell ref="H1:I3"/></mergeCells>'
        words += '<hyperlinks><hyperlink ref="A1:B2" location="A1"/></hyperlinks>'
        sheet = parts.replace("</sheetData>", "</sheetData>" + words)
        assert self.read(tmp_path, sheet).values.shape == (3, 3)

    @pytest.mark.parametrize("sign", ["", "-"])
    def test_a_number_of_many_digits_is_infinite(self, tmp_path, parts, sign):
        sheet = parts.replace("<v>9</v>", f"<v>{sign}{'9' * 400}</v>")
        with pytest.raises(InputError, match="infinite entry, the first at cell C4"):
            self.read(tmp_path, sheet)


class TestHdf5:
    @pytest.fixture(autouse=True)
    def _h5py(self):
        pytest.importorskip("h5py")

    @pytest.mark.parametrize(
        "place", ["obs/_index", "var/_index", "X/data", "X/indices", "X/indptr"]
    )
    def test_parts_of_anndata_that_were_never_written(self, tmp_path, place):
        import h5py

        anndata(tmp_path / "a.h5ad", sp.csr_array(MATRIX))
        with h5py.File(tmp_path / "a.h5ad", "r+") as made:
            dtype = made[place].dtype
            del made[place]
            made.create_dataset(place, (10**9,), dtype, chunks=(1000,))
        with pytest.raises(InputError, match=r"describes [12],000,000,000 entries"):
            read_table(tmp_path / "a.h5ad")

    @pytest.mark.parametrize("dtype", ["f8", "S1000000000"])
    def test_chunks_and_texts(self, tmp_path, dtype):
        """Memory is taken for a whole chunk, and for a whole text."""
        import h5py

        with h5py.File(tmp_path / "a.h5", "w") as made:
            if dtype == "f8":
                made.create_dataset("X", (4, 3), dtype, maxshape=(None, None), chunks=(20000, 9000))
            else:
                made["X"] = MATRIX
                made.create_dataset("t", (1, 1), dtype)
        if dtype == "f8":
            with pytest.raises(InputError, match="describes 180,000,000 entries"):
                read_table(tmp_path / "a.h5")
        else:  # nobody reads it
            assert read_table(tmp_path / "a.h5").values.shape == (4, 3)

    def test_a_dataset_of_nothing_is_no_end(self, tmp_path):
        """As AnnData writes None: what comes behind it is tried, too."""
        import h5py

        with h5py.File(tmp_path / "a.h5", "w") as made:
            made["A"] = h5py.Empty("f4")
            made["X"] = MATRIX
        assert read_table(tmp_path / "a.h5").values.shape == (4, 3)


def test_separators_that_all_occur(tmp_path):
    """Kept from fuzzing: lines of one number each, in one of which each separator stands."""
    lines = ["1,5", "7", "2", "4", "".join(SEPARATORS).replace("blank", " "), "5"]
    assert guess_separator(lines) in SEPARATORS
    assert guess_separator(["1,5", "7", "2"]) != ","
    path = file(tmp_path, "a.csv", "\n".join(lines) + "\n")
    for read in (read_table, read_long):
        with pytest.raises(InputError, match=r"^[^\n]*$"):
            read(path)
