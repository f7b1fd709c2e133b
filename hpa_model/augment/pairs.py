"""Operations that mix two images of a batch, and their labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_model.augment.draw import Fixed, Parameter, Samples, Values
from hpa_model.augment.kinds import Call, Frame, Operation

Array = npt.NDArray[np.float64]
Parameters = Mapping[str, Parameter]


def find_partners(n: int, devices: int) -> npt.NDArray[np.int64]:
    """Return the position of the partner of each image of a batch: its neighbor in the share of its device.

    Parameters
    ----------
    n : int
        Images of the batch, B, a multiple of `devices`, which take equal shares of it, one after the other.

    Returns
    -------
    array of int64, shape (B,)
        The own position for an odd last image of a share.

    Examples
    --------
    >>> find_partners(5, 1).tolist(), find_partners(6, 2).tolist()
    ([1, 0, 3, 2, 4], [1, 0, 2, 4, 3, 5])
    """
    share = max(n // devices, 1)
    positions = np.arange(n)
    within = positions % share
    partners = within ^ 1
    return positions - within + np.where(partners < share, partners, within)


def take_partners(images: Any) -> Any:
    """Return the partner of each image of a device's share of a batch, as `find_partners` has it."""
    from keras import ops

    n = ops.shape(images)[0]
    positions = ops.arange(n, dtype="int32")
    partners = positions + 1 - 2 * (positions % 2)
    return ops.take(images, ops.where(partners < n, partners, positions), axis=0)


def draw_share(parameters: Parameters, name: str, samples: Samples) -> Values:
    """Draw the share of an image that is its own from a beta distribution, and a place in it, uniform in [0, 1).

    Returns
    -------
    Values
        ``share``, (B, 1), and ``center``, (B, 2), of Y and X.
    """
    from scipy.special import betaincinv

    alpha = parameters["alpha"]
    assert isinstance(alpha, Fixed)
    drawn = samples.uniform(name, 3)
    return {"share": betaincinv(alpha.value, alpha.value, drawn[:, :1]), "center": drawn[:, 1:]}


def _encode_box(values: Values, parameters: Parameters, frame: Frame) -> Array:
    """Return the share of an image that is its own, and the rows and columns of the box that is not: first and end."""
    sides = np.sqrt(1 - values["share"])  # as shares of the image
    bounds = []
    for axis, n in enumerate(frame.size):
        center = values["center"][:, axis] * n
        bounds += [np.clip(np.rint(center + sign * sides[:, 0] * n / 2), 0, n) for sign in (-1, 1)]
    first_y, end_y, first_x, end_x = bounds
    area = (end_y - first_y) * (end_x - first_x)
    return np.stack([1 - area / (frame.size[0] * frame.size[1]), *bounds], axis=1)


def _mix(pair: Any, call: Call) -> Any:
    images, partners = pair
    share = call.columns[:, 0, None, None, None]
    return images * share + partners * (1 - share)


def _paste(pair: Any, call: Call) -> Any:
    from keras import ops

    images, partners = pair
    first_y, end_y, first_x, end_x = (call.columns[:, index, None] for index in range(1, 5))
    rows, columns = (ops.convert_to_tensor(np.arange(n, dtype=np.float32)) for n in call.frame.size)
    in_rows = ops.logical_and(rows >= first_y, rows < end_y)[:, :, None, None]
    in_columns = ops.logical_and(columns >= first_x, columns < end_x)[:, None, :, None]
    return ops.where(ops.logical_and(in_rows, in_columns), partners, images)


# The first column of each is the share of an image, and of its labels, that is its own.
PAIRS = (
    Operation(
        name="mixup",
        kind="pair",
        parameters={"alpha": Fixed(value=0.2)},
        neutral={"share": 1, "center": 0},
        encode=lambda values, parameters, frame: values["share"],
        apply=_mix,
        describe=lambda values: f"{100 - 100 * values['share']:.0f} % of a neighbor mixed in",
        limits={"alpha": (0.01, 100)},
    ),
    Operation(
        name="cutmix",
        kind="pair",
        parameters={"alpha": Fixed(value=1.0)},
        neutral={"share": 1, "center": 0},
        encode=_encode_box,
        apply=_paste,
        describe=lambda values: f"{100 - 100 * values['share']:.0f} % replaced by a part of a neighbor",
        limits={"alpha": (0.01, 100)},
    ),
)
