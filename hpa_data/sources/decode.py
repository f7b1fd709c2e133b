"""What an image file holds: formats, bit depths, sizes, and what is damaged.

imagecodecs decodes PNG faster than OpenCV and JPEG in half of its time (`benchmarks/RESULTS.md`); tifffile reads what
is a TIFF. Whatever a file claims, no more than `MAX_DECODED_BYTES` of it are decoded.
"""

import contextlib
import io
import logging
import math
import struct
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from hpa_data.errors import InputError, first_line

Pixels = npt.NDArray[np.unsignedinteger]

# The largest known picture, an interleaved 16-bit stack of 7 filters at 4096 x 4096, has 235 MB.
MAX_DECODED_BYTES = 256 * 2**20

# Pixels of a plane: 8192 x 8192, four times the largest known.
MAX_PIXELS = 2**26

# Pages of a TIFF; the stacks at hand have 7.
MAX_PAGES = 64

# Of a TIFF: none, LZW, Deflate (two numbers), PackBits, LZMA, Zstandard. All others are pictures of their own inside,
# with a size of their own.
COMPRESSIONS = {1, 5, 8, 32946, 32773, 34925, 50000}

# Scans of a progressive JPEG, each a pass over the whole picture; encoders make about ten.
MAX_SCANS = 100

# Bytes that may follow the end of a PNG or JPEG: some programs append notes.
MAX_TAIL = 4096


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """What one file holds.

    Attributes
    ----------
    file : str
        Its name, for messages.
    form : str
        PNG, JPEG or TIFF.
    shape : tuple of int
        (Y, X) of each plane.
    n_planes : int
        Without transparency.
    is_colour : bool
        Whether the three planes are red, green and blue of one picture.
    max_value : int
        The highest value that its bit depth allows: 255, 4095, 65535.
    names : tuple of str
        What the file calls its planes; empty if it does not.
    load : function of int
        Returns a plane, uint8 or uint16 (Y, X).
    """

    file: str
    form: str
    shape: tuple[int, int]
    n_planes: int
    is_colour: bool
    max_value: int
    names: tuple[str, ...] = ()
    load: Callable[[int], Pixels]


def open_image(content: bytes, file: str) -> ImageFile:
    """Look into an image file.

    Parameters
    ----------
    content : bytes
        PNG, JPEG or TIFF, whatever its name says.
    file : str
        Its name, for messages.

    Returns
    -------
    ImageFile

    Raises
    ------
    InputError
        If it is none of these, damaged, or larger than `MAX_DECODED_BYTES`.
    """
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _open_png(content, file)
        if content.startswith(b"\xff\xd8\xff"):
            return _open_jpeg(content, file)
        if content[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
            return _open_tiff(content, file)
        raise ValueError("it is no PNG, JPEG or TIFF file")
    except InputError:
        raise
    # Decoders of damaged files raise anything, struct.error and ZeroDivisionError among it.
    except Exception as error:
        raise _damaged(file, len(content), error) from error


def _damaged(file: str, n_bytes: int, error: Exception) -> InputError:
    reason = first_line(error)[:200]
    return InputError(
        f"A plane must be a whole image file. Received: {file} of {n_bytes} bytes, which cannot be decoded: {reason}. "
        "Fetch the file again.",
        file=file,
    )


def _check_size(n_pixels: int, n_bytes: int) -> None:
    if n_pixels > MAX_PIXELS:
        raise ValueError(f"it claims {n_pixels} pixels, more than {MAX_PIXELS}")
    if n_bytes > MAX_DECODED_BYTES:
        raise ValueError(f"it claims {n_bytes} bytes of pixels, more than {MAX_DECODED_BYTES}")


def _check_end(content: bytes, mark: bytes) -> None:
    """Refuse a file that was cut short: decoders fill up with gray, or do not look for the end."""
    if content.rfind(mark, max(len(content) - len(mark) - MAX_TAIL, 0)) < 0:
        raise ValueError("its end is missing")


def _open_png(content: bytes, file: str) -> ImageFile:
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    # Palettes are expanded to three planes, and to four where they have transparency.
    n_planes = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}.get(colour, 4)
    _check_size(width * height, width * height * n_planes * (2 if depth == 16 else 1))
    _check_end(content, b"IEND\xaeB`\x82")
    return _open_array(imagecodecs.png_decode(content), file, "PNG")


def _open_jpeg(content: bytes, file: str) -> ImageFile:
    height, width, n_planes = _read_jpeg_size(content)
    _check_size(width * height, width * height * n_planes)
    if n_planes not in {1, 3}:
        raise ValueError(f"it has {n_planes} planes, which are no colours of light")
    if content.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError(f"it has more than {MAX_SCANS} scans")
    _check_end(content, b"\xff\xd9")
    return _open_array(imagecodecs.jpeg8_decode(content), file, "JPEG")


def _read_jpeg_size(content: bytes) -> tuple[int, int, int]:
    """Read height, width and planes from a JPEG's frame header."""
    place = 2
    while True:
        mark, kind, length = struct.unpack_from(">BBH", content, place)
        # Kinds that have no length, restarts and the like, do not belong before the frame header.
        if mark != 0xFF or kind in {0x00, 0x01} or 0xD0 <= kind <= 0xDA:
            raise ValueError("its header is damaged")
        if kind == 0xFF:  # a fill byte
            place += 1
        # Frame headers are C0 to CF, but for tables (C4, CC) and an extension (C8).
        elif 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            height, width, n_planes = struct.unpack_from(">HHB", content, place + 5)
            return height, width, n_planes
        else:
            place += 2 + length


