"""The figure of how a run learned: losses, macro-F1 and accuracy over the epochs, one column of panels a fold."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from hpa_data.stats.style import BLUE, RED
from hpa_model.config import Keep
from hpa_model.evaluation.figure_style import BAND, INK, NARROW, SOFT, WIDE, legend_height, style_figure
from hpa_model.runs.history import EpochRecord, find_kept
from hpa_model.thresholds import NoSkill

# Rows of panels: title, and the metrics in it with line and color, the most important first.
PANELS: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    ("Loss", (("val_loss", "validation", "-", BLUE), ("loss", "training", "--", SOFT))),
    (
        "Macro-F1, validation",
        (
            ("val_macro_f1_best", "macro-F1 at best thresholds", "-", BLUE),
            ("val_macro_f1", "at threshold 0.5", "--", INK),
        ),
    ),
    ("Accuracy, validation", (("val_accuracy", "at threshold 0.5", "--", INK),)),
)
MAX_FOLDS = 6
# The part of the epochs at the start whose losses do not set the axis: they would flatten all others.
SETTLING = 0.2


def limit_losses(histories: Sequence[Sequence[EpochRecord]]) -> tuple[float, float]:
    """Return the ends of an axis of losses that fits all epochs but the first fifth, whatever the others reach."""
    late: list[float] = []
    for history in histories:
        start = min(int(SETTLING * len(history)), len(history) - 1)
        late += [value for record in history[start:] for value in (record.loss, record.val_loss)]
    late += [min(record.val_loss for record in history) for history in histories]
    low, high = min(late), max(late)
    room = 0.08 * (high - low) or 0.08 * abs(high) or 0.01
    return (0 if 0 <= low < 0.4 * high else low - room), high + room


@style_figure
def draw_history(
    histories: Mapping[int, Sequence[EpochRecord]],
    width: float = WIDE,
    *,
    keep: Keep = "lowest_loss",
    no_skill: Mapping[int, NoSkill] | None = None,
) -> Figure:
    """Draw losses, macro-F1 and accuracy over the epochs: the paper's figures 4.3 and A.7.

    Parameters
    ----------
    histories : mapping of int to histories
        Of the folds that the run trained, by their numbers; none of them empty. Of more than six folds, the first six.
    width : float
        Inches.
    keep : str
        Which epoch was kept, see the setting.
    no_skill : mapping of int to NoSkill, optional
        What models without skill score on the samples of each fold, at the thresholds that are best for them.
    """
    folds, bands = sorted(histories)[:MAX_FOLDS], no_skill or {}
    per_row = 3 if width > NARROW else 2
    blocks = [folds[start : start + per_row] for start in range(0, len(folds), per_row)]
    columns = max(map(len, blocks))
    top = legend_height(6, 3 if width > NARROW else 2) + 0.02
    height = top + len(blocks) * (len(PANELS) * 1.25 + 0.35) + 0.15
    figure = Figure((width, height), layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - top / height)))
    grid = figure.subplots(len(blocks) * len(PANELS), columns, squeeze=False)
    loss_limits = limit_losses([histories[fold] for fold in folds])
    highest = max(record.val_macro_f1_best for fold in folds for record in histories[fold])
    highest = max([highest, *(min(band.high, 1) for fold, band in bands.items() if fold in folds)])
    lowest_accuracy = min(record.val_accuracy for fold in folds for record in histories[fold][1:] or histories[fold])
    limits = (loss_limits, (0.0, max(1.08 * highest, 0.05)), (_floor(lowest_accuracy), 1.0))
    for block, in_block in enumerate(blocks):
        for row in range(len(PANELS)):
            for column in range(columns):
                axes = grid[block * len(PANELS) + row, column]
                if column >= len(in_block):
                    axes.set_axis_off()
                    continue
                fold = in_block[column]
                _draw_panel(axes, row, histories[fold], limits[row], keep)
                if row == 1 and fold in bands:
                    low, high = max(bands[fold].low, 0), min(bands[fold].high, 1)
                    axes.axhspan(low, high, color=BAND, lw=0, label="no skill, best thresholds")
                if row == 0:
                    axes.set_title(f"Fold {fold}")
                if column == 0:
                    axes.set_ylabel(PANELS[row][0].replace(", ", ",\n"))
                else:
                    axes.set_yticklabels([])
                if row == len(PANELS) - 1:
                    axes.set_xlabel("Epoch")
                else:
                    axes.set_xticklabels([])
    _add_legend(figure, list(grid[:, 0]), columns=3 if width > NARROW else 2)
    return figure


def _floor(accuracy: float) -> float:
    """Return where an axis of accuracies starts: most labels are 0, so that nearly all lie close to 1."""
    return float(np.clip(1 - 1.3 * (1 - accuracy), 0, 0.99))


def _draw_panel(axes: Axes, row: int, history: Sequence[EpochRecord], limits: tuple[float, float], keep: Keep) -> None:
    epochs = [record.epoch for record in history]
    for name, label, line, color in PANELS[row][1]:
        values = [getattr(record, name) for record in history]
        marker = "" if len(epochs) > 1 else "."
        axes.plot(epochs, values, line, color=color, marker=marker, label=label, zorder=3 if line == "-" else 2)
    axes.axvline(find_kept(history, keep).epoch, color=RED, lw=0.9, ls=":", label="epoch that is kept")
    axes.set_xlim(0.5 if len(epochs) == 1 else None, 1.5 if len(epochs) == 1 else None)
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y")


def _add_legend(figure: Figure, panels: Sequence[Axes], *, columns: int) -> None:
    """Name each kind of line once, outside the data."""
    named: dict[str, Artist] = {}
    for axes, (title, _) in zip(panels[: len(PANELS)], PANELS, strict=True):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(f"{label} loss" if title == "Loss" and "kept" not in label else label, handle)
    figure.legend(list(named.values()), list(named), loc="upper left", ncols=columns, bbox_to_anchor=(0, 1))
