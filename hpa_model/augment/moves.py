"""Operations that move pixels: exact flips and rotations, and those that interpolate."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.augment.operations import OPERATIONS as COPIES
from hpa_data.augment.operations import Choice, Range
from hpa_model.augment.draw import Orientation, Parameter, Values
from hpa_model.augment.kinds import Call, Frame, Operation

Array = npt.NDArray[np.float64]
Parameters = Mapping[str, Parameter]
# The names of the eight orientations, by code.
ORIENTATIONS = (
    *("", "flip along y", "flip along x", "rotate by 180°"),
    *("flip along the diagonal", "rotate by 90°", "rotate by 270°", "flip along the other diagonal"),
)


def _encode_mirror(values: Values, parameters: Parameters, frame: Frame) -> Array:
    axis = parameters["axis"]
    assert isinstance(axis, Choice)
    codes = np.array([2.0 if value == "x" else 1.0 for value in axis.values] + [0.0])  # the last one for none
    return codes[values["axis"].astype(np.int64)]


def _encode_turn(values: Values, parameters: Parameters, frame: Frame) -> Array:
    from hpa_model.augment.symmetry import ROTATIONS

    quarters = parameters["quarters"]
    assert isinstance(quarters, Choice)
    turns = np.array([*quarters.values, 0])[values["quarters"].astype(np.int64)]
    if frame.image_shape[0] != frame.image_shape[1]:
        turns -= turns % 2
    return ROTATIONS[turns].astype(np.float64)


def _encode_crop(values: Values, parameters: Parameters, frame: Frame) -> Array:
    """Return the scale, the offset and the first and last coordinate of the crop, in Y and then in X."""
    top, right, bottom, left = values["sides"].T
    columns = []
    for n, before, after in ((frame.size[0], top, bottom), (frame.size[1], left, right)):
        scale = 1 - before - after
        columns += [scale, (scale - 1) / 2 + before * n, before * n, n - 1 - after * n]
    return np.stack(columns, axis=1)


def _crop(coordinates: Any, call: Call) -> Any:
    from keras import ops

    from hpa_model.augment.resample import Coordinates

    columns = [call.columns[:, index, None, None] for index in range(8)]
    y, x = (
        ops.clip(at * scale + offset, first, last)
        for at, (scale, offset, first, last) in zip(coordinates[:2], (columns[:4], columns[4:]), strict=True)
    )
    return Coordinates(y, x, coordinates.inside)


def invert_affine(values: Values, size: tuple[int, int]) -> Array:
    """Return where pixels come from, as imgaug has it.

    Parameters
    ----------
    values : Values
        ``scale`` and ``translate``, as shares of the size, (B, 2), for x and y; ``rotate`` and ``shear``, (B, 1), in
        degrees. imgaug shears by the hyperbolic tangent of the angle.
    size : (int, int)
        Rows and columns.

    Returns
    -------
    array of float64, shape (B, 6)
        a to f of x' = a x + b y + c and y' = d x + e y + f.
    """
    n_y, n_x = size
    n = len(values["scale"])
    matrices = np.tile(np.eye(3), (n, 1, 1))

    def then(step: Mapping[tuple[int, int], Any]) -> None:
        nonlocal matrices
        matrix = np.tile(np.eye(3), (n, 1, 1))
        for (row, column), number in step.items():
            matrix[:, row, column] = number
        matrices = matrix @ matrices

    angle, shear = np.deg2rad(values["rotate"][:, 0]), np.deg2rad(values["shear"][:, 0])
    center = {(0, 2): (n_x - 1) / 2, (1, 2): (n_y - 1) / 2}
    then({at: -number for at, number in center.items()})
    then({(0, 0): np.cos(angle), (0, 1): -np.sin(angle), (1, 0): np.sin(angle), (1, 1): np.cos(angle)})
    then({(0, 0): values["scale"][:, 0], (1, 1): values["scale"][:, 1]})
    then({(0, 1): np.tanh(-shear)})
    then({(0, 2): values["translate"][:, 0] * n_x, (1, 2): values["translate"][:, 1] * n_y})
    then(center)
    inverse: Array = np.linalg.inv(matrices)[:, :2].reshape(n, 6).astype(np.float64)
    return inverse.round(9)


def _move_affine(coordinates: Any, call: Call) -> Any:
    """Take from the black outside what lies there, as far as a pixel does."""
    from keras import ops

    from hpa_model.augment.resample import Coordinates

    (n_y, n_x), columns = call.frame.size, [call.columns[:, index, None, None] for index in range(6)]
    x = columns[0] * coordinates.x + columns[1] * coordinates.y + columns[2]
    y = columns[3] * coordinates.x + columns[4] * coordinates.y + columns[5]
    inside = ops.clip(y + 1, 0.0, 1.0) * ops.clip(n_y - y, 0.0, 1.0)
    inside = inside * ops.clip(x + 1, 0.0, 1.0) * ops.clip(n_x - x, 0.0, 1.0)
    return Coordinates(y, x, inside if coordinates.inside is None else inside * coordinates.inside)


# imgaug averages random numbers, uniform in [-alpha, alpha], over squares of 2 sigma pixels: the standard deviation of
# such numbers in units of alpha, and of a position in such a square in units of sigma.
UNIFORM_STD, SQUARE_STD = 1 / sqrt(3), 2 / sqrt(12)


def _encode_elastic(values: Values, parameters: Parameters, frame: Frame) -> Array:
    """Return the standard deviation and the reach of the displacements, in pixels of Y and X each, and the seed."""
    reach = values["sigma"] * SQUARE_STD * frame.factors
    size = values["alpha"] * UNIFORM_STD / (2 * values["sigma"]) * frame.factors
    return np.concatenate([size, reach, values["seed"]], axis=1)


def _bend(coordinates: Any, call: Call) -> Any:
    """Displace pixels by smooth random numbers: normal ones at the nodes of a grid, each spread as a Gaussian."""
    from keras import ops

    from hpa_model.augment.hashing import draw_normals
    from hpa_model.augment.resample import Coordinates, reflect

    sigma = call.parameters["sigma"]
    assert isinstance(sigma, Range)
    weights = []
    for axis, (n, factor) in enumerate(zip(call.frame.size, call.frame.factors, strict=True)):
        # Nodes this close give a field that is as smooth everywhere.
        spacing = max(sigma.low * SQUARE_STD * factor, 1.0)
        margin = 3 * sigma.high * SQUARE_STD * factor
        nodes = np.arange(-margin, n - 1 + margin + spacing, spacing, dtype=np.float32)
        distances = np.arange(n, dtype=np.float32)[:, None] - nodes  # (n, nodes)
        reach = call.columns[:, 2 + axis, None, None]
        spread = ops.exp(-0.5 * ops.square(ops.convert_to_tensor(distances) / reach))
        weights.append(spread / ops.sqrt(ops.sum(ops.square(spread), axis=-1, keepdims=True)))
    n_y, n_x = (int(weight.shape[-1]) for weight in weights)
    normals = ops.reshape(draw_normals(call.columns[:, 4], 2 * n_y * n_x), (-1, 2, n_y, n_x))
    moved = []
    for axis, at in enumerate(coordinates[:2]):
        across = ops.matmul(ops.matmul(weights[0], normals[:, axis]), ops.transpose(weights[1], (0, 2, 1)))
        moved.append(reflect(at + across * call.columns[:, axis, None, None], call.frame.size[axis]))
    return Coordinates(moved[0], moved[1], coordinates.inside)


MOVES = (
    Operation(
        name="symmetry",
        kind="symmetry",
        parameters={"code": Orientation()},
        neutral={"code": 0},
        encode=lambda values, parameters, frame: values["code"],
        describe=lambda values: ORIENTATIONS[int(values["code"])],
    ),
    Operation(
        name="turn",
        kind="symmetry",
        parameters=COPIES["turn"].parameters,
        neutral={"quarters": -1},
        encode=_encode_turn,
        describe=COPIES["turn"].describe,
    ),
    Operation(
        name="mirror",
        kind="symmetry",
        parameters=COPIES["mirror"].parameters,
        neutral={"axis": -1},
        encode=_encode_mirror,
        describe=COPIES["mirror"].describe,
    ),
    Operation(
        name="crop",
        kind="move",
        parameters=COPIES["crop"].parameters,
        neutral={"sides": 0},
        encode=_encode_crop,
        apply=_crop,
        describe=COPIES["crop"].describe,
        limits={"sides": (0, 0.45)},
    ),
    Operation(
        name="affine",
        kind="move",
        parameters=COPIES["affine"].parameters,
        neutral={"scale": 1, "translate": 0, "rotate": 0, "shear": 0},
        encode=lambda values, parameters, frame: invert_affine(values, frame.size),
        apply=_move_affine,
        describe=COPIES["affine"].describe,
        limits={"scale": (0.1, 10), "translate": (-1, 1), "rotate": (-360, 360), "shear": (-60, 60)},
    ),
    Operation(
        name="elastic",
        kind="move",
        parameters=COPIES["elastic"].parameters,
        neutral={"alpha": 0, "sigma": 8},
        encode=_encode_elastic,
        apply=_bend,
        describe=COPIES["elastic"].describe,
        limits={"alpha": (0, 1000), "sigma": (2, 100)},
    ),
)
