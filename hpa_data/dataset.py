"""Data sets: channels, classes and image size; multi-hot rows as text; the status of a sample."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.records import decode_record, encode_record

# Values of a sample's `status`. `FILLED`: a channel is missing and zeros were stored.
PENDING, OK, FAILED, FILLED = 0, 1, 2, 3

# More channels than any microscope has, and more classes than any known data set; MAX_SIDE as in `format.layout`.
MAX_CHANNELS, MAX_CLASSES, MAX_SIDE = 64, 2**16, 2**15

Role = Literal["signal", "reference"]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One channel of a data set."""

    name: str

    role: Role = "reference"
    """``signal`` for what the labels describe, such as the protein; augmentation never drops it."""

    color: str = "#ffffff"
    """How previews show it, ``#rrggbb``."""

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.name.strip() or self.name != self.name.strip() or set(self.name) & set("=,"):
            raise InputError(
                f"name of a channel must be a word without = or commas. Received: {self.name!r}. Use another name."
            )
        if not re.fullmatch("#[0-9a-f]{6}", self.color):
            raise InputError(
                f"color of a channel must be of the form #rrggbb, in small letters. Received: {self.color!r} for "
                f"{self.name}. Use #ff0000 for red, for example."
            )

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The color as red, green and blue, 0..255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """How the label tables of a data set write classes as numbers: as indices, from 0, of `Dataset.classes`."""

    columns: tuple[str, str]
    """Names of the columns of ids and of labels."""

    separator: str
    """Between the numbers of one sample."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What the images and labels of a data set mean.

    The names of the fields are keys in stores and in TOML files.
    """

    name: str

    channels: tuple[Channel, ...]
    """C channels, in the order of the images' last axis."""

    classes: tuple[str, ...]
    """Names of K classes, in the order of the labels' axis."""

    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other names in label tables, each with the name of its class; empty for a name that stands for no class."""

    numbering: Numbering | None = None
    """How its label tables write numbers; None if they are not known to have any."""

    height: int = 512
    """Rows of the images in a store."""

    width: int = 512
    """Columns of the images in a store."""

    def __post_init__(self) -> None:
        """Check that the values fit together."""
        names = self.channel_names
        for what, values, limit in (("channels", names, MAX_CHANNELS), ("classes", self.classes, MAX_CLASSES)):
            folded = [fold_name(value) for value in values]
            if not 1 <= len(values) <= limit or "" in folded or len(set(folded)) < len(folded):
                raise InputError(
                    f"{what} of data set {self.name!r} must be 1 to {limit}, with different names. Received: "
                    f"{len(values)}, {', '.join(values)[:200]}. Correct the names."
                )
        wrong = [word for word, name in self.synonyms.items() if name and name not in self.classes]
        if wrong:
            raise InputError(
                f"synonyms of data set {self.name!r} must stand for a class, or for none if empty. Received: "
                f"{wrong[0]!r} for {self.synonyms[wrong[0]]!r}. Correct the name of the class."
            )
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise InputError(
                f"height and width must be from 1 to {MAX_SIDE}. Received: {self.height} x {self.width}. Use others."
            )

    @cached_property  # asked for with each file name
    def channel_names(self) -> tuple[str, ...]:
        """Names of the C channels."""
        return tuple(channel.name for channel in self.channels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(Y, X, C) of an image in a store."""
        return self.height, self.width, len(self.channels)

    @cached_property
    def class_index(self) -> dict[str, int | None]:
        """Index of the class of each name and synonym, folded by `fold_name`; None if it stands for no class."""
        indices: dict[str, int | None] = {
            fold_name(word): self.classes.index(name) if name else None for word, name in self.synonyms.items()
        }
        return indices | {fold_name(name): index for index, name in enumerate(self.classes)}

    def resized(self, height: int, width: int) -> "Dataset":
        """Return the data set with another image size."""
        return replace(self, height=height, width=width)

    def select(self, channels: Sequence[str]) -> "Dataset":
        """Return the data set with some of its channels, in the order given; InputError if it lacks one."""
        by_name = {channel.name: channel for channel in self.channels}
        unknown = [name for name in channels if name not in by_name]
        if unknown or not channels or len(set(channels)) < len(channels):
            listed = ", ".join(map(repr, unknown or channels)) or "none"
            raise InputError(
                f"channels must be different ones of data set {self.name!r}: {', '.join(by_name)}. Received: {listed}. "
                "Name some of them, each once."
            )
        return replace(self, channels=tuple(by_name[name] for name in channels))

    def is_like(self, other: "Dataset") -> bool:
        """Return whether samples of both can be mixed: the same channels and classes, in the same order."""
        return self.channel_names == other.channel_names and self.classes == other.classes

    def encode(self) -> dict[str, Any]:
        """Return the data set as JSON values; `decode` is the inverse."""
        return encode_record(self)

    @staticmethod
    def decode(raw: Any, *, name: str = "the data set") -> "Dataset":
        """Read a data set from JSON or TOML values; InputError if they are not one."""
        return decode_record(Dataset, raw, name=name, remedy="Correct it.")


