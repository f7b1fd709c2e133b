"""Draw single cells: outline, nucleus, nucleoli, centrosome, and the states of division."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpa_data.synth.brush import Points

State = Literal["interphase", "metaphase", "daughter"]

N_ANGLES = 256
ANGLES = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)


@dataclass(frozen=True, kw_only=True)
class CellLine:
    """Properties that the cells of one field share.

    Attributes
    ----------
    radius : float
        Mean radius of a cell in pixels.
    nucleus_ratio : float
        Radius of a nucleus over the radius of its cell.
    elongation : float
        Long over short axis of a cell, at least 1.
    roughness : float
        Relative depth of dents and bulges of the outline.
    n_spikes : float
        Mean number of long thin protrusions of a cell.
    coverage : float
        Target ratio of cell area to image area; more than 1 crowds the cells.
    clumping : float
        Probability that a cell lies beside another one.
    """

    radius: float
    nucleus_ratio: float
    elongation: float
    roughness: float
    n_spikes: float
    coverage: float
    clumping: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell, in polar coordinates around the center of its nucleus.

    Attributes
    ----------
    center : array of float64, shape (2,)
        x and y in pixels; may lie outside the image.
    axis : float
        Direction of the long axis in radians; of a metaphase cell, from pole to pole.
    outline, nucleus : array of float64, shape (256,)
        Radius in pixels of the cell and of its nucleus by angle; the outline is always the larger one.
        Of a metaphase cell `nucleus` is the plate of chromosomes.
    pole : array of float64, shape (2,)
        x and y in pixels of the centrosome, beside the nucleus; of a metaphase cell, one of two opposite poles.
    nucleoli : array of float64, shape (n, 3)
        x, y and radius in pixels.
    state : {"interphase", "metaphase", "daughter"}
        A daughter is one of two cells that are still connected.
    """

    center: Points
    axis: float
    outline: Points
    nucleus: Points
    pole: Points
    nucleoli: Points
    state: State


def draw_cell_line(rng: np.random.Generator, *, touching: bool) -> CellLine:
    """Draw the properties that the cells of a field share."""
    # Nuclei of the real samples measure 40 to 110 pixels, and a field holds 5 to 60 cells.
    radius = float(np.clip(rng.lognormal(np.log(61), 0.22), 40, 100))
    coverage = rng.uniform(0.8, 1.3) if touching else 0.05 + 1.15 * rng.beta(0.9, 0.75)
    return CellLine(
        radius=radius,
        nucleus_ratio=rng.uniform(0.42, 0.56),
        elongation=1 + rng.gamma(2.0, 0.4),
        roughness=rng.uniform(0.06, 0.2),
        n_spikes=float(rng.choice([0.0, 0.4, 1.5], p=[0.3, 0.35, 0.35])),
        coverage=coverage,
        clumping=rng.uniform(0.2, 0.9),
    )


def draw_interphase(rng: np.random.Generator, line: CellLine, center: Points, radius: float) -> Cell:
    """Draw a cell that does not divide, with nucleus, nucleoli and centrosome."""
    axis = rng.uniform(0, np.pi)
    elongation = line.elongation * rng.uniform(0.85, 1.2)
    outline = draw_outline(rng, radius * 1.08, axis=axis, elongation=max(1.0, elongation), roughness=line.roughness)
    off_center = 1 + rng.uniform(0, 0.35) * np.cos(ANGLES - rng.uniform(0, 2 * np.pi))
    for _ in range(rng.poisson(line.n_spikes)):
        tip = axis + rng.choice([0, np.pi]) + rng.normal(0, 0.5)
        sharpness = rng.uniform(12, 50)
        outline = outline + radius * rng.uniform(0.4, 1.4) * np.exp(sharpness * (np.cos(ANGLES - tip) - 1))
    nucleus = draw_outline(
        rng,
        radius * line.nucleus_ratio * rng.uniform(0.9, 1.1),
        axis=axis + rng.normal(0, 0.3),
        elongation=float(np.clip(elongation**0.6, 1.05, 1.7)),
        roughness=0.04,
    )
    outline = np.maximum(outline * off_center, nucleus * 1.12 + 3)
    return Cell(
        center=center,
        axis=axis,
        outline=outline,
        nucleus=nucleus,
        pole=place_pole(rng, center, nucleus),
        nucleoli=place_nucleoli(rng, center, nucleus),
        state="interphase",
    )


