"""The folder that `hpa explain` writes: a picture of each sample, all maps, and an index."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import write_atomic
from hpa_data.system.outputs import check_output_folder

MAPS_FILE, INDEX_FILE = "maps.npz", "index.json"
# Of the names of pictures: digits of the number, and letters of the id.
N_DIGITS, MAX_LETTERS = 3, 60
_OWN = re.compile(rf"\d{{{N_DIGITS},}}-[\w.-]*\.png|{re.escape(MAPS_FILE)}|{re.escape(INDEX_FILE)}", re.ASCII)
# About the size of a picture with six classes.
PICTURE_BYTES = 1_500_000

Cells = npt.NDArray[np.float32]


def check_folder(out: Path, *, n_samples: int = 0) -> None:
    """Refuse a folder that could not be written, or that holds what is not ours; InputError.

    Parameters
    ----------
    out : Path
    n_samples : int
        Pictures that it will hold.
    """
    check_output_folder(out, n_bytes=n_samples * PICTURE_BYTES)
    if not out.is_dir():
        return
    for path in sorted(out.iterdir()):
        if not _OWN.fullmatch(path.name) or not (path.is_file() or path.is_symlink()):
            raise InputError(
                f"out must be a new or empty folder, or one that `hpa explain` wrote. Received: {out}, which has "
                f"{path.name!r}. Pass another folder."
            )


def empty_folder(out: Path) -> None:
    """Make a folder, and remove what an earlier command wrote there."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(out.iterdir()):
        if _OWN.fullmatch(path.name) and (path.is_file() or path.is_symlink()):
            path.unlink()


def name_picture(number: int, name: str) -> str:
    """Name the picture of a sample: by its number, and the letters of its id that are safe in any file name.

    Examples
    --------
    >>> name_picture(7, "../a b"), name_picture(12, "核")
    ('007-.._a_b.png', '012-_.png')
    """
    safe = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:MAX_LETTERS]
    return f"{number:0{N_DIGITS}}-{safe}.png"


def write_maps(
    out: Path, samples: Sequence[Mapping[str, Any]], cells: Sequence[Cells], about: Mapping[str, Any]
) -> None:
    """Write all maps, and the index that says what they are; the index last.

    Parameters
    ----------
    out : Path
    samples : sequence of mapping
        Each with ``id``, ``part`` and ``classes``, of which each has ``class`` and ``prob`` and the number of its map,
        ``map``.
    cells : sequence of array of float32, shape (y, x)
        The maps.
    about : mapping
        What holds for all of them; ``map_size`` among it.
    """
    listed = [(sample, each) for sample in samples for each in sample["classes"]]
    arrays = {
        "maps": np.stack(cells) if cells else np.zeros((0, *about["map_size"]), np.float32),  # (M, y, x)
        "ids": np.array([sample["id"] for sample, _ in listed], str),
        "parts": np.array([sample["part"] for sample, _ in listed], str),
        "classes": np.array([each["class"] for _, each in listed], str),
        "probs": np.array([each["prob"] for _, each in listed], np.float32),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    write_atomic(out / MAPS_FILE, file.getvalue())
    write_atomic(out / INDEX_FILE, (json.dumps({**about, "samples": samples}, indent=2) + "\n").encode())
