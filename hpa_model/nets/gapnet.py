"""The GapNet variant of Madeira and Parreira (2018): pooled features of three depths, then a dense net."""

import keras
from keras import layers

from hpa_data.errors import InputError
from hpa_model.nets.resize import AreaResize

DROPOUT = 0.4
# Below this nothing is left of the image before the last convolution.
SMALLEST = 76


def build_gapnet(
    image_shape: tuple[int, int, int],
    n_classes: int,
    *,
    image_size: int | None = None,
    bn_momentum: float = 0.99,
) -> keras.Model:
    """Build `gapnet`: 597,388 parameters at 4 channels and 28 classes, 2,120 of them not trainable.

    Batch normalisation comes before each convolution and dense layer, dropout lies in line, so that each tap and the
    next block see the same dropped features. Convolutions are 3 × 3 without padding. Arguments as `nets.build`.
    """
    seen = (image_size, image_size) if image_size else image_shape[:2]
    if min(seen) < SMALLEST:
        raise InputError(
            f"image_size must be at least {SMALLEST} for gapnet. Received: image_size={min(seen)}. Use larger images."
        )

    def norm(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.BatchNormalization(momentum=bn_momentum)(x)

    def conv(x: keras.KerasTensor, filters: int, *, strides: int = 1) -> keras.KerasTensor:
        return layers.Conv2D(filters, 3, strides=strides, activation="relu")(norm(x))

    inputs = keras.Input(image_shape, dtype="uint8")
    x = inputs if image_shape[:2] == seen else AreaResize(seen[0])(inputs)
    x = layers.Rescaling(1 / 255)(x)
    x = conv(x, 32)
    x = layers.MaxPooling2D()(norm(x))
    tap_1 = x = layers.Dropout(DROPOUT)(x)

    x = conv(x, 64, strides=2)
    x = conv(x, 64)
    x = conv(x, 64)
    x = layers.MaxPooling2D()(norm(x))
    tap_2 = x = layers.Dropout(DROPOUT)(x)

    for _ in range(3):
        x = conv(x, 128)
    tap_3 = layers.Dropout(DROPOUT)(x)

    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(tap) for tap in (tap_1, tap_2, tap_3)])  # (B, 224)
    for _ in range(2):
        x = layers.Dense(256, activation="relu")(norm(x))
        x = layers.Dropout(DROPOUT)(x)
    # Probabilities stay float32 under mixed precision.
    outputs = layers.Dense(n_classes, activation="sigmoid", dtype="float32")(x)
    return keras.Model(inputs, outputs, name="gapnet")
