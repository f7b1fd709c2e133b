"""The levels of a part, or of samples read for a dry run: what is far too dim or white; see `convert.judge`."""

import contextlib
import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.convert.judge import Judged, find_notices
from hpa_data.dataset import Dataset, Sample, is_readable
from hpa_data.errors import Notice
from hpa_data.format.statistics import sum_pixels
from hpa_data.reader import Reader
from hpa_data.sources.measure import find_highest
from hpa_data.sources.naming import SampleFiles
from hpa_data.sources.options import ImportOptions
from hpa_data.store.part import Part


def find_dim(
    part: Part, samples: Sequence[SampleFiles], options: ImportOptions, dataset: Dataset
) -> tuple[Notice, ...]:
    """Find the dim channels and samples of a part; no pixel is read where the sums show that there are none.

    Parameters
    ----------
    part : Part
        After its conversion.
    samples : sequence of SampleFiles, length N
        Its files, opened again to explain what was found.
    options, dataset
        As for `read_sample`.
    """
    rows = np.flatnonzero(is_readable(part.read_status()))
    filled = part.read_filled()
    names = dataset.channel_names

    sums = part.read_sums()[rows]
    is_filled = np.array([[name in (filled[row] if filled else ()) for name in names] for row in rows], bool).reshape(
        -1, len(names)
    )
    with contextlib.ExitStack() as stack:

        @cache
        def open_reader() -> Reader:
            return stack.enter_context(Reader([part.reader_spec()], threads=1))

        return find_notices(
            Judged(
                ids=[part.ids[row] for row in rows],
                channels=names,
                brightness=_measure_brightness(sums, is_filled),
                means=_measure_means(sums, is_filled, part.layout.image_shape),
                read_highest=lambda index: _measure_highest(open_reader().read([rows[index]])[0]),
                explain=lambda indices: find_highest([samples[rows[index]] for index in indices], options, dataset),
                options=options,
                again="Convert again with --overwrite and",
            )
        )


class Levels(NamedTuple):
    """The levels of a sample that was read."""

    files: SampleFiles

    sums: npt.NDArray[np.uint64]  # of the pixels and of their squares, (C, 2)

    highest: npt.NDArray[np.uint8]  # pixel of each channel, (C,)

    filled: tuple[str, ...]  # names of channels


def measure_levels(files: SampleFiles, sample: Sample) -> Levels:
    """Measure the levels of a sample for `find_dim_read`."""
    return Levels(files, sum_pixels(sample.image), _measure_highest(sample.image), sample.filled)


def find_dim_read(
    read: Sequence[Levels],
    options: ImportOptions,
    dataset: Dataset,
    *,
    again: str = "Pass",
    channels_only: bool = False,
) -> tuple[Notice, ...]:
    """Find the dim channels and samples among those that were read for a dry run; as `find_dim`.

    For `again` and `channels_only`, see `Judged`.
    """
    if not read:
        return ()
    names = dataset.channel_names
    sums = np.array([levels.sums for levels in read])
    is_filled = np.array([[name in levels.filled for name in names] for levels in read], bool)
    return find_notices(
        Judged(
            ids=[levels.files.id for levels in read],
            channels=names,
            brightness=_measure_brightness(sums, is_filled),
            means=_measure_means(sums, is_filled, dataset.image_shape),
            read_highest=lambda index: read[index].highest,
            explain=lambda indices: find_highest([read[index].files for index in indices], options, dataset),
            options=options,
            again=again,
            channels_only=channels_only,
        )
    )


def _measure_brightness(sums: npt.NDArray[np.uint64], filled: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    brightness = sums[..., 1] / np.maximum(sums[..., 0], 1).astype(np.float64)
    brightness[filled] = np.nan
    return brightness


def _measure_means(
    sums: npt.NDArray[np.uint64], filled: npt.NDArray[np.bool_], image_shape: tuple[int, int, int]
) -> npt.NDArray[np.float64]:
    means = sums[..., 0] / float(image_shape[0] * image_shape[1])
    means[filled] = np.nan
    return np.asarray(means)


def _measure_highest(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width, n_channels = image.shape
    # Rows of many pixels: NumPy takes 30 times as long for rows of a few bytes.
    pixels = math.gcd(height * width, 256)
    return np.asarray(image.reshape(-1, pixels * n_channels).max(axis=0).reshape(pixels, n_channels).max(axis=0))
