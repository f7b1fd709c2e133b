"""The forms in which samples come: how files are named, and which plane of a file is which channel.

A source is a function from the names of files to samples; `SOURCES` lists them.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hpa_data.dataset import CHANNELS
from hpa_data.errors import InputError
from hpa_data.sources.files import Listing, is_unsafe, list_files
from hpa_data.sources.options import ImportOptions

EXTENSIONS = (".png", ".tif", ".tiff", ".jpg", ".jpeg")


class PlaneFile(NamedTuple):
    """Where a channel of a sample lies. A tuple, because a data set has 300,000 of them.

    Attributes
    ----------
    root, name : str
        The file; see `files.Listing`.
    rule : str
        Which plane of it: ``gray`` the only one, ``colour`` that of the colour `key`, ``stacked`` the one with the
        number or name `key`.
    key : str or int
    """

    root: str
    name: str
    rule: str
    key: str | int


class SampleFiles(NamedTuple):
    """The files of one sample.

    Attributes
    ----------
    id : str
        The sample's id.
    planes : tuple of (PlaneFile or None), length C
        One a channel in the order of `CHANNELS`; None where it is missing.
    fault : str
        Why the sample cannot be read, if its names alone say so.
    """

    id: str
    planes: tuple[PlaneFile | None, ...]
    fault: str = ""


def parse_channels(text: str) -> dict[str, int | str]:
    """Read ``red=2,green=0,blue=DAPI``; InputError if it is not of that form.

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


def find_samples(source: str | Path, settings: ImportOptions | None = None) -> list[SampleFiles]:
    """Find the samples of a source.

    Parameters
    ----------
    source : str or Path
        A folder, a Zip archive, or a folder inside one.
    settings : ImportOptions, optional
        By default those of Kaggle's planes.

    Returns
    -------
    list of SampleFiles
        Sorted by id, each id once. Files that are no planes are passed over. A sample with two files for a channel, or
        with a name that is no text or leads out of its archive, has a `fault`.

    Raises
    ------
    InputError
        If the source is missing, cannot be read, or holds no plane.
    """
    source, settings = Path(source), settings or ImportOptions()
    name_samples, nested = SOURCES[settings.source]
    listing = list_files(source, nested=nested)
    planes: dict[str, list[PlaneFile | None]] = {}
    faults: dict[str, str] = {}
    for sample_id, place, plane in name_samples(listing, settings.channels):
        try:
            sample_id.encode()
        except UnicodeEncodeError:
            # Python hides bytes that are no text in surrogates; the store takes text alone.
            sample_id = os.fsencode(sample_id).decode(errors="backslashreplace")  # noqa: PLW2901
            faults[sample_id] = "its file name is not UTF-8; rename the file"
        if listing.is_archive and is_unsafe(plane.name):
            faults[sample_id] = f"{plane.name} leads out of the archive; pack the files again"
        known = planes.setdefault(sample_id, [None] * len(CHANNELS))
        other = known[place]
        if other is not None:
            faults[sample_id] = f"there are two files for {CHANNELS[place]}, {other.name} and {plane.name}; remove one"
        known[place] = plane
    if not planes:
        raise InputError(_describe_nothing(source, settings))
    return [SampleFiles(name, tuple(planes[name]), faults.get(name, "")) for name in sorted(planes)]


def _describe_nothing(source: Path, settings: ImportOptions) -> str:
    """Say that a source holds no sample, and what might help: a folder inside, or another source."""
    remedy = "Pass the folder that holds the files themselves."
    listing = list_files(source, nested=True)
    folders = sorted({name.rpartition("/")[0] for name in listing.names if _split_plane(name)} - {""})
    if any(folder.rpartition("/")[2].isdigit() for folder in folders):
        remedy = "Pass --source hpav18, whose folders are numbers of antibodies."
    elif folders:
        remedy = f"Pass the folder that does: {source / folders[0]}."
    elif any(_split_extension(name)[1] in EXTENSIONS for name in listing.names):
        remedy = "Pass --source stack for files that hold whole samples."
    form = "<id>.tif" if settings.source == "stack" else f"<id>_<{'|'.join(CHANNELS)}>.png"
    return f"The source must hold files named {form} (or .tif, .jpg). Received: {source} without any. {remedy}"


