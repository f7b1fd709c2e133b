"""Where in an image a network sees a class: Grad-CAM++, and score maps of networks that allow them.

A map has a value for each cell of a layer, which are fewer than pixels; `Mapper.grid` says where they lie.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from hpa_data.errors import InputError
from hpa_model.backend import make_pullback
from hpa_model.nets.grid import Grid, find_grid, is_spatial

Method = Literal["grad-cam++", "score"]
Floats = npt.NDArray[np.float32]

_DROPOUTS = (
    *(keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.AlphaDropout, keras.layers.GaussianDropout),
)
# A map of what goes into such a layer has as many cells, or more, and is of values that are above 0 after ReLU.
_SKIPPED = (*_DROPOUTS, *(keras.layers.MaxPooling2D, keras.layers.AveragePooling2D, keras.layers.BatchNormalization))
# Rows and columns that a map should have: with fewer, convolutions let each cell see most of the image. On the demo's
# run, `gapnet-pl` at 128 pixels, maps of the last layer, 8 x 8 cells, are 1.1 times as high on the structure of the
# class as beside it, those of the layer before the last pooling, 16 x 16, 1.9 times; see docs/class-maps.md.
MIN_CELLS = 12
# Of the gradients that are computed at a time.
MAX_BYTES = 2**28
# Layers that an error names.
MAX_NAMED = 8
# Probabilities nearer to 0 and 1 have no logit in float32.
EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class Mapper:
    """A network that says where in an image it sees a class; made by `make_mapper`."""

    method: Method

    layer: str
    """Whose cells the maps have."""

    grid: Grid

    _compute: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], tuple[Floats, Floats]] = field(repr=False)

    def __call__(
        self, images: npt.NDArray[np.uint8], classes: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Compute the maps of some classes of each image.

        Parameters
        ----------
        images : array of uint8, shape (B, Y, X, C)
        classes : array of int, shape (M,) or (B, M)
            Of all images, or of each. -1 stands for none; its map is 0.

        Returns
        -------
        maps : array of float32, shape (B, M, y, x)
            Of Grad-CAM++: the evidence for the class in a cell, as a multiple of its mean over the cells; 0 everywhere
            if there is none. Of score maps: what a cell adds to the logit of the class, of which the mean over the
            cells is the logit less the bias of the class; below 0 where it speaks against it.
        probs : array of float32, shape (B, K)
        """
        chosen = np.broadcast_to(np.asarray(classes, np.int64), (len(images), np.shape(classes)[-1]))
        return self._compute(images, chosen)


