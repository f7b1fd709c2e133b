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

from hpa_data.dataset import HPA_CHANNELS, Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.sources.decode import EXTENSIONS
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.options import ImportOptions, Naming
from hpa_data.sources.patterns import COLOR, Pattern, match_texts, parse_pattern
from hpa_data.sources.planes import Plane, extract_color, extract_gray, extract_plane

Extract = Callable[[ImageFile], Plane | None]

# Why files are passed over. A report groups by these texts.
COMPOSITE = "a composite of several channels"
SINGLE_PLANE = "a plane of one channel, where files hold whole samples"
NO_CHANNEL = "its name does not end in a channel"
NO_ID = "its name has no id"
NO_MATCH = "its name does not match the pattern"
OTHER_CHANNEL = "its name matches the pattern, but for the channel"

# Last words of the names of composites, beside the names of channels.
_COMPOSITE_WORDS = frozenset({"composite", "merge", "merged", "overlay", "rgb", "rgba", "selected"})

# Channels of the Human Protein Atlas: its files show each in its color.
HPA_COLORS = tuple(channel.name for channel in HPA_CHANNELS)


class NamedPlane(NamedTuple):
    """A plane of a sample, as a file name describes it."""

    sample_id: str

    channel: int
    """Index in `Dataset.channels`."""

    extract: Extract

    fields: tuple[str, ...] = ()
    """What the id was made of, by a pattern: other fields with the same id are another sample."""


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

    is_nested: Callable[[ImportOptions], bool]
    """Returns whether files lie in subfolders, too."""

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
    return _list_stack(name, _external_id(stem.removesuffix("_blue_red_green")), options, dataset)


def _list_stack(
    name: str, sample_id: str, options: ImportOptions, dataset: Dataset, fields: tuple[str, ...] = ()
) -> list[NamedPlane]:
    """Return the planes of a file that holds a whole sample."""
    names = dataset.channel_names
    keys: Mapping[str, int | str] | None = options.channels
    if keys is None:
        is_composite = split_extension(name)[1] not in {".tif", ".tiff"}
        keys = _composite_keys(name, names) if is_composite else {channel: channel for channel in names}
    return [NamedPlane(sample_id, names.index(channel), _extract_key(key), fields) for channel, key in keys.items()]


def parse_pattern_name(name: str, options: ImportOptions, dataset: Dataset) -> Sequence[NamedPlane] | str:
    """Parse a name by `ImportOptions.pattern`. A file without a field for the channel holds a whole sample."""
    explained = _explain_name(name)
    if explained != NO_CHANNEL:
        return explained
    channels = None if options.channels is None else tuple(options.channels.items())
    rule = _compile_rule(options.pattern or "", channels, dataset.channels)
    # No file system takes longer names; an archive may.
    matched = rule.regex.fullmatch(name) if max(map(len, name.split("/"))) < 256 else None
    if matched is None:
        return OTHER_CHANNEL if len(name) < 256 and rule.pattern.loose.fullmatch(name) else NO_MATCH
    fields = matched.group(*rule.pattern.fields)
    fields = (fields,) if isinstance(fields, str) else fields
    sample_id = "_".join(fields)
    if rule.pattern.channel_field is None:
        return _list_stack(name, sample_id, options, dataset, fields)
    channel = rule.channels[matched.group(rule.pattern.channel_field).lower()]
    return (NamedPlane(sample_id, channel, rule.extracts[channel], fields),)


class _Rule(NamedTuple):
    """A pattern for the channels of a data set."""

    pattern: Pattern

    regex: re.Pattern[str]

    channels: dict[str, int]
    """Index of the channel by what the file name says, in lower case."""

    extracts: tuple[Extract, ...]
    """By channel."""


@lru_cache(maxsize=8)
def _compile_rule(text: str, mapping: tuple[tuple[str, int | str], ...] | None, channels: tuple[Channel, ...]) -> _Rule:
    pattern, names = parse_pattern(text), [channel.name for channel in channels]
    texts = {name: name for name in names} if mapping is None else {name: str(key) for name, key in mapping}
    indices = {text.lower(): names.index(name) for name, text in texts.items()}
    if pattern.channel_field == COLOR:
        extracts = tuple(_extract_color(_find_color(channel)) for channel in channels)
    else:
        extracts = (extract_gray,) * len(names)
    return _Rule(pattern, pattern.compile(match_texts(indices)), indices, extracts)


def _find_color(channel: Channel) -> str:
    """Return in which of the colors that can be read a channel is shown."""
    colors = {item.color: item.name for item in HPA_CHANNELS}
    color = channel.name.lower() if channel.name.lower() in HPA_COLORS else colors.get(channel.color)
    if color is None:
        raise InputError(
            f"pattern must have {{channel}} for data sets whose channels are not red, green, blue or yellow. Received: "
            f"{{color}} for channel {channel.name!r}, {channel.color}. Write {{channel}}, or give the channel a color."
        )
    return color


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
    "kaggle": NamingScheme(parse=parse_kaggle_name, is_nested=lambda _: False),
    "hpav18": NamingScheme(
        parse=parse_hpav18_name,
        is_nested=lambda _: True,
        # Ids like 30741_800_A6_1. Images of one antibody show the same protein.
        fold_group=FoldGroup("antibody", _find_antibody, _has_antibody),
    ),
    "stack": NamingScheme(parse=parse_stack_name, is_nested=lambda _: True),
    "pattern": NamingScheme(
        parse=parse_pattern_name, is_nested=lambda options: parse_pattern(options.pattern or "").is_nested
    ),
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
    # Without `os.path.splitext` and without a pattern where possible: a source may have millions of files.
    start, dot = name.rfind("/") + 1, name.rfind(".")
    if dot <= start or name[start] == ".":
        stem, extension = os.path.splitext(name)
        if stem.rpartition("/")[2].startswith("._"):  # metadata that macOS leaves beside each file on foreign disks
            return "", ""
    else:
        stem, extension = name[:dot], name[dot:]
    if ".ome" in stem[-5:].lower():
        stem = re.sub(r"\.ome$", "", stem, flags=re.IGNORECASE)
    return stem, extension.lower()


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
