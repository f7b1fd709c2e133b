"""Tables in Excel's workbooks and in Parquet files, read by openpyxl and PyArrow."""

import importlib
import json
import math
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpa_data.dataset import fold_name
from hpa_data.errors import InputError

# Of what a workbook's XML takes, once it is decompressed: ten times what Kaggle's table takes, with all its classes as
# columns. A damaged or hostile file could take a thousand times its own size.
MAX_XML_BYTES = 512 * 2**20
MAX_ROWS = 10_000_000
# Rows of a sheet by the standard. openpyxl yields all rows before the number that a row gives itself.
MAX_SHEET_ROWS = 2**20
# Rows of a Parquet file in memory at a time.
BATCH_ROWS = 10_000

# How pandas begins the name of an index without one.
_INDEX = "__index_level_"

Row = tuple[int, list[str]]


def read_workbook(path: Path, known: frozenset[str]) -> Iterator[Row]:
    """Yield the rows of a sheet of a workbook (``.xlsx``, ``.xlsm``), the header first.

    Parameters
    ----------
    path : Path
    known : frozenset of str
        Names of columns, folded. The sheet is the one whose first row has the most of them.

    Yields
    ------
    tuple of int and list of str
        The row, counted from 1, and its cells. A whole number has no decimals; a date is as ISO 8601 writes it.

    Raises
    ------
    InputError
        If openpyxl is not installed, or the file cannot be read as such a table.
    """
    openpyxl = _require("openpyxl", path)
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    if n_bytes > MAX_XML_BYTES:
        raise InputError(
            f"Cannot read {path}: the workbook takes {n_bytes} bytes, more than {MAX_XML_BYTES}. Save it as CSV UTF-8."
        )
    with path.open("rb") as file, warnings.catch_warnings():  # openpyxl refuses paths with another suffix
        warnings.simplefilter("ignore")  # of styles and other things that are not data
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        try:
            sheets = book.worksheets
            for sheet in sheets:
                sheet.reset_dimensions()  # some programs write wrong ones
            sheet = _choose_sheet(sheets, path, known)
            rows = enumerate(sheet.iter_rows(values_only=True), start=1)
            yield from _pad(((row, [_format_cell(value) for value in cells]) for row, cells in rows), path)
        finally:
            book.close()


def _choose_sheet(sheets: list[Any], path: Path, known: frozenset[str]) -> Any:
    ranks = {}
    for sheet in sheets:
        rows = ([_format_cell(value) for value in cells] for cells in sheet.iter_rows(values_only=True, max_row=100))
        header = next((row for row in rows if any(row)), [])
        ranks[sheet] = sum(fold_name(cell) in known for cell in header) + bool(header) / 2
    best = max(ranks.values(), default=0)
    chosen = [sheet for sheet, rank in ranks.items() if rank == best]
    if best == 0:
        raise InputError(f"Cannot read {path}: its sheets are empty. Pass another table.")
    if len(chosen) > 1:
        names = ", ".join(sheet.title for sheet in chosen)[:100]
        raise InputError(
            f"Cannot read {path}: {len(chosen)} of its sheets may be the table: {names}. Save the right one alone."
        )
    return chosen[0]


def _pad(rows: Iterator[Row], path: Path) -> Iterator[Row]:
    """Yield the rows that have text, with as many cells as the first."""
    width = 0
    for line, row in rows:
        if line > MAX_SHEET_ROWS:
            raise InputError(
                f"Cannot read {path}: its sheet has more than {MAX_SHEET_ROWS} rows. Save it as CSV UTF-8."
            )
        if not any(row):
            continue
        width = width or max(index for index, cell in enumerate(row, start=1) if cell)
        cells = row[:width] + [""] * (width - len(row))
        if any(row[width:]):
            extra = next(cell for cell in row[width:] if cell)
            cells += [extra]  # the reader of columns says that the row is longer than the header
        yield line, cells


def _format_cell(value: Any) -> str:
    """Return a value of a cell as text."""
    if value is None:
        return ""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, list):
        return json.dumps([item if isinstance(item, int | float | str) else str(item) for item in value])
    return value.isoformat() if hasattr(value, "isoformat") else str(value).strip()


def read_parquet(path: Path, known: frozenset[str]) -> Iterator[Row]:
    """Yield the rows of a Parquet file, the header first; see `read_workbook`.

    Columns of bytes and of records are left out, so that tables that hold images, too, can be read. A list, such as one
    of class numbers, is as JSON writes it.
    """
    parquet = _require("pyarrow.parquet", path)
    types = _require("pyarrow", path).types
    with parquet.ParquetFile(path) as file:
        if file.metadata.num_rows > MAX_ROWS:
            raise InputError(
                f"Cannot read {path}: it has {file.metadata.num_rows} rows, more than {MAX_ROWS}. Pass a smaller table."
            )
        names = [field.name for field in file.schema_arrow if _is_plain(field.type, types)]
        # pandas writes the index, where it has no name, as the last column.
        names.sort(key=lambda name: not name.startswith(_INDEX))
        yield 1, ["" if name.startswith(_INDEX) else name for name in names]
        line = 1
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            columns = [batch.column(name).to_pylist() for name in names]
            for values in zip(*columns, strict=True):
                line += 1
                cells = [_format_cell(value) for value in values]
                if any(cells):
                    yield line, cells


def _is_plain(kind: Any, types: Any) -> bool:
    """Return whether values of a type of PyArrow can be written as text."""
    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_plain(kind.value_type, types)
    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _require(name: str, path: Path) -> Any:
    """Import a package of the extra `tables`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise InputError(
            f"Cannot read {path}: {package} is not installed. Run: pip install '.[tables]', or save the table as CSV."
        ) from error
