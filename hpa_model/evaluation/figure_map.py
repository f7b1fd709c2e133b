"""A map of samples: all of them with their classes, and one small panel for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from hpa_data.stats.style import measure_width
from hpa_model.evaluation.figure_style import PAPER, SMALL, SOFT, TEXT, WIDE, shorten, style_figure

Points = npt.NDArray[np.float64]
Members = npt.NDArray[np.bool_]  # (N, K)
Color = tuple[float, float, float]

# Inches: the large panel, and the small ones.
LARGE, COLUMNS, GAP, TITLE, MARGIN = 5.2, 6, 0.12, 0.2, 0.08
# Of samples of several groups, or of none.
MIXED = "#b8b8b8"
FAINT = "#dedede"
# Points are drawn as pixels in files of curves if there are more.
MAX_CURVES = 2000
HALO: list[Any] = [patheffects.withStroke(linewidth=2.2, foreground=PAPER)]  # around letters on points
# Wider than plain letters.
BOLD = 1.12


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Which samples belong together."""

    names: tuple[str, ...]
    """Of K groups, such as classes."""

    members: Members
    """Shape (N, K); a sample may be in several, or in none."""

    title: str
    """What they are, for the figure."""


@style_figure
def draw_map(positions: Points, groups: Groups, *, caption: str) -> Figure:
    """Draw all samples, with the name of each group where most of it is, and each group in a panel of its own.

    Parameters
    ----------
    positions : array of float, shape (N, 2)
    groups : Groups
        Those without a sample are left out.
    caption : str
        How the positions came about.
    """
    shown = list_shown(groups)
    members, names = groups.members[:, shown], [groups.names[k] for k in shown]
    n_rows = -(-len(shown) // COLUMNS)
    side = (WIDE - GAP * (COLUMNS - 1)) / COLUMNS
    height = 0.56 + LARGE + n_rows * (side + TITLE + GAP) + 0.1
    figure = Figure((WIDE + 2 * MARGIN, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-MARGIN, WIDE + MARGIN)
    axes.set_ylim(0, height)
    axes.text(0, height - 0.08, groups.title, va="top", fontsize=TEXT + 1.5)
    axes.text(0, height - 0.3, caption, va="top", color=SOFT)
    colors = choose_colors(len(shown))
    unit = fit_positions(positions)
    size = float(np.clip(6000 / len(positions), 1.5, 14))
    large = unit * [WIDE - 0.5, LARGE - 0.4] + [0.25, height - 0.56 - LARGE + 0.1]
    _draw_points(axes, large, members, colors, size)
    _write_names(axes, large, members, names, colors)
    for n, name in enumerate(names):
        row, column = divmod(n, COLUMNS)
        x, y = column * (side + GAP), height - 0.56 - LARGE - (row + 1) * (side + TITLE + GAP) + GAP
        axes.text(x, y + side + 0.045, shorten(name, side + 0.06, SMALL), fontsize=SMALL, va="bottom")
        small = unit * (side - 0.1) + [x + 0.05, y + 0.05]
        is_in = members[:, n]
        _scatter(axes, small[~is_in], FAINT, size / 5)
        _scatter(axes, small[is_in], colors[n], max(size / 3, 2))
        axes.plot([x, x + side, x + side, x, x], [y, y, y + side, y + side, y], color=FAINT, lw=0.6)
        count = axes.text(x + side - 0.04, y + 0.04, f"{int(is_in.sum()):,}", fontsize=SMALL, color=SOFT, ha="right")
        count.set_path_effects(HALO)
    return figure


def list_shown(groups: Groups) -> list[int]:
    """List the groups that have a sample, the largest first."""
    order = np.argsort(-groups.members.sum(axis=0), kind="stable").tolist()
    return [k for k in order if groups.members[:, k].any()]


def choose_colors(n: int) -> list[Color]:
    """Choose colors for groups: hues around the circle, in two lightnesses, neighbors in the list far apart."""
    step = next(step for step in range(max(int(n * 0.382), 1), n + 2) if np.gcd(step, max(n, 1)) == 1)
    hues = [(k * step % n) / n for k in range(n)]
    return [tuple(hsv_to_rgb((hue, 0.85, (0.82, 0.58)[k % 2])).tolist()) for k, hue in enumerate(hues)]


def fit_positions(positions: Points) -> Points:
    """Scale positions to 0 to 1 in both directions; few that are far out do not decide."""
    low, high = np.percentile(positions, [0.5, 99.5], axis=0)
    return np.clip((positions - low) / np.where(high > low, high - low, 1), -0.02, 1.02)


def _scatter(axes: Axes, points: Points, color: Any, size: float) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=size, color=color, lw=0, alpha=0.85, rasterized=len(points) > MAX_CURVES)


def _draw_points(axes: Axes, points: Points, members: Members, colors: Sequence[Color], size: float) -> None:
    """Draw the samples of a single group in its color, and the others in gray."""
    is_single = members.sum(axis=1) == 1
    _scatter(axes, points[~is_single], MIXED, size * 0.6)
    for k, color in enumerate(colors):
        _scatter(axes, points[is_single & members[:, k]], color, size)


def _write_names(axes: Axes, points: Points, members: Members, names: Sequence[str], colors: Sequence[Color]) -> None:
    """Write the name of each group above the middle of its samples, those of it alone if there are any."""
    middles = find_middles(points, members)
    texts = [shorten(name, 1.7, SMALL) for name in names]
    widths = BOLD * np.array([measure_width([text], SMALL) for text in texts])
    above = middles + np.array([0, 0.13])
    places = spread_labels(above, widths, SMALL / 72 * 1.3, width=WIDE)
    for text, middle, place, color in zip(texts, middles, places, colors, strict=True):
        if np.hypot(*(place - middle)) > 0.3:
            axes.plot(*np.stack([middle, place]).T, color=color, lw=0.7)
        style: dict[str, Any] = {
            "fontsize": SMALL,
            "fontweight": "bold",
            "path_effects": HALO,
            "ha": "center",
            "va": "center",
        }
        axes.text(place[0], place[1], text, color=[0.75 * each for each in color], **style)


def find_middles(points: Points, members: Members) -> Points:
    """Find the middle of the samples of each group, (K, 2): of those that are in no other, if there are any."""
    is_single = members.sum(axis=1) == 1
    middles = []
    for k in range(members.shape[1]):
        own = members[:, k] & is_single
        middles.append(np.median(points[own if own.any() else members[:, k]], axis=0))
    return np.array(middles).reshape(-1, 2)


def spread_labels(middles: Points, widths: npt.NDArray[np.float64], height: float, *, width: float) -> Points:
    """Move labels so that they do not overlap, as little as possible.

    Parameters
    ----------
    middles : array of float, shape (K, 2)
        Where they should be, in inches.
    widths : array of float, shape (K,)
    height : float
        Of each.
    width : float
        Of the figure; none leaves it to the left or right.

    Returns
    -------
    array of float, shape (K, 2)
    """
    places = middles.copy()
    sizes = np.stack([(widths[:, None] + widths) / 2 + 0.05, np.full((len(widths), len(widths)), height)], axis=-1)
    for _ in range(500):
        places[:, 0] = np.clip(places[:, 0], widths / 2, width - widths / 2)  # which may bring some together
        overlaps = (sizes - abs(places[:, None] - places) > 1e-9).all(axis=-1)  # (K, K)
        pairs = np.argwhere(np.tril(overlaps, -1)).tolist()
        for one, other in pairs:
            gap = places[one] - places[other]
            overlap = sizes[one, other] - abs(gap)
            if (overlap > 1e-9).all():  # still, after those before
                axis = 1 if overlap[1] <= overlap[0] else 0
                push = overlap[axis] / 2 * (1 if gap[axis] >= 0 else -1)  # `one` is after `other`
                places[one, axis] += push
                places[other, axis] -= push
        if not pairs:
            return places
    places[:, 0] = np.clip(places[:, 0], widths / 2, width - widths / 2)
    return places
