"""Figures of runs: how they learned, how they score, where thresholds lie. As SVG for the page, or PNG."""

import io
from collections.abc import Sequence

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpa_model.evaluation.compare import Comparison
from hpa_model.evaluation.scores import Scores
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.folder import EpochRecord
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds import NEVER, search_thresholds

# Okabe and Ito's colours, which colour-blind readers tell apart.
BLUE, RED, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GRAY = "#BBBBBB"
FOLD_COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH = 9.0  # inches; the page scales it to its own width
# The thresholds that a curve is drawn through.
CURVE = np.arange(0, 1.0001, 0.01)

STYLE = {
    "font.family": "DejaVu Sans",  # which Matplotlib brings along
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",  # letters stay letters: small files, text that can be searched
    "svg.hashsalt": "hpa",  # the same figure gives the same bytes
    "text.parse_math": False,  # a name may hold dollar signs
}
_styled = matplotlib.style.context(["default", STYLE])


@_styled
def render_svg(figure: Figure) -> str:
    """Return a figure as an SVG element, without the lines that only a file of its own has."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]


@_styled
def render_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file, 150 dots an inch."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    return drawn.getvalue()


@_styled
def draw_history(histories: Sequence[Sequence[EpochRecord]]) -> Figure:
    """Draw losses and macro-F1 over the epochs, a colour a fold.

    Parameters
    ----------
    histories : sequence of histories
        See `runs.read_history`; folds without one are left out.
    """
    figure = Figure((WIDTH, 3.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for fold, history in enumerate(histories):
        if not history:
            continue
        epochs = [record.epoch for record in history]
        look = {"color": FOLD_COLOURS[fold % len(FOLD_COLOURS)], "marker": "" if len(epochs) > 1 else "."}

        for axes, name, label, line in (
            (losses, "loss", "training", "--"),
            (losses, "val_loss", "validation", "-"),
            (scores, "val_macro_f1_best", "best thresholds", "-"),
            (scores, "val_macro_f1", "threshold 0.5", "--"),
        ):
            axes.plot(
                epochs, [getattr(record, name) for record in history], line, label=f"fold {fold}, {label}", **look
            )
        best = min(history, key=lambda record: record.val_loss)
        losses.plot(best.epoch, best.val_loss, "o", mfc="none", ms=9, color=look["color"])
    losses.set_title("Loss (the circle: the epoch that is kept)")
    scores.set_title("Macro-F1 of the validation set")
    scores.set_ylim(0, None)
    for axes in (losses, scores):
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.legend(fontsize=7, handlelength=3)
    return figure


@_styled
def draw_classes(scores: Scores) -> Figure:
    """Draw the F1 of each class, honest as a bar, with what other thresholds give as marks."""
    classes = scores.classes
    figure = Figure((WIDTH, 0.24 * len(classes) + 1.1), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(classes))[::-1]
    axes.barh(
        places,
        [score.f1_cross_fitted for score in classes],
        0.7,
        color=BLUE,
        label="Thresholds of the other folds (honest)",
    )
    for name, marker, colour, label in (
        ("f1_in_sample", "|", RED, "Thresholds fitted on the same rows (optimistic)"),
        ("f1_at_half", ".", "black", "Threshold 0.5"),
    ):
        shown = [place for score, place in zip(classes, places, strict=True) if score.support]
        values = [getattr(score, name) for score in classes if score.support]
        axes.plot(values, shown, marker, color=colour, ms=9, mew=1.5, label=label)
    axes.set_yticks(places, [f"{k} {score.name} ({score.support:,})" for k, score in enumerate(classes)])
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, len(classes) - 0.3)
    axes.set_xlabel("F1; samples that show the class in brackets")
    axes.grid(axis="x")
    figure.legend(loc="outside upper left", ncols=3, fontsize=8)
    return figure


@_styled
def draw_folds(rows: OutOfFold, scores: Scores) -> Figure:
    """Draw the F1 of each class in each fold, thresholds fitted on the fold's own rows: the paper's figure 4.2."""
    figure = Figure((WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    numbers = np.arange(len(scores.classes))
    for place, fold in enumerate(scores.folds):
        own = rows.folds == fold.fold
        labels, probs = rows.labels[own], rows.probs[own]
        f1 = f1_per_class(labels, predict_classes(probs, search_thresholds(labels, probs)))
        present = labels.any(axis=0)
        shift = 0.22 * (place - (len(scores.folds) - 1) / 2)
        axes.plot(
            numbers[present] + shift,
            f1[present],
            MARKERS[place % len(MARKERS)],
            color=FOLD_COLOURS[place % len(FOLD_COLOURS)],
            ms=5,
            label=f"fold {fold.fold}: macro-F1 {fold.macro_f1_in_sample:.3f}",
        )
    axes.set_xticks(
        numbers, [f"{k} {score.name}" for k, score in enumerate(scores.classes)], rotation=60, ha="right", fontsize=7
    )
    axes.set_xlim(-0.6, len(numbers) - 0.4)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("F1")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=len(scores.folds), fontsize=8)
    return figure


def trace_f1(labels: npt.NDArray[np.uint8], probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the F1 of each class at each threshold of `CURVE`, float64 (T, K)."""
    return np.stack([f1_per_class(labels, predict_classes(probs, threshold)) for threshold in CURVE])


