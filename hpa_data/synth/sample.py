"""Draw whole samples: field, stains, protein, camera."""

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018
from hpa_data.synth.brush import Canvas
from hpa_data.synth.camera import Exposure, record_plane
from hpa_data.synth.field import Field, draw_field
from hpa_data.synth.landmarks import Landmarks, draw_landmarks, vary_cells
from hpa_data.synth.patterns import BRIDGE_CLASS, JUNCTION_CLASS, METAPHASE_CLASS, PATTERNS


def draw_sample(labels: npt.NDArray[np.uint8], *, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw a synthetic sample that shows the given classes.

    Parameters
    ----------
    labels : array of uint8, shape (28,)
        Multi-hot. If all are 0, green shows nothing but unspecific haze.
    rng : numpy.random.Generator
        The only source of randomness: the same state and labels give the same pixels.

    Returns
    -------
    array of uint8, shape (512, 512, 4)
        Channels red, green, blue, yellow. Unless a class needs a special field (dividing cells, touching cells),
        red, blue and yellow do not depend on the labels.

    Examples
    --------
    >>> labels = np.zeros(28, np.uint8)
    >>> labels[2] = 1
    >>> draw_sample(labels, rng=np.random.default_rng(0)).shape
    (512, 512, 4)
    """
    classes = np.flatnonzero(labels[: len(HPA_2018.classes)]).tolist()
    # Both numbers are drawn in any case, so that labels do not shift the stream of random numbers.
    n_metaphases, n_bridges = rng.integers(2, 5, 2).tolist()
    chance_metaphase, chance_bridge = (rng.random(2) < 0.05).tolist()  # as in real fields, where some cells divide
    field = draw_field(
        rng,
        n_metaphases=n_metaphases if METAPHASE_CLASS in classes else int(chance_metaphase),
        n_bridges=n_bridges if BRIDGE_CLASS in classes else int(chance_bridge),
        touching=JUNCTION_CLASS in classes,
    )
    landmarks = draw_landmarks(rng, field)
    planes = record_stains(rng, field, landmarks)
    protein = draw_protein(rng, field, landmarks, classes)
    planes.insert(1, record_plane(rng, protein, draw_exposure(rng, white=90, spread=0.36, gain=2.5, background=-2.0)))
    return np.stack(planes, axis=-1)  # (Y, X, C)


def record_stains(rng: np.random.Generator, field: Field, landmarks: Landmarks) -> list[npt.NDArray[np.uint8]]:
    """Record the red, blue and yellow plane."""
    red = (landmarks.microtubules + np.float32(0.6) * landmarks.spindles) * vary_cells(rng, field, 0.3)
    blue = landmarks.chromatin * vary_cells(rng, field, 0.15)
    yellow = landmarks.reticulum * vary_cells(rng, field, 0.3)
    return [
        record_plane(rng, red, draw_exposure(rng, white=76, spread=0.45, gain=2.5, background=-0.8)),
        record_plane(rng, blue, draw_exposure(rng, white=145, spread=0.4, gain=1.0, background=-0.8)),
        record_plane(rng, yellow, draw_exposure(rng, white=105, spread=0.45, gain=2.5, background=-1.8)),
    ]


def draw_exposure(rng: np.random.Generator, *, white: float, spread: float, gain: float, background: float) -> Exposure:
    """Draw how a channel is recorded.

    Parameters
    ----------
    rng : numpy.random.Generator
    white : float
        Median gray level of a well stained pixel.
    spread : float
        Standard deviation of the logarithm of that level: some fields are dim.
    gain : float
        Median gray levels of one photon: the fewer photons, the grainier.
    background : float
        Gray level of the empty field in most samples.

    Returns
    -------
    Exposure
    """
    hazy = rng.random() < 0.06  # a few real samples have a bright background
    blurred = rng.random() < 0.08  # and a few are out of focus
    return Exposure(
        white=white * rng.lognormal(0, spread),
        sigma=rng.uniform(1.2, 2.2) if blurred else rng.uniform(0.3, 0.7),
        gain=gain * rng.lognormal(0, 0.5),
        speckle=rng.uniform(0.04, 0.1) * gain,
        background=rng.uniform(2, 16) if hazy else background,
    )


def draw_protein(rng: np.random.Generator, field: Field, landmarks: Landmarks, classes: list[int]) -> Canvas:
    """Draw the green channel: unspecific haze and the pattern of each class.

    Parameters
    ----------
    rng : numpy.random.Generator
    field : Field
    landmarks : Landmarks
    classes : list of int
        Class numbers in rising order.

    Returns
    -------
    array of float32, shape (Y, X)
    """
    # An antibody binds a little everywhere, somewhat more in nuclei or in the cytoplasm.
    inside, outside = rng.uniform(0.01, 0.06, 2).astype(np.float32)
    canvas = field.thickness * outside + field.nuclei * (inside - outside)
    for number in classes:
        strength = np.float32(rng.uniform(0.7, 1.2) if number == classes[0] else rng.uniform(0.5, 1.0))
        canvas = canvas + PATTERNS[number](rng, field, landmarks) * strength
    canvas = canvas * vary_cells(rng, field, 0.25)
    # At the microscope, exposure is raised for a sparse pattern: until 0.2 % of the pixels are bright.
    bright = float(np.quantile(canvas, 0.998))
    return canvas * np.float32(np.clip(1.2 / max(bright, 0.1), 0.7, 2.0))
