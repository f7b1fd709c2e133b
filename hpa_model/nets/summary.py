"""The size of a network: its parameters, and multiply-adds per image."""

import json
from collections.abc import Iterable
from dataclasses import asdict

import keras
import numpy as np

from hpa_data.dataset import HPA_2018
from hpa_data.system.atomic import write_atomic
from hpa_model.nets.backbones import BACKBONES
from hpa_model.nets.catalog import NETS, build, list_layers
from hpa_model.nets.sizes import SIZES_FILE, NetSummary


def count_macs(model: keras.Model) -> int:
    """Count the multiply-adds of a model's convolutions and dense layers for one image."""
    total = 0
    for layer in list_layers(model):
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            total += int(np.prod(layer.output.shape[1:3])) * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.output.shape[1:-1])) * int(np.prod(layer.kernel.shape))
    return total


def list_nets(
    names: Iterable[str] = tuple(NETS),
    image_shape: tuple[int, int, int] = HPA_2018.image_shape,
    n_classes: int = len(HPA_2018.classes),
) -> list[NetSummary]:
    """Build and summarize each network, or those of some names."""
    summaries = []
    for name in names:
        net, model = NETS[name], build(name, image_shape, n_classes)
        summaries.append(
            NetSummary(
                name=name,
                summary=net.summary,
                image_size=net.image_size or image_shape[0],
                min_size=net.min_size(),
                n_parameters=model.count_params(),
                n_frozen=sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights),
                n_macs=count_macs(model),
                options=dict(net.options),
                has_imagenet=name in BACKBONES,
                has_encoder=bool(net.encoder),
            )
        )
    return summaries


if __name__ == "__main__":  # a network was added, or changed its size
    sizes = [asdict(net) for net in list_nets()]
    write_atomic(SIZES_FILE, (json.dumps(sizes, indent=2, ensure_ascii=False) + "\n").encode())
