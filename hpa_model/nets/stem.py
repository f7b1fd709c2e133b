"""The stem of a backbone: its input scaling and first convolution, for red, green and blue or for any channels.

A rule says how much of red, of green and of blue is taken from each channel: a matrix, whose rows sum to 1. The kernel
of a channel is the same mixture of the kernels of the colors. So an image whose channels are all the same gives what it
gives with three channels.

Where the scaling differs between the colors, no scaling of the channels can have that effect alone: the means that it
subtracts meet other kernels. One more plane, of ones, carries the difference, also next to zeros of padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

N_COLORS = 3


@dataclass(frozen=True, kw_only=True)
class ColorScaling:
    """How gray levels of 0 to 1 are scaled: minus a mean, divided by a standard deviation, for red, green and blue."""

    means: tuple[float, float, float]
    stds: tuple[float, float, float]

    @property
    def dtype(self) -> str | None:
        """Of the arithmetic, None for that of the network.

        A mean that is subtracted leaves the many dark pixels of a micrograph large numbers with small differences. So
        all is rounded once, by the first convolution.
        """
        return "float32" if any(self.means) else None

    @property
    def is_uniform(self) -> bool:
        """Whether all colors are scaled alike."""
        return len(set(self.means)) == len(set(self.stds)) == 1

    @property
    def mean(self) -> float:
        """Of a channel that is no color."""
        return sum(self.means) / N_COLORS

    @property
    def std(self) -> float:
        """Of a channel that is no color."""
        return sum(self.stds) / N_COLORS


UNIT = ColorScaling(means=(0.0,) * 3, stds=(1.0,) * 3)
SIGNED = ColorScaling(means=(0.5,) * 3, stds=(0.5,) * 3)
# Of the photographs of ImageNet, as published weights have it.
IMAGENET = ColorScaling(means=(0.485, 0.456, 0.406), stds=(0.229, 0.224, 0.225))


class AppendOnes(layers.Layer):
    """Append a plane of ones to images: (B, Y, X, C) to (B, Y, X, C + 1)."""

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Append the plane to a batch."""
        return ops.concatenate([images, ops.ones_like(images[..., :1])], axis=-1)


def scale_colors(x: keras.KerasTensor, scaling: ColorScaling) -> keras.KerasTensor:
    """Scale images with gray levels of 0 to 255, (B, Y, X, C); some then have a plane of ones more.

    Three channels are red, green and blue. Other numbers are scaled alike.
    """
    if scaling.is_uniform:
        offset = -scaling.mean / scaling.std if scaling.mean else 0.0
        return layers.Rescaling(1 / (255 * scaling.std), offset=offset, dtype=scaling.dtype)(x)
    if x.shape[-1] == N_COLORS:
        x = layers.Rescaling(1 / 255, dtype=scaling.dtype)(x)
        variance = [std**2 for std in scaling.stds]
        return layers.Normalization(mean=list(scaling.means), variance=variance, dtype=scaling.dtype)(x)
    offset = -scaling.mean / scaling.std
    return AppendOnes(dtype=scaling.dtype)(
        layers.Rescaling(1 / (255 * scaling.std), offset=offset, dtype=scaling.dtype)(x)
    )


def mix_channels(rule: str, colors: Sequence[tuple[int, int, int]]) -> npt.NDArray[np.float64]:
    """Return how much of red, green and blue a rule takes from each channel.

    Parameters
    ----------
    rule : {"mean", "copy-red", "channel-map"}
        mean: of each color the same from all channels. copy-red: the first three channels are red, green and blue, and
        each further one is red, too. channel-map: of each channel its own color, such as half red and half green of a
        yellow one. A color that no channel has is taken from all, equally.
    colors : sequence of (int, int, int)
        Of each channel: red, green and blue, 0..255.

    Returns
    -------
    array of float64, shape (3, C)
        Each row sums to 1.

    Examples
    --------
    >>> mix_channels("channel-map", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]).round(2)
    array([[0.67, 0.  , 0.  , 0.33],
           [0.  , 0.67, 0.  , 0.33],
           [0.  , 0.  , 1.  , 0.  ]])
    """
    n_channels = len(colors)
    shares: npt.NDArray[np.float64] = np.ones((N_COLORS, n_channels))
    if rule == "copy-red":
        shares = np.eye(N_COLORS, n_channels)
        shares[0, N_COLORS:] = 1
    elif rule == "channel-map":
        shares = np.array(colors, np.float64).T
        shares /= np.maximum(shares.sum(axis=0), 1)  # a black one is no color
    shares[shares.sum(axis=1) == 0] = 1
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def mix_kernel(
    kernel: npt.NDArray[Any], shares: npt.NDArray[np.float64], scaling: ColorScaling
) -> npt.NDArray[np.float32]:
    """Make the kernel of the first convolution for any channels from that for red, green and blue.

    Parameters
    ----------
    kernel : array, shape (H, W, 3, F)
    shares : array of float64, shape (3, C)
        See `mix_channels`.
    scaling : ColorScaling
        Of the network.

    Returns
    -------
    array of float32, shape (H, W, C, F), or (H, W, C + 1, F) with a plane of ones
    """
    kernel = kernel.astype(np.float64)
    stds, means = np.array(scaling.stds), np.array(scaling.means)
    mixed = np.einsum("hwkf,kc,k->hwcf", kernel, shares, scaling.std / stds)
    if not scaling.is_uniform:
        ones = np.einsum("hwkf,k->hwf", kernel, (scaling.mean - means) / stds)
        mixed = np.concatenate([mixed, ones[:, :, None]], axis=2)
    return mixed.astype(np.float32)
