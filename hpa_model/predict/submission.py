"""Submissions to Kaggle: predictions as a CSV file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.tables import disarm, first_duplicate, read_columns, write_table
from hpa_data.tables.text import STRIPPED

# Between names of classes, as in the tables of the Human Protein Atlas.
NAME_SEPARATOR = ";"


def read_sample_submission(path: Path) -> list[str]:
    """Read the ids of a sample submission, in order; InputError unless it is a table with ``Id`` and ``Predicted``.

    A column ``PredictionString``, as in the competition of 2021, stands for ``Predicted``.
    """
    ids = [row[0] for row in read_columns(path, ("Id", "Predicted|PredictionString"))]
    repeated = first_duplicate(ids)
    if repeated is not None or not ids:
        found = f"it has {repeated!r} twice" if ids else "it has no rows"
        raise InputError(f"Cannot read sample submission {path}: {found}. Download it again.")
    return ids


def check_ids(ids: Sequence[str], source: Path | str) -> None:
    """Refuse ids that a CSV file would not give back, before anything is predicted: InputError with the first one."""
    for name in ids:
        if not name.strip(STRIPPED):
            reason = "is empty"
        elif name != name.strip(STRIPPED):
            reason = "begins or ends with a blank, which readers of tables remove"
        elif "\0" in name or not _is_text(name):
            reason = "is not text in UTF-8"
        else:
            continue
        raise InputError(
            f"Cannot predict {source}: the id {name!r} {reason}, so that no CSV file can hold it. Rename the sample, "
            "and convert it again."
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # of a file whose name is not UTF-8
        return False
    return True


def estimate_submission(order: Sequence[str], *, names: bool) -> int:
    """Estimate how large a submission will be, in bytes: few samples show more than four classes."""
    return sum(map(len, order)) + (120 if names else 20) * len(order)


def write_submission(
    path: Path,
    order: Sequence[str],
    predictions: Mapping[str, npt.NDArray[np.uint8]],
    dataset: Dataset = HPA_2018,
    *,
    names: bool = False,
) -> None:
    """Write a submission.

    Parameters
    ----------
    path : Path
        The CSV file to write, with the columns ``Id`` and ``Predicted``: numbers of classes with the separator of the
        data set, or names with ``;`` between them for a data set without numbers.
    order : sequence of str
        The ids, one per row.
    predictions : mapping of str to array of uint8, shape (K,)
        By id; an id that is not in it gets an empty row.
    dataset : Dataset
        With K classes.
    names : bool
        Add a column ``Names``, with the names of the classes and ``;`` between them.
    """
    found = [np.flatnonzero(predictions[name]).tolist() if name in predictions else [] for name in order]
    named = [NAME_SEPARATOR.join(dataset.classes[k] for k in row) for row in found]
    separator = find_separator(dataset)
    numbered = named if separator is None else [separator.join(map(str, row)) for row in found]
    columns = {"Id": order, "Predicted": numbered} | ({"Names": list(map(disarm, named))} if names else {})
    write_table(path, list(columns), zip(*columns.values(), strict=True))


def find_separator(dataset: Dataset) -> str | None:
    """Return what stands between the numbers of classes; None for a data set whose classes have no numbers."""
    return None if dataset.numbering is None else dataset.numbering.separator


def check_submission(path: Path, order: Sequence[str], dataset: Dataset = HPA_2018) -> None:
    """Check a submission as Kaggle does. Rows without a class are allowed.

    Parameters
    ----------
    path : Path
        A CSV file.
    order : sequence of str
        The ids of the sample submission, in order.
    dataset : Dataset
        With K classes, as for `write_submission`.

    Raises
    ------
    InputError
        If an id is missing, unexpected, repeated or out of order, or a class is not a number from 0 to K - 1 or is
        repeated. It names the first wrong line. Names, of a data set without numbers, are not checked.
    """
    separator = find_separator(dataset)
    numbers = {str(k) for k in range(len(dataset.classes))}
    rows = read_columns(path, ("Id", "Predicted"))
    error = f"it has {len(rows)} rows, not {len(order)}" if len(rows) != len(order) else ""
    for line, (row, expected) in enumerate(zip(rows, order, strict=False), start=2):
        words = row[1].split(separator) if row[1] and separator is not None else []  # any text may be a name
        if row[0] != expected:
            error = f"line {line} has id {row[0]!r}, not {expected!r}"
        elif not numbers.issuperset(words):
            error = f"line {line} has classes {row[1]!r}, not numbers from 0 to {len(numbers) - 1}"
        elif len(set(words)) < len(words):
            error = f"line {line} repeats a class: {row[1]!r}"
        if error:
            break
    if error:
        raise InputError(f"Cannot submit {path}: {error}. Predict again.")
