"""Image files: the table of formats, and how a file is opened according to its content.

To add a format, add a row to `FORMATS`: its files are then found, opened and listed in messages. Whatever a file
claims, no more than `image_file.MAX_DECODED_BYTES` of it are decoded.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from hpa_data.errors import InputError
from hpa_data.sources.image_file import ImageFile, cannot_decode, damaged_file
from hpa_data.sources.imageio_formats import open_with_imageio
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.png_jpeg import open_jpeg, open_png
from hpa_data.sources.tiff import open_tiff
from hpa_data.system.complaints import reading_file


@dataclass(frozen=True)
class Format:
    """A format of image files."""

    name: str

    extensions: tuple[str, ...]
    """Of the files that are searched for, in lower case."""

    signature: bytes
    """A regular expression for the first bytes. They decide the format, whatever the file's extension."""

    open: Callable[[bytes, str, str, ImportOptions], ImageFile]
    """Takes the content, the file's name, the format's, and the options. May raise any exception where the file is
    damaged."""


# In its JP2 container, or bare.
_JPEG_2000 = rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"

FORMATS = (
    Format("PNG", (".png",), rb"\x89PNG\r\n\x1a\n", open_png),
    Format("JPEG", (".jpg", ".jpeg"), rb"\xff\xd8\xff", open_jpeg),
    Format("TIFF", (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]", open_tiff),
    Format("AVIF", (".avif",), rb"....ftypavi[fs]", open_with_imageio),
    Format("BMP", (".bmp",), rb"BM", open_with_imageio),
    Format("GIF", (".gif",), rb"GIF8[79]a", open_with_imageio),
    Format("JPEG 2000", (".jp2", ".j2k", ".jpx", ".jpf"), _JPEG_2000, open_with_imageio),
    Format("PNM", (".pgm", ".ppm", ".pnm"), rb"P[2356]\s", open_with_imageio),
    Format("WebP", (".webp",), rb"RIFF....WEBP", open_with_imageio),
)

EXTENSIONS = frozenset(extension for entry in FORMATS for extension in entry.extensions)

_SIGNATURES = tuple((re.compile(entry.signature, re.DOTALL), entry) for entry in FORMATS)


_DEFAULT_OPTIONS = ImportOptions()


def _explain_content(content: bytes) -> tuple[str, str]:
    """Say what a file without an image is, and what to do."""
    if not content.strip(b"\0"):
        return f"it is {'all zeros' if content else 'empty'}", "Fetch the file again."
    if content.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS in place of the file", "Run git lfs pull."
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|error)", content[:200], re.IGNORECASE):
        return "it is a web page in place of the file", "Fetch the file again."
    names = ", ".join(entry.name for entry in FORMATS)
    return f"its content is none of {names}", "Export it as PNG or TIFF."


def open_image(content: bytes, file: str, options: ImportOptions | None = None) -> ImageFile:
    """Open an image file.

    Parameters
    ----------
    content : bytes
        In one of `FORMATS`, whatever the file's extension.
    file : str
        Its name, for messages.
    options : ImportOptions, optional
        Which slice, time point and scene is meant where the file has several, and by which rules it is read.

    Returns
    -------
    ImageFile

    Raises
    ------
    InputError
        If it is in none of these formats, damaged, or larger than `image_file.MAX_DECODED_BYTES`.
    """
    known = next((entry for signature, entry in _SIGNATURES if signature.match(content)), None)
    if known is None:
        raise cannot_decode(file, *_explain_content(content))
    try:
        with reading_file(file):
            return known.open(content, file, known.name, options or _DEFAULT_OPTIONS)
    except InputError:
        raise
    # Decoders of damaged files raise anything, struct.error and ZeroDivisionError among it.
    except Exception as error:
        raise damaged_file(file, len(content), error) from error
