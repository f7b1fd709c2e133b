"""Channels and samples that are far too dim, as 12-bit images are where white is the highest value of 16 bits.

How dim a channel of a sample is, is judged by its mean, in which each pixel counts by its own value: the sum of the
squares over the sum. It is never above the highest pixel, hardly depends on how much of the image is background, and
needs no pixels: the sums are in the store. In 60 samples of Kaggle's set it is between 0.13 and 1.7 times the upper
quartile of its channel, and at least 0.32 times in one of the channels of each sample; the highest pixel is above 63 in
all 240 planes. 12-bit images among those of 16 bits have a sixteenth of that, and no pixel above 16. In 500 draws of 20
of these samples, one of them darkened to 12 or 14 bits, or one channel of it to 12, was always found, and no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.errors import N_EXAMPLES, Notice
from hpa_data.sources.measure import Highest
from hpa_data.sources.options import ImportOptions

# An eighth of the range, and a quarter, for files of more bits than their values need: no pixel of a dim channel is
# above it. 14 bits of 16 have 16383 / 65535 * 255.
DIM, DIM_DEEP = 32, 64

# Seven eighths of the range. The means of real channels are below a quarter, and of transmitted light two thirds.
WHITE = 224

# A channel of a sample is dim below an eighth, a whole sample if all of its channels are below a quarter, of what the
# upper quartile of the part has.
DIM_CHANNEL, DIM_SAMPLE, QUARTILE = 1 / 8, 1 / 4, 75

# Samples at most that are read back to look at their pixels, and whose files are opened again to explain a finding.
N_JUDGED = 32

# Samples at most that are read in vain to look for dim ones: what was just written comes from the disk.
N_MISSES = 3

# Depths of cameras. A channel of deeper files that stays below the highest value of one is taken for that.
CAMERA_BITS = (8, 10, 12, 14, 16)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is known of N samples that can be read."""

    ids: Sequence[str]

    channels: tuple[str, ...]

    brightness: npt.NDArray[np.float64]
    """Shape (N, C), in gray levels; NaN for channels that are filled."""

    means: npt.NDArray[np.float64]
    """Mean of the pixels, shape (N, C), in gray levels; NaN for channels that are filled."""

    read_highest: Callable[[int], npt.NDArray[np.uint8]]
    """From an index to the highest pixel of each channel, shape (C,)."""

    explain: Callable[[Sequence[int]], dict[str, Highest]]
    """From indices to the highest raw value of each channel in their files."""

    options: ImportOptions

    again: str
    """How a remedy begins: ``Convert again with --overwrite and``."""

    channels_only: bool = False
    """Whether single samples are not told."""


def find_notices(judged: Judged) -> tuple[Notice, ...]:
    """Find the dim channels and samples, and the white channels."""
    known = ~np.isnan(judged.brightness)
    reference = np.array(
        [
            np.percentile(values[is_known], QUARTILE) if is_known.any() else np.nan
            for values, is_known in zip(judged.brightness.T, known.T, strict=True)
        ]
    )
    dim_channels, notices = _find_channels(judged, reference)
    reference[dim_channels] = np.nan  # found already
    samples = [] if judged.channels_only else _find_samples(judged, reference)
    return (*notices, *samples, *_find_white(judged))


def _find_white(judged: Judged) -> list[Notice]:
    """Find the channels that are nearly white in most samples: their scaling clips what is in them."""
    found = []
    for c, name in enumerate(judged.channels):
        means = judged.means[~np.isnan(judged.means[:, c]), c]
        if len(means) and np.median(means) >= WHITE:
            rows = np.flatnonzero(judged.means[:, c] >= WHITE)
            found.append(
                Notice(
                    what=f"channel {name} is nearly white: its mean is {np.median(means):.0f} of 255",
                    n=len(rows),
                    examples=tuple(judged.ids[row] for row in rows[:N_EXAMPLES]),
                    remedy=f"{judged.again} another --intensity, such as {name}=dataset-percentile.",
                )
            )
    return found


def _find_channels(judged: Judged, reference: npt.NDArray[np.float64]) -> tuple[list[int], list[Notice]]:
    """Find the channels that are dim in most samples."""
    candidates = np.flatnonzero(reference <= DIM_DEEP).tolist()
    if not candidates:
        return [], []
    highest = _read_some(judged, candidates)
    is_dim = highest <= DIM_DEEP  # (M, C)
    found = [c for c in candidates if is_dim[:, c].mean() * 100 >= QUARTILE]
    chosen = _spread(np.arange(len(judged.ids)), N_JUDGED)
    raw = judged.explain(chosen.tolist()) if found else {}
    limits = {c: DIM if _guess(judged, c, raw) is None else DIM_DEEP for c in found}
    found = [c for c in found if (highest[:, c] <= limits[c]).mean() * 100 >= QUARTILE]
    groups: dict[str, list[int]] = {}
    for c in found:
        groups.setdefault(_suggest(judged, c, raw), []).append(c)
    notices = []
    for suggestion, group in groups.items():
        dim_ones = np.flatnonzero(is_dim[:, group].any(axis=1))
        names = [judged.channels[c] for c in group]
        notices.append(
            Notice(
                what=f"channel{'s' * (len(names) > 1)} {', '.join(names)} {'have' if len(names) > 1 else 'has'} less "
                f"than 1/{256 // (DIM if highest[:, group].max() <= DIM else DIM_DEEP)} of the range in the "
                f"samples looked at{_describe(names, raw, suggestion)}",
                n=len(dim_ones),
                examples=tuple(judged.ids[chosen[i]] for i in dim_ones[:N_EXAMPLES]),
                remedy=_remedy(judged, names, suggestion),
            )
        )
    return found, notices


