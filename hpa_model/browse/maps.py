"""Class maps of `hpa explain`, for the samples of a catalog."""

import json
from pathlib import Path

from hpa_data.errors import InputError, first_line
from hpa_data.system.files import read_regular, read_text, refuse_unreadable
from hpa_model.browse.catalog import Catalog

INDEX_FILE = "index.json"
# Ten times what a picture with six classes takes.
MAX_PICTURE_BYTES = 16 * 2**20
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_maps(folder: Path, catalog: Catalog) -> dict[int, Path]:
    """Find the pictures that `hpa explain` wrote of samples of a catalog, by index.

    Parameters
    ----------
    folder : Path
        Its ``index.json`` lists ``samples``, each with ``id``, ``part``, and ``file``, a name in this folder.
    catalog : Catalog

    Raises
    ------
    InputError
        If there is no such list, a name leads out of the folder, or no sample is shown.
    """
    try:
        listed = json.loads(read_text(folder / INDEX_FILE))["samples"]
        found = {(str(each["part"]), str(each["id"])): str(each["file"]) for each in listed}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        refuse_unreadable(error, folder / INDEX_FILE)
        raise InputError(
            f"explain must be a folder of class maps. Received: {folder}, without a sound {INDEX_FILE}. Pass another, "
            "or leave it out."
        ) from error
    maps = {}
    for index, (part, name) in enumerate(zip(catalog.parts.tolist(), catalog.ids, strict=True)):
        file = found.get((catalog.part_names[part], name))
        if file is not None:
            if file in {"", ".", ".."} or Path(file).name != file or "\\" in file:
                raise InputError(
                    f"explain must list files of its folder alone. Received: {file!r} in {folder / INDEX_FILE}. "
                    "Leave the folder out."
                )
            maps[index] = folder / file
    if not maps:
        raise InputError(
            f"explain must be of samples of the store. Received: {folder}, with none of the samples that are shown. "
            "Pass a folder of this store."
        )
    return maps


def read_picture(path: Path) -> bytes:
    """Read a picture of class maps; InputError if it is a link, too large, or no PNG file."""
    try:
        if path.is_symlink():  # to any file of the user
            raise ValueError("it is a link")
        content = read_regular(path, max_bytes=MAX_PICTURE_BYTES)
        if not content.startswith(PNG_SIGNATURE):
            raise ValueError("it is not a PNG file")
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path}: {first_line(error)}. Explain the sample again.") from error
    return content
