"""Zip archives, read at any place without unpacking them.

Many programs write them, and not all keep to the standard: names have backslashes, or are UTF-8 without saying so.
"""

import os
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator

from hpa_data.errors import InputError, first_line
from hpa_data.sources.members import LINK, Archive, Member, clean_name, index_members

# Methods of compression by their number in the format. Python's zipfile unpacks bzip2 and LZMA in steps whose size it
# does not limit.
_READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    20: "Zstandard",
    93: "Zstandard",
    95: "XZ",
    96: "JPEG",
    98: "PPMd",
}
_LOCKED, _AES, _IS_UTF8 = 0x1, 99, 0x800
_UNICODE_PATH = 0x7075

# The record at the end of a Zip archive: 22 bytes and a comment.
_END, _END_BYTES, _MAX_COMMENT = b"PK\5\6", 22, 65535

_SPLIT = "Cannot open {}: it is one part of an archive in several files. Join the parts first:"

# zipfile counts the open members and closes the archive with the last one: one thread at a time.
_opening = threading.Lock()


def open_zip(path: str) -> Archive:
    """Open a Zip archive.

    Reading the directory of 125,000 files takes a second. Threads may read members at the same time: `zipfile` locks
    the file, not the unpacking.

    Raises
    ------
    InputError
        If it is not complete, one part of several, or locked with a password.
    """
    if _is_split(path):
        raise InputError(_describe_split(path))
    try:
        opened = zipfile.ZipFile(path)
    except NotImplementedError as error:
        if "disks" in str(error):  # by its 64-bit records, an archive in several files
            raise InputError(_describe_split(path)) from error
        raise InputError(
            f"Cannot open {path}: it needs a newer version of the format ({first_line(error)}). Unpack it first, and "
            "pass the folder."
        ) from error
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        if zipfile.is_zipfile(path):
            reason = f"its directory is damaged ({first_line(error)})"
        else:  # the directory is at the end
            reason = "it is not a complete Zip archive"
        raise InputError(f"Cannot open {path}: {reason}. Fetch it again, or pass a folder.") from error
    members = opened.infolist()
    if any(member.header_offset < 0 for member in members):  # the directory counts from a beginning that is not there
        raise InputError(_describe_split(path))
    files, passed_over = index_members(_list_members(members), _is_equal)
    if files and all(_is_locked(member.key) for member in files.values()):
        raise InputError(f"Cannot open {path}: it is locked with a password. Unpack it first, and pass the folder.")
    reasons = {_describe_method(member.key) for member in files.values()}
    if len(reasons) == 1 and (reason := reasons.pop()):
        raise InputError(f"Cannot open {path}: {reason}. Unpack it first, and pass the folder.")

    def read(member: Member) -> bytes:
        return _read_member(opened, member)

    return Archive(files=files, passed_over=passed_over, read=read)


def _list_members(members: list[zipfile.ZipInfo]) -> Iterator[Member]:
    for member in members:
        name = clean_name(_decode_name(member))
        if not name.endswith("/"):
            is_link = member.create_system == 3 and stat.S_ISLNK(member.external_attr >> 16)  # 3: Unix
            yield Member(name, member.file_size, member, LINK if is_link else "")


def _is_equal(one: Member, other: Member) -> bool:
    return bool(one.n_bytes == other.n_bytes and one.key.CRC == other.key.CRC)


def _decode_name(member: zipfile.ZipInfo) -> str:
    """Return a member's name.

    Without a flag that it is UTF-8, zipfile takes it for cp437, the code page of DOS. macOS and old Linux programs
    write UTF-8 without the flag; others write the UTF-8 name beside it.
    """
    name = member.filename
    if name.isascii() or member.flag_bits & _IS_UTF8:
        return name
    try:
        packed = member.orig_filename.encode("cp437")
        return (_find_unicode_name(member.extra, packed) or packed).decode()
    except UnicodeError:  # it is cp437, or zipfile has decoded it already
        return name


def _find_unicode_name(extra: bytes, packed: bytes) -> bytes:
    """Return the name in Info-ZIP's extra field, which holds the checksum of the other name; empty if there is none."""
    while len(extra) >= 4:
        kind, n_bytes = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + n_bytes], extra[4 + n_bytes :]
        if kind == _UNICODE_PATH and field[1:5] == struct.pack("<L", zlib.crc32(packed)):
            return field[5:]
    return b""


def _is_locked(member: zipfile.ZipInfo) -> bool:
    return bool(member.flag_bits & _LOCKED) or member.compress_type == _AES


def _describe_method(member: zipfile.ZipInfo) -> str:
    """Return why a member's compression cannot be read; empty if it can."""
    method = member.compress_type
    if method in _READABLE:
        return ""
    return f"it is packed by {_METHODS.get(method, f'method {method}')}, which cannot be read here"


def _read_member(opened: zipfile.ZipFile, member: Member) -> bytes:
    found: zipfile.ZipInfo = member.key
    name = member.name
    if _is_locked(found):
        raise InputError(f"Cannot read {name}: it is locked with a password. Unpack the archive first.", file=name)
    if reason := _describe_method(found):
        raise InputError(f"Cannot read {name}: {reason}. Unpack the archive first.", file=name)
    with _opening:
        file = opened.open(found)
    try:
        # zipfile reads no more than the archive's directory says, whatever the packed bytes would unpack to.
        return file.read(member.n_bytes)
    finally:
        with _opening:
            file.close()


def _is_split(path: str) -> bool:
    """Return whether an archive lies in several files, of which this is the last."""
    with open(path, "rb") as file:
        n_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(n_bytes - _END_BYTES - _MAX_COMMENT, 0))
        tail = file.read()
    end = tail.rfind(_END)
    # The number of this part, from 0. 65535: it stands in the 64-bit record, which zipfile checks.
    return end >= 0 and tail[end + 4 : end + 6] not in {b"", b"\0\0", b"\xff\xff"}


def _describe_split(path: str) -> str:
    whole, _, number = os.path.basename(path).rpartition(".")
    if number.isdigit():
        return f"{_SPLIT.format(path)} cat {whole}.* > {whole}."
    return f"{_SPLIT.format(path)} zip -s 0 {os.path.basename(path)} --out whole.zip."