@_styled
def draw_thresholds(rows: OutOfFold, scores: Scores) -> Figure:
    """Draw the F1 of each class against its threshold, and where the one to predict with lies."""
    columns = 7
    n_rows = -(-len(scores.classes) // columns)
    figure = Figure((WIDTH, 1.15 * n_rows + 0.4), layout="constrained")
    panels = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    f1 = trace_f1(rows.labels, rows.probs)
    for k, axes in enumerate(panels):
        if k >= len(scores.classes):
            axes.set_axis_off()
            continue
        score = scores.classes[k]
        axes.plot(CURVE, f1[:, k], color=BLUE, lw=1.2)
        if score.threshold < NEVER:
            axes.axvline(max(score.threshold, 0.01), color=RED, lw=1)  # not on the axis itself
        else:
            axes.text(0.5, 0.5, "never", ha="center", color="#777777", fontsize=8)
        axes.set_title(f"{k} {_shorten(score.name)}", fontsize=7)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
        axes.grid()
    figure.supxlabel("Threshold", fontsize=8)
    figure.supylabel("F1", fontsize=8)
    return figure


def _shorten(name: str, most: int = 17) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


@_styled
def draw_comparison(comparison: Comparison) -> Figure:
    """Draw the scores of runs as bars, the best on top, with what the paper reports as a mark."""
    rows = comparison.rows[::-1]
    figure = Figure((WIDTH, 0.62 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows), dtype=float)
    kinds = (
        ("macro_f1_cross_fitted", BLUE, "thresholds of the other folds (honest)"),
        ("macro_f1_in_sample", SKY, "thresholds fitted on the same rows (optimistic)"),
        ("macro_f1_at_half", GRAY, "threshold 0.5"),
    )
    for number, (name, colour, label) in enumerate(kinds):
        values = [getattr(row, name) for row in rows]
        shifted = places + 0.25 * (1 - number)
        axes.barh(shifted, values, 0.24, color=colour, label=label)
        for place, value in zip(shifted, values, strict=True):
            axes.text(value, place, f" {value:.3f}", va="center", fontsize=7)
    told = [(place, row.paper) for place, row in zip(places, rows, strict=True) if row.paper is not None]
    if told:
        axes.plot(
            [value for _, value in told],
            [place for place, _ in told],
            "D",
            color=RED,
            ms=5,
            label="the paper, on Kaggle's set",
        )
    guessing = max(row.macro_f1_chance for row in rows)
    axes.axvline(guessing, color="black", lw=0.8, ls=":", label="guessing frequencies")
    axes.set_yticks(places, [f"{row.run}\n{row.model}" + (" *" if row.legacy_leak else "") for row in rows])
    highest = max([row.macro_f1_in_sample for row in rows] + [value or 0 for _, value in told])
    axes.set_xlim(0, min(1, 1.15 * max(highest, 0.05)))
    axes.set_xlabel(
        "Macro-F1" + ("   * flatters: trained on copies of what validates" if any(r.legacy_leak for r in rows) else "")
    )
    axes.grid(axis="x")
    figure.legend(loc="outside upper left", ncols=3, fontsize=8)
    return figure
