"""Figures of runs: what they draw."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from hpa_model.evaluation import figure_classes, figure_history, figure_probs
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.confusion import map_confusion
from hpa_model.evaluation.figure_runs import BAR_COLORS, draw_comparison
from hpa_model.evaluation.figure_style import NARROW, WIDE, embed_svg, render_file
from hpa_model.evaluation.figures import list_figures
from hpa_model.evaluation.records import THRESHOLDINGS
from hpa_model.evaluation.results import read_results, resample_f1
from hpa_model.evaluation.scores import find_confusion, predict_headline, score_rows
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import read_history
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
    assert len(names) == len(set(names)) == 5  # no band without skill
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


def test_classes_are_bars_the_highest_on_top_with_an_interval_and_markers_of_other_thresholds() -> None:
    rows = make_rows()
    scores = score_rows(rows, RUN_CLASSES)
    intervals = resample_f1(rows, predict_headline(rows))
    (axes,) = figure_classes.draw_classes(scores, intervals).axes
    f1 = [score.f1 for score in scores.classes]
    assert [bar.get_width() for bar in axes.patches] == sorted(f1, reverse=True)
    (at_half,) = (line for line in axes.lines if line.get_label() == "F1, 0.5")
    assert sorted(at_half.get_xdata()) == sorted(score.f1_at_half for score in scores.classes if score.support)
    assert not at_half.get_clip_on()  # a marker at 0 is drawn whole
    for score, low, high in zip(scores.classes[:3], *intervals[:, :3], strict=True):
        assert low < score.f1 < high
    assert intervals[:, 3].tolist() == [0, 0]


def test_four_copies_of_each_sample_in_groups_do_not_make_the_intervals_of_classes_narrower() -> None:
    rows = make_rows(100)
    copied = replace(rows, labels=np.repeat(rows.labels, 4, axis=0), groups=np.repeat(np.arange(100), 4))
    predictions = predict_headline(rows)
    widths = [
        np.diff(resample_f1(each, predicted), axis=0)[0, :3].mean()
        for each, predicted in (
            (rows, predictions),
            (copied, np.repeat(predictions, 4, axis=0)),
            (replace(copied, groups=None), np.repeat(predictions, 4, axis=0)),
        )
    ]
    assert widths[1] == pytest.approx(widths[0])
    assert widths[2] < 0.7 * widths[0]


def test_f1_is_traced_over_thresholds_and_each_panel_ends_near_its_highest() -> None:
    rows = make_rows()
    traced = figure_probs.trace_f1(rows.labels, rows.probs)
    assert traced.shape == (len(figure_probs.CURVE), len(RUN_CLASSES))
    assert traced[50] == pytest.approx(f1_per_class(rows.labels, predict_classes(rows.probs, 0.5)))
    (axes,) = figure_probs.draw_thresholds(rows.labels, rows.probs, score_rows(rows, RUN_CLASSES)).axes
    assert "no sample" in [text.get_text() for text in axes.texts]


def test_precision_and_recall_are_those_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    labels, probs = (rng.random(500) < 0.2).astype(np.uint8), rng.random(500).round(1)
    precision, recall, _ = precision_recall_curve(labels, probs)
    traced = figure_probs.trace_precision(labels, probs)
    assert traced[0] == pytest.approx(recall[-2::-1])
    assert traced[1] == pytest.approx(precision[-2::-1])


def test_the_band_without_skill_is_drawn_behind_the_scores_and_the_curves(tmp_path: Path) -> None:
    figures = {each.name: each for each in list_figures(read_results(make_run(tmp_path / "run", make_rows())))}
    for name in ("scores", "training"):
        (legend,) = figures[name].draw(WIDE).legends
        assert any(text.get_text().startswith("no skill") for text in legend.get_texts())
    assert "All lie above the band without skill." in figures["scores"].alt


def test_what_is_predicted_for_all_is_not_named_as_a_confusion() -> None:
    labels = np.repeat(np.eye(3, dtype=np.uint8), 10, axis=0)
    predictions = np.zeros_like(labels)
    predictions[:, 0] = 1  # ruled every line before
    predictions[10:15, 2] = 1
    found = find_confusion(labels, predictions, 1, ("a", "b", "c"))
    assert found.predicted_instead == (("c", 5),)
    assert find_confusion(labels, predictions, 2, ("a", "b", "c")).was_actually == (("b", 5),)


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
