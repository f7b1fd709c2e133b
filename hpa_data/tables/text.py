"""Tables as text: CSV and its relatives, as Excel, R, pandas and Google Sheets write them."""

import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from hpa_data.dataset import fold_name
from hpa_data.errors import InputError

# Characters. The longest line of a known table has some 100; without a limit, one could fill the memory.
MAX_LINE = 1_000_000
# Characters of a whole table; a compressed one may be a thousand times larger than its file.
MAX_TEXT = 4 * 10**9
# Between columns, in order of preference. The space is that of R's `write.table`.
SEPARATORS = (",", ";", "\t", "|", " ")
GZIP = b"\x1f\x8b"
# Removed from both ends of each cell: blanks, and marks of the beginning and the end of files.
STRIPPED = " \t\r\n\ufeff\xa0\x1a"

Row = tuple[int, list[str]]


def read_text(path: Path, known: frozenset[str]) -> Iterator[Row]:
    """Yield the rows of a text table, the header first.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte order mark, or UTF-16; perhaps compressed by gzip. Bytes that are not UTF-8 become
        lone surrogates, because columns that nobody needs may hold them.
    known : frozenset of str
        Names of columns, folded. The separator is the one that splits the header into the most of them, unless a first
        line such as ``sep=;`` names it.

    Yields
    ------
    tuple of int and list of str
        The line, counted from 1, and as many cells as the header has. Rows without any text are left out.

    Raises
    ------
    InputError
        If it is no such table.
    """
    try:
        with _open_binary(path) as binary:
            encoding = _detect_encoding(binary.read(400))
            binary.seek(0)
            errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
            with io.TextIOWrapper(binary, encoding=encoding, errors=errors, newline="") as file:
                yield from _read_rows(_read_lines(file, path), path, known)
    except (UnicodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path}: it is not CSV text in UTF-8 ({error}). Export it again.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"Cannot read {path}: it is no whole file of gzip ({error}). Fetch or compress it again."
        ) from error


def _open_binary(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
    return gzip.open(path) if compressed else path.open("rb")  # type: ignore[return-value]


def _detect_encoding(start: bytes) -> str:
    """Tell UTF-16 by its mark, or by the zero bytes of a header in ASCII; all else is read as UTF-8."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = start[:8]
    if len(head) == 8 and not any(head[1::2]) and all(head[::2]):
        return "utf-16-le"
    if len(head) == 8 and not any(head[::2]) and all(head[1::2]):
        return "utf-16-be"
    return "utf-8-sig"


def _read_lines(file: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """Yield the lines of a table, each of bounded length."""
    n_read = 0
    while line := file.readline(MAX_LINE + 1):
        n_read += len(line)
        if len(line) > MAX_LINE:
            raise InputError(
                f"Cannot read {path}: it has a line of more than {MAX_LINE} characters. Pass a table of ids and labels."
            )
        if n_read > MAX_TEXT:
            raise InputError(f"Cannot read {path}: it has more than {MAX_TEXT} characters. Pass a smaller table.")
        if "\0" in line:
            raise InputError(f"Cannot read {path}: it is not text, for it holds bytes that are 0. Export it as CSV.")
        yield line


def _read_rows(lines: Iterator[str], path: Path, known: frozenset[str]) -> Iterator[Row]:
    first, skipped = "", 0
    for first in lines:
        skipped += 1
        if first.strip():
            break
    named = re.fullmatch(r'"?sep=(.)"?[,;\t]*', first.strip("\r\n\ufeff"), re.IGNORECASE)
    if named:
        first, skipped = next(lines, ""), skipped + 1
    separator = named.group(1) if named else _choose_separator(first, known)
    reader = csv.reader(itertools.chain([first], lines), strict=True, delimiter=separator, skipinitialspace=True)
    header = _strip(next(reader, []))
    rows: Iterable[Row] = ((reader.line_num + skipped - 1, _strip(row)) for row in reader)
    if len(header) == 1 and (wrapped := _split_line(header[0])) is not None:
        # Excel quotes whole lines where it did not know the separator that they have.
        header = wrapped
        rows = ((line, _split_line(row[0]) or row if len(row) == 1 else row) for line, row in rows)
    yield 1, header
    yield from _align(rows, header, path, separator, may_have_names=first.lstrip("\ufeff").startswith('"'))


def _choose_separator(line: str, known: frozenset[str]) -> str:
    """Return the separator that splits a header into the most known names, then into the most cells."""

    def rank(separator: str) -> tuple[int, int]:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
        n_known = sum(fold_name(cell) in known for cell in cells)
        return n_known, 0 if separator == " " else len(cells)  # spaces may stand beside other separators, too

    return max(SEPARATORS, key=rank)


def _split_line(cell: str) -> list[str] | None:
    """Split a whole line that stands in one cell; None if it holds no separator."""
    cells = next(csv.reader([cell], skipinitialspace=True), [])
    return _strip(cells) if len(cells) > 1 else None


def _strip(cells: Sequence[str]) -> list[str]:
    return [cell.strip(STRIPPED) for cell in cells]


def _align(
    rows: Iterable[Row], header: Sequence[str], path: Path, separator: str, *, may_have_names: bool
) -> Iterator[Row]:
    """Yield the rows that have text, with as many cells as the header.

    Excel leaves away what is empty at the end of a row, or adds more of it. R's `write.table` puts row names, which are
    numbers from 1, before the first column, without a name in the header; it quotes the header.
    """
    n_rows, has_names = 0, False
    for line, row in rows:
        if not any(row):
            continue
        n_rows += 1
        cells = row
        while len(cells) > len(header) and not cells[-1]:
            cells = cells[:-1]
        if n_rows == 1:
            has_names = may_have_names and len(cells) == len(header) + 1 and cells[0] == "1"
        if has_names and cells[0] == str(n_rows):
            cells = cells[1:]
        if not any(header[len(cells) :]):
            cells = cells + [""] * (len(header) - len(cells))
        if len(cells) != len(header):
            raise InputError(_explain_length(path, line, row, header, separator))
        yield line, cells


def _explain_length(path: Path, line: int, row: Sequence[str], header: Sequence[str], separator: str) -> str:
    other = next((s for s in SEPARATORS[:4] if s != separator and len(row) == 1 and s in row[0]), None)
    remedy = "Put the labels into one column, separated by spaces."
    if other:
        remedy = f"Its header is separated by {separator!r}, and this line by {other!r}: use one of them."
    elif len(row) < len(header):
        remedy = "Complete or remove the line."
    return f"Cannot read {path}: line {line} has {len(row)} columns, the header {len(header)}. {remedy}"
