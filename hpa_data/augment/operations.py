"""The operations that make copies, in imgaug's hands, each with its parameters given.

imgaug's own seeding of pipelines does not reproduce; here every augmenter is made anew with fixed numbers.
"""

from collections.abc import Callable, Sequence

import imgaug.augmenters as iaa
import numpy as np
import numpy.typing as npt

from hpa_data.augment.policies import read_recipe
from hpa_data.dataset import CHANNELS
from hpa_data.errors import InputError

Image = npt.NDArray[np.uint8]


def apply_transform(recipe: str, image: Image) -> Image:
    """Do to an image what a recipe says; see `augment.replay`."""
    for step in read_recipe(recipe):
        if step.pop("done"):
            name = step.pop("operation")
            try:
                image = OPERATIONS[name](image, **step)
            except MemoryError:
                raise
            except Exception as error:  # whatever imgaug and OpenCV make of parameters that nobody drew
                raise InputError(
                    f"A recipe must be one that can be carried out. Received: {name} with {step}: {error}. Make the "
                    "copies again."
                ) from error
    return np.ascontiguousarray(image)


def _mirror(image: Image, *, axis: str) -> Image:
    return (iaa.Fliplr(1.0) if axis == "x" else iaa.Flipud(1.0))(image=image)


def _turn(image: Image, *, quarters: int) -> Image:
    return iaa.Rot90(quarters)(image=image)


def _blur(image: Image, *, sigma: float) -> Image:
    return iaa.GaussianBlur(sigma=sigma)(image=image)


def _crop(image: Image, *, sides: Sequence[float]) -> Image:
    """Crop, and stretch to the size that it had."""
    return iaa.Crop(percent=tuple(sides), keep_size=True)(image=image)


def _contrast(image: Image, *, factor: float) -> Image:
    """Stretch gray levels around 127."""
    return iaa.LinearContrast(factor)(image=image)


def _noise(image: Image, *, sigma: float, per_channel: bool, seed: int) -> Image:
    return iaa.AdditiveGaussianNoise(scale=sigma, per_channel=per_channel, seed=seed)(image=image)


def _brightness(image: Image, *, factors: Sequence[float]) -> Image:
    # Imgaug changes the image that it is given.
    return iaa.arithmetic.multiply_scalar(image.copy(), np.array(factors))


def _affine(image: Image, *, scale: Sequence[float], translate: Sequence[float], rotate: float, shear: float) -> Image:
    """Move pixels with linear interpolation; what comes from outside is black."""
    axes = ("x", "y")
    augmenter = iaa.Affine(
        scale=dict(zip(axes, scale, strict=True)),
        translate_percent=dict(zip(axes, translate, strict=True)),
        rotate=rotate,
        shear=shear,
    )
    return augmenter(image=image)


def _elastic(image: Image, *, alpha: float, sigma: float, seed: int) -> Image:
    return iaa.ElasticTransformation(alpha=alpha, sigma=sigma, mode="reflect", seed=seed)(image=image)


def _drop(image: Image, *, channel: str) -> Image:
    return iaa.WithChannels([CHANNELS.index(channel)], iaa.Multiply(0))(image=image)


OPERATIONS: dict[str, Callable[..., Image]] = {
    "mirror": _mirror,
    "turn": _turn,
    "blur": _blur,
    "crop": _crop,
    "contrast": _contrast,
    "noise": _noise,
    "brightness": _brightness,
    "affine": _affine,
    "elastic": _elastic,
    "drop": _drop,
}
