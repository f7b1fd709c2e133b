"""Which columns of a table are read."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from hpa_data.dataset import fold_name
from hpa_data.errors import InputError
from hpa_data.tables.read import Table, open_table

# Names of columns of ids, folded. The first is right even where others are there, too.
ID_COLUMNS = (
    *("id", "image", "image_id", "image id", "imageid", "image_name", "image name", "filename", "file_name"),
    *("file name", "file", "sample", "sample_id", "sample id", "uuid", "id_code"),
)
LABEL_COLUMNS = ("target", "label", "targets", "labels", "class", "classes", "location", "locations")
# How R and pandas head a column without a name.
UNNAMED = ("", "unnamed: 0")


def read_columns(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Read the named columns of a table with a header.

    Parameters
    ----------
    path : Path
        See `read.open_table`.
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
    with open_table(path, [name for column in columns for name in column.split("|")]) as table:
        indices = [_find_column(table, column) for column in columns]
        return [tuple(cells[index] for index in indices) for _, cells in read_cells(table, indices)]


def _find_column(table: Table, column: str) -> int:
    found = _list_matches(table, [fold_name(name) for name in column.split("|")])
    wanted = column.replace("|", " or ")
    if not found:
        raise InputError(
            f"Cannot read {table.path}: its header {quote_header(table)} has no column {wanted}. Rename the column, or "
            "pass another table."
        )
    if len(found) > 1:
        raise InputError(
            f"Cannot read {table.path}: its header has {len(found)} columns {wanted}. Remove or rename one."
        )
    return found[0]


def _list_matches(table: Table, names: Collection[str]) -> list[int]:
    return [index for index, name in enumerate(table.header) if fold_name(name) in names]


def quote_header(table: Table) -> str:
    """Return the start of a header, for messages."""
    return repr(",".join(table.header)[:80])


def find_id_column(table: Table, asked: str | None = None) -> int:
    """Return the index of the column of ids.

    Parameters
    ----------
    table : Table
    asked : str, optional
        The name that the user gave. Without it, ``Id``; or else the one column with a name of `ID_COLUMNS`; or else a
        first column without a name, which is where pandas and R put the index of a table.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    if asked is not None:
        return find_asked_column(table, asked, "--id-column")
    found = _list_matches(table, ID_COLUMNS[:1]) or _list_matches(table, ID_COLUMNS)
    if not found and len(table.header) > 1 and fold_name(table.header[0]) in UNNAMED:
        return 0
    return _require_one(table, found, "Id", "--id-column")


def find_label_column(table: Table, asked: str | None = None) -> int | None:
    """Return the index of the column of labels, or None if no column has a name of `LABEL_COLUMNS`.

    The first two of these names are right even where others are there, too. For `asked`, see `find_id_column`.
    """
    if asked is not None:
        return find_asked_column(table, asked, "--label-column")
    found = _list_matches(table, LABEL_COLUMNS[:2]) or _list_matches(table, LABEL_COLUMNS)
    return _require_one(table, found, "Target or Label", "--label-column") if found else None


def find_asked_column(table: Table, asked: str, option: str) -> int:
    """Return the index of the column that the user named: with the same case, if there is one."""
    exact = [index for index, name in enumerate(table.header) if name == asked.strip()]
    found = exact or _list_matches(table, [fold_name(asked)])
    if len(found) != 1:
        raise InputError(
            f"{option} must name one column of {table.path}. Received: {asked!r}, and the header has {len(found)} of "
            f"that name: {quote_header(table)}. Pass one of its names."
        )
    return found[0]


def _require_one(table: Table, found: Sequence[int], wanted: str, option: str) -> int:
    if not found:
        raise InputError(explain_missing(table, wanted, option))
    if len(found) > 1:
        names = ", ".join(table.header[index] for index in found)
        raise InputError(
            f"Cannot read {table.path}: its header has {len(found)} columns {wanted}: {names}. Pass {option} NAME, or "
            "remove or rename one."
        )
    return found[0]


def explain_missing(table: Table, wanted: str, option: str) -> str:
    """Explain that a column is missing."""
    return (
        f"Cannot read {table.path}: its header {quote_header(table)} has no column {wanted}. Pass {option} NAME, or "
        "rename the column; the first row must hold the names of the columns."
    )


def read_cells(table: Table, used: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each row; InputError if a used cell is not UTF-8 text."""
    for line, cells in table.rows:
        if len(cells) != len(table.header):
            raise InputError(
                f"Cannot read {table.path}: row {line} has {len(cells)} columns, the header {len(table.header)}. Name "
                "every column, or remove what does not belong to the table."
            )
        for index in used:
            cell = cells[index]
            # Bytes that are not UTF-8 became lone surrogates.
            if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
                raw = cell.encode("utf-8", "surrogateescape")
                raise InputError(
                    f"Cannot read {table.path}: it is not CSV text in UTF-8 (line {line} has {raw!r}). Export it "
                    "again; in Excel, save it as CSV UTF-8."
                )
        yield line, cells
