"""Opening files that strangers may have made.

Stores, runs, tables and recipes come from other people. What stands under a name in them may be a link to any file of
the user, a pipe that nobody fills, a device without an end, or a file of a terabyte that takes no space. So whatever is
read is opened by `open_regular` and has a limit of its size, and no folder inside a store or a run through which we
write may be a link.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hpa_data.errors import InputError, list_causes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_TEXT_BYTES = 64 * 2**20
"""Of a file of settings, JSON or TOML: those of 65,536 classes with long names take a quarter of it."""

MAX_TABLE_BYTES = 2**30
"""Of a table that we have written: 10 million rows of an id and a number take half of it."""

# What the system answers when the content of a file may be fine, but nobody can tell.
_NO_PERMISSION = {errno.EACCES, errno.EPERM}
_NO_ANSWER = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN),
    *(errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}
_REMEDIES = {
    **dict.fromkeys(_NO_PERMISSION, "Check its owner and permissions (ls -l)."),
    errno.EMFILE: "Allow more open files (ulimit -n), and try again.",
    errno.ENFILE: "Close other programs, and try again.",
    errno.ENOMEM: "Close other programs, and try again.",
}


def open_regular(path: str | Path) -> int:
    """Open a regular file to read, and return its descriptor; a link to one will do.

    Raises
    ------
    OSError
        If there is none, or it may not be read.
    ValueError
        If it is a folder, a pipe, a device or a socket. None of them is waited for.
    """
    # Without O_NONBLOCK, opening a pipe would wait until somebody writes to it.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ValueError("it is not a regular file")
    return file


def read_regular(path: str | Path, *, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes`; raises as `open_regular` does, and ValueError if it has more."""
    file = open_regular(path)  # Python's own file objects take three times as long
    try:
        n_bytes = os.fstat(file).st_size
        check_size(n_bytes, max_bytes)
        content = os.read(file, max(n_bytes, 1))  # so that a file that cannot be read is no empty one
        while len(content) < n_bytes and (more := os.read(file, n_bytes - len(content))):
            content += more
        return content
    except OSError as error:
        error.filename = os.fspath(path)  # errors of `read` come without one
        raise
    finally:
        os.close(file)


def read_text(path: str | Path) -> str:
    """Read a small file of text in UTF-8, such as JSON; raises as `read_regular` does."""
    return read_regular(path, max_bytes=MAX_TEXT_BYTES).decode()


def map_regular(path: str | Path, *, max_bytes: int) -> "npt.NDArray[np.uint8]":
    """Map a regular file that has at most `max_bytes` into memory, uint8 (n_bytes,); raises as `read_regular` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        check_size(os.fstat(file.fileno()).st_size, max_bytes)
        file.read(1)  # what cannot be read says so here; under the map, it would end the process
        import numpy as np  # which `hpa --help` does without

        return np.memmap(file, np.uint8, "r")


def check_size(n_bytes: int, max_bytes: int) -> None:
    """Refuse a file that is larger than it can be: ValueError."""
    if n_bytes > max_bytes:
        raise ValueError(f"it has {n_bytes} bytes, more than {max_bytes}")


def is_unreadable(error: BaseException) -> bool:
    """Tell whether an error, or what caused it, says that something could not be read, whatever it holds."""
    return _find_cause(error) is not None


def refuse_unreadable(error: BaseException, place: str | Path = "") -> None:
    """Raise InputError if an error says that a file could not be read at all, so that nobody calls it damaged.

    To be called first by what handles errors of damaged files: those advise to make the file again, which would destroy
    a good one.

    Parameters
    ----------
    error : exception
        It, or what caused it.
    place : str or Path
        What was read, if the error does not name it.

    Raises
    ------
    InputError
        That names the file.
    MemoryError
        If that is what the error is, or what caused it.
    """
    if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
        raise MemoryError from error
    cause = _find_cause(error)
    if cause is not None:
        remedy = _REMEDIES.get(cause.errno or 0, "Check the disk or the network, and try again.")
        raise InputError(
            f"Cannot read {cause.filename or place}: {cause.strerror}. Its content may be good. {remedy}"
        ) from error


def _find_cause(error: BaseException) -> OSError | None:
    """Find what the system refused, in an error and what caused it."""
    for cause in list_causes(error):
        if isinstance(cause, OSError) and cause.errno in _NO_PERMISSION | _NO_ANSWER:
            return cause
    return None


def refuse_links(root: Path, path: Path) -> None:
    """Refuse to write to a path if a folder on the way to it, below `root`, is a link: InputError.

    `root` itself is what the user named, and may be a link.
    """
    for folder in path.relative_to(root).parents:
        if (root / folder).is_symlink() and folder != Path():
            raise _refuse_link(root / folder)


def refuse_linked_folders(root: Path) -> None:
    """Refuse to write to a folder if any folder in it, at any depth, is a link: InputError.

    The link that Weights & Biases makes to its newest log is none to refuse: nothing is written through it.
    """
    for path in _walk(root):
        if path.parts[-2:] != ("wandb", "latest-run") or path.readlink().name != str(path.readlink()):
            raise _refuse_link(path)


def _refuse_link(path: Path) -> InputError:
    return InputError(
        f"Cannot write to {path}: it is a link to another folder, and nothing is written or deleted there. Remove the "
        "link."
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the links to folders in a folder, at any depth."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                if entry.is_dir():
                    yield Path(entry.path)
            elif entry.is_dir():
                yield from _walk(Path(entry.path))
