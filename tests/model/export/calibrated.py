"""Networks whose weights nobody has trained, and whose features are of a usual size all the same."""

import keras
import numpy as np
import numpy.typing as npt

from hpa_model.nets.catalog import build


def build_calibrated(name: str, images: npt.NDArray[np.uint8], n_classes: int, *, image_size: int) -> keras.Model:
    """Build a network whose batch normalization has the averages of some images, (B, Y, X, C), as if it was trained."""
    network = build(name, images.shape[1:], n_classes, image_size=image_size, bn_momentum=0.0)
    network(images, training=True)
    return network
