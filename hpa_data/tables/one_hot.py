"""Label tables that have a column for each class."""

import difflib
from collections.abc import Collection, Mapping, Sequence

from hpa_data.dataset import PRESETS, Dataset, fold_name
from hpa_data.errors import InputError
from hpa_data.tables.cells import MISSING, Words
from hpa_data.tables.read import Table

# Also as Excel writes them in German, French, Spanish and Italian, and R for short.
_TRUE = ("1", "1.0", "1,0", "true", "t", "yes", "wahr", "vrai", "verdadero", "vero")
_FALSE = ("0", "0.0", "0,0", "false", "f", "no", "falsch", "faux", "falso")
_FLAGS = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
# Names are so alike, see `difflib`, where one is probably a typing error of the other.
ALIKE = 0.85


def find_class_columns(table: Table, dataset: Dataset, ignored: Collection[int]) -> dict[int, str]:
    """Find the columns whose names are those of classes, or synonyms of them.

    Returns
    -------
    dict of int to str
        For each such column its name; empty if there are fewer than two, which may be a coincidence, unless the data
        set has but one class.

    Raises
    ------
    InputError
        If the name of another column is nearly that of a class, or that of a class of another data set.
    """
    columns = {
        index: name
        for index, name in enumerate(table.header)
        if index not in ignored and fold_name(name) in dataset.class_index
    }
    if len(columns) < min(2, len(dataset.classes)):
        return {}
    missing = [name for name in dataset.classes if fold_name(name) not in set(map(fold_name, columns.values()))]
    for index, name in enumerate(table.header):
        if index in columns or index in ignored:
            continue
        other = find_preset(name)
        if other:
            raise InputError(
                f"Cannot read {table.path}: its column {name!r} is a class of {other}, and none of {dataset.name}. "
                f"Pass --dataset {other}, or remove the column."
            )
        near = difflib.get_close_matches(name, missing, 1, ALIKE)
        if near:
            raise InputError(
                f"Cannot read {table.path}: its column {name!r} is nearly that of the class {near[0]!r}. Rename the "
                "column."
            )
    return columns


def find_preset(name: str) -> str | None:
    """Return the name of a known data set that has a class of this name, or None."""
    return next((preset.name for preset in PRESETS.values() if fold_name(name) in preset.class_index), None)


def read_flags(cells: Sequence[str], columns: Mapping[int, str], table: Table, line: int) -> Words:
    """Return the classes whose columns hold 1 or true in a row; InputError for what is neither that nor 0 or false."""
    names = []
    for index, name in columns.items():
        text = cells[index].casefold()
        flag = False if text in MISSING else _FLAGS.get(text)
        if flag is None:
            raise InputError(
                f"Cannot read {table.path}: row {line} has {cells[index][:40]!r} in the column of class {name!r}, not "
                "0 or 1. Correct the row, or pass --label-column NAME for the column that has the labels."
            )
        if flag:
            names.append(name)
    return Words(names=tuple(names))
