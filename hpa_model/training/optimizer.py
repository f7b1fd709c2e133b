"""The optimizer of a training, and its penalties on weights."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
from keras import ops

from hpa_model.backend import sum_over_devices
from hpa_model.config import TrainConfig


def make_optimizer(config: TrainConfig, variables: Iterable[keras.Variable] = (), *, epoch: int = 0) -> keras.Optimizer:
    """Make the optimizer of a configuration for trainable variables, not built yet, with the rate of an epoch."""
    settings: dict[str, Any] = {
        "learning_rate": config.rate_in(epoch),
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm or None,
    }
    kind: type[keras.Optimizer] = keras.optimizers.Adam
    if config.optimizer == "sgd":
        kind = keras.optimizers.SGD
        settings["momentum"] = config.momentum
    if config.clip_norm and config.devices > 1:
        kind = clip_over_devices(kind, config.clip_norm)
        settings |= {"global_clipnorm": None, "name": config.optimizer}
    optimizer = kind(**settings)
    if config.weight_decay_of == "kernels":
        optimizer.exclude_from_weight_decay([variable for variable in variables if not is_kernel(variable)])
    # In float16, small gradients would underflow to 0.
    return keras.optimizers.LossScaleOptimizer(optimizer) if config.precision == "mixed_float16" else optimizer


def is_kernel(variable: keras.Variable) -> bool:
    """Return whether a variable is the kernel of a layer; biases, and what normalization learns, are vectors."""
    return len(variable.shape) > 1


def clip_over_devices(kind: type[keras.Optimizer], max_norm: float) -> type[keras.Optimizer]:
    """Derive an optimizer that clips the gradients of a batch by their common norm.

    Keras's own clipping takes the norm on each device, of the gradients of its share of the batch.
    """

    class ClippedOverDevices(kind):
        def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
            summed = sum_over_devices([grad for grad in grads if grad is not None])
            norm = ops.sqrt(sum(ops.sum(ops.square(grad)) for grad in summed))
            factor = max_norm / ops.maximum(norm, max_norm)
            super().apply([None if grad is None else grad * factor for grad in grads], trainable_variables)

    return ClippedOverDevices


def penalize_kernels(model: keras.Model, config: TrainConfig) -> None:
    """Add the L1 and L2 penalties of a configuration to the loss; a layer keeps a penalty of its own."""
    if not config.l1 and not config.l2:
        return
    penalty = keras.regularizers.L1L2(config.l1, config.l2 / 2)
    for kernel in filter(is_kernel, model.trainable_variables):
        kernel.regularizer = _add(penalty, kernel.regularizer) if kernel.regularizer else penalty


def _add(one: Callable[[Any], Any], other: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Add up two penalties."""
    return lambda kernel: one(kernel) + other(kernel)
