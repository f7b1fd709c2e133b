"""Archives: what kind of file a path leads to, by its first bytes, and why it cannot be opened if it cannot."""

import io
import os
import re
import threading
import weakref
import zipfile
from functools import lru_cache
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.sources.compressed import WRITERS
from hpa_data.sources.members import Archive, is_archive_name
from hpa_data.sources.tar_archive import is_tar, open_tar
from hpa_data.sources.unpacked import open_unpacked
from hpa_data.sources.zip_archive import open_zip

# Archives that cannot be read: what they begin with, and what they are.
_OTHERS = (
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "packed by LZ4"),
    (b"\x1f\x9d", "packed by compress"),
    (b"LZIP", "packed by lzip"),
    (b"MSCF", "a cabinet archive"),
    (b"xar!", "a xar archive"),
)
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"BM")


def find_archive(root: str) -> tuple[str, str] | None:
    """Split an absolute path into a file and the folder inside it, empty or with ``/`` at its end.

    None if the path leads through no file.
    """
    path = Path(root)
    for parent in (path, *path.parents):
        if os.path.isfile(parent):  # unlike Path.is_file, False for a name that the system cannot have
            inner = path.relative_to(parent).as_posix()
            return str(parent), "" if inner == "." else inner + "/"
        if os.path.isdir(parent):
            return None
    return None


# All threads of a process ask for an archive at the same time, and one of them opens it.
_opening = threading.Lock()


def open_archive(path: str) -> Archive:
    """Open an archive, once per process.

    Raises
    ------
    InputError
        If it is damaged, locked, or of another kind. The message says which.
    """
    try:
        status = os.stat(path)
        with _opening:
            return _open(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise InputError(f"Cannot open {path}: {error.strerror}. Check its permissions.") from error


@lru_cache(maxsize=4)
def _open(path: str, _changed_ns: int, _n_bytes: int) -> Archive:
    with open(path, "rb") as opened:
        head = opened.read(512)
    for magic, kind in _OTHERS:
        if head.startswith(magic):
            raise InputError(f"Cannot open {path}: it is {kind}, which cannot be read. {_advise(path)}")
    if head.startswith(_IMAGES):
        raise InputError(f"Cannot open {path}: it is a single image. Pass the folder that holds it.")
    if _part_of(path) and not zipfile.is_zipfile(path):
        raise InputError(f"Cannot open {path}: it is one part of an archive in several files. {_advise(path)}")
    for magic, write in WRITERS.items():
        if head.startswith(magic):
            return open_tar(open_unpacked(path, write), path)
    if is_tar(head):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        file = io.FileIO(descriptor, closefd=False)
        weakref.finalize(file, os.close, descriptor)
        return open_tar(file, path)
    if head.startswith(b"PK") or zipfile.is_zipfile(path):  # other bytes before it: an archive that unpacks itself
        return open_zip(path)
    if not head.strip(b"\0"):
        raise InputError(f"Cannot open {path}: it is empty, or begins with zeros. Fetch it again.")
    if is_archive_name(path):
        raise InputError(f"Cannot open {path}: it does not begin as an archive does, so it is damaged. Fetch it again.")
    raise InputError(
        f"Cannot open {path}: it is neither a folder nor an archive. Pass the folder that holds the images."
    )


def _part_of(path: str) -> str | None:
    """Return the name of the whole of which a path is a part by its name; None for other names."""
    name = os.path.basename(path)
    found = re.fullmatch(r"(.+)\.(\d{3}|z\d\d|part\d+\.rar|r\d\d)", name, re.IGNORECASE)
    return found[1] if found else None


def _advise(path: str) -> str:
    """Return the remedy for a file that cannot be opened."""
    whole = _part_of(path)
    if whole is None:
        return "Unpack it first, and pass the folder."
    if re.search(r"\.\d{3}$", path):
        return f"Join the parts first: cat {whole}.* > {whole}."
    if re.search(r"\.z\d\d$", path, re.IGNORECASE):
        return f"Join the parts first: zip -s 0 {whole}.zip --out whole.zip."
    return "Unpack all its parts first, and pass the folder."
