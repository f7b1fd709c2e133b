"""Which pixels of a TIFF are its planes: what its axes mean, by their names, and what the user chose of them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import tifffile

from hpa_data.errors import InputError
from hpa_data.sources.image_file import cannot_decode
from hpa_data.sources.options import PROJECTIONS, ImportOptions

# Planes that are pages of their own, and all pages of a file; the known stacks have 7.
MAX_PLANES, MAX_PAGES = 64, 4096

# A smaller image beside the largest is an overview of it, a label, or a level of a pyramid.
_RIVAL = 0.5

# Axes of planes without a name; tifffile's letters for "a sequence" and "unknown".
_NAMELESS = {"I", "Q"}

# Axes with a choice, with the words for messages. R: the positions of Micro-Manager.
_CHOICES = {"Z": ("slices (Z)", "--z"), "T": ("time points (T)", "--time"), "R": ("positions (R)", "--scene")}

Index = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Planes:
    """The planes of a series of pages."""

    axes: str
    """Letters of the series' axes, without those of length 1 (but Y and X)."""

    shape: tuple[int, ...]
    """Their lengths."""

    indices: tuple[tuple[Index, ...], ...]
    """For each plane, where it lies along the axes but Y and X; several indices for the slices of a projection."""

    n_extra: int
    """How many of the planes, the last, are called transparency."""

    is_color: bool
    """Whether the three others are the red, green and blue of one image."""

    channel_axes: str
    """Letters of the axes that count the planes, the slowest first."""


def choose_series(series: Sequence[tifffile.TiffPageSeries], file: str, options: ImportOptions) -> int:
    """Return the index of the series of pages that is the image: the largest, or the chosen one of several."""
    areas = [_count_pixels(one) for one in series]
    if not series or not max(areas):
        raise cannot_decode(file, "it holds no image", "Export it again.")
    if options.rules == 1:
        rivals = [0, *(index for index in range(1, len(series)) if _size(series[index]) == _size(series[0]))]
    else:
        rivals = [index for index, area in enumerate(areas) if area > _RIVAL * max(areas)]
    if options.scene is not None and not any("R" in series[index].axes for index in rivals):
        if options.scene >= len(rivals):
            raise _not_there(file, "images of the same size", len(rivals), "--scene", options.scene)
        return rivals[options.scene]
    if len(rivals) == 1:
        return rivals[0]
    last = len(rivals) - 1
    names = [series[index].name for index in rivals]
    if series[rivals[0]].kind in {"generic", "shaped", "uniform"}:
        reason = "its pages are of several kinds, so that the order of the planes is not known"
        raise cannot_decode(file, reason, f"Save it as a stack of pages of one kind, or pass --scene 0 to {last}.")
    listed = ", ".join(f"{number} {name!r}" for number, name in enumerate(names[:5]))
    raise cannot_decode(
        file, f"it holds {len(rivals)} images of the same size ({listed})", f"Pass --scene 0 to {last} for one of them."
    )


