"""Places to write: what could not be written is refused beforehand, in one sentence."""

import os
from pathlib import Path

import pytest

from deeplinear import InputError
from deeplinear.interrupts import forget, written
from deeplinear.places import check_apart, check_file, check_folder, writing


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("new")
    (tmp_path / "astray").symlink_to("missing/new")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "is a folder"),
        ("", "is a folder"),
        ("..", "is a folder"),
        ("file", "exists; add --force"),
        ("file/x", "cannot be used (Not a directory)"),
        ("missing/x", "the folder 'missing' does not exist"),
        ("astray", "does not exist"),
        ("x" * 256, "cannot be used (File name too long); give a shorter name"),
        ("loop", "symbolic links"),
        ("/dev/null", "is a device or a pipe"),
        ("pipe", "is a device or a pipe"),
    ],
)
def test_files_that_cannot_be_written(here, name, said):
    with pytest.raises(InputError, match="--output: ") as error:
        check_file(Path(name), force=False, argument="--output")
    assert said in str(error.value)


def test_files_that_can(here):
    for name in ("new", "link", "folder/new", "é[x]\n", "x" * 255):
        check_file(Path(name), force=False, argument="--output")
    check_file(here / "file", force=True, argument="--output")
    with pytest.raises(InputError, match="is a device"):
        check_file(here / "/dev/null", force=True, argument="--output")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "is a file; give a folder"),
        ("file/x/y", "cannot be made, for"),
        ("new/" + "x" * 256, "File name too long"),
        ("loop/x", "is a file"),
    ],
)
def test_folders_that_cannot_be_made(here, name, said):
    with pytest.raises(InputError) as error:
        check_folder(here / name, argument="--report")
    assert said in str(error.value)


def test_folders_that_can(here):
    for name in ("folder", "new", "a/b/c"):
        check_folder(here / name, argument="--report")
        assert not (here / "a").exists()


def test_results_must_not_meet(here):
    file, other = here / "file", here / "other"
    (here / "same").hardlink_to(file)
    standard = Path("-")
    check_apart({"-o": other, "--model": None}, {"INPUT": file}, {"--report": here / "r"})
    check_apart({"-o": standard}, {"INPUT": standard})
    for results, sources, folders in [
        ({"-o": file}, {"INPUT": file}, {}),
        ({"-o": here / "same"}, {"INPUT": file}, {}),
        ({"-o": here / "folder" / ".." / "file"}, {"INPUT": file}, {}),
        ({"-o": other, "--model": other}, {}, {}),
        ({"-o": here / "link", "--model": here / "new"}, {}, {}),
        ({"-o": other}, {}, {"--report": other}),
        ({"-o": other}, {}, {"--report": other / "r"}),
    ]:
        with pytest.raises(InputError, match="give another name"):
            check_apart(results, sources, folders)


def test_what_fails_names_the_file_and_what_succeeds_is_listed(here):
    forget()
    with pytest.raises(OSError, match="No space left") as error, writing(here / "new"):
        raise OSError(28, "No space left on device", ".temporary")
    assert error.value.filename == str(here / "new")
    assert written() == []
    with writing(here / "new"):
        pass
    assert written() == [here / "new"]
    forget()
