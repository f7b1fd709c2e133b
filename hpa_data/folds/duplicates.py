"""Pairs of samples that are the same picture: bit for bit, or the same field of view exported twice.

A picture is known again by the signs of the slowest waves of each channel: imagehash's `phash` with zero in place of
the median, as the sign of a wave changes neither with brightness nor with background (distances within a field are
smaller by a fifth to a half). imagehash itself takes ten times as long a sample, wants 8 bits of PIL, in which averages
of dim pixels are rounded to nothing, and compares two hashes a call: half a day for the 5.5e9 pairs of 105,000 samples.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.executor import Parallelism
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import sample_threads

# How many of the 252 signs of four channels may differ between two pictures of one field.
#
# The same field, 60 real samples and, in the last two, 240 synthetic ones: at most 4 differ after JPEG of quality 75 to
# 95, 5 after noise of 2 gray levels, 7 after a move by a pixel, 10 if made 1.5 times brighter, clipped, then JPEG; 11
# if made 1.2 to 1.5 times brighter, with noise, moved and then JPEG. 2048 pixels as JPEG, 1.5 times brighter, averaged,
# against a bicubic reduction: 2. More than is to be expected: gamma 0.8 12, a move by 3 pixels 17, 2 times brighter 19.
#
# Different fields: 126 on average with a standard deviation of 10. The least is 88 in the 1,770 pairs of real samples;
# 80 in 113,280 with one of them turned or mirrored; 56 in 16 million such pairs of 2,000 synthetic ones; 41 in 4
# million pairs of cut-outs of real samples, which show few cells. From 80 downwards each 10 fewer are ten times rarer:
# at 60, 2 of 10 million. If that goes on, 28 lets one false pair pass among the 5.5e9 of 105,000 samples; 40 ten.
MAX_DISTANCE = 28
# One channel says too little. Two, within 14 of 126, leave some 1e-8 of false pairs (19 is the least of 16 million).
MIN_CHANNELS = 2
# A channel whose slow waves are weaker (standard deviation in gray levels) is left out. At 0.25, JPEG at quality 75 and
# noise of 2 levels change at most 9 of its signs, at 0.12 up to 22. The weakest channel of 60 real samples has 0.64.
FAINT = 0.25
# Pixels a side that the waves are taken from, and waves a side: 64 bits, as imagehash has it.
REDUCED, WAVES = 32, 8
# 64 MiB of images.
BATCH_SAMPLES = 64
# A megabyte of words at a time; NumPy takes half as long again for rows of less than 8,192.
ROWS, COLUMNS = 16, 8192
# 160 MB, and four times that while they are sorted. Real data have thousands.
MAX_PAIRS = 10_000_000


def perceptual_hash(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Hash what an image looks like, so that the same field of view has nearly the same bits.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, C)

    Returns
    -------
    array of uint64, shape (C,)
        0 for a channel without structure (see `FAINT`). Otherwise bit 63 is 1, and bit 63-k tells whether wave k of
        the 8 x 8 slowest ones of the discrete cosine transform, row after row, is positive; wave 0 is the mean.

    Examples
    --------
    >>> image = np.zeros((64, 64, 2), np.uint8)
    >>> image[5:20, 30:50, 1] = 100
    >>> dim, bright = perceptual_hash(image), perceptual_hash(image * 2)
    >>> dim[0], np.bitwise_count(dim ^ bright)
    (np.uint64(0), array([0, 0], dtype=uint8))
    """
    levels = np.ascontiguousarray(image, np.float32)
    reduced = cv2.resize(levels, (REDUCED, REDUCED), interpolation=cv2.INTER_AREA)
    waves = np.stack([cv2.dct(plane)[:WAVES, :WAVES].ravel() for plane in cv2.split(reduced)])  # (C, 64)
    waves[:, 0] = 0
    strength = np.sqrt((waves**2).sum(axis=1)) / REDUCED
    signs = waves > 0
    signs[:, 0] = True  # no hash is 0
    hashes = np.packbits(signs, axis=1).view(">u8")[:, 0].astype(np.uint64)
    hashes[strength < FAINT] = 0
    return hashes


