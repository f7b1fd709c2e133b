"""A contact sheet of samples as one PNG: composites or single channels, with ids, classes and transforms below."""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.augment.transform import describe_transform
from hpa_data.dataset import Channel, is_readable
from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.store.part import Part
from hpa_data.store.store import Store
from hpa_data.system.atomic import write_output
from hpa_data.system.outputs import check_output

View = Literal["composite", "channels"]

TILE = 256  # pixels; a grid of 4 x 3 fits a screen
LINE = 18  # pixels per line of text
MAX_CHARACTERS = 36  # per line of text
MAX_SHRUNK = 48  # characters of a name that is made smaller instead of broken into lines
MAX_CLASSES = 6  # named below a sample
MAX_COLUMNS = 8  # channels in a row
GAP = 4
# Beside an image that is not square, so that its border can be seen.
BORDER = 40

# Many viewers do not open a larger PNG.
MAX_TILES = 4096


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One cell of a grid."""

    image: npt.NDArray[np.uint8] | None = None
    """RGB, uint8 (Y, X, 3), up to `TILE` pixels high and wide; None for an empty cell."""
    lines: tuple[str, ...] = ()
    """The text below."""


def to_rgb(image: npt.NDArray[np.uint8], channels: Sequence[Channel]) -> npt.NDArray[np.uint8]:
    """Mix the channels, each in its color.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, C)
    channels : sequence of Channel, length C

    Returns
    -------
    array of uint8, shape (Y, X, 3)
        RGB. A mixed color adds less to each of its parts, so that it does not hide them: yellow adds half its value to
        red and green. So does each of many channels that share a color. Alone, a channel has its whole color.
    """
    n_parts = [1 if len(channels) == 1 else max(sum(map(bool, channel.rgb)), 1) for channel in channels]
    strongest = max(sum(c.rgb[part] / (255 * n) for c, n in zip(channels, n_parts, strict=True)) for part in range(3))
    n_shared = max(1, round(strongest / 2))  # the four channels of the atlas give red 1.5
    rgb = np.zeros((*image.shape[:2], 3), np.uint32)
    for index, channel in enumerate(channels):
        # Rounded down once, so that a pure color of full strength keeps its levels.
        rgb += image[..., index, None] * np.array(channel.rgb, np.uint32) // (255 * n_parts[index] * n_shared)
    return rgb.clip(0, 255).astype(np.uint8)


def montage(tiles: Sequence[Tile], *, columns: int) -> npt.NDArray[np.uint8]:
    """Arrange tiles in a grid, each above its lines of text.

    Parameters
    ----------
    tiles : sequence of Tile
        At least one.
    columns : int
        Tiles per row.

    Returns
    -------
    array of uint8, shape (Y, X, 3)
        RGB, on black.
    """
    n_lines = max(len(tile.lines) for tile in tiles)
    height, width = TILE + n_lines * LINE + GAP, TILE + GAP
    n_rows = -(-len(tiles) // columns)
    grid = np.zeros((n_rows * height, min(columns, len(tiles)) * width, 3), np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height, index % columns * width
        if tile.image is not None:
            grid[top : top + TILE, left : left + TILE] = BORDER
            rows, columns_shown = tile.image.shape[:2]
            y, x = top + (TILE - rows) // 2, left + (TILE - columns_shown) // 2
            grid[y : y + rows, x : x + columns_shown] = tile.image
        for number, line in enumerate(tile.lines):
            baseline = top + TILE + (number + 1) * LINE - 5
            _draw_text(grid[: baseline + LINE, : left + TILE], line, (left + 2, baseline))
    return grid


def _draw_text(area: npt.NDArray[np.uint8], line: str, start: tuple[int, int]) -> None:
    """Draw a line of text into an area, from the position (X, Y) on; smaller if it would not fit at the right."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    text = to_ascii(line)
    (width, _), _ = cv2.getTextSize(text, font, scale, 1)
    scale *= min(1, (area.shape[1] - start[0]) / max(width, 1))
    cv2.putText(area, text, start, font, scale, (255, 255, 255), 1, cv2.LINE_AA)


def to_ascii(text: str) -> str:
    """Write a text in ASCII, the only letters of OpenCV's fonts: no accents, Greek letters by name, ``?`` for others.

    Examples
    --------
    >>> to_ascii("β-tubulin, Rezé, 90°"), to_ascii("核")
    ('beta-tubulin, Reze, 90 deg', '?')
    """
    known = {"°": " deg", "µ": "u"}
    letters = []
    for letter in unicodedata.normalize("NFKD", "".join(known.get(letter, letter) for letter in text)):
        _, _, greek = unicodedata.name(letter, "").partition("GREEK SMALL LETTER ")
        if not unicodedata.combining(letter):
            letters.append(letter if letter.isascii() else greek.split()[0].lower() if greek else "?")
    return "".join(letters)


