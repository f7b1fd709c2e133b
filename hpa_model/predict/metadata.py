"""What else is known of samples, such as the cell line: columns of a table."""

from collections.abc import Sequence
from pathlib import Path

from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_data.tables import first_duplicate, open_table
from hpa_data.tables.columns import ID_COLUMNS, find_id_column, read_cells
from hpa_model.predict.embeddings import OWN_COLUMNS, is_own

# Of a table; a file of a million columns is none of samples.
MAX_COLUMNS = 200


def read_metadata(path: Path, ids: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], tuple[Notice, ...]]:
    """Read the columns of a table for some samples.

    Parameters
    ----------
    path : Path
        Text, Excel or Parquet, see `tables.open_table`, with a column of ids and a row for each sample. Other rows are
        passed over.
    ids : sequence of str, length N

    Returns
    -------
    dict of str to tuple of str, length N
        A column for each other one of the table, in its order; empty texts for samples without a row.
    tuple of Notice
        Which samples have no row.

    Raises
    ------
    InputError
        If it is no such table, has the id of one of these samples twice, no row of them, or a column with a name that
        embeddings have, or with a slash.
    """
    with open_table(path, ID_COLUMNS) as table:
        key = find_id_column(table)
        columns = [index for index in range(len(table.header)) if index != key]
        names = [table.header[index].strip() for index in columns]
        wrong = next((name for name in names if not name or is_own(name) or "/" in name), first_duplicate(names))
        if wrong is not None or not names or len(names) > MAX_COLUMNS:
            raise InputError(
                f"metadata must have up to {MAX_COLUMNS} columns beside the ids, each with a name of its own other "
                f"than {', '.join(OWN_COLUMNS)}, without slashes. Received: {path} with {len(names)} columns"
                f"{'' if wrong is None else f', of which one is called {wrong!r}'}. Rename or remove columns."
            )
        wanted = set(ids)
        rows: dict[str, tuple[str, ...]] = {}
        for line, cells in read_cells(table, range(len(table.header))):
            if cells[key] in rows:
                raise InputError(f"Cannot read {path}: row {line} has the id {cells[key]!r} again. Remove one of them.")
            if cells[key] in wanted:
                rows[cells[key]] = tuple(cells[index] for index in columns)
    if not rows:
        raise InputError(f"metadata must have rows of the samples. Received: {path}, which has none. Check its ids.")
    missing = [name for name in dict.fromkeys(ids) if name not in rows]
    nothing = ("",) * len(names)
    found = {name: tuple(rows.get(each, nothing)[k] for each in ids) for k, name in enumerate(names)}
    if not missing:
        return found, ()
    notice = Notice(
        what=f"samples have no row in {path}, so that nothing of it is known of them",
        n=len(missing),
        examples=tuple(missing[:N_EXAMPLES]),
        remedy="Add them to the table.",
    )
    return found, (notice,)
