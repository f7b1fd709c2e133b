"""How the gray levels of images are scaled for a network."""

import keras
from keras import layers, ops


class ZScore(layers.Layer):
    """Standardize each channel of each image to mean 0 and standard deviation 1; a uniform channel to 0.

    From (B, Y, X, C) of any dtype to the same shape, float. Computed in float32, whatever the precision of the network.
    """

    # In squared gray levels; matters only for a uniform channel.
    EPSILON = 1e-3

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Standardize a batch."""
        images = ops.cast(images, "float32")
        centered = images - _average(images)
        variance = _average(ops.square(centered))
        return ops.cast(centered * ops.rsqrt(variance + self.EPSILON), self.compute_dtype)


def _average(images: keras.KerasTensor) -> keras.KerasTensor:
    """Average the pixels of images, (B, Y, X, C), to (B, 1, 1, C).

    Row by row: in one sum of all pixels, TensorFlow's rounding errors are 1e-5 of the mean, and those of other programs
    are others.
    """
    return ops.mean(ops.mean(images, axis=2, keepdims=True), axis=1, keepdims=True)


# By name: 0..255 becomes 0..1, or -1..1, or each channel of each image is standardized.
SCALINGS = ("unit", "signed", "zscore")


def scale_input(x: keras.KerasTensor, scaling: str) -> keras.KerasTensor:
    """Scale images (B, Y, X, C) with gray levels of 0 to 255 to floats, by one of `SCALINGS`."""
    if scaling == "zscore":
        return ZScore()(x)
    return layers.Rescaling(1 / 127.5, offset=-1)(x) if scaling == "signed" else layers.Rescaling(1 / 255)(x)
