"""The data set: its channels and classes, label strings and multi-hot rows, the status of a sample."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError

CHANNELS = ("red", "green", "blue", "yellow")
IMAGE_SIZE = 512
# Values of a sample's `status`. `FILLED`: a channel is missing and zeros were stored.
PENDING, OK, FAILED, FILLED = 0, 1, 2, 3
CLASSES = (
    "Nucleoplasm",
    "Nuclear membrane",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nuclear speckles",
    "Nuclear bodies",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Peroxisomes",
    "Endosomes",
    "Lysosomes",
    "Intermediate filaments",
    "Actin filaments",
    "Focal adhesion sites",
    "Microtubules",
    "Microtubule ends",
    "Cytokinetic bridge",
    "Mitotic spindle",
    "Microtubule organizing center",
    "Centrosome",
    "Lipid droplets",
    "Plasma membrane",
    "Cell junctions",
    "Mitochondria",
    "Aggresome",
    "Cytosol",
    "Cytoplasmic bodies",
    "Rods & rings",
)
# Other names of classes in tables of the Human Protein Atlas; None for a location that is none of the 28.
SYNONYMS = {
    "Nucleus": "Nucleoplasm",
    "Midbody": "Cytokinetic bridge",
    "Midbody ring": "Cytokinetic bridge",
    "Cleavage furrow": "Cytokinetic bridge",
    "Vesicles": None,
}
_NUMBERS: dict[str, int | None] = {
    **{name.casefold(): number for number, name in enumerate(CLASSES)},
    **{word.casefold(): CLASSES.index(name) if name else None for word, name in SYNONYMS.items()},
}


def encode_labels(targets: Sequence[str], *, n_classes: int = len(CLASSES)) -> npt.NDArray[np.uint8]:
    """Convert label strings to multi-hot rows.

    Parameters
    ----------
    targets : sequence of str, length N
        Class numbers separated by spaces, as in Kaggle's tables, ``"16 0"``, or class names separated by ``;``, ``|``
        or ``,``: ``"Midbody;Nucleoplasm"``. Case is ignored; see also `SYNONYMS`. An empty string has no class.
    n_classes : int
        K, the number of classes.

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
    >>> encode_labels(["2 0", "", "nucleoli|Nucleus", "Vesicles"], n_classes=3)
    array([[1, 0, 1],
           [0, 0, 0],
           [1, 0, 1],
           [0, 0, 0]], dtype=uint8)
    """
    labels = np.zeros((len(targets), n_classes), np.uint8)
    for row, target in enumerate(targets):
        for word, number in _split_target(target):
            if number is None:
                continue
            if not 0 <= number < n_classes:
                raise InputError(
                    f"A label must be a class name or a class number from 0 to {n_classes - 1}. Received: "
                    f"{word[:40]!r} in row {row + 1} of the label table. Correct or remove the row."
                )
            labels[row, number] = 1
    return labels


def _split_target(target: str) -> Iterator[tuple[str, int | None]]:
    """Yield each label of a string with its class number: -1 if it is unknown, None if it is none of the classes."""
    for name in re.split("[|;,]", target):
        words = name.split()
        known = " ".join(words).casefold()
        if known in _NUMBERS:
            yield name.strip(), _NUMBERS[known]
        elif all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
            yield from ((word, int(word)) for word in words)
        else:
            yield name.strip(), -1


def decode_labels(labels: npt.NDArray[np.generic]) -> list[str]:
    """Convert multi-hot rows to label strings; the inverse of `encode_labels` up to the order of numbers.

    Parameters
    ----------
    labels : array of any number type, shape (N, K)
        Nonzero where the sample shows the class.

    Returns
    -------
    list of str, length N
        Class numbers in ascending order, separated by spaces.

    Examples
    --------
    >>> decode_labels(np.array([[1, 0, 1], [0, 0, 0]]))
    ['0 2', '']
    """
    return [" ".join(map(str, np.flatnonzero(row))) for row in labels]


def is_readable(status: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return, for each status, uint8 (N,), whether the sample's image can be read: bool (N,)."""
    return (status == OK) | (status == FILLED)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample that was read from its files, or a copy of one."""

    image: npt.NDArray[np.uint8]
    """uint8, (512, 512, 4), channels in the order of `CHANNELS`. Its memory is reused once nothing refers to it."""

    status: int = OK
    """`OK`, or `FILLED` where zeros stand for a missing channel."""

    note: str = ""
    """A warning about the sample; empty if there is none."""
