"""Operations that change gray levels."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.augment.operations import OPERATIONS as COPIES
from hpa_data.augment.operations import Choice, Range
from hpa_data.dataset import Channel
from hpa_model.augment.draw import Parameter, Values
from hpa_model.augment.kinds import Call, Frame, Operation

Array = npt.NDArray[np.float64]
Parameters = Mapping[str, Parameter]
# Below this standard deviation in pixels, a Gaussian blur moves less than a hundredth of a gray level.
LEAST_BLUR = 0.22
# The gray level that a change of contrast keeps.
MIDDLE = 127.0


def _clip(images: Any) -> Any:
    from keras import ops

    return ops.clip(images, 0.0, 255.0)


def _find_most_blur(parameters: Parameters, frame: Frame) -> tuple[float, float]:
    """Return the largest standard deviation that can be drawn, in pixels of Y and X."""
    sigma = parameters["sigma"]
    assert isinstance(sigma, Range)
    return sigma.high * frame.factors[0], sigma.high * frame.factors[1]


def _blur(images: Any, call: Call) -> Any:
    """Blur along one axis after the other; beyond the border, images are mirrored at their outer pixels."""
    from keras import ops

    for axis, most in enumerate(_find_most_blur(call.parameters, call.frame)):
        if most < LEAST_BLUR:
            continue
        n = call.frame.size[axis]
        # 2 as imgaug has it for small blurs.
        radius = min(max(2, ceil(3 * most)), n - 1)
        offsets = ops.convert_to_tensor(np.arange(-radius, radius + 1, dtype=np.float32))
        sigma = ops.maximum(call.columns[:, axis, None], 1e-3)
        weights = ops.exp(-0.5 * ops.square(offsets / sigma))
        weights = (weights / ops.sum(weights, axis=-1, keepdims=True))[..., None, None, None]  # (B, offsets, 1, 1, 1)
        margins = [[0, 0], [0, 0], [0, 0], [0, 0]]
        margins[axis + 1] = [radius, radius]
        padded = ops.pad(images, margins, mode="reflect")
        shifted = (
            padded[:, start : start + n] if axis == 0 else padded[:, :, start : start + n]
            for start in range(2 * radius + 1)
        )
        images = sum(each * weights[:, index] for index, each in enumerate(shifted))
    return images


def _change_contrast(images: Any, call: Call) -> Any:
    """Scale gray levels around `MIDDLE`, by a factor for each channel or one for all."""
    factors = call.columns[:, None, None, :]
    return _clip(images * factors + MIDDLE * (1 - factors))


def _encode_signal_contrast(values: Values, parameters: Parameters, frame: Frame) -> Array:
    is_signal = np.array([channel.role == "signal" for channel in frame.channels])
    return np.where(is_signal, values["factor"], 1.0)


def _has_signal(channels: tuple[Channel, ...]) -> bool:
    return any(channel.role == "signal" for channel in channels)


def _encode_noise(values: Values, parameters: Parameters, frame: Frame) -> Array:
    """Return the standard deviation, 1 for numbers of their own in each channel, and the seed."""
    per_channel = parameters["per_channel"]
    assert isinstance(per_channel, Choice)
    chosen = np.array([*per_channel.values, False], np.float64)[values["per_channel"].astype(np.int64)]
    return np.concatenate([values["sigma"], chosen, values["seed"]], axis=1)


def _add_noise(images: Any, call: Call) -> Any:
    """Add normal numbers, for each channel of a pixel or one for all."""
    from keras import ops

    from hpa_model.augment.hashing import draw_normals

    (n_y, n_x), n_channels = call.frame.size, len(call.frame.channels)
    normals = ops.reshape(draw_normals(call.columns[:, 2], n_y * n_x * n_channels), (-1, n_y, n_x, n_channels))
    sigma, per_channel = (call.columns[:, index, None, None, None] for index in (0, 1))
    return _clip(images + sigma * ops.where(per_channel > 0.5, normals, normals[..., :1]))


def _change_brightness(images: Any, call: Call) -> Any:
    return _clip(images * call.columns[:, None, None, :])


def _drop_channel(images: Any, call: Call) -> Any:
    from keras import ops

    numbers = ops.convert_to_tensor(np.arange(len(call.frame.channels), dtype=np.float32))
    return images * ops.cast(call.columns != numbers, "float32")[:, None, None, :]


GRAYS = (
    Operation(
        name="blur",
        kind="gray",
        parameters=COPIES["blur"].parameters,
        neutral={"sigma": 0},
        encode=lambda values, parameters, frame: values["sigma"] * frame.factors,
        apply=_blur,
        describe=COPIES["blur"].describe,
        limits={"sigma": (0, 20)},
        is_idle=lambda parameters, frame: max(_find_most_blur(parameters, frame)) < LEAST_BLUR,
    ),
    Operation(
        name="contrast",
        kind="gray",
        parameters=COPIES["contrast"].parameters,
        neutral={"factor": 1},
        encode=lambda values, parameters, frame: values["factor"],
        apply=_change_contrast,
        describe=COPIES["contrast"].describe,
        limits={"factor": (0, 10)},
    ),
    Operation(
        name="signal_contrast",
        kind="gray",
        parameters=COPIES["contrast"].parameters,
        neutral={"factor": 1},
        encode=_encode_signal_contrast,
        apply=_change_contrast,
        describe=lambda values: f"contrast of the signal x {values['factor']:.2f}",
        limits={"factor": (0, 10)},
        is_possible=_has_signal,
    ),
    Operation(
        name="brightness",
        kind="gray",
        parameters=COPIES["brightness"].parameters,
        neutral={"factors": 1},
        encode=lambda values, parameters, frame: values["factors"],
        apply=_change_brightness,
        describe=COPIES["brightness"].describe,
        limits={"factors": (0, 10)},
    ),
    Operation(
        name="noise",
        kind="gray",
        parameters=COPIES["noise"].parameters,
        neutral={"sigma": 0, "per_channel": -1},
        encode=_encode_noise,
        apply=_add_noise,
        describe=COPIES["noise"].describe,
        limits={"sigma": (0, 255)},
    ),
    Operation(
        name="drop",
        kind="gray",
        parameters=COPIES["drop"].parameters,
        neutral={"channel": -1},
        encode=lambda values, parameters, frame: values["channel"],
        apply=_drop_channel,
        describe=COPIES["drop"].describe,
        is_possible=COPIES["drop"].is_possible,
    ),
)
