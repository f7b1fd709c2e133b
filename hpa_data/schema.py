"""What a dataset is: channels, classes, label strings, the manifest of a part."""

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError

FORMAT_VERSION = 1
CHANNELS = ("red", "green", "blue", "yellow")
IMAGE_SIZE = 512
# Values of a sample's `status`: what became of it.
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


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """A label table: which sample shows which classes.

    Attributes
    ----------
    ids : tuple of str, length N
        In the order of the file, each once.
    labels : array of uint8, shape (N, K)
        Multi-hot.
    """

    ids: tuple[str, ...]
    labels: npt.NDArray[np.uint8]


def encode_labels(targets: Sequence[str], *, n_classes: int = len(CLASSES)) -> npt.NDArray[np.uint8]:
    """Turn label strings into multi-hot rows.

    Parameters
    ----------
    targets : sequence of str, length N
        Class numbers with blanks between them, as in Kaggle's tables: ``"16 0"``. An empty string has no class.
    n_classes : int
        K, the number of classes.

    Returns
    -------
    array of uint8, shape (N, K)
        1 where the sample shows the class.

    Raises
    ------
    InputError
        If a label is not an integer in 0..K-1.

    Examples
    --------
    >>> encode_labels(["2 0", ""], n_classes=3)
    array([[1, 0, 1],
           [0, 0, 0]], dtype=uint8)
    """
    labels = np.zeros((len(targets), n_classes), np.uint8)
    for row, target in enumerate(targets):
        for word in target.split():
            number = int(word) if word.isascii() and word.isdigit() and len(word) < 6 else -1
            if not 0 <= number < n_classes:
                raise InputError(
                    f"A label must be a class number from 0 to {n_classes - 1}. Received: {word[:40]!r} in row "
                    f"{row + 1} of the label table. Correct the row, or take it out."
                )
            labels[row, number] = 1
    return labels


def decode_labels(labels: npt.NDArray[np.generic]) -> list[str]:
    """Turn multi-hot rows into label strings; the inverse of `encode_labels` up to the order of numbers.

    Parameters
    ----------
    labels : array of any number type, shape (N, K)
        Not zero where the sample shows the class.

    Returns
    -------
    list of str, length N
        Class numbers in rising order with blanks between them.

    Examples
    --------
    >>> decode_labels(np.array([[1, 0, 1], [0, 0, 0]]))
    ['0 2', '']
    """
    return [" ".join(map(str, np.flatnonzero(row))) for row in labels]


def read_label_table(path: Path, *, target: str = "Target") -> LabelTable:
    """Read a label table with a column ``Id`` and a column of label strings.

    Parameters
    ----------
    path : Path
        A CSV file, UTF-8, with a header.
    target : str
        The name of the label column.

    Returns
    -------
    LabelTable
        Rows in file order.

    Raises
    ------
    InputError
        If the file is missing or no CSV text, lacks a column, repeats an id or holds an unknown label.
    """
    rows = read_columns(path, ("Id", target))
    ids = tuple(row[0] for row in rows)
    repeated = find_repeated(ids)
    if repeated is not None:
        raise InputError(f"Ids in a label table must be unique. Received: {repeated!r} twice in {path}. Take one out.")
    return LabelTable(ids=ids, labels=encode_labels([row[1] for row in rows]))


