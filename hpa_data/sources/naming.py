"""Naming schemes: which sample and which channel a file holds, by its name.

To add a scheme, add a function that parses a file name, a row of `NAMING_SCHEMES`, and the scheme's name in
`options.Naming`.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.sources.decode import EXTENSIONS
from hpa_data.sources.files import list_files
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.members import ARCHIVE, is_unsafe
from hpa_data.sources.options import ImportOptions, Naming
from hpa_data.sources.planes import Plane, extract_color, extract_gray, extract_plane

Extract = Callable[[ImageFile], Plane | None]


class PlaneFile(NamedTuple):
    """Where the plane of a channel is. A tuple, because a data set has 300,000 of them."""

    root: str
    """The folder or archive; see `files.Listing`."""

    name: str
    """The file in it."""

    extract: Extract
    """Returns the plane of the opened file; None where the file has no such plane."""


class SampleFiles(NamedTuple):
    """The files of one sample."""

    id: str

    planes: tuple[PlaneFile | None, ...]
    """One per channel of the data set; None where there is no file."""

    error: str = ""
    """Why the sample cannot be read, and what to do, if the file names show it; empty otherwise."""


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

    parse: Callable[[str, ImportOptions, Dataset], Iterator[NamedPlane]]
    """Takes a file name, relative to the source, and yields the planes that the file holds; none for other files."""

    nested: bool
    """Whether files lie in subfolders, too."""

    fold_group: FoldGroup | None = None


def parse_channels(text: str) -> dict[str, int | str]:
    """Parse ``red=2,green=0,blue=DAPI``; InputError if it is not of that form.

    Examples
    --------
    >>> parse_channels("red=2, blue=DAPI")
    {'red': 2, 'blue': 'DAPI'}
    """
    channels: dict[str, int | str] = {}
    for word in text.split(","):
        channel, equals, key = (piece.strip() for piece in word.partition("="))
        if not equals or not key or channel in channels:
            raise InputError(
                f"channels must be a list like red=2,green=0,blue=DAPI, each channel once. Received: {text!r}. Correct "
                f"{word.strip()!r}."
            )
        channels[channel] = int(key) if key.isascii() and key.isdigit() and len(key) < 6 else key
    return channels


def find_samples(
    source: str | Path, options: ImportOptions | None = None, dataset: Dataset = HPA_2018
) -> list[SampleFiles]:
    """Find the samples of a source.

    Parameters
    ----------
    source : str or Path
        A folder, an archive, or a folder inside one.
    options : ImportOptions, optional
        By default Kaggle's naming scheme.
    dataset : Dataset
        Its channels are searched for.

    Returns
    -------
    list of SampleFiles
        Sorted by id, each id once. Files of other names are skipped. A sample with two files for a channel, or with a
        name that is not UTF-8 or leads out of its archive, has an `error`.

    Raises
    ------
    InputError
        If the source is missing, cannot be read, or holds no plane.
    """
    source, options = Path(source), options or ImportOptions()
    scheme = NAMING_SCHEMES[options.source]
    _check_channels(options, dataset)
    names = dataset.channel_names
    listing = list_files(source, nested=scheme.nested)
    planes: dict[str, list[PlaneFile | None]] = {}
    errors: dict[str, str] = {}
    for file in listing.names:
        # Some programs unpack the file train\\a.png of a Windows archive into one file of that name.
        for sample_id, channel, extract in scheme.parse(file.replace("\\", "/"), options, dataset):
            try:
                sample_id.encode()
            except UnicodeEncodeError:
                # Python hides bytes that are not UTF-8 in surrogates; the store takes text alone.
                sample_id = os.fsencode(sample_id).decode(errors="backslashreplace")  # noqa: PLW2901
                errors[sample_id] = "its file name is not UTF-8. Rename the file"
            if listing.is_archive and is_unsafe(file):
                errors[sample_id] = f"{file} leads out of the archive. Pack the files again"
            found = planes.setdefault(sample_id, [None] * len(names))
            other = found[channel]
            if other is not None:
                errors[sample_id] = f"there are two files for {names[channel]}, {other.name} and {file}. Remove one"
            found[channel] = PlaneFile(listing.root, file, extract)
    if not planes:
        raise InputError(_describe_nothing(source, options, dataset))
    return [SampleFiles(name, tuple(planes[name]), errors.get(name, "")) for name in sorted(planes)]


def _check_channels(options: ImportOptions, dataset: Dataset) -> None:
    """Refuse a mapping of channels that the data set does not have."""
    names = dataset.channel_names
    unknown = [name for name in options.channels or () if name not in names]
    if unknown or options.channels == {}:
        example = ",".join(f"{name}={index}" for index, name in enumerate(names))
        raise InputError(
            f"channels must name some of {', '.join(names)}. Received: {', '.join(unknown) or 'none'}. Pass, for "
            f"example, {example}."
        )


def _describe_nothing(source: Path, options: ImportOptions, dataset: Dataset) -> str:
    """Return the message for a source without samples, and what might help: a folder inside, or another scheme."""
    remedy = "Pass the folder that holds the files themselves."
    listing = list_files(source, nested=True)
    folders = sorted({name.rpartition("/")[0] for name in listing.names if _split_plane(name, dataset)} - {""})
    if any(folder.rpartition("/")[2].isdigit() for folder in folders):
        remedy = "Pass --naming hpav18, whose folders are numbers of antibodies."
    elif folders:
        remedy = f"Pass the folder that does: {source / folders[0]}."
    elif any(_split_extension(name)[1] in EXTENSIONS for name in listing.names):
        remedy = "Pass --naming stack for files that hold whole samples."
    elif archives := [other.name for other in listing.passed_over if other.reason == ARCHIVE]:
        inside = f"It holds the archive {archives[0]}"
        remedy = (
            f"{inside}: unpack {source} first." if listing.is_archive else f"{inside}: pass {source / archives[0]}."
        )
    name = "<id>.tif" if options.source == "stack" else f"<id>_<{'|'.join(dataset.channel_names)}>.png"
    return f"source must hold files named {name} (or .tif, .jpg, …). Received: {source} without any. {remedy}"


def missing_channels(sample: SampleFiles, dataset: Dataset) -> list[str]:
    """Return the names of the channels for which a sample has no file."""
    return [channel for channel, plane in zip(dataset.channel_names, sample.planes, strict=True) if plane is None]


def parse_kaggle_name(name: str, options: ImportOptions, dataset: Dataset) -> Iterator[NamedPlane]:
    """Parse the name of a gray plane in Kaggle's folder: ``<id>_<channel>.png``."""
    if plane := _split_plane(name, dataset):
        stem, channel = plane
        yield NamedPlane(stem.rpartition("/")[2], channel, extract_gray)


