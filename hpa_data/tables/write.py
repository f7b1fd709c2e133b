"""CSV files, written."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpa_data.system.atomic import write_output
from hpa_data.system.complaints import escape

# What a formula begins with, also in the wide forms that programs in Chinese and Japanese take for it.
_FORMULA = tuple("=+-@|%＝＋－＠")  # noqa: RUF001 - those forms
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?|[+-]?(inf|nan)")


def first_duplicate(ids: Iterable[str]) -> str | None:
    """Return the first id that occurs a second time, or None."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            return name
        seen.add(name)
    return None


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, for_people: bool = False
) -> None:
    """Write a CSV file that the user has named, atomically.

    Parameters
    ----------
    path : Path
        Replaced if it exists; see `system.atomic.open_output`.
    header : sequence of str
        Names of the columns.
    rows : iterable of sequences
        One value per column, written as `str` gives it, None as nothing.
    for_people : bool
        See `encode_table`.
    """
    write_output(path, encode_table(header, rows, for_people=for_people))


def encode_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, for_people: bool = False) -> bytes:
    r"""Return a CSV file as UTF-8 text with plain line feeds; see `write_table`.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequences
    for_people : bool
        Disarm the text in it, see `disarm`: for tables that nobody joins by their ids.

    Examples
    --------
    >>> encode_table(("id", "fold"), [("a", 0), ("b, c", None)])
    b'id,fold\na,0\n"b, c",\n'
    """
    table = [header, *rows]
    if for_people:
        table = [[disarm(value) if isinstance(value, str) else value for value in row] for row in table]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def disarm(text: str) -> str:
    r"""Make text of a file's names harmless in a terminal and in a spreadsheet, which takes some text for a formula.

    Control characters are escaped, and text that would be a formula gets an apostrophe in front. Numbers stay. To
    disarm it again changes nothing.

    Examples
    --------
    >>> disarm("=1+2"), disarm("-cmd"), disarm("-0.5"), disarm("a\x1b[31m"), disarm("a=1")
    ("'=1+2", "'-cmd", '-0.5', 'a\\x1b[31m', 'a=1')
    """
    shown = escape(text)
    if not shown.lstrip().startswith(_FORMULA) or _NUMBER.fullmatch(shown):
        return shown
    return f"'{shown}"
