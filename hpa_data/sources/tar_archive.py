"""Plain tar archives: one pass over the headers finds every member, which is then read at its place.

A compressed tar and a 7z archive are read as the plain tar that `unpacked` makes of them.
"""

import io
import os
import tarfile
from collections.abc import Iterator

from hpa_data.errors import InputError, first_line
from hpa_data.sources.members import LINK, SPECIAL, Archive, Member, clean_name, index_members

# The longest header that is believed: a name, or the attributes of a file.
_MAX_HEADER = 2**20

_COMPARED_BYTES = 2**20


class _Headers(io.FileIO):
    """A file of which tarfile reads no more at a time than a header has, whatever length a damaged one states."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header states a length of {size} bytes")
        return super().read(size)


def is_tar(head: bytes) -> bool:
    """Return whether a file begins with the header of a tar member: 512 bytes with a checksum."""
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def open_tar(file: io.FileIO, path: str) -> Archive:
    """Open a plain tar archive.

    Parameters
    ----------
    file : FileIO
        The opened archive. It stays open as long as the result is in use.
    path : str
        What the user knows it by, for messages.

    Raises
    ------
    InputError
        If it is not complete, or damaged.
    """
    damaged = f"Cannot open {path}: it is not a complete tar archive"
    try:
        files, passed_over = index_members(_list_members(file), lambda one, other: _is_equal(file, one, other))
    except (tarfile.TarError, OSError, ValueError) as error:
        raise InputError(f"{damaged} ({first_line(error)}). Fetch it again.") from error

    def read(member: Member) -> bytes:
        content = _pread(file, member.key, member.n_bytes)
        if len(content) < member.n_bytes:
            raise ValueError("the archive ends before it does")
        return content

    return Archive(files=files, passed_over=passed_over, read=read)


def _list_members(file: io.FileIO) -> Iterator[Member]:
    found: dict[str, Member] = {}
    file.seek(0)  # the copy of the descriptor shares its place
    with (
        _Headers(os.dup(file.fileno())) as headers,
        tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape") as tar,
    ):
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep a kilobyte per member
            if info.isdir():
                continue
            member = _describe(info, found)
            if not member.passed_over:
                found[member.name] = member
            yield member
        _check_end(headers, tar.offset)


def _describe(info: tarfile.TarInfo, found: dict[str, Member]) -> Member:
    """Return a member; a hard link to one before it is the same file."""
    name = clean_name(info.name)
    if info.islnk() and (target := found.get(clean_name(info.linkname))):
        return target._replace(name=name)
    if info.issym() or info.islnk():
        return Member(name, 0, 0, LINK)
    # A sparse member leaves out the zeros of its file.
    return Member(name, info.size, info.offset_data, "" if info.isreg() and not info.issparse() else SPECIAL)


def _check_end(headers: _Headers, offset: int) -> None:
    """Raise ReadError unless the archive ends where tarfile stops: it takes a damaged header for the end."""
    n_bytes = headers.seek(0, os.SEEK_END)
    headers.seek(offset)
    if (block := headers.read(512)).strip(b"\0") or len(block) not in {0, 512}:
        raise tarfile.ReadError(f"the header at byte {offset} is damaged")
    while headers.tell() < n_bytes and not (block := headers.read(512)).strip(b"\0"):
        pass
    if is_tar(block):
        raise tarfile.ReadError(
            f"another archive begins at byte {headers.tell() - len(block)}; tar -i unpacks all of them"
        )


def _is_equal(file: io.FileIO, one: Member, other: Member) -> bool:
    return one.n_bytes == other.n_bytes and all(
        _pread(file, one.key + begin, length) == _pread(file, other.key + begin, length)
        for begin in range(0, one.n_bytes, _COMPARED_BYTES)
        for length in [min(_COMPARED_BYTES, one.n_bytes - begin)]
    )


def _pread(file: io.FileIO, offset: int, n_bytes: int) -> bytes:
    """Read bytes at a place, fewer at the end of the file. Threads may do it at the same time."""
    content = os.pread(file.fileno(), n_bytes, offset)
    while len(content) < n_bytes and (more := os.pread(file.fileno(), n_bytes - len(content), offset + len(content))):
        content += more
    return content
