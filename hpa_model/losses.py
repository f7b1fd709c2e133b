"""Losses by name: those of Keras, and two that Keras lacks. Imports nothing heavy before one is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Labels (B, K) and probabilities (B, K), to the loss of each sample, (B,).
LossFunction = Callable[[Any, Any], Any]
# The exponent of focal loss (Lin et al. 2017).
FOCAL_GAMMA = 2.0
# The exponent for labels of 0, and the probability up to which such a label costs nothing, in asymmetric loss (Ridnik
# et al. 2021); its exponent for labels of 1 is 0 there, too.
ASYMMETRIC_GAMMA, ASYMMETRIC_MARGIN = 4.0, 0.05


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss, and what of the settings fits it."""

    function: LossFunction
    """The mean over the classes. A scalar would be right on one device only, see `soft_macro_f1_loss`."""

    is_per_label: bool = True
    """Whether it is the mean of a term for each label, so that labels can be weighted, and be smooth."""


def bce_loss(labels: Any, probs: Any) -> Any:
    """Return the binary cross-entropy, shape (B,)."""
    from keras.losses import binary_crossentropy

    return binary_crossentropy(labels, probs)


def focal_loss(labels: Any, probs: Any) -> Any:
    """Return binary cross-entropy weighted by (1 - the probability of the truth) ^ `FOCAL_GAMMA`, shape (B,)."""
    from keras.losses import binary_focal_crossentropy

    return binary_focal_crossentropy(labels, probs, gamma=FOCAL_GAMMA)


def asymmetric_loss(labels: Any, probs: Any) -> Any:
    """Return binary cross-entropy in which classes that are clearly absent cost little, shape (B,).

    For a label of 0, the probability is lowered by `ASYMMETRIC_MARGIN`, and the term weighted by what is left of it to
    the power of `ASYMMETRIC_GAMMA`. After Ridnik et al. 2021.
    """
    from keras import config, ops

    labels = ops.cast(labels, probs.dtype)
    lowered = ops.maximum(probs - ASYMMETRIC_MARGIN, 0.0)
    least = config.epsilon()
    present = labels * ops.log(ops.maximum(probs, least))
    absent = (1 - labels) * lowered**ASYMMETRIC_GAMMA * ops.log(ops.maximum(1 - lowered, least))
    return -ops.mean(present + absent, axis=-1)


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
    from keras import config, ops

    from hpa_model.backend import sum_over_devices

    labels = ops.cast(labels, probs.dtype)
    true_positives = sum_over_devices(ops.sum(labels * probs, axis=0))
    total = sum_over_devices(ops.sum(labels, axis=0) + ops.sum(probs, axis=0))  # 2 tp + fp + fn
    loss = 1 - ops.mean(2 * true_positives / ops.maximum(total, config.epsilon()))
    # Keras would take a scalar for a loss that is already shared out among the devices, and add them up.
    return ops.broadcast_to(loss, (ops.shape(labels)[0],))


# To add one, add a row.
LOSSES: dict[str, Loss] = {
    "bce": Loss(function=bce_loss),
    "f1": Loss(function=soft_macro_f1_loss, is_per_label=False),
    "focal": Loss(function=focal_loss),
    "asymmetric": Loss(function=asymmetric_loss),
}


def make_loss(
    name: str,
    over_classes: str = "mean",
    *,
    label_smoothing: float = 0.0,
    positive_weights: "npt.NDArray[np.floating] | None" = None,
    mixes: bool = False,
) -> LossFunction:
    """Make a loss function, from labels (B, K) and probabilities (B, K) to the loss of each sample, (B,).

    Parameters
    ----------
    name : str
        One of `LOSSES`.
    over_classes : {"mean", "sum"}
        Whether the loss of a sample is the mean over the classes, or their sum, which is K times as large, as are its
        gradients.
    label_smoothing : float
        Labels of 0 and 1 become this / 2 and 1 - this / 2.
    positive_weights : array of float, shape (K,), optional
        Of the labels of 1, see `weigh_positives`; by default 1.
    mixes : bool
        Whether labels may lie between 0 and 1, as those of mixed images. A label of 0.3 then costs 0.3 times what a
        label of 1 costs, and 0.7 times what a label of 0 does, which not every function gives; soft macro-F1 takes such
        labels as they are.
    """
    mixes = mixes and LOSSES[name].is_per_label
    function = LOSSES[name].function
    if over_classes == "mean" and not label_smoothing and positive_weights is None and not mixes:
        return function

    def compute(labels: Any, probs: Any) -> Any:
        from keras import ops

        labels = ops.cast(labels, probs.dtype)
        if positive_weights is None and not mixes:
            values = function(labels * (1 - label_smoothing) + label_smoothing / 2, probs)
        else:
            # Each label alone is a sample of one class.
            weights = 1.0 if positive_weights is None else positive_weights
            ones = ops.ones_like(probs)[..., None]
            present = function(ones * (1 - label_smoothing / 2), probs[..., None])
            absent = function(ones * (label_smoothing / 2), probs[..., None])
            values = ops.mean(labels * weights * present + (1 - labels) * absent, axis=-1)
        return values * ops.shape(labels)[-1] if over_classes == "sum" else values

    return compute


def weigh_positives(
    labels: "npt.NDArray[np.generic]", *, power: float = 1.0, rates: "npt.NDArray[np.float64] | None" = None
) -> "npt.NDArray[np.float32]":
    """Return the weight of the positive labels of each class: samples without it for each with it, to a power.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    power : float
        1, or less for weights that differ less.
    rates : array of float64, shape (N,), optional
        How often each sample is drawn, for weights of images as they are drawn; by default each as often.

    Returns
    -------
    array of float32, shape (K,)
        1 for a class that no sample has, or all have.

    Examples
    --------
    >>> weigh_positives([[1, 0], [0, 0], [0, 1], [0, 1], [0, 0]], power=1.0).tolist()
    [4.0, 1.5]
    """
    import numpy as np

    samples, classes = np.nonzero(labels)
    n_samples, n_classes = np.shape(labels)
    n_having = np.bincount(classes, minlength=n_classes)
    known = (n_having > 0) & (n_having < n_samples)
    drawn = np.ones(n_samples) if rates is None else rates
    n_with = np.bincount(classes, weights=drawn[samples], minlength=n_classes)
    ratio = np.divide(drawn.sum() - n_with, n_with, out=np.ones(n_classes), where=known)
    return (ratio**power).astype(np.float32)


def loss_of_set(
    name: str,
    labels: "npt.NDArray[np.generic]",
    probs: "npt.NDArray[np.floating]",
    over_classes: str = "mean",
) -> float:
    """Compute a loss over a whole set of samples at once, without weights of classes and smoothing of labels.

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
        See `TrainConfig.loss_over_classes`.
    """
    import numpy as np
    from keras import ops

    tensors = [ops.convert_to_tensor(np.asarray(values, np.float64)) for values in (labels, probs)]
    mean = float(np.mean(ops.convert_to_numpy(LOSSES[name].function(*tensors))))
    return mean * labels.shape[1] if over_classes == "sum" else mean
