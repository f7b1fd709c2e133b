"""Draw smooth noise, strands, discs and spots onto float canvases."""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018

# Rows and columns of what is drawn.
IMAGE_SIZE = HPA_2018.height

Canvas = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

# Fractional bits of the integer coordinates that OpenCV takes, so that an edge may lie between pixels.
SHIFT = 4


def blur(canvas: Canvas, sigma: float) -> Canvas:
    """Blur with a Gaussian.

    Parameters
    ----------
    canvas : array of float32, shape (Y, X)
    sigma : float
        Standard deviation in pixels; below 0.3 the canvas is returned unchanged, since the kernel would be one pixel.

    Returns
    -------
    array of float32, shape (Y, X)
    """
    return canvas if sigma < 0.3 else cast(Canvas, cv2.GaussianBlur(canvas, (0, 0), sigma))


def draw_noise(rng: np.random.Generator, scale: float) -> Canvas:
    """Draw smooth noise of mean 0 and standard deviation near 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    scale : float
        Distance in pixels over which the noise changes, at least 1.

    Returns
    -------
    array of float32, shape (Y, X)
    """
    # One value per scale, enlarged by cubic interpolation, costs a tenth of blurring full-size noise.
    n_values = max(4, round(IMAGE_SIZE / scale) + 3)
    values = rng.standard_normal((n_values, n_values), np.float32)
    if n_values >= IMAGE_SIZE:
        return values[:IMAGE_SIZE, :IMAGE_SIZE]
    large = cv2.resize(values, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_CUBIC)
    return cast(Canvas, large * np.float32(1.35))  # interpolation reduces the deviation by a quarter


def draw_mesh(rng: np.random.Generator, scale: float) -> Canvas:
    """Draw a mesh: bright lines around dark pores.

    Parameters
    ----------
    rng : numpy.random.Generator
    scale : float
        Width of a pore in pixels.

    Returns
    -------
    array of float32, shape (Y, X), range 0..1
    """
    # The lines where smooth noise crosses zero form a closed network, as tubules of the reticulum do.
    noise = draw_noise(rng, scale)
    return cast(Canvas, np.exp(noise * noise * np.float32(-4.0)))


def draw_strands(strands: Sequence[Points], *, width: int = 1, n_layers: int = 4) -> Canvas:
    """Draw open lines that add up where they cross.

    Parameters
    ----------
    strands : sequence of arrays of float64, shape (points, 2)
        x and y in pixels. Strands of fewer than two points are left out.
    width : int
        Line width in pixels.
    n_layers : int
        Lines of one layer cover each other, lines of different layers add up.

    Returns
    -------
    array of float32, shape (Y, X)
        1 on a single strand, up to `n_layers` on crossings.
    """
    lines = [np.rint(strand * (1 << SHIFT)).astype(np.int32) for strand in strands if len(strand) > 1]
    total = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint16)
    for layer in range(min(n_layers, len(lines))):
        canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        cv2.polylines(canvas, lines[layer::n_layers], False, 255, width, cv2.LINE_AA, SHIFT)
        total += canvas
    return cast(Canvas, total.astype(np.float32) / np.float32(255))


def draw_discs(discs: Points, *, width: int = -1) -> Canvas:
    """Draw filled circles, or rings.

    Parameters
    ----------
    discs : array of float64, shape (n, 3)
        x, y and radius in pixels.
    width : int
        Line width of rings in pixels; -1 fills them.

    Returns
    -------
    array of float32, shape (Y, X), range 0..1
    """
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for x, y, radius in np.rint(discs * (1 << SHIFT)).astype(int).tolist():
        cv2.circle(canvas, (x, y), radius, 255, width, cv2.LINE_AA, SHIFT)
    return canvas.astype(np.float32) / np.float32(255)


def draw_spots(points: Points, sigma: float, levels: npt.NDArray[np.float64] | float = 1.0) -> Canvas:
    """Draw round spots with a Gaussian profile; spots add up.

    Parameters
    ----------
    points : array of float64, shape (n, 2)
        x and y in pixels. Points outside the image are left out.
    sigma : float
        Standard deviation in pixels.
    levels : float or array of float64, shape (n,)
        Height of each spot.

    Returns
    -------
    array of float32, shape (Y, X)
    """
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    columns, rows, inside = find_pixels(points)
    heights = np.broadcast_to(np.asarray(levels, np.float64), len(points))
    np.add.at(canvas, (rows[inside], columns[inside]), heights[inside].astype(np.float32))
    return blur(canvas, sigma) * np.float32(2 * np.pi * sigma**2)  # a blurred unit pixel is 1/(2 pi sigma^2) high


def find_pixels(points: Points) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Find the pixels that points lie in.

    Parameters
    ----------
    points : array of float64, shape (..., 2)
        x and y in pixels.

    Returns
    -------
    columns, rows : array of intp, shape (...)
        Within the image: points outside get the nearest pixel of its border.
    inside : array of bool, shape (...)
        False for points outside the image.
    """
    pixels = np.rint(points).astype(np.intp)
    clipped = pixels.clip(0, IMAGE_SIZE - 1)
    return clipped[..., 0], clipped[..., 1], (pixels == clipped).all(axis=-1)


def scatter_points(rng: np.random.Generator, density: Canvas, n_points: int) -> Points:
    """Draw points at random, more where the density is higher.

    Parameters
    ----------
    rng : numpy.random.Generator
    density : array of float32, shape (Y, X)
        Not negative; its scale does not matter. No point falls where it is 0.
    n_points : int

    Returns
    -------
    array of float64, shape (n, 2)
        x and y in pixels; n is `n_points`, or 0 if the density is 0 everywhere.
    """
    heights = np.cumsum(density.ravel(), dtype=np.float64)
    if heights[-1] <= 0:
        return np.zeros((0, 2))
    pixels = np.searchsorted(heights, rng.random(n_points) * heights[-1], side="right")
    rows, columns = np.divmod(pixels, IMAGE_SIZE)
    return np.stack([columns, rows], axis=-1) + rng.uniform(-0.5, 0.5, (n_points, 2))
