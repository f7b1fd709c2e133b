"""The files of the page, which are part of this package."""

from importlib.resources import files
from pathlib import PurePath

INDEX = "index.html"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def read_page() -> dict[str, bytes]:
    """Read the files of the page, by name; nothing else is ever served from a disk but samples."""
    folder = files("hpa_model.browse").joinpath("page")
    return {file.name: file.read_bytes() for file in folder.iterdir() if PurePath(file.name).suffix in MEDIA_TYPES}
