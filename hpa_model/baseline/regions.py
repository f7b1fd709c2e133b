"""Features of two channels: how far they agree, and where one lies in the structures of the other."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hpa_model.baseline.texture import BAND_SIGMAS, SMALLEST, Features, list_objects, split_bands

# Borders of the rings around structures, as parts of the radius of a typical one; below 0 is inside.
RINGS = (-np.inf, -0.5, -0.2, 0.0, 0.25, 0.6, 1.2, 2.4, np.inf)
# Structures of less than this share of the image are noise.
SMALLEST_SHARE = 0.0005


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One channel of an image, with what several features need of it."""

    pixels: npt.NDArray[np.float32]
    """(Y, X), in [0, 1]."""

    bands: list[npt.NDArray[np.float32]]
    """See `texture.split_bands`."""

    structures: npt.NDArray[np.bool_]
    """Where it is bright, see `find_structures`, (Y, X)."""


def make_plane(pixels: npt.NDArray[np.float32]) -> Plane:
    """Prepare a channel, float32 (Y, X) in [0, 1]."""
    return Plane(pixels=pixels, bands=split_bands(pixels), structures=find_structures(pixels))


def measure_agreement(plane: Plane, other: Plane) -> Features:
    """Measure how far two channels agree: correlations of all pixels, of the bright ones and of each band."""
    features = {"correlation": _correlate(plane.pixels, other.pixels)}
    either = plane.structures | other.structures
    bright = plane.pixels[either], other.pixels[either]
    features["correlation where bright"] = _correlate(*bright) if either.any() else 0.0
    # Manders' coefficients: the share of one channel that lies where the other is bright.
    features["share in the other"] = _share(plane.pixels, other.structures)
    features["share of the other"] = _share(other.pixels, plane.structures)
    features["overlap"] = float((plane.structures & other.structures).sum()) / max(float(either.sum()), 1.0)
    for sigma, *bands in zip(BAND_SIGMAS, plane.bands, other.bands, strict=True):
        features[f"correlation of band {sigma:g}"] = _correlate(*bands)
    return features


def _share(pixels: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> float:
    """Return how much of the brightness of a channel lies in a mask."""
    return float(pixels[mask].sum()) / max(float(pixels.sum()), SMALLEST)


def _correlate(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Return Pearson's correlation; 0 where a channel is constant."""
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one**2).mean() * (other**2).mean()))
    return float((one * other).mean()) / max(norm, SMALLEST**2)


def find_structures(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Find the bright structures of a channel, bool (Y, X): Otsu's threshold after a little smoothing."""
    smooth = cv2.GaussianBlur(plane, (0, 0), 1.5, borderType=cv2.BORDER_REFLECT_101)
    low, high = float(smooth.min()), float(smooth.max())
    if high - low < SMALLEST:
        return np.zeros(plane.shape, bool)
    gray = ((smooth - low) * (255 / (high - low))).astype(np.uint8)
    return cv2.threshold(gray, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1] > 0


def measure_mask(mask: npt.NDArray[np.bool_]) -> Features:
    """Measure the structures of a mask, bool (Y, X): of a nuclear stain, the nuclei."""
    areas, lengths, fills = list_objects(mask)
    kept = areas >= SMALLEST_SHARE * mask.size
    areas, lengths, fills = areas[kept], lengths[kept], fills[kept]
    if not len(areas):
        return dict.fromkeys(("number", "area", "mean area", "spread of areas", "length", "filling"), 0.0)
    return {
        "number": float(np.log1p(len(areas))),
        "area": float(mask.mean()),
        "mean area": float(areas.mean()) / mask.size,
        "spread of areas": float(areas.std() / areas.mean()),
        "length": float(lengths.mean()),
        "filling": float(fills.mean()),
    }


def measure_distances(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the distance of each pixel from the border of a mask, over the radius of a typical structure in it.

    Returns
    -------
    array of float32, shape (Y, X)
        Below 0 inside; infinite if there is nothing inside, 0 if all is.
    """
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    if mask.all():
        return np.zeros(mask.shape, np.float32)
    outside, inside = (cv2.distanceTransform(each.astype(np.uint8), cv2.DIST_L2, 5) for each in (~mask, mask))
    areas, _, _ = list_objects(mask)
    radius = np.sqrt(np.average(areas, weights=areas) / np.pi)  # of the structure that most pixels are in
    return ((outside - inside) / radius).astype(np.float32)


def measure_rings(plane: npt.NDArray[np.float32], distances: npt.NDArray[np.float32]) -> Features:
    """Measure a channel in rings around the structures of another: its brightness and its unevenness in each.

    Parameters
    ----------
    plane : array of float32, shape (Y, X)
        In [0, 1].
    distances : array of float32, shape (Y, X)
        See `measure_distances`.
    """
    features: Features = {}
    level, total = max(float(plane.mean()), SMALLEST), max(float(plane.sum()), SMALLEST)
    ring_of = np.digitize(distances, RINGS[1:-1]).ravel()
    n_rings = len(RINGS) - 1
    values = plane.ravel().astype(np.float64)
    numbers = np.bincount(ring_of, minlength=n_rings)
    sums, squares = (np.bincount(ring_of, each, minlength=n_rings) for each in (values, values**2))
    for ring, (number, summed, squared) in enumerate(zip(numbers, sums, squares, strict=True)):
        mean = summed / max(number, 1)
        deviation = np.sqrt(max(squared / max(number, 1) - mean**2, 0.0))
        features[f"ring {ring} brightness"] = float(np.log(mean / level + 0.01))
        features[f"ring {ring} share"] = float(summed / total)
        features[f"ring {ring} unevenness"] = float(deviation / max(mean, SMALLEST))
    return features
