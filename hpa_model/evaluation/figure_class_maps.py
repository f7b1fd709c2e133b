"""Maps of classes over an image: a picture of a sample, and the overlay that it and the report show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb as to_rgb_color
from matplotlib.figure import Figure

from hpa_data.dataset import Channel
from hpa_data.preview import brighten, to_rgb
from hpa_data.stats.style import ORANGE, SKY, measure_width
from hpa_model.evaluation.figure_style import INK, SMALL, SOFT, TEXT, WIDE, shorten, style_figure
from hpa_model.evaluation.images import find_signal, shrink

if TYPE_CHECKING:
    from hpa_model.nets.grid import Grid  # which needs Keras

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

# Inches, and pixels of the longer side of an image: two for each dot of a file.
COLUMNS, GAP, TITLE, HEAD, FOOT = 4, 0.1, 0.36, 0.64, 0.5
PIXELS = 512
# How much of a color covers the image where a map is largest, and how fast that falls: the less, the slower.
COVER, FALL = 0.9, 0.6
# What the image is dimmed to beside the colors, of its brightness; and the least brightness of a color on black.
DIM, LEAST = 0.75, 0.6
# The ends of color scales; the first that is not below the largest value is taken. A map that lies in very few cells is
# cut off at the last, or others beside it would have no color.
TOPS = (1.5, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """The map of a class of a sample, and what is known of the class."""

    name: str

    cells: Floats
    """Of a `Mapper`, shape (y, x)."""

    prob: float
    threshold: float
    is_predicted: bool

    is_true: bool | None
    """None where the labels are not known."""

    @property
    def outcome(self) -> str:
        """In a word, as the report has them."""
        if self.is_true is None:
            return "predicted" if self.is_predicted else "not predicted"
        if self.is_true:
            return "found" if self.is_predicted else "missed"
        return "wrong" if self.is_predicted else "absent"

    @property
    def words(self) -> str:
        """The outcome and how it came about."""
        if self.threshold >= 1:
            return f"{self.outcome}, p {self.prob:.2f}, never predicted"
        if self.is_predicted and self.prob <= self.threshold:  # no class exceeds its threshold
            return f"{self.outcome}, p {self.prob:.2f}, the highest"
        sign = ">" if self.prob > self.threshold else "≤"
        return f"{self.outcome}, p {self.prob:.2f} {sign} {self.threshold:.2f}"


def find_top(maps: Sequence[ClassMap], *, signed: bool = False) -> float:
    """Find the end of the color scale of some maps: it fits those of true and of predicted classes, if there are any.

    Of maps without signs it is one of `TOPS`.
    """
    shown = [each for each in maps if each.is_predicted or each.is_true] or maps
    largest = max((float(np.abs(each.cells).max()) for each in shown), default=0.0)
    if signed and largest > 0:
        digit = 10.0 ** np.floor(np.log10(largest))
        return float(np.ceil(largest / digit) * digit)
    return next((float(top) for top in TOPS if largest <= top), float(TOPS[-1]))


def make_base(image: Image, channels: Sequence[Channel]) -> Image:
    """Mix all channels of an image, uint8 (Y, X, C), to gray levels, (Y, X), with their contrast raised.

    Colors on the gray are those of a map alone.
    """
    return brighten(to_rgb(image, channels).mean(axis=-1).astype(np.uint8))


def overlay(base: Image, values: Floats, top: float, *, signed: bool = False) -> Image:
    """Put the colors of a map over an image.

    Parameters
    ----------
    base : array of uint8, shape (Y, X)
    values : array of float32, shape (Y, X)
    top : float
        The value of the strongest color.
    signed : bool
        Whether values below 0 have colors of their own; otherwise there are none.

    Returns
    -------
    array of uint8, shape (Y, X, 3)
    """
    scaled = np.clip(values / top, -1 if signed else 0, 1)
    if signed:  # bright at both ends: the usual scales, dark there, are made for paper, not for a dark image
        colors = np.where(scaled[..., None] < 0, to_rgb_color(SKY), to_rgb_color(ORANGE))
    else:
        colors = colormaps["inferno"](0.35 + 0.62 * scaled)
    cover = (COVER * np.abs(scaled) ** FALL)[..., None]
    gray = base[..., None] / 255
    colored = colors[..., :3] * (LEAST + (1 - LEAST) * gray)  # so that the structures are seen in the color, too
    return (255 * ((1 - cover) * DIM * gray + cover * colored)).round().astype(np.uint8)


@style_figure
def draw_class_maps(
    image: Image,
    channels: Sequence[Channel],
    grid: "Grid",
    maps: Sequence[ClassMap],
    *,
    name: str,
    caption: Sequence[str],
    signed: bool = False,
) -> Figure:
    """Draw a sample: its channels together, that of the protein alone, and the map of each class over the image.

    All maps have one color scale, which the figure shows.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, C)
    channels : sequence of Channel, length C
    grid : Grid
        Of the maps.
    maps : sequence of ClassMap
    name : str
        Of the sample.
    caption : sequence of str
        How the maps were made, in two lines at most.
    signed : bool
        Whether they are score maps.
    """
    image = image if max(image.shape[:2]) <= PIXELS else shrink(image, PIXELS)
    height, width = image.shape[:2]
    signal = find_signal(channels)
    n_panels = len(maps) + (1 if signal is None else 2)
    n_rows = -(-n_panels // COLUMNS)
    side = (WIDE - GAP * (COLUMNS - 1)) / COLUMNS
    tall = side * height / width
    total = HEAD + n_rows * (TITLE + tall + GAP) + FOOT
    figure = Figure((WIDE + 2 * GAP, total))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-GAP, WIDE + GAP)
    axes.set_ylim(0, total)
    axes.text(0, total - 0.08, shorten(_printable(name), WIDE, TEXT + 1), va="top", fontsize=TEXT + 1)
    for n, line in enumerate(caption):
        place = total - 0.29 - 0.14 * n
        axes.text(0, place, shorten(line, WIDE, SMALL), va="top", fontsize=SMALL, color=SOFT)
    places = [
        (n % COLUMNS * (side + GAP), total - HEAD - (n // COLUMNS + 1) * (TITLE + tall + GAP) + GAP)
        for n in range(n_panels)
    ]

    def panel(n: int, pixels: Image, title: str, words: str, **style: Any) -> None:
        x, y = places[n]
        axes.imshow(pixels, extent=(x, x + side, y, y + tall), interpolation="antialiased", aspect="auto", **style)
        axes.text(x, y + tall + 0.19, shorten(title, side, TEXT), va="bottom")
        axes.text(x, y + tall + 0.045, shorten(words, side, SMALL), va="bottom", fontsize=SMALL, color=SOFT)

    panel(0, to_rgb(image, channels), "All channels", "")
    _write_channels(axes, channels, places[0][0], places[0][1] + tall + 0.045, side)
    if signal is not None:
        panel(
            1,
            brighten(image[..., signal]),
            f"Channel {channels[signal].name}",
            "contrast raised",
            cmap="gray",
            vmin=0,
            vmax=255,
        )
    top = find_top(maps, signed=signed)
    base = make_base(image, channels)
    for n, each in enumerate(maps, n_panels - len(maps)):
        colored = overlay(base, grid.spread(each.cells, height, width), top, signed=signed)
        panel(n, colored, each.name, each.words)
        if not each.cells.any():
            _write_nothing(axes, *places[n], side)
    axes.set_xlim(-GAP, WIDE + GAP)
    axes.set_ylim(0, total)
    exceeds = any(np.abs(each.cells).max() > top for each in maps)
    _draw_scale(axes, top, signed=signed, exceeds=exceeds)
    return figure


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _write_channels(axes: Axes, channels: Sequence[Channel], x: float, y: float, width: float) -> None:
    """Write the names of channels beside squares of their colors, as many as fit."""
    end = x + width
    for channel in channels:
        needed = 0.11 + measure_width([channel.name], SMALL) + 0.09
        if x + needed > end + 0.09:
            return
        axes.fill([x, x + 0.075, x + 0.075, x], [y + 0.02, y + 0.02, y + 0.095, y + 0.095], color=channel.color, lw=0)
        axes.text(x + 0.11, y, channel.name, va="bottom", fontsize=SMALL, color=SOFT)
        x += needed


def _write_nothing(axes: Axes, x: float, y: float, side: float) -> None:
    halo: Any = [patheffects.withStroke(linewidth=2.2, foreground=INK)]
    style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": SMALL, "color": "white", "path_effects": halo}
    axes.text(x + side / 2, y + 0.06, "no evidence: 0 everywhere", **style)


def _draw_scale(axes: Axes, top: float, *, signed: bool, exceeds: bool) -> None:
    """Draw the color scale as it looks over gray, and say what its numbers are, and if some values are beyond it."""
    x, y, width, height = 0.0, 0.24, 1.7, 0.1
    values = np.linspace(-top if signed else 0, top, 256, dtype=np.float32)[None]
    pixels = overlay(np.full(values.shape, 160, np.uint8), values, top, signed=signed)
    axes.imshow(pixels, extent=(x, x + width, y, y + height), aspect="auto", interpolation="nearest")
    ticks = [-top, 0, top] if signed else [0, 1, top]
    for value in ticks:
        place = x + width * (value - values[0, 0]) / (top - values[0, 0])
        axes.plot([place, place], [y - 0.03, y], color=INK, lw=0.6)
        align = "left" if value == ticks[0] else "right" if value == top else "center"
        more = " and more" if exceeds and value == top else ""
        axes.text(place, y - 0.05, f"{value:g}{more}", va="top", ha=align, fontsize=SMALL)
    words = (
        "what a cell adds to the logit of the class"
        if signed
        else "evidence for the class; 1 is what each cell has if it lies evenly over the image"
    )
    axes.set_xlim(-GAP, WIDE + GAP)
    axes.text(x + width + 0.12, y + height / 2, words, va="center", fontsize=SMALL, color=SOFT)
