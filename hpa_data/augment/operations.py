"""The augmentation operations, one `Operation` each: its parameters, its pixels and its description.

To add one, write a function and an entry of `OPERATIONS`; `policies` decides which copies get it. A stored copy keeps
the names of operations and parameters, so they never change.

The pixels are imgaug's work. Its random pipelines are not reproducible, so every augmenter is created with all its
parameters fixed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Channel

Image = npt.NDArray[np.uint8]

# Larger parameters make no sensible image, and imgaug would need hours for some of them.
MAX_PARAMETER = 100

# Decimals that a stored parameter keeps: a ten-thousandth of a pixel at the border of an image.
DECIMALS = 7


@dataclass(frozen=True, kw_only=True)
class Range:
    """A parameter of one or more numbers, each uniform in [low, high)."""

    low: float
    high: float
    n: int = 1
    """How many numbers: one is stored as a number, more as a list."""
    independent_p: float = 1.0
    """The probability that the numbers are drawn independently; otherwise all are equal."""

    def draw(self, rng: np.random.Generator, channels: Sequence[Channel]) -> float | list[float]:
        """Draw a value."""
        drawn = [round(float(number), DECIMALS) for number in rng.uniform(self.low, self.high, self.n)]
        if self.n == 1:
            return drawn[0]
        return drawn if rng.random() < self.independent_p else drawn[:1] * self.n

    def accepts(self, value: object, channels: Sequence[Channel]) -> bool:
        """Tell whether a stored value has the right type and length.

        It may lie outside of the range: a stored transform stays valid when a range changes.
        """
        numbers: list[Any] = value if isinstance(value, list) else [value]
        return len(numbers) == self.n and all(type(x) in {int, float} and abs(x) <= MAX_PARAMETER for x in numbers)


@dataclass(frozen=True, kw_only=True)
class ChannelRange:
    """A parameter of one number per channel, each uniform in [low, high)."""

    low: float
    high: float
    independent_p: float
    """The probability that the numbers are drawn independently; otherwise all are equal."""

    def draw(self, rng: np.random.Generator, channels: Sequence[Channel]) -> list[float]:
        """Draw a value."""
        numbers = Range(low=self.low, high=self.high, n=len(channels), independent_p=self.independent_p)
        drawn = numbers.draw(rng, channels)
        return drawn if isinstance(drawn, list) else [drawn]

    def accepts(self, value: object, channels: Sequence[Channel]) -> bool:
        """Tell whether a stored value is a list of one number per channel."""
        numbers = Range(low=self.low, high=self.high, n=len(channels))
        return isinstance(value, list) and numbers.accepts(value, channels)


@dataclass(frozen=True, kw_only=True)
class ReferenceChannel:
    """A parameter that names a channel whose role is ``reference``, all equally likely."""

    def draw(self, rng: np.random.Generator, channels: Sequence[Channel]) -> str:
        """Draw a value; there must be such a channel."""
        names = [channel.name for channel in channels if channel.role == "reference"]
        return names[int(rng.integers(len(names)))]

    def accepts(self, value: object, channels: Sequence[Channel]) -> bool:
        """Tell whether a stored value is the name of such a channel."""
        return value in [channel.name for channel in channels if channel.role == "reference"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A parameter that has one of several values, all equally likely."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator, channels: Sequence[Channel]) -> Any:
        """Draw a value."""
        return self.values[int(rng.integers(len(self.values)))]

    def accepts(self, value: object, channels: Sequence[Channel]) -> bool:
        """Tell whether a stored value is one of the values, of the same type."""
        return any(type(value) is type(known) and value == known for known in self.values)


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A parameter that seeds the noise of an operation, 0 to 2**31 - 1."""

    def draw(self, rng: np.random.Generator, channels: Sequence[Channel]) -> int:
        """Draw a value."""
        return int(rng.integers(2**31))

    def accepts(self, value: object, channels: Sequence[Channel]) -> bool:
        """Tell whether a stored value is a seed."""
        return type(value) is int and 0 <= value < 2**31


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One way to change an image, such as a blur."""

    name: str
    """As stored with each copy."""
    parameters: Mapping[str, Range | ChannelRange | ReferenceChannel | Choice | Seed]
    """How each parameter is drawn, in this order."""
    apply: Callable[..., Image]
    """``apply(image, **parameters)``: image is uint8 (Y, X, C), not modified; the result has its shape and type. Also
    takes ``channels``, a sequence of Channel, if a parameter is a `ReferenceChannel`."""
    describe: Callable[[Mapping[str, Any]], str]
    """The parameters in a few words; empty where they change nothing."""

    @property
    def names_channel(self) -> bool:
        """Whether it concerns one reference channel, and so needs the data set to have one."""
        return any(isinstance(parameter, ReferenceChannel) for parameter in self.parameters.values())

    def is_possible(self, channels: Sequence[Channel]) -> bool:
        """Tell whether it can be drawn for images of these channels."""
        return not self.names_channel or (len(channels) > 1 and any(c.role == "reference" for c in channels))

    def draw(self, rng: np.random.Generator, channels: Sequence[Channel]) -> dict[str, Any]:
        """Draw all parameters."""
        return {name: parameter.draw(rng, channels) for name, parameter in self.parameters.items()}

    def transform(self, image: Image, parameters: Mapping[str, Any], channels: Sequence[Channel]) -> Image:
        """Return the changed image; see `apply`."""
        named = {"channels": channels} if self.names_channel else {}
        return self.apply(image, **parameters, **named)

    def accepts(self, values: Mapping[str, Any], channels: Sequence[Channel]) -> bool:
        """Tell whether stored values are complete, and each of the right type."""
        return values.keys() == self.parameters.keys() and all(
            parameter.accepts(values[name], channels) for name, parameter in self.parameters.items()
        )


@lru_cache(maxsize=1)
def _imgaug() -> Any:
    """Import imgaug on first use: it takes two seconds."""
    import imgaug.augmenters

    return imgaug.augmenters


def _flip(image: Image, *, axis: str) -> Image:
    iaa = _imgaug()
    return (iaa.Fliplr(1.0) if axis == "x" else iaa.Flipud(1.0))(image=image)


def _rotate90(image: Image, *, quarters: int) -> Image:
    if quarters % 2 and image.shape[0] != image.shape[1]:
        raise ValueError(f"an image of {image.shape[0]} x {image.shape[1]} pixels cannot be rotated by 90 degrees")
    return _imgaug().Rot90(quarters)(image=image)


def _blur(image: Image, *, sigma: float) -> Image:
    return _imgaug().GaussianBlur(sigma=sigma)(image=image)


def _crop(image: Image, *, sides: Sequence[float]) -> Image:
    """Crop, then resize to the original size."""
    return _imgaug().Crop(percent=tuple(sides), keep_size=True)(image=image)


def _change_contrast(image: Image, *, factor: float) -> Image:
    """Scale gray levels around 127."""
    return _imgaug().LinearContrast(factor)(image=image)


def _add_noise(image: Image, *, sigma: float, per_channel: bool, seed: int) -> Image:
    return _imgaug().AdditiveGaussianNoise(scale=sigma, per_channel=per_channel, seed=seed)(image=image)


def _change_brightness(image: Image, *, factors: Sequence[float]) -> Image:
    # imgaug modifies its argument here.
    return _imgaug().arithmetic.multiply_scalar(image.copy(), np.array(factors))


def _transform_affine(
    image: Image, *, scale: Sequence[float], translate: Sequence[float], rotate: float, shear: float
) -> Image:
    """Interpolate linearly; pixels from outside of the image are black."""
    axes = ("x", "y")
    augmenter = _imgaug().Affine(
        scale=dict(zip(axes, scale, strict=True)),
        translate_percent=dict(zip(axes, translate, strict=True)),
        rotate=rotate,
        shear=shear,
    )
    return augmenter(image=image)


def _deform(image: Image, *, alpha: float, sigma: float, seed: int) -> Image:
    return _imgaug().ElasticTransformation(alpha=alpha, sigma=sigma, mode="reflect", seed=seed)(image=image)


def _drop_channel(image: Image, *, channel: str, channels: Sequence[Channel]) -> Image:
    iaa = _imgaug()
    index = [each.name for each in channels].index(channel)
    return iaa.WithChannels([index], iaa.Multiply(0))(image=image)


def _describe_brightness(values: Mapping[str, Any]) -> str:
    factors = [f"{factor:.2f}" for factor in values["factors"]]
    return "brightness x " + " ".join(factors[:1] if len(set(values["factors"])) == 1 else factors)


def _describe_affine(values: Mapping[str, Any]) -> str:
    x_scale, y_scale = values["scale"]
    x_shift, y_shift = (100 * share for share in values["translate"])
    return (
        f"rotate {values['rotate']:z.0f}°, shear {values['shear']:z.0f}°, scale {x_scale:.2f} x {y_scale:.2f}, "
        f"shift {x_shift:z.0f} x {y_shift:z.0f} %"
    )


# The ranges of blur, contrast and brightness are in the text of the paper (2018, section "Preprocessing"), the levels
# of noise in a public script of its time. It gives no numbers for crop and affine: those are of the first example in
# imgaug's documentation, which the text follows line by line. Elastic deformation, 90° rotations and dropped channels
# are not in the paper.
OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            name="mirror",
            parameters={"axis": Choice(values=("x", "y"))},
            apply=_flip,
            describe=lambda values: f"flip along {values['axis']}",
        ),
        Operation(
            name="turn",
            parameters={"quarters": Choice(values=(0, 1, 2, 3))},  # clockwise
            apply=_rotate90,
            describe=lambda values: f"rotate by {90 * values['quarters']}°" if values["quarters"] else "",
        ),
        Operation(
            name="blur",
            parameters={"sigma": Range(low=0, high=0.5)},  # pixels
            apply=_blur,
            describe=lambda values: f"blur, sigma {values['sigma']:.2f} px",
        ),
        Operation(
            name="crop",
            parameters={"sides": Range(low=0, high=0.1, n=4)},  # fractions of the size: top, right, bottom, left
            apply=_crop,
            describe=lambda values: "crop " + " ".join(f"{100 * side:.0f}" for side in values["sides"]) + " %",
        ),
        Operation(
            name="contrast",
            parameters={"factor": Range(low=0.5, high=1.5)},
            apply=_change_contrast,
            describe=lambda values: f"contrast x {values['factor']:.2f}",
        ),
        Operation(
            name="noise",
            parameters={
                "sigma": Range(low=0, high=0.05 * 255),  # gray levels
                "per_channel": Choice(values=(False, True)),
                "seed": Seed(),
            },
            apply=_add_noise,
            describe=lambda values: (
                f"noise, sigma {values['sigma']:.1f}" + (", per channel" if values["per_channel"] else "")
            ),
        ),
        Operation(
            name="brightness",
            parameters={"factors": ChannelRange(low=0.8, high=1.2, independent_p=0.2)},
            apply=_change_brightness,
            describe=_describe_brightness,
        ),
        Operation(
            name="affine",
            parameters={
                "scale": Range(low=0.8, high=1.2, n=2),  # x, y
                "translate": Range(low=-0.2, high=0.2, n=2),  # fractions of the size: x, y
                "rotate": Range(low=-25, high=25),  # degrees
                "shear": Range(low=-8, high=8),  # degrees
            },
            apply=_transform_affine,
            describe=_describe_affine,
        ),
        Operation(
            name="elastic",
            parameters={
                "alpha": Range(low=20, high=80),  # pixels
                "sigma": Range(low=6, high=10),  # pixels
                "seed": Seed(),
            },
            apply=_deform,
            describe=lambda values: f"elastic, {values['alpha']:.0f} px over {values['sigma']:.0f} px",
        ),
        Operation(
            name="drop",
            # Never the signal, such as the protein: the labels describe it.
            parameters={"channel": ReferenceChannel()},
            apply=_drop_channel,
            describe=lambda values: f"without {values['channel']}",
        ),
    )
}