def hash_part(
    store: Store,
    part: str,
    *,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> npt.NDArray[np.uint64]:
    """Hash each sample of a part. Memory holds a batch of images, whatever the size of the part.

    Parameters
    ----------
    store : Store
    part : str
    threads : int, optional
        By default one a core. The result does not depend on it.
    progress : Progress, optional
        Of samples.

    Returns
    -------
    array of uint64, shape (N, C)
        See `perceptual_hash`. A sample that is pending or failed has zeros, like one that is black.

    Raises
    ------
    InputError
        If the store has no such part, or a sample is damaged.
    """
    workers = Parallelism(threads=threads)
    n_threads = workers.threads_per_task
    with store.reader([part], threads=n_threads) as reader, sample_threads(n_threads) as pool:
        hashes = np.zeros((len(reader), reader.image_shape[-1]), np.uint64)
        readable = np.flatnonzero(is_readable(reader.status))
        progress.start(len(readable))
        for start in range(0, len(readable), BATCH_SAMPLES):
            chosen = readable[start : start + BATCH_SAMPLES]
            hashes[chosen] = list(pool.map(perceptual_hash, reader.read(chosen)))
            progress.advance(len(chosen))
    return hashes


def find_uniform(sums: npt.NDArray[np.uint64], *, pixels: int) -> npt.NDArray[np.bool_]:
    """Find the samples that show nothing: every channel is of one gray level, or nothing was read.

    Parameters
    ----------
    sums : array of uint64, shape (N, C, 2)
        Sum and sum of squares of each channel.
    pixels : int
        Of a channel.

    Returns
    -------
    array of bool, shape (N,)

    Examples
    --------
    >>> find_uniform(np.array([[[20, 100], [0, 0]], [[20, 102], [0, 0]]], np.uint64), pixels=4)
    array([ True, False])
    """
    return (sums[..., 0] ** 2 == sums[..., 1] * np.uint64(pixels)).all(axis=1)


def find_exact_duplicates(
    checksums: npt.NDArray[np.uint32], sums: npt.NDArray[np.uint64], is_blank: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Find samples of the same pixels.

    Among 105,000 samples one pair of different ones is to be expected that agree in 32 bits of checksum; so their sums
    must agree, too.

    Parameters
    ----------
    checksums : array of uint32, shape (N,)
    sums : array of uint64, shape (N, C, 2)
        Sum and sum of squares of each channel.
    is_blank : array of bool, shape (N,)
        Samples to leave out.

    Returns
    -------
    array of int64, shape (P, 2)
        The first sample of a picture, and each other one of it: n - 1 pairs for n equal samples. In rising order.

    Examples
    --------
    >>> sums = np.ones((5, 4, 2), np.uint64)
    >>> find_exact_duplicates(np.array([7, 0, 7, 0, 7], np.uint32), sums, np.array([0, 1, 0, 1, 0], bool))
    array([[0, 2],
           [0, 4]])
    """
    shown = np.flatnonzero(~is_blank)
    if not len(shown):
        return np.empty((0, 2), np.int64)
    keys = np.column_stack([checksums[shown].astype(np.uint64), sums[shown].reshape(len(shown), -1)])
    _, firsts, numbers = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first = firsts[numbers.ravel()]
    other = np.flatnonzero(first != np.arange(len(shown)))
    return _sort_pairs(np.column_stack([shown[first[other]], shown[other]]))


def find_near_duplicates(
    hashes: npt.NDArray[np.uint64], *, max_distance: int = MAX_DISTANCE, threads: int | None = None
) -> npt.NDArray[np.int64]:
    """Find all pairs of samples that look the same.

    Every pair is compared: at distances that allow for JPEG, banding the bits leaves too many candidates to be faster.

    Parameters
    ----------
    hashes : array of uint64, shape (N, C)
        See `perceptual_hash`. Two samples are compared by the channels that both have (a hash that is not 0), of which
        there must be at least two; c of C channels may differ in c / C of `max_distance`.
    max_distance : int
        How many bits may differ, over all C channels.
    threads : int, optional
        By default one a core. The result does not depend on it.

    Returns
    -------
    array of int64, shape (P, 2)
        i < j, in rising order.

    Raises
    ------
    InputError
        If there are more than 10 million such pairs.

    Examples
    --------
    >>> find_near_duplicates(np.array([[8, 9], [15, 15], [9, 8], [0, 9]], np.uint64), max_distance=2)
    array([[0, 2]])
    """
    n_channels = hashes.shape[1]
    patterns, numbers = np.unique(hashes != 0, axis=0, return_inverse=True)
    members = [np.flatnonzero(numbers.ravel() == number) for number in range(len(patterns))]
    pairs: list[npt.NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    n_pairs = 0
    with sample_threads(Parallelism(threads=threads).threads_per_task) as pool:
        for one, other in combinations_with_replacement(range(len(patterns)), 2):
            common = patterns[one] & patterns[other]
            if common.sum() < MIN_CHANNELS:
                continue
            search = _Search(
                rows=members[one],
                columns=members[other],
                row_hashes=hashes[members[one]][:, common],
                column_hashes=np.ascontiguousarray(hashes[members[other]][:, common].T),
                limit=max_distance * int(common.sum()) // n_channels,
            )
            for found in pool.map(search.run, range(0, len(search.rows), ROWS)):
                pairs.append(found)
                n_pairs += len(found)
                if n_pairs > MAX_PAIRS:
                    raise InputError(
                        f"At most {MAX_PAIRS} pairs of samples must look the same. Received: more within a distance of "
                        f"{max_distance}. Take out samples that show nothing, or leave near ones out (--no-near)."
                    )
    return _sort_pairs(np.concatenate(pairs))


@dataclass(frozen=True, kw_only=True)
class _Search:
    """Samples that have the same channels against others that have the same.

    Attributes
    ----------
    rows, columns : array of int64, shape (R,) and (M,)
        Samples, in rising order. Either the same or without a common one.
    row_hashes : array of uint64, shape (R, c)
        Of the c channels that both have.
    column_hashes : array of uint64, shape (c, M)
    limit : int
        The largest distance of a pair to be found.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    row_hashes: npt.NDArray[np.uint64]
    column_hashes: npt.NDArray[np.uint64]
    limit: int

    def run(self, first: int) -> npt.NDArray[np.int64]:
        """Find the pairs of `ROWS` rows from `first` on, int64 (P, 2)."""
        is_same = self.rows[0] == self.columns[0]
        own = self.row_hashes[first : first + ROWS]
        pairs: list[npt.NDArray[np.int64]] = []
        for start in range(first if is_same else 0, len(self.columns), COLUMNS):
            others = self.column_hashes[:, start : start + COLUMNS]
            distance = np.zeros((len(own), others.shape[1]), np.uint16)  # (rows, columns)
            for channel, other in enumerate(others):
                distance += np.bitwise_count(own[:, channel, None] ^ other)
            row, column = np.divmod(np.flatnonzero(distance <= self.limit), others.shape[1])
            found = np.column_stack([self.rows[first + row], self.columns[start + column]])
            pairs.append(found[found[:, 0] < found[:, 1]] if is_same else np.sort(found, axis=1))
        return np.concatenate(pairs)


def group_samples(n_samples: int, *pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Put samples into groups, so that those of a pair are in one.

    Parameters
    ----------
    n_samples : int
        N.
    *pairs : arrays of int64, shape (P, 2)
        Indices of samples.

    Returns
    -------
    array of int64, shape (N,)
        The number of each sample's group, from 0 in the order of their first samples. A sample without a pair is a
        group of its own.

    Examples
    --------
    >>> group_samples(6, np.array([[1, 4]]), np.array([[4, 5], [0, 3]]))
    array([0, 1, 2, 0, 1, 1])
    """
    edges = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(n_samples, n_samples))
    _, numbers = connected_components(graph, directed=False)
    _, firsts, numbers = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(firsts))[numbers]


def _sort_pairs(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
