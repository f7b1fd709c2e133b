"""Which classes the numbers of a label table stand for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpa_data.dataset import PRESETS, Dataset, fold_name
from hpa_data.errors import InputError


@dataclass(frozen=True, kw_only=True)
class NumbersSeen:
    """What the numbers of a label table look like."""

    path: Path

    columns: tuple[str, str]
    """Names of the columns of ids and of labels."""

    separators: frozenset[str]
    """What stands between them, see `cells.Words`."""

    largest: int


def choose_numbering(seen: NumbersSeen, dataset: Dataset, *, given: bool, numbering: str | None) -> Dataset:
    """Return the data set whose numbers a table holds.

    Parameters
    ----------
    seen : NumbersSeen
    dataset : Dataset
        Whose classes are wanted.
    given : bool
        Whether the user named it; numbers that look like those of no data set are then its own.
    numbering : str, optional
        The name of the data set that the user gave as that of the numbers.

    Raises
    ------
    InputError
        If that is not certain: the same number is one class here and another there.
    """
    known = _list_numberings(dataset)
    if numbering is not None:
        if numbering not in known:
            raise InputError(
                f"numbering must be one of {', '.join(known)}. Received: numbering={numbering!r}. Choose one."
            )
        return known[numbering]
    fitting = [name for name, each in known.items() if seen.largest < len(each.classes)]
    # Of data sets that number alike, none is certain.
    others = [each for each in known.values() if _fits(seen, each) and each.classes != dataset.classes]
    others = [each for each in others if each.name in fitting]
    if not others and (given or _fits(seen, dataset)):
        return dataset
    if others:
        other = others[0].name
        own = f"--numbering {dataset.name} if they are its own" if given else f"--dataset {other}"
        raise InputError(
            f"Cannot read {seen.path}: its columns {','.join(seen.columns)} and what stands between its numbers are "
            f"those of tables of {other}, and the data set is {dataset.name}. Pass {own}, or --numbering {other} to "
            "translate them."
        )
    shown = " ".join(sorted(repr(separator) for separator in seen.separators)) or "nothing"
    fit = f"such numbers are in {' and '.join(fitting)}" if fitting else f"no known data set has number {seen.largest}"
    raise InputError(
        f"Cannot read {seen.path}: which classes its numbers stand for is not certain; {fit}, and the columns "
        f"{','.join(seen.columns)} with {shown} between numbers are those of none. Pass --dataset "
        f"{' or '.join(fitting) or 'FILE.toml'}, or a table with names of classes; `hpa convert … --classes "
        "infer` takes numbers for names."
    )


def _list_numberings(dataset: Dataset) -> dict[str, Dataset]:
    return {dataset.name: dataset} | {name: each for name, each in PRESETS.items() if name != dataset.name}


def _fits(seen: NumbersSeen, dataset: Dataset) -> bool:
    """Return whether columns and separators are those of a data set; one number a row has no separator."""
    rule = dataset.numbering
    return (
        rule is not None
        and tuple(map(fold_name, seen.columns)) == tuple(map(fold_name, rule.columns))
        and seen.separators <= {rule.separator}
    )


def translate(source: Dataset, target: Dataset, numbers: Collection[int]) -> Mapping[int, int | None]:
    """Translate class numbers of one data set into those of another.

    Parameters
    ----------
    source, target : Dataset
    numbers : collection of int
        Numbers of classes of `source`.

    Returns
    -------
    mapping of int to int or None
        For each number its class of `target`, by its name; None where its name stands for no class there.

    Raises
    ------
    InputError
        If a class of `source` is several of `target`, by the synonyms of `source`, or `target` does not know its name.
        It starts with the number and the name.

    Examples
    --------
    >>> translate(PRESETS["hpa2021"], PRESETS["hpa2018"], [8, 14, 18])
    {8: 11, 14: 23, 18: None}
    """
    if source.classes == target.classes:
        return {number: number for number in numbers}
    found: dict[int, int | None] = {}
    for number in sorted(numbers):
        name = source.classes[number]
        parts = [
            index for index, word in enumerate(target.classes) if source.class_index.get(fold_name(word)) == number
        ]
        if len(parts) > 1:
            raise InputError(
                f"number {number} of {source.name}, {name!r}, is any of {len(parts)} classes of {target.name}: "
                f"{', '.join(target.classes[index] for index in parts)}. Correct or remove the row, or pass --dataset "
                f"{source.name}."
            )
        if not parts and fold_name(name) not in target.class_index:
            raise InputError(
                f"number {number} of {source.name}, {name!r}, is no class of {target.name}. Add it to the synonyms of "
                f"the data set, or pass --dataset {source.name}."
            )
        found[number] = parts[0] if parts else target.class_index[fold_name(name)]
    return found
