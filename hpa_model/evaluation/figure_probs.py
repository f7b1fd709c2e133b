"""Figures of probabilities: precision and recall, thresholds, calibration, and classes predicted per sample."""

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from hpa_data.stats.style import BLUE, ORANGE, RED, SKY
from hpa_model.evaluation.figure_classes import order_by_support
from hpa_model.evaluation.figure_style import (
    INK,
    NARROW,
    SMALL,
    SOFT,
    WIDE,
    draw_cells,
    fit_top,
    frame,
    legend_height,
    lift_legend,
    style_figure,
)
from hpa_model.evaluation.records import Scores
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.metrics.calibration import bin_probs
from hpa_model.thresholds import NEVER

Labels = npt.NDArray[np.uint8]
Probs = npt.NDArray[np.floating]

# The thresholds that a curve is drawn through.
CURVE = np.arange(0, 1.0001, 0.01)
# Labels in a bin of a class from which on it is drawn: the fraction of fewer says little.
MIN_PER_BIN = 10
MAX_PER_SAMPLE = 8  # classes; samples with more are counted together


def trace_f1(labels: npt.NDArray[np.uint8], probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the F1 of each class at each threshold of `CURVE`, float64 (T, K)."""
    return np.stack([f1_per_class(labels, predict_classes(probs, threshold)) for threshold in CURVE])


@style_figure
def draw_thresholds(labels: Labels, scaled: Probs, scores: Scores, width: float = WIDE) -> Figure:
    """Draw the F1 of each class over its threshold, and the threshold that predictions use.

    Each panel ends at its own F1, which its axis names.
    """
    shown = order_by_support(scores)
    f1 = trace_f1(labels[:, shown], scaled[:, shown])
    names = [scores.classes[k].name for k in shown]
    label = "F1 (each panel has its own scale)"
    figure, cells = draw_cells(names, width, x_label="Threshold", y_label=label, same_scale=False)
    for k, values, cell in zip(shown, f1.T, cells, strict=True):
        threshold = scores.classes[k].threshold
        if not scores.classes[k].support:
            cell.text(0.5, 0.5, "no sample", ha="center", va="center", color=SOFT, fontsize=SMALL)
            continue
        top = fit_top(float(values.max()))
        cell.plot(CURVE, values / top, color=BLUE, lw=1.2)
        if threshold < NEVER:
            cell.plot([threshold, threshold], [0, 1], color=RED, lw=1)
        cell.text(1.0, 0.99, f"{top:g}", ha="right", va="top", color=SOFT, fontsize=SMALL)
    return figure


def trace_precision(
    labels: npt.NDArray[np.uint8], probs: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return recall and precision of a class, one point per different probability.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N,)
        At least one is 1.
    probs : array of float, shape (N,)

    Examples
    --------
    >>> recall, precision = trace_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))
    >>> recall.tolist(), precision.round(2).tolist()
    ([0.5, 0.5, 1.0, 1.0], [1.0, 0.5, 0.67, 0.5])
    """
    order = np.argsort(-probs, kind="stable")
    truth = labels[order].astype(np.int64)
    last = np.append(np.diff(probs[order]) != 0, True)  # of samples with the same probability
    found, predicted = truth.cumsum()[last], np.flatnonzero(last) + 1
    return found / truth.sum(), found / predicted


@style_figure
def draw_precision(labels: Labels, scaled: Probs, scores: Scores, width: float = WIDE) -> Figure:
    """Draw precision against recall for each class, with its average precision and its frequency."""
    shown = order_by_support(scores)
    names = [scores.classes[k].name for k in shown]
    figure, cells = draw_cells(names, width, x_label="Recall", y_label="Precision", same_scale=True)
    for k, cell in zip(shown, cells, strict=True):
        if not scores.classes[k].support:
            cell.text(0.5, 0.5, "no sample", ha="center", va="center", color=SOFT, fontsize=SMALL)
            continue
        recall, precision = trace_precision(labels[:, k], scaled[:, k])
        average = scores.classes[k].average_precision
        kept = _thin(recall, precision)
        cell.plot([0, 1], [labels[:, k].mean()] * 2, "--", color=SOFT, lw=0.9)
        cell.plot(recall[kept], precision[kept], color=BLUE, lw=1.2)
        if average is None:
            continue
        x, y = (0.06, 0.2) if average > 0.5 else (0.42, 0.8)  # where the curve is not
        cell.text(x, y, f"AP {average:.2f}", va="center", color=INK, fontsize=SMALL)
    return figure


def _thin(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Choose the points of a curve that can be told apart at the size of a panel."""
    steps = np.round(np.column_stack([x, y]) * 100)
    changed = np.append(True, (np.diff(steps, axis=0) != 0).any(axis=1))
    changed[-1] = True
    return np.flatnonzero(changed)


@style_figure
def draw_calibration(labels: Labels, scaled: Probs, calibrated: Probs, width: float = WIDE) -> Figure:
    """Draw how often labels are true that were predicted with some probability, before and after calibration."""
    columns = 3 if width > NARROW else 2
    top = legend_height(3, columns)
    figure = frame(width, 3.1 + top, left=["0.0"], top=top + 0.05, has_label=True)
    (axes,) = figure.axes
    axes.plot([0, 1], [0, 1], "--", color=SOFT, lw=0.9, label="perfect")
    for probs, color, marker, label in (
        (scaled, ORANGE, "s", "as predicted"),
        (calibrated, BLUE, "o", "calibrated"),
    ):
        mean, frequency, counts = bin_probs(labels, probs)
        kept = counts > 0
        margin = _wilson(frequency[kept], counts[kept])
        axes.errorbar(
            mean[kept],
            frequency[kept],
            margin,
            color=color,
            fmt=f"{marker}-",
            ms=4,
            elinewidth=0.9,
            label=label,
            clip_on=False,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("Predicted probability")
    axes.set_ylabel("Fraction that is true")
    axes.grid()
    lift_legend(figure, columns=columns)
    return figure


@style_figure
def draw_class_calibration(
    labels: Labels, scaled: Probs, calibrated: Probs, scores: Scores, width: float = WIDE
) -> Figure:
    """Draw the same for each class, with its calibration error before and after."""
    shown = order_by_support(scores)
    names = [scores.classes[k].name for k in shown]
    label = "Fraction that is true"
    figure, cells = draw_cells(names, width, x_label="Predicted probability", y_label=label, same_scale=True)
    for k, cell in zip(shown, cells, strict=True):
        score = scores.classes[k]
        if not score.support:
            cell.text(0.5, 0.5, "no sample", ha="center", va="center", color=SOFT, fontsize=SMALL)
            continue
        cell.plot([0, 1], [0, 1], "--", color=SOFT, lw=0.9)
        for probs, color, marker in ((scaled, ORANGE, "s"), (calibrated, BLUE, "o")):
            mean, frequency, counts = bin_probs(labels[:, k], probs[:, k])
            kept = counts >= MIN_PER_BIN
            cell.plot(mean[kept], frequency[kept], f"{marker}-", color=color, lw=1.1, ms=2.5)
        if score.calibration_error is not None and score.calibrated_error is not None:
            text = f"{score.calibration_error.value:.3f} → {score.calibrated_error.value:.3f}"
            cell.text(0.99, 0.04, text, ha="right", va="bottom", color=INK, fontsize=SMALL)  # where few curves go
    return figure


def _wilson(frequency: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return how far the 95 % interval of a frequency reaches down and up (Wilson 1927), float64 (2, B)."""
    z = 1.96
    center = (frequency + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z * np.sqrt(frequency * (1 - frequency) / counts + z**2 / (4 * counts**2)) / (1 + z**2 / counts)
    return np.maximum(0, np.stack([frequency - (center - half), center + half - frequency]))


def count_per_sample(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Count the samples with 0, 1, … classes, those with eight and more together; int64 (9,)."""
    return np.bincount(np.minimum(values.sum(axis=1, dtype=np.int64), MAX_PER_SAMPLE), minlength=MAX_PER_SAMPLE + 1)


@style_figure
def draw_per_sample(labels: Labels, predictions: Labels, width: float = WIDE) -> Figure:
    """Draw how many classes samples have, and how many are predicted for them."""
    true, predicted = count_per_sample(labels), count_per_sample(predictions)
    n = max(int(np.flatnonzero(true + predicted).max()) + 1, 2)
    top = legend_height(2, 2)
    figure = frame(width, 2.3 + top, left=["10,000"], top=top, has_label=True)
    (axes,) = figure.axes
    x = np.arange(n)
    axes.bar(x - 0.2, true[:n], 0.38, color=SKY, label="true")
    axes.bar(x + 0.2, predicted[:n], 0.38, color=BLUE, label="predicted")
    axes.set_xticks(x, [f"{k}{' or more' if k == MAX_PER_SAMPLE else ''}" for k in x])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("Classes of a sample")
    axes.set_ylabel("Samples")
    axes.grid(axis="y")
    lift_legend(figure, columns=2)
    return figure
