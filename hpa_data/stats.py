"""What a data set is made of: how often and with what each class occurs, and how bright the channels are."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.copies import plan_copies
from hpa_data.errors import InputError
from hpa_data.schedule import Workers, sample_pool
from hpa_data.schema import CLASSES, is_readable
from hpa_data.store import Part, Store
from hpa_data.tables import find_repeated, read_label_table

LEVELS = 256  # of 8-bit gray
PERCENTS = (1, 50, 99)

# Samples in memory at once, 64 MiB: enough work for each thread of a large machine.
BATCH_SAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class LabelStatistics:
    """How often each class occurs, and with which others.

    Attributes
    ----------
    classes : tuple of str, length K
        Names.
    counts : tuple of int, length K
        Originals that show each class.
    copies : tuple of int, length K
        Augmented copies that show it; zeros without any.
    labels_per_sample : tuple of int
        At index n, the originals with n classes; the last is not 0.
    correlation : tuple of tuple of float or None, shape (K, K)
        As `correlate_classes` has it, over the originals; None in place of NaN, which JSON does not know.
    n_samples, n_copies : int
        Originals and copies.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    copies: tuple[int, ...]
    labels_per_sample: tuple[int, ...]
    correlation: tuple[tuple[float | None, ...], ...]
    n_samples: int
    n_copies: int


