"""A look at samples: one picture of many, as colour composites or channel by channel, with ids, classes, transforms."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.augment.transform import describe_transform
from hpa_data.dataset import CHANNELS, is_readable
from hpa_data.errors import InputError
from hpa_data.format.manifest import Provenance
from hpa_data.reader.reader import Reader
from hpa_data.store.part import Part
from hpa_data.store.store import Store

TILE = 256  # pixels; a grid of 4 x 3 fits a screen
LINE = 18  # pixels a line of text takes
LETTERS = 36  # that fit into a line below a tile
GAP = 4

# A taller or wider picture than PNG viewers open.
MAX_TILES = 4096

# What each channel is mixed from: red, green and blue of light.
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}

VIEWS = ("composite", "channels")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture of a grid.

    Attributes
    ----------
    picture : array of uint8, shape (Y, X, 3), or None
        RGB; None leaves the place empty.
    lines : tuple of str
        The text below.
    """

    picture: npt.NDArray[np.uint8] | None = None
    lines: tuple[str, ...] = ()


def to_rgb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
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


def montage(tiles: Sequence[Tile], *, columns: int) -> npt.NDArray[np.uint8]:
    """Lay tiles out in a grid, each over its lines of text.

    Parameters
    ----------
    tiles : sequence of Tile
        At least one.
    columns : int
        Tiles in a row.

    Returns
    -------
    array of uint8, shape (rows, columns, 3)
        RGB, on black.
    """
    n_lines = max(len(tile.lines) for tile in tiles)
    height, width = TILE + n_lines * LINE + GAP, TILE + GAP
    n_rows = -(-len(tiles) // columns)
    grid = np.zeros((n_rows * height, min(columns, len(tiles)) * width, 3), np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * height, place % columns * width
        if tile.picture is not None:
            grid[top : top + TILE, left : left + TILE] = tile.picture
        for number, line in enumerate(tile.lines):
            below = top + TILE + (number + 1) * LINE - 5
            _write(grid[: below + LINE, : left + TILE], line, (left + 2, below))
    return grid


def _write(area: npt.NDArray[np.uint8], line: str, place: tuple[int, int]) -> None:
    """Write a line of text into an area from a place (X, Y) on, smaller if it would leave the area at the right."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    # OpenCV's fonts have ASCII alone.
    shown = line.replace("°", " deg").encode("ascii", "replace").decode()
    (width, _), _ = cv2.getTextSize(shown, font, scale, 1)
    scale *= min(1, (area.shape[1] - place[0]) / max(width, 1))
    cv2.putText(area, shown, place, font, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _shrink(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Reduce a picture, (Y, X, 3), to the size of a tile."""
    return cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A picture that was written, and the ids of the samples it shows."""

    out: Path
    ids: list[str]


def preview_parts(
    store: Store,
    out: Path,
    *,
    parts: Sequence[str] = ("train",),
    ids: Sequence[str] = (),
    n_samples: int = 12,
    columns: int = 4,
    view: str = "composite",
    parents: bool = False,
) -> Preview:
    """Write one image of some samples of parts.

    Parameters
    ----------
    store : Store
    out : Path
        The PNG file to make.
    parts : sequence of str
        Their samples are shown part after part.
    ids : sequence of str
        These samples; without any, `n_samples` of each part, evenly spread over it.
    n_samples, columns : int
    view : {"composite", "channels"}
        One picture a sample, or a row of each channel's own.
    parents : bool
        Of a part of copies: a row for each parent, with its first copies beside it and what was done to them in words.
        `ids` are then those of parents, and `n_samples` their number.

    Returns
    -------
    Preview

    Raises
    ------
    InputError
        If an id is unknown, no sample is readable, the part holds no copies, or the file cannot be written as PNG.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"out must be a PNG file. Received: out={out}. Name it {out.stem}.png.")
    if view not in VIEWS or (parents and view != "composite"):
        raise InputError(
            f"view must be one of {', '.join(VIEWS)}, and composite for parents. Received: view={view!r}. Choose one."
        )
    opened = [store.part(name) for name in parts]
    absent = [name for name in ids if not any(name in part.ids for part in opened)] if not parents else []
    if absent:
        raise InputError(
            f"ids must be in {' or '.join(parts)}. Received: {absent[0]!r}, which is not. Check the spelling, or pass "
            "another part."
        )
    n_samples_drawn = len(ids) or sum(min(n_samples, len(part.ids)) for part in opened)
    n_tiles = n_samples_drawn * {"channels": len(CHANNELS)}.get(view, 1)
    if n_tiles * (columns if parents else 1) > MAX_TILES:
        raise InputError(
            f"A picture must have up to {MAX_TILES} tiles. Received: {n_tiles * (columns if parents else 1)}. Show "
            "fewer samples."
        )
    shown: list[str] = []
    tiles: list[Tile] = []
    for part in opened:
        wanted = [name for name in ids if name in part.ids]
        if parents:
            names, drawn = _draw_families(store, part, ids, n_samples, columns)
        elif ids and not wanted:
            continue
        else:
            with store.reader([part.name]) as reader:
                chosen = _choose(reader.ids, is_readable(reader.status), wanted, n_samples, part.name)
                names = [reader.ids[index] for index in chosen]
                drawn = [tile for index in chosen for tile in _draw_sample(reader, index, part, view)]
        shown += names
        tiles += drawn
    if view == "channels":
        columns = len(CHANNELS)
    grid = montage(tiles, columns=columns)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(cv2.imencode(".png", grid[..., ::-1])[1].tobytes())  # OpenCV writes BGR
    return Preview(out=out, ids=shown)


def _draw_sample(reader: Reader, index: int, part: Part, view: str) -> Iterator[Tile]:
    """Draw a sample of a part as one tile, or as one for each channel."""
    image = reader.read([index])[0]
    lines = (reader.ids[index], *_name_classes(part, index))
    if view == "composite":
        yield Tile(picture=_shrink(to_rgb(image)), lines=lines)
        return
    for place, channel in enumerate(CHANNELS):
        picture = image[..., place, None] * np.array(COLOURS[channel], np.uint8)
        yield Tile(picture=_shrink(picture), lines=(channel, *(lines if place == 0 else ())))


def _name_classes(part: Part, index: int) -> list[str]:
    """Name the classes that a sample shows."""
    if part.labels is None:
        return []
    return [part.manifest.classes[k] for k in np.flatnonzero(part.labels[index])]


def _draw_families(
    store: Store, part: Part, ids: Sequence[str], n_parents: int, columns: int
) -> tuple[list[str], list[Tile]]:
    """Draw parents, each beside its first copies."""
    if part.copies is None:
        raise InputError(
            f"A part to show with parents must hold copies. Received: {part.name!r}. Pass --part augmented."
        )
    if columns < 2:
        raise InputError("columns must be at least 2 to show a parent and a copy. Received: 1. Pass more.")
    copies: Provenance = part.copies
    families: dict[tuple[str, str], list[int]] = {}
    for row in np.flatnonzero(is_readable(part.read_status())).tolist():
        families.setdefault((copies.parts[row], copies.parents[row]), []).append(row)
    keys = list(families)
    names = [name for _, name in keys]
    chosen = [keys[place] for place in _choose(names, np.ones(len(keys), np.bool_), ids, n_parents, part.name)]
    tiles: list[Tile] = []
    shown: list[str] = []
    with store.reader([part.name]) as reader:
        for owner in dict.fromkeys(name for name, _ in chosen):
            with store.reader([owner]) as parents:
                places = {name: place for place, name in enumerate(parents.ids)}
                opened = store.part(owner)
                for key in [key for key in chosen if key[0] == owner]:
                    rows = families[key]
                    tiles += _draw_sample(parents, places[key[1]], opened, "composite")
                    tiles += [
                        _draw_copy(
                            reader,
                            row,
                            f"copy {number + 1} of {len(rows)}: " + describe_transform(copies.transforms[row]),
                        )
                        for number, row in enumerate(rows[: columns - 1])
                    ]
                    tiles += [Tile()] * (columns - 1 - len(rows))
                    shown.append(key[1])
    return shown, tiles


def _draw_copy(reader: Reader, row: int, text: str) -> Tile:
    """Draw a copy over its text."""
    return Tile(picture=_shrink(to_rgb(reader.read([row])[0])), lines=tuple(textwrap.wrap(text, LETTERS)))


def _choose(
    known: Sequence[str], readable: npt.NDArray[np.bool_], ids: Sequence[str], n_samples: int, part: str
) -> list[int]:
    """Return the indices to show."""
    if ids:
        places = {name: place for place, name in enumerate(known)}
        absent = [name for name in ids if name not in places]
        if absent:
            raise InputError(f"ids must be in the part. Received: {absent[0]!r}, not in {part}. Check the spelling.")
        return [places[name] for name in ids]
    rows = np.flatnonzero(readable)
    if not len(rows):
        raise InputError(f"A part to look at must have a readable sample. Received: {part} without. Convert it again.")
    spread = np.linspace(0, len(rows) - 1, min(n_samples, len(rows))).round().astype(int)
    return rows[spread].tolist()
