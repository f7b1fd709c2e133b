"""The figure of a pre-training: the losses over the epochs."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullLocator

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
    losses.yaxis.set_major_locator(_choose_ticks(*losses.get_ylim()))
    losses.yaxis.set_minor_locator(NullLocator())
    # No powers of ten in TeX, which the style of the figures leaves as they are.
    losses.yaxis.set_major_formatter("{x:.3g}")
    losses.set_ylabel("Mean squared error")
    shares = [record.val_explained for record in history]
    explained.plot(epochs, shares, color=BLUE, marker=marker)
    # What is far worse than the mean of each channel, as in first epochs, is not worth the room, unless all epochs are.
    lowest = max(min(0.0, *shares), min(-1.0, max(shares)))
    explained.set_ylim(lowest - 0.05, 1)
    explained.axhline(0, color=SOFT, lw=0.6)
    explained.set_ylabel("Variance explained, validation")
    for axes in (losses, explained):
        axes.axvline(find_kept(history, keep).epoch, color=RED, lw=0.9, ls=":", label="epoch that is kept")
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y")
    figure.subplots_adjust(left=0.11, right=0.99, bottom=0.17, top=0.88, wspace=0.27)
    lift_legend(figure, columns=3)
    return figure


def _choose_ticks(low: float, high: float) -> Locator:
    """Choose few ticks for an axis of logarithms, so that their numbers do not touch."""
    if high < 10 * low:
        return MaxNLocator(4)  # multiples of 1, 2 and 5 may all lie outside
    return LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,))
