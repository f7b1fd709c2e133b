"""The pixels of a TIFF's planes: decoded page by page, or all at once where one page holds them."""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import tifffile

from hpa_data.errors import InputError
from hpa_data.sources.image_file import Pixels, cannot_decode, check_size, damaged_file
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.orientation import ORIENTATION_TAG, UPRIGHT, check_orientation, turn_upright, turned_shape
from hpa_data.sources.tiff_axes import Index, Planes
from hpa_data.sources.tiff_metadata import OmeImage, read_white


class TiffPixels:
    """What the planes of a series are like, and how they are loaded."""

    def __init__(
        self,
        series: tifffile.TiffPageSeries,
        planes: Planes,
        options: ImportOptions,
        image: OmeImage | None,
        *,
        file: str,
        n_bytes: int,
    ) -> None:
        page = series.keyframe
        self._series, self._planes, self._z = series, planes, options.z
        self._file, self._n_bytes = file, n_bytes
        tag = page.tags.get(ORIENTATION_TAG) if options.rules > 1 else None
        self._orientation = check_orientation(tag.value) if tag is not None else UPRIGHT
        self.shape = turned_shape((page.imagelength, page.imagewidth), self._orientation)
        # Gray values of its indices, or red, green and blue (3, indices).
        self._palette = _read_palette(page, planes, file)
        self.has_colors = self._palette is not None and self._palette.ndim == 2
        self.dtype: np.dtype[np.generic] = series.dtype if self._palette is None else self._palette.dtype
        self._is_inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        self.white, self.declared = _find_white(self.dtype), ""
        if self._palette is None and self.dtype.kind in "iu":
            # With white at 0, black is the highest value of the depth, whatever is in use.
            is_old = options.rules == 1 or self._is_inverted
            self.white, self.declared = read_white(page, image, self.white, only_packed=is_old)
        self._n_outer = _count_outer_axes(series, planes)
        n_pixels = page.size if self._n_outer else math.prod(planes.shape)
        check_size(file, page.imagelength, page.imagewidth, n_pixels * series.dtype.itemsize)

    def load(self, index: int) -> Pixels:
        """Decode a plane, uint8, uint16, uint32 or float32 (Y, X)."""
        slices = self._planes.indices[0 if self.has_colors else index]
        try:
            plane = self._read(slices[0]) if len(slices) == 1 else self._project(slices)
            if self._palette is not None:
                plane = self._palette[index][plane] if self.has_colors else self._palette[plane]
        except InputError:
            raise
        except Exception as error:
            raise damaged_file(self._file, self._n_bytes, error) from error
        if self._is_inverted:
            plane = plane.dtype.type(self.white) - plane
        return turn_upright(plane, self._orientation)

    def _project(self, slices: Sequence[Index]) -> Pixels:
        """Return the highest or the mean of each pixel over slices; the mean of whole numbers is rounded."""
        first = self._read(slices[0])
        if self._z == "max":
            highest = first.copy()
            for index in slices[1:]:
                np.maximum(highest, self._read(index), out=highest)
            return highest
        total = first.astype(np.float64)
        for index in slices[1:]:
            total += self._read(index)
        total /= len(slices)
        return total.astype(first.dtype) if first.dtype.kind == "f" else np.rint(total).astype(first.dtype)

    def _read(self, index: Index) -> Pixels:
        """Decode the pixels at a position along all axes but Y and X."""
        if self._n_outer:
            outer, inner = index[: self._n_outer], index[self._n_outer :]
            number = int(np.ravel_multi_index(outer, self._planes.shape[: self._n_outer]))
            axes, shape = self._planes.axes[self._n_outer :], self._planes.shape[self._n_outer :]
            page = self._series.pages[number]
            assert page is not None  # checked when the file was opened
            array = page.asarray(maxworkers=1).reshape(shape)
        else:
            array, inner, axes = self._whole, index, self._planes.axes
        positions = iter(inner)
        plane = array[tuple(slice(None) if axis in "YX" else next(positions) for axis in axes)]
        return self._check_pixels(plane.T if axes.index("X") < axes.index("Y") else plane)

    @cached_property
    def _whole(self) -> Pixels:
        array: Pixels = self._series.asarray(maxworkers=1).reshape(self._planes.shape)
        return array

    def _check_pixels(self, plane: Pixels) -> Pixels:
        """Return pixels as an unsigned or a 32-bit floating-point type."""
        kind = plane.dtype.kind
        if kind == "b":
            return plane.astype(np.uint8)
        if kind == "i":
            if plane.min() < 0:
                reason = f"its pixels are {plane.dtype}, and {np.count_nonzero(plane < 0)} of them are below 0"
                raise cannot_decode(self._file, reason, "Save it with unsigned pixels, or shift them to begin at 0.")
            return plane.astype(plane.dtype.str.replace("i", "u"))
        if kind == "f":
            with np.errstate(over="ignore"):
                plane = plane.astype(np.float32)
            n_wrong = plane.size - np.count_nonzero(np.isfinite(plane))
            if n_wrong:
                reason = f"{n_wrong} of its pixels are infinite or not a number"
                raise cannot_decode(self._file, reason, "Replace them, and save it again.")
        return plane


def _count_outer_axes(series: tifffile.TiffPageSeries, planes: Planes) -> int:
    """Return how many of the first axes count pages, each decoded alone; 0 if all pages are decoded at once."""
    page = series.keyframe
    inner = [size for axis, size in zip(page.axes, page.shape, strict=True) if size > 1 or axis in "YX"]
    n_outer = len(planes.shape) - len(inner)
    is_whole = n_outer < 1 or list(planes.shape[n_outer:]) != inner
    return 0 if is_whole or math.prod(planes.shape[:n_outer]) != len(series.pages) else n_outer


def _find_white(dtype: np.dtype[np.generic]) -> float:
    """Return the highest value of a data type; 1 for floating-point numbers."""
    return 1.0 if dtype.kind == "f" else 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)  # type: ignore[type-var]


def _read_palette(page: tifffile.TiffPage, planes: Planes, file: str) -> Pixels | None:
    """Return the values of a palette, uint8 or uint16: gray (indices,), or red, green and blue (3, indices).

    None if the page has no palette.
    """
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE:
        return None
    palette = page.colormap
    if palette is None or palette.ndim != 2 or len(palette) != 3 or len(planes.indices) > 1 or np.ptp(palette) == 0:
        raise cannot_decode(
            file, "its colors are indices into a palette, which cannot be applied", "Save it as gray or RGB."
        )
    high = palette >> 8
    if (high * 257 == palette).all() or (high << 8 == palette).all():  # 8 bits, widened in one of two ways
        palette = high.astype(np.uint8)
    is_gray = (palette[0] == palette[1]).all() and (palette[0] == palette[2]).all()
    return palette[0] if is_gray else palette
