"""The numbers that are drawn for a sample: a function of (seed, epoch, key) and the name of what is drawn, alone."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hpa_data.augment.operations import ChannelRange, Choice, Range, ReferenceChannel, Seed
from hpa_data.dataset import Channel
from hpa_data.reader.batches import SPLITMIX, draw_orientations
from hpa_model.augment.options import SEED_BITS

Array = npt.NDArray[np.float64]
# By parameter, float64 (B, n): numbers; indices of values of a choice or of channels.
Values = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """A parameter that is one of all flips and rotations that keep the shape of the images, equally likely."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """A parameter that is not drawn, but a number of the policy."""

    value: float


Parameter = Range | ChannelRange | ReferenceChannel | Choice | Seed | Orientation | Fixed


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of a batch, and the epoch, that numbers are drawn for."""

    keys: npt.NDArray[np.int64]
    """Shape (B,), see `BatchSampler.keys`."""

    seed: int
    epoch: int

    def uniform(self, name: str, n: int = 1) -> Array:
        """Draw n numbers in [0, 1) for each sample, float64 (B, n); those of other names are independent of them."""
        keys = _make_keys(self.seed, self.epoch, name, n)
        mixed = (self.keys.astype(np.uint64)[:, None] + np.uint64(1)) * np.uint64(SPLITMIX[0]) + keys
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(SPLITMIX[1])
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(SPLITMIX[2])
        return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=1024)
def _make_keys(seed: int, epoch: int, name: str, n: int) -> npt.NDArray[np.uint64]:
    sequence = np.random.SeedSequence([seed, epoch, zlib.crc32(name.encode())])
    keys: npt.NDArray[np.uint64] = sequence.generate_state(n, np.uint64).astype(np.uint64)
    keys.flags.writeable = False
    return keys


def draw_parameter(
    parameter: Parameter, name: str, samples: Samples, channels: Sequence[Channel], *, n_symmetries: int
) -> Array:
    """Draw a parameter for each sample.

    Parameters
    ----------
    parameter : Parameter
    name : str
        What makes its numbers independent of those of others.
    samples : Samples
    channels : sequence of Channel, length C
    n_symmetries : int
        Of the images.

    Returns
    -------
    array of float64, shape (B, n)
        See `Values`.
    """
    if isinstance(parameter, Range | ChannelRange):
        n = len(channels) if isinstance(parameter, ChannelRange) else parameter.n
        drawn = samples.uniform(name, n + 1)
        is_own = drawn[:, n:] < parameter.independent_p
        return parameter.low + (parameter.high - parameter.low) * np.where(is_own, drawn[:, :n], drawn[:, :1])
    if isinstance(parameter, ReferenceChannel):
        references = np.array([index for index, channel in enumerate(channels) if channel.role == "reference"])
        return references[_pick(samples, name, len(references))].astype(np.float64)
    if isinstance(parameter, Choice):
        return _pick(samples, name, len(parameter.values)).astype(np.float64)
    if isinstance(parameter, Seed):
        return _pick(samples, name, 2**SEED_BITS).astype(np.float64)
    if isinstance(parameter, Orientation):
        codes = draw_orientations(samples.keys, seed=samples.seed, epoch=samples.epoch, n_symmetries=n_symmetries)
        return codes[:, None].astype(np.float64)
    return np.full((len(samples.keys), 1), parameter.value)


def _pick(samples: Samples, name: str, n: int) -> npt.NDArray[np.int64]:
    """Draw one of n indices for each sample, (B, 1)."""
    return (samples.uniform(name) * n).astype(np.int64)
