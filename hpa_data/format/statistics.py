"""What is known of an image's pixels: checksum, exact sums, and the statistics of a part."""

import math
from dataclasses import dataclass

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class ChannelStatistics:
    """Channel intensities over the good samples of a part, in gray levels 0..255.

    Attributes
    ----------
    n_samples : int
        How many samples were counted.
    mean, std : tuple of float, length C
        From exact integer sums, so that no order of counting changes them.
    """

    n_samples: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(sums: npt.NDArray[np.uint64], *, pixels: int) -> ChannelStatistics | None:
    """Turn sums over pixels into mean and standard deviation.

    Parameters
    ----------
    sums : array of uint64, shape (N, C, 2)
        For each sample and channel, the sum of its pixels and of their squares.
    pixels : int
        Pixels of one sample in one channel.

    Returns
    -------
    Statistics or None
        None without a sample.

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


def mean_and_std(n: int, total: int, squares: int) -> tuple[float, float]:
    """Return mean and standard deviation of `n` integers from their sum and the sum of their squares, both exact.

    Python's integers throughout: the square of a sum over 31,072 images does not fit in 64 bits.
    """
    return total / n, math.sqrt(squares * n - total**2) / n


def compute_checksum(image: npt.NDArray[np.uint8]) -> int:
    """Compute the CRC-32 of an image's bytes; with libdeflate, in a fifth of the time that zlib takes."""
    return int(imagecodecs.deflate_crc32(image))  # type: ignore[arg-type]  # any buffer will do


def sum_pixels(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Sum each channel of an image, uint8 (Y, X, 4), and its squares, exactly: uint64 (4, 2).

    OpenCV adds up integers, and gives them out as mean and standard deviation in float64: what 512 x 512 pixels add up
    to is below 2^35, so that rounding brings the integers back. NumPy's own sums take twice to five times as long.
    """
    moments = cv2.hconcat(cv2.meanStdDev(image))  # (4, 2)
    moments[:, 1] *= moments[:, 1]
    moments[:, 1] += moments[:, 0] * moments[:, 0]
    moments *= image.shape[0] * image.shape[1]
    return np.rint(moments, out=moments).astype(np.uint64)
