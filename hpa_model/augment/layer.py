"""Augmentation as a layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from hpa_model.augment.draw import Parameter
from hpa_model.augment.kinds import Call, Frame, Operation
from hpa_model.augment.pairs import take_partners
from hpa_model.augment.resample import make_coordinates, take_pixels, turn_coordinates
from hpa_model.augment.symmetry import apply_symmetry


class ApplyRows(keras.layers.Layer):
    """Change each image of a batch as its row of numbers says, in float32, whatever the precision of the network.

    Parameters
    ----------
    units : sequence of (Operation, parameters, (first, end))
        What is applied, in this order, and where in a row its columns are.
    frame : Frame
    has_symmetry : bool
        Whether the first column is the code of a symmetry.
    """

    def __init__(
        self,
        units: Sequence[tuple[Operation, Mapping[str, Parameter], tuple[int, int]]],
        frame: Frame,
        *,
        has_symmetry: bool,
    ) -> None:
        super().__init__(dtype="float32")
        self._units = tuple(units)
        self._frame = frame
        self._has_symmetry = has_symmetry

    def call(self, images: Any, rows: Any) -> Any:
        """Change images, (B, Y, X, C) of any dtype, by rows, float32 (B, P); return float32 of the same shape."""
        images = ops.cast(images, "float32")
        moves = [each for each in self._units if each[0].kind == "move"]
        if moves:
            # From a pixel of the result back to where it comes from: what is applied last comes first.
            coordinates = make_coordinates(self._frame.size)
            for each in reversed(moves):
                coordinates = self._apply(each, coordinates, rows)
            if self._has_symmetry:
                coordinates = turn_coordinates(coordinates, rows[:, 0], self._frame.size)
            images = take_pixels(images, coordinates)
        elif self._has_symmetry:
            images = apply_symmetry(images, rows[:, 0])
        for each in self._units:
            if each[0].kind == "gray":
                images = self._apply(each, images, rows)
            elif each[0].kind == "pair":
                images = self._apply(each, (images, take_partners(images)), rows)
        return images

    def _apply(self, unit: Any, changed: Any, rows: Any) -> Any:
        operation, parameters, (first, end) = unit
        return operation.apply(changed, Call(rows[:, first:end], parameters, self._frame))