def parse_hpav18_name(name: str, options: ImportOptions, dataset: Dataset) -> Iterator[NamedPlane]:
    """Parse the name of an HPAv18 color plane: ``<antibody>/<plate>_<well>_<field>_<color>.jpg``, nested or flat."""
    if plane := _split_plane(name, dataset):
        stem, channel = plane
        yield NamedPlane(_external_id(stem), channel, _extract_color(dataset.channel_names[channel]))


def parse_stack_name(name: str, options: ImportOptions, dataset: Dataset) -> Iterator[NamedPlane]:
    """Parse the name of a file that holds a whole sample: a TIFF stack ``<id>.tif``, or a color composite.

    Without `ImportOptions.channels`, the planes of a TIFF are found by the channels' names, and a composite,
    ``<id>_blue_red_green.jpg``, has red, green and blue.
    """
    stem, extension = _split_extension(name)
    if extension not in EXTENSIONS or not stem.rpartition("/")[2]:
        return
    is_composite = extension not in {".tif", ".tiff"}
    names = dataset.channel_names
    keys = options.channels or (
        {"red": 0, "green": 1, "blue": 2} if is_composite else {channel: channel for channel in names}
    )
    for channel, key in keys.items():
        sample_id = _external_id(stem.removesuffix("_blue_red_green"))
        yield NamedPlane(sample_id, names.index(channel), _extract_key(key))


@cache
def _extract_key(key: str | int) -> Extract:
    """Return one function per key, not one per file."""
    return partial(extract_plane, key=key)


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
def _extract_color(color: str) -> Extract:
    """Return one function per color, not one per file."""
    return partial(extract_color, color=color)


@lru_cache(maxsize=8)
def _index_channels(names: tuple[str, ...]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _split_extension(name: str) -> tuple[str, str]:
    """Split a name into stem and extension, lower case; ``.ome.tif`` is one extension."""
    stem, extension = os.path.splitext(name)
    if stem.rpartition("/")[2].startswith("._"):  # metadata that macOS leaves beside each file on foreign disks
        return "", ""
    return re.sub(r"\.ome$", "", stem, flags=re.IGNORECASE), extension.lower()


def _split_plane(name: str, dataset: Dataset) -> tuple[str, int] | None:
    """Split the name of a plane into the part before its channel and the channel's index; None for other names."""
    stem, extension = _split_extension(name)
    before, _, channel = stem.rpartition("_")
    indices = _index_channels(dataset.channel_names)
    if extension not in EXTENSIONS or channel not in indices or not before.rpartition("/")[2]:
        return None
    return before, indices[channel]


def _external_id(stem: str) -> str:
    """Make an id: in a folder of an antibody, which is a number, ``<antibody>_<name>``; else the name alone."""
    folders, _, name = stem.rpartition("/")
    antibody = folders.rpartition("/")[2]
    return f"{antibody}_{name}" if antibody.isascii() and antibody.isdigit() else name
