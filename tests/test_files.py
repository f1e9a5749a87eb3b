"""Laws of output files: written completely or not at all, and checked before any work."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from editkit.errors import EditkitError, InvalidParameter
from editkit.files.cache_folder import cache_folder
from editkit.files.paths import exists, is_folder
from editkit.files.read_errors import read_reason
from editkit.files.reading import read_bounded
from editkit.files.writing import check_output, write_atomically, write_encoded


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    for data in (b"first", b"second, longer", b""):
        write_atomically(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]
    write_atomically(str(tmp_path / "other"), b"x")
    assert (tmp_path / "other").read_bytes() == b"x"


def test_an_empty_name_means_no_folder() -> None:
    assert is_folder(".") and not is_folder("") and not exists("")


@pytest.mark.slow
def test_a_pipe_is_read_to_its_end_and_never_waited_for_without_a_writer(tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_bytes(b"a red apple")
    assert read_bounded(file) == b"a red apple" and read_bounded("/dev/null") == b""
    writer = subprocess.Popen(["sh", "-c", f"exec >{pipe}; sleep 0.5; echo a; sleep 0.1; echo b"])
    while (content := _content_of(pipe)).startswith("nobody"):
        pass  # until the writer has opened it
    assert content == "a\nb\n" and writer.wait() == 0
    assert _content_of(pipe).startswith("nobody writes to this pipe")
    assert _content_of(Path("/dev/zero")).startswith("it is a device")
    assert _content_of(tmp_path).startswith("it is a folder")
    assert read_bounded(file, most=11) and _content_of(file, most=10).startswith("it has more than 10 bytes")


def test_a_missing_file_is_answered_by_the_name_that_is_probably_meant(tmp_path: Path) -> None:
    typed, stored = unicodedata.normalize("NFC", "café.png"), unicodedata.normalize("NFD", "café.png")
    for name in (stored, "Photo.PNG", "b.jpeg", "c 1.png", "c  1.png"):
        (tmp_path / name).touch()
    (tmp_path / "link.png").symlink_to("nowhere.png")
    (tmp_path / "Album").mkdir()
    assert stored in _content_of(tmp_path / typed) and "another Unicode form" in _content_of(tmp_path / typed)
    meant = {"photo.png": "Photo.PNG", "b.jpg": "b.jpeg", "album/a.png": "Album"}
    for name, other in meant.items():
        assert _content_of(tmp_path / name) == f"there is no such file; did you mean {str(tmp_path / other)!r}?"
    assert "its symbolic link leads to a file that is missing" in _content_of(tmp_path / "link.png")
    for name in ("other.png", "c1.png"):
        assert _content_of(tmp_path / name) == "there is no such file; check the path"


def _content_of(path: Path, **limit: int) -> str:
    try:
        return read_bounded(path, **limit).decode()
    except OSError as error:
        return read_reason(error)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is empty"),
        (" \t", "is blank"),
        (".", "a folder; add a file name"),
        ("-", "stands for standard output; name a file"),
        ("/dev/null", "it is a pipe or a device; name a file"),
    ],
)
def test_a_path_that_names_no_file_is_refused_before_the_encoding(path: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        write_encoded(path, lambda suffix: pytest.fail("encoded"))


def test_the_name_alone_means_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("out.png", b"x")
    assert (tmp_path / "out.png").read_bytes() == b"x"


def test_permissions_follow_the_umask_or_the_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    before = os.umask(0o027)
    try:
        write_atomically(path, b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    write_atomically(path, b"y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.png", tmp_path / "b.png"
    link.symlink_to(target)
    for data in (b"new", b"old"):
        write_atomically(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert list((tmp_path / "real").iterdir()) == [target]


@pytest.mark.parametrize("name", ["replace", "fsync", "open"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), EditkitError),
        (PermissionError(errno.EACCES, "Permission denied"), InvalidParameter),
        (OSError(errno.EROFS, "Read-only file system"), InvalidParameter),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    name: str, error: BaseException, kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(f"editkit.files.writing.os.{name}", fail)
    with pytest.raises(kind) as caught:
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(caught.value, EditkitError):
        assert type(caught.value) is kind
        assert str(caught.value).startswith(f"output {str(path)!r} cannot be written: ")
        assert "\n" not in str(caught.value)


def test_bad_targets_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    cases: dict[str | Path, str] = {
        tmp_path / "missing" / "x.png": "no such folder",
        tmp_path / "file" / "x.png": "not a folder",
        tmp_path / "folder": "it is a folder",
        f"{tmp_path}/new/": "it is a folder",
        "": "it is empty",
        tmp_path / "pipe": "a pipe or a device",
        "/dev/null": "a pipe or a device",
        tmp_path / ("x" * 300): "too long",
        f"{tmp_path}/a\0b": "not allowed",
    }
    for path, words in cases.items():
        with pytest.raises(InvalidParameter, match=words) as caught:
            write_atomically(path, b"new", argument="--sheet")
        assert str(caught.value).startswith(f"--sheet {str(path)!r} cannot be written")
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_bytes() == b"old"
    assert check_output(tmp_path / "file") == tmp_path / "file"


def test_a_folder_or_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(b"old")
    # Simulated, since root may write everywhere.
    for locked in (tmp_path, path):
        monkeypatch.setattr("editkit.files.writing.os.access", lambda place, mode, locked=locked: place != locked)
        with pytest.raises(InvalidParameter, match="permission is denied"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_user_without_a_home_has_no_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> None:
        raise KeyError(number)

    for variable in ("HOME", "XDG_CACHE_HOME", "EDITKIT_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", fail)
    assert cache_folder() is None
    monkeypatch.setenv("EDITKIT_CACHE", "/caches")
    assert cache_folder() == Path("/caches")


def test_a_process_killed_while_writing_leaves_no_file(tmp_path: Path) -> None:
    code = """
import os, sys
from editkit.files import writing
sync, os.fsync = os.fsync, lambda descriptor: os.kill(os.getpid(), 9)
writing.write_atomically(sys.argv[1], b"x" * 100000)
"""
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_files_of_killed_processes_are_removed_where_they_have_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("editkit.files.writing.os.O_TMPFILE", raising=False)
    old, new, other = (tmp_path / name for name in (".editkit-0.tmp", ".editkit-1.tmp", ".other.tmp"))
    for path in (old, new, other):
        path.write_bytes(b"")
    for path in (old, other):
        os.utime(path, (0, 0))
    write_atomically(tmp_path / "out.png", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {".editkit-1.tmp", ".other.tmp", "out.png"}
