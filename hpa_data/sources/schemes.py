"""Naming schemes: which sample and which channel a file holds, by its name.

To add a scheme, add a function that parses a file name, a row of `NAMING_SCHEMES`, and the scheme's name in
`options.Naming`.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import NamedTuple

from hpa_data.dataset import Dataset
from hpa_data.errors import InputError
from hpa_data.sources.decode import EXTENSIONS
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.options import ImportOptions, Naming
from hpa_data.sources.planes import Plane, extract_color, extract_gray, extract_plane

Extract = Callable[[ImageFile], Plane | None]

# Why files are passed over. A report groups by these texts.
COMPOSITE = "a composite of several channels"
SINGLE_PLANE = "a plane of one channel, where files hold whole samples"
NO_CHANNEL = "its name does not end in a channel"
NO_ID = "its name has no id"

# Last words of the names of composites, beside the names of channels.
_COMPOSITE_WORDS = frozenset({"composite", "merge", "merged", "overlay", "rgb", "rgba", "selected"})

# Channels of the Human Protein Atlas: its files show each in its color.
HPA_COLORS = ("red", "green", "blue", "yellow")


class NamedPlane(NamedTuple):
    """A plane of a sample, as a file name describes it."""

    sample_id: str

    channel: int
    """Index in `Dataset.channels`."""

    extract: Extract


@dataclass(frozen=True)
class FoldGroup:
    """What samples of a source have in common that must not lie in two folds, as far as their ids show it."""

    name: str

    find: Callable[[str], str]
    """Returns the group of a sample id."""

    matches: Callable[[str], bool]
    """Whether an id is of this scheme's form. For label tables, which do not record the scheme."""


@dataclass(frozen=True, kw_only=True)
class NamingScheme:
    """How the files of a source are named."""

    parse: Callable[[str, ImportOptions, Dataset], Sequence[NamedPlane] | str]
    """Takes a file name, relative to the source, and returns the planes that the file holds, or why it has none."""

    nested: bool
    """Whether files lie in subfolders, too."""

    fold_group: FoldGroup | None = None


def parse_kaggle_name(name: str, options: ImportOptions, dataset: Dataset) -> Sequence[NamedPlane] | str:
    """Parse the name of a gray plane in Kaggle's folder: ``<id>_<channel>.png``."""
    plane = split_plane(name, dataset, exact=options.rules == 1)
    if plane is None:
        return _explain_name(name)
    stem, channel = plane
    return (NamedPlane(stem.rpartition("/")[2], channel, extract_gray),)


def parse_hpav18_name(name: str, options: ImportOptions, dataset: Dataset) -> Sequence[NamedPlane] | str:
    """Parse the name of an HPAv18 color plane: ``<antibody>/<plate>_<well>_<field>_<color>.jpg``, nested or flat."""
    plane = split_plane(name, dataset, exact=options.rules == 1)
    if plane is None:
        return _explain_name(name)
    stem, channel = plane
    return (NamedPlane(_external_id(stem), channel, _extract_color(dataset.channel_names[channel])),)


def parse_stack_name(name: str, options: ImportOptions, dataset: Dataset) -> Sequence[NamedPlane] | str:
    """Parse the name of a file that holds a whole sample: a TIFF stack ``<id>.tif``, or a color composite.

    Without `ImportOptions.channels`, the planes of a TIFF are found by the channels' names, and a composite,
    ``<id>_blue_red_green.jpg``, has red, green and blue.
    """
    stem, extension = split_extension(name)
    if extension not in EXTENSIONS:
        return _explain_name(name)
    if not stem.rpartition("/")[2]:
        return NO_ID
    names = dataset.channel_names
    keys: Mapping[str, int | str] | None = options.channels
    if keys is None:
        is_composite = extension not in {".tif", ".tiff"}
        keys = _composite_keys(name, names) if is_composite else {channel: channel for channel in names}
    sample_id = _external_id(stem.removesuffix("_blue_red_green"))
    return [NamedPlane(sample_id, names.index(channel), _extract_key(key)) for channel, key in keys.items()]


