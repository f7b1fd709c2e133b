"""Figures of runs: what they draw."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_model.evaluation import figures
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.scores import THRESHOLDINGS, score_rows
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.folder import EpochRecord, read_history
from tests.builders import RUN_CLASSES, make_rows, make_run


def test_the_history_has_a_line_for_each_loss_and_labeled_metric_of_each_fold(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    losses, scores = figures.draw_history(read_history(run, 3)).axes
    assert len(losses.lines) == 3 * (2 + 1)  # and the circle of the epoch that is kept
    assert len(scores.lines) == 3 * len(EpochRecord.labeled_metrics())
    assert losses.lines[0].get_ydata() == pytest.approx([1, 1 / 2, 1 / 3])
    assert "fold 0, macro-F1 at 0.5" in [line.get_label() for line in scores.lines]


def test_classes_are_bars_of_the_cross_fitted_f1_with_a_marker_per_other_thresholding() -> None:
    scores = score_rows(make_rows(), RUN_CLASSES)
    (axes,) = figures.draw_classes(scores).axes
    assert [bar.get_width() for bar in axes.patches] == [score.f1_cross_fitted for score in scores.classes]
    assert len(axes.lines) == len(THRESHOLDINGS) - 1
    assert axes.lines[-1].get_xdata().tolist() == [score.f1_at_half for score in scores.classes if score.support]


def test_f1_is_traced_over_thresholds() -> None:
    rows = make_rows()
    traced = figures.trace_f1(rows.labels, rows.probs)
    assert traced.shape == (len(figures.CURVE), len(RUN_CLASSES))
    assert traced[50] == pytest.approx(f1_per_class(rows.labels, predict_classes(rows.probs, 0.5)))


def test_runs_are_bars_with_the_score_of_the_paper_as_a_marker(tmp_path: Path) -> None:
    comparison = compare_runs([make_run(tmp_path / "run", make_rows())])
    (axes,) = figures.draw_comparison(comparison).axes
    row = comparison.rows[0]
    expected = [getattr(row, f"macro_f1_{kind.name}") for kind in THRESHOLDINGS]
    assert [bar.get_width() for bar in axes.patches] == expected
    assert axes.lines[0].get_xdata() == [row.paper]
    unknown = replace(comparison, rows=(replace(row, paper=None),))
    assert len(figures.draw_comparison(unknown).axes[0].lines) == 1  # the chance level alone


def test_a_figure_is_a_png_of_its_size_with_all_its_colors(tmp_path: Path) -> None:
    figure = figures.draw_comparison(compare_runs([make_run(tmp_path / "run", make_rows())]))
    image = cv2.imdecode(np.frombuffer(figures.render_png(figure), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image.shape[:2] == tuple(round(150 * inches) for inches in figure.get_size_inches()[::-1])
    for color in figures.BAR_COLORS:
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (image == rgb).all(axis=-1).any()


def test_the_same_figure_gives_the_same_svg() -> None:
    scores = score_rows(make_rows(), RUN_CLASSES)
    first, second = (figures.render_svg(figures.draw_classes(scores)) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
