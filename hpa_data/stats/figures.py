"""Figures of statistics, one column of a paper wide, as PNG and PDF.

Places are computed in inches from the widths of the texts, so that nothing overlaps or is cut off, whatever the names.
The same statistics give the same bytes, with one version of Matplotlib.
"""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from hpa_data.stats.intensities import N_LEVELS, IntensityStatistics
from hpa_data.stats.labels import LabelStatistics
from hpa_data.stats.measure import StoreStatistics

WIDTH = 3.35  # inches, 85 mm: one column
DPI = 300
TEXT, SMALL = 6.0, 5.0  # points; only the names beside the matrix are as small as the second
MARGIN = 0.04  # inches, at the border of a figure and beside a text
HALF_TICK = 0.18  # inches that the label of the last tick may reach over the end of its axis
LINE = 0.115  # inches from one line of text to the next
NAME_WIDTH = 1.4  # inches; the longest of the 28 classes takes 1.24

# Okabe and Ito's colours, which colour-blind readers tell apart, without the yellow, too pale on white. Lines differ in
# their dashes, too, before a colour comes again.
BLUE, RED, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
GRAY = "#CCCCCC"
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE)
DASHES = ("-", "--", ":", "-.")

STYLE = {
    "font.family": "DejaVu Sans",  # which Matplotlib brings along
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
    "axes.labelpad": 2,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.5,
    "xtick.minor.width": 0.4,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "text.parse_math": False,  # a name may hold dollar signs
    "pdf.fonttype": 42,  # journals refuse type 3
}
# Whatever the user's own settings are.
_styled = matplotlib.style.context(["default", STYLE])


@_styled
def write_figures(statistics: StoreStatistics | LabelStatistics, folder: Path) -> list[Path]:
    """Write a figure of each kind that there are numbers for.

    Parameters
    ----------
    statistics : StoreStatistics or LabelStatistics
    folder : Path
        Made if it is not there; files of the same names are replaced.

    Returns
    -------
    list of Path
        ``class_frequency``, ``class_correlation`` and ``labels_per_sample`` if there are labels, ``channel_intensity``
        if pixels were read; each as ``.png``, 300 dots an inch, and as ``.pdf``.
    """
    if isinstance(statistics, LabelStatistics):
        labels: LabelStatistics | None = statistics
        intensities: tuple[IntensityStatistics, ...] = ()
    else:
        labels, intensities = statistics.labels, statistics.intensities
    figures: dict[str, Figure] = {}
    if labels is not None:
        figures["class_frequency"] = draw_frequency(labels)
        figures["class_correlation"] = draw_correlation(labels)
        figures["labels_per_sample"] = draw_labels_per_sample(labels)
    if intensities:
        figures["channel_intensity"] = draw_intensities(intensities)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures.items():
        # The same figure gives the same bytes: no clock.
        for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, dpi=DPI, metadata=metadata)
            written.append(folder / f"{name}.{kind}")
            written[-1].write_bytes(drawn.getvalue())
    return written


@_styled
def draw_frequency(labels: LabelStatistics) -> Figure:
    """Draw how many originals and copies show each class, the most frequent on top, on a logarithmic axis."""
    order = sorted(range(len(labels.classes)), key=lambda k: -labels.counts[k])
    names = [_shorten(labels.classes[k]) for k in order]
    counts = np.array([labels.counts[k] for k in order])
    copies = np.array([labels.copies[k] for k in order])
    texts = [f"{n:,} + {m:,}" if m else f"{n:,}" for n, m in zip(counts.tolist(), copies.tolist(), strict=True)]
    base = 0.7  # left of 1, so that a class with a single sample has a bar

    left, bottom, top = _measure(names) + 2 * MARGIN, 0.3, MARGIN + (0.15 if labels.n_copies else 0)
    figure = Figure((WIDTH, bottom + 0.13 * len(names) + top))
    axes = _add_axes(figure, left=left, bottom=bottom, width=WIDTH - left - HALF_TICK, height=0.13 * len(names))
    places = np.arange(len(names))
    starts, ends = np.maximum(counts, base), np.maximum(counts + copies, base)
    axes.barh(places, starts - base, left=base, height=0.76, color=BLUE, label="Originals")
    if labels.n_copies:
        axes.barh(places, ends - starts, left=starts, height=0.76, color=ORANGE, label="Augmented copies")
        handles = axes.get_legend_handles_labels()
        place = (left / WIDTH, 1 - MARGIN / figure.get_figheight())
        figure.legend(*handles, loc="upper left", bbox_to_anchor=place, ncols=2, handlelength=1)
    axes.set_xscale("log")
    decades = np.log10(ends / base)
    axes.set_xlim(base, base * 10 ** max(_fit_bars(axes, decades.tolist(), texts), math.log10(2 / base)))
    _label_bars(axes, places.tolist(), ends.tolist(), texts)
    axes.set_yticks(places, names)
    _end_log_axis(axes, int(ends.max()))
    axes.set_xlabel("Samples (logarithmic scale)", loc="left")
    return figure


