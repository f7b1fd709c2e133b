"""A network of a few layers, for trainings that would be the same with any."""

from collections.abc import Iterator

import keras
import pytest
from keras import layers

from hpa_model.nets import NETS
from hpa_model.nets.catalog import Net
from hpa_model.nets.head import HEAD, add_outputs
from hpa_model.nets.resize import image_input


def build_tiny(image_shape: tuple[int, int, int], n_classes: int, *, image_size: tuple[int, int]) -> keras.Model:
    """Build `tiny`, which has batch normalization, dropout and a head to fine-tune, as the others."""
    inputs, x = image_input(image_shape, image_size)
    x = layers.Conv2D(8, 3, strides=2)(layers.Rescaling(1 / 255)(x))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(16, activation="relu", name=f"{HEAD}dense_1")(x)
    x = layers.Dropout(0.2, name=f"{HEAD}dropout_1")(x)
    return keras.Model(inputs, add_outputs(x, n_classes), name="tiny")


@pytest.fixture(autouse=True, scope="module")
def tiny_network() -> Iterator[None]:
    """Let the tests of this folder train `tiny`, most of whose time would go into building a larger network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETS, "tiny", Net(build=build_tiny, summary="of these tests", min_size=lambda **_: 3))
        yield
