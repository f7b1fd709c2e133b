"""Label tables: which sample shows which classes."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018, Dataset, fold_name
from hpa_data.errors import InputError
from hpa_data.tables.cells import Words, check_not_vector, split_cell
from hpa_data.tables.columns import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    UNNAMED,
    explain_missing,
    find_id_column,
    find_label_column,
    read_cells,
)
from hpa_data.tables.encode import check_numbers, encode_words
from hpa_data.tables.numbering import NumbersSeen, choose_numbering, translate
from hpa_data.tables.one_hot import find_class_columns, read_flags
from hpa_data.tables.read import Table, open_table


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What a user may say about a label table."""

    id_column: str | None = None
    """Name of the column of ids; by default it is found, see `columns.find_id_column`."""

    label_column: str | None = None
    """Name of the column of labels; see `columns.find_label_column`."""

    numbering: str | None = None
    """Name of the data set whose numbers the table holds; by default it must be certain from the table."""

    dataset_given: bool = False
    """Whether the user named the data set; see `numbering.choose_numbering`."""


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """A label table: which sample shows which classes."""

    ids: tuple[str, ...]
    """N ids in the order of the file, each once."""

    labels: npt.NDArray[np.uint8]
    """Multi-hot, uint8 (N, K)."""

    dropped: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """By row, the names of its labels that stand for no class of the data set."""

    understood: str = ""
    """How the table was read, in words."""


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """How many samples have how many classes."""

    classes_per_sample: Mapping[int, int]
    """By number of classes, the samples that have so many."""

    n_empty: int
    """Samples whose row has no label."""

    n_only_dropped: int
    """Samples all of whose labels stand for no class."""

    without_class: tuple[str, ...]
    """Ids of the first samples without a class, for example."""

    dropped: Mapping[str, int]
    """By name, the labels that stand for no class and were left out."""

    understood: str
    """How the table was read, in words."""


def count_labels(table: LabelTable, rows: Sequence[int]) -> LabelCounts:
    """Count the classes of some rows of a label table, and what gave no class."""
    n_classes = table.labels[list(rows)].sum(axis=1)
    without = [row for row, n in zip(rows, n_classes, strict=True) if n == 0]
    dropped = Counter(name for row in rows for name in table.dropped.get(row, ()))
    only_dropped = sum(row in table.dropped for row in without)
    return LabelCounts(
        classes_per_sample={int(n): int(count) for n, count in sorted(Counter(n_classes.tolist()).items())},
        n_empty=len(without) - only_dropped,
        n_only_dropped=only_dropped,
        without_class=tuple(table.ids[row] for row in without[:5]),
        dropped=dict(dropped.most_common()),
        understood=table.understood,
    )


def read_label_table(path: Path, dataset: Dataset = HPA_2018, options: TableOptions | None = None) -> LabelTable:
    """Read a label table: Kaggle's, the external set's, or one's own.

    Parameters
    ----------
    path : Path
        See `read.open_table`. It has a column of ids, ``Id``, and one of labels, ``Target`` or ``Label``, see `columns`
        for other names and `cells.split_cell` for what it may hold; or else a column for each class, see `one_hot`.
    dataset : Dataset
        Its classes.
    options : TableOptions, optional

    Returns
    -------
    LabelTable
        Rows in file order.

    Raises
    ------
    InputError
        If the file is no such table, lacks a column, repeats an id, holds an unknown label, or numbers whose classes
        are not certain.
    """
    options = options or TableOptions()
    asked = [name for name in (options.id_column, options.label_column) if name is not None]
    names = (*ID_COLUMNS, *LABEL_COLUMNS, *asked, *dataset.class_index)
    with open_table(path, names) as table:
        id_column = find_id_column(table, options.id_column)
        label_column = find_label_column(table, options.label_column)
        if label_column is None:
            columns = find_class_columns(table, dataset, ignored={id_column})
            if not columns:
                raise InputError(explain_missing(table, "Target or Label", "--label-column"))
            read = read_cells(table, [id_column, *columns])
            rows = [(line, cells[id_column], read_flags(cells, columns, table, line)) for line, cells in read]
            how = f"a column for each of {len(columns)} classes"
        else:
            rows = list(_read_words(table, id_column, label_column, dataset))
            how = f"labels from column {table.header[label_column]!r}"
        header = table.header
    ids = tuple(name for _, name, _ in rows)
    all_words = [words for _, _, words in rows]
    if fold_name(header[id_column]) in UNNAMED and all(name.isdigit() for name in ids):  # row numbers of pandas or R
        raise InputError(explain_missing(table, "Id", "--id-column"))
    _check_ids(path, rows)
    columns_used = None if label_column is None else (header[id_column], header[label_column])
    numbers, source = _translate_numbers(path, all_words, columns_used, dataset, options)
    labels, dropped = encode_words(path, all_words, numbers, dataset)
    understood = f"ids from column {header[id_column]!r}, {how}{source}"
    return LabelTable(ids=ids, labels=labels, dropped=dropped, understood=understood)