@_styled
def draw_correlation(labels: LabelStatistics) -> Figure:
    """Draw how classes correlate, in colours around white for 0, without the diagonal.

    The range of colours is that of the strongest correlation. Colours go by the square root: in most data sets one
    pair of classes correlates so much more than the others that these would all look white.
    """
    n_classes, names = len(labels.classes), [_shorten(name) for name in labels.classes]
    values = np.array(labels.correlation, np.float64)  # (K, K), NaN for None
    is_undefined = np.isnan(values)
    np.fill_diagonal(values, np.nan)
    limit = _round_up(float(np.abs(values[~np.isnan(values)]).max(initial=0))) or 1.0
    norm = FuncNorm((lambda r: np.sign(r) * np.sqrt(np.abs(r)), lambda s: s * np.abs(s)), -limit, limit)
    note = "Gray: no sample shows the class, or every sample does." if is_undefined.any() else ""

    left = _measure(names, SMALL) + 2 * MARGIN
    side, bar, top, foot = WIDTH - left - MARGIN, 0.07, 0.2, 1.3 * LINE if note else 0.0
    figure = Figure((WIDTH, foot + left + side + 0.06 + bar + top))
    axes = _add_axes(figure, left=left, bottom=foot + left, width=side, height=side)
    look: dict[str, Any] = {
        "edgecolors": "white",
        "linewidth": 0.25,
    }  # lines hide the seams that viewers show between cells
    cells = axes.pcolormesh(values, cmap="RdBu_r", norm=norm, **look)
    axes.pcolormesh(np.where(is_undefined, 1, np.nan), cmap=ListedColormap([GRAY]), **look)
    places = np.arange(n_classes) + 0.5
    axes.set_xticks(places, names, rotation=90)
    axes.set_yticks(places, names)
    axes.set_ylim(n_classes, 0)
    axes.tick_params(length=0, labelsize=SMALL)
    axes.spines[:].set_visible(False)
    # Shorter than the matrix: the label of its end reaches over it.
    colours = _add_axes(figure, left=left, bottom=foot + left + side + 0.06, width=side - HALF_TICK, height=bar)
    figure.colorbar(cells, cax=colours, orientation="horizontal", ticklocation="top")
    colours.xaxis.set_major_locator(FixedLocator([-limit, -limit / 4, 0, limit / 4, limit]))
    colours.xaxis.set_minor_locator(FixedLocator([]))
    colours.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("-", "\N{MINUS SIGN}")))
    place = ((left - MARGIN) / WIDTH, (foot + left + side + 0.06 + bar / 2) / figure.get_figheight())
    figure.text(*place, "Correlation  ", ha="right", va="center_baseline")
    figure.text(MARGIN / WIDTH, MARGIN / figure.get_figheight(), note)
    return figure


