"""What is measured over many samples before they are read: their size, their highest values, their windows."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Dataset
from hpa_data.errors import InputError
from hpa_data.sources.image_file import Pixels
from hpa_data.sources.loading import choose_some, load_planes, open_first
from hpa_data.sources.naming import SampleFiles
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.planes import Plane
from hpa_data.sources.scaling import Scaling
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import sample_threads

# Samples that are opened to find the native size.
N_NATIVE = 15

# Bins of a histogram: one for each value of 16 bits. For other pixels, one for each of the first 17 bits of a float32
# (sign, exponent and 8 bits of the fraction), so that neighbors differ by 0.4 %.
_BINS_16, _BINS_FLOAT, _DROPPED_BITS = 2**16, 2**17, 15

_SIGN = np.uint32(2**31)

COUNTED_AT_ONCE = 2**17


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
    for files in choose_some(samples, N_NATIVE):
        try:
            if (image := open_first(files, options)) is not None:
                sizes[image.shape] += 1
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


def measure_windows(
    samples: Sequence[SampleFiles],
    options: ImportOptions,
    dataset: Dataset,
    *,
    threads: int = 1,
    progress: Progress = SILENT,
) -> dict[str, tuple[float, float]]:
    """Find the raw values that become black and white in the channels scaled by ``dataset-percentile``.

    They are percentiles of all pixels of a channel together, exact for integers of up to 16 bits and to 0.4 % for
    others, and do not depend on the order of the samples. Samples that cannot be read are left out.

    Parameters
    ----------
    samples : sequence of SampleFiles
    options, dataset
        As for `read_sample`.
    threads : int
        Threads that read samples.
    progress : Progress, optional
        Of samples; this starts it.

    Returns
    -------
    dict of str to tuple of float
        By channel; without those that no sample has.

    Raises
    ------
    InputError
        If the files of a channel have pixels of different types.
    """
    wanted = [name for name in dataset.channel_names if options.scaling(name).method == "dataset-percentile"]
    histograms: dict[str, dict[_Kind, _Histogram]] = {name: {} for name in wanted}
    lock = threading.Lock()

    def count(files: SampleFiles) -> None:
        found: list[tuple[str, _Kind, _Histogram]] = []
        try:
            for channel, _, plane in load_planes(files, options, dataset):
                if channel in wanted and plane is not None:
                    kind = _Kind(str(plane.pixels.dtype), plane.n_summed)
                    found.append((channel, kind, _count_pixels(plane)))
                del plane
        except InputError:
            return
        with lock:
            for channel, kind, histogram in found:
                total = histograms[channel].get(kind)
                histograms[channel][kind] = histogram if total is None else total.add(histogram)

    progress.start(len(samples))
    with sample_threads(threads) as team:
        for _ in team.map(count, samples):
            progress.advance(1)
    return {
        name: _find_percentiles(*_choose_kind(name, kinds), options.scaling(name))
        for name, kinds in histograms.items()
        if kinds
    }


class _Kind(NamedTuple):
    """What must be equal where values are compared."""

    dtype: str  # of the pixels

    n_summed: int  # planes that were added up


class _Histogram(NamedTuple):
    """How often each value occurs in the planes of a channel."""

    counts: npt.NDArray[np.int64]

    file: str  # the first one by name

    def add(self, other: "_Histogram") -> "_Histogram":
        return _Histogram(self.counts + other.counts, min(self.file, other.file))


def _count_pixels(plane: Plane) -> _Histogram:
    pixels = plane.pixels.ravel()
    is_exact = pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2
    counts = np.zeros(_BINS_16 if is_exact else _BINS_FLOAT, np.int64)
    # NumPy needs eight bytes for each pixel that it counts at once.
    for start in range(0, len(pixels), COUNTED_AT_ONCE):
        block = pixels[start : start + COUNTED_AT_ONCE]
        counts += np.bincount(block if is_exact else _order_floats(block, plane.file), minlength=len(counts))
    return _Histogram(counts, plane.file)


def _order_floats(pixels: Pixels, file: str) -> npt.NDArray[np.uint32]:
    """Return the bins of pixels of any type: whole numbers in the order of the pixels."""
    if not np.isfinite(pixels).all():
        raise InputError(f"Cannot measure {file}: some of its pixels are not numbers or infinite.", file=file)
    bits = np.ascontiguousarray(pixels, np.float32).view(np.uint32)
    # The order of the bits is that of the numbers; of negative ones the reverse.
    return np.where(bits & _SIGN, ~bits, bits | _SIGN) >> np.uint32(_DROPPED_BITS)


def _choose_kind(channel: str, kinds: dict[_Kind, _Histogram]) -> tuple[_Kind, _Histogram]:
    """Return the one kind of pixels that a channel has."""
    if len(kinds) > 1:
        first, second = sorted(f"{histogram.file} ({kind.dtype})" for kind, histogram in kinds.items())[:2]
        raise InputError(
            f"Cannot measure one window for channel {channel!r}: its files have pixels of different types, {first} and "
            f"{second}. Convert them into parts of their own, or pass --intensity percentile."
        )
    return next(iter(kinds.items()))


def _find_percentiles(kind: _Kind, histogram: _Histogram, scaling: Scaling) -> tuple[float, float]:
    """Return the two percentiles of a channel, linearly interpolated as `numpy.percentile` does."""
    below = np.cumsum(histogram.counts)
    if len(histogram.counts) == _BINS_FLOAT:
        keys = np.arange(_BINS_FLOAT, dtype=np.uint32) << np.uint32(_DROPPED_BITS)
        with np.errstate(invalid="ignore"):  # some bins are those of NaN, which no pixel is
            values = np.where(keys & _SIGN, keys ^ _SIGN, ~keys).view(np.float32).astype(np.float64)
    else:
        values = np.arange(_BINS_16, dtype=np.float64)

    def percentile(percent: float) -> float:
        rank = (int(below[-1]) - 1) * percent / 100
        low, high = (values[np.searchsorted(below, whole, side="right")] for whole in (int(rank), -int(-rank // 1)))
        return float(low + (high - low) * (rank - int(rank))) / kind.n_summed

    return percentile(scaling.low), percentile(scaling.high)