@dataclass(frozen=True, kw_only=True)
class IntensityStatistics:
    """How the gray levels 0..255 of a part's readable samples are distributed.

    Attributes
    ----------
    part : str
    channels : tuple of str, length C
        Names.
    histogram : tuple of tuple of int, shape (C, 256)
        Pixels of each gray level.
    mean, std : tuple of float, length C
        Gray levels; from exact integer sums, equal to those of the part's manifest once it is whole.
    percentiles : tuple of tuple of int, shape (C, 3)
        For 1, 50 and 99 %, the lowest gray level that at least this share of the pixels does not exceed.
    black, saturated : tuple of float, length C
        Shares, 0..1, of the pixels that are 0, and 255.
    n_samples : int
        Counted.
    """

    part: str
    channels: tuple[str, ...]
    histogram: tuple[tuple[int, ...], ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    percentiles: tuple[tuple[int, ...], ...]
    black: tuple[float, ...]
    saturated: tuple[float, ...]
    n_samples: int


@dataclass(frozen=True, kw_only=True)
class StoreStatistics:
    """What the parts of a store are made of.

    Attributes
    ----------
    store : Path
    parts : tuple of str
        That were measured, in this order.
    labels : LabelStatistics or None
        Over all parts of labelled originals together, beside all parts of copies; None without labelled originals.
    intensities : tuple of IntensityStatistics
        One for each part with a readable sample; empty if pixels were not to be read.
    n_left_out : int
        Samples that count nowhere, because they failed or are not yet converted.
    """

    store: Path | str
    parts: tuple[str, ...]
    labels: LabelStatistics | None
    intensities: tuple[IntensityStatistics, ...]
    n_left_out: int


def measure_labels(
    labels: npt.NDArray[np.uint8], copies: npt.NDArray[np.uint8] | None = None, *, classes: Sequence[str] = CLASSES
) -> LabelStatistics:
    """Count classes, and how they occur together.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot, of the originals.
    copies : array of uint8, shape (M, K), optional
        Multi-hot, of augmented copies.
    classes : sequence of str, length K
        Names.

    Returns
    -------
    LabelStatistics

    Raises
    ------
    InputError
        If there is no original, or a row has not one column a class.

    Examples
    --------
    >>> labels = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], np.uint8)
    >>> told = measure_labels(labels, copies=labels[2:3], classes=["Nucleoli", "Cytosol"])
    >>> told.counts, told.copies, told.labels_per_sample
    ((3, 2), (0, 1), (0, 3, 1))
    """
    if copies is None:
        copies = np.zeros((0, len(classes)), np.uint8)
    for name, rows in (("labels", labels), ("copies", copies)):
        if rows.ndim != 2 or rows.shape[1] != len(classes):
            raise InputError(
                f"{name} must have a column for each of {len(classes)} classes. Received: {name} of shape "
                f"{rows.shape}. Pass the names of its classes."
            )
    if not len(labels):
        raise InputError("labels must have at least one sample. Received: none. Pass another table or part.")
    correlation = correlate_classes(labels)
    return LabelStatistics(
        classes=tuple(classes),
        counts=tuple(labels.sum(axis=0, dtype=np.int64).tolist()),
        copies=tuple(copies.sum(axis=0, dtype=np.int64).tolist()),
        labels_per_sample=tuple(np.bincount(labels.sum(axis=1, dtype=np.int64)).tolist()),
        correlation=tuple(tuple(None if math.isnan(value) else value for value in row) for row in correlation.tolist()),
        n_samples=len(labels),
        n_copies=len(copies),
    )


def correlate_classes(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Compute Pearson's correlation between classes; of rows of 0 and 1 it is the phi coefficient.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot, N > 0.

    Returns
    -------
    array of float64, shape (K, K)
        Symmetric, in [-1, 1], with ones on the diagonal. A class that no sample shows, or every one, has no
        correlation: its row, its column and its place on the diagonal are NaN.

    Examples
    --------
    >>> correlate_classes(np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1]], np.uint8))
    array([[ 1., -1., nan],
           [-1.,  1., nan],
           [nan, nan, nan]])
    """
    n_samples = len(labels)
    rows = labels.astype(np.float64)  # products in float64 are those of BLAS, and exact up to 2**53
    together = rows.T @ rows  # (K, K)
    counts = np.diagonal(together)
    spread = np.sqrt(counts * (n_samples - counts))
    scale = np.outer(spread, spread)
    is_defined = scale > 0
    correlation = np.full(scale.shape, np.nan)
    np.divide(n_samples * together - np.outer(counts, counts), scale, out=correlation, where=is_defined)
    # Square roots are rounded: without this a class would correlate 1.0000000000000002 with its like.
    np.clip(correlation, -1, 1, out=correlation)
    np.fill_diagonal(correlation, np.where(np.diagonal(is_defined), 1, np.nan))
    return correlation


def measure_table(path: Path, *, min_count: int | None = None, order: str = "index") -> LabelStatistics:
    """Measure a label table alone.

    Parameters
    ----------
    path : Path
        See `tables.read_label_table`.
    min_count, order
        Count the copies, too, that `augment.plan_copies` would make; by default none.

    Raises
    ------
    InputError
        If it cannot be read as a label table, or is empty.
    """
    labels = read_label_table(path).labels
    if not len(labels):
        raise InputError(f"A label table must have at least one row. Received: {path} without. Pass another table.")
    return measure_labels(labels, None if min_count is None else labels[plan_copies(labels, min_count, order)])


def measure_intensities(
    store: Store,
    part: str,
    *,
    threads: int | None = None,
    on_plan: Callable[[int], None] | None = None,
    on_read: Callable[[int], None] | None = None,
) -> IntensityStatistics:
    """Count the gray levels of all readable samples of a part.

    Reads each image once, in order, with no more than `BATCH_SAMPLES` in memory.

    Parameters
    ----------
    store : Store
    part : str
    threads : int, optional
        By default one a core. The result does not depend on it.
    on_plan, on_read : function of int, optional
        Called once with the number of samples to read, and with the number of each batch.

    Returns
    -------
    IntensityStatistics

    Raises
    ------
    InputError
        If the part is missing or damaged, or has no readable sample.
    """
    workers = Workers(threads=threads)
    channels = store.part(part).manifest.channels
    histogram = np.zeros((len(channels), LEVELS), np.uint64)
    with store.reader([part], threads=workers.task_threads) as reader:
        rows = np.flatnonzero(is_readable(reader.status))
        if not len(rows):
            raise InputError(
                f"A part to measure must have a readable sample. Received: part={part!r} of {store.location}, without. "
                "Convert it again, or name another."
            )
        if on_plan is not None:
            on_plan(len(rows))
        pool = sample_pool(workers.task_threads)
        for start in range(0, len(rows), BATCH_SAMPLES):
            batch = rows[start : start + BATCH_SAMPLES]
            # Nothing here refers to the images: the reader needs their memory for the next batch.
            histogram += sum(pool.map(count_levels, reader.read(batch)))  # (B, Y, X, C) to (C, 256)
            if on_read is not None:
                on_read(len(batch))
    return describe_histogram(histogram, part=part, channels=channels, n_samples=len(rows))


def count_levels(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Count the pixels of each gray level in each channel of an image.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, C)
        C-contiguous, of less than 2**24 pixels.

    Returns
    -------
    array of uint64, shape (C, 256)
        Exact.
    """
    # The fastest of those tried, 1.4 ms a sample on one core: np.bincount takes 2.6 ms a channel at a time, 1.6 ms over
    # pairs of channels, cv2.calcHist after cv2.split 1.7 ms. It counts in integers, which float32 has up to 2**24.
    counts = [cv2.calcHist([image], [channel], None, [LEVELS], [0, LEVELS]) for channel in range(image.shape[2])]
    return np.concatenate(counts, axis=1).T.astype(np.uint64)  # each is (256, 1)


