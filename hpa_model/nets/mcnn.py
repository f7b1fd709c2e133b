"""M-CNN (Godinez et al. 2017): the image at seven scales, with separate convolutions for each."""

import keras
from keras import layers

from hpa_model.nets.head import HEAD, add_outputs
from hpa_model.nets.resize import image_input
from hpa_model.nets.scale import scale_input

# Filters of the three convolutions at each scale, from full size down to 1/64.
WIDTHS = (16, 16, 16, 32, 32, 32, 64)


def build_mcnn(
    image_shape: tuple[int, int, int], n_classes: int, *, image_size: tuple[int, int], scaling: str = "unit"
) -> keras.Model:
    """Build `mcnn`: 9,035,724 parameters at 512 pixels, 4 channels and 28 classes; fewer with smaller images.

    Parameters
    ----------
    image_shape, n_classes, image_size
        As in `nets.build`.
    scaling : {"unit", "signed", "zscore"}
        Of the images, see `scale_input`. The configuration that Rumetshofer et al. (2018) published has "zscore".
    """
    inputs, x = image_input(image_shape, image_size)
    image = scale_input(x, scaling)
    features = []
    for scale, width in enumerate(WIDTHS):
        x = layers.MaxPooling2D(2**scale)(image) if scale else image
        for _ in range(3):
            x = layers.Conv2D(width, 5, padding="same", activation="relu")(x)
        shrink = 2 ** (len(WIDTHS) - 1 - scale)
        features.append(layers.MaxPooling2D(shrink)(x) if shrink > 1 else x)
    x = layers.Concatenate()(features)  # (B, Y / 64, X / 64, 208)
    x = layers.Conv2D(1024, 1, activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    x = layers.Dense(512, activation="relu", name=f"{HEAD}dense")(x)
    return keras.Model(inputs, add_outputs(x, n_classes), name="mcnn")
