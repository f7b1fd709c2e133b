"""DeepYeast (Pärnamaa and Parts 2017), for larger images and several labels per image."""

import itertools

import keras
from keras import layers

from hpa_model.nets.head import HEAD, add_outputs
from hpa_model.nets.resize import image_input
from hpa_model.nets.scale import scale_input


def build_deepyeast(
    image_shape: tuple[int, int, int],
    n_classes: int,
    *,
    image_size: tuple[int, int],
    dropout: float = 0.5,
    scaling: str = "unit",
) -> keras.Model:
    """Build `deepyeast`: 78,110,876 parameters at 192 pixels, 4 channels and 28 classes; most of them in one layer.

    Each convolution and hidden dense layer is followed by batch normalization and ReLU.

    Parameters
    ----------
    image_shape, n_classes, image_size
        As in `nets.build`.
    dropout : float
        Rate of dropout after each hidden dense layer.
    scaling : {"unit", "signed", "zscore"}
        Of the images, see `scale_input`. The original has "signed".
    """

    def norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Normalize, then apply ReLU; `name` has a place for what the layer does."""
        normed = layers.BatchNormalization(name=name.format("norm"))(x)
        return layers.ReLU(name=name.format("relu"))(normed)

    inputs, x = image_input(image_shape, image_size)
    x = scale_input(x, scaling)
    numbers = itertools.count(1)
    for filters, n_convs in ((64, 2), (128, 2), (256, 4)):
        for _ in range(n_convs):
            name = f"{{}}_{next(numbers)}"
            x = norm(layers.Conv2D(filters, 3, padding="same", name=name.format("conv"))(x), name)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    for number in (1, 2):
        name = f"{HEAD}dense_{number}"
        x = norm(layers.Dense(512, name=name)(x), f"{name}_{{}}")
        x = layers.Dropout(dropout, name=f"{HEAD}dropout_{number}")(x)
    return keras.Model(inputs, add_outputs(x, n_classes), name="deepyeast")
