"""Which plane of which file each channel is: what is expected of all samples, and the mapping in words.

Files are opened for that when a conversion is planned, so that a typing error does not make a channel black in every
sample, and a number does not mean another plane in some files.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hpa_data.dataset import Dataset, fold_name
from hpa_data.errors import InputError
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.loading import choose_some, open_first
from hpa_data.sources.naming import PlaneFile, SampleFiles
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.suggest import describe_unknown

# Samples whose files are opened, if they all agree.
N_OPENED = 15


@dataclass(frozen=True, kw_only=True)
class ChannelMapping:
    """Where the channels of a source come from."""

    expected_names: Mapping[str, str] | None
    """See `ImportOptions.expected_names`."""

    described: Mapping[str, str]
    """By channel, the file or plane in words."""


def map_channels(samples: Sequence[SampleFiles], options: ImportOptions, dataset: Dataset) -> ChannelMapping:
    """Find out which plane of the files each channel is.

    Parameters
    ----------
    samples : sequence of SampleFiles
        Some of them are opened, evenly spaced; more of them only to find a name that none of those has.
    options, dataset
        As for `find_samples`.

    Raises
    ------
    InputError
        If a channel is mapped to a plane that no file has, to one that its files name after another channel, or to the
        same plane as another channel.
    """
    keys = _list_keys(samples, dataset)
    if not keys or options.rules == 1:
        return ChannelMapping(expected_names=None, described=_describe(samples, keys, [], dataset))
    images = list(_open_files(choose_some(samples, N_OPENED), options))
    if options.channels is not None:
        _check_names(keys, images, samples, options)
    # Names that no two files share are not those of channels.
    n_files = Counter(name for image in images for name in {fold_name(name) for name in image.names})
    expected: dict[str, str] = {}
    for channel, key in keys.items():
        if isinstance(key, int):
            names = [image.names[key] for image in images if key < len(image.names) and image.names[key]]
            if names and (len(images) == 1 or any(n_files[fold_name(name)] > 1 for name in names)):
                expected[channel] = _choose_name(channel, key, names)
    _check_expected(expected, keys, dataset)
    return ChannelMapping(expected_names=expected or None, described=_describe(samples, keys, images, dataset))


def _list_keys(samples: Sequence[SampleFiles], dataset: Dataset) -> dict[str, int | str]:
    """List by channel the number or name of its plane in a file that holds whole samples; empty for other files."""
    keys: dict[str, int | str] = {}
    for index, channel in enumerate(dataset.channel_names):
        plane = _find_plane(samples, index)
        if plane is not None and isinstance(plane.extract, partial) and "key" in plane.extract.keywords:
            keys[channel] = plane.extract.keywords["key"]
    return keys


def _find_plane(samples: Sequence[SampleFiles], index: int) -> PlaneFile | None:
    return next((sample.planes[index] for sample in samples if sample.planes[index] is not None), None)


def _open_files(samples: Sequence[SampleFiles], options: ImportOptions) -> Iterator[ImageFile]:
    """Open the first file of each sample; those that cannot be read fail when they are converted."""
    for sample in samples:
        try:
            image = open_first(sample, options)
        except InputError:
            continue
        if image is not None:
            yield image


def _check_names(
    keys: Mapping[str, int | str],
    images: Sequence[ImageFile],
    samples: Sequence[SampleFiles],
    options: ImportOptions,
) -> None:
    """Refuse a plane that no file has: a typing error would make the channel black in every sample."""
    names = {channel: key for channel, key in keys.items() if isinstance(key, str)}  # a number fails its samples
    missing = {channel: key for channel, key in names.items() if not any(_has_plane(image, key) for image in images)}
    if not missing or not images:
        return
    for image in _open_files(samples, options):
        missing = {channel: key for channel, key in missing.items() if not _has_plane(image, key)}
        if not missing:
            return
    channel, key = next(iter(missing.items()))
    used = {fold_name(str(other)) for other in keys.values()}
    seen = [name for name in dict.fromkeys(name for image in images for name in image.names) if name]
    if not seen:
        raise InputError(
            f"channels must map to what the files have. Received: {channel}={key}, and the planes of the files have no "
            f"names. Pass numbers, such as {channel}=0."
        )
    free = [name for name in seen if fold_name(name) not in used] or seen
    raise InputError(describe_unknown(channel, key, "file", free))


def _has_plane(image: ImageFile, key: int | str) -> bool:
    if isinstance(key, int):
        return key < image.n_planes + image.n_extra
    return fold_name(key) in map(fold_name, image.names)


def _choose_name(channel: str, key: int, names: Sequence[str]) -> str:
    """Return what most files call the plane of a number; InputError if not even half of them agree."""
    counts = Counter(map(fold_name, names))
    most = max(counts, key=lambda name: (counts[name], name))
    if len(counts) > 1 and 2 * counts[most] <= len(names):
        listed = ", ".join(repr(name) for name in sorted(set(names))[:4])
        raise InputError(
            f"channels must be the same planes in all files. Received: {channel}={key}, and files call this plane "
            f"{listed}. Pass names in place of numbers: --channels {channel}=NAME and so on."
        )
    return max(name for name in names if fold_name(name) == most)


def _check_expected(expected: Mapping[str, str], keys: Mapping[str, int | str], dataset: Dataset) -> None:
    """Refuse numbers whose planes have the names of other channels, and a plane that two channels are mapped to."""
    names = {fold_name(name): name for name in dataset.channel_names}
    for channel, name in expected.items():
        other = names.get(fold_name(name), channel)
        if other != channel:
            raise InputError(
                f"channels must fit the names in the files. Received: {channel}={keys[channel]}, but the files call "
                f"this plane {name!r}. Pass --channels {channel}={channel}, or leave --channels out."
            )
    taken: dict[str, str] = {}
    for channel, key in keys.items():
        plane = fold_name(expected.get(channel, str(key)))
        # Files may give two planes, of different numbers, the same name.
        if plane in taken and not (isinstance(key, int) and isinstance(keys[taken[plane]], int)):
            raise InputError(
                f"channels must map to different planes. Received: {taken[plane]} and {channel}, both mapped to plane "
                f"{key!r}. Correct one of them, or leave it out."
            )
        taken[plane] = channel


def _describe(
    samples: Sequence[SampleFiles], keys: Mapping[str, int | str], images: Sequence[ImageFile], dataset: Dataset
) -> dict[str, str]:
    """Describe for each channel the plane and the file that it is, by the first sample that has it."""
    described = {}
    for index, channel in enumerate(dataset.channel_names):
        plane = _find_plane(samples, index)
        if plane is None:
            described[channel] = "no file"
        elif channel in keys:
            described[channel] = _describe_key(keys[channel], plane, images)
        elif isinstance(plane.extract, partial):
            color = plane.extract.keywords.get("color", channel)
            part = "the mean of red and green" if color == "yellow" else color
            described[channel] = f"files like {plane.name}; {part} of color images"
        else:
            described[channel] = f"files like {plane.name}"
    return described


def _describe_key(key: int | str, plane: PlaneFile, images: Sequence[ImageFile]) -> str:
    image = next((image for image in images if _has_plane(image, key)), None)
    where = f"files like {image.file if image else plane.name}"
    if isinstance(key, int):
        name = image.names[key] if image is not None and key < len(image.names) else ""
        return f"plane {key}{f', {name!r},' if name else ''} of {where}"
    folded = [] if image is None else [fold_name(name) for name in image.names]
    number = f" (number {folded.index(fold_name(key))})" if fold_name(key) in folded else ""
    return f"plane {key!r}{number} of {where}"
