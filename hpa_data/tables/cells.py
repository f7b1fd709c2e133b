"""What a cell of labels says: names and numbers of classes."""

import re
from collections.abc import Container
from dataclasses import dataclass

from hpa_data.dataset import fold_name
from hpa_data.errors import InputError

# How programs write that there is no value, folded.
MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "none", "null", "nat", "#n/a"})
# What stands around a list that was written as text by Python, NumPy or R.
_BRACKETS = re.compile(r"(?:array|set|frozenset|list|tuple|c)?\s*([\[({])(.*)([\])}])", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_NUMBER = re.compile(r"([0-9]{1,5})(?:\.0*)?")
# Marks a list in brackets, in `Words.separators`.
LIST = "[]"


@dataclass(frozen=True)
class Words:
    """The labels of one cell."""

    names: tuple[str, ...] = ()
    """As they are written; perhaps of no class."""

    numbers: tuple[int, ...] = ()

    separators: frozenset[str] = frozenset()
    """What stands between the numbers: of ``|``, ``;``, ``,``, a space, and `LIST`."""


def split_cell(text: str, known: Container[str]) -> Words:
    """Split a cell of labels into names and numbers.

    Parameters
    ----------
    text : str
        Numbers separated by spaces, ``"16 0"``; names separated by ``;``, ``|`` or ``,``; a list as text, ``"[16, 0]"``
        or ``"['Nucleoli', 'Cytosol']"``. Numbers may be whole with decimals, ``"16.0"``. A cell without a value is
        empty, or as programs write that: ``"NaN"``.
    known : container of str
        Names of classes, folded. They are never split, and never taken for numbers or for the lack of a value.

    Examples
    --------
    >>> split_cell("16 0", ())
    Words(names=(), numbers=(16, 0), separators=frozenset({' '}))
    >>> split_cell("['Nucleoli', 'Golgi apparatus']", ()).names
    ('Nucleoli', 'Golgi apparatus')
    >>> split_cell("nan", ())
    Words(names=(), numbers=(), separators=frozenset())
    """
    if fold_name(text) in known:
        return Words(names=(text,))
    body, separators = text, set()
    if match := _BRACKETS.fullmatch(text.strip()):
        body, separators = match.group(2).strip(), {LIST}
        if body.startswith(("[", "(", "{")):  # set([…]), c("…") of c(…)
            return split_cell(body, known)
    if body.startswith(("'", '"')):
        rest = _QUOTED.sub("", body)
        if not rest.strip(" ,;|\n\t"):
            items = [one or other for one, other in _QUOTED.findall(body)]
            return _classify(items, known, separators | ({","} if len(items) > 1 else set()))
    if fold_name(body) in MISSING and fold_name(body) not in known:
        return Words()
    separators |= set(re.findall(r"[|;,\n]", body.strip(" |;,\n")))
    return _classify(re.split(r"[|;,\n]", body), known, separators)


def _classify(items: list[str], known: Container[str], separators: set[str]) -> Words:
    """Tell names from numbers."""
    names, numbers, found = [], [], set(separators)
    for item in items:
        words = item.split()
        whole = [match.group(1) if (match := _NUMBER.fullmatch(word)) else word for word in words]
        is_label = [fold_name(word) in known or _NUMBER.fullmatch(word) for word in whole]
        if fold_name(item) in known:
            names.append(item.strip())
        elif words and all(is_label):
            # Words that are classes, or numbers; numbers may be names of classes, too.
            names += [word for word in whole if fold_name(word) in known]
            numbers += [int(word) for word in whole if fold_name(word) not in known]
            found |= {" "} if len(words) > 1 else set()
        elif fold_name(item) not in MISSING:
            names.append(item.strip())
    return Words(tuple(names), tuple(numbers), frozenset(found))


def check_not_vector(words: Words, n_classes: int, *, path: object, row: int) -> None:
    """Refuse a vector of zeros and ones, one per class, that stands where numbers of classes should.

    With bars, as in tables of 2021, numbers may be those of the cells of a sample, and repeat.
    """
    numbers = words.numbers
    is_binary = len(set(numbers)) < len(numbers) and set(numbers) <= {0, 1}
    if is_binary and (words.separators != {"|"} or len(numbers) == n_classes):
        raise InputError(
            f"Cannot read {path}: row {row} has a vector of {len(numbers)} zeros and ones, not numbers of classes. "
            "Give each class a column with its name, or list the classes of each sample."
        )