def draw_metaphase(rng: np.random.Generator, line: CellLine, center: Points) -> Cell:
    """Draw a rounded cell with a plate of chromosomes across the axis between its two poles."""
    axis = rng.uniform(0, np.pi)
    radius = line.radius * rng.uniform(0.68, 0.8)
    outline = draw_outline(rng, radius, axis=axis, elongation=1.1, roughness=0.02)
    # The plate is seen from the side, or tilted a little.
    plate = draw_outline(rng, radius * 0.36, axis=axis + np.pi / 2, elongation=rng.uniform(3.0, 4.5), roughness=0.06)
    pole = center + radius * 0.56 * np.array([np.cos(axis), np.sin(axis)])
    return Cell(
        center=center,
        axis=axis,
        outline=np.maximum(outline, plate * 1.12 + 3),
        nucleus=plate,
        pole=pole,
        nucleoli=np.zeros((0, 3)),
        state="metaphase",
    )


def draw_daughters(rng: np.random.Generator, line: CellLine, middle: Points) -> tuple[list[Cell], Points]:
    """Draw two cells that have almost separated; return them and the ends of their bridge (x1, y1, x2, y2)."""
    axis = rng.uniform(0, np.pi)
    along = np.array([np.cos(axis), np.sin(axis)])
    reach = line.radius * rng.uniform(0.95, 1.15)
    radius = line.radius * 0.72
    cells = []
    for side in (-1, 1):
        center = middle + side * reach * along
        outline = draw_outline(rng, radius, axis=axis, elongation=1.1, roughness=line.roughness * 0.5)
        nucleus = draw_outline(
            rng, line.radius * line.nucleus_ratio * 0.72, axis=axis + np.pi / 2, elongation=1.35, roughness=0.05
        )
        cells.append(
            Cell(
                center=center,
                axis=axis,
                outline=np.maximum(outline, nucleus * 1.12 + 3),
                nucleus=nucleus,
                pole=place_pole(rng, center, nucleus),
                nucleoli=place_nucleoli(rng, center, nucleus),
                state="daughter",
            )
        )
    half = (reach - radius * 0.8) * along
    return cells, np.concatenate([middle - half, middle + half])


def draw_outline(
    rng: np.random.Generator, radius: float, *, axis: float, elongation: float, roughness: float
) -> Points:
    """Draw a closed outline as radius by angle.

    Parameters
    ----------
    rng : numpy.random.Generator
    radius : float
        Mean radius in pixels.
    axis : float
        Direction of the long axis in radians.
    elongation : float
        Long over short axis.
    roughness : float
        Relative depth of dents and bulges.

    Returns
    -------
    array of float64, shape (256,)
        Radius in pixels.
    """
    angles = ANGLES - axis
    ellipse = radius / np.sqrt(np.cos(angles) ** 2 / elongation + np.sin(angles) ** 2 * elongation)
    orders = np.arange(2, 9)
    depths = rng.normal(0, roughness, len(orders)) / np.sqrt(orders)
    waves = depths[:, None] * np.cos(orders[:, None] * ANGLES + rng.uniform(0, 2 * np.pi, (len(orders), 1)))
    return ellipse * np.exp(waves.sum(axis=0))


def place_pole(rng: np.random.Generator, center: Points, nucleus: Points) -> Points:
    """Place the centrosome a few pixels outside the nucleus."""
    index = rng.integers(N_ANGLES)
    distance = nucleus[index] + rng.uniform(3, 7)
    return center + distance * np.array([np.cos(ANGLES[index]), np.sin(ANGLES[index])])


def place_nucleoli(rng: np.random.Generator, center: Points, nucleus: Points) -> Points:
    """Place one to five nucleoli inside a nucleus."""
    n_nucleoli = int(rng.integers(1, 6))
    indices = rng.integers(N_ANGLES, size=n_nucleoli)
    distances = nucleus[indices] * rng.uniform(0.1, 0.6, n_nucleoli)
    radii = nucleus.mean() * rng.uniform(0.13, 0.25, n_nucleoli) * (1.25 if n_nucleoli < 3 else 1.0)
    x = center[0] + distances * np.cos(ANGLES[indices])
    y = center[1] + distances * np.sin(ANGLES[indices])
    return np.stack([x, y, radii], axis=-1)
