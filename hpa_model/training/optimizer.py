"""The optimizer of a training, and its penalties on weights."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
from keras import ops

from hpa_model.backend import sum_over_devices
from hpa_model.config import OPTIMIZERS, TrainConfig


def make_optimizer(
    config: TrainConfig, variables: Iterable[keras.Variable] = (), *, epoch: int = 0, n_steps: int = 1
) -> keras.Optimizer:
    """Make the optimizer of a configuration for trainable variables, not built yet.

    Parameters
    ----------
    config : TrainConfig
    variables : iterable of Variable
        The trainable ones.
    epoch : int
        From 0. Its learning rate is set.
    n_steps : int
        Batches per epoch, for a learning rate that rises at first.
    """
    chosen = OPTIMIZERS[config.optimizer]
    kind: type[keras.Optimizer] = getattr(keras.optimizers, chosen.name)
    settings: dict[str, Any] = {
        "learning_rate": config.rate_in(epoch),
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm or None,
    }
    if config.ema:
        settings |= {"use_ema": True, "ema_momentum": config.ema}
        kind = keep_averages(kind)
    if config.accumulate_batches > 1:
        settings["gradient_accumulation_steps"] = config.accumulate_batches
        kind = accumulate(kind, over_devices=config.devices > 1)
    n_warmup = count_warmup(config, n_steps)
    if n_warmup:
        kind = warm_up(kind, n_warmup)
    if config.clip_norm and config.devices > 1 and config.accumulate_batches == 1:
        kind = clip_over_devices(kind, config.clip_norm)
        settings["global_clipnorm"] = None
    # Derived classes would have names of their own.
    own = {argument: getattr(config, name) for argument, name in chosen.arguments.items()}
    optimizer = kind(**settings, **own, name=config.optimizer)
    if config.weight_decay_of == "kernels":
        optimizer.exclude_from_weight_decay([variable for variable in variables if not is_kernel(variable)])
    # In float16, small gradients would underflow to 0.
    return keras.optimizers.LossScaleOptimizer(optimizer) if config.precision == "mixed_float16" else optimizer


def count_warmup(config: TrainConfig, n_steps: int) -> int:
    """Count the changes of the weights in which the learning rate rises, with so many batches per epoch."""
    return round(config.warmup_epochs * n_steps / config.accumulate_batches)


def is_kernel(variable: keras.Variable) -> bool:
    """Return whether a variable is the kernel of a layer; biases, and what normalization learns, are vectors."""
    return len(variable.shape) > 1


def warm_up(kind: type[keras.Optimizer], n_changes: int) -> type[keras.Optimizer]:
    """Derive an optimizer whose learning rate rises evenly, over so many changes of the weights, to what it is set to.

    The rise is a function of the optimizer's count, on the device, so that the learning rate is still what schedules
    set, and a checkpoint holds all.
    """

    class WarmedUp(kind):
        def _get_current_learning_rate(self) -> Any:
            rate = super()._get_current_learning_rate()
            return rate * ops.minimum((ops.cast(self.iterations, "float32") + 1) / n_changes, 1)

    return WarmedUp


def keep_averages(kind: type[keras.Optimizer]) -> type[keras.Optimizer]:
    """Derive an optimizer that leaves the weights alone when Keras ends a fit.

    Else they would be replaced by their averages, from which a training could not go on.
    """

    class KeptAverages(kind):
        def finalize_variable_values(self, var_list: Any) -> None:
            """Do nothing."""

    return KeptAverages


def accumulate(kind: type[keras.Optimizer], *, over_devices: bool) -> type[keras.Optimizer]:
    """Derive an optimizer that averages the gradients of several batches before the weights change.

    Keras accumulates; but it would count each batch into averages of weights, not each change of the weights. And on
    several devices it cannot, because they would have to talk to each other only in the steps that change the weights.
    Here they do so in each, and then each device changes its copies of the weights, which are the same.
    """

    class Accumulated(kind):
        def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
            if not self.use_ema:
                return
            is_change = ops.equal((self._iterations + 1) % self.gradient_accumulation_steps, 0)
            momentum = ops.where(ops.equal(self.iterations, 0), 0.0, self.ema_momentum)
            for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
                mean = momentum * average + (1 - momentum) * variable
                average.assign(ops.where(is_change, mean, ops.convert_to_tensor(average)))

    if not over_devices:
        return Accumulated

    class AccumulatedOverDevices(Accumulated):
        def _backend_apply_gradients(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable]) -> None:
            super()._backend_apply_gradients(sum_over_devices(list(grads)), trainable_variables)

        def _backend_increment_gradient_accumulators(self, grads: Sequence[Any], acc_grads: Sequence[Any]) -> None:
            for gradient, total in zip(grads, acc_grads, strict=True):
                total.assign(total + gradient)

        def _backend_update_step(
            self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable], learning_rate: Any
        ) -> None:
            for gradient, variable in zip(grads, trainable_variables, strict=True):
                self.update_step(gradient, variable, learning_rate)

        def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
            for variable in variables if self.weight_decay else ():
                if self._use_weight_decay(variable):
                    variable.assign(variable - variable * self.weight_decay * self.learning_rate)

    return AccumulatedOverDevices


def lower_rate(optimizer: keras.Optimizer, factor: float) -> None:
    """Multiply the learning rate of an optimizer, whatever it has risen to."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    inner.learning_rate = float(ops.convert_to_numpy(inner._learning_rate)) * factor


def copy_averages(optimizer: keras.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Set variables, as many as an optimizer trains and in that order, to the averages of what it trains, if any."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.use_ema:
        # Keras's own method works on the devices that share the averages, not on another model.
        averages = inner._model_variables_moving_average
        for variable, average in zip(variables, averages, strict=True):
            variable.assign(ops.convert_to_numpy(average))


def clip_over_devices(kind: type[keras.Optimizer], max_norm: float) -> type[keras.Optimizer]:
    """Derive an optimizer that clips the gradients of a batch by their common norm.

    Keras's own clipping takes the norm on each device, of the gradients of its share of the batch.
    """

    class ClippedOverDevices(kind):
        def _clip_gradients(self, grads: Sequence[Any]) -> list[Any]:
            summed = sum_over_devices([grad for grad in grads if grad is not None])
            norm = ops.sqrt(sum(ops.sum(ops.square(grad)) for grad in summed))
            factor = max_norm / ops.maximum(norm, max_norm)
            return [None if grad is None else grad * factor for grad in grads]

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
