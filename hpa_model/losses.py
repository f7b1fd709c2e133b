"""Losses by name: those of Keras, and soft macro-F1, which Keras lacks."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from hpa_model.backend import sum_over_devices
from hpa_model.config import OverClasses

# The exponent of focal loss (Lin et al. 2017).
FOCAL_GAMMA = 2.0


def soft_macro_f1_loss(labels: Any, probs: Any) -> Any:
    """Return 1 minus macro-F1, with probabilities in place of predictions.

    Parameters
    ----------
    labels : tensor of 0 and 1, shape (B, K)
    probs : tensor, shape (B, K)
        In [0, 1].

    Returns
    -------
    tensor, shape (B,)
        The same value for each sample, that of the batch: true positives are the sum of y p, false positives that of
        (1 - y) p, false negatives that of y (1 - p). A class without a sample in the batch scores 0, as most rare
        classes do in small batches. Where devices share a batch, the sums are over the whole batch, not over the share
        of one device.
    """
    labels = ops.cast(labels, probs.dtype)
    true_positives = sum_over_devices(ops.sum(labels * probs, axis=0))
    total = sum_over_devices(ops.sum(labels, axis=0) + ops.sum(probs, axis=0))  # 2 tp + fp + fn
    loss = 1 - ops.mean(2 * true_positives / ops.maximum(total, keras.config.epsilon()))
    # Keras would take a scalar for a loss that is already shared out among the devices, and add them up.
    return ops.broadcast_to(loss, (ops.shape(labels)[0],))


def focal_loss(labels: Any, probs: Any) -> Any:
    """Return binary cross-entropy weighted by (1 - the probability of the truth) ^ `FOCAL_GAMMA`, shape (B,)."""
    return keras.losses.binary_focal_crossentropy(labels, probs, gamma=FOCAL_GAMMA)


# Each takes labels (B, K) and probabilities (B, K) and returns the loss of each sample (B,), a mean over the classes. A
# scalar would be right on one device only, see `soft_macro_f1_loss`. A name here is also one of `config.Loss`.
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "bce": keras.losses.binary_crossentropy,
    "f1": soft_macro_f1_loss,
    "focal": focal_loss,
}


def make_loss(name: str, over_classes: OverClasses = "mean") -> Callable[[Any, Any], Any]:
    """Make a loss function, from labels (B, K) and probabilities (B, K) to the loss of each sample, (B,).

    Parameters
    ----------
    name : str
        One of `LOSSES`.
    over_classes : {"mean", "sum"}
        Whether the loss of a sample is the mean over the classes, or their sum, which is K times as large, as are its
        gradients.
    """
    mean = LOSSES[name]
    if over_classes == "mean":
        return mean

    def loss(labels: Any, probs: Any) -> Any:
        return mean(labels, probs) * ops.shape(labels)[-1]

    return loss


def loss_of_set(
    name: str,
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    over_classes: OverClasses = "mean",
) -> float:
    """Compute a loss over a whole set of samples at once.

    For soft macro-F1 that is not the mean over batches. In float64 where Keras's backend has it (JAX has not by
    default), because probabilities near 0 and 1 lose digits in float32.

    Parameters
    ----------
    name : str
        One of `LOSSES`.
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        In [0, 1]. Keras clips them to [1e-7, 1 - 1e-7] for the cross-entropies.
    over_classes : {"mean", "sum"}
        See `make_loss`.
    """
    tensors = [ops.convert_to_tensor(np.asarray(values, np.float64)) for values in (labels, probs)]
    mean = float(np.mean(ops.convert_to_numpy(LOSSES[name](*tensors))))
    return mean * labels.shape[1] if over_classes == "sum" else mean
