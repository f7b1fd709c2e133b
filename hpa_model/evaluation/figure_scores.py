"""The figure of a run's scores: each with its interval, those of the folds, and what no skill scores."""

import numpy as np
from matplotlib.figure import Figure

from hpa_data.stats.style import BLUE
from hpa_model.evaluation.figure_style import (
    BAND,
    INK,
    SOFT,
    WIDE,
    fit_top,
    frame,
    legend_height,
    lift_legend,
    style_figure,
)
from hpa_model.evaluation.records import Scores

# Scores without thresholds: field and name.
RANKINGS = (("macro_average_precision", "average precision"),)


@style_figure
def draw_scores(scores: Scores, width: float = WIDE) -> Figure:
    """Draw the scores of a run as points with intervals of 95 %, those of its folds, and the band without skill."""
    named = [(f"macro_f1_{kind.name}", f"F1, {kind.label}") for kind in scores.thresholdings] + list(RANKINGS)
    fields = [(name, label) for name, label in named if getattr(scores, name) is not None]
    labels = [label for _, label in fields]
    columns = 3 if width == WIDE else 2
    top = legend_height(3, columns)
    figure = frame(width, 0.3 * len(fields) + 0.5 + top, left=labels, top=top)
    (axes,) = figure.axes
    rows = np.arange(len(fields))[::-1]
    highest = 0.0
    for number, ((name, _), row) in enumerate(zip(fields, rows, strict=True)):
        is_first = number == 0
        value = getattr(scores, name)
        of_folds = [getattr(fold, name) for fold in scores.folds if getattr(fold, name) is not None]
        band, interval = scores.no_skill.get(name), scores.intervals.get(name)
        if band is not None:
            low = max(band.low, 0.0)
            axes.barh(row, min(band.high, 1) - low, 0.62, low, color=BAND, label="no skill" if is_first else "_")
        axes.plot(
            of_folds, [row] * len(of_folds), "|", color=SOFT, ms=9, mew=1.2, label="one fold" if is_first else "_"
        )
        margin = [[0.0], [0.0]] if interval is None else [[value - interval.low], [interval.high - value]]
        axes.errorbar(
            [value],
            [row],
            xerr=np.maximum(margin, 0),
            fmt="o",
            color=BLUE if is_first else INK,
            ms=7 if is_first else 5,
            elinewidth=2 if is_first else 1.2,
            label="all samples, with the 95 % interval" if is_first else "_",
        )
        highest = max(highest, value, *of_folds, 0 if interval is None else interval.high)
    axes.set_yticks(rows, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, fit_top(1.02 * highest))
    axes.set_ylim(-0.6, len(fields) - 0.4)
    axes.set_xlabel("Mean over the classes")
    axes.grid(axis="x")
    lift_legend(figure, columns=columns)
    return figure
