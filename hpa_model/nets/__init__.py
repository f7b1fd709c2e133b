"""Networks by name: uint8 images in, one sigmoid probability a class out."""

from collections.abc import Callable

import keras

from hpa_data.errors import InputError
from hpa_model.nets.gapnet import build_gapnet

# A network is a function of image_shape (Y, X, C), n_classes, image_size and bn_momentum.
NETS: dict[str, Callable[..., keras.Model]] = {"gapnet": build_gapnet}


def build(
    name: str,
    image_shape: tuple[int, int, int] = (512, 512, 4),
    n_classes: int = 28,
    *,
    image_size: int | None = None,
    bn_momentum: float = 0.99,
) -> keras.Model:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        One of `NETS`.
    image_shape : tuple of int
        (Y, X, C) of the images that will be fed.
    n_classes : int
        K.
    image_size : int, optional
        Rows and columns to which the images are resized on the device before anything else; by default they stay as
        they are.
    bn_momentum : float
        How much of the moving statistics of batch normalisation a step keeps, 0..1. 0.99 needs some hundred steps to
        settle.

    Returns
    -------
    keras.Model
        From uint8 (B, Y, X, C) to float32 (B, K) in [0, 1]. Weights are drawn from Keras's seed.

    Raises
    ------
    InputError
        If the name is unknown or the images are too small for the network.
    """
    if name not in NETS:
        raise InputError(f"model must be one of {', '.join(NETS)}. Received: model={name!r}. Choose one of them.")
    return NETS[name](image_shape, n_classes, image_size=image_size, bn_momentum=bn_momentum)