@_styled
def draw_labels_per_sample(labels: LabelStatistics) -> Figure:
    """Draw how many originals show one class, two, and so on."""
    histogram = labels.labels_per_sample
    numbers = [number for number in range(len(histogram)) if number or histogram[0]]
    counts = [float(histogram[number]) for number in numbers]
    texts = [f"{n:,.0f} ({_format_share(n / labels.n_samples, digits=1)})" for n in counts]

    names = [f"{number} label" if number == 1 else f"{number} labels" for number in numbers]
    left, bottom, height = _measure(names) + 2 * MARGIN, 0.3, 0.17 * len(numbers)
    figure = Figure((WIDTH, bottom + height + MARGIN))
    axes = _add_axes(figure, left=left, bottom=bottom, width=WIDTH - left - HALF_TICK, height=height)
    axes.barh(numbers, counts, height=0.76, color=BLUE)
    axes.set_xlim(0, _fit_bars(axes, counts, texts))
    _label_bars(axes, numbers, counts, texts)
    axes.set_yticks(numbers, names)
    largest = max(counts)
    ticks = [tick for tick in MaxNLocator(nbins=4, integer=True).tick_values(0, largest) if tick <= largest]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.spines["bottom"].set_bounds(0, largest)
    axes.set_xlabel("Samples", loc="left")
    return figure


