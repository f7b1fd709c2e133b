"""Tiles with text below, arranged in a grid; composites of channels in their colors."""

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Channel

TILE = 256  # pixels; a grid of 4 x 3 fits a screen
LINE = 18  # pixels per line of text
MAX_CHARACTERS = 36  # per line of text
MAX_SHRUNK = 48  # characters of a name that is made smaller instead of broken into lines
GAP = 4
# Beside an image that is not square, so that its border can be seen.
BORDER = 40
# What a channel's brightest pixels are raised to where its contrast is raised, of 255 levels, and by how much at most.
BRIGHT, MAX_GAIN = 240, 8.0


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
    mixed = np.zeros((3, *image.shape[:2]), np.uint16)
    for index, channel in enumerate(channels):
        for part, value in enumerate(channel.rgb):
            if value:
                # Rounded down once, so that a pure color of full strength keeps its levels. Looked up, which takes a
                # fifth of the time of a division for each pixel.
                levels = np.arange(256) * value // (255 * n_parts[index] * n_shared)
                mixed[part] += levels.astype(np.uint16)[image[..., index]]
    return np.ascontiguousarray(np.moveaxis(mixed.clip(0, 255).astype(np.uint8), 0, -1))


def find_gain(plane: npt.NDArray[np.uint8]) -> float:
    """Find the gain, 1 to `MAX_GAIN`, that makes the brightest 0.1 % of a channel, uint8 (Y, X), nearly white."""
    return max(1.0, min(MAX_GAIN, BRIGHT / max(1.0, float(np.percentile(plane, 99.9)))))


def brighten(plane: npt.NDArray[np.uint8], gain: float | None = None) -> npt.NDArray[np.uint8]:
    """Raise the contrast of a channel, uint8 (Y, X), by a gain, by default that of `find_gain`."""
    levels = np.arange(256) * (find_gain(plane) if gain is None else gain)
    return levels.clip(0, 255).astype(np.uint8)[plane]


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


def wrap_name(name: str) -> list[str]:
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


def shrink(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Resize an image, (Y, X, 3), to the size of a tile, its ratio of sides kept."""
    return resize_to(image, TILE)
