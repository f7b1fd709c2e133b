"""What a user sees of a pre-training: the figure of its losses, and its text."""

import itertools
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hpa_model.commands.pretrain import describe
from hpa_model.evaluation.figure_pretraining import draw_losses
from hpa_model.runs.history import ReconstructionRecord
from hpa_model.training.pretrain import FinishedPretraining


def make_record(epoch: int, loss: float, explained: float) -> ReconstructionRecord:
    numbers = {"learning_rate": 0.001, "images_per_s": 9.0, "seconds": 1.0}
    return ReconstructionRecord(epoch=epoch, loss=loss, val_loss=loss, val_explained=explained, **numbers)


@pytest.mark.parametrize(
    ("explained", "lowest"),
    [
        ((-4.0, -3.0), -3.0),
        ((-4.0, -0.8, -0.05), -1.0),
        ((-0.5, -0.2, -0.05), -0.5),
        ((-0.05, 0.1, 0.3), -0.05),
        ((0.1, 0.2, 0.3), 0.0),
    ],
)
def test_the_share_of_the_kept_epoch_is_in_sight_also_where_it_is_below_zero(
    explained: tuple[float, ...], lowest: float
) -> None:
    history = [make_record(epoch, 0.1 / epoch, share) for epoch, share in enumerate(explained, 1)]
    axes = draw_losses(history).axes[1]
    assert axes.get_ylim()[0] < lowest  # with some room
    assert axes.get_ylim()[0] > lowest - 0.2
    assert axes.get_ylim()[1] == 1


@pytest.mark.parametrize("losses", [(0.027, 0.107, 0.02, 0.0123), (1.0, 0.001), (0.0199, 0.0161), (0.02, 0.02), (0.5,)])
def test_the_numbers_beside_the_losses_do_not_touch(losses: tuple[float, ...]) -> None:
    figure = draw_losses([make_record(epoch, loss, 0.1) for epoch, loss in enumerate(losses, 1)])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axis = figure.axes[0].yaxis
    low, high = figure.axes[0].get_ylim()
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    shown = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.y0)
    assert len(boxes) >= 2
    assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))


def test_reconstructions_that_explain_nothing_are_said_to(tmp_path: Path) -> None:
    found = FinishedPretraining(
        folder=tmp_path,
        encoder=tmp_path / "encoder.keras",
        pictures=(),
        n_training=54,
        n_validation=6,
        n_epochs=12,
        best_epoch=11,
        val_loss=0.0206,
        val_explained=-0.019,
    )
    text = describe(found)
    assert "0.0%" not in text
    assert (
        "Reconstructions explain nothing of the variance of the validation images: the mean of each channel is closer "
        "(share -0.019); mean squared error 0.0206, epoch 11 of 12."
    ) in text
