"""The figure of runs side by side."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from hpa_data.stats.style import BLUE, GRAY, RED, SKY
from hpa_model.evaluation.compare import Comparison
from hpa_model.evaluation.figure_style import SMALL, WIDE, legend_height, lift_legend, style_figure
from hpa_model.evaluation.records import HEADLINE, THRESHOLDINGS

BAR_COLORS = (BLUE, SKY, RED, GRAY)


@style_figure
def draw_comparison(comparison: Comparison, width: float = WIDE) -> Figure:
    """Draw the scores of runs as bars, the best on top, and those that the paper reports as markers."""
    rows = comparison.rows[::-1]
    top = legend_height(len(THRESHOLDINGS) + 2, 1)
    height = 0.62 * len(rows) + 0.6 + top
    figure = Figure((width, height), layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - top / height)))
    axes = figure.subplots()
    heights = np.arange(len(rows), dtype=float)
    bar = 0.75 / len(THRESHOLDINGS)
    for number, (kind, color) in enumerate(zip(THRESHOLDINGS, BAR_COLORS, strict=True)):
        values = [getattr(row, f"macro_f1_{kind.name}") for row in rows]
        shifted = heights + bar * ((len(THRESHOLDINGS) - 1) / 2 - number)
        axes.barh(shifted, values, bar - 0.01, color=color, label=kind.description)
        for middle, value in zip(shifted, values, strict=True):
            axes.text(value, middle, f" {value:.3f}", va="center", fontsize=SMALL)
    reported = [(middle, row.paper) for middle, row in zip(heights, rows, strict=True) if row.paper is not None]
    if reported:
        axes.plot(
            [value for _, value in reported],
            [middle for middle, _ in reported],
            "D",
            color=RED,
            ms=5,
            label="the paper, on Kaggle's data",
        )
    no_skill = max(row.no_skill_high for row in rows)
    axes.axvspan(0, no_skill, color=GRAY, alpha=0.3, lw=0, label=f"no skill ({HEADLINE.label})")
    axes.set_yticks(heights, [f"{row.run}\n{row.model}" + (" *" if row.legacy_leak else "") for row in rows])
    highest = max([row.macro_f1_in_sample for row in rows] + [value or 0 for _, value in reported])
    axes.set_xlim(0, min(1, 1.15 * max(highest, 0.05)))
    note = "   * inflated: copies of validation samples were trained on"
    axes.set_xlabel("Macro-F1" + (note if any(row.legacy_leak for row in rows) else ""))
    axes.grid(axis="x")
    lift_legend(figure, columns=1)
    return figure