def _read_words(table: Table, id_column: int, label_column: int, dataset: Dataset) -> Iterator[tuple[int, str, Words]]:
    """Yield the line, the id and the labels of each row."""
    seen: dict[str, Words] = {}
    for line, cells in read_cells(table, (id_column, label_column)):
        text = cells[label_column]
        if text not in seen:
            seen[text] = split_cell(text, dataset.class_index)
            check_not_vector(seen[text], len(dataset.classes), path=table.path, row=line)
        yield line, cells[id_column], seen[text]
    texts = [text for text in seen if text]
    if texts and all(re.fullmatch("[0-9]+,0+", text) for text in texts):
        raise InputError(
            f"Cannot read {table.path}: each of its labels is such as {texts[0]!r}, which may be two numbers or one "
            "with a decimal comma. Separate numbers by spaces, and write them without decimals."
        )


def _check_ids(path: Path, rows: Sequence[tuple[int, str, Words]]) -> None:
    """Refuse rows without an id, and ids that repeat."""
    first: dict[str, tuple[int, Words]] = {}
    repeats = []
    for line, name, words in rows:
        if not name:
            raise InputError(f"Cannot read {path}: row {line} has no id. Complete or remove the row.")
        if name in first:
            repeats.append((line, name, words))
        else:
            first[name] = line, words
    if not repeats:
        return
    line, name, words = repeats[0]
    more = f", and {len(repeats) - 1} more rows repeat an id" if len(repeats) > 1 else ""
    found = f"Cannot read {path}: id {name!r} occurs twice, in lines {first[name][0]} and {line}{more}"
    different = next(((n, a, first[n][1]) for _, n, a in repeats if _sort(a) != _sort(first[n][1])), None)
    if different is None:
        raise InputError(
            f"{found}, with the same labels. Keep each id once: the copies of samples of rare classes are made by "
            "`hpa augment`."
        )
    name, one, other = different
    raise InputError(
        f"{found}; id {name!r} has different labels: {_join(other)!r} and {_join(one)!r}. Keep the right row of "
        "each id, or join its rows into one."
    )


def _sort(words: Words) -> tuple[list[str], list[int]]:
    return sorted(words.names), sorted(words.numbers)


def _join(words: Words) -> str:
    return " ".join(map(str, words.numbers)) or ";".join(words.names)


def _translate_numbers(
    path: Path,
    all_words: Sequence[Words],
    columns: tuple[str, str] | None,
    dataset: Dataset,
    options: TableOptions,
) -> tuple[Mapping[int, int | str], str]:
    """Return the class of each number, or its name where it stands for no class; and whose numbers they are."""
    with_numbers = [words for words in all_words if words.numbers]
    if not with_numbers or columns is None:
        return {}, ", names of classes"
    seen = NumbersSeen(
        path=path,
        columns=columns,
        separators=frozenset().union(*(words.separators for words in with_numbers)),
        largest=max(max(words.numbers) for words in with_numbers),
    )
    source = choose_numbering(seen, dataset, given=options.dataset_given, numbering=options.numbering)
    numbers = {number for words in with_numbers for number in words.numbers}
    for row, words in enumerate(all_words):
        check_numbers(words.numbers, row, source, path)
    try:
        found = translate(source, dataset, numbers)
    except InputError as error:
        raise InputError(f"Cannot read {path}: {error}") from error
    whose = f", numbers of {source.name}"
    whose += "" if source.classes == dataset.classes else f", translated into classes of {dataset.name}"
    return {number: source.classes[number] if to is None else to for number, to in found.items()}, whose