def find_planes(series: tifffile.TiffPageSeries, file: str, options: ImportOptions, *, named: bool = False) -> Planes:
    """Find the planes of a series by its axes.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
    file : str
        For messages.
    options : ImportOptions
        Which slice, time point and scene.
    named : bool
        Whether the slices have names, by which all channels were chosen: they are channels then.

    Raises
    ------
    InputError
        If the meaning of an axis is not certain, or asks for a choice.
    """
    both = zip(series.axes, series.shape, strict=True)
    kept = [(axis, size) for axis, size in both if size > 1 or axis in "YX"]
    axes, shape = "".join(axis for axis, _ in kept), tuple(size for _, size in kept)
    if axes.count("Y") != 1 or axes.count("X") != 1:
        raise _unclear(series, file, "which are the rows and columns is not known")
    others = [(axis, size) for axis, size in kept if axis not in "YX"]
    channel_axes = _find_channel_axes(series, others, file, options, named=named)
    fixed: dict[str, Sequence[int]] = {
        axis: _choose(axis, size, series, file, options) for axis, size in others if axis not in channel_axes
    }
    indices = []
    for chosen in itertools.product(*(range(size) for axis, size in others if axis in channel_axes)):
        numbers = iter(chosen)
        ranges = [[next(numbers)] if axis in channel_axes else fixed[axis] for axis, _ in others]
        indices.append(tuple(itertools.product(*ranges)))
    if len(indices) > MAX_PLANES and len(series.pages) > 1:
        raise cannot_decode(file, f"it has more than {MAX_PLANES} pages", "Save each stack as a file of its own.")
    is_rgb = series.keyframe.photometric == tifffile.PHOTOMETRIC.RGB
    is_color = is_rgb and (options.rules == 1 or (channel_axes == "S" and len(indices) >= 3))
    return Planes(
        axes=axes,
        shape=shape,
        indices=tuple(indices),
        n_extra=len(indices) - 3 if is_color and (len(indices) == 4 or options.rules > 1) else 0,
        is_color=is_color,
        channel_axes=channel_axes,
    )


def _find_channel_axes(
    series: tifffile.TiffPageSeries,
    others: Sequence[tuple[str, int]],
    file: str,
    options: ImportOptions,
    *,
    named: bool,
) -> str:
    """Return the letters of the axes that count planes."""
    axes = "".join(axis for axis, _ in others)
    if options.rules == 1:
        if len(axes) > 1:
            raise _unclear(series, file, "a stack has one besides Y and X")
        return axes
    if named and axes == "Z":
        return axes
    unknown = [axis for axis in axes if axis not in "CS" and axis not in _CHOICES]
    counting = "".join(axis for axis in axes if axis in "CS")
    # Pages without any word about them are how most programs write planes.
    if len(axes) == 1 and unknown and unknown[0] in _NAMELESS:
        return axes
    # Colors of several channels are counted in OME alone.
    if unknown or (len(counting) > 1 and series.kind != "ome") or len(set(axes)) < len(axes):
        raise _unclear(series, file, "which of them counts the channels is not known")
    return counting


def _choose(axis: str, size: int, series: tifffile.TiffPageSeries, file: str, options: ImportOptions) -> Sequence[int]:
    """Return the positions along an axis that the options ask for."""
    words, option = _CHOICES[axis]
    choice = {"Z": options.z, "T": options.time, "R": options.scene}[axis]
    if choice is None:
        remedy = f"Pass {option} 0 to {size - 1} for one of them"
        if axis == "Z":
            remedy = f"Pass --z {', '.join(PROJECTIONS)}, or the number of a slice, 0 to {size - 1}"
        instead = "; if they are channels, save it with an axis C instead (Fiji: Stack to Hyperstack)"
        has_channels = "C" in series.axes and series.shape[series.axes.index("C")] > 1
        raise _unclear(series, file, f"{size} {words}", f"{remedy}{'' if has_channels else instead}.")
    if choice in {"max", "mean"}:
        return range(size)
    number = size // 2 if choice == "middle" else int(choice)
    if number >= size:
        raise _not_there(file, words, size, option, number)
    return [number]


def _unclear(
    series: tifffile.TiffPageSeries, file: str, reason: str, remedy: str = "Save each stack as a file of its own."
) -> InputError:
    return cannot_decode(file, f"its axes are {series.axes} of {series.shape}: {reason}", remedy)


def _not_there(file: str, words: str, size: int, option: str, number: int) -> InputError:
    return cannot_decode(file, f"it has {size} {words}, and {option} is {number}", f"Pass {option} 0 to {size - 1}.")


def _count_pixels(series: tifffile.TiffPageSeries) -> int:
    return math.prod(_size(series))


def _size(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    return series.keyframe.imagelength, series.keyframe.imagewidth