def fold_name(name: str) -> str:
    """Return a name of a class or channel without what does not count: case, and more than one space."""
    return " ".join(name.split()).casefold()


HPA_CHANNELS = (
    Channel(name="red", color="#ff0000"),  # microtubules
    Channel(name="green", color="#00ff00", role="signal"),  # the protein
    Channel(name="blue", color="#0000ff"),  # nucleus
    Channel(name="yellow", color="#ffff00"),  # endoplasmic reticulum
)

HPA_2018 = Dataset(
    name="hpa2018",
    channels=HPA_CHANNELS,
    classes=(
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
    ),
    # Other names of classes in tables of the Human Protein Atlas.
    synonyms={
        "Nucleus": "Nucleoplasm",
        "Midbody": "Cytokinetic bridge",
        "Midbody ring": "Cytokinetic bridge",
        "Cleavage furrow": "Cytokinetic bridge",
        "Vesicles": "",
        "Negative": "",
    },
    numbering=Numbering(columns=("Id", "Target"), separator=" "),
)

_PUNCTATE = "Vesicles and punctate cytosolic patterns"

# Kaggle's competition of 2021, on single cells: classes of 2018 that cannot be told apart there are one.
HPA_2021 = Dataset(
    name="hpa2021",
    channels=HPA_CHANNELS,
    classes=(
        *HPA_2018.classes[:8],
        "Intermediate filaments",
        "Actin filaments",
        "Microtubules",
        "Mitotic spindle",
        "Centrosome",
        "Plasma membrane",
        "Mitochondria",
        "Aggresome",
        "Cytosol",
        _PUNCTATE,
        "Negative",
    ),
    synonyms={
        "Nucleus": "Nucleoplasm",
        "Focal adhesion sites": "Actin filaments",
        "Cell junctions": "Plasma membrane",
        "Peroxisomes": _PUNCTATE,
        "Endosomes": _PUNCTATE,
        "Lysosomes": _PUNCTATE,
        "Lipid droplets": _PUNCTATE,
        "Cytoplasmic bodies": _PUNCTATE,
        "Vesicles": _PUNCTATE,
        "Microtubule ends": "",
        "Cytokinetic bridge": "",
        "Midbody": "",
        "Midbody ring": "",
        "Cleavage furrow": "",
        "Microtubule organizing center": "",
        "Rods & rings": "",
    },
    numbering=Numbering(columns=("ID", "Label"), separator="|"),
)

PRESETS = {preset.name: preset for preset in (HPA_2018, HPA_2021)}


def decode_labels(labels: npt.NDArray[np.generic]) -> list[str]:
    """Convert multi-hot rows to label strings; `tables.encode_labels` is the inverse up to the order of numbers.

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
    """uint8, (Y, X, C), see `Dataset.image_shape`. Its memory is reused once nothing refers to it."""

    status: int = OK
    """`OK`, or `FILLED` where zeros stand for a missing channel."""

    note: str = ""
    """A warning about the sample; empty if there is none."""

    filled: tuple[str, ...] = ()
    """Names of the channels that are filled with zeros."""

    origin: str = ""
    """What its files are like, in words, equal for files that are alike: size, format, bits. Empty for a copy."""
