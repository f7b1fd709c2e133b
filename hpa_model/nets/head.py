"""The end that all networks share, and the part of them that fine-tuning trains."""

import keras
from keras import layers

# Layers with such a name are the dense net; all others are the chain of convolutions.
HEAD = "head_"


def add_outputs(x: keras.KerasTensor, n_classes: int) -> keras.KerasTensor:
    """End a network: features (B, F) to one probability a class (B, K), float32 under mixed precision too."""
    return layers.Dense(n_classes, activation="sigmoid", dtype="float32", name=f"{HEAD}outputs")(x)


def freeze_backbone(model: keras.Model) -> list[str]:
    """Let only the dense net of a network learn; return the names of the layers that keep what they know.

    A frozen batch normalisation takes its moving statistics and leaves them as they are. Dropout stays as it is.

    Raises
    ------
    ValueError
        If no layer belongs to a dense net.
    """
    frozen = [layer for layer in model.layers if not layer.name.startswith(HEAD)]
    if len(frozen) == len(model.layers):
        raise ValueError(f"A network to fine-tune must have layers named {HEAD}… Received: none. Build it with nets.")
    for layer in frozen:
        layer.trainable = False
    return [layer.name for layer in frozen]
