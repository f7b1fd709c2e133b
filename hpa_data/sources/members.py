"""Names of files in folders and archives: which of them belong to a source, and what an archive holds."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# Why files are passed over. A report groups by these texts.
HIDDEN = "hidden, or written by the operating system"
SUBFOLDER = "in a subfolder"
LINK = "a link"
SPECIAL = "not a regular file"
ARCHIVE = "an archive inside the source"
PACKED_TWICE = "packed, and also there unpacked"
REPEATED = "repeated in the archive: the last one is read"
REPEATED_UNEQUAL = "repeated in the archive with other content: the last one is read"

# What operating systems, network storage and file servers leave beside the user's files; lower case.
_SYSTEM_NAMES = frozenset(
    {
        *("$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
        *("__macosx", "icon\r", "network trash folder", "temporary items", "lost+found"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "~snapshot"),
    }
)

# Names of archives. What a file really is shows its first bytes.
_ARCHIVE = re.compile(
    r"\.(zip|z\d\d|7z|rar|tar|tgz|tbz2?|txz|tzst|tar\.(gz|bz2|xz|zst|lz4?|lzma|z)|(zip|7z|tar)\.\d{3})$", re.IGNORECASE
)


_USUAL = (".png", ".tif", ".tiff", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file of a source that is not read."""

    name: str
    """Relative to the source; a folder ends with ``/`` and stands for all that it holds."""

    reason: str
    """Why, as a phrase without a full stop: ``hidden``, ``a link``."""


class Member(NamedTuple):
    """A file in an archive. A tuple, because there are 300,000 of them."""

    name: str
    """In the spelling of `clean_name`."""

    n_bytes: int
    """Unpacked, as the archive's directory says."""

    key: Any
    """What the format finds it by."""

    passed_over: str = ""
    """Why it is not read; empty for a regular file."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An opened archive."""

    files: Mapping[str, Member]
    """By name. Of members with the same name it has the last, as every program that unpacks them."""

    passed_over: tuple[PassedOver, ...]

    read: Callable[[Member], bytes]
    """Unpacks a member. Many threads may call it at the same time."""


def index_members(
    members: Iterable[Member], is_equal: Callable[[Member, Member], bool]
) -> tuple[dict[str, Member], tuple[PassedOver, ...]]:
    """Return the files by name, and the other members.

    Parameters
    ----------
    members : iterable of Member
        In the order of the archive, without its folders.
    is_equal : callable
        Whether two members have the same content.
    """
    files: dict[str, Member] = {}
    passed_over: list[PassedOver] = []
    for member in members:
        if member.passed_over:
            passed_over.append(PassedOver(member.name, member.passed_over))
            continue
        before = files.get(member.name)
        if before is not None:
            passed_over.append(PassedOver(member.name, REPEATED if is_equal(before, member) else REPEATED_UNEQUAL))
        files[member.name] = member
    return files, tuple(passed_over)


def is_unsafe(name: str) -> bool:
    """Return whether a name in an archive leads out of it."""
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:3] in {":/", ":\\"}


def clean_name(name: str) -> str:
    r"""Return a name in an archive with ``/`` between folders, as programs that unpack archives read it.

    A folder ends with ``/``. A name that leads out of the archive is returned as it is.

    Examples
    --------
    >>> clean_name("train\\a_red.png"), clean_name(".//train/./a_red.png"), clean_name("../a_red.png")
    ('train/a_red.png', 'train/a_red.png', '../a_red.png')
    """
    if is_unsafe(name):
        return name
    name = name.replace("\\", "/")
    if "//" in name or "./" in name:
        parts = [part for part in name.split("/") if part not in {"", "."}]
        name = "/".join(parts) + "/" * name.endswith(("/", "/."))
    return name


def find_hidden(name: str) -> str:
    """Return the part of a relative name that is hidden, from its beginning to the hidden folder or file; else empty.

    Examples
    --------
    >>> find_hidden("train/.ipynb_checkpoints/a.tif"), find_hidden("Thumbs.db"), find_hidden("train/a.tif")
    ('train/.ipynb_checkpoints/', 'Thumbs.db', '')
    """
    begin = 0
    while begin < len(name):
        end = name.find("/", begin) + 1 or len(name)
        part = name[begin:end].rstrip("/")
        if is_hidden(part):
            return name[:end]
        begin = end
    return ""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden or belongs to the operating system, by its name alone."""
    return name[:1] == "." or name.lower() in _SYSTEM_NAMES


def is_archive_name(name: str) -> bool:
    """Return whether a file is an archive, or a part of one, by its name."""
    return _ARCHIVE.search(name) is not None


def split_listing(names: Iterable[str]) -> tuple[list[str], list[PassedOver]]:
    """Return the names of files that may be images, and the others.

    A single file that gzip has packed loses its ``.gz``: reading it unpacks it.
    """
    files: list[str] = []
    others: list[PassedOver] = []
    packed: list[str] = []
    for name in names:
        if name.endswith(_USUAL):  # spares 125,000 names the search
            files.append(name)
        elif is_archive_name(name):
            others.append(PassedOver(name, ARCHIVE))
        elif name[-3:].lower() == ".gz":
            packed.append(name)
        else:
            files.append(name)
    if packed:
        plain = set(files)
        others += [PassedOver(name, PACKED_TWICE) for name in packed if name[:-3] in plain]
        files += [name[:-3] for name in packed if name[:-3] not in plain]
    return files, others


def packed_names(name: str) -> Iterator[str]:
    """Yield the names that a file may have that `split_listing` lists without ``.gz``."""
    yield from (name + ".gz", name + ".GZ")
