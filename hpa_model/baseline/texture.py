"""Features of one channel: its intensities, its structures by size, its texture."""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

Features = dict[str, float]

PERCENTILES = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 97.0, 99.0, 99.9)
# Standard deviations of the Gaussian filters whose differences are the bands, in pixels; each is twice the last.
BAND_SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
# Radii of the openings, in pixels.
GRANULE_RADII = (1, 2, 3, 5, 8, 12)
# Gray levels and distances of the co-occurrence matrix; more levels cost their square.
GRAY_LEVELS, GRAY_DISTANCES = 16, (1, 3)
GRAY_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
GRAY_PROPERTIES = ("contrast", "homogeneity", "energy", "correlation", "entropy")
# Neighbors of the local binary patterns, and their distances in pixels.
PATTERN_NEIGHBORS, PATTERN_RADII = 8, (1, 2)
# What keeps quotients and logarithms finite where a channel is constant; intensities are from 0 to 1.
SMALLEST = 1e-4


def measure_intensity(plane: npt.NDArray[np.float32]) -> Features:
    """Measure how the intensities of a channel are distributed.

    Parameters
    ----------
    plane : array of float32, shape (Y, X)
        In [0, 1].
    """
    mean, deviation = float(plane.mean()), float(plane.std())
    skewness, kurtosis = measure_shape(plane)
    levels = np.percentile(plane, PERCENTILES)
    features = {"mean": mean, "deviation": deviation, "variation": deviation / max(mean, SMALLEST)}
    features |= {"skewness": skewness, "kurtosis": kurtosis}
    features |= {f"percentile {number:g}": float(level) for number, level in zip(PERCENTILES, levels, strict=True)}
    # Of the brightness above the median, what the brightest pixels hold: of few spots nearly all.
    bright = np.clip(plane - levels[PERCENTILES.index(50.0)], 0, None)
    total = max(float(bright.sum()), SMALLEST)
    for number in (90.0, 97.0, 99.0):
        above = bright[plane > levels[PERCENTILES.index(number)]]
        features[f"share above percentile {number:g}"] = float(above.sum()) / total
    return features


def measure_shape(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return skewness and kurtosis of a distribution of any shape; both are 0 where all values are equal."""
    normal = values - values.mean()
    normal /= max(float(values.std()), SMALLEST)
    squares = normal * normal  # a power of 3 or 4 takes ten times as long
    return float((squares * normal).mean()), float((squares * squares).mean())


def split_bands(plane: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Split a channel, float32 (Y, X), into structures by size: differences of Gaussian filters, finest first."""
    smooth = [plane]
    for sigma in BAND_SIGMAS:
        smooth.append(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))
    return [finer - coarser for finer, coarser in itertools.pairwise(smooth)]


def measure_bands(bands: Sequence[npt.NDArray[np.float32]], spread: float) -> Features:
    """Measure how much structure of each size a channel has.

    Parameters
    ----------
    bands : sequence of array of float32, shape (Y, X)
        See `split_bands`.
    spread : float
        Standard deviation of the channel, which energies are relative to.
    """
    features: Features = {}
    for sigma, band in zip(BAND_SIGMAS, bands, strict=True):
        features[f"band {sigma:g}"] = float(np.log(float(band.std()) / max(spread, SMALLEST) + SMALLEST))
        # Spots have a heavy tail, and more of it above than below.
        features[f"band {sigma:g} skewness"], kurtosis = measure_shape(band)
        features[f"band {sigma:g} tail"] = float(np.log1p(kurtosis))
    return features


def measure_granules(plane: npt.NDArray[np.float32]) -> Features:
    """Measure what openings with disks of growing radius take away from a channel: bright structures by their size.

    Parameters
    ----------
    plane : array of float32, shape (Y, X)
        In [0, 1].
    """
    features: Features = {}
    total = max(float(plane.sum() - plane.min() * plane.size), SMALLEST * plane.size)
    before = plane
    for radius in GRANULE_RADII:
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        opened = cv2.morphologyEx(plane, cv2.MORPH_OPEN, disk, borderType=cv2.BORDER_REFLECT_101)
        features[f"granules {radius}"] = float((before - opened).sum()) / total
        before = opened
    return features


