"""What the metadata of a TIFF say about its planes: their names, and the value of white."""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tifffile

from hpa_data.sources.tiff_axes import Planes

# The tag of the highest value in use.
MAX_SAMPLE_VALUE = 281

# Characters within which OME metadata begin: comments may come before.
_OME_BEGIN = 4096

# ImageJ's position of a slice before its own label: "c:1/4 z:2/5 - ".
_POSITION = re.compile(r"^(?:[czt]:\d+/\d+\s*)+(?:-\s*)?", re.IGNORECASE)

_IMAGE_EXTENSION = re.compile(r"\.(tiff?|png|jpe?g|bmp)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class OmeImage:
    """What OME metadata say about one image."""

    names: tuple[str, ...]
    """Of its channels; empty for a channel without one."""

    significant_bits: int | None


def read_ome(tiff: tifffile.TiffFile) -> list[OmeImage] | None:
    """Read the images of OME metadata; None if there are no such metadata."""
    text = _read_ome_text(tiff)
    if text is None:
        return None
    root = _parse(text)
    if root is None:  # one image, of which nothing is sure but what is said once
        bits = set(re.findall(r'\bSignificantBits="(\d{1,3})"', text))
        return [OmeImage(names=(), significant_bits=int(bits.pop()) if len(bits) == 1 else None)]
    return [_read_image(element) for element in root.iter() if _tag(element) == "Image"]


def is_ome_broken(tiff: tifffile.TiffFile) -> bool:
    """Return whether a file has OME metadata that are no XML."""
    text = _read_ome_text(tiff)
    return text is not None and _parse(text) is None


def has_channels_alone(tiff: tifffile.TiffFile, n_pages: int) -> bool:
    """Return whether OME metadata that are no XML still say that each page is a channel."""
    sizes = set(re.findall(r'\bSize([CZT])="(\d{1,6})"', _read_ome_text(tiff) or ""))
    return sizes == {("C", str(n_pages)), ("Z", "1"), ("T", "1")}


def count_described(tiff: tifffile.TiffFile) -> int:
    """Return how many planes a file has by its OME metadata or by those of tifffile; 0 if they do not say it.

    Nothing is checked: a damaged or hostile file may have three and describe a billion.
    """
    page = tiff.pages.first
    described = 0
    for pixels in re.findall(r"<(?:\w+:)?Pixels\b[^>]*", _read_ome_text(tiff) or ""):
        described = max(described, math.prod(map(int, re.findall(r'\bSize[CZT]="(\d+)"', pixels))))
    if shape := re.search(r'"shape":\s*\[([\d,\s]+)\]', page.description):
        described = max(described, math.prod(map(int, shape.group(1).split(","))) // max(page.size, 1))
    return described


def _read_ome_text(tiff: tifffile.TiffFile) -> str | None:
    description = tiff.pages.first.description
    return description if "<OME" in description[:_OME_BEGIN] else None


def _parse(text: str) -> ET.Element | None:
    try:
        return ET.fromstring(text)
    except (ET.ParseError, ValueError):  # a declared encoding that does not exist
        return None


def _read_image(image: ET.Element) -> OmeImage:
    pixels = next((element for element in image if _tag(element) == "Pixels"), image)
    bits = pixels.get("SignificantBits", "")
    channels = [element for element in pixels if _tag(element) == "Channel"]
    return OmeImage(
        names=tuple(c.get("Name") or c.get("Fluor") or c.get("ID") or "" for c in channels),
        significant_bits=int(bits) if bits.isascii() and bits.isdigit() and len(bits) < 4 else None,
    )


def _tag(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def read_labels(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, file: str | None = None) -> list[str]:
    """Return the labels of an ImageJ stack's slices, without their position; empty if there is not one for each.

    If the name of the file is given, what the labels have of it is left out; see `_drop_file_name`.
    """
    if not tiff.is_imagej or not tiff.imagej_metadata:
        return []
    labels = tiff.imagej_metadata.get("Labels") or []
    sizes = [size for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    n_slices = 1
    for size in sizes:
        n_slices *= size
    if not isinstance(labels, list | tuple) or len(labels) != n_slices:
        return []
    texts = [_POSITION.sub("", str(label).partition("\n")[0]).strip() for label in labels]
    return texts if file is None else _drop_file_name(texts, file)


def _drop_file_name(names: Sequence[str], file: str) -> list[str]:
    """Leave out what all names have in common before `` - ``, or because they begin with the name of the file.

    Programs write ``image.nd2 - DAPI`` or ``image_red.tif``: without that, planes would be called otherwise in each
    file.

    Examples
    --------
    >>> _drop_file_name(["a.nd2 (series 1) - DAPI", "a.nd2 (series 1) - Cy5"], "a.tif")
    ['DAPI', 'Cy5']
    >>> _drop_file_name(["a_red.tif", "a_green.tif"], "train/a.tif")
    ['red', 'green']
    """
    if not names:
        return []
    low, high = min(names), max(names)
    n_shared = next((place for place, pair in enumerate(zip(low, high, strict=False)) if len(set(pair)) > 1), len(low))
    shared = low[:n_shared]
    n_cut = shared.rfind(" - ") + 3 if " - " in shared else 0
    stem = re.sub(r"(\.ome)?\.\w+$", "", file.rpartition("/")[2], flags=re.IGNORECASE)
    if matched := re.match(rf"{re.escape(stem)}[_\-. ]+", shared, re.IGNORECASE):
        n_cut = max(n_cut, matched.end())
    if not n_cut:
        return list(names)
    return [_IMAGE_EXTENSION.sub("", name[n_cut:]) for name in names]


def read_names(
    tiff: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    planes: Planes,
    image: OmeImage | None,
    file: str | None = None,
) -> tuple[str, ...]:
    """Return a name for each plane that is not transparency; empty if the file does not name each.

    If the name of the file is given, what the names have of it is left out; one name for all planes is none.
    """
    n_planes = len(planes.indices) - planes.n_extra
    if image is not None:
        names: Sequence[str] = image.names
    elif tiff.is_imagej:
        names = _name_by_labels(read_labels(tiff, series, file), planes)
    else:
        names = _read_micromanager_names(tiff)
    if file is not None:
        names = [] if len(names) > 1 and len(set(names)) == 1 else _drop_file_name(names, file)
    return tuple(names) if len(names) == n_planes and any(names) else ()


def _name_by_labels(labels: Sequence[str], planes: Planes) -> list[str]:
    """Name planes by the labels of their slices, where those of all Z and T are the same."""
    if not labels or planes.channel_axes not in {"C", "Z", ""}:
        return []
    lengths = [size for axis, size in zip(planes.axes, planes.shape, strict=True) if axis not in "YXS"]
    letters = [axis for axis in planes.axes if axis not in "YXS"]
    found: list[set[str]] = [set() for _ in planes.indices]
    for number, label in enumerate(labels):
        plane = 0
        for axis, size in zip(reversed(letters), reversed(lengths), strict=True):
            number, position = divmod(number, size)  # noqa: PLW2901
            plane = position if axis == planes.channel_axes else plane
        found[plane].add(label)
    return [names.pop() if len(names) == 1 else "" for names in found]


def _read_micromanager_names(tiff: tifffile.TiffFile) -> list[str]:
    metadata: Any = tiff.micromanager_metadata if tiff.is_micromanager else None
    names = (metadata or {}).get("Summary", {}).get("ChNames", [])
    return [str(name) for name in names] if isinstance(names, list) else []


def read_white(
    page: tifffile.TiffPage, image: OmeImage | None, highest: float, *, only_packed: bool = False
) -> tuple[float, str]:
    """Return the value of white, and what in the file declares it; empty if its whole bit depth counts.

    Parameters
    ----------
    page : tifffile.TiffPage
    image : OmeImage, optional
        What OME metadata say.
    highest : float
        The highest value of the data type.
    only_packed : bool
        Go by the bits of a pixel in the file alone.
    """
    depth = int(highest).bit_length()
    bits = page.bitspersample
    if isinstance(bits, int) and bits < depth:
        return 2**bits - 1, f"BitsPerSample={bits}"
    if only_packed:
        return highest, ""
    if image is not None and image.significant_bits and image.significant_bits < depth:
        return 2**image.significant_bits - 1, f"SignificantBits={image.significant_bits}"
    tag = page.tags.get(MAX_SAMPLE_VALUE)
    values = set(tag.value if isinstance(tag.value, tuple) else [tag.value]) if tag is not None else set()
    value = values.pop() if len(values) == 1 else None
    # All ones, and at least half of the bits: some programs write the highest pixel of each file, which is no white.
    if (
        isinstance(value, int)
        and value > 0
        and value & (value + 1) == 0
        and depth <= 2 * value.bit_length() < 2 * depth
    ):
        return value, f"MaxSampleValue={value}"
    return highest, ""
