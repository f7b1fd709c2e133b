"""What all figures of runs share: sizes, rendering for a page and as files, and grids of small panels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from hpa_data.stats.style import BLUE, COLORS, GRAY, GREEN, ORANGE, PURPLE, RED, SKY, measure_width, render, styled
from hpa_data.stats.style import shorten as shorten_text

# Inches. Two columns of a journal, and a phone of 390 pixels: at both, letters have their size in points.
WIDE, NARROW = 7.2, 3.7
TEXT, SMALL = 8.5, 7.5  # points
INK, SOFT, GRID, PAPER = "#000000", "#6b6b6b", "#e4e4e4", "#ffffff"
BAND = "#dcdcdc"  # of what a model without skill scores
# A color that is none of these stays as it is on a dark page.
_VARIABLES = {
    **{INK: "ink", SOFT: "soft", GRID: "grid", PAPER: "paper", BAND: "band", GRAY.lower(): "gray"},
    **{BLUE.lower(): "blue", RED.lower(): "red", GREEN.lower(): "green", PURPLE.lower(): "purple"},
    **{ORANGE.lower(): "orange", SKY.lower(): "sky"},
}
MARKERS = ("o", "s", "^", "D", "v", "P")

style_figure = styled(
    {
        **{"font.size": TEXT, "axes.titlesize": TEXT, "axes.labelsize": TEXT, "legend.fontsize": TEXT},
        **{"xtick.labelsize": TEXT, "ytick.labelsize": TEXT, "axes.titlelocation": "left"},
        **{"axes.linewidth": 0.6, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6},
        **{"xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.4},
        **{"legend.handlelength": 2.2, "legend.columnspacing": 1.4, "legend.borderaxespad": 0.2},
    }
)


def fold_style(fold: int) -> tuple[str, str]:
    """Return the color and the marker of a fold."""
    return COLORS[fold % len(COLORS)], MARKERS[fold % len(MARKERS)]


@style_figure
def render_file(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of kind pdf, png or svg; PNG has 200 dots per inch."""
    return render(figure, kind, dpi=200)


def embed_svg(svg: bytes, name: str, alt: str) -> str:
    """Return an SVG file as an element of a page.

    Its colors become variables of the page's style, its letters those of the page, and `name` is put before its ids,
    which have to differ from those of other figures of the page. `alt` says in words what it shows.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    referred = set(re.findall(r'(?:href="|url\()#([\w.-]+)', text))
    text = re.sub(r' id="([\w.-]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in referred else "", text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", text)
    text = re.sub(r" font-family: [^;\"]*;?", "", text)
    text = re.sub(r'(?<= d=")[^"]+|(?<= points=")[^"]+', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), text)
    text = re.sub(r"(#[0-9a-f]{6})\b(?=[;\"])", lambda m: _name_color(m[1]), text)
    text = re.sub(r"\s*\n\s*", " ", text).replace("> <", "><")
    text = re.sub(r"(<g>)+(</g>)+", lambda m: m[0] if m[0].count("<g>") != m[0].count("</g>") else "", text)
    text = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{_escape(alt)}"', 1).strip()


def _name_color(color: str) -> str:
    return f"var(--{_VARIABLES[color]})" if color in _VARIABLES else color


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def shorten(text: str, width: float, size: float = TEXT) -> str:
    """Shorten a text to a width in inches, with an ellipsis at its end; size is in points."""
    return shorten_text(text, width, size)


def frame(width: float, height: float, *, left: Sequence[str], top: float, has_label: bool = False) -> Figure:
    """Return a figure with one plot, whose margins are known without drawing it.

    Parameters
    ----------
    width, height : float
        Of the figure, in inches.
    left : sequence of str
        The tick labels at the left.
    top : float
        Inches above the plot, for a legend.
    has_label : bool
        Whether the axis at the left has a label.
    """
    figure = Figure((width, height))
    margin = measure_width(left, TEXT) + (0.34 if has_label else 0.16)
    figure.add_axes((margin / width, 0.42 / height, (width - margin - 0.12) / width, (height - 0.42 - top) / height))
    return figure


def lift_legend(figure: Figure, *, columns: int) -> None:
    """Put the legend of the first plot on top of a figure, outside the data; bars, which weigh most, come first."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    named = sorted(zip(handles, labels, strict=True), key=lambda pair: not isinstance(pair[0], BarContainer))
    figure.legend(*zip(*named, strict=True), loc="upper left", ncols=columns, bbox_to_anchor=(0, 1))


