"""The classification head: the output layer that all networks share, and the layers that fine-tuning trains."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
from keras import layers

# The layers whose names start so are the classification head; all others are the backbone.
HEAD = "head_"


def add_outputs(x: keras.KerasTensor, n_classes: int) -> keras.KerasTensor:
    """Add the output layer: features (B, F) to probabilities (B, K), float32 under mixed precision too."""
    return layers.Dense(n_classes, activation="sigmoid", dtype="float32", name=f"{HEAD}outputs")(x)


def freeze_backbone(model: keras.Model) -> None:
    """Freeze all layers of a network but the classification head.

    Frozen batch normalization uses its moving averages and does not update them. Frozen dropout still drops.

    Raises
    ------
    ValueError
        If the network has no classification head.
    """
    frozen = [layer for layer in model.layers if not layer.name.startswith(HEAD)]
    if len(frozen) == len(model.layers):
        raise ValueError(f"model must have layers named {HEAD}… Received: none. Build it with hpa_model.nets.build.")
    for layer in frozen:
        layer.trainable = False


@contextmanager
def backbone_frozen(model: keras.Model) -> Iterator[None]:
    """Freeze all layers of a network but the classification head for a while; then each is as it was."""
    before = [(layer, layer.trainable) for layer in _walk(model)]
    freeze_backbone(model)
    try:
        yield
    finally:
        for layer, trainable in before:  # a model before the layers in it, which it passes its value on to
            layer.trainable = trainable


def _walk(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """List the layers of a model, and after each model among them those in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _walk(layer)