def _read_some(judged: Judged, candidates: Sequence[int]) -> npt.NDArray[np.int64]:
    """Read the highest pixels of some samples, (M, C), until no channel can be dim in most; 256: not read."""
    chosen = _spread(np.arange(len(judged.ids)), N_JUDGED)
    highest = np.full((len(chosen), len(judged.channels)), 256)
    for row, index in enumerate(chosen):
        is_known = ~np.isnan(judged.brightness[index])
        highest[row, is_known] = judged.read_highest(int(index))[is_known]
        if ((highest[: row + 1, candidates] > DIM_DEEP).sum(axis=0) * 100 > (100 - QUARTILE) * len(chosen)).all():
            break
    return highest


def _guess(judged: Judged, channel: int, raw: dict[str, Highest]) -> int | None:
    """Guess the bits of a channel whose white is the highest value of the data type."""
    name = judged.channels[channel]
    is_full = judged.options.scaling(name).method == "full"
    return guess_bits(raw[name]) if is_full and name in raw else None


def _suggest(judged: Judged, channel: int, raw: dict[str, Highest]) -> str:
    """Return the scaling that would help; empty if the channel is black."""
    highest = raw.get(judged.channels[channel])
    if highest is None or highest.value <= 0:
        return ""
    bits = _guess(judged, channel, raw)
    return "dataset-percentile" if bits is None else f"bits={bits}"


def guess_bits(highest: Highest) -> int | None:
    """Guess how many bits a camera has from the highest value of its files; None if their whole depth is needed.

    Examples
    --------
    >>> guess_bits(Highest(4015, 65535)), guess_bits(Highest(60_000, 65535)), guess_bits(Highest(25, 255))
    (12, None, None)
    """
    return next((n for n in CAMERA_BITS if highest.value <= 2**n - 1 and 4 * 2**n <= highest.white + 1), None)


def _describe(names: Sequence[str], raw: dict[str, Highest], suggestion: str) -> str:
    if not suggestion:
        return ", every pixel of it black"
    top = max(raw[name] for name in names)
    bits = f": perhaps {suggestion.removeprefix('bits=')}-bit images" if suggestion.startswith("bits") else ""
    return f" (highest value {top.value:g} of {top.white:g}{bits})"


def _remedy(judged: Judged, names: Sequence[str], suggestion: str) -> str:
    if not suggestion:
        return "Look at the files, and at which of them is read as which channel."
    prefixes = [""] if len(names) == len(judged.channels) else [f"{name}=" for name in names]
    return f"{judged.again} {' '.join(f'--intensity {prefix}{suggestion}' for prefix in prefixes)}."


def _find_samples(judged: Judged, reference: npt.NDArray[np.float64]) -> list[Notice]:
    """Find samples that are far dimmer than the others, in all of their channels or in one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = judged.brightness / reference
    is_judged = np.isfinite(ratios)
    # A single channel may well be dim in a good sample; all of them together are not.
    strongest = np.where(is_judged, ratios, 0).max(axis=1)
    is_whole = (is_judged.sum(axis=1) > 1) & (strongest < DIM_SAMPLE)
    is_low = np.where(is_judged, judged.brightness, 0).max(axis=1) <= DIM_DEEP
    unsure = np.flatnonzero((is_judged.sum(axis=1) > 1) & ~is_whole & (strongest < 2 * DIM_SAMPLE) & is_low)
    misses = 0
    for row in unsure[np.argsort(strongest[unsure], kind="stable")][:N_JUDGED].tolist():  # the darkest first
        is_whole[row] = judged.read_highest(row)[is_judged[row]].max() <= DIM_DEEP
        misses += not is_whole[row]
        if misses == N_MISSES:
            break
    notices = _tell_samples(judged, np.flatnonzero(is_whole), "all its channels")
    for c, name in enumerate(judged.channels):
        rows = np.flatnonzero(is_judged[:, c] & (ratios[:, c] < DIM_CHANNEL) & ~is_whole)
        rows = _spread(rows[judged.brightness[rows, c] <= DIM], N_JUDGED)
        rows = np.array([row for row in rows if judged.read_highest(int(row))[c] <= DIM], np.int64)
        notices += _tell_samples(judged, rows, f"channel {name}")
    return notices


def _tell_samples(judged: Judged, rows: npt.NDArray[np.int64], where: str) -> list[Notice]:
    if not len(rows):
        return []
    channels = [where.removeprefix("channel ")] if where.startswith("channel ") else list(judged.channels)
    raw = judged.explain(rows[:N_JUDGED].tolist())
    known = [raw[name] for name in channels if name in raw]
    bits = guess_bits(max(known)) if known else None
    reason = f" (highest value {max(known).value:g} of {max(known).white:g})" if known else ""
    if bits is not None:
        remedy = (
            f"If they have {bits} bits, convert them into a part of their own with --intensity bits={bits}; or scale "
            "each plane by itself with --intensity percentile."
        )
    else:
        remedy = "Look at them; --intensity percentile scales each plane by itself."
    return [
        Notice(
            what=f"far dimmer than the others of the part in {where}{reason}",
            n=len(rows),
            examples=tuple(judged.ids[row] for row in rows[:N_EXAMPLES]),
            remedy=remedy,
        )
    ]


def _spread(indices: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Choose up to `n` of some indices, evenly spaced."""
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(n, len(indices))).round().astype(int))]
