"""Duplicates: samples with the same pixels, and near duplicates, other exports of the same field of view.

Near duplicates are found by a perceptual hash: the signs of each channel's low-frequency DCT coefficients. It is
imagehash's `phash` with zero in place of the median, as the sign of a coefficient changes neither with brightness nor
with background (distances within a field are smaller by a fifth to a half). imagehash itself takes ten times as long
per sample, takes 8-bit images of Pillow, in which averages of dim pixels are rounded to 0, and compares two hashes per
call: half a day for the 5.5e9 pairs of 105,000 samples.
"""

import math
import time
from itertools import combinations_with_replacement

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hpa_data.errors import InputError
from hpa_data.folds.close_pairs import estimate_s, find_close_pairs, plan_bands
from hpa_data.reader.reader import Reader
from hpa_data.system.executor import Parallelism
from hpa_data.system.memory import count_batch_samples
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import sample_threads

# Of the 252 signs of four channels. Exports of one field differ in up to 11, different fields hardly ever in fewer than
# 40 (`benchmarks/RESULTS.md`, near duplicates).
MAX_DISTANCE = 28
# One channel of several is too few. Two, within 14 of 126, leave some 1e-8 of false pairs (19 is the least of 16
# million).
MIN_CHANNELS = 2
# Of the 63 signs of images with one channel alone: exports of one field differ in up to 6, most in up to 3; different
# fields in at least 13 (of 45,000 synthetic pairs), but crops that are centered on one cell are more alike.
MAX_DISTANCE_ALONE = 3
# Standard deviation, in gray levels, of the low frequencies of a channel; weaker ones are left out. At 0.25, JPEG at
# quality 75 and noise of 2 levels change at most 9 of its signs, at 0.12 up to 22. The weakest channel of 60 real
# samples has 0.64.
MIN_CONTRAST = 0.25
# Pixels per side that the DCT is computed from, and coefficients per side: 64 bits, as in imagehash.
DCT_SIZE, HASH_SIZE = 32, 8
# Of a channel's hash that differ between images.
BITS = HASH_SIZE**2 - 1
# Hashes that are timed to estimate the time of all, after as many that are not.
N_TIMED = 64
# How much longer the search takes than among random hashes: those of images agree in some bits more often
# (benchmarks/RESULTS.md, near duplicates).
ALIKE = 2
# 160 MB, and four times that while they are sorted. Real data sets have thousands.
MAX_PAIRS = 10_000_000


