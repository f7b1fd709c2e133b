"""Figures of statistics, one column of a paper wide, as PNG and PDF.

The same statistics give the same bytes, with one version of Matplotlib.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from hpa_data.stats.intensities import N_LEVELS, IntensityStatistics
from hpa_data.stats.labels import MAX_SHOWN, LabelStatistics, choose_classes, explain_choice
from hpa_data.stats.measure import StoreStatistics
from hpa_data.stats.style import BLUE, COLORS, GRAY, ORANGE, measure_width, render, shorten, styled
from hpa_data.system.atomic import remove_abandoned, write_atomic

WIDTH = 3.35  # inches, 85 mm: one column
DPI = 300
# About what all figures take together, as PNG and PDF.
FIGURES_BYTES = 4 * 2**20
TEXT, SMALL = 6.0, 5.0  # points; only the names beside the matrix have the second size
MATRIX = 140.0  # points; the height of the matrix
LINE = 0.115  # inches from one line of text to the next
NAME_WIDTH = 1.4  # inches; the longest of the 28 classes takes 1.24
NOTE_CHARACTERS = 75  # per line of a note across the figure

# Parts also differ in their dashes, before a color is used again.
DASHES = ("-", "--", ":", "-.")

_styled = styled(
    {
        "font.size": TEXT,
        "axes.labelsize": TEXT,
        "axes.titlesize": TEXT,
        "xtick.labelsize": TEXT,
        "ytick.labelsize": TEXT,
        "legend.fontsize": TEXT,
        "legend.borderpad": 0,
        "axes.labelpad": 2,
        "axes.linewidth": 0.5,
        "xtick.major.width": 0.5,
        "xtick.minor.width": 0.4,
        "ytick.major.width": 0.5,
        "xtick.major.size": 2.5,
        "xtick.minor.size": 1.5,
        "ytick.major.size": 2.5,
        "xtick.major.pad": 2,
        "ytick.major.pad": 2,
    }
)


@_styled
def write_figures(statistics: StoreStatistics | LabelStatistics, folder: Path) -> list[Path]:
    """Write all figures that the statistics have the numbers for.

    Parameters
    ----------
    statistics : StoreStatistics or LabelStatistics
    folder : Path
        Created if missing; files of the same names are replaced.

    Returns
    -------
    list of Path
        ``class_frequency``, ``class_correlation`` and ``labels_per_sample`` if there are labels, ``channel_intensity``
        if images were read; each as ``.png``, 300 dots per inch, and as ``.pdf``.
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
    kinds: tuple[Literal["png", "pdf"], ...] = ("png", "pdf")
    for name, figure in figures.items():
        for kind in kinds:
            written.append(folder / f"{name}.{kind}")
            write_atomic(written[-1], render(figure, kind, dpi=DPI))
    remove_abandoned(folder)
    return written


