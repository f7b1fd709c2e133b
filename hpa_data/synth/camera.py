"""Turn clean canvases into 8-bit planes: focus, exposure, photon noise, black level."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.synth.brush import Canvas, blur


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How one channel of one field is recorded.

    Attributes
    ----------
    white : float
        Gray level of a canvas level of 1.
    sigma : float
        Blur of the optics in pixels.
    gain : float
        Gray levels of one photon: photon noise has the variance gain x level.
    speckle : float
        Relative noise of the stain itself, proportional to the level.
    background : float
        Gray level of the empty field; below 0 the black level was set too high and the background is cut off.
    """

    white: float
    sigma: float
    gain: float
    speckle: float
    background: float


def record_plane(rng: np.random.Generator, canvas: Canvas, exposure: Exposure) -> npt.NDArray[np.uint8]:
    """Record a plane.

    Parameters
    ----------
    rng : numpy.random.Generator
    canvas : array of float32, shape (Y, X)
        1 is well stained; negative values count as 0.
    exposure : Exposure

    Returns
    -------
    array of uint8, shape (Y, X)
    """
    level = np.maximum(blur(canvas, exposure.sigma), 0) * np.float32(exposure.white)
    # Normal noise with the variances of photons (Poisson), stain (multiplicative) and sensor (0.2 gray levels).
    variance = level * np.float32(exposure.gain) + (level * np.float32(exposure.speckle)) ** 2 + np.float32(0.04)
    noise = rng.standard_normal(level.shape, np.float32)
    noise *= np.sqrt(variance)
    level += noise + np.float32(exposure.background)
    return np.clip(level + np.float32(0.5), 0, 255).astype(np.uint8)