def describe_histogram(
    histogram: npt.NDArray[np.uint64], *, part: str, channels: Sequence[str], n_samples: int
) -> IntensityStatistics:
    """Derive mean, spread and percentiles from counts of gray levels.

    Parameters
    ----------
    histogram : array of uint64, shape (C, 256)
        Pixels of each gray level; at least one in each channel.
    part, channels, n_samples
        As the result is to have them.

    Returns
    -------
    IntensityStatistics

    Examples
    --------
    >>> counts = np.zeros((1, 256), np.uint64)
    >>> counts[0, [0, 10, 255]] = 2, 1, 1
    >>> told = describe_histogram(counts, part="train", channels=["red"], n_samples=1)
    >>> told.mean, told.percentiles, told.black, told.saturated
    ((66.25,), ((0, 0, 255),), (0.5,), (0.25,))
    """
    # Python's integers: the square of a sum over 31,072 samples does not fit in 64 bits.
    counts: list[list[int]] = histogram.tolist()
    n_pixels = [sum(row) for row in counts]
    totals = [sum(level * n for level, n in enumerate(row)) for row in counts]
    squares = [sum(level**2 * n for level, n in enumerate(row)) for row in counts]
    channel_sums = list(zip(n_pixels, totals, squares, strict=True))
    return IntensityStatistics(
        part=part,
        channels=tuple(channels),
        histogram=tuple(map(tuple, counts)),
        mean=tuple(total / n for n, total, _ in channel_sums),
        std=tuple(math.sqrt(square * n - total**2) / n for n, total, square in channel_sums),
        percentiles=tuple(tuple(_find_percentile(row, percent) for percent in PERCENTS) for row in counts),
        black=tuple(row[0] / n for row, n in zip(counts, n_pixels, strict=True)),
        saturated=tuple(row[-1] / n for row, n in zip(counts, n_pixels, strict=True)),
        n_samples=n_samples,
    )


def _find_percentile(counts: Sequence[int], percent: int) -> int:
    """Return the lowest level that at least that share of the pixels does not exceed."""
    below = list(accumulate(counts))
    return next(level for level, n in enumerate(below) if 100 * n >= percent * below[-1])


def measure_store(
    store: Store,
    parts: Sequence[str] | None = None,
    *,
    pixels: bool = True,
    threads: int | None = None,
    on_plan: Callable[[int], None] | None = None,
    on_read: Callable[[int], None] | None = None,
) -> StoreStatistics:
    """Measure labels and gray levels of a store's readable samples.

    Parameters
    ----------
    store : Store
    parts : sequence of str, optional
        By default all.
    pixels : bool
        Whether to read the images.
    threads, on_plan, on_read
        See `measure_intensities`; the plan is that of all parts together.

    Returns
    -------
    StoreStatistics

    Raises
    ------
    InputError
        If the store has no such part, none of its samples is readable, the parts have different classes, or there are
        neither labels nor pixels to measure.
    """
    names = store.parts() if parts is None else list(parts)
    repeated = find_repeated(names)
    if repeated is not None or not names:
        raise InputError(
            f"parts must be named once each. Received: {repeated + ' twice' if repeated else 'none'}; {store.location} "
            f"has {', '.join(store.parts()) or 'none'}. Name parts of the store."
        )
    opened = [store.part(name) for name in names]
    readable = {part.name: is_readable(part.status) for part in opened}
    n_readable = {name: int(rows.sum()) for name, rows in readable.items()}
    if not any(n_readable.values()):
        raise InputError(
            f"A store to measure must have a readable sample. Received: {store.location}, parts={names}, without. "
            "Convert it again."
        )
    labels = _measure_parts(opened, readable)
    if labels is None and not pixels:
        raise InputError(
            f"Without pixels, a part must have labels to measure. Received: {store.location}, parts={names}, without. "
            "Name originals with labels, or measure pixels."
        )
    intensities = []
    if pixels:
        if on_plan is not None:
            on_plan(sum(n_readable.values()))
        intensities = [
            measure_intensities(store, name, threads=threads, on_read=on_read) for name in names if n_readable[name]
        ]
    return StoreStatistics(
        store=store.location,
        parts=tuple(names),
        labels=labels,
        intensities=tuple(intensities),
        n_left_out=sum(len(rows) - int(rows.sum()) for rows in readable.values()),
    )


def _measure_parts(parts: Sequence[Part], readable: dict[str, npt.NDArray[np.bool_]]) -> LabelStatistics | None:
    """Measure the labels of parts together, originals and copies apart; None without a labelled original."""
    originals: list[npt.NDArray[np.uint8]] = []
    copies: list[npt.NDArray[np.uint8]] = []
    classes: dict[tuple[str, ...], str] = {}
    for part in parts:
        if part.labels is not None:
            is_copied = part.copies is not None
            (copies if is_copied else originals).append(part.labels[readable[part.name]])
            classes.setdefault(part.manifest.classes, part.name)
    if len(classes) > 1:
        raise InputError(
            "Parts measured together must have the same classes. Received: others in part "
            f"{' than in part '.join(map(repr, classes.values()))}. Measure them one after the other."
        )
    if not sum(map(len, originals)):
        return None
    return measure_labels(
        np.concatenate(originals), np.concatenate(copies) if copies else None, classes=next(iter(classes))
    )