def read_columns(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Read the named columns of a CSV file with a header.

    Parameters
    ----------
    path : Path
        UTF-8 text, with or without a byte order mark.
    columns : sequence of str
        Names that the header must hold.

    Returns
    -------
    list of tuple of str
        One tuple a row, in the order of `columns`; empty lines are left out.

    Raises
    ------
    InputError
        If the file cannot be read as such a table.
    """
    if not path.is_file():
        raise InputError(f"A table must be a CSV file. Received: {path}, which is no file. Check the path.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            missing = [name for name in columns if name not in header]
            if missing:
                shown = ",".join(header)[:80]
                raise InputError(
                    f"Table {path} must have the columns {', '.join(columns)}. Received: the header {shown!r} without "
                    f"{', '.join(missing)}. Rename the columns or pass another table."
                )
            doubled = [name for name in columns if header.count(name) > 1]
            if doubled:
                raise InputError(
                    f"Table {path} must have one column {doubled[0]}. Received: {header.count(doubled[0])}. Remove one."
                )
            places = [header.index(name) for name in columns]
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"Each row of {path} must have {len(header)} columns. Received: {len(row)} in line "
                        f"{reader.line_num}. Put the labels into one column, with blanks between."
                    )
                rows.append(tuple(row[place].strip() for place in places))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Table {path} must be CSV text in UTF-8. Received: {error}. Export it again.") from error
    return rows


def is_readable(status: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell, for each status, uint8 (N,), whether the sample's image is there to be read: bool (N,)."""
    return (status == OK) | (status == FILLED)


def find_repeated(ids: Iterable[str]) -> str | None:
    """Return the first id that occurs a second time, or None."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            return name
        seen.add(name)
    return None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Channel intensities over the good samples of a part, in gray levels 0..255.

    Attributes
    ----------
    n_samples : int
        How many samples were counted.
    mean, std : tuple of float, length C
        From exact integer sums, so that no order of counting changes them.
    """

    n_samples: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a part holds and how it was made: the attributes of its group.

    Attributes
    ----------
    channels, classes : tuple of str
        Names, in the order of the arrays' axes.
    settings : dict
        The settings that produced the part, JSON values only; no path, no clock.
    fingerprint : str
        SHA-256 of everything that decides what the part should hold; see `fingerprint`.
    statistics : Statistics or None
        None until every sample is written.
    """

    channels: tuple[str, ...] = CHANNELS
    classes: tuple[str, ...] = CLASSES
    settings: dict[str, Any]
    fingerprint: str
    statistics: Statistics | None = None

    def encode(self) -> dict[str, Any]:
        """Return the manifest as JSON values; `decode` is the inverse."""
        return {"format_version": FORMAT_VERSION, **json.loads(json.dumps(asdict(self)))}

    @staticmethod
    def decode(attributes: Mapping[str, Any]) -> "Manifest":
        """Read a manifest from a group's attributes; InputError if they are none of this format's version."""
        version = attributes.get("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"A part must have format version {FORMAT_VERSION}. Received: {version!r}. Convert the source again."
            )
        try:
            raw = attributes["statistics"]
            statistics = raw and Statistics(
                n_samples=int(raw["n_samples"]), mean=tuple(raw["mean"]), std=tuple(raw["std"])
            )
            names = [attributes["channels"], attributes["classes"]]
            if not all(isinstance(names_, list) and all(isinstance(n, str) for n in names_) for names_ in names):
                raise TypeError("channels or classes, which are no lists of names")
            return Manifest(
                channels=tuple(names[0]),
                classes=tuple(names[1]),
                settings=dict(attributes["settings"]),
                fingerprint=str(attributes["fingerprint"]),
                statistics=statistics,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"A part must have a whole manifest. Received: one with a fault at {error}. Convert the source again."
            ) from error


def fingerprint(settings: Mapping[str, Any], ids: Sequence[str], labels: npt.NDArray[np.uint8] | None) -> str:
    """Hash what decides a part's content: settings, ids and labels, in their order.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    told = json.dumps([dict(settings), list(ids), labels is not None], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(told.encode())
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()


def measure_statistics(sums: npt.NDArray[np.uint64], *, pixels: int) -> Statistics | None:
    """Turn sums over pixels into mean and standard deviation.

    Parameters
    ----------
    sums : array of uint64, shape (N, C, 2)
        For each sample and channel, the sum of its pixels and of their squares.
    pixels : int
        Pixels of one sample in one channel.

    Returns
    -------
    Statistics or None
        None without a sample.

    Examples
    --------
    >>> measure_statistics(np.array([[[4, 16]]], np.uint64), pixels=2)
    Statistics(n_samples=1, mean=(2.0,), std=(2.0,))
    """
    if not len(sums):
        return None
    count = len(sums) * pixels
    # Python's integers: the square of a sum over 31,072 samples does not fit in 64 bits.
    totals = [(int(total), int(squares)) for total, squares in sums.sum(axis=0)]
    return Statistics(
        n_samples=len(sums),
        mean=tuple(total / count for total, _ in totals),
        std=tuple(math.sqrt(squares * count - total**2) / count for total, squares in totals),
    )
