"""The files of a source: in a folder, or in a Zip archive, which is not unpacked.

No name and no size is trusted. Links that lead back are followed once, and no more than `MAX_FILE_BYTES` of a file are
read into memory.
"""

import os
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hpa_data.errors import InputError

# The largest known file, a 16-bit stack of 7 channels at 4096 x 4096, has 235 MB.
MAX_FILE_BYTES = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a source."""

    root: str
    """The folder, the archive, or a folder inside the archive; absolute."""

    names: tuple[str, ...]
    """Relative to `root`, with ``/`` between folders. Unchecked: they may not be UTF-8, or lead out of an archive."""

    is_archive: bool


def list_files(source: Path, *, nested: bool) -> Listing:
    """List the files of a folder or a Zip archive.

    Parameters
    ----------
    source : Path
        A folder, ``archive.zip``, or ``archive.zip/folder``.
    nested : bool
        List subfolders, too. Links to folders are followed; each folder is listed once.

    Returns
    -------
    Listing
        Sorted by name.

    Raises
    ------
    InputError
        If the source is neither, or cannot be read.
    """
    root = os.path.abspath(source)
    _find_archive.cache_clear()  # the file at a path may have changed
    if os.path.isdir(root):
        try:
            names = list(_walk(root, nested))
        except OSError as error:
            raise InputError(
                f"Cannot read the source: {error.filename}: {error.strerror}. Check its permissions."
            ) from error
    elif (archive := _find_archive(root)) is not None:
        names = [name for name in _list_members(*archive) if nested or is_unsafe(name) or "/" not in name]
    elif os.path.isfile(root):
        raise InputError(f"Cannot open {source}: it is not a complete Zip archive. Fetch it again, or pass a folder.")
    else:
        raise InputError(
            f"source must be a folder of images or a Zip archive. Received: {source}, which does not exist. Check the "
            "path."
        )
    return Listing(root=root, names=tuple(sorted(names)), is_archive=not os.path.isdir(root))


def is_unsafe(name: str) -> bool:
    """Return whether a name in an archive leads out of it."""
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:3] in {":/", ":\\"}


def read_file(root: str, name: str) -> bytes:
    """Read a file of a source.

    Parameters
    ----------
    root, name : str
        As `list_files` returned them.

    Raises
    ------
    InputError
        If it is not a regular file, too large, or cannot be read. The message has the name in the listing.
    """
    archive = _find_archive(root)
    try:
        content = _read_member(*archive, name) if archive else _read_path(f"{root}/{name}")
    # zipfile raises all of these for damage, and RuntimeError for encryption and for methods that it lacks.
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it is damaged"
        raise InputError(f"Cannot read {name}: {reason}. Fetch the file again.", file=name) from error
    return content


def _check_size(n_bytes: int) -> None:
    if n_bytes > MAX_FILE_BYTES:
        raise ValueError(f"it has {n_bytes} bytes, more than {MAX_FILE_BYTES}")


def _walk(root: str, nested: bool) -> Iterator[str]:
    """Yield the names of the files below a folder, relative to it; folders come before links to them."""
    seen: set[tuple[int, int]] = set()
    folders: list[str] = [""]
    links: list[str] = []
    while folders or links:
        inner = folders.pop() if folders else links.pop()
        folder = os.path.join(root, inner)
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue  # a link that leads back
        seen.add((status.st_dev, status.st_ino))
        # scandir, not Path.iterdir: 125,000 planes in a second.
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
                if not _is_folder(entry):
                    yield inner + entry.name
                elif nested:
                    (links if entry.is_symlink() else folders).append(f"{inner}{entry.name}/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it will fail
        return False


def _read_path(path: str) -> bytes:
    # Without O_NONBLOCK, opening a pipe would wait forever. Python's own file objects take three times as long.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        _check_size(status.st_size)
        content = os.read(file, status.st_size)
        while len(content) < status.st_size and (more := os.read(file, status.st_size - len(content))):
            content += more
        return content
    finally:
        os.close(file)


@lru_cache(maxsize=64)
def _find_archive(root: str) -> tuple[str, str] | None:
    """Split a path into a Zip archive and the folder inside, empty or with ``/`` at its end; None if there is none."""
    path = Path(root)
    for parent in (path, *path.parents):
        if os.path.isfile(parent):  # unlike Path.is_file, False for a name that the system cannot have
            inner = path.relative_to(parent).as_posix()
            return (str(parent), "" if inner == "." else inner + "/") if zipfile.is_zipfile(parent) else None
        if os.path.isdir(parent):
            return None
    return None


def _list_members(archive: str, inner: str) -> Iterator[str]:
    for member in _open_archive(archive, os.stat(archive).st_mtime_ns).infolist():
        # macOS packs metadata beside the files.
        if not member.is_dir() and not member.filename.startswith("__MACOSX/"):
            if is_unsafe(member.filename):
                yield member.filename
            elif member.filename.startswith(inner):
                yield member.filename[len(inner) :]


def _read_member(archive: str, inner: str, name: str) -> bytes:
    opened = _open_archive(archive, os.stat(archive).st_mtime_ns)
    # zipfile reads no more than the archive's directory says, whatever the packed bytes would unpack to.
    member = opened.getinfo(inner + name)
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError("it is packed by a method that unpacks without a limit of memory")
    n_bytes = member.file_size
    _check_size(n_bytes)
    with _opening:
        file = opened.open(inner + name)
    try:
        return file.read(n_bytes)
    finally:
        with _opening:
            file.close()


# zipfile counts the open members and closes the archive with the last one: one thread at a time.
_opening = threading.Lock()


@lru_cache(maxsize=4)
def _open_archive(archive: str, _changed_ns: int) -> zipfile.ZipFile:
    """Open an archive once per process: reading a directory of 125,000 files takes a second.

    Threads may read from it at the same time: `zipfile` locks the file, not the unpacking.
    """
    try:
        return zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"Cannot open {archive}: {error}. Fetch the archive again.") from error
