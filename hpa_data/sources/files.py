"""Where the bytes of a source lie: in a folder, or in a Zip archive that is read as it is.

Nothing here trusts a name or a size. Archives are never unpacked, links that lead back are walked once, and no more
than `MAX_FILE_BYTES` of a file are taken into memory.
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

# The largest known file, a 16-bit stack of 7 filters at 4096 x 4096, has 235 MB.
MAX_FILE_BYTES = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a source.

    Attributes
    ----------
    root : str
        The folder, the archive, or a folder inside the archive; absolute.
    names : tuple of str
        Relative to `root`, with ``/`` between folders. As the source has them: they may be no text, or, in an archive,
        lead elsewhere.
    is_archive : bool
    """

    root: str
    names: tuple[str, ...]
    is_archive: bool


def list_files(source: Path, *, nested: bool) -> Listing:
    """List the files of a folder or a Zip archive.

    Parameters
    ----------
    source : Path
        A folder, ``archive.zip``, or ``archive.zip/folder``.
    nested : bool
        Look into subfolders too; links to folders are followed, each folder is walked once.

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
    _find_archive.cache_clear()  # what it said of a path before may have changed
    if os.path.isdir(root):
        try:
            names = list(_walk(root, nested))
        except OSError as error:
            raise InputError(
                f"The source must be readable. Received: {error.filename}: {error.strerror}. Check its rights."
            ) from error
    elif (place := _find_archive(root)) is not None:
        names = [name for name in _list_members(*place) if nested or is_unsafe(name) or "/" not in name]
    else:
        told = (
            "a file, but no whole archive. Fetch it again"
            if os.path.isfile(root)
            else "which is neither. Check the path"
        )
        raise InputError(f"The source must be a folder of images or a Zip archive. Received: {source}, {told}.")
    return Listing(root=root, names=tuple(sorted(names)), is_archive=not os.path.isdir(root))


def is_unsafe(name: str) -> bool:
    """Tell whether a name in an archive leads out of it."""
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:3] in {":/", ":\\"}


def read_file(root: str, name: str) -> bytes:
    """Read a file of a source.

    Parameters
    ----------
    root, name : str
        As `list_files` gave them.

    Raises
    ------
    InputError
        If it is no file, too large, or cannot be read; the message names the file as the listing does.
    """
    place = _find_archive(root)
    try:
        content = _read_member(*place, name) if place else _read_path(f"{root}/{name}")
    # zipfile tells of damage by all of these, of encryption and methods that it lacks by RuntimeError.
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it is damaged"
        raise InputError(
            f"A plane must be a readable file. Received: {name}: {reason}. Fetch the file again.", file=name
        ) from error
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
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in seen:
            continue  # a link that leads back
        seen.add((about.st_dev, about.st_ino))
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
    except OSError:  # a link that loops: its reading will say so
        return False


def _read_path(path: str) -> bytes:
    # Not waiting: the opening of a pipe would, for ever. Python's own file objects cost three times as much.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no file")
        _check_size(about.st_size)
        content = os.read(file, about.st_size)
        while len(content) < about.st_size and (more := os.read(file, about.st_size - len(content))):
            content += more
        return content
    finally:
        os.close(file)


@lru_cache(maxsize=64)
def _find_archive(root: str) -> tuple[str, str] | None:
    """Split a path into a Zip archive and the folder inside, empty or with ``/`` at its end; None if there is none."""
    path = Path(root)
    for place in (path, *path.parents):
        if os.path.isfile(place):  # unlike Path.is_file, no more than False for a name that cannot be one
            inner = path.relative_to(place).as_posix()
            return (str(place), "" if inner == "." else inner + "/") if zipfile.is_zipfile(place) else None
        if os.path.isdir(place):
            return None
    return None


def _list_members(archive: str, inner: str) -> Iterator[str]:
    for member in _open_archive(archive, os.stat(archive).st_mtime_ns).infolist():
        # Besides the files, some programs pack notes about them.
        if not member.is_dir() and not member.filename.startswith("__MACOSX/"):
            if is_unsafe(member.filename):
                yield member.filename
            elif member.filename.startswith(inner):
                yield member.filename[len(inner) :]


def _read_member(archive: str, inner: str, name: str) -> bytes:
    opened = _open_archive(archive, os.stat(archive).st_mtime_ns)
    # zipfile reads no more than the directory says, whatever the packed bytes would give.
    member = opened.getinfo(inner + name)
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError("it is packed by a method whose memory has no bound")
    n_bytes = member.file_size
    _check_size(n_bytes)
    with _opening:
        file = opened.open(inner + name)
    try:
        return file.read(n_bytes)
    finally:
        with _opening:
            file.close()


# zipfile counts the members that are open, and closes the archive with the last: not two threads at a time.
_opening = threading.Lock()


@lru_cache(maxsize=4)
def _open_archive(archive: str, _changed_ns: int) -> zipfile.ZipFile:
    """Open an archive once in a process: its directory takes a second where it lists 125,000 files.

    Threads may read from it together: `zipfile` locks the file, not the unpacking.
    """
    try:
        return zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"A Zip archive must be whole. Received: {archive}: {error}. Fetch it again.") from error
