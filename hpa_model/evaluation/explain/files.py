"""The folder that `hpa explain` writes: a picture of each sample, all maps, and an index."""

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.kvstore import find_url
from hpa_data.system.atomic import remove_abandoned, write_atomic
from hpa_data.system.files import read_text
from hpa_data.system.outputs import check_output_folder

MAPS_FILE, INDEX_FILE = "maps.npz", "index.json"
# Of the names of pictures: digits of the number, and letters of the id.
N_DIGITS, MAX_LETTERS = 3, 60
_PICTURE = re.compile(rf"\d{{{N_DIGITS},}}-[\w.-]*\.png", re.ASCII)
# What an index of ours has, be it of an earlier version.
_KEYS = {"hpa", "method", "samples"}
# In an index: pictures of a command that has not ended, or was interrupted.
_UNFINISHED = "unfinished"
# About the size of a picture with six classes.
PICTURE_BYTES = 1_500_000

Cells = npt.NDArray[np.float32]


def check_folder(out: Path, *, source: Path | str | None = None, n_samples: int = 0) -> None:
    """Refuse a folder that could not be written, or that holds what is not ours; InputError.

    A file is ours if the index of the folder lists it: its name alone says little, as other pictures may be numbered.

    Parameters
    ----------
    out : Path
    source : Path or str, optional
        What is explained; neither may lie in the other.
    n_samples : int
        Pictures that it will hold.
    """
    if source is not None and find_url(Path(source)) is None:
        places = Path(os.path.realpath(out)), Path(os.path.realpath(source))
        if places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0]):
            raise InputError(
                f"out must lie outside of SOURCE, and not contain it. Received: out={out}, SOURCE={source}. Pass "
                "another folder."
            )
    check_output_folder(out, n_bytes=n_samples * PICTURE_BYTES)
    if not out.is_dir():
        return
    foreign = _list_foreign(out)
    if foreign and all(name.endswith(".part") for name in foreign):  # or nothing is touched
        remove_abandoned(out)
        foreign = _list_foreign(out)
    if foreign:
        raise InputError(
            f"out must be a new or empty folder, or one that `hpa explain` wrote. Received: {out}, which has "
            f"{foreign[0]!r}. Pass another folder."
        )


def begin_folder(out: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Make a folder; return an index without samples, for `write_picture`: an earlier one no longer says what is there.

    It still lists the pictures of an earlier command, so that these can be replaced and removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = sorted(_list_own(_read_index(out)) - {MAPS_FILE, INDEX_FILE})
    return {**about, "samples": [], _UNFINISHED: pictures}


def write_picture(out: Path, name: str, content: bytes, begun: dict[str, Any]) -> None:
    """Write a picture, once the index lists it, so that what an interrupted command leaves can be replaced."""
    begun.setdefault(_UNFINISHED, []).append(name)
    _write_index(out, begun)
    write_atomic(out / name, content)


def _read_index(out: Path) -> dict[str, Any] | None:
    """Read the index of a folder; None if there is none of ours."""
    path = out / INDEX_FILE
    if path.is_symlink() or not path.is_file():
        return None
    try:
        index = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    return index if isinstance(index, dict) and index.keys() >= _KEYS else None


def _list_foreign(out: Path) -> list[str]:
    """List what is in a folder and not ours, by name; temporary files last."""
    own = _list_own(_read_index(out))
    names = [p.name for p in out.iterdir() if p.name not in own or not (p.is_file() or p.is_symlink())]
    return sorted(names, key=lambda name: (name.endswith(".part"), name))


def _list_own(index: Mapping[str, Any] | None) -> set[str]:
    """List the files that are ours by an index. Names that are no names of pictures are passed over."""
    if index is None:
        return set()
    samples, unfinished = index["samples"], index.get(_UNFINISHED)
    named = [each.get("file") for each in samples if isinstance(each, dict)] if isinstance(samples, list) else []
    named += unfinished if isinstance(unfinished, list) else []
    pictures = {name for name in named if isinstance(name, str) and _PICTURE.fullmatch(name)}
    return {MAPS_FILE, INDEX_FILE, *pictures}


def _write_index(out: Path, index: Mapping[str, Any]) -> None:
    write_atomic(out / INDEX_FILE, (json.dumps(index, indent=2) + "\n").encode())


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
    """Write all maps, and the index that says what they are; then remove what an earlier index alone lists.

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
    index, before = {**about, "samples": list(samples)}, _list_own(_read_index(out))
    _write_index(out, index)
    for name in before - _list_own(index):
        (out / name).unlink(missing_ok=True)