def missing_channels(sample: SampleFiles) -> list[str]:
    """Return the names of the channels that a sample lacks."""
    return [channel for channel, plane in zip(CHANNELS, sample.planes, strict=True) if plane is None]


Named = Iterable[tuple[str, int, PlaneFile]]


def parse_kaggle_names(listing: Listing, channels: Mapping[str, int | str] | None) -> Named:
    """Name the gray planes ``<id>_<channel>.png`` of one folder, as Kaggle has them."""
    for name in listing.names:
        if plane := _split_plane(name):
            stem, place = plane
            yield stem.rpartition("/")[2], place, PlaneFile(listing.root, name, "gray", "")


def parse_hpav18_names(listing: Listing, channels: Mapping[str, int | str] | None) -> Named:
    """Name the coloured planes of HPAv18: ``<antibody>/<plate>_<well>_<field>_<colour>.jpg``, or all in one folder."""
    for name in listing.names:
        if plane := _split_plane(name):
            stem, place = plane
            yield _name_external(stem), place, PlaneFile(listing.root, name, "colour", CHANNELS[place])


def parse_stack_names(listing: Listing, channels: Mapping[str, int | str] | None) -> Named:
    """Name files that hold whole samples: TIFF stacks ``<id>.tif``, colour composites ``<id>_blue_red_green.jpg``.

    Without `channels`, the planes of a TIFF are sought by the channels' names, and a composite has red, green and blue.
    """
    for name in listing.names:
        stem, extension = _split_extension(name)
        if extension not in EXTENSIONS or not stem.rpartition("/")[2]:
            continue
        is_composite = extension not in {".tif", ".tiff"}
        keys = channels or (
            {"red": 0, "green": 1, "blue": 2} if is_composite else {channel: channel for channel in CHANNELS}
        )
        for channel, key in keys.items():
            yield (
                _name_external(stem.removesuffix("_blue_red_green")),
                CHANNELS.index(channel),
                PlaneFile(listing.root, name, "stacked", key),
            )


# Each with whether it looks into subfolders.
SOURCES: dict[str, tuple[Callable[[Listing, Mapping[str, int | str] | None], Named], bool]] = {
    "kaggle": (parse_kaggle_names, False),
    "hpav18": (parse_hpav18_names, True),
    "stack": (parse_stack_names, True),
}

_PLACES = {channel: place for place, channel in enumerate(CHANNELS)}


def _split_extension(name: str) -> tuple[str, str]:
    """Split a name into stem and extension, lower case; ``.ome.tif`` is one extension."""
    stem, extension = os.path.splitext(name)
    if stem.rpartition("/")[2].startswith("._"):  # notes that macOS leaves beside each file on foreign disks
        return "", ""
    return re.sub(r"\.ome$", "", stem, flags=re.IGNORECASE), extension.lower()


def _split_plane(name: str) -> tuple[str, int] | None:
    """Split the name of a plane into what comes before its channel, and the channel's place; None if it is none."""
    stem, extension = _split_extension(name)
    before, _, channel = stem.rpartition("_")
    if extension not in EXTENSIONS or channel not in _PLACES or not before.rpartition("/")[2]:
        return None
    return before, _PLACES[channel]


def _name_external(stem: str) -> str:
    """Make an id: in a folder of an antibody, which is a number, ``<antibody>_<name>``; else the name alone."""
    folders, _, name = stem.rpartition("/")
    antibody = folders.rpartition("/")[2]
    return f"{antibody}_{name}" if antibody.isascii() and antibody.isdigit() else name
