"""Features of samples: what the models see in an image, before they decide on classes."""

import difflib
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED
from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.sources.samples import FolderReader
from hpa_data.system.progress import SILENT, Progress
from hpa_model.baseline.features import measure_images, name_features
from hpa_model.baseline.model import BaselinePredictor
from hpa_model.predict.joined import JoinedModels
from hpa_model.predict.models import average_calibrated, check_rows, feed_baseline, feed_networks
from hpa_model.thresholds import ClassCalibration, apply_temperatures

if TYPE_CHECKING:
    import keras

    from hpa_model.predict.models import Models

Rows = npt.NDArray[Any]


def predict_features(
    models: "Models",
    reader: Reader | FolderReader,
    indices: npt.NDArray[np.int64],
    batch_size: int,
    progress: Progress = SILENT,
    *,
    layer: str | None = None,
    temperatures: Sequence[float] | npt.NDArray[np.float64] | None = None,
    calibrations: Sequence[ClassCalibration] | None = None,
    names: Sequence[str] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute the features and the probabilities of samples.

    Features of networks that were trained apart have nothing to do with each other, so those of several are not
    averaged: each are divided by their length and by the root of the number of networks, and stand side by side. The
    cosine of two such rows is the mean of the cosines of all networks.

    Parameters
    ----------
    models : sequence of keras.Model, at least one, or BaselinePredictor
        The features of a baseline are those that it measures, less their means, in units of their standard deviation
        in the training data, on average over its folds.
    reader : Reader or FolderReader
    indices : array of int64, shape (M,)
    batch_size : int
    progress : Progress, optional
        Of images. Its `start` is not called.
    layer : str, optional
        A layer of the networks, whose output are the features, averaged over rows and columns where it has any. By
        default the input of the output layer.
    temperatures, names : optional
        Of each model, see `models.predict_probs`.
    calibrations : sequence of ClassCalibration, length K, optional
        To calibrate the probabilities, see `models.predict_calibrated`.

    Returns
    -------
    features : array of float32, shape (M, D)
    probs : array of float32, shape (M, K)
        As `models.predict_probs`, or calibrated.

    Raises
    ------
    InputError
        If there is no such layer, if the models are those of an ensemble, or if a sample cannot be read or a model
        gives anything but probabilities and finite features for one.
    """
    _check_kind(models, layer)
    assert not isinstance(models, JoinedModels)
    if isinstance(models, BaselinePredictor):
        predict, feed, n_models = _use_baseline(models), feed_baseline, len(models.models)
    else:
        predict, feed, n_models = _use_networks(models, layer), feed_networks, len(models)
    names = names or [f"model {number}" for number in range(n_models)]
    temperatures = np.ones(n_models) if temperatures is None else temperatures
    features: list[Rows] = []
    probs: list[Rows] = []
    n_done = 0
    batches = feed(reader, indices, batch_size)
    with closing(batches):
        for images in batches:
            of_models, found = predict(images)
            chosen = indices[n_done : n_done + len(images)]
            for name, rows in zip(names, found, strict=True):
                check_rows(rows, reader, chosen, name=name, remedy="Train the model again.")
            _check_features(of_models, reader, chosen, names)
            features.append(_join(of_models))
            scaled = [apply_temperatures(rows, value) for rows, value in zip(found, temperatures, strict=True)]
            probs.append(np.mean(scaled, axis=0) if calibrations is None else average_calibrated(scaled, calibrations))
            n_done += len(images)
            progress.advance(len(images))
            del images
    return np.concatenate(features), np.concatenate(probs).astype(np.float32)


def _check_features(
    of_models: Sequence[Rows], reader: Reader | FolderReader, indices: npt.NDArray[np.int64], names: Sequence[str]
) -> None:
    """Refuse features, (B, D) of each model, that are not finite, but for samples that could not be read."""
    for name, rows in zip(names, of_models, strict=False):  # the models of a baseline share theirs
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1) & (reader.status[indices] != FAILED))
        if len(wrong):
            raise InputError(
                f"Cannot use {name}: its features of sample {reader.ids[indices[wrong[0]]]!r} are not finite. Pass "
                "another --layer, or train the model again with --precision float32."
            )


def count_features(models: "Models", layer: str | None) -> int:
    """Count the features of a sample, D; raises as `predict_features` does where there are none."""
    _check_kind(models, layer)
    assert not isinstance(models, JoinedModels)
    if isinstance(models, BaselinePredictor):
        return len(name_features(models.channels))
    outputs = [_pool(_find_output(model, layer), layer) for model in models]
    return sum(int(features.shape[1]) for features in outputs)


def _check_kind(models: "Models", layer: str | None) -> None:
    """Refuse models that have no features, or no such layer."""
    if isinstance(models, JoinedModels):
        raise InputError(
            "Cannot compute features with an ensemble: its members have features of their own. Pass one of its members."
        )
    if isinstance(models, BaselinePredictor) and layer is not None:
        raise InputError(f"layer must be left out for a baseline. Received: {layer=}. Leave it out.")


def _join(of_models: Sequence[Rows]) -> npt.NDArray[np.float32]:
    """Put the features of models, each (B, D), side by side; those of one stay as they are."""
    if len(of_models) == 1:
        return of_models[0].astype(np.float32)
    parts = []
    for rows in of_models:
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        parts.append(rows / np.where(lengths > 0, lengths, 1) / np.sqrt(len(of_models)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _use_baseline(models: BaselinePredictor) -> Any:
    def predict(images: npt.NDArray[np.uint8]) -> tuple[list[Rows], list[Rows]]:
        measured = measure_images(images, models.channels, models.settings.image_size)
        scaled = [(measured - each.logistic.means) / each.logistic.scales for each in models.models]
        return [np.mean(scaled, axis=0)], [each.predict(measured, models.settings.model) for each in models.models]

    return predict


def _use_networks(models: "Sequence[keras.Model]", layer: str | None) -> Any:
    from hpa_model.backend import on_tensorflow

    networks = [_add_features(model, layer) for model in models]
    for network in networks:
        network.jit_compile = not on_tensorflow()  # as in `models.predict_probs`

    def predict(images: Any) -> tuple[list[Rows], list[Rows]]:
        found = [network.predict_on_batch(images) for network in networks]
        return [features for features, _ in found], [probs for _, probs in found]

    return predict


def _add_features(model: "keras.Model", name: str | None) -> "keras.Model":
    """Make a network that gives the features of a layer, float32 (B, D), beside the probabilities."""
    import keras
    from keras import ops

    features = _pool(_find_output(model, name), name)
    return keras.Model(model.inputs, [ops.cast(features, "float32"), model.outputs[0]])


def _pool(features: "keras.KerasTensor", name: str | None) -> "keras.KerasTensor":
    """Average the output of a layer over rows and columns, if it has any: (B, D)."""
    from keras import ops

    if len(features.shape) > 2:
        features = ops.mean(features, axis=tuple(range(1, len(features.shape) - 1)))
    if len(features.shape) != 2:
        raise InputError(f"layer must give features of an image. Received: layer={name!r}. Choose another.")
    return features


def _find_output(model: "keras.Model", name: str | None) -> "keras.KerasTensor":
    """Find the output of a layer, or what goes into the last one with weights."""
    if name is None:
        return next(layer for layer in reversed(model.layers) if layer.weights).input
    layers = {layer.name: layer for layer in model.layers}
    if name in layers:
        return layers[name].output
    near = difflib.get_close_matches(name, layers, 1) or [model.layers[-2].name]
    raise InputError(f"layer must be one of {model.name}. Received: layer={name!r}. Did you mean {near[0]!r}?")
