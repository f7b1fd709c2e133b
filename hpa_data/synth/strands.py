"""Lay out filaments within cells."""

import numpy as np
import numpy.typing as npt

from hpa_data.synth.brush import IMAGE_SIZE, Points, find_pixels
from hpa_data.synth.cells import N_ANGLES, Cell
from hpa_data.synth.field import Field

N_STEPS = 22  # points on a strand: a few pixels apart, so that bends look smooth


def place_points(cell: Cell, angles: Points, depths: Points) -> Points:
    """Convert polar positions in a cell to pixel coordinates.

    Parameters
    ----------
    cell : Cell
    angles : array of float64, shape (...)
        Radians around the center of the nucleus.
    depths : array of float64, shape (...)
        0 at the rim of the nucleus, 1 at the rim of the cell.

    Returns
    -------
    array of float64, shape (..., 2)
        x and y in pixels.
    """
    positions = angles * (N_ANGLES / (2 * np.pi))
    whole = np.floor(positions).astype(np.intp)
    part = positions - whole
    near, far = whole % N_ANGLES, (whole + 1) % N_ANGLES
    inner = cell.nucleus[near] * (1 - part) + cell.nucleus[far] * part
    outer = cell.outline[near] * (1 - part) + cell.outline[far] * part
    radii = inner + (outer - inner) * depths
    return np.stack([cell.center[0] + radii * np.cos(angles), cell.center[1] + radii * np.sin(angles)], axis=-1)


def grow_strands(
    rng: np.random.Generator,
    field: Field,
    number: int,
    *,
    n_strands: int,
    reach: tuple[float, float] = (0.5, 1.0),
    drift: float = 0.45,
    wander: float = 0.008,
    waves: float = 0.0,
) -> list[Points]:
    """Grow strands from the rim of the nucleus outward; each ends where its cell ends.

    Parameters
    ----------
    rng : numpy.random.Generator
    field : Field
    number : int
        Number of the cell.
    n_strands : int
    reach : tuple of float
        Range of depths at which strands end: 1 is the rim of the cell.
    drift : float
        How far strands turn around the nucleus, in radians (standard deviation).
    wander : float
        Random change of turn from point to point, in radians (standard deviation); summed twice, it bends smoothly.
    waves : float
        Height of regular waves in radians.

    Returns
    -------
    list of arrays of float64, shape (points, 2)
        x and y in pixels, from the nucleus outward.
    """
    cell = field.cells[number]
    # More strands start where the cell is wide: protrusions get bundles.
    width = np.cumsum(cell.outline)
    start = np.searchsorted(width, rng.random(n_strands) * width[-1]) * (2 * np.pi / N_ANGLES)
    time = np.linspace(0, 1, N_STEPS)
    turn = rng.normal(0, drift, (n_strands, 1)) * time
    steps = np.cumsum(np.cumsum(rng.normal(0, wander, (n_strands, N_STEPS)), axis=1), axis=1)
    wave = waves * np.sin(time * rng.uniform(8, 20, (n_strands, 1)) + rng.uniform(0, 6.3, (n_strands, 1)))
    start_depth = rng.uniform(0, 0.3, (n_strands, 1))
    depths = start_depth + (rng.uniform(*reach, (n_strands, 1)) - start_depth) * time ** rng.uniform(
        0.7, 2, (n_strands, 1)
    )
    points = place_points(cell, start[:, None] + turn + steps + wave, np.maximum(depths, 0.02))
    return cut_strands(field, number, points)


def cut_strands(field: Field, number: int, points: Points) -> list[Points]:
    """Cut strands where they leave their cell.

    Parameters
    ----------
    field : Field
    number : int
        Number of the cell.
    points : array of float64, shape (n, steps, 2)
        x and y in pixels.

    Returns
    -------
    list of arrays of float64, shape (points, 2)
        Points before the first one that lies on another cell or on the background; strands of one point are dropped.
        Outside the image a strand ends 40 pixels beyond the border at the latest.
    """
    columns, rows, inside = find_pixels(points)
    near = (np.abs(points - IMAGE_SIZE / 2) < IMAGE_SIZE / 2 + 40).all(axis=-1)
    in_cell = np.where(inside, field.owner[rows, columns] == number, near)
    lengths = np.where(in_cell.all(axis=1), points.shape[1], np.argmin(in_cell, axis=1))
    return [strand[:length] for strand, length in zip(points, lengths.tolist(), strict=True) if length > 1]


def grow_microtubules(rng: np.random.Generator, field: Field) -> list[Points]:
    """Grow the microtubules of all cells between divisions, daughters included."""
    density, drift = rng.uniform(0.7, 1.6), rng.uniform(0.25, 0.9)
    strands = []
    for number, cell in enumerate(field.cells):
        if cell.state != "metaphase":
            n_strands = int(density * cell.outline.mean())
            strands += grow_strands(rng, field, number, n_strands=n_strands, drift=drift)
    return strands


def grow_spindles(rng: np.random.Generator, field: Field) -> list[Points]:
    """Grow the spindle of each metaphase cell: arcs from either pole to the plate, and short asters."""
    strands: list[Points] = []
    time = np.linspace(0, 1, N_STEPS)
    for cell in field.cells:
        if cell.state != "metaphase":
            continue
        along = np.array([np.cos(cell.axis), np.sin(cell.axis)])
        across = np.array([-along[1], along[0]])
        arm = cell.pole - cell.center
        half_plate = cell.nucleus.max()
        for side in (-1, 1):
            height = rng.uniform(-0.9, 0.9, (36, 1)) * half_plate
            offset = height * np.sin(time * np.pi / 2) ** 0.8
            points = cell.center + side * arm * (1 - 0.97 * time[:, None]) + offset[..., None] * across
            strands += list(points)
            angles = rng.uniform(-1.6, 1.6, 14) + np.arctan2(side * arm[1], side * arm[0])
            rays = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            ends = (rays * rng.uniform(0.08, 0.3, (14, 1)) * cell.outline.mean())[:, None]
            strands += list(cell.center + side * arm + ends * time[:, None])
    return strands


def grow_fibers(rng: np.random.Generator, field: Field, number: int, n_fibers: int) -> list[Points]:
    """Grow straight, nearly parallel fibers along the axis of a cell, from rim to rim or shorter."""
    cell = field.cells[number]
    angles = cell.axis + rng.normal(0, 0.07, n_fibers)
    along = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    size = cell.outline.max()
    middles = cell.center + across * rng.uniform(-0.8, 0.8, (n_fibers, 1)) * size
    middles = middles + along * rng.uniform(-0.3, 0.3, (n_fibers, 1)) * size
    fibers = []
    time = np.linspace(0, 1, 60)[:, None]
    # Both halves grow from the middle, and each ends at the first border that it meets.
    for sign in (-1, 1):
        lengths = rng.uniform(0.3, 1.4, (n_fibers, 1, 1)) * size * sign
        fibers += cut_strands(field, number, middles[:, None] + along[:, None] * time * lengths)
    return fibers


def list_in_view(field: Field) -> npt.NDArray[np.intp]:
    """List the numbers of the cells between divisions whose middle lies in the image or close to it."""
    return np.array(
        [
            number
            for number, cell in enumerate(field.cells)
            if cell.state != "metaphase" and (np.abs(cell.center - IMAGE_SIZE / 2) < IMAGE_SIZE / 2 + 30).all()
        ],
        np.intp,
    )
