"""TIFF files, single planes and stacks, decoded by tifffile."""

import contextlib
import io
import logging
import math
import xml.etree.ElementTree
from functools import cached_property

import numpy as np
import tifffile

from hpa_data.sources.image_file import ImageFile, Pixels, cannot_decode, check_size, damaged_file
from hpa_data.sources.options import ImportOptions

# Pages of a TIFF; the known stacks have 7.
MAX_PAGES = 64

# None, LZW, Deflate (two numbers), PackBits, LZMA, Zstandard. All others embed an image with a size of its own, which
# could be larger than the page says.
COMPRESSIONS = {1, 5, 8, 32946, 32773, 34925, 50000}


def open_tiff(content: bytes, file: str, format_name: str, options: ImportOptions) -> ImageFile:
    """Open a TIFF, BigTIFF, OME-TIFF or ImageJ stack; its planes are decoded when they are loaded."""
    # What it logs about a damaged file reaches us as an exception, too.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # An OME-TIFF may name other files as parts of itself: do not look for them.
    tiff = tifffile.TiffFile(io.BytesIO(content), _multifile=False)
    _check_tiff(tiff, file, len(content))
    planes = _TiffPlanes(tiff, file, len(content))
    is_color = tiff.series[0].keyframe.photometric == tifffile.PHOTOMETRIC.RGB
    return ImageFile(
        file=file,
        format=format_name,
        shape=planes.shape,
        n_planes=3 if is_color and planes.n_planes == 4 else planes.n_planes,
        is_color=is_color,
        max_value=planes.max_value,
        names=_read_names(tiff, planes.n_planes),
        load=planes.read,
    )


class _TiffPlanes:
    """The planes of a TIFF, decoded page by page, or all at once where one page holds them."""

    def __init__(self, tiff: tifffile.TiffFile, file: str, n_bytes: int) -> None:
        self._tiff, self._file, self._n_bytes = tiff, file, n_bytes
        self._series = series = tiff.series[0]
        page = series.keyframe
        self._plane_axis = _find_plane_axis(series, file)
        height, width = (series.shape[series.axes.index(axis)] for axis in "YX")
        self.shape = (height, width)
        self.n_planes = math.prod(series.shape) // (height * width)
        bits = page.bitspersample
        self.max_value = 2**bits - 1 if isinstance(bits, int) else int(np.iinfo(series.dtype).max)
        self._is_inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE

    def read(self, index: int) -> Pixels:
        """Decode a plane, uint8 or uint16 (Y, X)."""
        try:
            if len(self._series.pages) == self.n_planes > 1:
                plane = self._tiff.asarray(key=index, series=0, maxworkers=1).squeeze()
            else:  # planes interleaved, or one behind the other in a single page
                plane = self._stack[index]
        except Exception as error:
            raise damaged_file(self._file, self._n_bytes, error) from error
        return self.max_value - plane if self._is_inverted else plane

    @cached_property
    def _stack(self) -> Pixels:
        array = self._series.asarray(maxworkers=1).squeeze()
        return array[None] if self._plane_axis is None else np.moveaxis(array, self._plane_axis, 0)  # (planes, Y, X)


def _find_plane_axis(series: tifffile.TiffPageSeries, file: str) -> int | None:
    """Return the axis of a stack that counts its planes, axes of length 1 left out; None for a single plane."""
    axes = [axis for axis, size in zip(series.axes, series.shape, strict=True) if size > 1]
    others = [index for index, axis in enumerate(axes) if axis not in "YX"]
    if "Y" not in axes or "X" not in axes or len(others) > 1:
        raise cannot_decode(
            file,
            f"its axes are {series.axes} of {series.shape}; a stack has one besides Y and X",
            "Save each stack as a file of its own.",
        )
    return others[0] if others else None


def _check_tiff(tiff: tifffile.TiffFile, file: str, n_bytes: int) -> None:
    """Refuse a file that is not a plane or a stack, or would decode to more than its header says."""
    _check_pages(tiff, file)
    series, page = tiff.series[0], tiff.series[0].keyframe
    size = (page.imagewidth, page.imagelength)
    if any((other.keyframe.imagewidth, other.keyframe.imagelength) == size for other in tiff.series[1:]):
        raise cannot_decode(
            file,
            "its pages are of several kinds, so that the order of the planes is not known",
            "Save it as a stack of pages of one kind.",
        )
    if page.compression not in COMPRESSIONS:
        raise cannot_decode(
            file,
            f"its compression {page.compression!r} embeds an image of its own size",
            "Save it with LZW, Deflate or no compression.",
        )
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        raise cannot_decode(file, "its colors are indices into a palette", "Save it as gray or RGB.")
    if series.dtype is None or series.dtype.kind != "u" or series.dtype.itemsize > 2:
        raise cannot_decode(file, f"its pixels are {series.dtype}, not 8 or 16 bits, unsigned", "Convert its pixels.")
    if page.is_tiled:
        tile_bytes = page.tilewidth * page.tilelength * page.samplesperpixel * 2
        check_size(file, page.tilelength, page.tilewidth, tile_bytes)
    n_loaded = len(series.pages) if len(series.pages) > 1 else 1  # a page at a time, if there are several
    check_size(file, page.imagelength, page.imagewidth, math.prod(series.shape) // n_loaded * series.dtype.itemsize)
    for part in tiff.pages if len(series.pages) > 1 else [page]:
        ends = [start + length for start, length in zip(part.dataoffsets, part.databytecounts, strict=True)]
        # tifffile leaves strips of no bytes black.
        if not ends or min(part.databytecounts) < 1 or max(ends) > n_bytes:
            raise ValueError("its strips lie outside the file")


def _check_pages(tiff: tifffile.TiffFile, file: str) -> None:
    """Refuse a TIFF of more pages than a sample can have, before they are all read."""
    with contextlib.suppress(IndexError):
        tiff.pages[MAX_PAGES]
        raise cannot_decode(file, f"it has more than {MAX_PAGES} pages", "Save each stack as a file of its own.")


def _read_names(tiff: tifffile.TiffFile, n_planes: int) -> tuple[str, ...]:
    """Read the channel names of an OME-TIFF or an ImageJ stack; empty if it does not name each."""
    names: list[str] = []
    if tiff.is_ome and tiff.ome_metadata:
        root = xml.etree.ElementTree.fromstring(tiff.ome_metadata)
        image = next((element for element in root.iter() if element.tag.endswith("}Image")), root)
        channels = [element for element in image.iter() if element.tag.endswith("}Channel")]
        names = [channel.get("Name") or "" for channel in channels]
    elif tiff.is_imagej and tiff.imagej_metadata:
        names = [str(label) for label in tiff.imagej_metadata.get("Labels") or ()]
    return tuple(names) if len(names) == n_planes else ()
