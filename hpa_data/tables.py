"""CSV tables: label tables, and how all tables are read and written."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018, Dataset, encode_labels
from hpa_data.errors import InputError
from hpa_data.system.atomic import write_atomic

# Characters. The longest line of a known table has some 100; without a limit, one could fill the memory.
MAX_LINE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """A label table: which sample shows which classes."""

    ids: tuple[str, ...]
    """N ids in the order of the file, each once."""

    labels: npt.NDArray[np.uint8]
    """Multi-hot, uint8 (N, K)."""


def read_label_table(path: Path, dataset: Dataset = HPA_2018) -> LabelTable:
    """Read a label table: Kaggle's, the external set's, or one with class names.

    Parameters
    ----------
    path : Path
        A CSV file, UTF-8, with a header that has a column ``Id`` and one of label strings, ``Target`` or ``Label``.
    dataset : Dataset
        Its classes.

    Returns
    -------
    LabelTable
        Rows in file order.

    Raises
    ------
    InputError
        If the file is missing or no CSV text, lacks a column, repeats an id or holds an unknown label.
    """
    rows = read_columns(path, ("Id", "Target|Label"))
    ids = tuple(row[0] for row in rows)
    repeated = first_duplicate(ids)
    if repeated is not None:
        raise InputError(f"Cannot read {path}: id {repeated!r} occurs twice. Remove one of the rows.")
    return LabelTable(ids=ids, labels=encode_labels([row[1] for row in rows], dataset))


def read_columns(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Read the named columns of a CSV file with a header.

    Parameters
    ----------
    path : Path
        UTF-8 text, with or without a byte order mark.
    columns : sequence of str
        Names that the header must have, whatever their case; ``|`` separates names of which one is enough.

    Returns
    -------
    list of tuple of str
        One tuple per row, in the order of `columns`; empty lines are skipped.

    Raises
    ------
    InputError
        If the file cannot be read as such a table.
    """
    if not path.is_file():
        raise InputError(f"Cannot read {path}: there is no such file. Check the path.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(_read_lines(file, path), strict=True)
            header = next(reader, [])
            indices = _find_columns(header, columns, path)
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"Cannot read {path}: line {reader.line_num} has {len(row)} columns, the header "
                        f"{len(header)}. Put the labels into one column, separated by spaces."
                    )
                rows.append(tuple(row[index].strip() for index in indices))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path}: it is not CSV text in UTF-8 ({error}). Export it again.") from error
    return rows


def _read_lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines of a table, each of bounded length."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise InputError(
                f"Cannot read {path}: it has a line of more than {MAX_LINE} characters. Pass a table of ids and labels."
            )
        yield line


def _find_columns(header: Sequence[str], columns: Sequence[str], path: Path) -> list[int]:
    """Return the index of each column in a header."""
    names = [name.strip().casefold() for name in header]
    indices = []
    for column in columns:
        found = [index for index, name in enumerate(names) if name in column.casefold().split("|")]
        wanted = column.replace("|", " or ")
        if not found:
            raise InputError(
                f"Cannot read {path}: its header {','.join(header)[:80]!r} has no column {wanted}. Rename the column, "
                "or pass another table."
            )
        if len(found) > 1:
            raise InputError(f"Cannot read {path}: its header has {len(found)} columns {wanted}. Remove or rename one.")
        indices += found
    return indices


def first_duplicate(ids: Iterable[str]) -> str | None:
    """Return the first id that occurs a second time, or None."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            return name
        seen.add(name)
    return None


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file atomically.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    header : sequence of str
        Names of the columns.
    rows : iterable of sequences
        One value per column, written as `str` gives it, None as nothing.
    """
    write_atomic(path, encode_table(header, rows))


def encode_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    r"""Return a CSV file as UTF-8 text with plain line feeds; see `write_table`.

    Examples
    --------
    >>> encode_table(("id", "fold"), [("a", 0), ("b, c", None)])
    b'id,fold\na,0\n"b, c",\n'
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()
