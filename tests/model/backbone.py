"""A small backbone as `keras.applications` would have it, as a network of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import pytest
from keras import layers

from hpa_model.nets.backbones import BACKBONES, Backbone
from hpa_model.nets.catalog import NETS, use_backbone
from hpa_model.nets.stem import IMAGENET
from tests.builders import randomise

NAME = "small"
FILE_HASH = "0" * 64


def apply_small(
    *,
    include_top: bool = True,
    weights: None = None,
    input_shape: tuple[int, int, int] | None = None,
    input_tensor: keras.KerasTensor | None = None,
    pooling: str | None = None,
) -> keras.Model:
    """Build it as the functions of `keras.applications` do: three convolutions, two of them normalized."""
    inputs = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="stem_bn")(x))
    x = layers.ReLU()(layers.Conv2D(12, 3, strides=2, name="block_conv")(x))
    x = layers.BatchNormalization(name="block_bn")(x)
    if include_top:
        x = layers.Dense(10, activation="softmax", name="predictions")(layers.GlobalAveragePooling2D()(x))
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(keras.utils.get_source_inputs(inputs), x, name=NAME)


def save_random(path: str, *, include_top: bool = False, n_channels: int = 3) -> keras.Model:
    """Save weights of the backbone in each of Keras's forms: path.weights.h5, path.keras; return its model."""
    model = apply_small(include_top=include_top, input_shape=(24, 24, n_channels), pooling="avg")
    randomise(model)
    model.save_weights(f"{path}.weights.h5")
    model.save(f"{path}.keras")
    return model


@contextmanager
def known(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let it be a network like those of `BACKBONES`."""
    backbone = Backbone(
        application=apply_small,
        scaling=IMAGENET,
        min_size=8,
        url="http://127.0.0.1:9/models/small_notop.h5",  # where nothing listens
        file_hash=FILE_HASH,
    )
    patch.setitem(BACKBONES, NAME, backbone)
    patch.setitem(NETS, NAME, use_backbone(NAME, "small"))
    yield
