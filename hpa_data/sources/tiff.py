"""TIFF files, single planes and stacks, opened with tifffile."""

import contextlib
import io
import logging
from collections.abc import Sequence

import tifffile

from hpa_data.dataset import fold_name
from hpa_data.sources.image_file import ImageFile, cannot_decode, check_size
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.tiff_axes import MAX_PAGES, MAX_PLANES, choose_series, find_planes
from hpa_data.sources.tiff_metadata import (
    count_described,
    has_channels_alone,
    is_ome_broken,
    read_labels,
    read_names,
    read_ome,
)
from hpa_data.sources.tiff_pixels import TiffPixels

# None, LZW, Deflate (two numbers), PackBits, LZMA, Zstandard. All others embed an image with a size of its own, which
# could be larger than the page says.
COMPRESSIONS = {1, 5, 8, 32946, 32773, 34925, 50000}

# Bytes of a pixel, by the kind of number: unsigned, signed, floating point, true or false.
_DTYPES = {"u": {1, 2, 4}, "i": {1, 2, 4}, "f": {2, 4, 8}, "b": {1}}

_PHOTOMETRIC = tifffile.PHOTOMETRIC
_KNOWN_PHOTOMETRIC = {_PHOTOMETRIC.MINISBLACK, _PHOTOMETRIC.MINISWHITE, _PHOTOMETRIC.RGB, _PHOTOMETRIC.PALETTE}


def open_tiff(content: bytes, file: str, format_name: str, options: ImportOptions) -> ImageFile:
    """Open a TIFF, BigTIFF, OME-TIFF or ImageJ stack; its planes are decoded when they are loaded."""
    # What it logs about a damaged file reaches us as an exception, too.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # An OME-TIFF may name other files as parts of itself: do not look for them.
    tiff = tifffile.TiffFile(io.BytesIO(content), _multifile=False)
    _check_pages(tiff, file)
    all_series = _merge_pages(tiff.series) if options.rules > 1 and options.scene is None else tiff.series
    number = choose_series(all_series, file, options)
    series = all_series[number]
    _check_series(tiff, series, file, len(content))
    if options.rules > 1:
        _check_meaning(tiff, series, file)
    planes = find_planes(series, file, options, named=_is_chosen_by_labels(tiff, series, options, file))
    ome = read_ome(tiff) or []
    # tifffile leaves images out whose pages it does not find.
    image = ome[number] if len(ome) == len(all_series) else ome[0] if len(set(ome)) == 1 else None
    pixels = TiffPixels(series, planes, options, image, file=file, n_bytes=len(content))
    return ImageFile(
        file=file,
        format=format_name,
        shape=pixels.shape,
        n_planes=3 if pixels.has_colors else len(planes.indices) - planes.n_extra,
        is_color=planes.is_color or pixels.has_colors,
        n_extra=planes.n_extra,
        dtype=pixels.dtype.name,
        max_value=pixels.white,
        declared=pixels.declared,
        names=read_names(tiff, series, planes, image, file if options.rules > 1 else None),
        load=pixels.load,
    )


def _merge_pages(series: Sequence[tifffile.TiffPageSeries]) -> Sequence[tifffile.TiffPageSeries]:
    """Return pages that a program wrote one after the other, each as an image of its own, as one stack of pages."""
    first = series[0] if series else None
    if first is None or len(series) == 1 or first.kind not in {"shaped", "generic"}:
        return series
    pages = [page for one in series for page in one.pages]
    kinds = {
        (page.shape, page.axes, page.dtype, page.compression, page.photometric)
        for page in (one.keyframe for one in series)
    }
    if len(kinds) > 1 or len(pages) > len(series) or first.keyframe.axes != "YX":
        return series
    shape = (len(pages), *first.keyframe.shape)
    return [tifffile.TiffPageSeries(pages, shape, first.dtype, "IYX", kind=first.kind)]


def _is_chosen_by_labels(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, options: ImportOptions, file: str
) -> bool:
    """Return whether all channels are chosen by labels that each belong to one slice: Fiji's Images to Stack."""
    keys = list((options.channels or {}).values())
    labels = [fold_name(label) for label in read_labels(tiff, series, file if options.rules > 1 else None)]
    return bool(keys) and all(isinstance(key, str) and labels.count(fold_name(key)) == 1 for key in keys)


def _check_pages(tiff: tifffile.TiffFile, file: str) -> None:
    """Refuse a TIFF of more pages than any sample has, or with metadata that describe as many, before all are read."""
    with contextlib.suppress(IndexError):
        tiff.pages[MAX_PAGES]
        raise cannot_decode(file, f"it has more than {MAX_PAGES} pages", "Save each stack as a file of its own.")
    # A page may hold several planes. tifffile makes a list of what is described, which takes minutes for a million.
    if (n_described := count_described(tiff)) > MAX_PAGES * MAX_PLANES:
        raise cannot_decode(
            file, f"its metadata describe {n_described} planes", "Export the image again, into one file."
        )


def _check_series(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, file: str, n_bytes: int) -> None:
    """Refuse pages that cannot be decoded, or would decode to more than their header says."""
    page = series.keyframe
    if page.compression not in COMPRESSIONS:
        raise cannot_decode(
            file,
            f"its compression {getattr(page.compression, 'name', page.compression)} embeds an image of its own size",
            "Save it with LZW, Deflate or no compression.",
        )
    if page.photometric == _PHOTOMETRIC.SEPARATED:
        raise cannot_decode(file, "its colors are inks (CMYK), neither gray nor RGB", "Save it as gray or RGB.")
    dtype = series.dtype
    if dtype is None or dtype.itemsize not in _DTYPES.get(dtype.kind, ()):
        reason = f"its pixels are {dtype}, not 8 or 16 bits, unsigned"
        raise cannot_decode(file, reason, "Save it with 16 bits, or as 32-bit floating-point numbers from 0 to 1.")
    if page.is_tiled:
        tile_bytes = page.tilewidth * page.tilelength * page.samplesperpixel * dtype.itemsize
        check_size(file, page.tilelength, page.tilewidth, tile_bytes)
    for part in series.pages:
        if part is None:
            reason = "its metadata describe pages that it does not hold"
            raise cannot_decode(file, reason, "Export the image again, into one file.")
        ends = [start + length for start, length in zip(part.dataoffsets, part.databytecounts, strict=True)]
        # tifffile leaves strips of no bytes black.
        if not ends or min(part.databytecounts) < 1 or max(ends) > n_bytes:
            raise ValueError("its strips lie outside the file")


def _check_meaning(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, file: str) -> None:
    """Refuse pages whose meaning is not certain."""
    page, n_pages = series.keyframe, len(series.pages)
    if page.photometric not in _KNOWN_PHOTOMETRIC:
        reason = f"its photometric interpretation is {getattr(page.photometric, 'name', page.photometric)}"
        raise cannot_decode(file, reason, "Save it as gray or RGB.")
    if n_pages == 1 or series.kind in {"ome", "imagej", "mmstack"}:
        return
    if is_ome_broken(tiff) and not has_channels_alone(tiff, n_pages):
        reason = f"its OME metadata cannot be read, so that the meaning of its {n_pages} pages is not known"
        raise cannot_decode(file, reason, "Save it again with whole metadata, or each plane as a file of its own.")
    if tiff.is_ome and not is_ome_broken(tiff):
        reason = f"its OME metadata describe other files, so that the meaning of its {n_pages} pages is not known"
        raise cannot_decode(file, reason, "Export the image again, into one file.")
