"""Draw the patterns of the cytoplasm, its filaments and the cell's rim (the other classes)."""

import numpy as np

from hpa_data.synth.brush import Canvas, Points, blur, draw_discs, draw_noise, draw_spots, draw_strands, scatter_points
from hpa_data.synth.field import Field
from hpa_data.synth.landmarks import Landmarks, fade_outward
from hpa_data.synth.strands import grow_fibers, grow_strands, list_in_view, place_points


def draw_cytoplasm(field: Field) -> Canvas:
    """Draw 1 in cells outside nuclei, plates and a margin of 3 pixels at the rim; else 0."""
    free = (field.rim_distance > 3) & (field.outer_distance > 1)
    return free.astype(np.float32)


def draw_reticulum_protein(rng: np.random.Generator, _: Field, landmarks: Landmarks) -> Canvas:
    """Follow the reticulum."""
    return landmarks.reticulum * np.float32(rng.uniform(0.9, 1.2))


def draw_golgi(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Draw a crescent of short curved ribbons along one side of each nucleus."""
    strands: list[Points] = []
    n_ribbons, spread = int(rng.integers(7, 14)), rng.uniform(0.25, 0.5)
    for number in list_in_view(field):
        cell = field.cells[number]
        middle = np.arctan2(*(cell.pole - cell.center)[::-1])
        starts = middle + rng.normal(0, spread, (n_ribbons, 1))
        spans = rng.uniform(0.08, 0.25, (n_ribbons, 1)) * np.linspace(-1, 1, 8)
        gaps = rng.uniform(2, 11, (n_ribbons, 1)) + rng.normal(0, 2, (n_ribbons, 1)) * np.linspace(-1, 1, 8) ** 2
        room = cell.outline.mean() - cell.nucleus.mean()
        strands += list(place_points(cell, starts + spans, np.maximum(gaps, 1) / room))
    ribbons = blur(draw_strands(strands, width=2, n_layers=2), 0.8)
    return ribbons * np.float32(0.75) * (1 - np.float32(0.6) * field.nuclei) * field.body


def draw_peroxisomes(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Scatter many small dots over the whole cytoplasm."""
    positions = scatter_points(
        rng, draw_cytoplasm(field), round(rng.uniform(0.010, 0.016) * draw_cytoplasm(field).sum())
    )
    return draw_spots(positions, 1.0, rng.uniform(0.6, 1.4, len(positions)))


def draw_vesicles(rng: np.random.Generator, field: Field, *, per_cell: float, radius: float, spread: float) -> Canvas:
    """Scatter vesicles that crowd at the nucleus.

    Parameters
    ----------
    rng : numpy.random.Generator
    field : Field
    per_cell : float
        Mean number in a cell.
    radius : float
        Mean radius in pixels.
    spread : float
        Distance from the nucleus in pixels over which their number falls to 1/e.

    Returns
    -------
    array of float32, shape (Y, X), range 0..1
    """
    lumps = np.exp(np.float32(0.9) * draw_noise(rng, 25))
    density = draw_cytoplasm(field) * fade_outward(field, spread) * lumps
    positions = scatter_points(rng, density, round(per_cell * len(list_in_view(field))))
    radii = radius * rng.lognormal(0, 0.2, (len(positions), 1))
    return blur(draw_discs(np.concatenate([positions, radii], axis=1)), 0.7)


def draw_endosomes(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Scatter medium-sized vesicles around the nucleus."""
    return draw_vesicles(rng, field, per_cell=rng.uniform(25, 45), radius=1.7, spread=18)


def draw_lysosomes(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Scatter fewer, larger vesicles close to the nucleus."""
    return draw_vesicles(rng, field, per_cell=rng.uniform(10, 20), radius=3.3, spread=9)


def draw_lipid_droplets(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Scatter round droplets of differing size that shine at their surface."""
    positions = scatter_points(rng, draw_cytoplasm(field), round(rng.uniform(8, 18) * len(list_in_view(field))))
    discs = np.concatenate([positions, rng.uniform(2.5, 6.5, (len(positions), 1))], axis=1)
    return blur(draw_discs(discs, width=2), 0.6) + np.float32(0.1) * draw_discs(discs)


def draw_cytoplasmic_bodies(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Put a handful of round bodies into the cytoplasm of each cell."""
    positions = scatter_points(rng, draw_cytoplasm(field), round(rng.uniform(3, 7) * len(list_in_view(field))))
    radii = rng.uniform(2.3, 3.4, (len(positions), 1))
    bodies = blur(draw_discs(np.concatenate([positions, radii], axis=1)), 0.7)
    return bodies * np.float32(1.2) + np.float32(0.06) * field.body


def draw_intermediate_filaments(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Draw tangles of thick wavy bundles, densest around the nucleus."""
    strands: list[Points] = []
    for number in list_in_view(field):
        size = field.cells[number].outline.mean()
        strands += grow_strands(
            rng, field, number, n_strands=int(0.4 * size), reach=(0.4, 0.95), drift=1.1, wander=0.015, waves=0.2
        )
    bundles = blur(draw_strands(strands, width=2, n_layers=3), 0.9)
    return bundles * np.float32(0.5) * (1 - np.float32(0.7) * field.nuclei)


def draw_actin(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Draw straight parallel fibers, over the nucleus too, and a faint rim."""
    fibers: list[Points] = []
    for number in list_in_view(field):
        fibers += grow_fibers(rng, field, number, int(rng.uniform(0.25, 0.45) * field.cells[number].outline.mean()))
    rim = np.exp(field.rim_distance * np.float32(-0.5)) * (field.rim_distance > 0)
    return blur(draw_strands(fibers, width=2, n_layers=2), 0.7) * np.float32(0.7) + np.float32(0.15) * rim


def draw_focal_adhesions(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Draw short dashes at the rim, most of them at the two ends of the cell, pointing along it."""
    dashes: list[Points] = []
    for number in list_in_view(field):
        cell = field.cells[number]
        n_dashes = int(0.55 * cell.outline.mean())
        angles = cell.axis + rng.choice([0, np.pi], n_dashes) + rng.normal(0, 0.6, n_dashes)
        outer = place_points(cell, angles, rng.uniform(0.75, 0.97, n_dashes))
        turns = angles + rng.normal(0, 0.15, n_dashes)
        lengths = rng.uniform(5, 11, (n_dashes, 1))
        inner = outer - lengths * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
        dashes += list(np.stack([inner, outer], axis=1))
    lines = blur(draw_strands(dashes, width=2, n_layers=1), 0.6) * (field.rim_distance > 0)
    return lines * (1 - np.float32(0.8) * field.nuclei) * np.float32(1.1)


def draw_microtubule_protein(rng: np.random.Generator, _: Field, landmarks: Landmarks) -> Canvas:
    """Follow the microtubules, and the spindles of dividing cells."""
    return (landmarks.microtubules + np.float32(0.5) * landmarks.spindles) * np.float32(rng.uniform(0.7, 0.9))


def draw_microtubule_ends(rng: np.random.Generator, field: Field, landmarks: Landmarks) -> Canvas:
    """Draw a comet on the outer end of microtubules."""
    comets = [strand[-3:] for strand in landmarks.strands if len(strand) > 10 and rng.random() < 0.6]
    tips = draw_spots(np.array([comet[-1] for comet in comets]).reshape(-1, 2), 1.1)
    tails = blur(draw_strands(comets, width=1, n_layers=1), 0.7)
    return np.minimum(tips + np.float32(0.5) * tails, 1.5) * (1 - np.float32(0.8) * field.nuclei)


def draw_plasma_membrane(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Trace the rim of cells; neighbors share one line."""
    distance = field.rim_distance / np.float32(rng.uniform(1.6, 2.4))
    # A pixel of the border between two cells has the distance 0, like the background: `body` distinguishes them.
    rim = np.exp(-distance * distance) * (field.body > 0.4)
    ruffles = np.clip(1 + np.float32(0.25) * draw_noise(rng, 12), 0.3, None)
    return blur(rim, 0.6) * ruffles + np.float32(0.1) * field.body


def draw_cell_junctions(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Trace only those stretches of the rim where two cells touch."""
    owner = field.owner
    touch = np.zeros(owner.shape, np.float32)
    touch[:, 1:] = (owner[:, 1:] != owner[:, :-1]) & (owner[:, 1:] >= 0) & (owner[:, :-1] >= 0)
    touch[1:] += (owner[1:] != owner[:-1]) & (owner[1:] >= 0) & (owner[:-1] >= 0)
    gaps = np.clip(draw_noise(rng, 9) + np.float32(1.3), 0, 1)
    return np.minimum(blur(touch, 1.2) * np.float32(3), 1.4) * gaps


def draw_mitochondria(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Scatter short worm-like threads around the nucleus."""
    density = draw_cytoplasm(field) * fade_outward(field, rng.uniform(14, 26))
    middles = scatter_points(rng, density, round(rng.uniform(80, 130) * len(list_in_view(field))))
    angles = rng.uniform(0, 2 * np.pi, (len(middles), 1)) + np.cumsum(rng.normal(0, 0.45, (len(middles), 6)), axis=1)
    steps = rng.uniform(1.2, 2.8, (len(middles), 1, 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    worms = middles[:, None] + np.cumsum(steps, axis=1)
    lines = blur(draw_strands(list(worms), n_layers=2), 0.7) * np.float32(1.4)
    return np.minimum(lines, 1.3) * (1 - np.float32(0.85) * field.nuclei) * field.body


def draw_cytosol(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Fill cells evenly except for their nuclei, thinner toward the rim."""
    texture = np.clip(1 + np.float32(0.15) * draw_noise(rng, 4), 0.2, None)
    return field.thickness * (1 - np.float32(0.75) * field.nuclei) * texture * np.float32(0.6)


def draw_rods_and_rings(rng: np.random.Generator, field: Field, _: Landmarks) -> Canvas:
    """Put one to three rods and up to two rings into each cell."""
    cytoplasm = draw_cytoplasm(field)
    n_cells = len(list_in_view(field))
    middles = scatter_points(rng, cytoplasm, round(rng.uniform(1.5, 3) * n_cells))
    angles = rng.uniform(0, np.pi, len(middles))
    halves = rng.uniform(5, 10, (len(middles), 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    rods = draw_strands(list(np.stack([middles - halves, middles + halves], axis=1)), width=3, n_layers=1)
    positions = scatter_points(rng, cytoplasm, round(rng.uniform(0.6, 1.6) * n_cells))
    rings = draw_discs(np.concatenate([positions, rng.uniform(4, 6, (len(positions), 1))], axis=1), width=2)
    return blur(np.maximum(rods, rings), 0.6) * np.float32(1.3)
