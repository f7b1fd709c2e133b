"""What the operating system refuses is said with the file, what happened, and a remedy that fits."""

import contextlib
import errno
import os
import re
import resource
from pathlib import Path

import pytest

from hpa_data.system.atomic import name_temporary, open_atomic, write_atomic
from hpa_data.system.files import read_regular
from hpa_data.system.os_errors import describe_os_error, naming_file
from hpa_data.tables import read_columns


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "Cannot write a.csv: no space is left on its disk. Free space there, or pass a path on another"),
        (errno.EDQUOT, "Cannot write a.csv: the disk quota is used up. Delete files there, or ask for a larger quota."),
        (errno.EROFS, "Cannot write a.csv: its file system is read-only. Pass a path on another one, or mount it for"),
        (errno.EFBIG, "Cannot write a.csv: it would be larger than is allowed. Raise the limit (ulimit -f), or use"),
        (errno.ENFILE, "Cannot read or write a.csv: all programs together have too many files open. Close other"),
        (errno.ENOMEM, "Cannot read or write a.csv: there is not enough memory. Close other programs, or ask for"),
        (errno.EACCES, "Cannot read or write a.csv: permission denied. Change its permissions, or pass another path."),
        (errno.ENOENT, "Cannot read or write a.csv: it does not exist. Check the path."),
        (errno.EIO, "Cannot read or write a.csv: the disk failed (input/output error). Check the disk and"),
        (errno.ETIMEDOUT, "Cannot read or write a.csv: Connection timed out. Check the path, its permissions and the"),
    ],
)
def test_each_cause_has_its_own_remedy(number: int, message: str) -> None:
    described = describe_os_error(OSError(number, os.strerror(number), "a.csv"))
    assert described.startswith(message)
    assert re.fullmatch(r"Cannot .+: .+\. .+\.", described)


def test_a_temporary_file_is_called_like_the_file_that_it_becomes() -> None:
    temporary = name_temporary(Path("folder/a.csv"))
    assert "write folder/a.csv: no space" in describe_os_error(OSError(errno.ENOSPC, "", str(temporary)))
    renamed = OSError(errno.EACCES, "", str(temporary), None, "folder/a.csv")
    assert "write folder/a.csv: permission denied" in describe_os_error(renamed)


def test_errors_without_a_file_are_given_one() -> None:
    def fill() -> None:
        with naming_file(Path("a.csv")), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(OSError, match="a.csv") as raised:
        fill()
    assert describe_os_error(raised.value).startswith("Cannot write a.csv: no space is left on its disk.")
    with pytest.raises(FileNotFoundError, match="inner"), naming_file("outer"):
        os.stat("/nowhere/inner")


@pytest.mark.parametrize("page_cache", [True, False])
def test_a_limit_of_the_size_of_files_is_told_with_the_file(tmp_path: Path, page_cache: bool) -> None:
    def write() -> None:
        with open_atomic(tmp_path / "a.csv", page_cache=page_cache) as file:
            file.write(bytes(20_000))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert describe_os_error(raised.value).startswith(f"Cannot write {tmp_path}/a.csv: it would be larger than is")
    assert os.listdir(tmp_path) == []


def test_too_many_open_files_says_how_many_there_are_and_the_command_that_allows_more(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = len(os.listdir("/dev/fd")) + 8
    with contextlib.ExitStack() as opened:

        def open_all() -> None:
            for _ in range(most):
                opened.enter_context(open(os.devnull))

        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
        with pytest.raises(OSError, match="Too many open files") as raised:
            open_all()
        described = describe_os_error(raised.value)
        with pytest.raises(OSError, match="a.csv") as other:
            write_atomic(tmp_path / "a.csv", b"")
    assert f"Cannot open {tmp_path / 'a.csv'}: " in describe_os_error(other.value)
    start = (
        rf"Cannot open /dev/null: this process has \d+ files open and may open {most} \(ulimit -n\). Run `ulimit -n "
    )
    assert re.match(start, described)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file whose reading fails")
def test_a_file_that_fails_while_it_is_read_is_named() -> None:
    """Nothing is mapped at the first address of a process, so that reading it is an input/output error."""
    for read in (lambda path: read_regular(path, max_bytes=9), lambda path: read_columns(path, ("Id",))):
        with pytest.raises(OSError, match="Input/output error") as raised:
            read(Path("/proc/self/mem"))
        assert describe_os_error(raised.value).startswith("Cannot read or write /proc/self/mem: the disk failed (input")