def _wrap(name: str) -> list[str]:
    """Break a long name into two lines at most."""
    if len(name) <= MAX_SHRUNK:
        return [name]
    return textwrap.wrap(name, MAX_CHARACTERS, max_lines=2, placeholder=" ...")


def resize_to(image: npt.NDArray[np.uint8], pixels: int) -> npt.NDArray[np.uint8]:
    """Resize an image, uint8 (Y, X, 3), so that its longer side has this many pixels."""
    height, width = image.shape[:2]
    scale = pixels / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale <= 1 else cv2.INTER_LINEAR)


def _shrink(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Resize an image, (Y, X, 3), to the size of a tile, its ratio of sides kept."""
    return resize_to(image, TILE)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """An image that was written, and the ids of the samples that it shows."""

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
    view: View = "composite",
    parents: bool = False,
) -> Preview:
    """Write one image that shows samples of some parts.

    Parameters
    ----------
    store : Store
    out : Path
        The PNG file to write.
    parts : sequence of str
        Their samples are shown part by part.
    ids : sequence of str
        The samples to show; by default `n_samples` of each part, evenly spread over it.
    n_samples, columns : int
    view : {"composite", "channels"}
        One tile per sample, or a row of tiles, one per channel.
    parents : bool
        For parts of augmented copies: show one row per parent, with its first copies and their transforms in words.
        `ids` and `n_samples` then refer to parents.

    Raises
    ------
    InputError
        If an id is unknown, no sample can be read, a part holds no copies, or the file is not a PNG or could not
        be written.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"out must be a PNG file. Received: out={out}. Name it {out.stem}.png.")
    check_output(out)
    if view not in get_args(View):
        raise InputError(f"view must be one of {', '.join(get_args(View))}. Received: view={view!r}. Choose one.")
    if parents and view != "composite":
        raise InputError(f"view must be composite with parents. Received: view={view!r}. Leave one of them out.")
    opened = [store.part(name) for name in parts]
    _check_ids(opened, ids, parents=parents)
    n_channels = max(len(part.manifest.channels) for part in opened)
    n_per_row = -(-n_channels // -(-n_channels // MAX_COLUMNS))  # as even rows as possible
    n_cells = -(-n_channels // n_per_row) * n_per_row
    n_shown = len(ids) or sum(min(n_samples, len(part.ids)) for part in opened)
    n_tiles = n_shown * (columns if parents else n_cells if view == "channels" else 1)
    if n_tiles > MAX_TILES:
        raise InputError(
            f"Cannot draw the preview: it would have {n_tiles} tiles, more than {MAX_TILES}. Show fewer samples."
        )
    shown: list[str] = []
    tiles: list[Tile] = []
    for part in opened:
        if parents:
            names, drawn = _draw_parents(store, part, ids, n_samples, columns)
        else:
            names, drawn = _draw_samples(store, part, ids, n_samples, view, n_cells=n_cells)
        shown += names
        tiles += drawn
    if not tiles:
        raise InputError(f"Cannot preview {', '.join(parts)}: no copy of {', '.join(ids)} can be read. Pass other ids.")
    grid = montage(tiles, columns=n_per_row if view == "channels" else columns)
    write_output(out, cv2.imencode(".png", grid[..., ::-1])[1].tobytes())  # OpenCV writes BGR
    return Preview(out=out, ids=shown)


def _check_ids(parts: Sequence[Part], ids: Sequence[str], *, parents: bool) -> None:
    """Raise InputError if no part has a sample, or with `parents` a parent, of one of the ids."""
    known: set[str] = set()
    for part in parts:
        known.update(part.copies.parents if parents and part.copies is not None else part.ids)
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise InputError(
            f"ids must be in {' or '.join(part.name for part in parts)}. Received: {unknown[0]!r}. Check the spelling, "
            "or pass another part."
        )


def _draw_samples(
    store: Store, part: Part, ids: Sequence[str], n_samples: int, view: View, *, n_cells: int
) -> tuple[list[str], list[Tile]]:
    """Draw samples of a part; return their ids and tiles, with `channels` as many for each as there are cells."""
    with store.reader([part.name]) as reader:
        chosen = _choose(reader.ids, is_readable(reader.status), ids, n_samples, part.name)
        tiles: list[Tile] = []
        for index in chosen:
            drawn = list(_draw_sample(reader, index, part, view))
            tiles += drawn + ([Tile()] * (n_cells - len(drawn)) if view == "channels" else [])
        return [reader.ids[index] for index in chosen], tiles


def _draw_sample(reader: Reader, index: int, part: Part, view: View) -> Iterator[Tile]:
    """Draw a sample of a part as one tile, or as one per channel."""
    image = reader.read([index])[0]
    lines = (*_wrap(reader.ids[index]), *_name_classes(part, index))
    if view == "composite":
        yield Tile(image=_shrink(to_rgb(image, reader.dataset.channels)), lines=lines)
        return
    for number, channel in enumerate(reader.dataset.channels):
        colored = to_rgb(image[..., number, None], [channel])
        yield Tile(image=_shrink(colored), lines=(channel.name, *(lines if number == 0 else ())))


def _name_classes(part: Part, index: int) -> list[str]:
    """Name the classes that a sample shows, by their numbers where the font lacks letters."""
    if part.labels is None:
        return []
    shown = np.flatnonzero(part.labels[index]).tolist()
    names = [part.manifest.classes[k] for k in shown[:MAX_CLASSES]]
    readable = [
        f"class {k}" if "?" in to_ascii(name).replace("?", "", name.count("?")) else name
        for k, name in zip(shown, names, strict=False)
    ]
    lines = [line for name in readable for line in _wrap(name)]
    return [*lines, f"and {len(shown) - MAX_CLASSES} more"] if len(shown) > MAX_CLASSES else lines


def _draw_parents(
    store: Store, part: Part, ids: Sequence[str], n_parents: int, columns: int
) -> tuple[list[str], list[Tile]]:
    """Draw parents of a part of copies, each beside its first copies; return the parents' ids and all tiles."""
    copies = part.copies
    if copies is None:
        raise InputError(
            f"parts must hold augmented copies, to show parents. Received: part {part.name!r}. Pass --part augmented."
        )
    if columns < 2:
        raise InputError("columns must be at least 2 to show a parent and a copy. Received: columns=1. Pass more.")
    rows_of: dict[tuple[str, str], list[int]] = {}  # the copies of each parent, by its part and id
    for row in np.flatnonzero(is_readable(part.read_status())).tolist():
        rows_of.setdefault((copies.parts[row], copies.parents[row]), []).append(row)
    keys = list(rows_of)
    names = [name for _, name in keys]
    chosen = [keys[index] for index in _choose(names, np.ones(len(keys), np.bool_), ids, n_parents, part.name)]
    tiles: list[Tile] = []
    shown: list[str] = []
    with store.reader([part.name]) as reader:
        for parent_part in dict.fromkeys(name for name, _ in chosen):
            with store.reader([parent_part]) as parent_reader:
                index_of = {name: index for index, name in enumerate(parent_reader.ids)}
                for key in [key for key in chosen if key[0] == parent_part]:
                    rows = rows_of[key]
                    tiles += _draw_sample(parent_reader, index_of[key[1]], store.part(parent_part), "composite")
                    for number, row in enumerate(rows[: columns - 1]):
                        words = describe_transform(copies.transforms[row], reader.dataset.channels)
                        tiles.append(_draw_copy(reader, row, f"copy {number + 1} of {len(rows)}: {words}"))
                    tiles += [Tile()] * (columns - 1 - len(rows))
                    shown.append(key[1])
    return shown, tiles


def _draw_copy(reader: Reader, row: int, text: str) -> Tile:
    """Draw a copy above its text."""
    return Tile(
        image=_shrink(to_rgb(reader.read([row])[0], reader.dataset.channels)),
        lines=tuple(textwrap.wrap(text, MAX_CHARACTERS)),
    )


def _choose(
    known: Sequence[str], readable: npt.NDArray[np.bool_], ids: Sequence[str], n_samples: int, part: str
) -> list[int]:
    """Return the indices to show: those of the ids that are known, or without ids some of all readable ones."""
    if ids:
        index_of = {name: index for index, name in enumerate(known)}
        return [index_of[name] for name in ids if name in index_of]
    rows = np.flatnonzero(readable)
    if not len(rows):
        raise InputError(f"Cannot preview part {part!r}: no sample in it can be read. Convert it again.")
    spread = np.linspace(0, len(rows) - 1, min(n_samples, len(rows))).round().astype(int)
    return rows[spread].tolist()