def _open_array(array: Pixels, file: str, form: str) -> ImageFile:
    """Take a decoded PNG or JPEG, (Y, X) or (Y, X, planes); an even number of planes has transparency last."""
    n_planes = 1 if array.ndim == 2 else (array.shape[2] - 1) // 2 * 2 + 1
    pixels = array.reshape(*array.shape[:2], -1)  # (Y, X, planes)

    def load(index: int) -> Pixels:
        # OpenCV takes one plane out of three in a fifth of NumPy's time.
        return pixels[..., 0] if array.ndim == 2 else cv2.extractChannel(pixels, index)

    return ImageFile(
        file=file,
        form=form,
        shape=(array.shape[0], array.shape[1]),
        n_planes=n_planes,
        is_colour=n_planes == 3,
        max_value=2 ** (8 * array.itemsize) - 1,
        load=load,
    )


def _open_tiff(content: bytes, file: str) -> ImageFile:
    # What it has to say of a damaged file reaches us as an exception, too.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # An OME-TIFF may name other files as parts of itself: do not look for them.
    tiff = tifffile.TiffFile(io.BytesIO(content), _multifile=False)
    _check_pages(tiff)
    series = tiff.series[0]
    page = series.keyframe
    size = (page.imagewidth, page.imagelength)
    if any((other.keyframe.imagewidth, other.keyframe.imagelength) == size for other in tiff.series[1:]):
        raise ValueError("its pages are of several kinds, and which of them come first cannot be told")
    if page.compression not in COMPRESSIONS:
        raise ValueError(f"it is compressed by {page.compression!r}, which may hold a picture of another size")
    if page.is_tiled:
        _check_size(page.tilewidth * page.tilelength, page.tilewidth * page.tilelength * page.samplesperpixel * 2)
    if series.dtype is None or series.dtype.kind != "u" or series.dtype.itemsize > 2:
        raise ValueError(f"its pixels are {series.dtype}, not 8 or 16 bit without sign")
    n_loaded = len(series.pages) if len(series.pages) > 1 else 1  # a page at a time, if there are several
    _check_size(page.imagewidth * page.imagelength, math.prod(series.shape) // n_loaded * series.dtype.itemsize)
    for part in tiff.pages if len(series.pages) > 1 else [page]:
        ends = [start + n_bytes for start, n_bytes in zip(part.dataoffsets, part.databytecounts, strict=True)]
        # tifffile leaves strips of no bytes black.
        if not ends or min(part.databytecounts) < 1 or max(ends) > len(content):
            raise ValueError("its strips lie outside the file")
    axes = [axis for axis, size in zip(series.axes, series.shape, strict=True) if size > 1]
    stacked = [axis for axis in axes if axis not in "YX"]
    if "Y" not in axes or "X" not in axes or len(stacked) > 1:
        raise ValueError(f"its axes are {series.axes} of {series.shape}; a stack has one besides Y and X")
    is_colour = page.photometric == tifffile.PHOTOMETRIC.RGB
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        raise ValueError("its colours are numbers of a palette")
    n_planes = math.prod(size for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YX")
    max_value = 2**page.bitspersample - 1 if isinstance(page.bitspersample, int) else np.iinfo(series.dtype).max
    is_inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    whole: list[Pixels] = []

    def load(index: int) -> Pixels:
        try:
            if len(series.pages) == n_planes > 1:
                plane = tiff.asarray(key=index, series=0, maxworkers=1).squeeze()
            else:  # planes interleaved, or one behind the other in a single page
                if not whole:
                    array = series.asarray(maxworkers=1).squeeze()
                    whole.append(np.moveaxis(array, axes.index(stacked[0]), 0) if stacked else array[None])
                plane = whole[0][index]
        except Exception as error:
            raise _damaged(file, len(content), error) from error
        return max_value - plane if is_inverted else plane

    height, width = (series.shape[series.axes.index(axis)] for axis in "YX")
    return ImageFile(
        file=file,
        form="TIFF",
        shape=(height, width),
        n_planes=3 if is_colour and n_planes == 4 else n_planes,
        is_colour=is_colour,
        max_value=int(max_value),
        names=_read_names(tiff, n_planes),
        load=load,
    )


def _check_pages(tiff: tifffile.TiffFile) -> None:
    """Refuse a TIFF of more pages than a sample can have, before they are all read."""
    with contextlib.suppress(IndexError):
        tiff.pages[MAX_PAGES]
        raise ValueError(f"it has more than {MAX_PAGES} pages")


def _read_names(tiff: tifffile.TiffFile, n_planes: int) -> tuple[str, ...]:
    """Read what an OME-TIFF or an ImageJ stack calls its channels; empty if it does not say so for each."""
    names: list[str] = []
    if tiff.is_ome and tiff.ome_metadata:
        root = xml.etree.ElementTree.fromstring(tiff.ome_metadata)
        image = next((element for element in root.iter() if element.tag.endswith("}Image")), root)
        channels = [element for element in image.iter() if element.tag.endswith("}Channel")]
        names = [channel.get("Name") or "" for channel in channels]
    elif tiff.is_imagej and tiff.imagej_metadata:
        names = [str(label) for label in tiff.imagej_metadata.get("Labels") or ()]
    return tuple(names) if len(names) == n_planes else ()
