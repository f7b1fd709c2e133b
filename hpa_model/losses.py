"""Losses, in Keras: what it has by name, and soft macro-F1, which it lacks."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# Focal loss takes this power of what is missing to certainty (Lin et al. 2017).
FOCAL_GAMMA = 2.0


def soft_macro_f1_loss(labels: Any, probs: Any) -> Any:
    """Take 1 minus the mean over classes of F1, with probabilities in place of predictions.

    Parameters
    ----------
    labels : tensor of 0 and 1, shape (B, K)
    probs : tensor, shape (B, K)
        In [0, 1].

    Returns
    -------
    tensor, scalar
        Of this batch: true positives are the sum of y p, false ones that of (1 - y) p, missed ones that of y (1 - p). A
        class that no sample of the batch shows scores 0, and most rare classes are absent from a small batch.
    """
    labels = ops.cast(labels, probs.dtype)
    true_positives = ops.sum(labels * probs, axis=0)
    total = ops.sum(labels, axis=0) + ops.sum(probs, axis=0)  # 2 tp + fp + fn
    return 1 - ops.mean(2 * true_positives / ops.maximum(total, keras.config.epsilon()))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "bce": keras.losses.binary_crossentropy,
    "f1": soft_macro_f1_loss,
    "focal": keras.losses.BinaryFocalCrossentropy(gamma=FOCAL_GAMMA),
}
