"""What an operation on the device consists of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Channel
from hpa_model.augment.draw import Parameter, Values

# What an operation changes, in the order in which a batch is changed: the orientation, exactly; where pixels come from,
# with one interpolation for all operations; gray levels; and two images at once.
Kind = Literal["symmetry", "move", "gray", "pair"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The images that operations are applied to."""

    channels: tuple[Channel, ...]
    """C channels."""

    image_shape: tuple[int, int, int]
    """(Y, X, C) in the store, whose pixels are the unit of parameters."""

    size: tuple[int, int]
    """Rows and columns of the images that are changed."""

    @property
    def factors(self) -> tuple[float, float]:
        """Pixels of the changed images per pixel of the store, in Y and X."""
        return self.size[0] / self.image_shape[0], self.size[1] / self.image_shape[1]


class Call(NamedTuple):
    """What an operation is applied with."""

    columns: Any
    """Tensor of float32, shape (B, n), of `Operation.encode`."""

    parameters: Mapping[str, Parameter]
    frame: Frame


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One way to change training images on the device, such as a blur."""

    name: str
    kind: Kind

    parameters: Mapping[str, Parameter]
    """How each parameter is drawn; pixels are those of the store."""

    neutral: Mapping[str, float]
    """For each parameter, except seeds, a value with which nothing changes; for a choice the index of one."""

    encode: Callable[[Values, Mapping[str, Parameter], Frame], npt.NDArray[np.float64]]
    """From the drawn values, (B, n) each, to what the device needs, (B, columns); a symmetry to its codes, (B, 1)."""

    describe: Callable[[Mapping[str, Any]], str]
    """The parameters of one image in a few words; empty where they change nothing."""

    apply: Callable[[Any, Call], Any] | None = None
    """What the device does, in `keras.ops`, which is imported inside: a move changes `Coordinates`, others images,
    float32 (B, Y, X, C), with gray levels of 0 to 255. None for a symmetry."""

    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The lowest and the highest value that a table may name for a parameter."""

    is_possible: Callable[[tuple[Channel, ...]], bool] = lambda channels: True
    """Whether it can be applied to images of these channels."""

    is_idle: Callable[[Mapping[str, Parameter], Frame], bool] = lambda parameters, frame: False
    """Whether no value of the parameters changes anything that can be seen in images of this size."""
