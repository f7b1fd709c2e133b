"""What a network costs: parameters, and multiply-adds an image."""

from dataclasses import dataclass

import keras
import numpy as np

from hpa_model.nets import NETS, build


@dataclass(frozen=True, kw_only=True)
class NetSummary:
    """A network in figures.

    Attributes
    ----------
    name, about : str
    image_size : int
        Pixels that it sees, of images of 512.
    n_parameters, n_frozen : int
        All, and those that are not trained but counted: moving statistics.
    n_macs : int
        Of convolutions and dense layers, for one image.
    options : dict of str to float, int or str
        What may be chosen, with its default.
    """

    name: str
    summary: str
    image_size: int
    n_parameters: int
    n_frozen: int
    n_macs: int
    options: dict[str, float | int | str]


def count_macs(model: keras.Model) -> int:
    """Count the multiply-adds of a model's convolutions and dense layers for one image."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            total += int(np.prod(layer.output.shape[1:3])) * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def list_nets(image_shape: tuple[int, int, int] = (512, 512, 4), n_classes: int = 28) -> list[NetSummary]:
    """Build each network and count."""
    figures = []
    for name, net in NETS.items():
        model = build(name, image_shape, n_classes)
        figures.append(
            NetSummary(
                name=name,
                summary=net.summary,
                image_size=net.image_size or image_shape[0],
                n_parameters=model.count_params(),
                n_frozen=sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights),
                n_macs=count_macs(model),
                options=dict(net.options),
            )
        )
    return figures