def measure_directions(plane: npt.NDArray[np.float32]) -> Features:
    """Measure how far structures are lines rather than spots: eigenvalues of the Hessian and of the structure tensor.

    Parameters
    ----------
    plane : array of float32, shape (Y, X)
        In [0, 1].
    """
    features: Features = {}
    for sigma in (1.0, 2.0):
        smooth = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        yy, xx, xy = (cv2.Sobel(smooth, cv2.CV_32F, dx, dy, ksize=3) for dx, dy in ((0, 2), (2, 0), (1, 1)))
        root = np.sqrt((yy - xx) ** 2 / 4 + xy**2)
        high, low = (yy + xx) / 2 + root, (yy + xx) / 2 - root
        ridge = np.clip(-low, 0, None)  # the second derivative across a bright line is far below 0
        blob = np.clip(-high, 0, None)  # in a bright spot both are
        features[f"ridges {sigma:g}"] = float(np.log((ridge.mean() + SMALLEST) / (plane.std() + SMALLEST)))
        features[f"spots among ridges {sigma:g}"] = float(blob.sum() / max(float(ridge.sum()), SMALLEST))
        dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
        a, b, c = (cv2.GaussianBlur(each, (0, 0), 3 * sigma) for each in (dx * dx, dx * dy, dy * dy))
        strength = a + c
        coherence = np.sqrt((a - c) ** 2 + 4 * b**2)
        features[f"coherence {sigma:g}"] = float(coherence.sum() / max(float(strength.sum()), SMALLEST))
    return features


def measure_texture(plane: npt.NDArray[np.float32]) -> Features:
    """Measure the texture of a channel: Haralick's features, and a histogram of local binary patterns.

    Parameters
    ----------
    plane : array of float32, shape (Y, X)
        In [0, 1].

    References
    ----------
    R. M. Haralick, K. Shanmugam, I. Dinstein (1973), Textural features for image classification. T. Ojala,
    M. Pietikäinen, T. Mäenpää (2002), Multiresolution gray-scale and rotation invariant texture classification with
    local binary patterns.
    """
    low, high = np.percentile(plane, (1, 99.5))
    scaled = np.clip((plane - low) / max(float(high - low), SMALLEST), 0, 1)
    levels = np.minimum((scaled * GRAY_LEVELS).astype(np.uint8), GRAY_LEVELS - 1)
    features: Features = {}
    matrix = graycomatrix(levels, GRAY_DISTANCES, GRAY_ANGLES, GRAY_LEVELS, symmetric=True, normed=True)
    for name in GRAY_PROPERTIES:
        values = np.atleast_2d(graycoprops(matrix, name))  # (distances, angles)
        for distance, row in zip(GRAY_DISTANCES, values, strict=True):
            features[f"{name} {distance}"] = float(row.mean())
        features[f"{name} range"] = float(np.ptp(values[0]))
    # Integers, as the patterns compare neighbors: noise of rounding must not decide.
    gray = np.rint(plane * 255).astype(np.uint8)
    for radius in PATTERN_RADII:
        codes = local_binary_pattern(gray, PATTERN_NEIGHBORS, radius, "uniform").astype(np.int64)
        counts = np.bincount(codes.ravel(), minlength=PATTERN_NEIGHBORS + 2) / codes.size
        features |= {f"pattern {radius} {code}": float(share) for code, share in enumerate(counts)}
    return features


def measure_objects(plane: npt.NDArray[np.float32]) -> Features:
    """Measure the bright structures of a channel: their number, areas and shapes, after Otsu's threshold.

    Parameters
    ----------
    plane : array of float32, shape (Y, X)
        In [0, 1].
    """
    features: Features = {}
    for name, sigma in (("small", 2.0), ("large", 8.0)):
        background = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        raised = np.clip(cv2.GaussianBlur(plane, (0, 0), sigma / 4) - background, 0, None)
        mask = raised > max(3 * float(raised.std()), SMALLEST)
        areas, lengths, fills = list_objects(mask)
        features[f"{name} objects"] = float(np.log1p(len(areas)))
        features[f"{name} objects area"] = float(mask.mean())
        features[f"{name} objects mean area"] = float(np.log1p(areas.mean())) if len(areas) else 0.0
        features[f"{name} objects largest"] = float(np.log1p(areas.max())) if len(areas) else 0.0
        features[f"{name} objects length"] = float(lengths.mean()) if len(areas) else 0.0
        features[f"{name} objects filling"] = float(fills.mean()) if len(areas) else 0.0
        features[f"{name} objects brightness"] = float(raised[mask].mean()) if mask.any() else 0.0
    return features


def list_objects(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], ...]:
    """Measure the connected regions of a mask, bool (Y, X).

    Returns
    -------
    areas : array of float64, shape (M,)
        In pixels.
    lengths : array of float64, shape (M,)
        The longer side of the bounding box over the root of the area.
    fills : array of float64, shape (M,)
        The area over that of the bounding box.
    """
    _, _, found, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    boxes = found[1:].astype(np.float64)  # without the background
    widths, heights, areas = (boxes[:, n] for n in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA))
    return areas, np.maximum(widths, heights) / np.sqrt(areas), areas / (widths * heights)
