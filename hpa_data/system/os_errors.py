"""What the operating system refused, in words: the file that it was about, what happened, and what fits that cause."""

import contextlib
import errno
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

# Of temporary files of `atomic.open_atomic`, and the name of the file that they become.
_TEMPORARY = re.compile(r"\.(.+)\.\d+-\d+\.part")

# Files that the rest of the program may need to open: as many as we ask for, and fewer do not do.
SPARE_FILES, NEEDED_FILES = 256, 24

READ, WRITE, EITHER = "read", "write", "read or write"
# What was to be done with the file, what happened, and what fits it.
_CAUSES = {
    errno.ENOSPC: (WRITE, "no space is left on its disk", "Free space there, or pass a path on another disk."),
    errno.EDQUOT: (WRITE, "the disk quota is used up", "Delete files there, or ask for a larger quota."),
    errno.EROFS: (WRITE, "its file system is read-only", "Pass a path on another one, or mount it for writing."),
    errno.EFBIG: (WRITE, "it would be larger than is allowed", "Raise the limit (ulimit -f), or use another disk."),
    errno.ENFILE: (EITHER, "all programs together have too many files open", "Close other programs."),
    errno.ENOMEM: (EITHER, "there is not enough memory", "Close other programs, or ask for fewer samples at a time."),
    errno.EACCES: (EITHER, "permission denied", "Change its permissions, or pass another path."),
    errno.EPERM: (EITHER, "the system does not permit it", "Check its owner and attributes, or pass another path."),
    errno.ENOENT: (EITHER, "it does not exist", "Check the path."),
    errno.ENOTDIR: (EITHER, "a part of its path is a file, not a folder", "Check the path."),
    errno.EISDIR: (EITHER, "it is a folder", "Pass the path of a file."),
    errno.EEXIST: (WRITE, "it exists already", "Remove it, or pass another path."),
    errno.ENOTEMPTY: (WRITE, "the folder is not empty", "Empty it, or pass another path."),
    errno.ENAMETOOLONG: (EITHER, "its name is too long", "Pass a shorter one."),
    errno.ELOOP: (EITHER, "its symbolic links lead in a circle, or may not be followed", "Pass the real path."),
    errno.EIO: (EITHER, "the disk failed (input/output error)", "Check the disk and the system's log, then try again."),
    errno.ESTALE: (EITHER, "the file server no longer knows it", "Mount the file system again, then try again."),
    errno.ETXTBSY: (WRITE, "it is a program that is running", "Pass another path."),
    errno.EBUSY: (WRITE, "the system is using it", "Wait for what uses it, or pass another path."),
    errno.ENXIO: (WRITE, "nothing reads it", "Start what should read it, or pass another path."),
    errno.ENODEV: (READ, "it cannot be mapped into memory", "Copy it to a disk of this machine."),
}


def describe_os_error(error: OSError) -> str:
    """Describe what the operating system refused, as a message that begins with ``Cannot``.

    The file is that of the error; see `naming_file` for errors that come without one.
    """
    file = _name_file(error)
    if error.errno == errno.EMFILE:
        return f"Cannot open {file}: {describe_open_files(more=1)}"
    if error.errno in _CAUSES:
        verb, what, remedy = _CAUSES[error.errno]
        return f"Cannot {verb} {file}: {what}. {remedy}"
    reason = error.strerror or str(error) or type(error).__name__
    return f"Cannot read or write {file}: {reason.rstrip('.')}. Check the path, its permissions and the free space."


def describe_open_files(*, more: int) -> str:
    """Say how many files this process may open and has open, and how to allow `more`; two sentences."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_open = count_open_files()
    needed = is_open + more
    allowed = f"this process has {is_open} files open and may open {soft} (ulimit -n)"
    if hard == resource.RLIM_INFINITY or needed <= hard:
        return f"{allowed}. Run `ulimit -n {max(needed, 4096 if hard >= 4096 else hard)}` before the command."
    return f"{allowed}; {needed} are needed. Ask an administrator to raise the hard limit of {hard} (ulimit -Hn)."


def count_open_files() -> int:
    """Count the files that this process has open; 0 if the system does not tell."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:  # no file is left to open the list with: all that are allowed
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def allow_files(more: int, *, spare: int = NEEDED_FILES) -> None:
    """Raise the limit of open files of this process, as far as the system allows, so that `more` can be opened.

    Raises
    ------
    OSError
        If that is not enough for them and for `spare` others, such as those of libraries; it is raised nevertheless.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    is_open = count_open_files()
    wanted = is_open + more + max(spare, SPARE_FILES)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    needed = is_open + more + spare
    if soft < needed:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _name_file(error: OSError) -> str:
    """Name the file that an error is about; of a renaming the target, of a temporary file the one that it becomes."""
    name = error.filename2 or error.filename
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if name is None or isinstance(name, int):  # a file descriptor
        return "a file"
    path = Path(name)
    temporary = _TEMPORARY.fullmatch(path.name)
    return str(path.with_name(temporary[1]) if temporary else path)


@contextlib.contextmanager
def naming_file(path: Path | str) -> Iterator[None]:
    """Add the file to errors of the system that come without one, as those of ``write``, ``fsync`` and ``read`` do."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise
