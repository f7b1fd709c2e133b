"""CSV files, written."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpa_data.system.atomic import write_output


def first_duplicate(ids: Iterable[str]) -> str | None:
    """Return the first id that occurs a second time, or None."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            return name
        seen.add(name)
    return None


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file that the user has named, atomically.

    Parameters
    ----------
    path : Path
        Replaced if it exists; see `system.atomic.open_output`.
    header : sequence of str
        Names of the columns.
    rows : iterable of sequences
        One value per column, written as `str` gives it, None as nothing.
    """
    write_output(path, encode_table(header, rows))


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