@_styled
def draw_intensities(intensities: Sequence[IntensityStatistics]) -> Figure:
    """Draw the share of pixels at each gray level, a panel for each channel, a line for each part.

    Beside the panels stand the shares of black and of saturated pixels.
    """
    channels = intensities[0].channels
    histograms = np.array([part.histogram for part in intensities], np.float64)  # (parts, C, 256)
    histograms[histograms == 0] = np.nan  # zero has no logarithm; lines break there
    percents = 100 * histograms / np.nansum(histograms, axis=2, keepdims=True)
    low, high = min(math.floor(math.log10(np.nanmin(percents))), 0), 2
    ticks = [10.0**n for n in range(high, low - 1, -max(1, (high - low) // 3))]
    tick_labels = [f"{value:g}".replace("e-0", "e-") for value in ticks]
    looks: list[dict[str, Any]] = [
        {"color": COLOURS[n % len(COLOURS)], "linestyle": DASHES[n % len(DASHES)], "linewidth": 0.8}
        for n in range(len(intensities))
    ]
    names = [f"{_shorten(part.part)} ({part.n_samples:,} samples)" for part in intensities]
    ncols = max(1, min(len(names), int((WIDTH - 2 * MARGIN) / (_measure(names) + 0.45))))
    legend = LINE * -(-len(names) // ncols)

    left, right, bottom = _measure(tick_labels) + 0.25, 1.32, 0.3
    panel, title = max(0.72, LINE * len(names)), 0.16
    height = bottom + len(channels) * (panel + title) + legend + MARGIN
    figure = Figure((WIDTH, height))
    figure.legend(
        handles=[Line2D([], [], label=name, **look) for name, look in zip(names, looks, strict=True)],
        loc="upper left",
        bbox_to_anchor=(MARGIN / WIDTH, 1 - MARGIN / height),
        ncols=ncols,
        labelspacing=LINE * 72 / TEXT - 1,
        handlelength=2.5,
    )
    for c, channel in enumerate(channels):
        below = bottom + (len(channels) - 1 - c) * (panel + title)
        axes = _add_axes(figure, left=left, bottom=below, width=WIDTH - left - right, height=panel)
        for n, look in enumerate(looks):
            axes.stairs(percents[n, c], np.arange(N_LEVELS + 1) - 0.5, baseline=None, **look)
        axes.set_yscale("log")
        axes.set_ylim(10.0**low, 10.0**high)
        axes.set_yticks(ticks, tick_labels)
        axes.yaxis.set_minor_locator(FixedLocator([]))
        axes.set_xlim(-4, N_LEVELS + 3)  # the peaks at 0 and 255 stand clear of the border
        axes.set_xticks([0, 64, 128, 192, 255], [""] * 5 if c < len(channels) - 1 else None)
        axes.set_title(_shorten(channel), loc="left", pad=2, fontweight="bold")
        _list_shares(figure, below + panel, c, intensities, looks)
    axes.set_xlabel("Gray level")
    middle = (bottom + len(channels) * (panel + title) / 2) / height
    figure.text(MARGIN / WIDTH, middle, "Pixels (%, logarithmic scale)", rotation=90, va="center")
    return figure


def _list_shares(
    figure: Figure,
    top: float,
    channel: int,
    intensities: Sequence[IntensityStatistics],
    looks: Sequence[dict[str, Any]],
) -> None:
    """Write the shares of black and saturated pixels beside a panel that reaches up to `top` (inches)."""
    height = figure.get_figheight()
    columns = (WIDTH - MARGIN - 0.52, WIDTH - MARGIN)  # inches, where each ends
    for column, head in zip(columns, ("black", "saturated"), strict=True):
        figure.text(column / WIDTH, (top + 0.03) / height, head, ha="right")
    for row, (part, look) in enumerate(zip(intensities, looks, strict=True)):
        place = (top - (row + 0.5) * LINE) / height
        ends = [(columns[0] - 0.68) / WIDTH, (columns[0] - 0.44) / WIDTH]
        figure.add_artist(Line2D(ends, [place, place], **look))
        for column, share in zip(columns, (part.black[channel], part.saturated[channel]), strict=True):
            figure.text(column / WIDTH, place, _format_share(share, digits=2), ha="right", va="center_baseline")


def _add_axes(figure: Figure, *, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches."""
    x, y = figure.get_size_inches()
    return figure.add_axes((left / x, bottom / y, width / x, height / y))


def _measure(texts: Iterable[str], size: float = TEXT) -> float:
    """Measure the widest of some texts, inches."""
    return max(TextPath((0, 0), text, size=size).get_extents().x1 if text.strip() else 0.0 for text in texts) / 72


def _fit_bars(axes: Axes, lengths: Sequence[float], texts: Sequence[str]) -> float:
    """Return the length of an axis on which each text has room between the end of its bar and the figure's border."""
    width = axes.get_position().width * WIDTH
    room = WIDTH - MARGIN - axes.get_position().x0 * WIDTH
    fits = [
        length * width / (room - _measure([text]) - 2 * MARGIN) for length, text in zip(lengths, texts, strict=True)
    ]
    return max(fits)


def _end_log_axis(axes: Axes, largest: int) -> None:
    """Draw a logarithmic axis as far as its bars go, with as many of the decades labelled as have room."""
    first, last = axes.get_xlim()
    decade = axes.get_position().width * WIDTH / math.log10(last / first)
    exponents = range(len(str(largest)))  # 10**exponent is not above the largest
    pair = [_measure([f"{10**exponent:,}"]) for exponent in exponents[-2:]]
    step = math.ceil((sum(pair) / len(pair) + MARGIN / 2) / decade)
    minors = [n * 10**exponent for exponent in exponents for n in range(1, 10)]
    axes.xaxis.set_major_locator(FixedLocator([10**exponent for exponent in exponents[::step]]))
    axes.xaxis.set_minor_locator(FixedLocator([value for value in minors if value <= largest]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.spines["bottom"].set_bounds(first, max(largest, 1))


def _label_bars(axes: Axes, places: Sequence[float], ends: Sequence[float], texts: Sequence[str]) -> None:
    """Write a text behind the end of each bar."""
    for place, end, text in zip(places, ends, texts, strict=True):
        axes.annotate(text, (end, place), xytext=(2, 0), textcoords="offset points", va="center_baseline")
    axes.set_ylim(places[-1] + 0.6, places[0] - 0.6)  # the first on top
    axes.tick_params(axis="y", length=0)


def _format_share(share: float, *, digits: int) -> str:
    """Format a share of 1 as per cent, so that little is not taken for nothing."""
    least = 10.0**-digits
    if 0 < 100 * share < least:
        return f"<{least:g} %"
    return f"{100 * share:.{digits}f} %" if share else "0 %"


def _round_up(value: float) -> float:
    """Round a correlation up to one digit."""
    if not value:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return min(math.ceil(round(value / unit, 6)) * unit, 1.0)


def _shorten(name: str) -> str:
    """Cut a name off where it would take more than its room."""
    shown = name[:100]
    while _measure([shown]) > NAME_WIDTH:
        shown = shown.removesuffix("…")[:-1] + "…"
    return shown