@_styled
def draw_frequency(labels: LabelStatistics) -> Figure:
    """Draw the originals and copies of each class, the most frequent on top, on a logarithmic axis.

    Of many classes, those that `choose_classes` chooses.
    """
    order = sorted(choose_classes(labels.counts), key=lambda k: -labels.counts[k])
    note = _wrap(explain_choice(labels.counts))
    counts = np.array([labels.counts[k] for k in order])
    copies = np.array([labels.copies[k] for k in order])
    texts = [f"{n:,} + {m:,}" if m else f"{n:,}" for n, m in zip(counts.tolist(), copies.tolist(), strict=True)]
    base = 0.7  # left of 1, so that a class with a single sample has a bar
    starts, ends = np.maximum(counts, base), np.maximum(counts + copies, base)

    figure = _create_figure(0.13 * len(order) + (0.5 if labels.n_copies else 0.35) + LINE * len(note))
    axes = figure.subplots()
    rows = np.arange(len(order))
    axes.barh(rows, starts - base, left=base, height=0.76, color=BLUE, label="Originals")
    if labels.n_copies:
        axes.barh(rows, ends - starts, left=starts, height=0.76, color=ORANGE, label="Augmented copies")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, handlelength=1)
    axes.set_xscale("log")
    axes.set_xlim(base, max(int(ends.max()), 2))
    _label_bars(axes, rows.tolist(), ends.tolist(), texts)
    axes.set_yticks(rows, [_shorten(labels.classes[k]) for k in order])
    decades = [10**n for n in range(len(str(int(ends.max()))))]  # none above the largest
    axes.xaxis.set_major_locator(FixedLocator(decades[:: -(-len(decades) // 6)]))  # six labels have room
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Samples (logarithmic scale)", loc="left")
    _write_note(figure, note)
    return figure


@_styled
def draw_correlation(labels: LabelStatistics) -> Figure:
    """Draw the correlation of classes in colors, white for 0, without the diagonal.

    The range of colors is that of the strongest correlation. Colors go by the square root: in most data sets one
    pair of classes correlates so much more than the others that these would all be almost white. Of many classes, those
    that `choose_classes` chooses.
    """
    n_classes, names = len(labels.correlated), [_shorten(labels.classes[k]) for k in labels.correlated]
    values = np.array(labels.correlation, np.float64)  # (K, K), NaN for None
    is_undefined = np.isnan(values)
    np.fill_diagonal(values, np.nan)
    limit = _round_up(float(np.abs(values[~np.isnan(values)]).max(initial=0))) or 1.0
    norm = FuncNorm((lambda r: np.sign(r) * np.sqrt(np.abs(r)), lambda s: s * np.abs(s)), -limit, limit)

    note = _wrap(explain_choice(labels.counts))
    if is_undefined.any():
        note += _wrap("Gray: no sample shows the class, or every sample does.")
    # The names take as much below the matrix as at its left, so the matrix is a square.
    figure = _create_figure(WIDTH + 0.3 + LINE * len(note))
    axes = figure.subplots()
    # Lines hide the seams that viewers show between cells.
    lines: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.25}
    cells = axes.pcolormesh(values, cmap="RdBu_r", norm=norm, **lines)
    axes.pcolormesh(np.where(is_undefined, 1, np.nan), cmap=ListedColormap([GRAY]), **lines)
    centers = np.arange(n_classes) + 0.5
    axes.set_xticks(centers, names, rotation=90)
    axes.set_yticks(centers, names)
    axes.set_ylim(n_classes, 0)
    axes.tick_params(length=0, labelsize=min(SMALL, MATRIX / n_classes))
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(cells, ax=axes, location="top", aspect=40, pad=0.015, shrink=0.9)
    bar.set_label("Correlation")
    bar.ax.xaxis.set_major_locator(FixedLocator([-limit, -limit / 4, 0, limit / 4, limit]))
    bar.ax.xaxis.set_minor_locator(FixedLocator([]))
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("-", "\N{MINUS SIGN}")))
    _write_note(figure, note)
    return figure


@_styled
def draw_labels_per_sample(labels: LabelStatistics) -> Figure:
    """Draw the number of originals with one class, two, and so on; the last bar stands for all larger numbers."""
    histogram = labels.labels_per_sample
    numbers = [number for number in range(len(histogram)) if number or histogram[0]][:MAX_SHOWN]
    counts = [float(histogram[number]) for number in numbers]
    n_larger = sum(histogram[numbers[-1] + 1 :])
    counts[-1] += n_larger
    texts = [f"{n:,.0f} ({_format_share(n / labels.n_samples, digits=1)})" for n in counts]

    figure = _create_figure(0.17 * len(numbers) + 0.35)
    axes = figure.subplots()
    axes.barh(numbers, counts, height=0.76, color=BLUE)
    axes.set_xlim(0, max(counts))
    _label_bars(axes, numbers, counts, texts)
    names = [f"{number} label" if number == 1 else f"{number} labels" for number in numbers]
    if n_larger:
        names[-1] = f"{numbers[-1]} or more"
    axes.set_yticks(numbers, names)
    ticks = [tick for tick in MaxNLocator(nbins=4, integer=True).tick_values(0, max(counts)) if tick <= max(counts)]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.set_xlabel("Samples", loc="left")
    return figure


@_styled
def draw_intensities(intensities: Sequence[IntensityStatistics]) -> Figure:
    """Draw the share of pixels at each gray level, a panel per channel, a line per part.

    Beside the panels stand the shares of black and of saturated pixels.
    """
    channels = intensities[0].channels
    histograms = np.array([part.histogram for part in intensities], np.float64)  # (parts, C, 256)
    histograms[histograms == 0] = np.nan  # zero has no logarithm; lines break there
    percents = 100 * histograms / np.nansum(histograms, axis=2, keepdims=True)
    low, high = min(math.floor(math.log10(np.nanmin(percents))), 0), 2
    ticks = [10.0**n for n in range(high, low - 1, -max(1, (high - low) // 3))]
    styles: list[dict[str, Any]] = [
        {"color": COLORS[n % len(COLORS)], "linestyle": DASHES[n % len(DASHES)], "linewidth": 0.8}
        for n in range(len(intensities))
    ]
    names = [f"{_shorten(part.part)} ({part.n_samples:,} samples)" for part in intensities]
    n_columns = max(1, min(len(names), int(WIDTH / (measure_width(names, TEXT) + 0.5))))

    panel = max(0.72, LINE * len(names)) + 0.2
    figure = _create_figure(0.35 + len(channels) * panel + LINE * -(-len(names) // n_columns))
    handles = [Line2D([], [], label=name, **style) for name, style in zip(names, styles, strict=True)]
    spacing = LINE * 72 / TEXT - 1
    figure.legend(handles=handles, loc="outside upper left", ncols=n_columns, labelspacing=spacing, handlelength=2.5)
    panels = figure.subplots(len(channels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for c, (channel, axes) in enumerate(zip(channels, panels, strict=True)):
        for n, style in enumerate(styles):
            axes.stairs(percents[n, c], np.arange(N_LEVELS + 1) - 0.5, baseline=None, **style)
        axes.set_title(_shorten(channel), loc="left", pad=2, fontweight="bold")
        _list_shares(axes, c, intensities, styles)
    axes.set_yscale("log")
    axes.set_ylim(10.0**low, 10.0**high)
    axes.set_yticks(ticks, [f"{value:g}".replace("e-0", "e-") for value in ticks])
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.set_xlim(-4, N_LEVELS + 3)  # the peaks at 0 and 255 do not touch the border
    axes.set_xticks([0, 64, 128, 192, 255])
    axes.set_xlabel("Gray level")
    figure.supylabel("Pixels (%, logarithmic scale)", fontsize=TEXT)
    return figure


def _list_shares(
    axes: Axes, channel: int, intensities: Sequence[IntensityStatistics], styles: Sequence[dict[str, Any]]
) -> None:
    """Write the shares of black and saturated pixels of each part at the right of a panel."""
    origin = ScaledTranslation(1, 1, axes.transAxes)  # type: ignore[arg-type]  # any transform will do
    corner = axes.figure.dpi_scale_trans + origin  # inches from the upper right corner
    columns = (0.76, 1.28)  # where each ends
    for x, head in zip(columns, ("black", "saturated"), strict=True):
        axes.text(x, 0.03, head, ha="right", transform=corner)
    for row, (part, style) in enumerate(zip(intensities, styles, strict=True)):
        y = -(row + 0.5) * LINE
        axes.add_line(Line2D([0.08, 0.32], [y, y], transform=corner, clip_on=False, **style))
        for x, share in zip(columns, (part.black[channel], part.saturated[channel]), strict=True):
            text = _format_share(share, digits=2)
            axes.text(x, y, text, ha="right", va="center_baseline", transform=corner)


def _create_figure(height: float) -> Figure:
    """Create a figure one column wide, whose parts Matplotlib arranges; height in inches."""
    figure = Figure((WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.03, hspace=0, wspace=0)  # type: ignore[union-attr, call-arg]
    return figure


def _wrap(note: str) -> list[str]:
    return textwrap.wrap(note, NOTE_CHARACTERS)


def _write_note(figure: Figure, lines: Sequence[str]) -> None:
    """Write lines of text below a figure, if there are any."""
    if lines:
        figure.supxlabel("\n".join(lines), x=0.02, ha="left", fontsize=TEXT)


def _label_bars(axes: Axes, rows: Sequence[float], ends: Sequence[float], texts: Sequence[str]) -> None:
    """Write a text behind the end of each bar."""
    for row, end, text in zip(rows, ends, texts, strict=True):
        axes.annotate(text, (end, row), xytext=(2, 0), textcoords="offset points", va="center_baseline")
    axes.set_ylim(rows[-1] + 0.6, rows[0] - 0.6)  # the first on top
    axes.tick_params(axis="y", length=0)


def _format_share(share: float, *, digits: int) -> str:
    """Format a fraction as per cent; a small one does not become 0."""
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
    return shorten(name, NAME_WIDTH, TEXT)
