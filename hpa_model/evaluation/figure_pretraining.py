"""The figure of a pre-training: the losses over the epochs."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpa_data.stats.style import BLUE, RED
from hpa_model.config import Keep
from hpa_model.evaluation.figure_style import SOFT, WIDE, lift_legend, style_figure
from hpa_model.runs.history import ReconstructionRecord, find_kept


@style_figure
def draw_losses(history: Sequence[ReconstructionRecord], width: float = WIDE, *, keep: Keep = "lowest_loss") -> Figure:
    """Draw the losses of a pre-training, and the share of the variance that is explained, over the epochs.

    Parameters
    ----------
    history : sequence of ReconstructionRecord, at least one
    width : float
        Inches.
    keep : {"lowest_loss", "last"}
        Which epoch was kept.
    """
    figure = Figure((width, 2.8))
    losses, explained = figure.subplots(1, 2)
    epochs = [record.epoch for record in history]
    marker = "" if len(epochs) > 1 else "."
    for name, label, line, color in (
        ("val_loss", "validation", "-", BLUE),
        ("loss", "training", "--", SOFT),
    ):
        values = [getattr(record, name) for record in history]
        losses.plot(epochs, values, line, color=color, marker=marker, label=label)
    losses.set_yscale("log")
    # No powers of ten in TeX, which the style of the figures leaves as they are.
    losses.yaxis.set_major_formatter("{x:.2g}")
    losses.yaxis.set_minor_formatter("{x:.2g}")
    losses.set_ylabel("Mean squared error")
    explained.plot(epochs, [record.val_explained for record in history], color=BLUE, marker=marker)
    # What is worse than the mean of each channel is not worth the room.
    explained.set_ylim(0, 1)
    explained.set_ylabel("Variance explained, validation")
    for axes in (losses, explained):
        axes.axvline(find_kept(history, keep).epoch, color=RED, lw=0.9, ls=":", label="epoch that is kept")
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y")
    figure.subplots_adjust(left=0.11, right=0.99, bottom=0.17, top=0.88, wspace=0.27)
    lift_legend(figure, columns=3)
    return figure
