"""Lay out a field of view: where its cells lie, and what each pixel belongs to."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.synth.brush import IMAGE_SIZE, SHIFT, Canvas, Points, blur, draw_discs, draw_noise
from hpa_data.synth.cells import (
    ANGLES,
    N_ANGLES,
    Cell,
    CellLine,
    draw_cell_line,
    draw_daughters,
    draw_interphase,
    draw_metaphase,
)

MAX_CELLS = 200  # the map of nuclei numbers them in 8 bits
GRID_STEP = 2  # cells are assigned at every second pixel: a quarter of the work, and the borders are smoothed


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of view.

    Attributes
    ----------
    cells : tuple of Cell
    owner : array of int16, shape (Y, X)
        Index of the cell that a pixel lies in, -1 on the background.
    body : array of float32, shape (Y, X), range 0..1
        1 in cells.
    nuclei : array of float32, shape (Y, X), range 0..1
        1 in nuclei; metaphase plates are not nuclei.
    plates : array of float32, shape (Y, X), range 0..1
        1 in the chromosome plates of metaphase cells.
    nucleoli : array of float32, shape (Y, X), range 0..1
        1 in nucleoli.
    thickness : array of float32, shape (Y, X), range 0..1
        `body`, thinner toward the rim, as cells are.
    rim_distance : array of float32, shape (Y, X)
        Distance to the border of the cell in pixels, 0 on the background.
    outer_distance, inner_distance : array of float32, shape (Y, X)
        Distance to the nearest nucleus (or plate) from outside, to its rim from inside, in pixels.
    bridges : array of float64, shape (n, 4)
        x1, y1, x2, y2 in pixels: the ends of the bridges that connect two daughters.
    """

    cells: tuple[Cell, ...]
    owner: npt.NDArray[np.int16]
    body: Canvas
    nuclei: Canvas
    plates: Canvas
    nucleoli: Canvas
    thickness: Canvas
    rim_distance: Canvas
    outer_distance: Canvas
    inner_distance: Canvas
    bridges: Points


def draw_field(rng: np.random.Generator, *, n_metaphases: int = 0, n_bridges: int = 0, touching: bool = False) -> Field:
    """Lay out a field of view of one synthetic cell line.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_metaphases : int
        Cells with a spindle, at most 4.
    n_bridges : int
        Pairs of daughter cells, at most 4.
    touching : bool
        Crowd the cells so that they share borders.

    Returns
    -------
    Field
    """
    line = draw_cell_line(rng, touching=touching)
    cells: list[Cell] = []
    bridges = []
    # Dividing cells come first: each must be visible as a whole.
    for _ in range(n_bridges):
        pair, bridge = draw_daughters(rng, line, find_free_position(rng, cells, line.radius * 1.9))
        cells += pair
        bridges.append(bridge)
    for _ in range(n_metaphases):
        cells.append(draw_metaphase(rng, line, find_free_position(rng, cells, line.radius * 1.5)))
    for center, radius in settle(rng, line, cells):
        cells.append(draw_interphase(rng, line, center, radius))
    return map_field(rng, tuple(cells), np.array(bridges, np.float64).reshape(-1, 4))


def find_free_position(rng: np.random.Generator, cells: list[Cell], distance: float) -> Points:
    """Find a position well inside the image, far from the existing cells.

    Parameters
    ----------
    rng : numpy.random.Generator
    cells : list of Cell
    distance : float
        Wanted distance in pixels; without such a position, the one farthest from the cells is returned.

    Returns
    -------
    array of float64, shape (2,)
        x and y in pixels.
    """
    margin = 100
    positions = rng.uniform(margin, IMAGE_SIZE - margin, (40, 2))
    if not cells:
        return positions[0]
    centers = np.array([cell.center for cell in cells])
    nearest = np.linalg.norm(positions[:, None] - centers, axis=-1).min(axis=1)
    far = np.flatnonzero(nearest >= distance)
    return positions[far[0] if len(far) else nearest.argmax()]


def settle(rng: np.random.Generator, line: CellLine, cells: list[Cell]) -> list[tuple[Points, float]]:
    """Find centers and radii of the cells that do not divide; at least one lies inside the image."""
    margin = 0.6 * line.radius
    side = IMAGE_SIZE + 2 * margin
    n_wanted = max(3, min(MAX_CELLS - len(cells), round(line.coverage * side**2 / (np.pi * line.radius**2))))
    centers = [cell.center for cell in cells]
    settled = [(find_free_position(rng, cells, 1.6 * line.radius), line.radius)]
    centers.append(settled[0][0])
    for attempt in range(8 * n_wanted):
        if len(settled) == n_wanted:
            break
        radius = line.radius * float(np.clip(rng.lognormal(0, 0.16), 0.7, 1.6))
        if rng.random() < line.clumping:
            angle = rng.uniform(0, 2 * np.pi)
            step = line.radius * rng.uniform(1.3, 2.0)
            center = centers[rng.integers(len(centers))] + step * np.array([np.cos(angle), np.sin(angle)])
        else:
            center = rng.uniform(-margin, IMAGE_SIZE + margin, 2)
        if (center < -margin).any() or (center > IMAGE_SIZE + margin).any():
            continue
        # Nuclei must not overlap: their radii are at most 0.6 of 1.25 radii.
        gap = 1.28 * max(radius, line.radius) * (1 - 0.1 * attempt / (8 * n_wanted))
        if np.linalg.norm(np.array(centers) - center, axis=1).min() > gap:
            settled.append((center, radius))
            centers.append(center)
    return settled