def legend_height(n: int, columns: int) -> float:
    """Return the height of a legend of n entries, in inches."""
    return 0.18 * -(-n // columns) + 0.1


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A small panel; its data go from 0 to 1 in both directions."""

    axes: Axes
    x: float
    y: float
    width: float
    height: float
    """Where it is, in inches from the left and from below."""

    def place(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return data as positions in the figure."""
        return self.x + self.width * np.asarray(x, float), self.y + self.height * np.asarray(y, float)

    def plot(self, x: npt.ArrayLike, y: npt.ArrayLike, line: str = "-", **style: object) -> None:
        """Draw a line."""
        self.axes.plot(*self.place(x, y), line, **style)  # type: ignore[arg-type]

    def text(self, x: float, y: float, text: str, **style: object) -> None:
        """Write a text."""
        px, py = self.place(x, y)
        self.axes.text(float(px), float(py), text, **style)  # type: ignore[arg-type]


def draw_cells(
    titles: Sequence[str], width: float, *, x_label: str, y_label: str, same_scale: bool
) -> tuple[Figure, list[Cell]]:
    """Return a figure of small panels, each with a title and a frame; with ticks at the left if all have one scale.

    Axes of Matplotlib's own would take 20 times as long, which at 40 classes is seconds.
    """
    columns = 6 if width > NARROW else 3
    n_rows = -(-len(titles) // columns)
    left, bottom, gap, title = 0.42, 0.5, 0.16, 0.22
    side = (width - left - 0.08 - gap * (columns - 1)) / columns
    height = 0.72 * side
    total = bottom + n_rows * (height + title) + (n_rows - 1) * 0.1
    figure = Figure((width, total))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(0, total)
    cells = []
    for n, name in enumerate(titles):
        row, column = divmod(n, columns)
        y = total - (row + 1) * (height + title) - row * 0.1
        cell = Cell(axes=axes, x=left + column * (side + gap), y=y, width=side, height=height)
        cells.append(cell)
        is_last = n + columns >= len(titles)
        _frame_cell(cell, shorten(name, side + gap - 0.06, SMALL), below=is_last, beside=same_scale and column == 0)
    axes.text(left + (width - left) / 2, 0.06, x_label, ha="center", va="bottom")
    axes.text(0.02, bottom + (total - bottom) / 2, y_label, rotation=90, va="center", ha="left")
    return figure, cells


def _frame_cell(cell: Cell, title: str, *, below: bool, beside: bool) -> None:
    for at in (0, 0.5, 1):
        cell.plot([at, at], [0, 1], color=GRID, lw=0.6)
        cell.plot([0, 1], [at, at], color=GRID, lw=0.6)
    cell.plot([0, 0, 1], [1, 0, 0], color=INK, lw=0.6)
    cell.axes.text(cell.x, cell.y + cell.height + 0.045, title, fontsize=SMALL, va="bottom")
    for at, word in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
        if below:
            cell.axes.text(cell.x + at * cell.width, cell.y - 0.05, word, fontsize=SMALL, va="top", ha="center")
        if beside and at != 0.5:
            cell.axes.text(cell.x - 0.05, cell.y + at * cell.height, word, fontsize=SMALL, va="center", ha="right")


def fit_top(highest: float) -> float:
    """Return the end of an axis from 0 that fits data up to a highest value, at most 1.

    Examples
    --------
    >>> fit_top(0.07), fit_top(0.22), fit_top(0.61)
    (0.1, 0.3, 0.8)
    """
    return next((top for top in (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if highest <= top), 1.0)