def make_mapper(model: keras.Model, *, layer: str | None = None, method: Method = "grad-cam++") -> Mapper:
    """Prepare a network to say where in an image it sees a class.

    Parameters
    ----------
    model : keras.Model
        From uint8 (B, Y, X, C) to probabilities, (B, K). It shares its weights.
    layer : str, optional
        A layer of it that gives rows and columns. By default the last one with `MIN_CELLS` rows and columns or, where
        only layers before several that are joined have them, the last one; but for dropout, pooling and batch
        normalization.
    method : {"grad-cam++", "score"}
        "grad-cam++": see `weigh_channels`, of any network. "score": of one that averages the output of a layer over
        rows and columns, and gives it to the output layer alone.

    Raises
    ------
    InputError
        If the network has no such layer, or does not allow score maps.
    """
    if isinstance(model, keras.Sequential):  # which does not tell its operations
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if method == "score":
        return _make_score_mapper(model, layer)
    tap = _find_layer(model, layer)
    probe = _add_probe(model, tap)
    pull_back = make_pullback(probe)
    shape = tuple(probe.inputs[1].shape[1:])
    n_classes = int(model.outputs[0].shape[-1])

    def compute(images: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        n_images, n_maps = classes.shape
        padded = _pad(images, _round_up(n_images))
        per_call = _round_up(max(1, MAX_BYTES // (4 * len(padded) * int(np.prod(shape)))), down=True)
        # A power of two, so that it changes no digit: gradients of half precision, shared by all cells, would be 0.
        factor = _round_up(int(np.prod(shape[:2])))
        maps = np.zeros((n_images, n_maps, *shape[:2]), np.float32)
        probs: Floats = np.zeros((n_images, n_classes), np.float32)
        for first in range(0, max(n_maps, 1), per_call):  # once for the probabilities alone, too
            some = classes[:, first : first + per_call]
            seeds = np.zeros((_round_up(some.shape[1]), len(padded), n_classes), np.float32)
            image, number = np.nonzero(some >= 0)
            seeds[number, image, some[image, number]] = factor
            (_, activations, found), gradients = pull_back(padded, np.zeros((len(padded), *shape), np.float32), seeds)
            values = np.asarray(ops.convert_to_numpy(ops.cast(activations, "float32")))[:n_images]
            slopes = np.asarray(ops.convert_to_numpy(gradients))[: some.shape[1], :n_images] / factor
            maps[:, first : first + per_call] = to_shares(np.stack([map_evidence(values, each) for each in slopes], 1))
            probs = np.asarray(ops.convert_to_numpy(found), np.float32)[:n_images]
        return maps, probs

    return Mapper(method=method, layer=tap.name, grid=find_grid(model, tap), _compute=compute)


def weigh_channels(activations: Floats, gradients: Floats) -> Floats:
    """Weigh the channels of a layer as Grad-CAM++ does.

    With A the activations of a channel in the cells of an image and g the gradient of the logit of the class by each of
    them, the weight of the channel is the sum over the cells of alpha * max(g, 0), with
    alpha = g^2 / (2 g^2 + sum(A) g^3), and 0 where g is 0: equations 10 and 19 of Chattopadhay et al., "Grad-CAM++:
    Generalized Gradient-based Visual Explanations for Deep Convolutional Networks", WACV 2018. There the score is the
    exponential of the logit, so that its first, second and third derivatives are that exponential times g, g^2 and g^3.
    It is a factor of the whole map, and left out.

    The paper has activations of ReLU in mind. Of a layer with values below 0, only those above 0 are summed, as alpha
    would otherwise have no bound; where there are none below 0, nothing changes.

    Parameters
    ----------
    activations, gradients : array of float32, shape (B, y, x, F)

    Returns
    -------
    array of float32, shape (B, F)
        At least 0.
    """
    slopes = gradients.astype(np.float64)
    total = np.maximum(activations, 0).sum(axis=(1, 2), keepdims=True, dtype=np.float64)
    rising = np.maximum(slopes, 0)
    # alpha * max(g, 0) = g / (2 + sum(A) g) for g > 0: squares of small gradients would be 0 in float32.
    return (rising / (2 + total * rising)).sum(axis=(1, 2)).astype(np.float32)


def map_evidence(activations: Floats, gradients: Floats) -> Floats:
    """Return the map of Grad-CAM++, float32 (B, y, x), at least 0; arguments as of `weigh_channels`."""
    weights = weigh_channels(activations, gradients)
    return np.maximum(np.einsum("byxf,bf->byx", activations, weights), 0).astype(np.float32)


def to_shares(maps: Floats) -> Floats:
    """Divide maps, (..., y, x), by their average over the cells, so that those of several networks can be averaged.

    The logits of networks that were trained apart, and so the raw values of Grad-CAM++, have different scales. A map
    that is 0 everywhere stays so: it adds nothing to an average, which is then below 1.
    """
    means = maps.mean(axis=(-2, -1), keepdims=True, dtype=np.float64)
    return np.divide(maps, means, out=np.zeros(maps.shape), where=means > 0).astype(np.float32)


def find_pooled(model: keras.Model) -> keras.layers.Layer | None:
    """Find the layer whose average over rows and columns is all that the output layer gets; None if there is none."""
    makers = {id(layer.output): layer for layer in model.layers}
    last = makers.get(id(model.outputs[0]))
    if not isinstance(last, keras.layers.Dense):
        return None
    pooling = _skip(last.input, makers, _DROPOUTS)
    if not isinstance(pooling, keras.layers.GlobalAveragePooling2D) or pooling.keepdims:
        return None
    tap = makers.get(id(pooling.input))
    return tap if tap is not None and is_spatial(tap.output) else None


def _make_score_mapper(model: keras.Model, layer: str | None) -> Mapper:
    """Prepare score maps: class activation maps, Zhou et al. 2016, "Learning Deep Features for Discriminative …"."""
    if layer is not None:
        raise InputError(f"layer must be left out for score maps. Received: {layer=}. Leave it out.")
    tap = find_pooled(model)
    if tap is None:
        raise InputError(
            f"method must be grad-cam++ for {model.name}, which does not give averages over rows and columns to its "
            "output layer alone. Received: method='score'. Leave it out."
        )
    output = next(each for each in model.layers if each.output is model.outputs[0])
    both = keras.Model(model.inputs, [tap.output, model.outputs[0]])
    kernel = np.asarray(output.get_weights()[0], np.float32)  # (F, K)

    def compute(images: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        found = both.predict_on_batch(_pad(images, _round_up(len(images))))
        activations, probs = (np.asarray(each, np.float32)[: len(images)] for each in found)
        weights = np.where(classes >= 0, kernel[:, classes], 0)  # (F, B, M)
        return np.einsum("byxf,fbm->bmyx", activations, weights).astype(np.float32), probs

    return Mapper(method="score", layer=tap.name, grid=find_grid(model, tap), _compute=compute)


def _find_layer(model: keras.Model, name: str | None) -> keras.layers.Layer:
    """Find the layer of a name, or the last one with rows and columns."""
    spatial = {
        layer.name: layer
        for layer in model.layers
        if is_spatial(getattr(layer, "output", None)) and not isinstance(layer, keras.layers.InputLayer)
    }
    if not spatial:
        raise InputError(f"Cannot explain {model.name}: none of its layers has rows and columns. Use another network.")
    if name is None:
        return _find_last(list(spatial.values()), {id(layer.output): layer for layer in model.layers})
    if name in spatial:
        return spatial[name]
    near = difflib.get_close_matches(name, spatial, 1)
    listed = ", ".join(list(spatial)[::-1][:MAX_NAMED])
    remedy = f"Did you mean {near[0]!r}?" if near else "Choose one of them."
    raise InputError(
        f"layer must be one of {model.name} with rows and columns; the last ones are {listed}. Received: "
        f"layer={name!r}. {remedy}"
    )


def _find_last(spatial: list[Any], makers: dict[int, Any]) -> Any:
    """Find the last layer with `MIN_CELLS`, among those that the last one alone is made from; if none has, that one."""
    layer = first = _skip(spatial[-1].output, makers, _SKIPPED)
    if first not in spatial:
        return spatial[-1]
    while layer in spatial:
        if min(layer.output.shape[1:3]) >= MIN_CELLS:
            return layer
        if not isinstance(layer.input, keras.KerasTensor):  # of several layers, each has only a part of what is seen
            break
        layer = _skip(layer.input, makers, _SKIPPED)
    return first


def _skip(tensor: Any, makers: dict[int, Any], kinds: Any) -> Any:
    """Return the layer that makes a tensor, or what goes into it through layers of some kinds; None if none does."""
    layer: Any = makers.get(id(tensor))
    while isinstance(layer, kinds):
        layer = makers.get(id(layer.input))
    return layer


def _add_probe(model: keras.Model, tap: keras.layers.Layer) -> keras.Model:
    """Make a network that adds a second input to the output of a layer; it gives logits, that output, probabilities.

    The gradient by the second input, where it is 0, is that by the output of the layer. All weights are shared.
    """
    # Names of their own: Keras counts, and a network that was loaded may have the next number.
    images = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype, name="class_maps_images")
    added = keras.Input(tap.output.shape[1:], dtype="float32", name="class_maps_added")
    last = next((layer for layer in model.layers if layer.output is model.outputs[0]), None)
    seen: dict[str, Any] = {}

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        output = layer(*args, **options)
        if layer is last:
            seen["features"] = args[0]
        if layer is not tap:
            return output
        seen["activations"] = output
        return output + ops.cast(added, output.dtype)

    # The second input is one of the network, which does not use it, so that layers may be called with it.
    unused = keras.Input(tap.output.shape[1:], dtype="float32", name="class_maps_unused")
    whole = keras.Model([*model.inputs, unused], model.outputs)
    copy = keras.models.clone_model(
        whole, input_tensors=[images, added], clone_function=lambda layer: layer, call_function=call
    )
    probs = copy.outputs[0]
    logits = _find_logits(last, seen.get("features"), probs)
    return keras.Model([images, added], [ops.cast(logits, "float32"), seen["activations"], probs])


def _find_logits(last: Any, features: Any, probs: Any) -> Any:
    """Return the logits of an output layer, (B, K): what goes into its sigmoid; if that is unknown, its inverse."""
    is_sigmoid = getattr(last, "activation", None) is keras.activations.sigmoid
    if isinstance(last, keras.layers.Dense) and is_sigmoid:
        logits = ops.matmul(ops.cast(features, last.compute_dtype), ops.convert_to_tensor(last.kernel))
        return logits if last.bias is None else logits + ops.convert_to_tensor(last.bias)
    if isinstance(last, keras.layers.Activation) and is_sigmoid:
        return features
    clipped = ops.clip(ops.cast(probs, "float32"), EPSILON, 1 - EPSILON)
    return ops.log(clipped) - ops.log1p(-clipped)


def _round_up(n: int, *, down: bool = False) -> int:
    """Round to a power of two."""
    return 1 << (n.bit_length() - 1 if down else (n - 1).bit_length())


def _pad(images: npt.NDArray[np.uint8], n: int) -> npt.NDArray[np.uint8]:
    """Repeat the last of some images until there are n: JAX compiles a network anew for each number."""
    return images[np.minimum(np.arange(n), len(images) - 1)]
