"""The samples of a source: its files sorted by sample and channel."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.sources.files import Listing, list_files
from hpa_data.sources.members import PassedOver, is_unsafe
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.patterns import parse_pattern
from hpa_data.sources.schemes import (
    COMPOSITE,
    HPA_COLORS,
    NAMING_SCHEMES,
    NO_MATCH,
    OTHER_CHANNEL,
    SINGLE_PLANE,
    Extract,
    split_channel,
    split_plane,
)
from hpa_data.sources.suggest import describe_nothing, describe_two_files, describe_unknown


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
        # 00 is a text in file names.
        is_number = key.isascii() and key.isdigit() and len(key) < 6 and str(int(key)) == key
        channels[channel] = int(key) if is_number else key
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
    _check_channels(options, dataset)
    listing, found = _collect(source, options, dataset)
    if options.rules > 1 and options.source == "kaggle" and not found.planes:
        listing, found = _collect_folders(source, dataset) or (listing, found)
    if options.rules > 1 and options.source == "stack":
        _drop_planes(found, dataset)
    elif options.rules > 1:
        _drop_composites(found, dataset)
    if not found.planes:
        raise InputError(describe_nothing(source, list_files(source, nested=True), options, dataset))
    if options.rules > 1:
        _check_folders(found, options)
        _check_texts(found, options, dataset)
    others = sorted([*listing.passed_over, *found.passed_over], key=lambda other: other.name)
    return Found(samples=found.list_samples(), passed_over=tuple(others))


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


def _collect(source: Path, options: ImportOptions, dataset: Dataset) -> tuple[Listing, _Collection]:
    """Sort the files of a source by sample and channel."""
    scheme, names = NAMING_SCHEMES[options.source], dataset.channel_names
    listing, found = list_files(source, nested=scheme.is_nested(options)), _Collection()
    origins: dict[str, tuple[str, ...]] = {}
    for file in listing.names:
        # Some programs unpack the file train\\a.png of a Windows archive into one file of that name.
        parsed = scheme.parse(file.replace("\\", "/"), options, dataset)
        if isinstance(parsed, str):
            found.passed_over.append(PassedOver(file, parsed))
            continue
        for sample_id, channel, extract, fields in parsed:
            try:
                sample_id.encode()
            except UnicodeEncodeError:
                # Python hides bytes that are not UTF-8 in surrogates; the store takes text alone.
                sample_id = os.fsencode(sample_id).decode(errors="backslashreplace")  # noqa: PLW2901
                found.errors[sample_id] = "its file name is not UTF-8. Rename the file"
            if listing.is_archive and is_unsafe(file):
                found.errors[sample_id] = f"{file} leads out of the archive. Pack the files again"
            planes = found.planes.setdefault(sample_id, [None] * len(names))
            if fields and origins.setdefault(sample_id, fields) != fields:
                found.errors[sample_id] = f"{file} and others give it another id by the pattern. Rename the files"
            other = planes[channel]
            if other is not None:
                found.errors[sample_id] = describe_two_files(names[channel], other.name, file, options)
            planes[channel] = PlaneFile(listing.root, file, extract)
    return listing, found


def _collect_folders(source: Path, dataset: Dataset) -> tuple[Listing, _Collection] | None:
    """Sort the files of a source with a folder for each sample, ``a/a_red.png`` or ``a/red.png``; None for others.

    It is certain only where all images are in such folders.
    """
    for pattern in ("{id}/{id}_{channel}", "{id}/{channel}"):
        listing, found = _collect(source, ImportOptions(source="pattern", pattern=pattern), dataset)
        if found.planes and not any(other.reason in {NO_MATCH, OTHER_CHANNEL} for other in found.passed_over):
            return listing, found
    return None


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


def _check_folders(found: _Collection, options: ImportOptions) -> None:
    """Fail samples whose planes lie in several folders, unless each channel has a folder of its own.

    Two plates with the same ids, of which each lacks some planes, would become one sample.
    """
    if options.source != "hpav18":
        return
    for sample_id, planes in found.planes.items():
        folders = [plane.name.rpartition("/")[0] for plane in planes if plane is not None]
        if len(set(folders)) not in {1, len(folders)}:
            found.errors.setdefault(
                sample_id,
                f"its files are in different folders, {' and '.join(sorted(set(folders))[:2])}. Tell samples apart by "
                "their folders, too: --pattern '{folder}/{id}_{color}'",
            )


def _check_texts(found: _Collection, options: ImportOptions, dataset: Dataset) -> None:
    """Refuse a mapping to a text that no file name has: a typing error would make the channel black everywhere."""
    pattern = parse_pattern(options.pattern) if options.pattern is not None else None
    if options.channels is None or pattern is None or pattern.channel_field is None:
        return
    for channel, text in options.channels.items():
        index = dataset.channel_names.index(channel)
        if any(planes[index] is not None for planes in found.planes.values()):
            continue
        matches = (pattern.loose.fullmatch(other.name) for other in found.passed_over if other.reason == OTHER_CHANNEL)
        seen = sorted({matched.group(pattern.channel_field) for matched in matches if matched})
        raise InputError(describe_unknown(channel, text, "file name", seen))


def _check_channels(options: ImportOptions, dataset: Dataset) -> None:
    """Refuse a mapping of channels that the data set does not have."""
    names = dataset.channel_names
    if options.source == "hpav18" and not set(names) <= set(HPA_COLORS):
        raise InputError(
            f"naming must fit the channels of the data set: hpav18 has {', '.join(HPA_COLORS)}. Received: "
            f"naming=hpav18 for the channels {', '.join(names)}. Leave --naming out for gray planes."
        )
    by_key: dict[str, str] = {}
    for channel, key in (options.channels or {}).items():
        other = by_key.setdefault(str(key).casefold(), channel)
        if other != channel and options.rules > 1:
            raise InputError(
                f"channels must map to different planes. Received: {other}={key} and {channel}={key}. Correct one of "
                "them, or leave it out."
            )
    unknown = [name for name in options.channels or () if name not in names]
    if unknown or options.channels == {}:
        example = ",".join(f"{name}={index}" for index, name in enumerate(names))
        raise InputError(
            f"channels must name some of {', '.join(names)}. Received: {', '.join(unknown) or 'none'}. Pass, for "
            f"example, {example}."
        )


def missing_channels(sample: SampleFiles, dataset: Dataset) -> list[str]:
    """Return the names of the channels for which a sample has no file."""
    return [channel for channel, plane in zip(dataset.channel_names, sample.planes, strict=True) if plane is None]
