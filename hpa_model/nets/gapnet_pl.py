"""The original GapNet-PL (Rumetshofer et al. 2018): self-normalizing, no batch normalization."""

import itertools

import keras
from keras import layers

from hpa_model.nets.head import HEAD, add_outputs
from hpa_model.nets.resize import image_input
from hpa_model.nets.scale import ZScore


def build_gapnet_pl(
    image_shape: tuple[int, int, int],
    n_classes: int,
    *,
    image_size: tuple[int, int],
    dropout: float = 0.3,
    l1: float = 1e-7,
    l2: float = 1e-5,
) -> keras.Model:
    """Build `gapnet-pl`: 630,076 parameters at 4 channels and 28 classes.

    Each channel of each image is standardized first. Features for the dense layers are taken after max pooling.

    Parameters
    ----------
    image_shape, n_classes, image_size
        As in `nets.build`.
    dropout : float
        Rate of alpha dropout after each hidden dense layer.
    l1, l2 : float
        Factors of the L1 and the L2 penalty on all kernels, which is added to the loss: sums of absolute values and of
        squares. The settings of the same names halve the sum of squares, as the original does.
    """
    kernels = {
        "activation": "selu",
        "kernel_initializer": "lecun_normal",
        "kernel_regularizer": keras.regularizers.L1L2(l1, l2),
    }

    numbers = itertools.count(1)

    def conv(x: keras.KerasTensor, filters: int, *, strides: int = 1) -> keras.KerasTensor:
        name = f"conv_{next(numbers)}"
        return layers.Conv2D(filters, 3, strides=strides, padding="same", name=name, **kernels)(x)

    inputs, x = image_input(image_shape, image_size)
    x = ZScore()(x)
    tap_1 = x = layers.MaxPooling2D()(conv(x, 32, strides=2))

    x = conv(x, 64, strides=2)
    for _ in range(3):
        x = conv(x, 64)
    tap_2 = x = layers.MaxPooling2D()(x)

    for _ in range(3):
        x = conv(x, 128)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(tap) for tap in (tap_1, tap_2, x)])  # (B, 224)
    for number in (1, 2):
        x = layers.Dense(256, name=f"{HEAD}dense_{number}", **kernels)(x)
        x = layers.AlphaDropout(dropout, name=f"{HEAD}dropout_{number}")(x)
    return keras.Model(inputs, add_outputs(x, n_classes), name="gapnet-pl")