def _composite_keys(name: str, channels: Sequence[str]) -> dict[str, int | str]:
    """Return the planes of a color composite by channel: those that are called after a color."""
    keys: dict[str, int | str] = {
        color: index for index, color in enumerate(("red", "green", "blue")) if color in channels
    }
    if not keys:
        raise InputError(
            f"Cannot tell which channels the colors of {name} show: none of {', '.join(channels)} is red, green or "
            f"blue. Pass --channels, for example {channels[0]}=0."
        )
    return keys


def _explain_name(name: str) -> str:
    """Say why a file is passed over."""
    stem, extension = split_extension(name)
    if extension not in EXTENSIONS:
        return f"of another format ({extension})" if extension else "of another format"
    last = re.split(r"[_\-. ]", stem.rpartition("/")[2])[-1].lower()
    return COMPOSITE if last in _COMPOSITE_WORDS else NO_CHANNEL


def _find_antibody(sample_id: str) -> str:
    return sample_id.split("_", maxsplit=1)[0]


def _has_antibody(sample_id: str) -> bool:
    return "_" in sample_id and _find_antibody(sample_id).isdigit()


NAMING_SCHEMES: dict[Naming, NamingScheme] = {
    "kaggle": NamingScheme(parse=parse_kaggle_name, nested=False),
    "hpav18": NamingScheme(
        parse=parse_hpav18_name,
        nested=True,
        # Ids like 30741_800_A6_1. Images of one antibody show the same protein.
        fold_group=FoldGroup("antibody", _find_antibody, _has_antibody),
    ),
    "stack": NamingScheme(parse=parse_stack_name, nested=True),
}


@cache
def _extract_key(key: str | int) -> Extract:
    """Return one function per key, not one per file."""
    return partial(extract_plane, key=key)


@cache
def _extract_color(color: str) -> Extract:
    """Return one function per color, not one per file."""
    return partial(extract_color, color=color)


@lru_cache(maxsize=8)
def _index_channels(names: tuple[str, ...]) -> tuple[dict[str, int], tuple[int, ...]]:
    """Return the index of each channel by its name in lower case, and of how many words such names may be."""
    n_words = {name.count("_") + 1 for name in names}
    return {name.lower(): index for index, name in enumerate(names)}, tuple(sorted(n_words, reverse=True))


def split_extension(name: str) -> tuple[str, str]:
    """Split a name into stem and extension, lower case; ``.ome.tif`` is one extension."""
    stem, extension = os.path.splitext(name)
    if stem.rpartition("/")[2].startswith("._"):  # metadata that macOS leaves beside each file on foreign disks
        return "", ""
    return re.sub(r"\.ome$", "", stem, flags=re.IGNORECASE), extension.lower()


def split_plane(name: str, dataset: Dataset, *, exact: bool = False) -> tuple[str, int] | None:
    """Split the name of a plane into the part before its channel and the channel's index; None for other names.

    With `exact`, the case of the channel's name counts, as for version 0.1.0.
    """
    stem, extension = split_extension(name)
    found = split_channel(stem, dataset)
    if found is None or extension not in EXTENSIONS or not found[0].rpartition("/")[2]:
        return None
    return None if exact and not stem.endswith(dataset.channel_names[found[1]]) else found


def split_channel(text: str, dataset: Dataset) -> tuple[str, int] | None:
    """Split a text ``<before>_<channel>``, whatever its case, into the part before and the channel's index."""
    indices, n_words = _index_channels(dataset.channel_names)
    for number in n_words:
        words = text.rsplit("_", number)
        channel = indices.get("_".join(words[1:]).lower())
        if channel is not None:
            return words[0], channel
    return None


def _external_id(stem: str) -> str:
    """Make an id: in a folder of an antibody, which is a number, ``<antibody>_<name>``; else the name alone."""
    folders, _, name = stem.rpartition("/")
    antibody = folders.rpartition("/")[2]
    return f"{antibody}_{name}" if antibody.isascii() and antibody.isdigit() else name
