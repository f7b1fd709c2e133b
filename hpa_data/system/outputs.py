"""Outputs are checked before anything is computed: a folder, a missing folder, permissions, and the space on the disk.

`check_output` is the one place that says which paths a command can write a file to; commands call it first.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.system.atomic import follow_output, name_temporary
from hpa_data.system.files import read_text
from hpa_data.system.os_errors import describe_os_error

# Larger files are only compared with the free space; up to this size the system is asked to reserve it.
RESERVED_BYTES = 256 * 2**20
# Of a run: a JSON object whose "files" has the names of its files.
SEAL_FILE = "seal.json"


def check_output(
    path: Path, *, option: str = "out", example: str = "", n_bytes: int = 0, is_of_run: bool = False
) -> None:
    """Refuse a file that could not be written, and leave nothing behind; nothing is made.

    Parameters
    ----------
    path : Path
        A file that will be written, or replaced, by `atomic.open_output`, which makes missing folders.
    option : str
        What the user calls it, for messages: the option without ``--``.
    example : str
        The name of a file to suggest in place of a folder.
    n_bytes : int
        About how large it will be, in bytes.
    is_of_run : bool
        Whether it is a file that the command writes into a run, and may have sealed before.

    Raises
    ------
    InputError
        If it is a folder or a sealed file of a run, its folder cannot be made or written to, or the disk has too little
        space.
    """
    if path.is_dir():
        remedy = f"Pass {path / example}." if example else "Pass the path of a file."
        raise InputError(f"{option} must be a file. Received: {path}, a folder. {remedy}")
    try:
        target = follow_output(path)  # what a link leads to is written, and its folder counts
    except OSError as error:
        raise InputError(describe_os_error(error)) from error
    if isinstance(target, int):  # the standard output
        return
    if not is_of_run:
        _refuse_sealed(target, option, path)
    if target.exists() and not target.is_file():  # a device or a pipe: opening it to try would act on it
        if not os.access(target, os.W_OK):
            raise InputError(describe_os_error(PermissionError(errno.EACCES, "", str(path))))
        return
    existing = _find_existing(target.parent)
    if not existing.is_dir():
        raise InputError(f"Cannot write {path}: {existing} is not a folder. Pass another path.")
    _try_to_write(existing / target.name, n_bytes, path)


def check_output_folder(path: Path, *, option: str = "out", n_bytes: int = 0) -> None:
    """Refuse a folder that could not be made or written to, and leave nothing behind.

    Parameters
    ----------
    path : Path
        A folder, which is made with those above it where it does not exist.
    option : str
        What the user calls it, for messages.
    n_bytes : int
        About how large its content will be, in bytes.

    Raises
    ------
    InputError
        If it is a file, or cannot be written to, or the disk has too little space.
    """
    existing = _find_existing(path)
    if not existing.is_dir():
        what = "a file" if existing.is_file() else "no folder"
        raise InputError(f"{option} must be a folder. Received: {path}; {existing} is {what}. Pass another path.")
    _try_to_write(existing / "output", n_bytes, path)


def check_distinct(outputs: Mapping[str, Path | None], *, inputs: Mapping[str, Path | None] | None = None) -> None:
    """Refuse outputs that would replace each other, or what is read.

    Parameters
    ----------
    outputs, inputs : mapping of str to Path
        The files by what the user calls them; None where there is none.

    Raises
    ------
    InputError
        If two of them are the same file, and at least one is an output.
    """
    names: dict[str, str] = {os.path.realpath(path): name for name, path in (inputs or {}).items() if path is not None}
    for name, path in outputs.items():
        if path is None or (path.exists() and not path.is_file()):  # two tables may go to one pipe
            continue
        real = os.path.realpath(path)
        if real in names:
            raise InputError(f"{name} must not be the file of {names[real]}. Received: {path}. Pass another path.")
        names[real] = name


def _refuse_sealed(target: Path, option: str, path: Path) -> None:
    """Refuse a file that the seal of a folder lists, its own or the one above, or the seal itself: a run needs it."""
    if not target.is_file():
        return
    for folder in target.parents[:2]:
        files: object = None
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            files = json.loads(read_text(folder / SEAL_FILE))["files"]
        names = [SEAL_FILE, *files] if isinstance(files, dict) else []
        if target.relative_to(folder).as_posix() in names:
            raise InputError(f"{option} must not be a file of a run. Received: {path}, of {folder}. Pass another path.")


def _find_existing(path: Path) -> Path:
    """Return the first of a path and the folders above it that exists, or is a link that leads nowhere."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _try_to_write(path: Path, n_bytes: int, shown: Path) -> None:
    """Create the temporary file of a path, reserve its space, and remove it; `shown` is the path for messages."""
    temporary = name_temporary(path)
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.unlink(temporary)
            free = shutil.disk_usage(path.parent).free
            if n_bytes > free:
                raise InputError(
                    f"Cannot write {shown}: it takes about {_format_bytes(n_bytes)}, {_format_bytes(free)} are free on "
                    "its disk. Free space there, or pass a path on another disk."
                )
            if 0 < n_bytes <= RESERVED_BYTES and hasattr(os, "posix_fallocate"):  # not on macOS
                _reserve(file, n_bytes)
        finally:
            with contextlib.suppress(OSError):
                os.close(file)
    except OSError as error:
        error.filename = str(shown)
        raise InputError(describe_os_error(error)) from error


def _reserve(file: int, n_bytes: int) -> None:
    """Reserve space for a file, which shows whether a quota leaves it; file systems that cannot are passed over."""
    try:
        os.posix_fallocate(file, 0, n_bytes)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}:
            raise


def _format_bytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"
