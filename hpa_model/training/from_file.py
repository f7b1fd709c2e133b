"""Weights to start from: of a file, or those of `keras.applications` for ImageNet; not of the classification head."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.folds.plan import FoldPlan
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_model.config import TrainConfig
from hpa_model.nets.backbones import BACKBONES, Backbone, find_scaling
from hpa_model.nets.catalog import NETS, list_layers
from hpa_model.nets.head import HEAD
from hpa_model.nets.matching import compare_layers, describe_scaling
from hpa_model.nets.stem import N_COLORS, ColorScaling, mix_channels, mix_kernel, scale_colors
from hpa_model.runs.folder import RunDescription
from hpa_model.runs.seal import hash_file
from hpa_model.runs.weight_files import find_published, load_source, refuse_file
from hpa_model.training.network import build_network

IMAGENET = "imagenet"


@dataclass(frozen=True, kw_only=True)
class FileWeights:
    """A file whose weights every fold of a training starts from."""

    path: Path

    name: str
    """What a run records: the path of the file, or ``imagenet``."""

    sha256: str
    """Of the file, in hexadecimal."""

    def build(self, description: RunDescription, *, fold: int) -> keras.Model:
        """Build the network of a fold with the weights of the file, and a new classification head.

        Raises
        ------
        InputError
            If the file is damaged, of another network, or another one than before.
        """
        with refuse_file(self.path):
            sha256 = hash_file(self.path)
        if sha256 != self.sha256:
            raise InputError(
                f"Cannot start from {self.path}: it is another file than when this command began. Put it back, or "
                "begin again with --overwrite."
            )
        config = description.config
        source = load_source(
            self.path, partial(build_network, description, fold=fold), BACKBONES.get(config.model), name=config.model
        )
        network = build_network(description, fold=fold)
        self._copy(source, network, description)
        return network

    def extend(self, description: RunDescription) -> RunDescription:
        """Add to the description of a run what it starts from; InputError if it cannot, before anything is written."""
        self.build(description, fold=0)
        return replace(description, weights=self.name, weights_models=(self.sha256,))

    def describe(self, description: RunDescription) -> list[str]:
        """Say what a run starts from."""
        what = "ImageNet's weights" if self.name == IMAGENET else f"the weights of {self.path}"
        return [f"Start: {what}; the classification head is new"]

    def find_seen(self, store: Store, plan: FoldPlan, reader: Reader) -> list[str]:
        """Return no ids: a file does not say what it was trained on."""
        return []

    def _copy(self, source: keras.Model, network: keras.Model, description: RunDescription) -> None:
        """Give a network the weights of a source, layer by layer, apart from the classification head."""
        targets = [layer for layer in list_layers(network) if layer.weights and not layer.name.startswith(HEAD)]
        layers = [layer for layer in list_layers(source) if layer.weights]
        if len(layers) < len(targets):
            raise self._differs(f"it has {len(layers)} layers with weights, the new one {len(targets)} before its head")
        for layer in layers[len(targets) :]:
            if not (layer.name.startswith(HEAD) or isinstance(layer, keras.layers.Dense)):
                raise self._differs(f"it has more layers, such as {layer.name}")
        self._compare_scalings(source, network, description)
        stem = next((layer for layer in targets if isinstance(layer, keras.layers.Conv2D)), None)
        for target, layer in zip(targets, layers, strict=False):
            values = layer.get_weights()
            if type(target).__name__ != type(layer).__name__:
                raise self._differs(f"{layer.name} is a {type(layer).__name__}, where {target.name} is another layer")
            if target is stem and source.input_shape[-1] != network.input_shape[-1]:
                values = self._mix_stem(values, source.input_shape[-1], description)
            difference = compare_layers(layer, target, values)
            if difference:
                raise self._differs(f"layer {layer.name} has {difference}")
            target.set_weights(values)

    def _compare_scalings(self, source: keras.Model, network: keras.Model, description: RunDescription) -> None:
        """Refuse a saved model whose input scaling is another one; those of `keras.applications` may have none."""
        model = network
        if source.input_shape[-1] == N_COLORS != network.input_shape[-1] and description.config.model in BACKBONES:
            colors = keras.Input((None, None, N_COLORS))
            model = keras.Model(colors, scale_colors(colors, _find_scaling(description.config)))
        scalings = [describe_scaling(list_layers(each)) for each in (source, model)]
        if scalings[0] not in {"", scalings[1]}:
            raise self._differs(f"it scales images by {scalings[0]}, the new one by {scalings[1]}")

    def _mix_stem(
        self, values: list[npt.NDArray[np.float32]], n_channels: int, description: RunDescription
    ) -> list[npt.NDArray[np.float32]]:
        """Make the weights of the first convolution for the channels of a run from those for three."""
        config = description.config
        if n_channels != N_COLORS or config.model not in BACKBONES:
            raise self._differs(f"it takes {n_channels} channels, the new one {len(description.channels)}")
        colors = {channel.name: channel.rgb for channel in description.full_dataset.channels}
        shares = mix_channels(config.stem, [colors.get(name, (255, 255, 255)) for name in description.channels])
        return [mix_kernel(values[0], shares, _find_scaling(config)), *values[1:]]

    def _differs(self, how: str) -> InputError:
        return InputError(
            f"Cannot start from {self.path}: its network differs, {how}. Pass weights of the same network, or another "
            "--model."
        )


def open_file_weights(path: Path, config: TrainConfig) -> FileWeights:
    """Look at a file of weights: InputError if it cannot be read, or a training cannot take it."""
    backbone = BACKBONES.get(config.model)
    # With its last layer or without.
    if backbone is not None and path.name in {backbone.file_name, backbone.file_name.replace("_notop", "")}:
        _check_scaling(config, backbone)
    with refuse_file(path):
        return FileWeights(path=path, name=str(path.absolute()), sha256=hash_file(path))


def open_imagenet(config: TrainConfig) -> FileWeights:
    """Find the published weights of the network of a training: InputError if there are none, or it cannot take them."""
    backbone = BACKBONES.get(config.model)
    if backbone is None:
        raise InputError(
            f"model must be one of {', '.join(BACKBONES)} to start from ImageNet's weights. Received: "
            f"model={config.model}. Choose one of them, or leave --weights out."
        )
    _check_scaling(config, backbone)
    path = find_published(config.model, backbone)
    return FileWeights(path=path, name=IMAGENET, sha256=hash_file(path))


def _check_scaling(config: TrainConfig, backbone: Backbone) -> None:
    """Refuse a training whose input scaling is not that of the published weights: InputError."""
    if _find_scaling(config) != backbone.scaling:
        raise InputError(
            f"Option scaling of {config.model} must be imagenet to start from ImageNet's weights. Received: "
            f"{config.options.get('scaling', NETS[config.model].options['scaling'])!r}. Pass --set "
            "options.scaling=imagenet."
        )


def _find_scaling(config: TrainConfig) -> ColorScaling:
    return find_scaling(config.model, dict(NETS[config.model].options) | config.options)
