"""Draw the patterns of the nucleus, of division and of spots beside the nucleus (classes 0-5, 16-19, 24)."""

import numpy as np

from hpa_data.synth.brush import Canvas, Points, blur, draw_discs, draw_noise, draw_spots, draw_strands, scatter_points
from hpa_data.synth.field import Field
from hpa_data.synth.landmarks import Landmarks


def draw_nucleoplasm(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Fill nuclei, except for their nucleoli."""
    texture = np.clip(1 + np.float32(0.2) * draw_noise(rng, 3), 0.2, None)
    return field.nuclei * (1 - np.float32(0.85) * field.nucleoli) * texture * np.float32(0.7)


def draw_nuclear_membrane(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Trace the rim of nuclei."""
    distance = (field.inner_distance - np.float32(1.5)) / np.float32(rng.uniform(1.1, 1.6))
    rim = np.exp(-distance * distance) * (field.inner_distance > 0)
    return blur(rim, 0.6) * (field.plates < 0.1) + field.nuclei * np.float32(0.1)


def draw_nucleoli(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Fill nucleoli."""
    texture = np.clip(1 + np.float32(0.2) * draw_noise(rng, 3), 0.2, None)
    return field.nucleoli * texture + field.nuclei * np.float32(0.1)


def draw_fibrillar_centers(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Put a few small dots into each nucleolus."""
    discs = np.concatenate([cell.nucleoli for cell in field.cells])
    discs = np.repeat(discs, rng.integers(1, 5, len(discs)), axis=0)
    shifts = rng.normal(0, 0.4, (len(discs), 2)) * discs[:, 2:]
    levels = rng.uniform(0.6, 1.4, len(discs))
    dots = draw_spots(discs[:, :2] + shifts, rng.uniform(1.1, 1.5), levels)
    return dots * (field.nuclei > 0.5) + field.nuclei * np.float32(0.06)


def draw_speckles(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Scatter many irregular specks over nuclei."""
    noise = draw_noise(rng, rng.uniform(3.5, 5.0))
    specks = np.clip((noise - np.float32(0.75)) * np.float32(2.2), 0, 1.2)
    return field.nuclei * (1 - np.float32(0.9) * field.nucleoli) * (specks + np.float32(0.12))


def draw_nuclear_bodies(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Put a few round dots into each nucleus, outside nucleoli."""
    free = ((field.inner_distance > 4) & (field.plates < 0.1) & (field.nucleoli < 0.1)).astype(np.float32)
    positions = scatter_points(rng, free, round(rng.uniform(2, 7) * len(field.cells)))
    radii = rng.uniform(1.6, 3.0, (len(positions), 1))
    return blur(draw_discs(np.concatenate([positions, radii], axis=1)), 0.6) + field.nuclei * np.float32(0.07)


def draw_bridges(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Draw a short bright bar between daughters, at times with a gap in its middle."""
    canvas = np.zeros_like(field.body)
    for bridge in field.bridges:
        ends = bridge.reshape(2, 2)
        middle, half = ends.mean(axis=0), (ends[1] - ends[0]) * rng.uniform(0.3, 0.5)
        bars: list[Points] = [np.array([middle - half, middle + half])]
        if rng.random() < 0.4:
            bars = [np.array([middle - half, middle - 0.2 * half]), np.array([middle + 0.2 * half, middle + half])]
        canvas += blur(draw_strands(bars, width=5), 0.9)
    return canvas * np.float32(1.5)


def draw_spindle(rng: np.random.Generator, field: Field, landmarks: Landmarks) -> Canvas:
    """Draw the spindles."""
    return landmarks.spindles * np.float32(rng.uniform(0.6, 0.9))


def list_poles(field: Field) -> Points:
    """List the centrosomes of a field, both of each metaphase cell: x and y in pixels, shape (n, 2)."""
    poles = [cell.pole for cell in field.cells]
    poles += [2 * cell.center - cell.pole for cell in field.cells if cell.state == "metaphase"]
    return np.array(poles)


def draw_organizing_centers(rng: np.random.Generator, field: Field, landmarks: Landmarks) -> Canvas:
    """Put one fuzzy spot beside each nucleus, with short rays of microtubules."""
    near = draw_spots(list_poles(field), rng.uniform(3.5, 5.0))
    core = draw_spots(list_poles(field), 2.0)
    rays = landmarks.microtubules * np.minimum(draw_spots(list_poles(field), 10.0), 1)
    return near * np.float32(0.5) + core * np.float32(0.5) + rays * np.float32(0.35)


def draw_centrosomes(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Put one or two tiny sharp dots beside each nucleus."""
    poles = list_poles(field)
    paired = poles[rng.random(len(poles)) < 0.6]
    angles = rng.uniform(0, 2 * np.pi, len(paired))
    twins = paired + rng.uniform(3.5, 5.5, (len(paired), 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return draw_spots(np.concatenate([poles, twins]), 1.15) * np.float32(1.8)


def draw_aggresomes(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Put one big blob beside each nucleus of most cells."""
    canvas = np.zeros_like(field.body)
    for cell in field.cells:
        if cell.state == "metaphase" or rng.random() < 0.2:
            continue
        outward = (cell.pole - cell.center) / np.linalg.norm(cell.pole - cell.center)
        # Three overlapping discs make an uneven blob.
        positions = cell.pole + outward * rng.uniform(2, 5) + rng.normal(0, 2.5, (3, 2))
        radii = rng.uniform(5.0, 8.5, (3, 1))
        canvas = np.maximum(canvas, draw_discs(np.concatenate([positions, radii], axis=1)))
    return blur(canvas, 1.2) * (1 - np.float32(0.7) * field.nuclei) * np.float32(1.2)
