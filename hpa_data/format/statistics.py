"""Checksum and exact sums of an image's pixels, and the channel statistics of a part."""

import math
from dataclasses import dataclass

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt

# Channels that OpenCV sums at once.
CV_CHANNELS = 4


@dataclass(frozen=True, kw_only=True)
class ChannelStatistics:
    """Channel intensities over the readable samples of a part, in gray levels 0..255.

    From exact integer sums, so that no order of summation changes them. The names of the fields are keys in the store.
    """

    n_samples: int
    """Readable samples."""

    mean: tuple[float, ...]
    """Of length C."""

    std: tuple[float, ...]
    """Of length C."""


def channel_statistics(sums: npt.NDArray[np.uint64], *, pixels: int) -> ChannelStatistics | None:
    """Compute mean and standard deviation of each channel from sums over pixels.

    Parameters
    ----------
    sums : array of uint64, shape (N, C, 2)
        For each sample and channel, the sum of its pixels and of their squares.
    pixels : int
        Pixels of one sample in one channel.

    Returns
    -------
    ChannelStatistics or None
        None if there are no samples.

    Examples
    --------
    >>> channel_statistics(np.array([[[4, 16]]], np.uint64), pixels=2)
    ChannelStatistics(n_samples=1, mean=(2.0,), std=(2.0,))
    """
    if not len(sums):
        return None
    n_pixels = len(sums) * pixels
    moments = [mean_and_std(n_pixels, int(total), int(squares)) for total, squares in sums.sum(axis=0)]
    return ChannelStatistics(
        n_samples=len(sums),
        mean=tuple(mean for mean, _ in moments),
        std=tuple(std for _, std in moments),
    )


def find_impossible_sums(sums: npt.NDArray[np.uint64], *, pixels: int) -> npt.NDArray[np.bool_]:
    """Find samples whose sums no pixels of 0 to 255 can have, bool (N,); the arguments are `channel_statistics`'s."""
    total, squares = sums[..., 0], sums[..., 1]  # (N, C)
    # No product may overflow: a total is below 2^38 once it has passed the first comparison.
    is_wrong = (total > 255 * pixels) | (squares < total) | (squares > 255 * total.clip(max=255 * pixels))
    # That the variance is not negative, as well as float64 can tell.
    mean, mean_square = total.astype(np.float64) / pixels, squares.astype(np.float64) / pixels
    is_wrong |= mean_square < mean**2 * (1 - 1e-12)
    return np.asarray(is_wrong.any(axis=1))


def mean_and_std(n: int, total: int, squares: int) -> tuple[float, float]:
    """Return mean and standard deviation of `n` integers from their sum and the sum of their squares, both exact.

    Python's integers throughout: the square of a sum over 31,072 images does not fit in 64 bits.
    """
    return total / n, math.sqrt(max(squares * n - total**2, 0)) / n


def compute_checksum(image: npt.NDArray[np.uint8]) -> int:
    """Compute the CRC-32 of an image's bytes, with libdeflate: it takes a fifth of zlib's time."""
    return int(imagecodecs.deflate_crc32(image))  # type: ignore[arg-type]  # any buffer will do


def sum_pixels(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Sum each channel of an image, uint8 (Y, X, C), and its squares, exactly: uint64 (C, 2).

    OpenCV sums integers, but returns mean and standard deviation in float64, and takes four channels at most. The sums
    of the largest images are below 2^46, so that rounding recovers the integers. NumPy's sums take two to five times as
    long.
    """
    if image.shape[2] > CV_CHANNELS:
        planes = (cv2.extractChannel(image, channel)[..., None] for channel in range(image.shape[2]))
        return np.concatenate([sum_pixels(plane) for plane in planes])
    moments = cv2.hconcat(cv2.meanStdDev(image))  # (C, 2)
    moments[:, 1] *= moments[:, 1]
    moments[:, 1] += moments[:, 0] * moments[:, 0]
    moments *= image.shape[0] * image.shape[1]
    return np.rint(moments, out=moments).astype(np.uint64)
