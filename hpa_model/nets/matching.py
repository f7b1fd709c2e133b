"""Whether a network computes the same as another one with the same weights: its input scaling, and its layers."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from hpa_model.nets.scale import ZScore

# Settings of a layer that change what it computes with the same weights.
COMPARED = ("strides", "padding", "activation")


def describe_scaling(chain: Sequence[keras.layers.Layer]) -> str:
    """Say how gray levels are scaled before the first layer with weights; empty if no layer does so.

    Factor and summand, also where several layers scale one after the other; where channels differ, of each of them.
    """
    factor: npt.NDArray[np.float64] = np.ones(1)
    summand: npt.NDArray[np.float64] = np.zeros(1)
    is_scaled = False
    for layer in chain:
        if layer.weights:
            break
        if isinstance(layer, ZScore):
            return "their own mean"
        if isinstance(layer, layers.Rescaling):
            scale, offset = np.ravel(layer.scale), np.ravel(layer.offset)
        elif isinstance(layer, layers.Normalization):
            deviation = np.sqrt(np.ravel(layer.variance))
            scale, offset = 1 / deviation, -np.ravel(layer.mean) / deviation
        else:
            continue
        factor, summand, is_scaled = factor * scale, summand * scale + offset, True
    if not is_scaled:
        return ""
    pairs = [f"{scale:.3g} and {offset:+.3g}" for scale, offset in np.broadcast(factor, summand)]
    return pairs[0] if len(set(pairs)) == 1 else "; ".join(pairs)


def compare_layers(
    there: keras.layers.Layer, here: keras.layers.Layer, values: Sequence[npt.NDArray[Any]] | None = None
) -> str:
    """Say how two layers differ in the shapes of their weights or in what they compute; empty if they do not.

    `values` are what is to become the weights here, if they are not those there.
    """
    weights = there.get_weights() if values is None else values
    return compare_shapes(weights, here.get_weights()) or compare_settings(there, here)


def compare_shapes(there: Sequence[npt.NDArray[Any]], here: Sequence[npt.NDArray[Any]]) -> str:
    """Say how the weights of two layers differ in their shapes; empty if they do not."""
    shapes = [[tuple(values.shape) for values in weights] for weights in (there, here)]
    return f"the shapes {shapes[0]} there, {shapes[1]} here" if shapes[0] != shapes[1] else ""


def compare_settings(there: keras.layers.Layer, here: keras.layers.Layer) -> str:
    """Say how two layers differ in what they compute with the same weights; empty if they do not."""
    settings = [layer.get_config() for layer in (there, here)]
    for name in COMPARED:
        old, new = (tuple(each) if isinstance(each, list) else each for each in (each.get(name) for each in settings))
        if old != new:
            return f"{name}={old} there, {new} here"
    return ""
