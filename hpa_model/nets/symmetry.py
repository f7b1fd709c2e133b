"""A network with a further input that says how each image is changed on the device first."""

from typing import Any

import keras

from hpa_model.augment.symmetry import ApplySymmetry
from hpa_model.nets.resize import AreaResize


def with_symmetry_input(model: keras.Model) -> keras.Model:
    """Return a model that takes images and codes, transforms the images and shares all weights with `model`.

    The images are transformed after the network has resized them, which gives the same up to rounding, where its
    resizing keeps their symmetries.
    """
    images = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    codes = keras.Input((), dtype="uint8", name="symmetry")
    resize = _find_resize(model)
    if resize is None:
        return keras.Model([images, codes], model(ApplySymmetry()(images, codes)))
    after = keras.Model(resize.output, model.output)
    return keras.Model([images, codes], after(ApplySymmetry()(resize(images), codes)))


def with_row_input(model: keras.Model, layer: keras.layers.Layer, n_columns: int) -> keras.Model:
    """Return a model that takes images and rows of numbers, and shares all weights with `model`.

    Parameters
    ----------
    model : keras.Model
    layer : keras.layers.Layer
        Called with images (B, Y, X, C) of `find_size`, with gray levels of 0 to 255, and the rows, float32 (B, P);
        returns images of the same shape, float. Applied after the network has resized the images, where that keeps
        their symmetries.
    n_columns : int
        P.
    """
    images = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    rows = keras.Input((n_columns,), dtype="float32", name="rows")
    resize = _find_resize(model)
    if resize is not None:
        after = keras.Model(resize.output, model.output)
        return keras.Model([images, rows], after(layer(resize(images), rows)))
    # The input of the network itself would round gray levels to uint8: its layers are called with what is no input.
    whole = keras.Model(model.inputs, model.outputs)
    unrounded = keras.Input(model.input_shape[1:], dtype="float32")
    after = keras.models.clone_model(whole, input_tensors=[unrounded], clone_function=_keep_layer)
    return keras.Model([images, rows], after(layer(images, rows)))


def find_size(model: keras.Model) -> tuple[int, int]:
    """Return the rows and columns of the images at which `with_row_input` applies a layer."""
    resize = _find_resize(model)
    shape = model.input_shape if resize is None else resize.output.shape
    return int(shape[1]), int(shape[2])


def _keep_layer(layer: Any) -> Any:
    return layer


def _find_resize(model: keras.Model) -> AreaResize | None:
    """Find the layer that resizes the images first; None if there is none, or it does not keep squares square."""
    resize = next((layer for layer in model.layers if isinstance(layer, AreaResize)), None)
    if resize is None or resize.input is not model.input:
        return None
    squares = [len(set(shape[1:3])) == 1 for shape in (resize.input.shape, resize.output.shape)]
    return resize if squares[1] or not squares[0] else None
