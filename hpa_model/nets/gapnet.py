"""The GapNet variant of Madeira and Parreira (2018): features pooled at three depths, then dense layers."""

import itertools

import keras
from keras import layers

from hpa_model.nets.head import HEAD, add_outputs
from hpa_model.nets.resize import image_input


def find_min_size(*, stride: int = 2, padding: str = "valid", **_: object) -> int:
    """Return the fewest rows and columns of which `gapnet` with these options leaves anything to its last layer."""
    border = 2 if padding == "valid" else 0  # pixels that a convolution takes from each side together
    size = 2 * (1 + 3 * border) + 2 * border
    return 2 * ((size - 1) * stride + 1 + border) + border


def build_gapnet(
    image_shape: tuple[int, int, int],
    n_classes: int,
    *,
    image_size: tuple[int, int],
    dropout: float = 0.4,
    dropout_place: str = "inline",
    stride: int = 2,
    padding: str = "valid",
) -> keras.Model:
    """Build `gapnet`: 597,388 parameters at 4 channels and 28 classes, 2,120 of them not trainable.

    Batch normalization precedes each convolution and dense layer. Convolutions are 3 × 3. Layers with weights have
    names that do not depend on what else was built, so that weights can be carried over by name.

    Parameters
    ----------
    image_shape, n_classes, image_size
        As in `nets.build`.
    dropout : float
        Rate of dropout.
    dropout_place : {"inline", "tap"}
        Where dropout follows a block. "inline": between the block and the next, so that the pooled features and the
        next block see the same dropped values, as in the code that the paper started from. "tap": on the pooled
        features alone, which is how the paper's text reads. Which learns better
        was not the same twice, one seed each. On the demo's samples at 76 pixels, two folds, after 50 epochs: macro-F1
        0.277 (0.255 to 0.298) inline and 0.218 (0.194 to 0.241) on the taps, mAP 0.266 and 0.211, AUC 0.798 and 0.762.
        On fold 0 at 128 pixels after 40 epochs, with version 0.1.0 and thresholds of the same rows: 0.41 inline and
        0.47 without dropout between the blocks, mAP 0.374 and 0.406.
    stride : int
        Of the first convolution of the second block. 1 takes 3.9 times as many multiply-adds.
    padding : {"valid", "same"}
        Of the convolutions.
    """
    numbers = itertools.count(1)

    def conv(x: keras.KerasTensor, filters: int, *, strides: int = 1) -> keras.KerasTensor:
        number = next(numbers)
        normed = layers.BatchNormalization(name=f"norm_{number}")(x)
        name = f"conv_{number}"
        return layers.Conv2D(filters, 3, strides=strides, padding=padding, activation="relu", name=name)(normed)

    def pool(x: keras.KerasTensor, block: int) -> keras.KerasTensor:
        return layers.MaxPooling2D()(layers.BatchNormalization(name=f"norm_pool_{block}")(x))

    def drop(x: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return what is pooled for the dense layers, and what the next block sees."""
        dropped = layers.Dropout(dropout)(x)
        return dropped, dropped if dropout_place == "inline" else x

    inputs, x = image_input(image_shape, image_size)
    x = layers.Rescaling(1 / 255)(x)
    tap_1, x = drop(pool(conv(x, 32), 1))

    x = conv(x, 64, strides=stride)
    x = conv(x, 64)
    tap_2, x = drop(pool(conv(x, 64), 2))

    for _ in range(3):
        x = conv(x, 128)
    tap_3, _ = drop(x)

    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(tap) for tap in (tap_1, tap_2, tap_3)])  # (B, 224)
    for number in (1, 2):
        x = layers.BatchNormalization(name=f"{HEAD}norm_{number}")(x)
        x = layers.Dense(256, activation="relu", name=f"{HEAD}dense_{number}")(x)
        x = layers.Dropout(dropout, name=f"{HEAD}dropout_{number}")(x)
    return keras.Model(inputs, add_outputs(x, n_classes), name="gapnet")
