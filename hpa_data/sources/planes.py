"""From the planes of an image file to the channels of a sample: grays, colors, stacks."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from hpa_data.dataset import fold_name
from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_data.sources.image_file import ImageFile, Pixels


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One channel as its file has it."""

    file: str
    """The file's name, for messages."""

    pixels: Pixels
    """uint8, uint16, uint32 or float32, shape (Y, X)."""

    max_value: float
    """The value of white; see `ImageFile.max_value`."""

    n_summed: int = 1
    """How many planes of the file were added up."""

    declared: str = ""
    """Where the file says that less than its whole bit depth counts; see `ImageFile.declared`."""

    name: str = ""
    """The name that the plane has in the file; empty if it has none."""

    note: str = ""
    """A warning about the plane; empty if there is none."""


def extract_gray(image: ImageFile) -> Plane:
    """Return the one plane of a gray image, or of one that stores the same gray as red, green and blue."""
    first = image.load(0)
    if image.n_planes == 3 and image.is_color:
        if any(not np.array_equal(first, image.load(other)) for other in (1, 2)):
            raise InputError(
                f"Cannot read {image.file} as a gray plane: it has colors. Pass --naming hpav18, or write "
                "{color} in place of {channel} in --pattern, to read the plane of each file's color.",
                file=image.file,
            )
    elif image.n_planes != 1:
        raise InputError(
            f"Cannot read {image.file} as a gray plane: it has {image.n_planes} planes. Pass --naming stack for files "
            "that hold whole samples.",
            file=image.file,
        )
    return _make_plane(image, 0, first)


def extract_color(image: ImageFile, color: str) -> Plane:
    """Return the plane of a color image that carries the signal: for yellow, the sum of red and green.

    The note warns if another color is stronger, as in an image under a wrong name. A gray image is returned as it is.
    """
    if not image.is_color:
        return extract_gray(image)
    colors = red, green, blue = [image.load(index) for index in range(3)]
    white, declared, notes = _find_white(image, *colors)
    strength = {name: _sum_pixels(pixels) for name, pixels in zip(("red", "green", "blue"), colors, strict=True)}
    if color == "yellow":
        pixels: Pixels = np.add(red, green, dtype=_SUM_TYPES[red.dtype.name])
        n_summed = 2
        expected, others = min(strength["red"], strength["green"]), [strength["blue"]]
    else:
        pixels, n_summed = {"red": red, "green": green, "blue": blue}[color], 1
        expected, others = strength.pop(color), list(strength.values())
    if max(others) > expected:
        # Stores hold this text: its spelling stays.
        notes.append(f"{image.file}: another colour than {color} is stronger")
    return Plane(
        file=image.file,
        pixels=pixels,
        max_value=n_summed * white,
        n_summed=n_summed,
        declared=declared,
        name=color,
        note="; ".join(notes),
    )


# Of the sum of two planes, which would overflow their own type.
_SUM_TYPES = {"uint8": np.uint16, "uint16": np.uint32, "uint32": np.float32, "float32": np.float32}


def _sum_pixels(pixels: Pixels) -> float:
    # OpenCV, several times as fast as NumPy, has no uint32.
    return float(pixels.sum(dtype=np.float64) if pixels.dtype == np.uint32 else cv2.sumElems(pixels)[0])


def extract_plane(image: ImageFile, key: str | int) -> Plane | None:
    """Return a plane of a stack by its index, or by its name in the file, whatever its case and spaces.

    None if there is no such plane, or if two have that name. By its index, a plane that the file calls transparency is
    found, too.
    """
    if isinstance(key, int):
        index = key
    else:
        names, name = [fold_name(name) for name in image.names], fold_name(key)
        index = names.index(name) if names.count(name) == 1 else image.n_planes
    if index >= image.n_planes + (image.n_extra if isinstance(key, int) else 0):
        return None
    return _make_plane(image, index, image.load(index))


def _make_plane(image: ImageFile, index: int, pixels: Pixels) -> Plane:
    white, declared, notes = _find_white(image, pixels)
    return Plane(
        file=image.file,
        pixels=pixels,
        max_value=white,
        declared=declared,
        name=image.names[index] if index < len(image.names) else "",
        note="; ".join(notes),
    )


def _find_white(image: ImageFile, *planes: Pixels) -> tuple[float, str, list[str]]:
    """Return the value of white, what declares it, and a note if it is exceeded by some pixels.

    The declaration is then wrong, so that the whole range of the type counts: nothing is clipped.
    """
    if image.declared:
        n_above = sum(np.count_nonzero(pixels > image.max_value) for pixels in planes)
        if n_above:
            note = (
                f"{image.file}: {image.declared} is ignored, because {n_above} pixels are above {image.max_value:.0f}"
            )
            return float(np.iinfo(image.dtype).max), "", [note]
    return image.max_value, image.declared, []


# What helps against a note about a file, by words in it.
_NOTE_REMEDIES = {
    "is stronger": "Look whether these files have the right names.",
    "is ignored": "Pass --intensity bits=N if the values above are to be white.",
}


def group_notes(notes: Iterable[str]) -> list[Notice]:
    """Group the notes of samples, see `dataset.Sample.note`, by what they say, whatever the numbers in it."""
    groups: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for note in notes:
        for one in filter(None, note.split("; ")):
            file, _, text = one.rpartition(": ")
            kind = re.sub(r"\d+", "0", text)
            first.setdefault(kind, text)
            groups.setdefault(kind, []).append(file)
    return [
        Notice(
            what=first[kind].replace("colour", "color"),
            n=len(files),
            unit="file",
            examples=tuple(files[:N_EXAMPLES]),
            remedy=next((remedy for words, remedy in _NOTE_REMEDIES.items() if words in kind), "Look at these files."),
        )
        for kind, files in groups.items()
    ]
