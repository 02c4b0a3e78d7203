"""Files and folders whole or not at all, also after a kill; links, devices and permissions."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deeplinear import atomic
from deeplinear.atomic import SUFFIX, build_atomically, remove_abandoned, write_atomically

# Writes half of it, and waits.
HALF = """
import sys, time
from pathlib import Path
from deeplinear import atomic
folder, kind = Path(sys.argv[1]), sys.argv[2]
def stop(*_):
    print("now", flush=True)
    time.sleep(60)
if kind == "file":
    atomic.os.fsync = stop
    atomic.write_atomically(folder / "a", b"new")
else:
    Path.rename, rename = lambda a, b: stop() if a.name == "new" else rename(a, b), Path.rename
    atomic.build_atomically(folder / "a", lambda place: place.mkdir())
"""


def temporaries(folder):
    return [path for path in folder.iterdir() if path.name.endswith(SUFFIX)]


def half(folder, kind):
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, str(folder), kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "now\n"
    return process


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    process = half(tmp_path, "file")
    (left,) = temporaries(tmp_path)
    write_atomically(tmp_path / "b", b"other")  # it lives: its file is its own
    assert temporaries(tmp_path) == [left]
    kill(process)
    assert (tmp_path / "a").read_bytes() == b"old"
    write_atomically(tmp_path / "b", b"other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_that_was_about_to_be_replaced_comes_back(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_bytes(b"1")
    process = half(tmp_path, "folder")
    assert not (tmp_path / "a").exists()
    assert remove_abandoned(tmp_path) == 0
    kill(process)
    assert remove_abandoned(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "old").read_bytes() == b"1"


def test_folders(tmp_path):
    def write(content):
        def inside(place):
            place.mkdir()
            (place / content).touch()

        return inside

    for content in ("one", "two"):
        build_atomically(tmp_path / "a", write(content))
        assert [path.name for path in (tmp_path / "a").iterdir()] == [content]
    with pytest.raises(ZeroDivisionError):
        build_atomically(tmp_path / "a", lambda place: 1 / 0)
    with pytest.raises(FileNotFoundError):  # nothing is made, so nothing is replaced
        build_atomically(tmp_path / "a", lambda place: None)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "two"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(tmp_path, there):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "a", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(Path("far") / "a")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()


def test_circles_of_links(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_symlink()


def test_devices_and_pipes_are_written_to(tmp_path):
    write_atomically(Path(os.devnull), b"new")
    assert not Path(os.devnull).is_file()
    with pytest.raises(OSError, match="No space left"):
        write_atomically(Path("/dev/full"), b"new")
    assert not Path("/dev/full").is_file()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, b"new")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    write_atomically(pipe, b"new")
    assert reader.communicate()[0] == b"new"
    assert pipe.is_fifo()


def test_permissions_are_kept_and_new_files_have_the_usual_ones(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    other.touch()
    write_atomically(path, b"1")
    assert path.stat().st_mode == other.stat().st_mode
    path.chmod(0o640)
    write_atomically(path, b"2")
    assert path.stat().st_mode & 0o777 == 0o640


def test_nobody_else_reads_what_is_on_its_way(tmp_path, monkeypatch):
    path, modes = tmp_path / "a", []
    path.touch(mode=0o600)
    sync = os.fsync

    def look(descriptor):
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        sync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", look)
    write_atomically(path, b"secret")
    assert modes[0] == 0o600
    with atomic.temporary_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_protected_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    # the superuser may write to everything
    monkeypatch.setattr(atomic.os, "access", lambda path, how: bool(path.stat().st_mode & 0o200))
    with pytest.raises(PermissionError):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert not temporaries(tmp_path)


def test_names_as_long_as_the_file_system_has(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(OSError, match="too long"):
        write_atomically(tmp_path / ("n" * 256), b"new")
    assert [path.name[0] for path in tmp_path.iterdir()] == ["n"]


def test_many_writers_at_once(tmp_path):
    """Each leaves one whole content, and none removes the temporary file of another."""
    code = (
        "import sys; from pathlib import Path; from deeplinear.atomic import write_atomically\n"
        "for k in range(100): write_atomically(Path(sys.argv[1]), sys.argv[2].encode() * 1000)"
    )
    many = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a"), letter])
        for letter in "abc"
    ]
    assert [process.wait() for process in many] == [0, 0, 0]
    assert len(set((tmp_path / "a").read_text())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
