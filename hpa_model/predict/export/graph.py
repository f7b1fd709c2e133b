"""One network in place of those of all folds: scaled by temperature, averaged, and in float32."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from hpa_model.nets import LAYERS
from hpa_model.nets.custom import list_custom_layers
from hpa_model.thresholds.temperatures import EPSILON

INPUT, OUTPUT = "images", "probs"


def join_networks(
    networks: Sequence[keras.Model], temperatures: Sequence[float] | npt.NDArray[np.float64]
) -> keras.Model:
    """Make one network of those of several folds: uint8 images (B, Y, X, C) to float32 probabilities (B, K).

    Parameters
    ----------
    networks : sequence of keras.Model, at least one
        All of the same input and output shape; they get other names.
    temperatures : sequence of float
        Of each, what the logits of its probabilities are divided by.

    Returns
    -------
    keras.Model
        The same as `predict_probs` computes, but for rounding.
    """
    images = keras.Input(networks[0].input_shape[1:], dtype="uint8", name=INPUT)
    outputs = []
    for number, (network, temperature) in enumerate(zip(networks, temperatures, strict=True)):
        network.name = f"model_{number}"  # two layers of a network must not have the same one
        outputs.append(_scale(ops.cast(network(images, training=False), "float32"), float(temperature)))
    total = outputs[0]
    for output in outputs[1:]:
        total = total + output
    return keras.Model(images, total if len(outputs) == 1 else total / len(outputs), name="hpa")


def _scale(probs: keras.KerasTensor, temperature: float) -> keras.KerasTensor:
    """Do in the network what `thresholds.apply_temperatures` does.

    In float32, 1 - EPSILON is not a number, but the difference of a probability from 1 is exact, so that is clipped.
    """
    if temperature == 1:
        return probs
    logits = ops.log(ops.maximum(probs, EPSILON)) - ops.log(ops.maximum(1 - probs, EPSILON))
    return ops.sigmoid(logits / temperature)


class GroupedConv2D(keras.layers.Conv2D):
    """A convolution that computes one with as many groups as channels as what it is: depthwise.

    For convolutions in groups, Keras asks TensorFlow to compile a function, which no converter takes.
    """

    def convolution_op(self, inputs: keras.KerasTensor, kernel: Any) -> keras.KerasTensor:
        """Convolve a batch, (B, Y, X, C), with a kernel (H, W, C / groups, F)."""
        if not 1 < self.groups == self.filters == inputs.shape[-1]:
            return super().convolution_op(inputs, kernel)
        return ops.depthwise_conv(
            inputs,
            ops.transpose(kernel, (0, 1, 3, 2)),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


def to_float32(network: keras.Model) -> keras.Model:
    """Copy a network, to compute in float32, in operations that converters take."""
    layers = LAYERS | list_custom_layers() | {GroupedConv2D.__name__: GroupedConv2D}
    copy = type(network).from_config(_replace_layers(network.get_config()), custom_objects=layers)
    copy.set_weights(network.get_weights())
    return copy


def _replace_layers(value: Any) -> Any:
    """Replace mixed precision and grouped convolutions in the configuration of a network, at any depth."""
    if isinstance(value, Mapping):
        found = {name: _replace_layers(item) for name, item in value.items()}
        if found.get("class_name") == "DTypePolicy":
            found["config"]["name"] = "float32"
        if found.get("class_name") == "Conv2D" and found["config"].get("groups", 1) > 1:
            found |= {"class_name": GroupedConv2D.__name__, "module": None, "registered_name": GroupedConv2D.__name__}
        return found
    if isinstance(value, list | tuple):
        return type(value)(_replace_layers(item) for item in value)
    return value


def count_bytes(networks: Sequence[keras.Model]) -> int:
    """Count the bytes of the weights of networks, in float32."""
    return sum(4 * network.count_params() for network in networks)
