"""The files of a source: in a folder, or in an archive.

No name and no size is trusted. Links that lead back are followed once, and no more than `MAX_FILE_BYTES` of a file are
read into memory.
"""

import errno
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.sources.archives import find_archive, open_archive
from hpa_data.sources.members import (
    HIDDEN,
    SUBFOLDER,
    PassedOver,
    find_hidden,
    is_hidden,
    is_unsafe,
    packed_names,
    split_listing,
)
from hpa_data.system.files import check_size, is_unreadable, read_regular

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

    passed_over: tuple[PassedOver, ...] = ()
    """Files that are not read, whatever the naming scheme. A hidden folder is listed, not what it holds."""


def list_files(source: Path, *, nested: bool) -> Listing:
    """List the files of a folder or an archive.

    Parameters
    ----------
    source : Path
        A folder, ``archive.zip``, or ``archive.zip/folder``.
    nested : bool
        List subfolders, too. Links to folders are followed; each folder is listed once.

    Returns
    -------
    Listing
        Sorted by name. A file packed by gzip is listed without its ``.gz``.

    Raises
    ------
    InputError
        If the source is neither, or cannot be read.
    """
    root = os.path.abspath(source)
    _find_archive.cache_clear()  # the file at a path may have changed
    others: list[PassedOver] = []
    if os.path.isdir(root):
        try:
            names = list(_walk(root, nested, others))
        except OSError as error:
            raise InputError(
                f"Cannot read the source: {error.filename}: {error.strerror}. Check its permissions."
            ) from error
    elif (archive := _find_archive(root)) is not None:
        names = _list_members(*archive, nested, others)
    else:
        raise InputError(
            f"source must be a folder of images or an archive. Received: {source}, which does not exist. Check the "
            "path."
        )
    names, archives = split_listing(names)
    others += archives
    return Listing(
        root=root,
        names=tuple(sorted(names)),
        is_archive=not os.path.isdir(root),
        passed_over=tuple(sorted(others, key=lambda other: other.name)),
    )


def read_file(root: str, name: str) -> bytes:
    """Read a file of a source.

    Parameters
    ----------
    root, name : str
        As `list_files` returned them. Any process can read them.

    Raises
    ------
    InputError
        If it is not a regular file, too large, or cannot be read. The message has the name in the listing.
    """
    archive = _find_archive(root)
    try:
        try:
            return _read_content(root, archive, name)
        except (FileNotFoundError, KeyError):
            for packed in packed_names(name):
                try:
                    return _unpack(_read_content(root, archive, packed))
                except (FileNotFoundError, KeyError):
                    continue
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    except InputError as error:
        raise InputError(str(error), file=name) from error
    # zipfile raises all of these for damage, and RuntimeError for encryption and for methods that it lacks.
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it is damaged"
        remedy = "Check its permissions, or the disk." if is_unreadable(error) else "Fetch the file again."
        raise InputError(f"Cannot read {name}: {reason}. {remedy}", file=name) from error


def _unpack(content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        unpacked = file.read(MAX_FILE_BYTES + 1)
    check_size(len(unpacked), MAX_FILE_BYTES)
    return unpacked


def _walk(root: str, nested: bool, others: list[PassedOver]) -> Iterator[str]:
    """Yield the names of the files below a folder, relative to it; folders come before links to them.

    What is passed over is added to `others`.
    """
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
                if is_hidden(entry.name):
                    others.append(PassedOver(inner + entry.name + "/" * _is_folder(entry), HIDDEN))
                elif not _is_folder(entry):
                    yield inner + entry.name
                elif not nested:
                    others.append(PassedOver(f"{inner}{entry.name}/", SUBFOLDER))
                else:
                    (links if entry.is_symlink() else folders).append(f"{inner}{entry.name}/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it will fail
        return False


# Found once per source: read_file asks for each file.
_find_archive = lru_cache(maxsize=64)(find_archive)


def _list_members(archive: str, inner: str, nested: bool, others: list[PassedOver]) -> list[str]:
    """Return the names of the files in a folder of an archive, relative to it; `others` gets what is passed over."""
    opened = open_archive(archive)
    names: list[str] = []
    folders: dict[str, str] = {}
    for name in opened.files:
        if is_unsafe(name):
            names.append(name)
        elif name.startswith(inner):
            relative = name[len(inner) :]
            if hidden := find_hidden(relative):
                folders[hidden] = HIDDEN
            elif not nested and "/" in relative:
                folders[relative[: relative.index("/") + 1]] = SUBFOLDER
            else:
                names.append(relative)
    others += [PassedOver(name, reason) for name, reason in folders.items()]
    others += [
        PassedOver(other.name[len(inner) :], other.reason)
        for other in opened.passed_over
        if other.name.startswith(inner) and not find_hidden(other.name[len(inner) :])
    ]
    if inner and not names and not others:
        raise InputError(_describe_missing(archive, inner, opened.files))
    return names


def _describe_missing(archive: str, inner: str, names: Iterable[str]) -> str:
    if file := next((name for name in names if f"{inner}/".startswith(f"{name}/")), ""):
        return f"Cannot open {archive}/{inner[:-1]}: {file} is a file inside an archive. Unpack {archive} first."
    folders = sorted({name.rpartition("/")[0] for name in names} - {""})
    listed = f"It has: {', '.join(folders[:5])}{', …' if len(folders) > 5 else ''}" if folders else "It has no folders"
    return f"Cannot find the folder {inner[:-1]} in {archive}. {listed}."


def _read_content(root: str, archive: tuple[str, str] | None, name: str) -> bytes:
    if archive is None:
        return read_regular(f"{root}/{name}", max_bytes=MAX_FILE_BYTES)
    path, inner = archive
    opened = open_archive(path)
    member = opened.files[inner + name]
    check_size(member.n_bytes, MAX_FILE_BYTES)
    return opened.read(member)
