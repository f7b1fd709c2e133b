"""A look at samples: one picture of many, as colour composites with id and classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.schema import CHANNELS, is_readable
from hpa_data.store import Store

TILE = 256  # pixels; a grid of 4 x 3 fits a screen
LINE = 18  # pixels a line of text takes
GAP = 4


def compose(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Mix the channels as the Human Protein Atlas shows them.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, 4)
        Red, green, blue, yellow.

    Returns
    -------
    array of uint8, shape (Y, X, 3)
        RGB; yellow adds to red and green at half its strength, so that it does not cover them.
    """
    levels = image.astype(np.uint16)
    half = levels[..., CHANNELS.index("yellow"), None] // 2
    rgb = levels[..., :3] + half * np.array([1, 1, 0], np.uint16)
    return rgb.clip(0, 255).astype(np.uint8)


def draw_grid(
    images: Sequence[npt.NDArray[np.uint8]], titles: Sequence[Sequence[str]], *, columns: int
) -> npt.NDArray[np.uint8]:
    """Lay composites out in a grid, each over its lines of text.

    Parameters
    ----------
    images : sequence of array of uint8, shape (Y, X, 4)
        At least one.
    titles : sequence of sequence of str
        The lines under each.
    columns : int
        Tiles in a row.

    Returns
    -------
    array of uint8, shape (rows, columns, 3)
        RGB, on black.
    """
    n_lines = max(len(lines) for lines in titles)
    height, width = TILE + n_lines * LINE + GAP, TILE + GAP
    n_rows = -(-len(images) // columns)
    grid = np.zeros((n_rows * height, min(columns, len(images)) * width, 3), np.uint8)
    for place, (image, lines) in enumerate(zip(images, titles, strict=True)):
        top, left = place // columns * height, place % columns * width
        grid[top : top + TILE, left : left + TILE] = cv2.resize(
            compose(image), (TILE, TILE), interpolation=cv2.INTER_AREA
        )
        for number, line in enumerate(lines):
            below = top + TILE + (number + 1) * LINE - 5
            _write(grid[: below + LINE, : left + TILE], line, (left + 2, below))
    return grid


def _write(area: npt.NDArray[np.uint8], line: str, place: tuple[int, int]) -> None:
    """Write a line of text into an area from a place (X, Y) on, smaller if it would leave the area at the right."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    (width, _), _ = cv2.getTextSize(line, font, scale, 1)
    scale *= min(1, (area.shape[1] - place[0]) / max(width, 1))
    # OpenCV's fonts have ASCII alone.
    shown = line.encode("ascii", "replace").decode()
    cv2.putText(area, shown, place, font, scale, (255, 255, 255), 1, cv2.LINE_AA)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A picture that was written, and the ids of the samples it shows."""

    out: Path
    ids: list[str]


def preview_part(
    store: Store, out: Path, *, part: str = "train", ids: Sequence[str] = (), n_samples: int = 12, columns: int = 4
) -> Preview:
    """Write one picture of some samples of a part.

    Parameters
    ----------
    store : Store
    out : Path
        The PNG file to make.
    part : str
    ids : sequence of str
        These samples; without any, `n_samples` spread evenly over the part.
    n_samples, columns : int

    Returns
    -------
    Preview

    Raises
    ------
    InputError
        If an id is unknown, no sample is readable, or the file cannot be written as PNG.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"out must be a PNG file. Received: out={out}. Name it {out.stem}.png.")
    with store.reader([part]) as reader:
        chosen = _choose(reader.ids, reader.status, ids, n_samples, part)
        images = reader.read(chosen)
        classes = store.part(part).manifest.classes
        titles = []
        for index in chosen:
            names = () if reader.labels is None else [classes[k] for k in np.flatnonzero(reader.labels[index])]
            titles.append([reader.ids[index], *names])
    grid = draw_grid(list(images), titles, columns=columns)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(cv2.imencode(".png", grid[..., ::-1])[1].tobytes())  # OpenCV writes BGR
    return Preview(out=out, ids=[reader.ids[index] for index in chosen])


def _choose(
    known: Sequence[str], status: npt.NDArray[np.uint8], ids: Sequence[str], n_samples: int, part: str
) -> list[int]:
    """Return the indices to show."""
    if ids:
        places = {name: place for place, name in enumerate(known)}
        absent = [name for name in ids if name not in places]
        if absent:
            raise InputError(f"ids must be in the part. Received: {absent[0]!r}, not in {part}. Check the spelling.")
        return [places[name] for name in ids]
    readable = np.flatnonzero(is_readable(status))
    if not len(readable):
        raise InputError(f"A part to look at must have a readable sample. Received: {part} without. Convert it again.")
    spread = np.linspace(0, len(readable) - 1, min(n_samples, len(readable))).round().astype(int)
    return readable[spread].tolist()
