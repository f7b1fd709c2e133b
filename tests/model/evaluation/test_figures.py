"""Figures of runs: what they draw."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hpa_model.evaluation import figure_classes, figure_history, figure_probs
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.confusion import map_confusion
from hpa_model.evaluation.figure_runs import BAR_COLORS, draw_comparison
from hpa_model.evaluation.figure_style import NARROW, WIDE, embed_svg, render_file
from hpa_model.evaluation.figures import list_figures
from hpa_model.evaluation.records import THRESHOLDINGS
from hpa_model.evaluation.results import read_results
from hpa_model.evaluation.scores import score_rows
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.folder import read_history, read_run
from tests.builders import RUN_CLASSES, make_rows, make_run


def test_the_history_has_a_column_of_panels_per_fold_and_one_legend_outside_the_data(tmp_path: Path) -> None:
    histories = read_history(make_run(tmp_path / "run", make_rows()), 3)
    figure = figure_history.draw_history(dict(enumerate(histories)))
    losses, _, _, scores, *_, accuracies, _, _ = figure.axes
    assert losses.get_title(loc="left") == "Fold 0"
    assert losses.lines[1].get_ydata() == pytest.approx([1, 1 / 2, 1 / 3])
    assert scores.lines[0].get_ydata() == pytest.approx([0.12, 0.24, 0.36])
    assert accuracies.lines[0].get_ydata() == pytest.approx([0.9, 0.9, 0.9])
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert names[:2] == ["validation loss", "training loss"]
    assert len(names) == len(set(names)) == 5
    assert not any(axes.get_legend() for axes in figure.axes)


def test_the_first_epochs_do_not_set_the_axis_of_losses(tmp_path: Path) -> None:
    (history, *_) = read_history(make_run(tmp_path / "run", make_rows()), 3)
    losses = [50, 3, *np.linspace(0.4, 0.2, 18)]
    long = [replace(history[0], epoch=n + 1, loss=loss, val_loss=loss) for n, loss in enumerate(losses)]
    low, high = figure_history.limit_losses([long])
    assert low < 0.2
    assert 0.38 < high < 0.5
    assert figure_history.limit_losses([long[:1]])[1] > 50  # the only epoch is drawn


def test_the_history_of_a_fine_tuned_run_shows_only_the_folds_that_it_trained(tmp_path: Path) -> None:
    base, run = (make_run(tmp_path / name, make_rows()) for name in ("base", "run"))
    described = read_run(run)
    replace(described, finetuned_from=str(base), finetuned_folds=(1,), base_models=("a", "b", "c")).write(run)
    results = read_results(run)
    figures = {figure.name: figure for figure in list_figures(results)}
    assert [axes.get_title(loc="left") for axes in figures["training"].draw(WIDE).axes] == ["Fold 1", "", ""]
    assert "on the samples of fold 1" in figures["change"].caption
    assert [link.name for link in read_results(base).finetuned] == ["run"]


def test_classes_are_bars_the_highest_on_top_with_a_marker_per_other_thresholding() -> None:
    scores = score_rows(make_rows(), RUN_CLASSES)
    (axes,) = figure_classes.draw_classes(scores).axes
    assert [bar.get_width() for bar in axes.patches] == sorted((s.f1 for s in scores.classes), reverse=True)
    assert len(axes.lines) == len(THRESHOLDINGS) - 1
    at_half = [score.f1_at_half for score in scores.classes if score.support]
    assert sorted(axes.lines[-1].get_xdata()) == sorted(at_half)
    assert not axes.lines[-1].get_clip_on()  # a marker at 0 is drawn whole


def test_f1_is_traced_over_thresholds_and_each_panel_ends_near_its_highest() -> None:
    rows = make_rows()
    traced = figure_probs.trace_f1(rows.labels, rows.probs)
    assert traced.shape == (len(figure_probs.CURVE), len(RUN_CLASSES))
    assert traced[50] == pytest.approx(f1_per_class(rows.labels, predict_classes(rows.probs, 0.5)))
    (axes,) = figure_probs.draw_thresholds(rows, score_rows(rows, RUN_CLASSES)).axes
    assert "no sample" in [text.get_text() for text in axes.texts]


def test_average_precision_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    labels, probs = (rng.random(500) < 0.2).astype(np.uint8), rng.random(500).round(1)
    assert figure_probs.trace_precision(labels, probs)[2] == pytest.approx(average_precision_score(labels, probs))


def test_probabilities_that_are_frequencies_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    probs = rng.random((20_000, 3))
    labels = (rng.random(probs.shape) < probs).astype(np.uint8)
    assert figure_probs.calibration_error(labels, probs) < 0.01
    assert figure_probs.calibration_error(labels, probs**3) > 0.1


def test_a_class_that_is_predicted_for_all_is_told_from_one_that_is_confused() -> None:
    labels = np.repeat(np.eye(3, dtype=np.uint8), 10, axis=0)
    predictions = np.zeros_like(labels)
    predictions[:, 0] = 1
    predictions[10:15, 2] = 1  # five samples of class 1
    found = map_confusion(labels, predictions, ("a", "b", "c"))
    assert found.fractions[1:, 0].tolist() == [1, 1]
    assert found.base.tolist() == [1, 0, 0.25]
    assert found.fractions[1, 2] == 0.5


def test_runs_are_bars_with_the_score_of_the_paper_as_a_marker(tmp_path: Path) -> None:
    comparison = compare_runs([make_run(tmp_path / "run", make_rows())])
    figure = draw_comparison(comparison)
    (axes,) = figure.axes
    row = comparison.rows[0]
    expected = [getattr(row, f"macro_f1_{kind.name}") for kind in THRESHOLDINGS]
    assert [bar.get_width() for bar in axes.patches[:-1]] == expected
    assert axes.patches[-1].get_width() == row.no_skill_high
    assert axes.lines[0].get_xdata() == [row.paper]
    unknown = replace(comparison, rows=(replace(row, paper=None),))
    assert not draw_comparison(unknown).axes[0].lines
    image = cv2.imdecode(np.frombuffer(render_file(figure, "png"), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image.shape[:2] == pytest.approx([200 * inches for inches in figure.get_size_inches()[::-1]], abs=1)
    for color in BAR_COLORS:
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (image == rgb).all(axis=-1).any()


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_letters_of_a_figure_keep_their_size_and_its_names_their_place(width: float, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    for each in list_figures(read_results(run)):
        figure: Any = each.draw(width)
        svg = render_file(figure, "svg").decode()
        assert figure.get_size_inches()[0] == width
        sizes = [float(text.split("px")[0]) for text in svg.split("font-size: ")[1:]]
        assert min(sizes, default=8) >= 7.5, each.name


def test_an_svg_in_a_page_has_ids_and_colors_of_its_own_and_is_always_the_same() -> None:
    rows = make_rows()
    scores = score_rows(rows, RUN_CLASSES)
    first, second = (
        embed_svg(render_file(figure_classes.draw_folds(rows, scores), "svg"), "folds", 'a "b" <c>') for _ in range(2)
    )
    assert first == second
    assert first.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c>"')
    assert "var(--blue)" in first
    assert "#ffffff" not in first
    assert 'id="folds-' in first
