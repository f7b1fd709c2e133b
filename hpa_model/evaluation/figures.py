"""Figures of runs, as SVG for the report or as PNG: how they learned, how they score, where thresholds lie."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpa_data.stats.style import BLUE, COLORS, GRAY, RED, SKY, render, shorten, styled
from hpa_model.evaluation.compare import Comparison
from hpa_model.evaluation.scores import THRESHOLDINGS, Scores
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.folder import EpochRecord
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds import NEVER, search_thresholds

LINES = ("--", "-", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH = 9.0  # inches; the report scales it to its width
# Of the kinds of thresholds: the first is a bar in a figure of classes, the others are markers; all are bars of a run.
CLASS_MARKERS = (("|", RED), (".", "black"))
BAR_COLORS = (BLUE, SKY, GRAY)
# Inches that names of classes may take in figures of classes, folds and thresholds; longer ones are cut.
CLASS_WIDTH, FOLD_WIDTH, PANEL_WIDTH = 3.0, 1.7, WIDTH / 7 - 0.2
# The thresholds that a curve is drawn through.
CURVE = np.arange(0, 1.0001, 0.01)

_styled = styled(
    {
        "font.size": 9.0,
        "axes.titlesize": 9.0,
        "axes.titlelocation": "left",
        "axes.linewidth": 0.6,
        "axes.axisbelow": True,
        "grid.color": "#E4E4E4",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.4,
    }
)


@_styled
def render_svg(figure: Figure) -> str:
    """Return a figure as an SVG element, to be put into HTML."""
    text = render(figure, "svg").decode()
    return text[text.index("<svg") :]  # without the lines that only a separate file has


@_styled
def render_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file, 150 dots per inch."""
    return render(figure, "png", dpi=150)