def map_field(rng: np.random.Generator, cells: tuple[Cell, ...], bridges: Points) -> Field:
    """Compute the maps of a field from the outlines of its cells."""
    owner = ruffle(rng, find_owners(cells))
    for x1, y1, x2, y2 in bridges:
        nearest = int(np.argmin([np.hypot(*(cell.center - (x1, y1))) for cell in cells]))
        neck = np.zeros(owner.shape, np.uint8)
        ends = [(round(x1 * 16), round(y1 * 16)), (round(x2 * 16), round(y2 * 16))]
        cv2.line(neck, ends[0], ends[1], 1, 5, shift=SHIFT)
        owner[(neck > 0) & (owner < 0)] = nearest
    numbers = np.zeros(owner.shape, np.uint8)
    for number, cell in enumerate(cells):
        rays = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1) * cell.nucleus[:, None]
        corners = np.rint((cell.center + rays) * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(numbers, [corners], number + 1, shift=SHIFT)
    filled = numbers > 0
    owner[filled] = numbers[filled].astype(np.int16) - 1

    metaphases = [number + 1 for number, cell in enumerate(cells) if cell.state == "metaphase"]
    plates = np.isin(numbers, metaphases)
    border = np.zeros(owner.shape, np.bool_)
    border[:, 1:] |= owner[:, 1:] != owner[:, :-1]
    border[1:] |= owner[1:] != owner[:-1]
    inside = (owner >= 0) & ~border
    discs = np.concatenate([cell.nucleoli for cell in cells])
    nuclei = blur((filled & ~plates).astype(np.float32), 0.8)
    body = blur((owner >= 0).astype(np.float32), 1.0)
    rim_distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    return Field(
        cells=cells,
        owner=owner,
        body=body,
        nuclei=nuclei,
        plates=blur(plates.astype(np.float32), 0.8),
        nucleoli=blur(draw_discs(discs), 0.8) * nuclei,
        thickness=body * (1 - np.float32(0.75) * np.exp(blur(rim_distance, 1.5) * np.float32(-0.12))),
        rim_distance=rim_distance,
        outer_distance=cv2.distanceTransform((~filled).astype(np.uint8), cv2.DIST_L2, 3),
        inner_distance=cv2.distanceTransform(filled.astype(np.uint8), cv2.DIST_L2, 3),
        bridges=bridges,
    )


def find_owners(cells: tuple[Cell, ...]) -> npt.NDArray[np.int16]:
    """Assign each pixel to the cell in which it lies deepest.

    Parameters
    ----------
    cells : tuple of Cell

    Returns
    -------
    array of int16, shape (Y, X)
        Index of the cell, -1 outside all cells.
    """
    n_grid = IMAGE_SIZE // GRID_STEP
    nearest = np.ones((n_grid, n_grid), np.float32)
    owner = np.full((n_grid, n_grid), -1, np.int16)
    for number, cell in enumerate(cells):
        reach = cell.outline.max()
        low = np.clip((cell.center - reach) // GRID_STEP, 0, n_grid).astype(int)
        high = np.clip((cell.center + reach) // GRID_STEP + 2, 0, n_grid).astype(int)
        x = (np.arange(low[0], high[0], dtype=np.float32) + 0.25) * GRID_STEP - np.float32(cell.center[0])
        y = (np.arange(low[1], high[1], dtype=np.float32) + 0.25) * GRID_STEP - np.float32(cell.center[1])
        if not x.size or not y.size:
            continue
        distance = np.hypot(x, y[:, None])
        indices = np.rint(np.arctan2(y[:, None], x) * np.float32(N_ANGLES / (2 * np.pi))).astype(np.intp) % N_ANGLES
        relative = distance / cell.outline.astype(np.float32)[indices]  # below 1 inside the outline
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        closer = relative < nearest[window]
        nearest[window][closer] = relative[closer]
        owner[window][closer] = number
    large = np.repeat(np.repeat(owner, GRID_STEP, axis=0), GRID_STEP, axis=1)
    # A median removes the steps of the grid along the borders.
    return cv2.medianBlur((large + 1).astype(np.uint8), 5).astype(np.int16) - 1


def ruffle(rng: np.random.Generator, owner: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Shift the borders of cells randomly by a few pixels: no membrane is a smooth curve."""
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(np.float32)
    height = np.float32(rng.uniform(0.3, 2.2))
    shifted = (x + height * draw_noise(rng, 9), y + height * draw_noise(rng, 9))
    return cast(npt.NDArray[np.int16], cv2.remap(owner, *shifted, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))
