"""DenseNet-121 (Huang et al. 2016), from Keras, with a first convolution for any number of channels."""

import warnings

import keras
from keras import layers

from hpa_model.nets.head import add_outputs
from hpa_model.nets.resize import image_input


def build_densenet121(image_shape: tuple[int, int, int], n_classes: int, *, image_size: tuple[int, int]) -> keras.Model:
    """Build `densenet121` with fresh weights: 7,069,340 parameters at 4 channels and 28 classes.

    Growth 32, blocks of 6, 12, 24 and 16. Arguments as in `nets.build`.
    """
    inputs, x = image_input(image_shape, image_size)
    x = layers.Rescaling(1 / 255)(x)
    with warnings.catch_warnings():
        # It expects 1 or 3 channels, because pretrained weights would.
        warnings.filterwarnings("ignore", "This model usually expects")
        backbone = keras.applications.DenseNet121(include_top=False, weights=None, input_tensor=x, pooling="avg")
    return keras.Model(inputs, add_outputs(backbone.output, n_classes), name="densenet121")
