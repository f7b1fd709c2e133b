"""The samples of a store that could not be converted."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hpa_data.dataset import FAILED
from hpa_data.errors import InputError
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store
from hpa_data.tables import encode_table

FAILURES_NAME = "failures.csv"
COLUMNS = ("part", "id", "file", "reason")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sample that could not be read, and is black in the store."""

    id: str

    file: str
    """The file that caused it, as the source names it; empty if it is not a single one."""

    reason: str


def list_failures(part: Part) -> list[Failure]:
    """List the failed samples of a part, in their order."""
    failed = np.flatnonzero(part.read_status() == FAILED).tolist()
    notes = part.read_notes() if failed else []
    return [Failure(id=part.ids[i], file=notes[i][1], reason=notes[i][0]) for i in failed]


def write_failures(part: Part) -> list[Failure]:
    """Write ``failures.csv`` over all parts of a store: part, id, file, reason. Delete it if nothing failed.

    Parameters
    ----------
    part : Part
        The part that was written. Of another part that cannot be read, the rows stay as they are.

    Returns
    -------
    list of Failure
        Of that part, see `list_failures`.

    Raises
    ------
    InputError
        If that part, or the present table, cannot be read.
    """
    storage, failures = part.storage, list_failures(part)
    rows = list(_list_all_failures(open_store(storage), {part.name: failures}))
    if rows:
        storage.put(FAILURES_NAME, encode_table(COLUMNS, rows, for_people=True))
    else:
        storage.delete(FAILURES_NAME)
    return failures


def _list_all_failures(store: Store, known: Mapping[str, list[Failure]]) -> Iterator[tuple[str, str, str, str]]:
    for name in store.parts():
        try:
            failures = known[name] if name in known else list_failures(store.part(name))
        except InputError:
            yield from _read_rows(store, name)  # another part, which is damaged, must not stop this one
        else:
            for failure in failures:
                yield name, failure.id, failure.file, failure.reason


def _read_rows(store: Store, part: str) -> Iterator[tuple[str, str, str, str]]:
    """Read the rows of a part from the present table."""
    if store.storage.exists(FAILURES_NAME):
        table = store.storage.get(FAILURES_NAME).decode(errors="replace")
        for row in csv.reader(io.StringIO(table)):
            if row[:1] == [part] and len(row) == len(COLUMNS):
                yield row[0], row[1], row[2], row[3]
