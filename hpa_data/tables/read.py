"""Tables of any format, told apart by their content: text, Excel's workbooks, Parquet files."""

import contextlib
import zipfile
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from hpa_data.dataset import fold_name
from hpa_data.errors import InputError, first_line
from hpa_data.system.files import refuse_unreadable
from hpa_data.system.os_errors import naming_file
from hpa_data.tables.text import read_text
from hpa_data.tables.workbook import read_parquet, read_workbook

# How other files begin that are taken for tables, what they are, and what to do.
_OTHERS = {
    b"\xd0\xcf\x11\xe0": (
        "a workbook of Excel 97, or one that is locked with a password",
        "Save it as .xlsx or as CSV",
    ),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "Unpack it"),
    b"BZh": ("compressed by bzip2", "Unpack it"),
    b"\xfd7zXZ": ("compressed by xz", "Unpack it"),
    b"7z\xbc\xaf": ("a 7-Zip archive", "Unpack it"),
    b"ARROW1": ("an Arrow (Feather) file", "Save it as Parquet or as CSV"),
    b"\x89HDF": ("an HDF5 file", "Save the table as CSV"),
    b"SQLite": ("an SQLite database", "Save the table as CSV"),
    b"RDX": ("a file of R", "Save the table by write.csv"),
    b"\x93NUMPY": ("a NumPy array", "Save the table as CSV"),
    b"\x80\x04": ("a pickle, which is not read because it can run programs", "Save the table as CSV"),
    b"\x80\x05": ("a pickle, which is not read because it can run programs", "Save the table as CSV"),
    b"%PDF": ("a PDF file", "Pass a CSV file"),
    b"<": ("a page of HTML or XML, perhaps the error page of a download", "Fetch the table again, or save it as CSV"),
    b"{": ("JSON", "Save the table as CSV"),
    b"[": ("JSON", "Save the table as CSV"),
    b"version https://git-lfs": ("a pointer of Git LFS in place of the file", "Run git lfs pull"),
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that is being read."""

    path: Path

    header: tuple[str, ...]
    """Names of columns, as they are written."""

    rows: Iterator[tuple[int, list[str]]]
    """The line or row in the file, from 1, and one cell per column."""


@contextlib.contextmanager
def open_table(path: Path, known: Collection[str]) -> Generator[Table]:
    """Open a table to read its rows once.

    Parameters
    ----------
    path : Path
        Text, see `text.read_text`; an Excel workbook or a Parquet file, see `workbook`. Its name does not matter.
    known : collection of str
        Names that columns may have, whatever their case.

    Raises
    ------
    InputError
        Also while the rows are read, if it is no such table.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"Cannot read {path}: it is not a regular file. Save it as a file first, and pass that.")
    if not path.exists():
        raise InputError(f"Cannot read {path}: there is no such file. Check the path.")
    with contextlib.closing(_read_rows(path, frozenset(map(fold_name, known)))) as rows:
        _, header = next(rows, (1, []))
        yield Table(path=path, header=tuple(header), rows=rows)


def _read_rows(path: Path, known: frozenset[str]) -> Generator[tuple[int, list[str]]]:
    with naming_file(path):
        yield from _read_content(path, known)


def _read_content(path: Path, known: frozenset[str]) -> Generator[tuple[int, list[str]]]:
    with path.open("rb") as file:
        start = file.read(64)
    for magic, (what, remedy) in _OTHERS.items():
        if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(magic):
            raise InputError(f"Cannot read {path}: it is {what}. {remedy}.")
    if start.startswith(b"PAR1"):
        read = read_parquet
    elif start.startswith(b"PK\x03\x04"):
        _check_workbook(path)
        read = read_workbook
    else:
        yield from read_text(path, known)
        return
    try:
        yield from read(path, known)
    except InputError:
        raise
    except Exception as error:  # neither library says which errors a damaged file may raise
        refuse_unreadable(error, path)
        raise InputError(f"Cannot read {path}: the file is damaged ({first_line(error)}). Save it again.") from error


def _check_workbook(path: Path) -> None:
    """Refuse Zip archives that are no workbook of Excel."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except zipfile.BadZipFile as error:
        raise InputError(f"Cannot read {path}: it is not a whole file ({error}). Fetch or save it again.") from error
    if "xl/workbook.xml" in names:
        return
    what, remedy = "a Zip archive", "Unpack it, and pass the table that is in it"
    if "xl/workbook.bin" in names:
        what, remedy = "a binary workbook of Excel", "Save it as .xlsx or as CSV"
    elif "mimetype" in names:
        what, remedy = "an OpenDocument file", "Save it as .xlsx or as CSV"
    elif any(name.startswith("Index/") for name in names):
        what, remedy = "a file of Apple Numbers", "Export it as Excel or as CSV"
    raise InputError(f"Cannot read {path}: it is {what}. {remedy}.")
