"""Figures of an ensemble: how well each member finds each class alone, and what each class loses without it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from hpa_data.dataset import Channel
from hpa_data.stats.style import COLORS
from hpa_model.evaluation.contributions import ClassValues, Contributions
from hpa_model.evaluation.figure_classes import ROW, label_classes, order_by_support
from hpa_model.evaluation.figure_style import (
    GRID,
    INK,
    MARKERS,
    NARROW,
    PAPER,
    SOFT,
    TEXT,
    WIDE,
    frame,
    legend_height,
    lift_legend,
    shorten,
    style_figure,
)
from hpa_model.evaluation.records import Scores

Floats = npt.NDArray[np.float64]

# More cannot be told apart.
MAX_DRAWN = len(MARKERS)


def name_members(found: Contributions) -> list[str]:
    """Name the members: by their channels where these tell them apart, else by their folders."""
    channels = [" + ".join(member.channels) for member in found.members]
    return channels if len(set(channels)) == len(channels) else [member.run for member in found.members]


def choose_colors(found: Contributions, channels: Sequence[Channel]) -> list[str]:
    """Choose a color for each member: of one channel, that of the palette which is most like the channel's."""
    known = {channel.name: channel.color for channel in channels}
    free = list(COLORS)
    chosen: list[str] = [""] * len(found.members)
    alone = [n for n, member in enumerate(found.members) if len(member.channels) == 1]
    for number in [*alone, *(n for n in range(len(chosen)) if n not in alone)]:
        if number in alone and len(free) > 1:
            wanted = np.array(to_rgb(known.get(found.members[number].channels[0], INK)))
            # By hue: a color of the palette is darker than that of a channel.
            best = max(free, key=lambda color: _agreement(np.array(to_rgb(color)), wanted))
        else:
            best = free[0]
        chosen[number] = best
        free = [color for color in free if color != best] or list(COLORS)
    return chosen


def _agreement(one: Floats, other: Floats) -> float:
    """Return how far two colors, (3,), lie in the same direction from gray, -1 to 1."""
    first, second = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / size if size else 0.0


def list_classes(scores: Scores) -> list[int]:
    """Return the indices of the classes that are drawn, the most frequent first: those with samples."""
    return [k for k in order_by_support(scores) if scores.classes[k].support]


def count_lost(found: Contributions) -> list[Floats]:
    """Return what the average precision of each class loses without each member, (K,) each; NaN if not known."""
    whole = _to_array(found.class_precision)
    return [whole - _to_array(member.class_precision_without) for member in found.members]


def _to_array(values: ClassValues) -> Floats:
    return np.array([np.nan if value is None else value for value in values])


@style_figure
def draw_alone(found: Contributions, scores: Scores, colors: Sequence[str], width: float = WIDE) -> Figure:
    """Draw the average precision of each class by each member alone, and by the ensemble.

    Parameters
    ----------
    found : Contributions
        Of many members, the first ones are drawn.
    scores : Scores
        Of the ensemble.
    colors : sequence of str
        Of the members.
    width : float
        Inches.
    """
    shown = list_classes(scores)
    values = [_to_array(member.class_precision)[shown] for member in found.members]
    figure = _draw(found, scores, values, colors, width, n_more=2)
    (axes,) = figure.axes
    rows = np.arange(len(shown))[::-1]
    frequency = np.array([scores.classes[k].support / scores.n_samples for k in shown])
    for at, color, label in (
        (frequency, SOFT, "without skill"),
        (_to_array(found.class_precision)[shown], INK, "ensemble"),
    ):
        axes.plot(at, rows, "|", color=PAPER, ms=11, mew=3.4, zorder=4)
        axes.plot(at, rows, "|", color=color, ms=11, mew=1.8, label=label, zorder=5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Average precision")
    lift_legend(figure, columns=_count_columns(width))
    return figure


@style_figure
def draw_lost(found: Contributions, scores: Scores, colors: Sequence[str], width: float = WIDE) -> Figure:
    """Draw what the average precision of each class loses where a member is left out; otherwise as `draw_alone`."""
    shown = list_classes(scores)
    figure = _draw(found, scores, [lost[shown] for lost in count_lost(found)], colors, width, n_more=0)
    (axes,) = figure.axes
    axes.axvline(0, color=INK, lw=0.8, zorder=1)
    axes.set_xlabel("Average precision lost without it")
    lift_legend(figure, columns=_count_columns(width))
    return figure


def _draw(
    found: Contributions,
    scores: Scores,
    values: Sequence[Floats],
    colors: Sequence[str],
    width: float,
    *,
    n_more: int,
) -> Figure:
    """Draw a value of each class, (K,), for each member, with room for a legend with `n_more` other entries."""
    shown = list_classes(scores)
    labels = label_classes(scores, shown, width)
    n_drawn = min(len(found.members), MAX_DRAWN)
    top = legend_height(n_drawn + n_more, _count_columns(width))
    figure = frame(width, ROW * len(shown) + 0.5 + top, left=labels, top=top)
    (axes,) = figure.axes
    rows = np.arange(len(shown))[::-1]
    drawn = np.stack(values[:n_drawn])
    is_known = ~np.isnan(drawn).any(axis=0)
    low, high = drawn[:, is_known].min(axis=0), drawn[:, is_known].max(axis=0)
    axes.hlines(rows[is_known], low, high, colors=GRID, lw=2.4, zorder=1)
    names = [shorten(name, 1.6 if width > NARROW else 1.2, TEXT) for name in name_members(found)]
    for number in range(n_drawn):
        axes.plot(
            values[number],
            rows + 0.5 * ((n_drawn - 1) / 2 - number) / n_drawn,
            MARKERS[number],
            color=colors[number],
            ms=5.5,
            mec=PAPER,
            mew=0.5,
            label=names[number],
            clip_on=False,
            zorder=3,
        )
    axes.set_yticks(rows, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.grid(axis="x")
    return figure


def _count_columns(width: float) -> int:
    return 4 if width > NARROW else 2
