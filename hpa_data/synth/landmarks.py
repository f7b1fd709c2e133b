"""Draw the three stains of every field: microtubules, nucleus, reticulum."""

from dataclasses import dataclass

import numpy as np

from hpa_data.synth.brush import Canvas, Points, blur, draw_mesh, draw_noise, draw_strands
from hpa_data.synth.field import Field
from hpa_data.synth.strands import grow_microtubules, grow_spindles


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """The structures that the stains show and the patterns follow.

    Attributes
    ----------
    strands : list of arrays of float64, shape (points, 2)
        The microtubules, x and y in pixels, from the nucleus outward.
    microtubules, spindles : array of float32, shape (Y, X)
        The drawn strands, of cells between divisions and of metaphase cells.
    reticulum : array of float32, shape (Y, X)
        The mesh around the nucleus.
    chromatin : array of float32, shape (Y, X)
        The nuclei with their texture, and the plates.
    """

    strands: list[Points]
    microtubules: Canvas
    spindles: Canvas
    reticulum: Canvas
    chromatin: Canvas


def draw_landmarks(rng: np.random.Generator, field: Field) -> Landmarks:
    """Draw the landmarks of a field; of the labels, they depend only on the dividing cells."""
    strands = grow_microtubules(rng, field)
    return Landmarks(
        strands=strands,
        microtubules=draw_microtubules(rng, field, strands),
        spindles=blur(draw_strands(grow_spindles(rng, field)), 0.8),
        reticulum=draw_reticulum(rng, field),
        chromatin=draw_chromatin(rng, field),
    )


def vary_cells(rng: np.random.Generator, field: Field, spread: float) -> Canvas:
    """Draw one level per cell: cells of one field take up the stain differently.

    Parameters
    ----------
    rng : numpy.random.Generator
    field : Field
    spread : float
        Standard deviation of the logarithm of the level.

    Returns
    -------
    array of float32, shape (Y, X)
        About 1 in cells, 1 on the background.
    """
    levels = rng.lognormal(0, spread, len(field.cells) + 1).astype(np.float32)
    levels[-1] = 1  # owner -1, the background, is the last one
    return levels[field.owner]


def fade_outward(field: Field, distance: float) -> Canvas:
    """Draw a level that is 1 at the nucleus and falls to 1/e over a distance in pixels."""
    return np.exp(field.outer_distance * np.float32(-1 / distance))


def draw_microtubules(rng: np.random.Generator, field: Field, strands: list[Points]) -> Canvas:
    """Draw microtubules that fade toward the rim, with bundles between daughters."""
    lines = blur(draw_strands(strands), rng.uniform(0.5, 0.8))
    fade = fade_outward(field, rng.uniform(25, 90))
    haze = field.thickness * (1 - np.float32(0.8) * field.nuclei)
    canvas = (lines + np.float32(0.12) * haze) * (np.float32(0.25) + fade)
    bundles = [bridge.reshape(2, 2) + rng.normal(0, 1.2, (2, 2)) for bridge in field.bridges for _ in range(5)]
    # No fiber runs through a nucleus, but some lie above it.
    return canvas * (1 - np.float32(0.75) * field.nuclei) + np.float32(0.8) * blur(draw_strands(bundles), 0.8)


def draw_reticulum(rng: np.random.Generator, field: Field) -> Canvas:
    """Draw a mesh that is densest around the nucleus, with dark vacuoles."""
    mesh = blur(draw_mesh(rng, rng.uniform(3.0, 5.0)) * np.clip(1 + np.float32(0.5) * draw_noise(rng, 2), 0, None), 0.5)
    lumps = np.clip(1 + np.float32(0.35) * draw_noise(rng, 14), 0.15, None)
    vacuoles = np.clip(draw_noise(rng, 7) * np.float32(2) - np.float32(3.2), 0, 1)
    fade = fade_outward(field, rng.uniform(18, 60))
    cytoplasm = field.body * (1 - np.float32(0.93) * field.nuclei) * (1 - np.float32(0.8) * field.plates)
    return cytoplasm * (mesh * np.float32(0.75) + np.float32(0.25)) * lumps * (1 - vacuoles) * (np.float32(0.18) + fade)


def draw_chromatin(rng: np.random.Generator, field: Field) -> Canvas:
    """Draw nuclei with lumps and dark nucleoli; plates of metaphase cells are the brightest."""
    fine = draw_noise(rng, 2.5) * np.float32(0.14) + draw_noise(rng, 6) * np.float32(0.16)
    texture = np.clip(1 + fine, 0.2, None)
    depth = np.minimum(field.inner_distance / np.float32(5), 1) * np.float32(0.3) + np.float32(0.7)
    nuclei = field.nuclei * texture * depth * (1 - np.float32(0.55) * field.nucleoli)
    return nuclei * np.float32(0.7) + field.plates * texture * np.float32(1.3)