@_styled
def draw_history(histories: Sequence[Sequence[EpochRecord]]) -> Figure:
    """Draw losses and macro-F1 over the epochs, a color per fold.

    Parameters
    ----------
    histories : sequence of histories
        See `runs.read_history`; folds without one are omitted.
    """
    figure = Figure((WIDTH, 3.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for fold, history in enumerate(histories):
        if not history:
            continue
        epochs = [record.epoch for record in history]
        style = {"color": COLORS[fold % len(COLORS)], "marker": "" if len(epochs) > 1 else "."}

        for axes, metrics in (
            (losses, {"loss": "training", "val_loss": "validation"}),
            (scores, EpochRecord.labeled_metrics()),
        ):
            for (name, label), line in zip(metrics.items(), itertools.cycle(LINES)):
                values = [getattr(record, name) for record in history]
                axes.plot(epochs, values, line, label=f"fold {fold}, {label}", **style)
        best = min(history, key=lambda record: record.val_loss)
        losses.plot(best.epoch, best.val_loss, "o", mfc="none", ms=9, color=style["color"])
    losses.set_title("Loss (circle: the epoch that is kept)")
    scores.set_title("Scores of the validation set")
    scores.set_ylim(0, None)
    for axes in (losses, scores):
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.legend(fontsize=7, handlelength=3)
    return figure


@_styled
def draw_classes(scores: Scores) -> Figure:
    """Draw the cross-fitted F1 of each class as a bar, and that of other thresholds as markers.

    Of many classes, `Scores.shown`; so do all figures of classes.
    """
    classes = [scores.classes[k] for k in scores.shown]
    figure = Figure((WIDTH, 0.24 * len(classes) + 1.1), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(classes))[::-1]  # the first class on top
    first, *others = THRESHOLDINGS
    values = [getattr(score, f"f1_{first.name}") for score in classes]
    axes.barh(rows, values, 0.7, color=BLUE, label=first.description)
    shown = [row for score, row in zip(classes, rows, strict=True) if score.support]
    for kind, (marker, color) in zip(others, CLASS_MARKERS, strict=True):
        values = [getattr(score, f"f1_{kind.name}") for score in classes if score.support]
        axes.plot(values, shown, marker, color=color, ms=9, mew=1.5, label=kind.description)
    names = [shorten(f"{k} {scores.classes[k].name}", CLASS_WIDTH, 9) for k in scores.shown]
    axes.set_yticks(rows, [f"{name} ({score.support:,})" for name, score in zip(names, classes, strict=True)])
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, len(classes) - 0.3)
    axes.set_xlabel("F1; in brackets, the samples of the class")
    axes.grid(axis="x")
    figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    return figure


@_styled
def draw_folds(rows: OutOfFold, scores: Scores) -> Figure:
    """Draw the F1 of each class in each fold, with thresholds fitted on the same fold: the paper's figure 4.2."""
    figure = Figure((WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    shown = scores.shown
    numbers = np.arange(len(shown))
    for n, fold in enumerate(scores.folds):
        in_fold = rows.folds == fold.fold
        labels, probs = rows.labels[in_fold][:, shown], rows.probs[in_fold][:, shown]
        f1 = f1_per_class(labels, predict_classes(probs, search_thresholds(labels, probs)))
        present = labels.any(axis=0)
        shift = 0.22 * (n - (len(scores.folds) - 1) / 2)
        axes.plot(
            numbers[present] + shift,
            f1[present],
            MARKERS[n % len(MARKERS)],
            color=COLORS[n % len(COLORS)],
            ms=5,
            label=f"fold {fold.fold}: macro-F1 {fold.macro_f1_in_sample:.3f}",
        )
    names = [shorten(f"{k} {scores.classes[k].name}", FOLD_WIDTH, 7) for k in shown]
    axes.set_xticks(numbers, names, rotation=60, ha="right", fontsize=7)
    axes.set_xlim(-0.6, len(numbers) - 0.4)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("F1")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=min(len(scores.folds), 4), fontsize=8)
    return figure


def trace_f1(labels: npt.NDArray[np.uint8], probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the F1 of each class at each threshold of `CURVE`, float64 (T, K)."""
    return np.stack([f1_per_class(labels, predict_classes(probs, threshold)) for threshold in CURVE])


@_styled
def draw_thresholds(rows: OutOfFold, scores: Scores) -> Figure:
    """Draw the F1 of each class over its threshold, and the threshold that predictions use."""
    columns, shown = 7, scores.shown
    n_rows = -(-len(shown) // columns)
    figure = Figure((WIDTH, 1.15 * n_rows + 0.4), layout="constrained")
    panels = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    f1 = trace_f1(rows.labels[:, shown], rows.probs[:, shown])
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for k, values, axes in zip(shown, f1.T, panels, strict=False):
        score = scores.classes[k]
        axes.plot(CURVE, values, color=BLUE, lw=1.2)
        if score.threshold < NEVER:
            axes.axvline(max(score.threshold, 0.01), color=RED, lw=1)  # not on the axis itself
        else:
            axes.text(0.5, 0.5, "never", ha="center", color="#777777", fontsize=8)
        axes.set_title(shorten(f"{k} {score.name}", PANEL_WIDTH, 7), fontsize=7)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
        axes.grid()
    figure.supxlabel("Threshold", fontsize=8)
    figure.supylabel("F1", fontsize=8)
    return figure


@_styled
def draw_comparison(comparison: Comparison) -> Figure:
    """Draw the scores of runs as bars, the best on top, and those that the paper reports as markers."""
    rows = comparison.rows[::-1]
    figure = Figure((WIDTH, 0.62 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    heights = np.arange(len(rows), dtype=float)
    width = 0.75 / len(THRESHOLDINGS)
    for number, (kind, color) in enumerate(zip(THRESHOLDINGS, BAR_COLORS, strict=True)):
        values = [getattr(row, f"macro_f1_{kind.name}") for row in rows]
        shifted = heights + width * ((len(THRESHOLDINGS) - 1) / 2 - number)
        axes.barh(shifted, values, width - 0.01, color=color, label=kind.description)
        for height, value in zip(shifted, values, strict=True):
            axes.text(value, height, f" {value:.3f}", va="center", fontsize=7)
    reported = [(height, row.paper) for height, row in zip(heights, rows, strict=True) if row.paper is not None]
    if reported:
        axes.plot(
            [value for _, value in reported],
            [height for height, _ in reported],
            "D",
            color=RED,
            ms=5,
            label="the paper, on Kaggle's data",
        )
    chance = max(row.macro_f1_chance for row in rows)
    axes.axvline(chance, color="black", lw=0.8, ls=":", label="guessing by class frequency")
    axes.set_yticks(heights, [f"{row.run}\n{row.model}" + (" *" if row.legacy_leak else "") for row in rows])
    highest = max([row.macro_f1_in_sample for row in rows] + [value or 0 for _, value in reported])
    axes.set_xlim(0, min(1, 1.15 * max(highest, 0.05)))
    note = "   * inflated: copies of validation samples were trained on"
    axes.set_xlabel("Macro-F1" + (note if any(row.legacy_leak for row in rows) else ""))
    axes.grid(axis="x")
    figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    return figure
