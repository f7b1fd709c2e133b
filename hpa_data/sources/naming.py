"""The samples of a source: its files sorted by sample and channel."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.sources.decode import EXTENSIONS
from hpa_data.sources.files import Listing, list_files
from hpa_data.sources.members import ARCHIVE, PassedOver, is_unsafe
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.schemes import (
    COMPOSITE,
    HPA_COLORS,
    NAMING_SCHEMES,
    SINGLE_PLANE,
    Extract,
    NamedPlane,
    split_channel,
    split_extension,
    split_plane,
)


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


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a source holds."""

    samples: tuple[SampleFiles, ...]
    """Sorted by id, each id once."""

    passed_over: tuple[PassedOver, ...]
    """Files and folders that no sample has, sorted by name."""


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
    """Find the samples of a source: those that `search_source` finds, without what is passed over."""
    return list(search_source(source, options, dataset).samples)


def search_source(source: str | Path, options: ImportOptions | None = None, dataset: Dataset = HPA_2018) -> Found:
    """Find the samples of a source, and what else it holds.

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
    Found
        Each file of the source is in a sample or passed over. A sample with two files for a channel, or with a name
        that is not UTF-8 or leads out of its archive, has an `error`.

    Raises
    ------
    InputError
        If the source is missing, cannot be read, or holds no plane.
    """
    source, options = Path(source), options or ImportOptions()
    scheme = NAMING_SCHEMES[options.source]
    _check_channels(options, dataset)
    listing = list_files(source, nested=scheme.nested)
    found = _collect(listing, lambda name: scheme.parse(name, options, dataset), dataset)
    if options.rules > 1:
        drop = _drop_planes if options.source == "stack" else _drop_composites
        drop(found, dataset)
    if not found.planes:
        raise InputError(_describe_nothing(source, options, dataset))
    samples = [
        SampleFiles(name, tuple(found.planes[name]), found.errors.get(name, "")) for name in sorted(found.planes)
    ]
    others = sorted([*listing.passed_over, *found.passed_over], key=lambda other: other.name)
    return Found(samples=tuple(samples), passed_over=tuple(others))


@dataclass(kw_only=True)
class _Collection:
    """The files of a source by sample."""

    planes: dict[str, list[PlaneFile | None]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    passed_over: list[PassedOver] = field(default_factory=list)

    def list_samples(self) -> tuple[SampleFiles, ...]:
        return tuple(
            SampleFiles(name, tuple(planes), self.errors.get(name, "")) for name, planes in sorted(self.planes.items())
        )

    def drop(self, sample_id: str, reason: str) -> None:
        """Pass over the files of a sample."""
        names = {plane.name for plane in self.planes.pop(sample_id) if plane is not None}
        self.errors.pop(sample_id, None)
        self.passed_over += [PassedOver(name, reason) for name in names]


def _collect(listing: Listing, parse: Callable[[str], Sequence[NamedPlane] | str], dataset: Dataset) -> _Collection:
    """Sort the files of a source by sample and channel."""
    names = dataset.channel_names
    found = _Collection()
    for file in listing.names:
        # Some programs unpack the file train\\a.png of a Windows archive into one file of that name.
        parsed = parse(file.replace("\\", "/"))
        if isinstance(parsed, str):
            found.passed_over.append(PassedOver(file, parsed))
            continue
        for sample_id, channel, extract in parsed:
            try:
                sample_id.encode()
            except UnicodeEncodeError:
                # Python hides bytes that are not UTF-8 in surrogates; the store takes text alone.
                sample_id = os.fsencode(sample_id).decode(errors="backslashreplace")  # noqa: PLW2901
                found.errors[sample_id] = "its file name is not UTF-8. Rename the file"
            if listing.is_archive and is_unsafe(file):
                found.errors[sample_id] = f"{file} leads out of the archive. Pack the files again"
            planes = found.planes.setdefault(sample_id, [None] * len(names))
            other = planes[channel]
            if other is not None:
                found.errors[sample_id] = (
                    f"there are two files for {names[channel]}, {other.name} and {file}. Remove one"
                )
            planes[channel] = PlaneFile(listing.root, file, extract)
    return found


def _drop_composites(found: _Collection, dataset: Dataset) -> None:
    """Pass over files like ``<id>_blue_red_green.jpg``, which look like the green plane of a sample ``<id>_blue_red``.

    The name is that of a composite if it ends in the names of three channels, or of two where the sample ``<id>`` has
    planes. But a sample with a file for each channel stays: its id may end in such words.
    """
    for sample_id in list(found.planes):
        split = split_channel(sample_id, dataset)
        if split is not None and None in found.planes[sample_id]:
            before, _ = split
            if before in found.planes or split_channel(before, dataset) is not None:
                found.drop(sample_id, COMPOSITE)


def _drop_planes(found: _Collection, dataset: Dataset) -> None:
    """Pass over files ``<id>_red.jpg``, ``<id>_green.jpg`` … beside files that hold whole samples."""
    groups: dict[str, list[str]] = {}
    for sample_id, planes in found.planes.items():
        file = next(plane.name for plane in planes if plane is not None)
        if split := split_plane(file, dataset):
            groups.setdefault(split[0], []).append(sample_id)
    for members in groups.values():
        if len(members) > 1:
            for sample_id in members:
                found.drop(sample_id, SINGLE_PLANE)


def _check_channels(options: ImportOptions, dataset: Dataset) -> None:
    """Refuse a mapping of channels that the data set does not have."""
    names = dataset.channel_names
    if options.source == "hpav18" and not set(names) <= set(HPA_COLORS):
        raise InputError(
            f"naming must fit the channels of the data set: hpav18 has {', '.join(HPA_COLORS)}. Received: "
            f"naming=hpav18 for the channels {', '.join(names)}. Leave --naming out for gray planes."
        )
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
    folders = sorted({name.rpartition("/")[0] for name in listing.names if split_plane(name, dataset)} - {""})
    if any(folder.rpartition("/")[2].isdigit() for folder in folders):
        remedy = "Pass --naming hpav18, whose folders are numbers of antibodies."
    elif folders:
        remedy = f"Pass the folder that does: {source / folders[0]}."
    elif any(split_extension(name)[1] in EXTENSIONS for name in listing.names):
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