def perceptual_hash(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Hash what an image shows, so that another export of the same field of view differs in few bits.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, C)

    Returns
    -------
    array of uint64, shape (C,)
        0 for a channel without structure (see `MIN_CONTRAST`). Otherwise bit 63 is 1, and bit 63-k tells whether
        coefficient k of the 8 x 8 lowest frequencies of the discrete cosine transform, row by row, is positive.
        Coefficient 0, the mean, is not used.

    Examples
    --------
    >>> image = np.zeros((64, 64, 2), np.uint8)
    >>> image[5:20, 30:50, 1] = 100
    >>> dim, bright = perceptual_hash(image), perceptual_hash(image * 2)
    >>> dim[0], np.bitwise_count(dim ^ bright)
    (np.uint64(0), array([0, 0], dtype=uint8))
    """
    return _hash_coefficients(_low_frequencies(image)[None])[0]


def _low_frequencies(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the coefficients of the lowest frequencies of each channel, float32 (C, 64)."""
    levels = np.ascontiguousarray(image, np.float32)
    # OpenCV resizes up to four channels at once.
    blocks = np.array_split(levels, -(-levels.shape[2] // 4), axis=2) if levels.shape[2] > 4 else [levels]
    reduced = [
        cv2.resize(np.ascontiguousarray(block), (DCT_SIZE, DCT_SIZE), interpolation=cv2.INTER_AREA) for block in blocks
    ]
    coefficients = np.empty((levels.shape[2], HASH_SIZE, HASH_SIZE), np.float32)
    for channel, plane in enumerate(plane for block in reduced for plane in cv2.split(block)):
        coefficients[channel] = cv2.dct(plane)[:HASH_SIZE, :HASH_SIZE]
    return coefficients.reshape(len(coefficients), -1)


def _hash_coefficients(coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """Hash the coefficients of images, (N, C, 64), which are changed; see `perceptual_hash`."""
    coefficients[..., 0] = 0
    contrast = np.sqrt((coefficients**2).sum(axis=-1)) / DCT_SIZE
    signs = coefficients > 0
    signs[..., 0] = True  # no hash is 0
    hashes = np.packbits(signs, axis=-1).view(">u8")[..., 0].astype(np.uint64)
    hashes[contrast < MIN_CONTRAST] = 0
    return hashes


def hash_samples(
    reader: Reader,
    indices: npt.NDArray[np.int64],
    *,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> npt.NDArray[np.uint64]:
    """Hash samples of a reader. Memory holds one batch of images, however many there are.

    Parameters
    ----------
    reader : Reader
    indices : array of int64, shape (M,)
        Samples that can be read.
    threads : int, optional
        By default one per core. The result does not depend on it.
    progress : Progress, optional
        In samples.

    Returns
    -------
    array of uint64, shape (M, C)
        See `perceptual_hash`.

    Raises
    ------
    InputError
        If a sample is damaged.
    """
    hashes = np.zeros((len(indices), reader.image_shape[-1]), np.uint64)
    progress.start(len(indices))
    reader.expect(indices)
    with sample_threads(Parallelism(threads=threads).threads_per_task) as pool:
        n_batch = count_batch_samples(math.prod(reader.image_shape))
        for start in range(0, len(indices), n_batch):
            batch = indices[start : start + n_batch]
            # Of all at once: of each alone, it would hold the GIL for half of the time.
            found = list(pool.map(_low_frequencies, reader.read(batch)))
            hashes[start : start + len(batch)] = _hash_coefficients(np.stack(found))
            reader.release(batch)
            progress.advance(len(batch))
    return hashes


def estimate_near_s(reader: Reader, indices: npt.NDArray[np.int64]) -> float:
    """Estimate how long the search for near duplicates would take, in seconds, from hashing some of the samples.

    Parameters
    ----------
    reader : Reader
    indices : array of int64, shape (M,)
        Samples that can be read.

    Raises
    ------
    InputError
        If a sample is damaged.
    """
    timed = indices[N_TIMED : 2 * N_TIMED]
    hash_samples(reader, indices[:N_TIMED])  # files are opened, and threads and packages started
    started = time.perf_counter()
    hash_samples(reader, timed)
    of_one = (time.perf_counter() - started) / max(len(timed), 1)
    n, n_channels = len(indices), reader.image_shape[-1]
    bands = plan_bands(n_channels * BITS, _default_distance(n_channels), n_hashes=n, n_pairs=n * n // 2)
    return of_one * n + ALIKE * estimate_s(bands, n_hashes=n, n_pairs=n * n // 2)


def find_uniform(sums: npt.NDArray[np.uint64], *, pixels: int) -> npt.NDArray[np.bool_]:
    """Find the samples that show nothing: each channel has one gray level, or nothing was read.

    Parameters
    ----------
    sums : array of uint64, shape (N, C, 2)
        Sum and sum of squares of each channel.
    pixels : int
        Per channel.

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
    checksums: npt.NDArray[np.uint32], sums: npt.NDArray[np.uint64], is_uniform: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Find samples with the same pixels.

    Among 105,000 samples one pair of different ones is expected to have the same checksum of 32 bits; so their sums
    must agree, too.

    Parameters
    ----------
    checksums : array of uint32, shape (N,)
    sums : array of uint64, shape (N, C, 2)
        Sum and sum of squares of each channel.
    is_uniform : array of bool, shape (N,)
        Samples to leave out.

    Returns
    -------
    array of int64, shape (P, 2)
        The first of equal samples, and each other one: n - 1 pairs for n equal samples. In ascending order.

    Examples
    --------
    >>> sums = np.ones((5, 4, 2), np.uint64)
    >>> find_exact_duplicates(np.array([7, 0, 7, 0, 7], np.uint32), sums, np.array([0, 1, 0, 1, 0], bool))
    array([[0, 2],
           [0, 4]])
    """
    shown = np.flatnonzero(~is_uniform)
    if not len(shown):
        return np.empty((0, 2), np.int64)
    keys = np.column_stack([checksums[shown].astype(np.uint64), sums[shown].reshape(len(shown), -1)])
    _, firsts, numbers = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first = firsts[numbers.ravel()]
    other = np.flatnonzero(first != np.arange(len(shown)))
    return _sort_pairs(np.column_stack([shown[first[other]], shown[other]]))


def find_near_duplicates(
    hashes: npt.NDArray[np.uint64], *, max_distance: int | None = None, threads: int | None = None
) -> npt.NDArray[np.int64]:
    """Find all pairs of samples whose hashes differ in few bits.

    The result is that of comparing every pair; how it is found, see `close_pairs`.

    Parameters
    ----------
    hashes : array of uint64, shape (N, C)
        See `perceptual_hash`. Two samples are compared by the channels that have structure in both (a hash that is not
        0), of which there must be at least two, unless C is 1. With c of C channels, c / C of `max_distance` bits may
        differ.
    max_distance : int, optional
        How many bits may differ, over all C channels. By default 28 for four channels, as many for each of another
        number of channels, and 3 for one channel alone.
    threads : int, optional
        By default one per core. The result does not depend on it.

    Returns
    -------
    array of int64, shape (P, 2)
        i < j, in ascending order.

    Raises
    ------
    InputError
        If there are more than `MAX_PAIRS`.

    Examples
    --------
    >>> find_near_duplicates(np.array([[8, 9], [15, 15], [9, 8], [0, 9]], np.uint64), max_distance=2)
    array([[0, 2]])
    """
    n_channels = hashes.shape[1]
    if max_distance is None:
        max_distance = _default_distance(n_channels)
    patterns, numbers = np.unique(hashes != 0, axis=0, return_inverse=True)
    members = [np.flatnonzero(numbers.ravel() == number) for number in range(len(patterns))]
    pairs: list[npt.NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    n_pairs = 0
    with sample_threads(Parallelism(threads=threads).threads_per_task) as pool:
        for one, other in combinations_with_replacement(range(len(patterns)), 2):
            common = patterns[one] & patterns[other]
            if common.sum() < min(MIN_CHANNELS, n_channels):
                continue
            rows, columns = members[one], members[other]
            search = find_close_pairs(
                hashes[rows][:, common],
                None if one == other else hashes[columns][:, common],
                limit=max_distance * int(common.sum()) // n_channels,
                max_pairs=MAX_PAIRS,
                pool=pool,
            )
            for found in search:
                pairs.append(np.sort(np.column_stack([rows[found[:, 0]], columns[found[:, 1]]]), axis=1))
                n_pairs += len(found)
                if n_pairs > MAX_PAIRS:
                    raise InputError(
                        f"Cannot list near duplicates: more than {MAX_PAIRS} pairs of samples differ in at most "
                        f"{max_distance} bits. Remove samples that show nothing, or look for exact "
                        "duplicates only: `hpa train … --duplicates exact`, `hpa folds … --no-near-duplicates`."
                    )
    return _sort_pairs(np.concatenate(pairs))


def group_samples(n_samples: int, *pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Group samples, so that the two of a pair are in the same group.

    Parameters
    ----------
    n_samples : int
        N.
    *pairs : arrays of int64, shape (P, 2)
        Indices of samples.

    Returns
    -------
    array of int64, shape (N,)
        The number of each sample's group, from 0 in the order of their first samples. A sample without a pair has a
        group to itself.

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


def _default_distance(n_channels: int) -> int:
    """Return how many bits of all channels may differ between exports of one field."""
    return MAX_DISTANCE_ALONE if n_channels == 1 else MAX_DISTANCE * n_channels // 4


def _sort_pairs(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
