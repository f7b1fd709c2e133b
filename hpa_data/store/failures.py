"""The samples of a store that could not be converted."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_data.dataset import FAILED
from hpa_data.errors import InputError
from hpa_data.store.part import Part
from hpa_data.store.store import open_store
from hpa_data.tables import write_table

FAILURES_NAME = "failures.csv"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sample that could not be written.

    Attributes
    ----------
    id : str
    file : str
        The file at fault, as the source names it; empty if it is not one alone.
    reason : str
    """

    id: str
    file: str
    reason: str


def list_failures(part: Part) -> list[Failure]:
    """List the failed samples of a part, in their order."""
    failed = np.flatnonzero(part.read_status() == FAILED).tolist()
    notes = part.read_notes() if failed else []
    return [Failure(id=part.ids[i], file=notes[i][1], reason=notes[i][0]) for i in failed]


def write_failures(store: Path) -> None:
    """Write ``failures.csv`` over all parts of a store: part, id, file, reason. None if nothing failed."""
    path = store / FAILURES_NAME
    rows = list(_list_all_failures(store))
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_table(path, ("part", "id", "file", "reason"), rows)


def _list_all_failures(store: Path) -> Iterator[tuple[str, str, str, str]]:
    opened = open_store(store)
    for name in opened.parts():
        with contextlib.suppress(InputError):  # another part, damaged, which this one has nothing to do with
            for failure in list_failures(opened.part(name)):
                yield name, failure.id, failure.file, failure.reason
