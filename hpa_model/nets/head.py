"""The classification head: the output layer that all networks share, and the layers that fine-tuning trains."""

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
