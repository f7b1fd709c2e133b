"""Compressed tar archives and 7z archives, written as plain tar. 7z and Zstandard need the extra `7z`."""

import bz2
import gzip
import lzma
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from typing import Any

from hpa_data.errors import InputError, first_line
from hpa_data.sources.tar_archive import is_tar
from hpa_data.sources.unpacked import Output, Readable
from hpa_data.system.files import refuse_unreadable

# Memory that xz may use. Its highest level, -9, needs 65 MiB.
_MAX_XZ_BYTES = 2**30

# All that the decompressors raise for damage.
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def write_gzip(path: str, output: Output) -> None:
    """Unpack a tar.gz."""
    with gzip.open(path) as file:
        _write(path, "gzip", file, output)


def write_bzip2(path: str, output: Output) -> None:
    """Unpack a tar.bz2."""
    with bz2.open(path) as file:
        _write(path, "bzip2", file, output)


def write_xz(path: str, output: Output) -> None:
    """Unpack a tar.xz."""
    with open(path, "rb") as file:
        head = file.read(4096)
    try:
        lzma.LZMADecompressor(memlimit=_MAX_XZ_BYTES).decompress(head, max_length=1)
    except lzma.LZMAError as error:
        raise _damaged(path, "xz", error, "Unpack it first with xz, or fetch it again") from error
    with lzma.open(path) as file:
        _write(path, "xz", file, output)


def write_zstandard(path: str, output: Output) -> None:
    """Unpack a tar.zst."""
    try:
        from backports import zstd
    except ImportError as error:
        raise _missing_package(path, ".tar.zst", "backports.zstd") from error
    try:
        with zstd.open(path) as file:
            _write(path, "Zstandard", file, output)
    except zstd.ZstdError as error:
        raise _damaged(path, "Zstandard", error) from error


def _write(path: str, method: str, file: Readable, output: Output) -> None:
    try:
        head = file.read(512)
        if not is_tar(head):
            raise InputError(
                f"Cannot open {path}: it is a single file packed by {method}, not an archive. Pass the folder that "
                "holds it."
            )
        output.write(head)
        output.copy(file)
    except InputError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, method, error) from error


def _damaged(path: str, method: str, error: Exception, remedy: str = "Fetch it again") -> InputError:
    return InputError(f"Cannot open {path}: it is damaged or not complete ({method}: {first_line(error)}). {remedy}.")


def _missing_package(path: str, kind: str, package: str) -> InputError:
    return InputError(
        f"Cannot open {path}: {kind} archives need the package {package}. Run pip install 'hpa[7z]', or unpack it "
        "first and pass the folder."
    )


def write_7z(path: str, output: Output) -> None:
    """Unpack a 7z archive."""
    try:
        import py7zr
        import py7zr.exceptions
    except ImportError as error:
        raise _missing_package(path, ".7z", "py7zr") from error
    if _has_ppmd_header(path):
        raise _refuse_ppmd(path)
    try:
        # From an opened file, py7zr unpacks in the order of the archive, in one thread.
        with open(path, "rb") as file, py7zr.SevenZipFile(file) as archive:
            if archive.needs_password():
                raise py7zr.exceptions.PasswordRequired
            if "PPMd" in archive.archiveinfo().method_names:
                raise _refuse_ppmd(path)
            members = [member for member in archive.list() if not member.is_directory]
            if len({member.filename for member in members}) < len(members):
                raise InputError(f"Cannot open {path}: it has several files of one name. Unpack it first.")
            output.check_space(sum(member.uncompressed + 2 * tarfile.BLOCKSIZE for member in members))
            regular = {member.filename for member in members if member.is_file}
            writer = _TarWriter(output)
            for member in members:
                if member.filename not in regular:
                    writer.add_link(member.filename)
            if regular:
                archive.extract(targets=regular, factory=_make_factory(writer))
            output.write(bytes(2 * tarfile.BLOCKSIZE))
    except py7zr.exceptions.PasswordRequired as error:
        raise InputError(
            f"Cannot open {path}: it is locked with a password. Unpack it first, and pass the folder."
        ) from error
    except py7zr.exceptions.UnsupportedCompressionMethodError as error:
        raise InputError(
            f"Cannot open {path}: it is packed by a method that py7zr cannot read. Unpack it first, and pass the "
            "folder."
        ) from error
    except InputError:
        raise
    # For damage, py7zr raises whatever its steps happen to raise.
    except Exception as error:
        refuse_unreadable(error, path)
        remedy = "Unpack it first with 7-Zip, which reads more than py7zr, or fetch it again"
        raise _damaged(path, "py7zr", error, remedy) from error


def _has_ppmd_header(path: str) -> bool:
    """Return whether the directory of a 7z archive is packed by PPMd. py7zr would unpack it on opening."""
    with open(path, "rb") as file:
        offset, n_bytes = struct.unpack("<QQ", file.read(32)[12:28].ljust(16, b"\0"))
        if offset > os.fstat(file.fileno()).st_size:
            return False
        file.seek(32 + offset)
        header = file.read(min(n_bytes, 2**16))
    return header.startswith(b"\x17") and b"\3\4\1" in header  # a packed directory; the number of PPMd


def _refuse_ppmd(path: str) -> InputError:
    """Return the error for PPMd: pyppmd writes outside its memory when the packed bytes are damaged."""
    return InputError(
        f"Cannot open {path}: it is packed by PPMd, which cannot be read here. Unpack it first, and pass the folder."
    )


class _TarWriter:
    """Writes members one after the other, each with its header, which is written once more when its size is known."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._header = 0
        self._begin = 0
        self._name = ""

    def add_link(self, name: str) -> None:
        """Add a link, without the file that it leads to."""
        self._output.write(_make_header(name, 0, tarfile.SYMTYPE))

    def begin(self, name: str) -> None:
        """Begin a file."""
        self._name, self._header = name, self._output.file.tell()
        self._output.write(_make_header(name, 0))
        self._begin = self._output.file.tell()

    def write(self, content: bytes) -> None:
        """Add bytes to the file."""
        self._output.write(content)

    def end(self) -> None:
        """End the file."""
        end = self._output.file.tell()
        self._output.write(bytes(-(end - self._begin) % tarfile.BLOCKSIZE))
        after = self._output.file.tell()
        self._output.file.seek(self._header)
        self._output.write(_make_header(self._name, end - self._begin))
        self._output.file.seek(after)


def _make_header(name: str, n_bytes: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = n_bytes, kind
    # In GNU's format, a header has the same length whatever the size.
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _make_factory(writer: _TarWriter) -> Any:
    """Return what py7zr asks for the file to write each member to."""
    from py7zr.io import Py7zIO, WriterFactory

    class Sink(Py7zIO):
        def write(self, s: bytes | bytearray) -> int:
            writer.write(bytes(s))
            return len(s)

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def flush(self) -> None:
            pass

        def size(self) -> int:
            return 0

        def close(self) -> None:
            writer.end()

    class Factory(WriterFactory):
        def create(self, filename: str) -> Py7zIO:
            writer.begin(filename)
            return Sink()

    return Factory()


# What an archive begins with, and what unpacks it.
WRITERS: dict[bytes, Callable[[str, Output], None]] = {
    b"7z\xbc\xaf\x27\x1c": write_7z,
    b"\x1f\x8b": write_gzip,
    b"BZh": write_bzip2,
    b"\xfd7zXZ\0": write_xz,
    b"\x28\xb5\x2f\xfd": write_zstandard,
}
