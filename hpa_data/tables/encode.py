"""Label strings to multi-hot rows."""

import difflib
from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018, Dataset, fold_name
from hpa_data.errors import InputError
from hpa_data.tables.cells import Words, split_cell
from hpa_data.tables.one_hot import find_preset


def encode_labels(targets: Sequence[str], dataset: Dataset = HPA_2018) -> npt.NDArray[np.uint8]:
    """Convert label strings to multi-hot rows.

    Parameters
    ----------
    targets : sequence of str, length N
        Class numbers of the data set, ``"16 0"``, or class names, ``"Midbody;Nucleoplasm"``; see `cells.split_cell`.
        Case is ignored; see also `Dataset.synonyms`. An empty string has no class.
    dataset : Dataset
        With K classes.

    Returns
    -------
    array of uint8, shape (N, K)
        1 where the sample shows the class.

    Raises
    ------
    InputError
        If a label is neither a class name nor an integer in 0..K-1.

    Examples
    --------
    >>> encode_labels(["2 0", "", "nucleoli|Nucleus", "Vesicles"])[:, :3]
    array([[1, 0, 1],
           [0, 0, 0],
           [1, 0, 1],
           [0, 0, 0]], dtype=uint8)
    """
    all_words = [split_cell(target, dataset.class_index) for target in targets]
    for row, words in enumerate(all_words):
        check_numbers(words.numbers, row, dataset, "the label table")
    numbers: dict[int, int | str] = {number: number for words in all_words for number in words.numbers}
    return encode_words("the label table", all_words, numbers, dataset)[0]


def check_numbers(numbers: Sequence[int], row: int, dataset: Dataset, path: object) -> None:
    """Refuse numbers that are no class of a data set: any, if its classes are called by numbers."""
    limit = 0 if any(name.isdigit() for name in dataset.classes) else len(dataset.classes)
    wrong = next((number for number in numbers if number >= limit), None)
    if wrong is not None:
        refuse_label(path, str(wrong), row, dataset)


def encode_words(
    path: object, all_words: Sequence[Words], numbers: Mapping[int, int | str], dataset: Dataset
) -> tuple[npt.NDArray[np.uint8], dict[int, tuple[str, ...]]]:
    """Convert the labels of cells to multi-hot rows.

    Parameters
    ----------
    path : Path or str
        The table, for messages.
    all_words : sequence of Words
        Of N rows.
    numbers : mapping of int to int or str
        For each number its class, or the name that it stands for where that is no class.
    dataset : Dataset
        With K classes.

    Returns
    -------
    labels : array of uint8, shape (N, K)
    dropped : dict of int to tuple of str
        By row, the names that stand for no class.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    labels = np.zeros((len(all_words), len(dataset.classes)), np.uint8)
    dropped: dict[int, tuple[str, ...]] = {}
    for row, words in enumerate(all_words):
        for number in words.numbers:
            to = numbers[number]
            if isinstance(to, int):
                labels[row, to] = 1
            else:
                dropped[row] = (*dropped.get(row, ()), to)
        for name in words.names:
            known = fold_name(name)
            if known not in dataset.class_index:
                refuse_label(path, name, row, dataset)
            index = dataset.class_index[known]
            if index is None:
                dropped[row] = (*dropped.get(row, ()), " ".join(name.split()))
            else:
                labels[row, index] = 1
    return labels, dropped


def refuse_label(path: object, label: str, row: int, dataset: Dataset) -> NoReturn:
    """Refuse a label that is no class, with the class or the data set that was probably meant."""
    near = difflib.get_close_matches(label.casefold(), list(dataset.class_index), 1, 0.7)
    other = find_preset(label)
    remedy = "Correct or remove the row, or pass --dataset FILE for other classes; see `hpa datasets`."
    if other:
        remedy = f"It is a class of {other}: pass --dataset {other}, or correct the row."
    elif sum(name in fold_name(label) for name in map(fold_name, dataset.classes)) > 1:
        remedy = "Separate names by semicolons."
    elif near:
        remedy = f"The nearest name is {_spell(near[0], dataset)!r}: correct the row."
    rule = f"a class name of {dataset.name}"
    if not any(name.isdigit() for name in dataset.classes):
        rule += f" or a class number from 0 to {len(dataset.classes) - 1}"
    raise InputError(f"A label must be {rule}. Received: {label[:40]!r} in row {row + 1} of {path}. {remedy}")


def _spell(folded: str, dataset: Dataset) -> str:
    return next(name for name in (*dataset.classes, *dataset.synonyms) if fold_name(name) == folded)
