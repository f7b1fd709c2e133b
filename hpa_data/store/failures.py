"""The samples of a store that could not be converted."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hpa_data.dataset import FAILED
from hpa_data.errors import InputError
from hpa_data.store.part import Part
from hpa_data.store.storage import Storage
from hpa_data.store.store import Store, open_store
from hpa_data.tables import encode_table

FAILURES_NAME = "failures.csv"


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


def write_failures(storage: Storage) -> None:
    """Write ``failures.csv`` over all parts of a store: part, id, file, reason. Delete it if nothing failed."""
    rows = list(_list_all_failures(open_store(storage)))
    if rows:
        storage.put(FAILURES_NAME, encode_table(("part", "id", "file", "reason"), rows))
    else:
        storage.delete(FAILURES_NAME)


def _list_all_failures(store: Store) -> Iterator[tuple[str, str, str, str]]:
    for name in store.parts():
        with contextlib.suppress(InputError):  # another part, which is damaged, must not stop this one
            for failure in list_failures(store.part(name)):
                yield name, failure.id, failure.file, failure.reason
