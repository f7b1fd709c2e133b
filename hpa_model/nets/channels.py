"""Weights for other channels than those that they were trained on: each channel keeps its filters, by name."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from hpa_model.nets.resize import AreaResize
from hpa_model.nets.scale import ZScore
from hpa_model.nets.stem import AppendOnes

# Layers that leave the number and order of channels, and apart from weights do the same to each; or append a plane of
# ones.
CHANNELWISE = (
    *(AreaResize, layers.Rescaling, ZScore, AppendOnes, layers.ZeroPadding2D, layers.MaxPooling2D),
    *(layers.AveragePooling2D, layers.Identity, layers.BatchNormalization),
)


@dataclass(frozen=True, kw_only=True)
class ChannelMatch:
    """Which filters of the first convolutions each channel of a training starts with."""

    there: tuple[str, ...]
    """Names of the channels that the weights were trained on."""

    here: tuple[str, ...]
    """Names of the channels that are trained on now."""

    @property
    def sources(self) -> tuple[int | None, ...]:
        """For each channel here, the index of the one there whose filters it starts with; None: with zeros.

        A channel keeps its own filters, by name. The others take those that are left over, in their order. With zeros,
        a channel changes nothing at first.

        Examples
        --------
        >>> ChannelMatch(there=("red", "green"), here=("green", "blue", "yellow")).sources
        (1, 0, None)
        """
        left = [index for index, name in enumerate(self.there) if name not in self.here]
        return tuple(
            self.there.index(name) if name in self.there else left.pop(0) if left else None for name in self.here
        )

    @property
    def is_by_position(self) -> bool:
        """Whether each channel starts with the filters of the one in its place, so that nothing is to be done."""
        return self.sources == tuple(range(len(self.there)))

    def fit(self, layer: layers.Layer, values: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Make the weights of one of `find_channel_layers` from those for the channels there.

        A channel that starts with zeros has a kernel of zeros, and the batch normalization of a new network.
        """
        fresh = layer.get_weights()
        if isinstance(layer, layers.BatchNormalization):
            return [self._take(value, new, axis=0) for value, new in zip(values, fresh, strict=True)]
        return [self._take(values[0], np.zeros_like(fresh[0]), axis=2), *values[1:]]

    def _take(self, values: npt.NDArray[Any], new: npt.NDArray[Any], *, axis: int) -> npt.NDArray[Any]:
        of_ones = range(len(self.there), values.shape[axis])  # the plane of ones, if there is one
        taken = [
            new.take(at, axis) if source is None else values.take(source, axis)
            for at, source in enumerate((*self.sources, *of_ones))
        ]
        return np.stack(taken, axis=axis)


def find_channel_layers(network: keras.Model) -> list[layers.Layer]:
    """List the layers with weights for each channel of the images: the first convolutions, and normalization before.

    Empty if other layers with weights, or layers that scale each channel differently, come first: then these weights
    alone do not say what becomes of a channel.
    """
    found: list[layers.Layer] = []
    seen = {id(tensor) for tensor in network.inputs}
    for layer in network.layers:
        nodes = layer._inbound_nodes  # of a model among the layers, `layer.input` is its own
        if not any(id(tensor) in seen for node in nodes for tensor in node.input_tensors):
            continue
        if isinstance(layer, keras.Model):
            inner = find_channel_layers(layer)
            if not inner:
                return []
            found += inner
        elif type(layer) is layers.Conv2D and layer.groups == 1:
            found.append(layer)
        elif isinstance(layer, CHANNELWISE):
            found += [layer] * bool(layer.weights)
            seen |= {id(tensor) for node in nodes for tensor in node.output_tensors}
        else:
            return []
    return found
