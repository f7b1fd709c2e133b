"""Figures of classes: their F1, against their samples, in each fold, before and after fine-tuning, and confusions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from hpa_data.stats.style import BLUE, RED, measure_width
from hpa_model.evaluation.confusion import ConfusionMap
from hpa_model.evaluation.figure_style import (
    GRID,
    INK,
    NARROW,
    PAPER,
    SMALL,
    SOFT,
    TEXT,
    WIDE,
    fold_style,
    frame,
    legend_height,
    lift_legend,
    shorten,
    style_figure,
)
from hpa_model.evaluation.records import FoldScore, Scores
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds import search_thresholds

Floats = npt.NDArray[np.float64]

ROW = 0.2  # inches of a class
# Of the kinds of thresholds that are drawn beside the bars of the headline.
CLASS_MARKERS = {"in_sample": ("d", RED), "at_half": (".", INK)}


def order_by_f1(scores: Scores) -> list[int]:
    """Return the indices of the classes that are shown, the highest cross-fitted F1 first."""
    return sorted(scores.shown, key=lambda k: (-scores.classes[k].f1, -scores.classes[k].support))


def order_by_support(scores: Scores) -> list[int]:
    """Return the indices of the classes that are shown, the most frequent first."""
    return sorted(scores.shown, key=lambda k: -scores.classes[k].support)


def _name_width(width: float) -> float:
    return 2.6 if width > NARROW else 1.45


def label_classes(scores: Scores, shown: Sequence[int], width: float, *, counts: bool = True) -> list[str]:
    """Name classes at the side of a figure, with their samples."""
    notes = [f" ({scores.classes[k].support:,})" if counts else "" for k in shown]
    return [
        shorten(scores.classes[k].name, _name_width(width), TEXT) + note for k, note in zip(shown, notes, strict=True)
    ]


@style_figure
def draw_classes(scores: Scores, intervals: Floats, width: float = WIDE) -> Figure:
    """Draw the headline F1 of each class as a bar, the best on top, and that of other thresholds as markers.

    Parameters
    ----------
    scores : Scores
        Of many classes, `Scores.shown` are drawn, as in all figures of classes.
    intervals : array of float, shape (2, K)
        Where the F1 of each class may lie.
    width : float
        Inches.
    """
    shown = order_by_f1(scores)
    classes = [scores.classes[k] for k in shown]
    labels = label_classes(scores, shown, width)
    columns = 4 if width > NARROW else 2
    top = legend_height(2 + len(CLASS_MARKERS), columns)
    figure = frame(width, ROW * len(classes) + 0.5 + top, left=labels, top=top)
    (axes,) = figure.axes
    rows = np.arange(len(classes))[::-1]
    values = np.array([score.f1 for score in classes])
    axes.barh(rows, values, 0.7, color=BLUE, label=f"F1, {scores.thresholdings[0].label}")
    margins = np.maximum(0, np.stack([values - intervals[0, shown], intervals[1, shown] - values]))
    axes.errorbar(values, rows, xerr=margins, fmt="none", color=INK, elinewidth=0.9, capsize=2, capthick=0.9)
    with_samples = [(score, row) for score, row in zip(classes, rows, strict=True) if score.support]
    at = [row for _, row in with_samples]
    for kind in scores.thresholdings:
        if kind.name in CLASS_MARKERS:
            marker, color = CLASS_MARKERS[kind.name]
            values = np.array([getattr(score, f"f1_{kind.name}") for score, _ in with_samples])
            # A marker at 0 lies half outside.
            axes.plot(values, at, marker, color=color, ms=7, mew=1.5, label=f"F1, {kind.label}", clip_on=False)
    always = [2 * score.support / (scores.n_samples + score.support) for score, _ in with_samples]
    axes.plot(always, at, "|", color=PAPER, ms=9, mew=2.6)
    axes.plot(always, at, "|", color=SOFT, ms=9, mew=1.2, label="predicted for all")
    axes.set_yticks(rows, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, len(classes) - 0.3)
    axes.set_xlabel("F1")
    axes.grid(axis="x")
    lift_legend(figure, columns=columns)
    return figure


@style_figure
def draw_support(scores: Scores, width: float = WIDE) -> Figure:
    """Draw the headline F1 of each class against its number of samples."""
    shown = [k for k in scores.shown if scores.classes[k].support]
    figure = frame(width, 3.2, left=["1.0"], top=0.15, has_label=True)
    (axes,) = figure.axes
    x = np.array([scores.classes[k].support for k in shown], float)
    y = np.array([scores.classes[k].f1 for k in shown])
    axes.plot(x, y, "o", color=BLUE, ms=5, clip_on=False, zorder=3)
    axes.set_xscale("log")
    if len(x):
        axes.set_xlim(0.8 * x.min(), 1.25 * x.max() + 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1)
    axes.set_xlabel("Samples of the class")
    axes.set_ylabel("F1")
    axes.grid()
    _name_points(figure, x, y, [scores.classes[k].name for k in shown], width)
    return figure


def _name_points(figure: Figure, x: Floats, y: Floats, names: Sequence[str], width: float) -> None:
    """Write names beside points, where they hide no other name."""
    (axes,) = figure.axes
    inches = axes.transData.transform(np.column_stack([x, y])) / figure.dpi
    taken: list[tuple[float, float, float, float]] = [(px - 0.04, py - 0.04, px + 0.04, py + 0.04) for px, py in inches]
    for number in np.argsort(-np.abs(y - np.median(y)) if len(y) else y):  # the ends matter most
        px, py = inches[number]
        text = shorten(names[number], 1.3, SMALL)
        length = 0.062 * len(text)
        for dx, ha in ((0.07, "left"), (-0.07, "right")):
            left = px + dx if ha == "left" else px + dx - length
            box = (left, py - 0.05, left + length, py + 0.05)
            is_inside = box[0] >= 0.5 and box[2] <= width - 0.05
            if is_inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    text,
                    (x[number], y[number]),
                    (72 * dx, 0),
                    textcoords="offset points",
                    ha=ha,
                    va="center",
                    fontsize=SMALL,
                    color=SOFT,
                )
                break


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _no_skill(fold: FoldScore) -> str:
    band = fold.no_skill.get("macro_f1_in_sample")
    return "not known" if band is None else f"up to {band.high:.3f}"


@style_figure
def draw_folds(rows: OutOfFold, scores: Scores, width: float = WIDE) -> Figure:
    """Draw the F1 of each class in each fold, with thresholds fitted on the same fold: the paper's figure 4.2."""
    shown = order_by_support(scores)
    labels = label_classes(scores, shown, width)
    columns = 2 if width > NARROW else 1
    folds = scores.folds[:8]  # more cannot be told apart
    top = legend_height(len(folds), columns)
    figure = frame(width, ROW * len(shown) + 0.5 + top, left=labels, top=top)
    (axes,) = figure.axes
    numbers = np.arange(len(shown))[::-1]
    for n, fold in enumerate(folds):
        in_fold = rows.folds == fold.fold
        truth, probs = rows.labels[in_fold][:, shown], rows.probs[in_fold][:, shown]
        f1 = f1_per_class(truth, predict_classes(probs, search_thresholds(truth, probs)))
        present = truth.any(axis=0)
        color, marker = fold_style(n)
        axes.plot(
            f1[present],
            numbers[present] + 0.5 * ((len(folds) - 1) / 2 - n) / len(folds),
            marker,
            color=color,
            ms=4,
            clip_on=False,
            zorder=3,
            label=f"fold {fold.fold}: macro-F1 {fold.macro_f1_in_sample:.3f}, no skill {_no_skill(fold)}",
        )
    axes.set_yticks(numbers, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.set_xlabel("F1")
    axes.grid()
    lift_legend(figure, columns=columns)
    return figure


@style_figure
def draw_change(names: Sequence[str], before: Floats, after: Floats, width: float = WIDE) -> Figure:
    """Draw the F1 of each class before and after fine-tuning: the paper's figure 4.4.

    Parameters
    ----------
    names : sequence of str
        Of the classes.
    before, after : array of float, shape (K,)
        Their F1.
    width : float
        Inches.
    """
    order = np.argsort(before - after, kind="stable")
    labels = [shorten(names[k], _name_width(width), TEXT) for k in order]
    top = legend_height(2, 2)
    figure = frame(width, ROW * len(order) + 0.5 + top, left=labels, top=top)
    (axes,) = figure.axes
    rows = np.arange(len(order))[::-1]
    colors = [BLUE if after[k] >= before[k] else RED for k in order]
    axes.hlines(rows, before[order], after[order], colors=colors, lw=2)
    axes.plot(before[order], rows, "o", color=INK, mfc="white", ms=4.5, label="before", clip_on=False, zorder=3)
    axes.scatter(after[order], rows, 26, colors, label="after", clip_on=False, zorder=4)
    axes.set_yticks(rows, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlabel("F1")
    axes.grid(axis="x")
    lift_legend(figure, columns=2)
    return figure


@style_figure
def draw_confusion(confusion: ConfusionMap, width: float = WIDE) -> Figure:
    """Draw which classes are predicted for samples of which class, and what is predicted for all."""
    n = len(confusion.names)
    labels = [shorten(name, _name_width(width), TEXT) for name in confusion.names]
    rows = [*labels, "all samples"]
    margin = measure_width(rows, TEXT) + 0.12
    side = min((width - margin - 0.1) / n, 0.3)
    bottom = measure_width(labels, TEXT) * 0.87 + 0.25  # the sine of 60 degrees
    height = side * (n + 1.5) + bottom + 0.3
    figure = Figure((width, height))
    axes = figure.add_axes((margin / width, bottom / height, side * n / width, side * (n + 1.5) / height))
    blue, red = to_rgb(BLUE), to_rgb(RED)
    image = np.empty((n, n, 4))
    image[..., :3] = np.where(np.eye(n, dtype=bool)[..., None], blue, red)
    image[..., 3] = np.sqrt(np.nan_to_num(confusion.fractions))  # most are small: the square root shows them
    base = np.empty((1, n, 4))
    base[..., :3], base[..., 3] = red, np.sqrt(np.nan_to_num(confusion.base))
    axes.imshow(image, interpolation="none", extent=(0, n, n, 0), aspect="auto")
    axes.imshow(base, interpolation="none", extent=(0, n, n + 1.5, n + 0.5), aspect="auto")
    ends = np.arange(n + 1)
    axes.hlines(ends, 0, n, colors=GRID, lw=0.4)
    axes.vlines(ends, 0, n, colors=GRID, lw=0.4)
    axes.set_xlim(0, n)
    axes.set_ylim(n + 1.5, 0)
    axes.set_title("Rows: what samples show. Columns: what is predicted.")
    axes.set_yticks([*(ends[:-1] + 0.5), n + 1], rows)
    axes.set_xticks(ends[:-1] + 0.5, labels, rotation=60, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
