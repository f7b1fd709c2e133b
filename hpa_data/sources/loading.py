"""The planes of a sample as its files have them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from hpa_data.dataset import Dataset, fold_name
from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from hpa_data.sources.files import read_file
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.naming import SampleFiles, missing_channels
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.planes import Plane
from hpa_data.sources.schemes import Extract


def load_planes(
    files: SampleFiles, options: ImportOptions, dataset: Dataset
) -> Iterator[tuple[str, ImageFile | None, Plane | None]]:
    """Yield the channels of a sample in their order: the name, the opened file, the plane.

    Both are None where a channel is to be filled. A stack is opened once; of single planes, one at a time is in memory
    if the caller lets go of it.

    Raises
    ------
    InputError
        If a plane is missing (and is not to be filled) or cannot be decoded, or no channel has one.
    """
    _check_files(files, options, dataset)
    opened: tuple[str, ImageFile] | None = None
    n_found = 0
    for channel, file in zip(dataset.channel_names, files.planes, strict=True):
        if file is None:
            yield channel, None, None
            continue
        if opened is None or opened[0] != file.name:
            opened = None
            opened = (file.name, open_image(read_file(file.root, file.name), file.name, options))
        plane = file.extract(opened[1])
        if plane is None and options.missing != "fill":
            raise _missing_plane(channel, file.extract, opened[1], options, dataset)
        if plane is not None and options.expected_names is not None:
            _check_name(channel, plane, options.expected_names)
        n_found += plane is not None
        yield channel, opened[1], plane
        del plane
    if not n_found and opened is not None:  # not a sample without any image
        extract = next(file.extract for file in files.planes if file is not None)
        raise _missing_plane(dataset.channel_names[0], extract, opened[1], options, dataset)


def choose_some(samples: Sequence[SampleFiles], n: int) -> list[SampleFiles]:
    """Choose up to `n` samples, evenly spaced."""
    return [samples[index] for index in np.unique(np.linspace(0, len(samples) - 1, n).round().astype(int)).tolist()]


def open_first(files: SampleFiles, options: ImportOptions) -> ImageFile | None:
    """Open the first file of a sample; None if it has none. InputError if the file cannot be read."""
    file = next((file for file in files.planes if file is not None), None)
    return None if file is None else open_image(read_file(file.root, file.name), file.name, options)


def _check_files(files: SampleFiles, options: ImportOptions, dataset: Dataset) -> None:
    """Refuse a sample that cannot be read, before any of its files is."""
    if files.error:
        raise InputError(f"Cannot read sample {files.id!r}: {files.error}.")
    missing = missing_channels(files, dataset)
    if missing and options.missing != "fill":
        first = next(plane.name for plane in files.planes if plane is not None)
        raise InputError(
            f"Cannot read sample {files.id!r}: there is no file for {', '.join(missing)} beside {first}. Add the "
            "files, or pass --missing fill to fill the channels with zeros."
        )


def _check_name(channel: str, plane: Plane, expected: Mapping[str, str]) -> None:
    """Refuse a plane that its file calls otherwise than most files of the part."""
    name = expected.get(channel)
    if name is not None and plane.name and fold_name(plane.name) != fold_name(name):
        raise InputError(
            f"Cannot use {plane.file}: it calls the plane of channel {channel!r} {plane.name!r}, where most files call "
            f"it {name!r}. Map the channels by names: --channels {channel}={name} and so on.",
            file=plane.file,
        )


def _missing_plane(
    channel: str, extract: Extract, image: ImageFile, options: ImportOptions, dataset: Dataset
) -> InputError:
    key = extract.keywords.get("key", channel) if isinstance(extract, partial) else channel
    plane = f"channel {channel!r}" if key == channel else f"plane {key!r}, channel {channel!r},"
    names = f": {', '.join(image.names)}" if image.names else " without names"
    example = ",".join(f"{name}={index}" for index, name in enumerate(dataset.channel_names))
    if options.missing == "fill":
        remedy = f"No channel was found, and a sample without any is not filled. Pass --channels, for example {example}"
    else:
        remedy = f"Pass --channels, for example {example}, or --missing fill to fill the channel with zeros"
    return InputError(
        f"Cannot find {plane} in {image.file}, which has {image.n_planes} planes{names}. {remedy}.", file=image.file
    )
