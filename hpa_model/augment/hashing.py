"""Random numbers on the device that are the same on every backend: a hash of a seed and a counter."""

from typing import Any

import numpy as np
from keras import ops

# Of "lowbias32", a hash of 32 bits without visible bias (Wellons 2018), and the golden ratio, which spreads counters.
MULTIPLIERS = (0x7FEB352D, 0x846CA68B)
GOLDEN = 0x9E3779B9


def draw_bits(seeds: Any, counters: Any) -> Any:
    """Draw 32 random bits for each seed and counter.

    Parameters
    ----------
    seeds : tensor of float32, shape (B,)
        Integers from 0 to below 2**`options.SEED_BITS`.
    counters : array of uint32, shape (M,)

    Returns
    -------
    tensor of uint32, shape (B, M)
        A function of seed and counter alone, in arithmetic modulo 2**32.
    """
    starts = _mix(_times(ops.cast(seeds, "uint32"), GOLDEN))
    steps = ops.convert_to_tensor(np.asarray(counters, np.uint32) * np.uint32(GOLDEN))
    return _mix(ops.add(starts[:, None], steps[None, :]))


def draw_normals(seeds: Any, n: int) -> Any:
    """Draw n normal numbers for each seed, mean 0, standard deviation 1, by Box and Muller.

    Returns
    -------
    tensor of float32, shape (B, n)
        Two from each 32 bits: 16 for the radius, which so is below 4.9, and 16 for the angle.
    """
    bits = draw_bits(seeds, np.arange(-(-n // 2), dtype=np.uint32))
    high = ops.cast(ops.right_shift(bits, np.uint32(16)), "float32")
    low = ops.cast(ops.bitwise_and(bits, np.uint32(0xFFFF)), "float32")
    radius = ops.sqrt(-2.0 * ops.log((high + 0.5) / 65536.0))
    angle = low * np.float32(2 * np.pi / 65536)
    return ops.concatenate([radius * ops.cos(angle), radius * ops.sin(angle)], axis=1)[:, :n]


def _mix(bits: Any) -> Any:
    bits = _times(ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(16))), MULTIPLIERS[0])
    bits = _times(ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(15))), MULTIPLIERS[1])
    return ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(16)))


def _times(bits: Any, factor: int) -> Any:
    return ops.multiply(bits, ops.convert_to_tensor(np.uint32(factor)))
