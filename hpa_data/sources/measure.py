"""What is measured over many samples before they are read: their size, their highest values, their windows."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpa_data.dataset import Dataset
from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from hpa_data.sources.files import read_file
from hpa_data.sources.loading import load_planes
from hpa_data.sources.naming import SampleFiles
from hpa_data.sources.options import ImportOptions

# Samples that are opened to find the native size.
N_NATIVE = 15


class Highest(NamedTuple):
    """The highest raw value of a channel."""

    value: float

    white: float
    """See `image_file.ImageFile.max_value`; of the file that has that value."""


def find_native_size(samples: Sequence[SampleFiles], options: ImportOptions) -> tuple[int, int]:
    """Find the size, (Y, X), that most of some samples have, evenly spaced, by the first file of each.

    Raises
    ------
    InputError
        If none of those files can be read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    error = InputError("Cannot find the size of the files: no sample has one. Pass a number as --image-size.")
    for index in np.unique(np.linspace(0, len(samples) - 1, N_NATIVE).round().astype(int)).tolist():
        file = next((file for file in samples[index].planes if file is not None), None)
        try:
            if file is not None:
                sizes[open_image(read_file(file.root, file.name), file.name, options).shape] += 1
        except InputError as raised:
            error = raised
    if not sizes:
        raise error
    return max(sizes, key=lambda size: (sizes[size], size))


def find_highest(samples: Sequence[SampleFiles], options: ImportOptions, dataset: Dataset) -> dict[str, Highest]:
    """Find the highest raw value of each channel over some samples; those that cannot be read are left out."""
    found: dict[str, Highest] = {}
    for files in samples:
        try:
            for channel, _, plane in load_planes(files, options, dataset):
                if plane is not None:
                    # Of planes that are added up, their mean.
                    highest = Highest(float(plane.pixels.max()) / plane.n_summed, plane.max_value / plane.n_summed)
                    found[channel] = max(found.get(channel, highest), highest)
        except InputError:
            continue
    return found
